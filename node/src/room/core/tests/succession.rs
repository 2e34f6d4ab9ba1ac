//! Publishers that leave, return and take over.

use super::*;
use crate::media::extension::ExtensionMap;
use crate::media::negotiated::Feedback;
use crate::room::claimant::TokenDigest;

const GRACE: Duration = Duration::from_secs(60);

/// What a viewer negotiated: these kinds with these codecs.
fn media(codecs: &[(CodecKind, &str)]) -> Vec<NegotiatedMedia> {
    let media = codecs.iter().map(|(kind, fmtp)| NegotiatedMedia {
        kind: kind.kind(),
        mid: "0".to_owned(),
        codec: Codec { kind: *kind, payload_type: 100, fmtp: (*fmtp).to_owned() },
        rtx_payload_type: None,
        red_payload_type: None,
        extensions: ExtensionMap::default(),
        feedback: Feedback::default(),
        rids: Vec::new(),
        remote_ssrcs: Vec::new(),
        local_ssrc: None,
    });
    media.collect()
}

fn track(id: u64, kind: CodecKind, fmtp: &str) -> StreamTrack {
    let codec = Codec { kind, payload_type: 96, fmtp: fmtp.to_owned() };
    StreamTrack { id: TrackId(id), codec, rids: Vec::new() }
}

fn claimant(token: u8) -> Claimant {
    Claimant { token: Some(TokenDigest::new([token; 32])), ..Claimant::default() }
}

/// A room with grace, its publisher at peer 0, and one viewer at peer 1.
struct Broadcast {
    room: RoomCore,
    now: Instant,
    publisher: SessionId,
    viewer: SessionId,
    /// As the room has it from the first publisher on.
    publication: SessionId,
    next_peer: u32,
}

impl Broadcast {
    fn of(tracks: Vec<StreamTrack>, viewer_media: Vec<NegotiatedMedia>) -> Self {
        let (now, publisher, viewer) = (start(), SessionId::random(), SessionId::random());
        let mut room = RoomCore::new(GRACE);
        room.publish(now, entrant(publisher, "main"), claimant(1), tracks).unwrap();
        room.peer_added(publisher, SHARD, key(0));
        let mut broadcast = Self { room, now, publisher, viewer, publication: publisher, next_peer: 2 };
        broadcast.goes_live(publisher);
        let entrant = Entrant { media: viewer_media, ..entrant(viewer, "main") };
        broadcast.room.play(now, entrant, publisher).unwrap();
        broadcast.room.peer_added(viewer, SHARD, key(1));
        outputs(&mut broadcast.room);
        broadcast
    }

    fn new() -> Self {
        Self::of(tracks(), media(&[(CodecKind::Opus, ""), (CodecKind::H264, "")]))
    }

    fn goes_live(&mut self, publisher: SessionId) {
        for event in [PeerEvent::PathFound, PeerEvent::Connected, PeerEvent::FirstMedia] {
            self.room.handle_notice(notice(publisher, event, self.now));
        }
    }

    fn leaves(&mut self, session: SessionId, reason: EndReason) {
        self.room.handle_notice(notice(session, PeerEvent::Ended(reason), self.now));
    }

    /// Another publisher is let in.
    fn comes(&mut self, claimant: Claimant, tracks: Vec<StreamTrack>) -> Result<SessionId, RoomError> {
        let session = SessionId::random();
        let published = self.room.publish(self.now, entrant(session, "main"), claimant, tracks)?;
        assert_eq!(published, Published::Successor, "the cluster need not be asked");
        self.room.peer_added(session, SHARD, key(self.next_peer));
        self.next_peer += 1;
        Ok(session)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        if self.room.poll_timeout().is_some_and(|at| at <= self.now) {
            self.room.handle_timeout(self.now);
        }
    }

    fn plays(&self) -> bool {
        self.room.find(&name("main")).is_ok_and(|live| live.publisher == self.publication)
    }
}

