#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod succession;

use aforo_cluster::id::TrackId;
use proptest::prelude::*;

use super::*;
use crate::media::codec::CodecKind;
use crate::media::negotiated::Codec;
use crate::room::claimant::Claimant;

const SHARD: ShardId = ShardId(1);

fn is_free(room: &RoomCore, stream: &str) -> bool {
    matches!(room.vacancy(&name(stream), &Claimant::default()), Ok(None))
}

fn start() -> Instant {
    Instant::now()
}

fn name(text: &str) -> StreamName {
    text.parse().unwrap()
}

fn tracks() -> Vec<StreamTrack> {
    let codec = |kind| Codec { kind, payload_type: 96, fmtp: String::new() };
    let track = |id, kind| StreamTrack { id: TrackId(id), codec: codec(kind), rids: Vec::new() };
    vec![track(1, CodecKind::Opus), track(2, CodecKind::H264)]
}

fn entrant(session: SessionId, stream: &str) -> Entrant {
    Entrant {
        session,
        stream: name(stream),
        shard: SHARD,
        ufrag: "first".to_owned(),
        etag: 1,
        media: Vec::new(),
        video_section: None,
        token: None,
    }
}

fn key(index: u32) -> PeerKey {
    PeerKey { index, generation: 0 }
}

fn notice(session: SessionId, event: PeerEvent, at: Instant) -> PeerNotice {
    PeerNotice { session, event, at }
}

fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials { ufrag: ufrag.to_owned(), password: "p".repeat(22) }
}

/// A room whose stream `main` has a publisher with the peer 0.
fn claimed(now: Instant) -> (RoomCore, SessionId) {
    let (mut room, publisher) = (RoomCore::default(), SessionId::random());
    room.publish(now, entrant(publisher, "main"), Claimant::default(), tracks()).unwrap();
    room.peer_added(publisher, SHARD, key(0));
    outputs(&mut room);
    (room, publisher)
}

fn live(now: Instant) -> (RoomCore, SessionId) {
    let (mut room, publisher) = claimed(now);
    room.handle_notice(notice(publisher, PeerEvent::Connected, now));
    room.handle_notice(notice(publisher, PeerEvent::FirstMedia, now));
    outputs(&mut room);
    (room, publisher)
}

fn viewer(room: &mut RoomCore, now: Instant, publisher: SessionId, peer: u32) -> SessionId {
    let session = SessionId::random();
    room.play(now, entrant(session, "main"), publisher).unwrap();
    room.peer_added(session, SHARD, key(peer));
    session
}

fn outputs(room: &mut RoomCore) -> Vec<RoomOutput> {
    std::iter::from_fn(|| room.poll_output()).collect()
}

/// Peers that were told to close, by index, with the reason.
fn closed(outputs: &[RoomOutput]) -> Vec<(u32, EndReason)> {
    let closed = outputs.iter().filter_map(|output| match output {
        RoomOutput::ClosePeers { peers, reason, .. } => Some((peers, *reason)),
        _ => None,
    });
    closed.flat_map(|(peers, reason)| peers.iter().map(move |peer| (peer.index, reason))).collect()
}

fn ended(outputs: &[RoomOutput]) -> Vec<SessionId> {
    let ended = outputs.iter().filter_map(|output| match output {
        RoomOutput::SessionEnded { session, .. } => Some(*session),
        _ => None,
    });
    ended.collect()
}

#[test]
fn the_end_of_a_stream_is_one_command_for_each_shard_however_many_watch() {
    const VIEWERS: u32 = 10_000;
    let now = start();
    let (mut room, publisher) = live(now);
    for peer in 1..=VIEWERS {
        let (session, shard) = (SessionId::random(), ShardId(u8::from(peer % 2 == 0)));
        room.play(now, Entrant { shard, ..entrant(session, "main") }, publisher).unwrap();
        room.peer_added(session, shard, key(peer));
    }
    room.handle_notice(notice(publisher, PeerEvent::Ended(EndReason::ClosedByPeer), now));
    let outputs = outputs(&mut room);
    let commands = outputs.iter().filter(|output| matches!(output, RoomOutput::ClosePeers { .. }));
    assert_eq!(commands.count(), 2);
    let told: std::collections::BTreeSet<u32> = closed(&outputs).iter().map(|(peer, _)| *peer).collect();
    assert_eq!(told, (1..=VIEWERS).collect());
    assert!(room.is_empty());
}

#[test]
fn a_stream_is_live_once_media_flows_and_not_before() {
    let now = start();
    let (mut room, publisher) = claimed(now);
    assert!(matches!(room.find(&name("main")), Err(RoomError::NotLive)));
    room.handle_notice(notice(publisher, PeerEvent::Connected, now));
    assert!(matches!(room.find(&name("main")), Err(RoomError::NotLive)));
    room.handle_notice(notice(publisher, PeerEvent::FirstMedia, now));
    assert_eq!(room.find(&name("main")).unwrap().tracks, tracks());
    assert!(matches!(room.find(&name("other")), Err(RoomError::NotLive)));
}

