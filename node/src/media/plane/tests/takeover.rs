//! A publisher that takes over from one that is on air.

use super::*;
use crate::media::rtcp::{self, Packet};

/// Between two frames.
const FRAME: Duration = Duration::from_millis(33);

fn setup() -> Setup {
    Setup { audio: true, ..Setup::default() }
}

/// Who sends, what it is told from, and the number of its next frame.
struct Sender {
    publisher: Publisher,
    /// Bytes of its pictures.
    size: usize,
    mark: u8,
    step: u16,
}

impl Sender {
    fn new(publisher: Publisher, size: usize, mark: u8, step: u16) -> Self {
        Self { publisher, size, mark, step }
    }

    fn asked(&mut self) -> usize {
        let compounds = std::mem::take(&mut self.publisher.client.rtcp);
        let packets = compounds.iter().flat_map(|compound| rtcp::packets(compound));
        packets.flatten().filter(|packet| matches!(packet, Packet::PictureLoss(_))).count()
    }
}

/// What a viewer was sent: when, of whose mark, whether picture, its number and timestamp.
#[derive(Debug, Clone, Copy)]
struct Shown {
    at: Instant,
    mark: u8,
    picture: bool,
    sequence: u16,
    timestamp: u32,
}

/// Sends one frame and its sound of each of `senders`; `keyframe` says of which it is one.
fn frame(rig: &mut Rig, viewer: &mut Viewer, senders: &mut [&mut Sender], keyframe: u8) -> Vec<Shown> {
    for sender in senders.iter_mut() {
        let sound = sender.publisher.audio(sender.step, &[0x78, sender.mark]);
        rig.publish(&mut sender.publisher, &sound, &mut [viewer]);
        let sent = Sent { size: sender.size, ..Sent::frame(sender.step, keyframe == sender.mark) };
        let picture = sender.publisher.video(&sent);
        rig.publish(&mut sender.publisher, &picture, &mut [viewer]);
        sender.step += 1;
    }
    let at = rig.now;
    let mut publishers: Vec<&mut Publisher> =
        senders.iter_mut().map(|sender| &mut sender.publisher).collect();
    rig.wait(FRAME, &mut publishers, &mut [viewer]);
    let sizes: Vec<(usize, u8)> = senders.iter().map(|sender| (sender.size, sender.mark)).collect();
    let shown = viewer.client.packets().into_iter().map(|(header, packet)| {
        let payload = &packet[header.payload()];
        let picture = header.ssrc == viewer.ssrc;
        let of_size = |size| sizes.iter().find(|known| known.0 == size).map_or(0, |known| known.1);
        let mark = if picture { of_size(payload.len()) } else { payload[1] };
        Shown { at, mark, picture, sequence: header.sequence, timestamp: header.timestamp }
    });
    shown.collect()
}

/// Neither numbers nor time have a gap in either of the two streams that the viewer was sent.
fn goes_on(shown: &[Shown]) {
    for (picture, clock_rate_hz) in [(true, 90_000.0), (false, 48_000.0)] {
        let own: Vec<&Shown> = shown.iter().filter(|shown| shown.picture == picture).collect();
        assert!(own.len() > 30);
        for pair in own.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            assert!(pair[1].at - pair[0].at <= FRAME, "a gap of {:?}", pair[1].at - pair[0].at);
            let moved = f64::from(pair[1].timestamp.wrapping_sub(pair[0].timestamp).cast_signed());
            assert!((0.0..0.06).contains(&(moved / clock_rate_hz)), "{pair:?}");
        }
    }
}

fn told(rig: &mut Rig, sender: &Sender) -> bool {
    rig.events().contains(&PlaneEvent::FirstMedia(sender.publisher.client.peer))
}

#[test]
fn the_one_on_air_plays_on_until_the_next_has_a_picture_and_both_streams_change_at_once() {
    let mut rig = Rig::new();
    let mut first = Sender::new(rig.publisher(0, &setup()), 900, 1, 500);
    let mut viewer = rig.viewer(2, &setup());
    let mut shown = Vec::new();
    for step in 0..30 {
        let keyframe = u8::from(step == 0);
        shown.extend(frame(&mut rig, &mut viewer, &mut [&mut first], keyframe));
    }
    first.asked();
    let mut second = Sender::new(rig.publisher(5, &setup()), 500, 2, 60_000);
    // Its keyframes are 4 s apart, and it hears of no wishes.
    for _ in 0..120 {
        shown.extend(frame(&mut rig, &mut viewer, &mut [&mut first, &mut second], 0));
    }
    assert!(shown.iter().all(|shown| shown.mark == 1), "sound of one and picture of the other");
    assert!(!told(&mut rig, &second));
    assert!((7..=9).contains(&second.asked()), "twice a second");
    assert_eq!(first.asked(), 0);
    for step in 0..40 {
        let keyframe = if step == 0 { 2 } else { 0 };
        shown.extend(frame(&mut rig, &mut viewer, &mut [&mut first, &mut second], keyframe));
        assert_eq!(told(&mut rig, &second), step == 0);
    }
    let change = shown.iter().position(|shown| shown.mark == 2).unwrap();
    let (before, after) = shown.split_at(change);
    assert!(before.iter().all(|shown| shown.mark == 1) && before.len() >= 300);
    assert!(after.iter().all(|shown| shown.mark == 2) && after[0].picture);
    goes_on(&shown);
    rig.plane.remove_peer(rig.now, first.publisher.client.peer);
    assert!(!frame(&mut rig, &mut viewer, &mut [&mut second], 0).is_empty(), "its end ends nothing");
    assert_eq!(viewer.client.refused, 0);
}