#[test]
fn viewers_wait_for_a_publisher_and_play_on_when_it_returns() {
    for reason in [EndReason::ClosedByPeer, EndReason::ConsentExpired] {
        let mut it = Broadcast::new();
        it.leaves(it.publisher, reason);
        let said = outputs(&mut it.room);
        assert_eq!((ended(&said), closed(&said)), (vec![it.publisher], vec![]), "the viewer stays");
        assert!(said.iter().any(|output| matches!(output, RoomOutput::StreamPaused { viewers: 1, .. })));
        assert!(matches!(it.room.find(&name("main")), Err(RoomError::NotLive)), "nobody else comes in");
        it.wait(GRACE - Duration::from_secs(1));
        assert_eq!(it.room.vacancy(&name("main"), &claimant(9)).unwrap(), Some(SHARD), "whoever may publish");
        let returned = it.comes(claimant(9), tracks()).unwrap();
        it.wait(Duration::from_secs(10));
        assert_eq!(ended(&outputs(&mut it.room)), [], "it is on its way in");
        it.goes_live(returned);
        let said = outputs(&mut it.room);
        assert_eq!((ended(&said), closed(&said)), (vec![], vec![]));
        let away = GRACE + Duration::from_secs(9);
        assert!(said.iter().any(|output| {
            matches!(output, RoomOutput::PublisherChanged { away: Some(time), goes_on: true, .. } if *time == away)
        }));
        assert!(it.plays(), "answers that were made before are still good");
        assert_eq!(it.room.poll_timeout(), None);
    }
}

#[test]
fn a_publisher_that_does_not_return_in_time_ends_its_viewers() {
    let mut it = Broadcast::new();
    it.room.delete(it.now, it.publisher).unwrap();
    assert_eq!(closed(&outputs(&mut it.room)), [(0, EndReason::Deleted)]);
    assert_eq!(it.room.poll_timeout(), Some(it.now + GRACE));
    it.wait(GRACE - Duration::from_millis(1));
    assert!(!it.room.is_empty());
    it.wait(Duration::from_millis(1));
    let said = outputs(&mut it.room);
    assert_eq!(closed(&said), [(1, EndReason::StreamEnded)]);
    assert!(said.iter().any(|output| matches!(output, RoomOutput::StreamEnded { .. })));
    assert!(it.room.is_empty() && is_free(&it.room, "main"));
}

#[test]
fn one_that_tries_and_fails_costs_the_viewers_nothing_but_time() {
    let mut it = Broadcast::new();
    it.leaves(it.publisher, EndReason::ClosedByPeer);
    let failed = it.comes(claimant(1), tracks()).unwrap();
    it.wait(GRACE + Duration::from_secs(1));
    assert_eq!(it.room.poll_timeout(), None, "not while somebody connects");
    it.leaves(failed, EndReason::IceTimeout);
    let said = outputs(&mut it.room);
    assert_eq!(closed(&said), [(1, EndReason::StreamEnded)], "now the time is over");
    assert!(it.room.is_empty());
}

#[test]
fn each_return_begins_the_grace_anew() {
    let mut it = Broadcast::new();
    for _ in 0..3 {
        it.leaves(it.publisher, EndReason::ClosedByPeer);
        it.wait(GRACE - Duration::from_secs(1));
        it.publisher = it.comes(claimant(1), tracks()).unwrap();
        it.goes_live(it.publisher);
        assert!(it.plays());
        assert_eq!(it.room.poll_timeout(), None);
    }
    assert!(!ended(&outputs(&mut it.room)).contains(&it.viewer));
}

#[test]
fn a_stream_that_nobody_waits_for_ends_at_once() {
    let mut it = Broadcast::new();
    it.room.delete(it.now, it.viewer).unwrap();
    it.leaves(it.publisher, EndReason::ClosedByPeer);
    assert!(it.room.is_empty() && is_free(&it.room, "main"));
    let mut it = Broadcast::new();
    it.leaves(it.publisher, EndReason::ClosedByPeer);
    it.room.delete(it.now, it.viewer).unwrap();
    assert!(it.room.is_empty() && is_free(&it.room, "main"), "the last viewer lost its patience");
}

