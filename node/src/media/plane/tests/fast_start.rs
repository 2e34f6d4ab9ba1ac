use super::feedback::{packets, plis};
use super::shards::exchange;
use super::*;
use crate::media::codec::Point;
use crate::media::fast_start::Allowance;
use crate::media::rtp::RtpHeader;
use crate::media::selection::{LayerLimit, LayerWish};
use crate::media::spec::EgressSpec;

/// 30 pictures a second.
pub(super) const FRAME: Duration = Duration::from_millis(33);
pub(super) const FRAME_UNITS: u32 = 2_970;

pub(super) struct Scene {
    pub(super) rig: Rig,
    pub(super) setup: Setup,
    pub(super) publisher: Publisher,
    pub(super) sequence: u16,
    pub(super) frame: u32,
}

impl Scene {
    pub(super) fn new() -> Self {
        let setup = Setup::default();
        let mut rig = Rig::new();
        let publisher = rig.publisher(0, &setup);
        Self { rig, setup, publisher, sequence: 100, frame: 0 }
    }

    /// Publishes one picture of `count` packets, those of `lost` excepted, and lets its time pass.
    pub(super) fn picture(
        &mut self,
        keyframe: bool,
        count: u16,
        lost: Option<u16>,
        viewers: &mut [&mut Viewer],
    ) {
        for packet in 0..count {
            let timestamp = 7_000 + self.frame * FRAME_UNITS;
            let sent =
                Sent { timestamp, keyframe: keyframe && packet == 0, ..Sent::frame(self.sequence, false) };
            self.publisher.marker = packet + 1 == count;
            self.sequence += 1;
            if lost != Some(packet) {
                let datagram = self.publisher.video(&sent);
                self.rig.publish(&mut self.publisher, &datagram, viewers);
            }
        }
        self.frame += 1;
        self.rig.wait(FRAME, &mut [&mut self.publisher], viewers);
    }

    /// A keyframe of 20 packets, and `count` pictures of three.
    pub(super) fn group(&mut self, count: usize, viewers: &mut [&mut Viewer]) {
        self.picture(true, 20, None, viewers);
        self.pictures(count, viewers);
    }

    pub(super) fn pictures(&mut self, count: usize, viewers: &mut [&mut Viewer]) {
        (0..count).for_each(|_| self.picture(false, 3, None, viewers));
    }

    /// How often the publisher was asked for a keyframe since the last call.
    pub(super) fn asked(&mut self) -> usize {
        self.rig.flush(&mut [&mut self.publisher], &mut []);
        plis(&packets(&mut self.publisher.client))
    }

    pub(super) fn join(&mut self, index: u32) -> Viewer {
        self.rig.viewer(index, &self.setup.clone())
    }
}

/// The steps between the sequence numbers of packets that follow each other, and between their timestamps.
pub(super) fn steps(packets: &[(RtpHeader, Vec<u8>)]) -> Vec<(u16, i32)> {
    let step = |pair: &[(RtpHeader, Vec<u8>)]| {
        let (before, after) = (&pair[0].0, &pair[1].0);
        let time = after.timestamp.wrapping_sub(before.timestamp).cast_signed();
        (after.sequence.wrapping_sub(before.sequence), time)
    };
    packets.windows(2).map(step).collect()
}

pub(super) fn is_keyframe(packet: &(RtpHeader, Vec<u8>)) -> bool {
    packet.1[packet.0.payload()][1] & 1 == 0
}