#[test]
fn a_successor_that_shows_nothing_costs_the_viewers_nothing() {
    let mut rig = Rig::new();
    let mut first = Sender::new(rig.publisher(0, &setup()), 900, 1, 500);
    let mut viewer = rig.viewer(2, &setup());
    let mut shown = Vec::new();
    for step in 0..60_u16 {
        let keyframe = u8::from(step == 0);
        if step == 20 {
            rig.publisher(5, &setup());
        }
        shown.extend(frame(&mut rig, &mut viewer, &mut [&mut first], keyframe));
        if step == 40 {
            rig.plane.remove_peer(rig.now, PeerKey { index: 5, generation: 1 });
        }
    }
    assert_eq!(shown.len(), 120);
    goes_on(&shown);
}

#[test]
fn a_successor_outlives_whom_it_was_to_follow() {
    let mut rig = Rig::new();
    let mut first = Sender::new(rig.publisher(0, &setup()), 900, 1, 500);
    frame(&mut rig, &mut Viewer::new(9, &setup()), &mut [&mut first], 1);
    let mut second = Sender::new(rig.publisher(5, &setup()), 500, 2, 60_000);
    // Nobody watches, so the tracks are gone with the first one, and what comes next may stand in their place.
    rig.plane.remove_peer(rig.now, first.publisher.client.peer);
    let mut viewer = rig.viewer(2, &setup());
    is_heard_at_once_and_seen_with_its_keyframe(&mut rig, &mut viewer, &mut second);
}

/// How long a publisher may be silent.
const SILENCE: Duration = Duration::from_secs(5);

/// A viewer that plays one with sound and picture.
fn on_air() -> (Rig, Sender, Viewer) {
    let mut rig = Rig::new();
    rig.plane = Plane::new(ShardId(0), 7, rig.now).with_silence_limit(Some(SILENCE));
    let mut first = Sender::new(rig.publisher(0, &setup()), 900, 1, 500);
    let mut viewer = rig.viewer(2, &setup());
    for step in 0..30 {
        frame(&mut rig, &mut viewer, &mut [&mut first], u8::from(step == 0));
    }
    (rig, first, viewer)
}

fn falls_silent(rig: &mut Rig, first: &Sender, viewer: &mut Viewer) {
    rig.wait(SILENCE + Duration::from_secs(1), &mut [], &mut [viewer]);
    let peer = first.publisher.client.peer;
    let paused =
        |event: &PlaneEvent| matches!(event, PlaneEvent::MediaPaused { peer: of, .. } if *of == peer);
    assert!(rig.events().iter().any(paused));
}

/// Sends for 8 s without a keyframe, then one. Nobody calls it silent meanwhile.
fn is_heard_at_once_and_seen_with_its_keyframe(rig: &mut Rig, viewer: &mut Viewer, second: &mut Sender) {
    let peer = second.publisher.client.peer;
    let mut events = Vec::new();
    for step in 0..240 {
        let shown = frame(rig, viewer, &mut [&mut *second], 0);
        assert!(matches!(shown[..], [Shown { mark: 2, picture: false, .. }]), "{step}: {shown:?}");
        events.extend(rig.events());
        assert!(events.contains(&PlaneEvent::FirstMedia(peer)), "its room knows at once");
    }
    assert!((14..=18).contains(&second.asked()), "twice a second");
    let shown = frame(rig, viewer, &mut [&mut *second], 2);
    assert!(shown.iter().any(|shown| shown.picture && shown.mark == 2), "{shown:?}");
    events.extend(rig.events());
    let silent =
        |event: &PlaneEvent| matches!(event, PlaneEvent::MediaPaused { peer: of, .. } if *of == peer);
    assert!(!events.iter().any(silent));
}