#[test]
fn a_drain_does_not_wait_for_anybody() {
    let mut it = Broadcast::new();
    it.leaves(it.publisher, EndReason::ClosedByPeer);
    outputs(&mut it.room);
    it.room.close_all(it.now, EndReason::Shutdown);
    let said = outputs(&mut it.room);
    assert_eq!(closed(&said), [(1, EndReason::Shutdown)]);
    assert!(it.room.is_empty());
    assert!(
        said.iter().any(|output| matches!(output, RoomOutput::StreamEnded { .. })),
        "the claim is given back"
    );
}

#[test]
fn a_live_stream_is_taken_over_by_the_same_token_or_a_higher_priority() {
    for successor in [claimant(1), Claimant { priority: 1, ..Claimant::default() }] {
        let mut it = Broadcast::new();
        for stranger in [claimant(2), Claimant::default()] {
            assert!(matches!(it.comes(stranger, tracks()), Err(RoomError::Taken)));
        }
        let next = it.comes(successor, tracks()).unwrap();
        assert!(it.plays(), "the first one is on air until the second is connected");
        assert_eq!(ended(&outputs(&mut it.room)), []);
        it.room.handle_notice(notice(next, PeerEvent::Connected, it.now));
        assert!(it.plays(), "and until the second has something to show");
        assert_eq!(ended(&outputs(&mut it.room)), []);
        it.wait(Duration::from_secs(4));
        it.room.handle_notice(notice(next, PeerEvent::FirstMedia, it.now));
        assert!(it.plays(), "viewers come in all the time");
        assert_eq!(closed(&outputs(&mut it.room)), [(0, EndReason::TakenOver)]);
        let told = it.room.require(it.publisher, Role::Publisher, &name("main"));
        assert!(matches!(told, Err(RoomError::TakenOver)), "its client learns why");
        it.leaves(it.publisher, EndReason::ClosedByPeer);
        assert!(it.plays(), "what the old one says is late");
    }
}

#[test]
fn a_takeover_that_shows_nothing_ends_and_changes_nothing() {
    let mut it = Broadcast::new();
    let next = it.comes(claimant(1), tracks()).unwrap();
    it.room.handle_notice(notice(next, PeerEvent::Connected, it.now));
    it.wait(Duration::from_secs(14));
    assert_eq!(closed(&outputs(&mut it.room)), []);
    it.wait(Duration::from_secs(1));
    let said = outputs(&mut it.room);
    assert_eq!((closed(&said), ended(&said)), (vec![(2, EndReason::NoKeyframe)], vec![next]));
    assert!(it.plays());
    assert_eq!(it.room.poll_timeout(), None);
}

#[test]
fn a_successor_of_who_left_meanwhile_has_the_time_of_any_publisher() {
    let mut it = Broadcast::new();
    let next = it.comes(claimant(1), tracks()).unwrap();
    it.room.handle_notice(notice(next, PeerEvent::Connected, it.now));
    it.leaves(it.publisher, EndReason::ClosedByPeer);
    it.wait(Duration::from_secs(20));
    assert_eq!(closed(&outputs(&mut it.room)), []);
    it.room.handle_notice(notice(next, PeerEvent::FirstMedia, it.now));
    assert!(it.plays());
    assert_eq!(it.room.poll_timeout(), None);
}

#[test]
fn a_takeover_that_never_connects_changes_nothing() {
    let mut it = Broadcast::new();
    let first = it.comes(claimant(1), tracks()).unwrap();
    let second = it.comes(claimant(1), tracks()).unwrap();
    assert_eq!(closed(&outputs(&mut it.room)), [(2, EndReason::TakenOver)], "one successor at a time");
    it.leaves(first, EndReason::ClosedByPeer);
    it.leaves(second, EndReason::IceTimeout);
    assert!(it.plays());
    assert_eq!(closed(&outputs(&mut it.room)), []);
}