#[test]
fn who_joins_in_the_middle_of_a_group_plays_from_its_keyframe_without_a_request() {
    let mut scene = Scene::new();
    let mut watcher = scene.join(1);
    scene.asked();
    scene.group(20, &mut [&mut watcher]);
    scene.asked();
    watcher.client.packets();
    let mut viewer = scene.join(2);
    let joined = scene.rig.now;
    scene.rig.flush(&mut [], &mut [&mut viewer]);
    let first = viewer.client.packets();
    assert!(
        is_keyframe(&first[0]) && (1..20).contains(&first.len()),
        "a part of it at once: {}",
        first.len()
    );
    let mut all = first;
    let mut seen = Vec::new();
    for _ in 0..12 {
        scene.pictures(1, &mut [&mut watcher, &mut viewer]);
        let now = scene.rig.now;
        seen.push((now - joined, viewer.client.packets()));
    }
    all.extend(seen.into_iter().flat_map(|(_, packets)| packets));
    assert_eq!(all.len(), 20 + 32 * 3, "all from the keyframe on, once");
    assert!(steps(&all).iter().all(|(sequence, time)| *sequence == 1 && *time >= 0), "{:?}", steps(&all));
    let pictures: Vec<u32> =
        all.iter().filter(|(header, _)| header.marker).map(|(header, _)| header.timestamp).collect();
    assert!(pictures.windows(2).all(|pair| pair[0] < pair[1]), "{pictures:?}");
    let newest_at_join = 7_000 + 20 * FRAME_UNITS;
    assert!(newest_at_join.abs_diff(pictures[0]) < 10, "the keyframe says that it was filmed now");
    let live = watcher.client.packets();
    let tail = |packets: &[(RtpHeader, Vec<u8>)]| -> Vec<_> {
        packets
            .iter()
            .rev()
            .take(12)
            .map(|(header, packet)| (header.timestamp, packet[header.payload()].to_vec()))
            .collect()
    };
    assert_eq!(tail(&all), tail(&live), "the same as everybody else in the end");
    assert!(
        steps(&live)
            .iter()
            .all(|(sequence, time)| *sequence == 1 && (*time == 0 || *time == FRAME_UNITS as i32))
    );
    assert_eq!(scene.asked(), 0);
    let counters = scene.rig.plane.counters();
    assert_eq!((counters.keyframe_requests_cached, counters.seal_failed), (1, 0));
    assert_eq!(scene.rig.plane.next_departure(), None, "nothing is left to do");
    let events = scene.rig.events();
    let peer = viewer.client.peer;
    assert!(events.contains(&PlaneEvent::FirstKeyframe(peer)));
    let begun = PlaneEvent::LayerPlayed { peer, track: VIDEO, layer: 0, point: Point::WHOLE, switch: None };
    assert!(events.contains(&begun));
}

#[test]
fn it_has_caught_up_within_200_ms() {
    let mut scene = Scene::new();
    scene.group(25, &mut []);
    let mut viewer = scene.join(1);
    for _ in 0..8 {
        scene.pictures(1, &mut [&mut viewer]);
    }
    viewer.client.packets();
    let datagram = scene.publisher.video(&Sent::frame(scene.sequence, false));
    scene.rig.publish(&mut scene.publisher, &datagram, &mut [&mut viewer]);
    assert_eq!(viewer.client.packets().len(), 1, "as it comes");
}

#[test]
fn a_group_with_a_hole_or_too_old_is_not_played() {
    let mut holed = Scene::new();
    holed.picture(true, 20, Some(7), &mut []);
    holed.pictures(5, &mut []);
    let mut old = Scene::new();
    old.group(35, &mut []);
    for scene in [&mut holed, &mut old] {
        scene.asked();
        let mut viewer = scene.join(1);
        assert_eq!(scene.asked(), 1);
        scene.pictures(3, &mut [&mut viewer]);
        assert!(viewer.client.packets().is_empty());
        scene.group(2, &mut [&mut viewer]);
        let packets = viewer.client.packets();
        assert!(is_keyframe(&packets[0]) && packets.len() == 26);
        assert_eq!(scene.rig.plane.counters().keyframe_requests_cached, 0);
    }
}

#[test]
fn nothing_of_a_publisher_before_is_played() {
    let mut scene = Scene::new();
    scene.group(5, &mut []);
    scene.rig.plane.remove_peer(scene.rig.now, scene.publisher.client.peer);
    let mut early = scene.join(1);
    let mut next = scene.rig.publisher(9, &scene.setup.clone());
    let mut late = scene.join(2);
    scene.rig.flush(&mut [&mut next], &mut [&mut early, &mut late]);
    scene.rig.wait(Duration::from_millis(200), &mut [&mut next], &mut [&mut early, &mut late]);
    assert!(early.client.packets().is_empty() && late.client.packets().is_empty());
    assert!(plis(&packets(&mut next.client)) > 0);
}