#[test]
fn who_follows_on_a_silent_one_has_its_tracks_at_once() {
    let (mut rig, first, mut viewer) = on_air();
    falls_silent(&mut rig, &first, &mut viewer);
    let mut second = Sender::new(rig.publisher(5, &setup()), 500, 2, 60_000);
    is_heard_at_once_and_seen_with_its_keyframe(&mut rig, &mut viewer, &mut second);
    rig.plane.remove_peer(rig.now, first.publisher.client.peer);
    assert_eq!(frame(&mut rig, &mut viewer, &mut [&mut second], 0).len(), 2, "its end ends nothing");
}

#[test]
fn a_successor_that_waits_and_sends_is_not_silent_and_waits_no_longer_than_it_must() {
    for leaves in [true, false] {
        let (mut rig, mut first, mut viewer) = on_air();
        let mut second = Sender::new(rig.publisher(5, &setup()), 500, 2, 60_000);
        for _ in 0..240 {
            let shown = frame(&mut rig, &mut viewer, &mut [&mut first, &mut second], 0);
            assert!(shown.len() == 2 && shown.iter().all(|shown| shown.mark == 1));
        }
        let silent = |event: &PlaneEvent| matches!(event, PlaneEvent::MediaPaused { .. });
        assert!(!rig.events().iter().any(silent));
        second.asked();
        if leaves {
            rig.plane.remove_peer(rig.now, first.publisher.client.peer);
        } else {
            falls_silent(&mut rig, &first, &mut viewer);
            assert!(frame(&mut rig, &mut viewer, &mut [], 0).is_empty());
        }
        is_heard_at_once_and_seen_with_its_keyframe(&mut rig, &mut viewer, &mut second);
    }
}

#[test]
fn who_sends_no_picture_takes_over_with_its_first_sound() {
    let mut rig = Rig::new();
    let mut first = Sender::new(rig.publisher(0, &setup()), 900, 1, 500);
    let mut viewer = rig.viewer(2, &setup());
    frame(&mut rig, &mut viewer, &mut [&mut first], 1);
    let mut second = Publisher::new(5, &setup());
    let mut spec = second.spec(&setup());
    spec.tracks.remove(0);
    rig.plane.add_ingest(rig.now, spec).unwrap();
    let sound = second.audio(9_000, &[0x78, 2]);
    rig.publish(&mut second, &sound, &mut [&mut viewer]);
    let heard = viewer.client.packets();
    let (header, packet) = heard.last().unwrap();
    assert_eq!((header.ssrc, packet[header.payload()][1]), (viewer.audio_ssrc, 2));
}

#[test]
fn a_successor_that_waits_and_falls_silent_is_told_of_and_again_when_it_sends() {
    let (mut rig, mut first, mut viewer) = on_air();
    let since = rig.now;
    let mut second = Sender::new(rig.publisher(5, &setup()), 500, 2, 60_000);
    let peer = second.publisher.client.peer;
    rig.events();
    for sequence in 0..240 {
        frame(&mut rig, &mut viewer, &mut [&mut first], 0);
        let mut probe = second.publisher.video_payload(&Sent::frame(sequence, false), &[0; 200]);
        probe[0] |= 0x20;
        *probe.last_mut().unwrap() = 200;
        rig.publish(&mut second.publisher, &probe, &mut [&mut viewer]);
    }
    assert_eq!(rig.events(), [PlaneEvent::MediaPaused { peer, since }]);
    second.step += 240;
    for step in 0..30 {
        let keyframe = if step == 20 { 2 } else { 0 };
        frame(&mut rig, &mut viewer, &mut [&mut first, &mut second], keyframe);
    }
    let events = rig.events();
    let told = [PlaneEvent::MediaResumed(peer), PlaneEvent::FirstMedia(peer)];
    let told = told.map(|told| events.iter().position(|event| *event == told));
    assert!(told[0].is_some() && told[0] < told[1], "{events:?}");
}

#[test]
fn a_keyframe_whose_first_packet_comes_late_is_no_picture_to_take_over_with() {
    let (mut rig, mut first, mut viewer) = on_air();
    let mut next = Sender::new(rig.publisher(5, &setup()), 500, 2, 60_000);
    frame(&mut rig, &mut viewer, &mut [&mut first, &mut next], 0);
    let lost = Sent { size: next.size, ..Sent::frame(next.step, true) };
    next.step += 1;
    frame(&mut rig, &mut viewer, &mut [&mut first, &mut next], 0);
    let late = next.publisher.video(&lost);
    rig.publish(&mut next.publisher, &late, &mut [&mut viewer]);
    let shown: Vec<Shown> =
        (0..5).flat_map(|_| frame(&mut rig, &mut viewer, &mut [&mut first, &mut next], 0)).collect();
    assert!(shown.iter().all(|shown| shown.mark == 1), "the first plays on");
    let shown = frame(&mut rig, &mut viewer, &mut [&mut first, &mut next], 2);
    assert!(shown.iter().any(|shown| shown.picture && shown.mark == 2));
}