#[test]
fn viewers_whose_codec_is_gone_come_again_and_the_others_stay() {
    let picture = "packetization-mode=1;profile-level-id=42e01f";
    let tracks = |video| vec![track(1, CodecKind::Opus, ""), video];
    let h264 = || track(2, CodecKind::H264, picture);
    let both = media(&[(CodecKind::Opus, ""), (CodecKind::H264, picture)]);
    let sound = media(&[(CodecKind::Opus, "")]);
    let high = track(2, CodecKind::H264, "packetization-mode=1;profile-level-id=640c1f");
    let vp8 = track(3, CodecKind::Vp8, "");
    for (viewer, after, stays) in [
        (&both, tracks(h264()), true),
        (&both, tracks(vp8.clone()), false),
        (&both, tracks(high.clone()), false),
        (&both, vec![track(1, CodecKind::Opus, "")], true),
        (&sound, tracks(vp8), true),
        (&sound, vec![h264()], true),
    ] {
        let mut it = Broadcast::of(tracks(h264()), viewer.clone());
        let goes_on = after == tracks(h264());
        it.leaves(it.publisher, EndReason::ClosedByPeer);
        let next = it.comes(claimant(1), after.clone()).unwrap();
        outputs(&mut it.room);
        it.room.handle_notice(notice(next, PeerEvent::Connected, it.now));
        let expected = if stays { vec![] } else { vec![(1, EndReason::StreamChanged)] };
        assert_eq!(closed(&outputs(&mut it.room)), expected, "{after:?}");
        it.goes_live(next);
        let live = it.room.find(&name("main")).unwrap();
        assert_eq!(live.tracks, after);
        assert_eq!(live.publisher == it.publication, goes_on, "other tracks are another publication");
    }
}

#[test]
fn what_comes_newly_is_worth_a_new_session() {
    let mut it = Broadcast::of(vec![track(2, CodecKind::H264, "")], media(&[(CodecKind::H264, "")]));
    let next = it.comes(claimant(1), tracks()).unwrap();
    it.goes_live(next);
    let said = closed(&outputs(&mut it.room));
    assert!(said.contains(&(1, EndReason::StreamChanged)), "there is sound now: {said:?}");
}

#[test]
fn a_name_that_is_not_ours_is_nobodys_here() {
    for connected in [false, true] {
        let (now, first, next) = (start(), SessionId::random(), SessionId::random());
        let mut room = RoomCore::new(GRACE);
        room.publish(now, entrant(first, "main"), claimant(1), tracks()).unwrap();
        room.publish(now, entrant(next, "main"), claimant(1), tracks()).unwrap();
        room.peer_added(next, SHARD, key(1));
        if connected {
            room.handle_notice(notice(next, PeerEvent::Connected, now));
            room.handle_notice(notice(next, PeerEvent::FirstMedia, now));
        }
        outputs(&mut room);
        room.claim_answered(now, first, false);
        let said = outputs(&mut room);
        assert_eq!(closed(&said), [(1, EndReason::StreamEnded)], "it would be a second origin");
        assert!(room.is_empty() && is_free(&room, "main"));
        let over = said.iter().filter(|output| matches!(output, RoomOutput::StreamEnded { .. }));
        assert_eq!(over.count(), 1);
        // Whoever comes then asks the cluster again, and a late answer is not for it.
        let third = SessionId::random();
        let published = room.publish(now, entrant(third, "main"), claimant(2), tracks()).unwrap();
        assert_eq!(published, Published::First);
        room.claim_answered(now, first, false);
        room.claim_answered(now, third, true);
        room.claim_answered(now, third, false);
        assert_eq!(ended(&outputs(&mut room)), []);
    }
}

#[test]
fn a_name_that_is_ours_stays_with_the_successor_of_one_that_no_shard_took() {
    let (now, first, next) = (start(), SessionId::random(), SessionId::random());
    let mut room = RoomCore::new(GRACE);
    room.publish(now, entrant(first, "main"), claimant(1), tracks()).unwrap();
    room.publish(now, entrant(next, "main"), claimant(1), tracks()).unwrap();
    room.claim_answered(now, first, true);
    room.withdraw(now, first);
    assert_eq!(ended(&outputs(&mut room)), [first]);
    room.handle_notice(notice(next, PeerEvent::Connected, now));
    room.handle_notice(notice(next, PeerEvent::FirstMedia, now));
    assert!(room.find(&name("main")).is_ok());
}