#[test]
fn what_is_lost_of_a_group_comes_again_as_it_was() {
    for rtx in [true, false] {
        let mut scene = Scene::new();
        scene.setup.rtx = rtx;
        scene.rig = Rig::new();
        scene.publisher = scene.rig.publisher(0, &scene.setup.clone());
        scene.group(15, &mut []);
        let mut viewer = scene.join(1);
        scene.pictures(10, &mut [&mut viewer]);
        let all = viewer.client.packets();
        let lost: Vec<u16> = [0, 5, 19, 20, 40, 60].map(|place: usize| all[place].0.sequence).to_vec();
        let nack = viewer.nack(&lost);
        scene.rig.receive(&viewer.client, nack);
        scene.rig.flush(&mut [], &mut [&mut viewer]);
        if !rtx {
            // The same bytes under the same nonce, which the test's viewer has had; the sealer's ledger looks at the bytes.
            assert_eq!(viewer.client.refused, lost.len());
            continue;
        }
        let again = viewer.client.packets();
        assert_eq!(again.len(), lost.len());
        for ((header, packet), sequence) in again.iter().zip(&lost) {
            let (original, sent) = all.iter().find(|(header, _)| header.sequence == *sequence).unwrap();
            assert_eq!(header.timestamp, original.timestamp);
            assert_eq!(packet[header.payload()][2..], sent[original.payload()]);
        }
    }
}

#[test]
fn a_crowd_that_joins_takes_turns_and_disturbs_nobody() {
    let mut scene = Scene::new();
    let mut watcher = scene.join(1);
    scene.group(3, &mut [&mut watcher]);
    scene.asked();
    watcher.client.packets();
    let (mut viewers, mut asked) = (Vec::new(), 0);
    for round in 0..20 {
        viewers.extend((0..25).map(|place| scene.join(2 + round * 25 + place)));
        let before = scene.rig.plane.counters().rtp_sent_packets;
        let live = viewers.len() as u64 + 1;
        scene.rig.flush(&mut [&mut scene.publisher], &mut viewers.iter_mut().collect::<Vec<_>>());
        let sent = scene.rig.plane.counters().rtp_sent_packets - before;
        assert!(sent <= Allowance::HEARD.step_packets as u64 + live * 3, "{sent} in one flush");
        let mut everybody: Vec<_> = viewers.iter_mut().collect();
        everybody.push(&mut watcher);
        scene.picture(round == 15, 3, None, &mut everybody);
        asked += scene.asked();
    }
    assert!(asked <= 2, "{asked} requests in 660 ms");
    let live = watcher.client.packets();
    assert_eq!(live.len(), 60);
    assert!(steps(&live).iter().all(|(sequence, _)| *sequence == 1));
    let mut everybody: Vec<_> = viewers.iter_mut().collect();
    scene.pictures(15, &mut everybody);
    for viewer in &mut viewers {
        let packets = viewer.client.packets();
        assert!(packets.first().is_some_and(is_keyframe));
        assert!(steps(&packets).iter().all(|(sequence, time)| *sequence == 1 && *time >= 0));
    }
    assert!(scene.rig.plane.counters().keyframe_requests_cached > 300);
    assert_eq!(scene.rig.plane.counters().seal_failed, 0);
}

/// While a leg catches up it is sent live packets too: of more legs than there is room for, none would ever be done.
#[test]
fn a_crowd_on_a_fast_stream_is_soon_where_the_others_are() {
    let mut scene = Scene::new();
    let mut watcher = scene.join(1);
    scene.picture(true, 20, None, &mut [&mut watcher]);
    let mut everybody: Vec<Viewer> = (0..300).map(|place| scene.join(2 + place)).collect();
    everybody.push(watcher);
    for round in 0..40 {
        // A keyframe for those that were not let in.
        scene.picture(round == 10, 20, None, &mut everybody.iter_mut().collect::<Vec<_>>());
    }
    let last = |viewer: &mut Viewer| viewer.client.packets().last().map(|(header, _)| header.timestamp);
    let newest: Vec<Option<u32>> = everybody.iter_mut().map(last).collect();
    assert!(newest.iter().all(|timestamp| timestamp.is_some() && *timestamp == newest[0]), "{newest:?}");
    assert!(scene.rig.plane.counters().keyframe_requests_cached > 0);
}

#[test]
fn who_leaves_or_moves_meanwhile_does_no_harm() {
    let mut scene = Scene::new();
    scene.group(20, &mut []);
    let mut viewers: Vec<_> = (1..=6).map(|index| scene.join(index)).collect();
    scene.rig.flush(&mut [], &mut viewers.iter_mut().collect::<Vec<_>>());
    for gone in [0, 2] {
        scene.rig.plane.remove_peer(scene.rig.now, viewers[gone].client.peer);
    }
    scene.pictures(12, &mut viewers.iter_mut().collect::<Vec<_>>());
    for (place, viewer) in viewers.iter_mut().enumerate().filter(|(place, _)| ![0, 2].contains(place)) {
        let packets = viewer.client.packets();
        assert_eq!(packets.len(), 20 + 32 * 3, "{place}");
        assert!(steps(&packets).iter().all(|(sequence, time)| *sequence == 1 && *time >= 0));
    }
}