#[test]
fn a_second_publisher_is_refused_even_before_the_first_connects() {
    let now = start();
    let (mut room, _) = claimed(now);
    let second = SessionId::random();
    assert!(matches!(
        room.publish(now, entrant(second, "main"), Claimant::default(), tracks()),
        Err(RoomError::Taken)
    ));
    room.publish(now, entrant(second, "other"), Claimant::default(), tracks()).unwrap();
}

#[test]
fn a_publisher_that_never_connects_frees_its_stream() {
    let now = start();
    let (mut room, publisher) = claimed(now);
    room.handle_notice(notice(publisher, PeerEvent::Ended(EndReason::IceTimeout), now));
    assert!(is_free(&room, "main") && room.is_empty());
    assert_eq!(closed(&outputs(&mut room)), [], "a peer that said goodbye is not told to go");
}

#[test]
fn viewers_go_with_their_publisher_and_only_they() {
    let now = start();
    let (mut room, publisher) = live(now);
    let first = viewer(&mut room, now, publisher, 1);
    let second = viewer(&mut room, now, publisher, 2);
    let other = SessionId::random();
    room.publish(now, entrant(other, "other"), Claimant::default(), tracks()).unwrap();
    outputs(&mut room);
    room.handle_notice(notice(publisher, PeerEvent::Ended(EndReason::ClosedByPeer), now));
    let said = outputs(&mut room);
    let mut told = closed(&said);
    told.sort_by_key(|(index, _)| *index);
    assert_eq!(told, [(1, EndReason::StreamEnded), (2, EndReason::StreamEnded)]);
    assert!(ended(&said).contains(&first) && ended(&said).contains(&second));
    assert_eq!(room.session_count(), 1);
}

#[test]
fn an_answer_made_for_a_former_publication_is_refused() {
    let now = start();
    let (mut room, publisher) = live(now);
    room.delete(now, publisher).unwrap();
    let again = SessionId::random();
    room.publish(now, entrant(again, "main"), Claimant::default(), tracks()).unwrap();
    room.handle_notice(notice(again, PeerEvent::FirstMedia, now));
    let late = room.play(now, entrant(SessionId::random(), "main"), publisher);
    assert!(matches!(late, Err(RoomError::NotLive)));
    assert_eq!(room.streams().next().unwrap().1.viewers, 0);
}

#[test]
fn delete_ends_once_and_is_unknown_then() {
    let now = start();
    let (mut room, publisher) = live(now);
    let session = viewer(&mut room, now, publisher, 1);
    room.delete(now, session).unwrap();
    assert_eq!(closed(&outputs(&mut room)), [(1, EndReason::Deleted)]);
    assert!(matches!(room.delete(now, session), Err(RoomError::NoSession)));
    assert_eq!(room.streams().next().unwrap().1.viewers, 0);
    room.handle_notice(notice(session, PeerEvent::Ended(EndReason::Deleted), now));
    assert_eq!(outputs(&mut room).len(), 0, "the peer's own goodbye comes late and changes nothing");
}

#[test]
fn a_peer_that_is_added_after_its_session_ended_is_closed() {
    let now = start();
    let (mut room, publisher) = live(now);
    let session = SessionId::random();
    room.play(now, entrant(session, "main"), publisher).unwrap();
    room.delete(now, session).unwrap();
    outputs(&mut room);
    room.peer_added(session, SHARD, key(5));
    assert_eq!(closed(&outputs(&mut room)), [(5, EndReason::Deleted)]);
}

#[test]
fn a_patch_needs_the_tag_that_the_last_answer_gave() {
    let now = start();
    let (room, publisher) = live(now);
    let same = credentials("first");
    let patch = |if_match: IfMatch| room.patch(publisher, &if_match, Some(&same));
    assert!(matches!(patch(IfMatch::Missing), Err(RoomError::PreconditionMissing)));
    assert!(matches!(patch(IfMatch::Tags(vec![2])), Err(RoomError::PreconditionFailed)));
    assert!(matches!(patch(IfMatch::Tags(vec![2, 1])), Ok(PatchKind::Trickle)));
    assert!(matches!(patch(IfMatch::Any), Ok(PatchKind::Trickle)));
    let unknown = room.patch(SessionId::random(), &IfMatch::Missing, None);
    assert!(matches!(unknown, Err(RoomError::NoSession)));
}