/// What peers are told of the layers that they asked for, by index.
fn wishes(outputs: &[RoomOutput]) -> Vec<(u32, LayerWish)> {
    let wishes = outputs.iter().filter_map(|output| match output {
        RoomOutput::WishLayer { peer, wish, .. } => Some((peer.index, *wish)),
        _ => None,
    });
    wishes.collect()
}

#[test]
fn a_wish_by_name_means_the_layer_of_that_name_whoever_publishes() {
    let layered = |rids: &[&str]| {
        let video = track(2, CodecKind::H264, "");
        vec![StreamTrack { rids: rids.iter().map(|rid| (*rid).to_owned()).collect(), ..video }]
    };
    let mut broadcast = Broadcast::of(layered(&["h", "q"]), media(&[(CodecKind::H264, "")]));
    broadcast.room.sessions.get_mut(&broadcast.viewer).unwrap().video_section = Some(1);
    let ask = |broadcast: &mut Broadcast, rid: Option<&str>, temporal| {
        let request = LayerRequest { rid: rid.map(str::to_owned), temporal, ..LayerRequest::default() };
        let asked = broadcast.room.select_layer(broadcast.viewer, &request);
        (asked.is_ok(), wishes(&outputs(&mut broadcast.room)))
    };
    let wish = |layer, temporal| {
        LayerWish::AtMost(crate::media::selection::LayerLimit { layer, temporal, ..Default::default() })
    };
    assert_eq!(ask(&mut broadcast, Some("q"), Some(1)), (true, vec![(1, wish(Some(1), Some(1)))]));
    assert_eq!(ask(&mut broadcast, Some("x"), None), (false, Vec::new()), "what was wished before holds");
    for (rids, layer) in [(["q", "h"], Some(0)), (["a", "b"], None), (["f", "q"], Some(1))] {
        let next = broadcast.comes(claimant(1), layered(&rids)).unwrap();
        broadcast.goes_live(next);
        let told = wishes(&outputs(&mut broadcast.room));
        assert_eq!(told, [(1, wish(layer, Some(1)))], "{rids:?}");
    }
    ask(&mut broadcast, None, None);
    let next = broadcast.comes(claimant(1), layered(&["q", "h"])).unwrap();
    broadcast.goes_live(next);
    assert!(wishes(&outputs(&mut broadcast.room)).is_empty(), "names that nobody asked for mean nothing");
}

#[test]
fn a_silent_publisher_is_in_nobodys_way_and_its_viewers_play_on_with_the_next() {
    let mut it = Broadcast::new();
    let stranger = || Claimant::default();
    assert!(matches!(it.comes(stranger(), tracks()), Err(RoomError::Taken)));
    it.room.handle_notice(notice(it.publisher, PeerEvent::MediaPaused { since: it.now }, it.now));
    let said = outputs(&mut it.room);
    assert!(matches!(said[..], [RoomOutput::StreamPaused { viewers: 1, left: false, .. }]), "{said:?}");
    let facts = it.room.facts(&name("main")).unwrap();
    assert_eq!((facts.active, facts.viewers), (false, 1));
    assert!(matches!(it.room.find(&name("main")), Err(RoomError::NotLive)), "nobody joins a black picture");
    it.wait(GRACE * 2);
    assert_eq!(outputs(&mut it.room).len(), 0, "as long as it is here, its viewers wait");

    assert_eq!(it.room.vacancy(&name("main"), &stranger()).unwrap(), Some(SHARD));
    let next = it.comes(stranger(), tracks()).unwrap();
    assert!(matches!(it.comes(stranger(), tracks()), Err(RoomError::Taken)), "one at a time");
    assert_eq!(ended(&outputs(&mut it.room)), [], "the silent one may still come back");
    it.goes_live(next);
    let said = outputs(&mut it.room);
    assert_eq!(closed(&said), [(0, EndReason::TakenOver)]);
    let away = GRACE * 2;
    assert!(said.iter().any(|output| {
        matches!(output, RoomOutput::PublisherChanged { away: Some(time), goes_on: true, .. } if *time == away)
    }));
    assert!(it.plays(), "the viewer never left");
    it.room.handle_notice(notice(it.publisher, PeerEvent::MediaResumed, it.now));
    assert_eq!(outputs(&mut it.room).len(), 0, "it is nobody now");
}