#[test]
fn the_first_viewer_on_another_shard_begins_with_the_group_too() {
    let mut scene = Scene::new();
    scene.group(15, &mut []);
    scene.asked();
    let mut far = Rig::on_shard(1);
    far.now = scene.rig.now;
    let mut first = far.viewer(1, &scene.setup);
    assert_eq!(exchange(&mut scene.rig, &mut far), 1, "the group in one batch");
    far.flush(&mut [], &mut [&mut first]);
    let mut second = far.viewer(2, &scene.setup);
    for _ in 0..10 {
        scene.pictures(1, &mut []);
        exchange(&mut scene.rig, &mut far);
        far.wait(FRAME, &mut [], &mut [&mut first, &mut second]);
    }
    for viewer in [&mut first, &mut second] {
        let packets = viewer.client.packets();
        assert!(is_keyframe(&packets[0]));
        assert_eq!(packets.len(), 20 + 25 * 3);
        assert!(steps(&packets).iter().all(|(sequence, time)| *sequence == 1 && *time >= 0));
    }
    far.wait(Duration::from_secs(1), &mut [], &mut []);
    exchange(&mut scene.rig, &mut far);
    assert_eq!(scene.asked(), 0);
    assert_eq!(far.plane.counters().keyframe_requests_cached, 2);
}

/// Whoever takes too long goes on with the others, and asks for what it lacks. That belongs where it lies in time.
#[test]
fn what_was_too_late_to_be_sent_has_its_place_in_time_when_it_is_asked_for() {
    let mut scene = Scene::new();
    scene.group(15, &mut []);
    let mut viewer = scene.join(1);
    scene.rig.flush(&mut [], &mut [&mut viewer]);
    // The shard is busy with other things.
    scene.rig.now += Duration::from_millis(1_100);
    scene.frame += 33;
    scene.rig.flush(&mut [], &mut [&mut viewer]);
    scene.pictures(2, &mut [&mut viewer]);
    let mut all = viewer.client.packets();
    let gap = steps(&all).iter().position(|(sequence, _)| *sequence != 1).expect("not everything was sent");
    let missing: Vec<u16> = (all[gap].0.sequence + 1..all[gap + 1].0.sequence).collect();
    assert_eq!(all.len() + missing.len(), 20 + 15 * 3 + 2 * 3);
    for sequences in missing.chunks(16) {
        let nack = viewer.nack(sequences);
        scene.rig.receive(&viewer.client, nack);
        scene.rig.plane.resend_pace_percent = 1_000_000;
        scene.rig.flush(&mut [], &mut [&mut viewer]);
    }
    let repaired = viewer.client.packets().into_iter().map(|(mut header, packet)| {
        let original = &packet[header.payload()][..2];
        header.sequence = u16::from_be_bytes([original[0], original[1]]);
        (header, packet)
    });
    all.extend(repaired);
    all.sort_by_key(|(header, _)| header.sequence);
    assert!(steps(&all).iter().all(|(sequence, time)| *sequence == 1 && *time >= 0), "{:?}", steps(&all));
}

#[test]
fn who_asked_for_a_lower_layer_does_not_begin_with_the_best() {
    let setup = Setup { rids: vec!["a".into(), "b".into()], ..Setup::default() };
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = Viewer::new(1, &setup);
    for step in 0..40 {
        for (layer, size) in [(0, 200), (1, 1_000)] {
            let sent = Sent { layer, size, ..Sent::frame(step, step % 30 == 0) };
            let packet = publisher.video(&sent);
            rig.publish(&mut publisher, &packet, &mut []);
        }
        rig.wait(FRAME, &mut [&mut publisher], &mut []);
    }
    let limit = LayerLimit { layer: Some(0), ..LayerLimit::default() };
    let spec = EgressSpec { wish: LayerWish::AtMost(limit), ..viewer.spec(&setup) };
    rig.plane.add_egress(rig.now, spec).unwrap();
    rig.wait(Duration::from_millis(500), &mut [&mut publisher], &mut [&mut viewer]);
    let packets = viewer.client.packets();
    assert_eq!(packets.len(), 10, "the group of the layer that was asked for");
    assert!(packets.iter().all(|(header, _)| header.payload().len() == 200));
}