#[test]
fn a_restart_changes_the_tag_and_late_patches_fail_without_harm() {
    let now = start();
    let (mut room, publisher) = live(now);
    let next = credentials("second");
    let kind = room.patch(publisher, &IfMatch::Any, Some(&next)).unwrap();
    assert_eq!(kind, PatchKind::Restart(SHARD));
    room.restart(publisher, credentials("ours"), next.clone(), 7).unwrap();
    let said = outputs(&mut room);
    assert!(matches!(&said[..], [RoomOutput::TellPeer { input: PeerInput::RestartIce { .. }, .. }]));
    let late_tag = room.patch(publisher, &IfMatch::Tags(vec![1]), Some(&next));
    assert!(matches!(late_tag, Err(RoomError::PreconditionFailed)));
    let late_credentials = room.patch(publisher, &IfMatch::Any, Some(&credentials("first")));
    assert!(matches!(late_credentials, Err(RoomError::PreconditionFailed)));
    let trickle = room.patch(publisher, &IfMatch::Tags(vec![7]), Some(&next));
    assert!(matches!(trickle, Ok(PatchKind::Trickle)));
    assert_eq!(room.session_count(), 1);
}

#[test]
fn a_session_knows_whether_its_picture_is_held_back() {
    let now = start();
    let (mut room, publisher) = live(now);
    let watcher = viewer(&mut room, now, publisher, 2);
    for held in [true, false] {
        room.handle_notice(notice(watcher, PeerEvent::PictureHeld(held), now));
        assert_eq!((room.holds_picture(watcher), room.holds_picture(publisher)), (held, false));
    }
    let _ = outputs(&mut room);
    room.handle_notice(notice(SessionId::random(), PeerEvent::PictureHeld(true), now));
    assert!(outputs(&mut room).is_empty(), "of a session that is over");
}

#[test]
fn stages_are_timed_from_the_entry() {
    let now = start();
    let (mut room, publisher) = claimed(now);
    room.handle_notice(notice(publisher, PeerEvent::Connected, now + Duration::from_millis(30)));
    let said = outputs(&mut room);
    assert!(
        matches!(&said[..], [RoomOutput::Stage { elapsed, .. }] if *elapsed == Duration::from_millis(30))
    );
}

/// What can happen to a room, by numbers that a test picks sessions with.
#[derive(Debug, Clone)]
enum Step {
    Publish(u8),
    Play(u8),
    Notice(u8, u8),
    Delete(u8),
    CloseAll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_u8).prop_map(Step::Publish),
        6 => (0..3_u8).prop_map(Step::Play),
        9 => (any::<u8>(), 0..3_u8).prop_map(|(session, event)| Step::Notice(session, event)),
        3 => any::<u8>().prop_map(Step::Delete),
        1 => Just(Step::CloseAll),
    ]
}

proptest! {
    /// Whatever happens: viewers are counted right, nobody watches what is not there, every session that entered ends
    /// exactly once, and no peer of an ended session is left without knowing.
    #[test]
    fn sessions_streams_and_peers_agree(steps in prop::collection::vec(step(), 1..60)) {
        let now = start();
        let mut room = RoomCore::default();
        let mut entered: Vec<SessionId> = Vec::new();
        let mut said_goodbye: Vec<u32> = Vec::new();
        let mut all = Vec::new();
        for step in steps {
            let stream = |number: u8| format!("s{number}");
            let pick = |number: u8| usize::from(number).checked_rem(entered.len()).map(|index| (index, entered[index]));
            let session = SessionId::random();
            let joined = match step {
                Step::Publish(number) => {
                    let entrant = entrant(session, &stream(number));
                    room.publish(now, entrant, Claimant::default(), tracks()).is_ok()
                }
                Step::Play(number) => {
                    let publisher = room.find(&name(&stream(number))).map(|live| live.publisher);
                    publisher.is_ok_and(|publisher| room.play(now, entrant(session, &stream(number)), publisher).is_ok())
                }
                Step::Notice(number, event) => {
                    let event = [PeerEvent::Connected, PeerEvent::FirstMedia, PeerEvent::Ended(EndReason::ConsentExpired)][usize::from(event)];
                    if let Some((index, session)) = pick(number) {
                        if matches!(event, PeerEvent::Ended(_)) {
                            said_goodbye.push(u32::try_from(index).unwrap());
                        }
                        room.handle_notice(notice(session, event, now));
                    }
                    false
                }
                Step::Delete(number) => {
                    if let Some((_, session)) = pick(number) {
                        let _ = room.delete(now, session);
                    }
                    false
                }
                Step::CloseAll => {
                    room.close_all(now, EndReason::Shutdown);
                    prop_assert!(room.is_empty());
                    false
                }
            };
            if joined {
                room.peer_added(session, SHARD, key(u32::try_from(entered.len()).unwrap()));
                entered.push(session);
            }
            all.extend(outputs(&mut room));
            let over = ended(&all);
            let viewers: usize = room.streams().map(|(_, stream)| stream.viewers).sum();
            prop_assert_eq!(viewers + room.streams().count(), room.session_count());
            prop_assert_eq!(entered.len(), over.len() + room.session_count());
            let told: Vec<u32> = closed(&all).iter().map(|(index, _)| *index).collect();
            for (session, index) in entered.iter().zip(0_u32..) {
                let count = over.iter().filter(|other| *other == session).count();
                prop_assert!(count <= 1);
                prop_assert!(count == 0 || told.contains(&index) || said_goodbye.contains(&index));
            }
        }
    }
}