#[test]
fn a_successor_that_sends_nothing_is_in_nobodys_way_either() {
    let mut it = Broadcast::new();
    let next = it.comes(claimant(1), tracks()).unwrap();
    it.room.handle_notice(notice(next, PeerEvent::Connected, it.now));
    let since = it.now;
    it.wait(Duration::from_secs(6));
    let paused = PeerEvent::MediaPaused { since };
    it.room.handle_notice(notice(next, paused, it.now));
    let stranger = Claimant::default();
    assert!(matches!(it.comes(stranger, tracks()), Err(RoomError::Taken)), "somebody is on air");
    it.room.handle_notice(notice(it.publisher, paused, it.now));
    outputs(&mut it.room);
    it.room.handle_notice(notice(next, PeerEvent::MediaResumed, it.now));
    assert!(
        matches!(it.comes(stranger, tracks()), Err(RoomError::Taken)),
        "it sends, and has the stream at once"
    );
    it.room.handle_notice(notice(next, paused, it.now));
    let third = it.comes(stranger, tracks()).unwrap();
    assert_eq!(ended(&outputs(&mut it.room)), [next], "two that send nothing keep nobody out");
    it.goes_live(third);
    assert!(ended(&outputs(&mut it.room)).contains(&it.publisher) && it.plays());
}

#[test]
fn media_that_comes_back_makes_the_stream_its_publishers_again() {
    let mut it = Broadcast::new();
    let since = it.now;
    it.wait(Duration::from_secs(6));
    it.room.handle_notice(notice(it.publisher, PeerEvent::MediaPaused { since }, it.now));
    it.wait(Duration::from_secs(7));
    it.room.handle_notice(notice(it.publisher, PeerEvent::MediaResumed, it.now));
    // The time in which nobody had noticed is part of it.
    let away = Duration::from_secs(13);
    let said = outputs(&mut it.room);
    assert!(
        said.iter()
            .any(|output| matches!(output, RoomOutput::StreamResumed { away: time, .. } if *time == away))
    );
    assert!(it.plays() && it.room.facts(&name("main")).unwrap().active);
    assert!(matches!(it.comes(Claimant::default(), tracks()), Err(RoomError::Taken)));
}

#[test]
fn the_grace_of_a_silent_publisher_begins_when_its_session_ends() {
    let mut it = Broadcast::new();
    let silent_at = it.now;
    it.room.handle_notice(notice(it.publisher, PeerEvent::MediaPaused { since: it.now }, it.now));
    it.wait(Duration::from_secs(25));
    it.leaves(it.publisher, EndReason::ConsentExpired);
    assert_eq!(it.room.poll_timeout(), Some(it.now + GRACE));
    it.wait(Duration::from_secs(1));
    let next = it.comes(Claimant::default(), tracks()).unwrap();
    outputs(&mut it.room);
    it.goes_live(next);
    let away = it.now - silent_at;
    assert!(outputs(&mut it.room).iter().any(|output| {
        matches!(output, RoomOutput::PublisherChanged { away: Some(time), .. } if *time == away)
    }));
    assert!(it.plays());
}

#[test]
fn one_that_is_connected_and_never_sent_holds_no_name_either() {
    let (mut room, publisher) = claimed(start());
    let now = start();
    room.handle_notice(notice(publisher, PeerEvent::Connected, now));
    room.handle_notice(notice(publisher, PeerEvent::MediaPaused { since: now }, now));
    let next = SessionId::random();
    room.publish(now, entrant(next, "main"), Claimant::default(), tracks()).unwrap();
    outputs(&mut room);
    room.handle_notice(notice(publisher, PeerEvent::FirstMedia, now));
    assert!(room.find(&name("main")).is_ok(), "it began after all");
    room.handle_notice(notice(next, PeerEvent::Connected, now));
    assert_eq!(ended(&outputs(&mut room)), []);
    room.handle_notice(notice(next, PeerEvent::FirstMedia, now));
    assert_eq!(ended(&outputs(&mut room)), [publisher], "who came meanwhile goes on with it");
}
