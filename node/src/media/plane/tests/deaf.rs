//! Publishers whose encoder answers no requests for a keyframe: FFmpeg, OBS.

use super::fast_start::{FRAME, FRAME_UNITS, Scene, is_keyframe, steps};
use super::feedback::{packets, plis};
use super::shards::exchange;
use super::simulcast::{numbered, played, setup};
use super::*;
use crate::media::codec::dependency::frame_number;
use crate::media::codec::{CodecKind, picture_numbers};
use crate::media::fast_start::Allowance;
use crate::media::keys::SrtpProfile;
use crate::media::rtp::RtpHeader;
use crate::media::selection::{LayerLimit, LayerWish, Selection};
use crate::media::spec::ShardMessage;

/// A scene whose publisher was asked twice and did not answer. Its group is 3.4 s old.
fn deaf_scene(packets_per_picture: u16) -> Scene {
    let mut scene = Scene::new();
    let mut first = scene.join(1);
    scene.picture(true, 20, None, &mut [&mut first]);
    for picture in 0..102 {
        if picture == 20 {
            let pli = first.pli();
            scene.rig.receive(&first.client, pli);
        }
        scene.picture(false, packets_per_picture, None, &mut [&mut first]);
    }
    assert_eq!(plis(&packets(&mut scene.publisher.client)), 6, "asked for as long as it is wanted");
    scene.rig.plane.remove_peer(scene.rig.now, first.client.peer);
    scene
}

/// That the packets are a keyframe and all that follows, each once, in order, with timestamps that rise.
fn is_whole(packets: &[(RtpHeader, Vec<u8>)]) -> bool {
    packets.first().is_some_and(is_keyframe)
        && steps(packets).iter().all(|(sequence, time)| *sequence == 1 && *time >= 0)
}

#[test]
fn until_it_is_known_a_viewer_waits_for_one_request_and_no_longer() {
    let mut scene = Scene::new();
    scene.group(40, &mut []);
    scene.asked();
    let mut viewer = scene.join(1);
    assert_eq!(scene.asked(), 1);
    scene.pictures(14, &mut [&mut viewer]);
    assert!(viewer.client.packets().is_empty(), "an answer may come");
    scene.pictures(2, &mut [&mut viewer]);
    assert_eq!(scene.asked(), 1);
    scene.pictures(15, &mut [&mut viewer]);
    let packets = viewer.client.packets();
    assert_eq!(packets.len(), 20 + 71 * 3);
    assert!(is_whole(&packets));
}

#[test]
fn who_joins_later_plays_all_of_a_long_group_at_once() {
    let mut scene = deaf_scene(3);
    let mut watcher = scene.join(2);
    scene.pictures(30, &mut [&mut watcher]);
    let mut viewer = scene.join(3);
    let joined = scene.rig.now;
    scene.rig.flush(&mut [], &mut [&mut viewer]);
    let mut all = viewer.client.packets();
    assert!(is_keyframe(&all[0]));
    let newest_at_join = 7_000 + 132 * FRAME_UNITS;
    assert!(newest_at_join.abs_diff(all[0].0.timestamp) < 10, "it says that it was filmed now");
    // 4.4 s at five times the difference: within 0.9 s it has caught up.
    for _ in 0..30 {
        scene.pictures(1, &mut [&mut watcher, &mut viewer]);
        let passed = (scene.rig.now - joined).as_micros() as u64 * 90 / 1_000;
        let came = viewer.client.packets();
        let newest =
            came.iter().chain(&all).map(|(header, _)| header.timestamp - newest_at_join).max().unwrap();
        assert!(
            u64::from(newest).abs_diff(passed) < 9_000,
            "neither early nor late: {newest} after {passed}"
        );
        all.extend(came);
    }
    assert_eq!(all.len(), 20 + 162 * 3, "all from the keyframe on, once");
    assert!(is_whole(&all));
    let live = watcher.client.packets();
    let tail = |packets: &[(RtpHeader, Vec<u8>)]| -> Vec<_> {
        packets
            .iter()
            .rev()
            .take(6)
            .map(|(header, packet)| (header.timestamp, packet[header.payload()].to_vec()))
            .collect()
    };
    assert_eq!(tail(&all), tail(&live), "the same as everybody else in the end");
    let datagram = scene.publisher.video(&Sent::frame(scene.sequence, false));
    scene.rig.publish(&mut scene.publisher, &datagram, &mut [&mut viewer]);
    assert_eq!(viewer.client.packets().len(), 1, "as it comes");
    assert_eq!(scene.rig.plane.counters().seal_failed, 0);
}

#[test]
fn what_is_lost_of_a_long_group_comes_again_as_it_was() {
    let mut scene = deaf_scene(3);
    let mut viewer = scene.join(2);
    scene.pictures(30, &mut [&mut viewer]);
    let all = viewer.client.packets();
    let lost: Vec<u16> = [0, 19, 200, 330].map(|place: usize| all[place].0.sequence).to_vec();
    let nack = viewer.nack(&lost);
    scene.rig.receive(&viewer.client, nack);
    scene.rig.flush(&mut [], &mut [&mut viewer]);
    let again = viewer.client.packets();
    assert_eq!(again.len(), lost.len());
    for ((header, packet), sequence) in again.iter().zip(&lost) {
        let (original, sent) = all.iter().find(|(header, _)| header.sequence == *sequence).unwrap();
        assert_eq!(header.timestamp, original.timestamp);
        assert_eq!(packet[header.payload()][2..], sent[original.payload()]);
    }
}

#[test]
fn it_is_asked_again_from_time_to_time_and_believed_when_it_answers() {
    let mut scene = deaf_scene(3);
    scene.asked();
    scene.picture(true, 20, None, &mut []);
    // Those who join need no answer, so it is seldom asked.
    let mut asked = 0;
    for round in 0..40 {
        scene.pictures(14, &mut []);
        let mut viewer = scene.join(2 + round);
        scene.rig.flush(&mut [&mut scene.publisher], &mut [&mut viewer]);
        assert!(!viewer.client.packets().is_empty());
        asked += scene.asked();
        scene.rig.plane.remove_peer(scene.rig.now, viewer.client.peer);
        if round % 10 == 9 {
            scene.picture(true, 20, None, &mut []);
        }
    }
    assert!((1..=4).contains(&asked), "{asked} times in 19 s");
    for _ in 0..2 {
        scene.rig.wait(Duration::from_secs(10), &mut [], &mut []);
        scene.picture(true, 20, None, &mut []);
        scene.pictures(40, &mut []);
        scene.asked();
        let viewer = scene.join(90);
        assert_eq!(scene.asked(), 1);
        scene.pictures(4, &mut []);
        scene.picture(true, 20, None, &mut []);
        scene.rig.plane.remove_peer(scene.rig.now, viewer.client.peer);
    }
    scene.pictures(40, &mut []);
    let mut viewer = scene.join(91);
    assert_eq!(scene.asked(), 1);
    scene.pictures(10, &mut [&mut viewer]);
    assert!(viewer.client.packets().is_empty(), "an answer is worth waiting for");
}

#[test]
fn the_next_publisher_may_hear() {
    let mut scene = deaf_scene(3);
    scene.rig.plane.remove_peer(scene.rig.now, scene.publisher.client.peer);
    scene.publisher = scene.rig.publisher(9, &scene.setup.clone());
    scene.group(40, &mut []);
    let mut viewer = scene.join(2);
    assert_eq!(scene.asked(), 1);
    scene.pictures(10, &mut [&mut viewer]);
    assert!(viewer.client.packets().is_empty());
    scene.picture(true, 20, None, &mut [&mut viewer]);
    assert!(is_whole(&viewer.client.packets()));
}

/// 4 s at 1.5 Mbit/s are more than a ring keeps of others.
#[test]
fn a_long_group_of_many_bytes_is_kept_where_viewers_begin_with_it() {
    for deaf in [true, false] {
        let mut scene = if deaf { deaf_scene(3) } else { Scene::new() };
        scene.picture(true, 50, None, &mut []);
        (0..118).for_each(|_| scene.picture(false, 7, None, &mut []));
        let mut viewer = scene.join(2);
        scene.rig.flush(&mut [], &mut [&mut viewer]);
        assert_eq!(!viewer.client.packets().is_empty(), deaf);
    }
}

/// A thousand join within 2 s, in whichever part of a group of 4 s and 1.5 Mbit/s.
#[test]
fn a_crowd_is_shown_all_of_it_within_four_seconds() {
    const JOINS: u32 = 1_000;
    for keyframe_at in [0, 40] {
        let mut scene = deaf_scene(7);
        let mut watcher = scene.join(2);
        scene.picture(true, 50, None, &mut [&mut watcher]);
        (0..keyframe_at).for_each(|_| scene.picture(false, 7, None, &mut [&mut watcher]));
        scene.rig.events();
        watcher.client.packets();
        let (mut joined, mut playing, mut pictures) = (0, 0, 0);
        let start = scene.rig.now;
        while playing < JOINS {
            // Sixty pictures are 2 s.
            let due = (JOINS * (pictures + 1)).div_ceil(60).min(JOINS);
            (joined..due).for_each(|number| drop(scene.join(10 + number)));
            joined = due;
            let live = u64::from(joined) + 1;
            let before = scene.rig.plane.counters().rtp_sent_packets;
            scene.rig.flush(&mut [], &mut [&mut watcher]);
            let sent = scene.rig.plane.counters().rtp_sent_packets - before;
            assert!(sent <= Allowance::UNHEARD.step_packets as u64 + live * 7, "{sent} in one flush");
            let keyframe = (keyframe_at + pictures) % 121 == 120;
            scene.picture(keyframe, if keyframe { 50 } else { 7 }, None, &mut [&mut watcher]);
            pictures += 1;
            let begun = scene.rig.events().into_iter();
            playing += begun.filter(|event| matches!(event, PlaneEvent::FirstKeyframe(_))).count() as u32;
            assert!(scene.rig.now - start <= Duration::from_secs(4), "{playing} play");
        }
        let live = watcher.client.packets();
        assert!(live.len() as u32 >= pictures * 7 && steps(&live).iter().all(|(sequence, _)| *sequence == 1));
        assert_eq!(scene.rig.plane.counters().seal_failed, 0);
    }
}

/// Of a publisher on another shard, viewers begin with what that shard has.
#[test]
fn viewers_on_another_shard_begin_at_once_too() {
    let mut scene = deaf_scene(7);
    let mut far = Rig::on_shard(1);
    far.now = scene.rig.now;
    let mut viewer = far.viewer(1, &scene.setup);
    exchange(&mut scene.rig, &mut far);
    far.flush(&mut [], &mut [&mut viewer]);
    let mut second = far.viewer(2, &scene.setup);
    far.flush(&mut [], &mut [&mut second]);
    for _ in 0..26 {
        scene.picture(false, 7, None, &mut []);
        exchange(&mut scene.rig, &mut far);
        far.wait(FRAME, &mut [], &mut [&mut viewer, &mut second]);
    }
    for viewer in [&mut viewer, &mut second] {
        let packets = viewer.client.packets();
        assert!(is_whole(&packets));
        assert_eq!(packets.len(), 20 + 128 * 7);
    }
}

#[test]
fn on_another_shard_nobody_waits_for_more_than_a_request_either() {
    let mut scene = Scene::new();
    scene.group(40, &mut []);
    let mut far = Rig::on_shard(1);
    far.now = scene.rig.now;
    let mut viewer = far.viewer(1, &scene.setup);
    for picture in 0..30 {
        exchange(&mut scene.rig, &mut far);
        scene.pictures(1, &mut []);
        exchange(&mut scene.rig, &mut far);
        far.wait(FRAME, &mut [], &mut [&mut viewer]);
        assert!(picture != 13 || viewer.client.packets().is_empty());
    }
    let packets = viewer.client.packets();
    assert!(is_whole(&packets));
    assert_eq!(packets.len(), 20 + 70 * 3);
}

/// Both layers of a deaf simulcast publisher, and a viewer of the better one.
struct Simulcast {
    rig: Rig,
    publisher: Publisher,
    viewer: Viewer,
    step: u16,
    keyframe_each: u16,
}

impl Simulcast {
    fn new(profile: SrtpProfile, keyframe_each: u16) -> Self {
        let mut rig = Rig::new();
        let setup = Setup { profile, ..setup() };
        let publisher = rig.publisher(0, &setup);
        let viewer = rig.viewer(1, &setup);
        let mut scene = Self { rig, publisher, viewer, step: 0, keyframe_each };
        scene.steps(2 * keyframe_each);
        scene.viewer.client.packets();
        let pli = scene.viewer.pli();
        scene.rig.receive(&scene.viewer.client, pli);
        scene.steps(keyframe_each / 2);
        assert_eq!(played(&mut scene.rig), [0, 1]);
        scene
    }

    fn steps(&mut self, count: u16) {
        for _ in 0..count {
            for layer in [0, 1] {
                let keyframe = self.step.is_multiple_of(self.keyframe_each);
                let packet = numbered(&mut self.publisher, self.step, layer, keyframe);
                self.rig.publish(&mut self.publisher, &packet, &mut [&mut self.viewer]);
            }
            self.step += 1;
            self.rig.wait(FRAME, &mut [&mut self.publisher], &mut [&mut self.viewer]);
        }
    }

    /// Sizes of the payloads that came since the last call.
    fn sizes(&mut self) -> Vec<usize> {
        self.viewer.client.packets().iter().map(|(header, _)| header.payload().len()).collect()
    }
}

#[test]
fn a_viewer_goes_down_to_what_the_ring_has() {
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80] {
        let mut scene = Simulcast::new(profile, 120);
        let mut all = scene.viewer.client.packets();
        // Less than the layer has, but not so little that it is given up at once.
        scene.rig.plane.limit_bitrate(scene.rig.now, scene.viewer.client.peer, Some(200_000));
        scene.steps(1);
        let first = scene.viewer.client.packets();
        assert!(first.iter().all(|(header, _)| header.payload().len() == 200), "the lower one at once");
        all.extend(first);
        scene.steps(29);
        assert_eq!(played(&mut scene.rig), [0]);
        all.extend(scene.viewer.client.packets());
        let low = all.iter().filter(|(header, _)| header.payload().len() == 200).count();
        assert_eq!(low, 90, "its group, and what followed");
        assert!(steps(&all).iter().all(|(sequence, time)| *sequence == 1 && *time > 0), "{:?}", steps(&all));
        let newest = all.last().unwrap().0.timestamp;
        assert!(newest.abs_diff(u32::from(scene.step - 1) * 3_000) <= 3_000, "not behind: {newest}");
        let numbers = |(header, packet): &(RtpHeader, Vec<u8>)| {
            let numbers = picture_numbers(CodecKind::Vp8, &packet[header.payload()]).unwrap();
            (numbers.id, numbers.base, frame_number(header.extension(packet, 6).unwrap()).unwrap())
        };
        let next = |(id, base, frame): (u16, u8, u16)| ((id + 1) & 0x7FFF, base.wrapping_add(1), frame + 1);
        assert!(all.windows(2).all(|pair| numbers(&pair[1]) == next(numbers(&pair[0]))));
        let (header, packet) = &all[all.len() - low / 2];
        let nack = scene.viewer.nack(&[header.sequence]);
        scene.rig.receive(&scene.viewer.client, nack);
        scene.rig.flush(&mut [], &mut [&mut scene.viewer]);
        let (repair, bytes) = scene.viewer.client.packets().remove(0);
        assert_eq!(bytes[repair.payload()][2..], packet[header.payload()]);
        assert_eq!(repair.timestamp, header.timestamp);
    }
}

#[test]
fn it_waits_where_the_next_keyframe_comes_sooner_and_goes_up_with_one() {
    let mut scene = Simulcast::new(SrtpProfile::AeadAes128Gcm, 120);
    scene.steps(57);
    scene.viewer.client.packets();
    scene.rig.plane.limit_bitrate(scene.rig.now, scene.viewer.client.peer, Some(200_000));
    scene.steps(2);
    assert_eq!(scene.sizes(), [1_000, 1_000]);
    scene.steps(8);
    let sizes = scene.sizes();
    assert_eq!(sizes.iter().filter(|size| **size == 1_000).count(), 1, "until the keyframe: {sizes:?}");
    scene.rig.plane.limit_bitrate(scene.rig.now, scene.viewer.client.peer, None);
    scene.steps(60);
    assert!(scene.sizes().iter().all(|size| *size == 200), "what plays goes on");
    scene.steps(60);
    assert!(scene.sizes().contains(&1_000));
}

#[test]
fn a_wish_for_less_is_met_at_once() {
    let mut scene = Simulcast::new(SrtpProfile::AeadAes128Gcm, 120);
    scene.viewer.client.packets();
    let limit = LayerLimit { layer: Some(0), ..LayerLimit::default() };
    scene.rig.plane.wish_layer(scene.rig.now, scene.viewer.client.peer, LayerWish::AtMost(limit));
    scene.steps(2);
    assert!(scene.sizes().iter().all(|size| *size == 200));
}

/// The path of `peer` carries no picture beside the sound, and still does not.
fn hold(rig: &mut Rig, peer: PeerKey) {
    let place = rig.plane.places[&VIDEO];
    rig.plane.tracks[place].measure(rig.now);
    // What is looked at each second would find no estimate.
    rig.plane.viewer(peer).unwrap().hold_is_watched = true;
    rig.plane.select(rig.now, peer, |selection| {
        selection.protect_sound(true, true);
        selection.limit(Some(10_000));
    });
}

fn held(events: &[PlaneEvent]) -> Vec<bool> {
    let held = events.iter().filter_map(|event| match event {
        PlaneEvent::PictureHeld { held, .. } => Some(*held),
        _ => None,
    });
    held.collect()
}

#[test]
fn a_picture_that_was_held_back_comes_back_with_the_lower_layer_and_at_its_time() {
    let mut scene = Simulcast::new(SrtpProfile::AeadAes128Gcm, 120);
    let peer = scene.viewer.client.peer;
    let last = scene.viewer.client.packets().last().unwrap().0;
    for _ in 0..510 {
        hold(&mut scene.rig, peer);
        scene.steps(1);
    }
    assert_eq!(held(&scene.rig.events()), [true]);
    assert!(scene.viewer.client.packets().is_empty());
    let room = |selection: &mut Selection| selection.limit(Some(200_000));
    let mut begun = 0;
    for step in 0..90 {
        scene.rig.plane.select(scene.rig.now, peer, room);
        scene.rig.flush(&mut [], &mut [&mut scene.viewer]);
        if begun == 0 && !scene.viewer.client.rtp.is_empty() {
            begun = scene.step;
        }
        scene.steps(1);
        assert!(step < 75 || begun > 0, "2 s of room are enough");
    }
    let events = scene.rig.events();
    assert_eq!(held(&events), [false], "{events:?}");
    let packets = scene.viewer.client.packets();
    assert!(packets.iter().all(|(header, _)| header.payload().len() == 200));
    let first = packets[0].0;
    assert_eq!(first.sequence, last.sequence.wrapping_add(1));
    let (passed, shown) = (first.timestamp - last.timestamp, u32::from(begun) * 3_000 - last.timestamp);
    assert!(passed > 15 * 90_000 && passed.abs_diff(shown) <= 9_000, "{passed} of {shown}");
    assert!(steps(&packets).iter().all(|(sequence, time)| *sequence == 1 && *time > 0));
}

#[test]
fn a_picture_without_layers_that_was_held_back_comes_back_at_once_too() {
    let mut scene = deaf_scene(3);
    let mut viewer = scene.join(2);
    scene.picture(true, 20, None, &mut [&mut viewer]);
    let peer = viewer.client.peer;
    for _ in 0..60 {
        hold(&mut scene.rig, peer);
        scene.pictures(1, &mut [&mut viewer]);
    }
    assert_eq!(held(&scene.rig.events()), [true]);
    let before = viewer.client.packets();
    scene.rig.plane.select(scene.rig.now, peer, |selection| selection.limit(None));
    scene.rig.flush(&mut [], &mut [&mut viewer]);
    let mut packets = viewer.client.packets();
    assert!(packets.first().is_some_and(is_keyframe), "without the next keyframe");
    scene.pictures(30, &mut [&mut viewer]);
    let events = scene.rig.events();
    assert_eq!(held(&events), [false], "{events:?}");
    packets.extend(viewer.client.packets());
    assert!(is_whole(&packets) && packets.len() == 20 + 90 * 3, "{}", packets.len());
    let (last, first) = (before.last().unwrap().0, packets[0].0);
    assert_eq!(first.sequence, last.sequence.wrapping_add(1));
    assert!(first.timestamp.wrapping_sub(last.timestamp).cast_signed() > 0);
}

/// Its successor is not asked on its behalf, but is found to be deaf, and has begun long ago when there is room again.
#[test]
fn a_picture_that_was_held_back_comes_back_though_another_publisher_came_meanwhile() {
    let mut scene = deaf_scene(3);
    let (mut viewer, mut watcher) = (scene.join(2), scene.join(3));
    scene.picture(true, 20, None, &mut [&mut viewer, &mut watcher]);
    scene.pictures(60, &mut [&mut viewer, &mut watcher]);
    let peer = viewer.client.peer;
    let mut last = None;
    for _ in 0..60 {
        let sent_at = scene.rig.now;
        hold(&mut scene.rig, peer);
        scene.pictures(1, &mut [&mut viewer, &mut watcher]);
        last = viewer.client.packets().last().map(|packet| (sent_at, packet.0)).or(last);
    }
    let (held_since, last) = last.unwrap();
    scene.rig.plane.remove_peer(scene.rig.now, scene.publisher.client.peer);
    // Its clock has nothing to do with that of the one before.
    scene.publisher = scene.rig.publisher(9, &scene.setup.clone());
    scene.frame += 1_000_000;
    scene.picture(true, 20, None, &mut [&mut viewer, &mut watcher]);
    for picture in 0..60 {
        hold(&mut scene.rig, peer);
        if picture == 10 {
            let pli = watcher.pli();
            scene.rig.receive(&watcher.client, pli);
        }
        scene.pictures(1, &mut [&mut viewer, &mut watcher]);
    }
    assert!(viewer.client.packets().is_empty());
    scene.rig.plane.select(scene.rig.now, peer, |selection| selection.limit(None));
    let passed = scene.rig.now - held_since;
    scene.rig.flush(&mut [], &mut [&mut viewer]);
    let mut packets = viewer.client.packets();
    assert!(packets.first().is_some_and(is_keyframe), "without the next keyframe");
    scene.pictures(30, &mut [&mut viewer, &mut watcher]);
    packets.extend(viewer.client.packets());
    assert!(is_whole(&packets) && packets.len() == 20 + 90 * 3, "{}", packets.len());
    let first = packets[0].0;
    assert_eq!(first.sequence, last.sequence.wrapping_add(1));
    let shown = first.timestamp.wrapping_sub(last.timestamp);
    let passed = passed.as_millis() as u32 * 90;
    assert!(shown.abs_diff(passed) <= 9_000, "it is {passed} later, and says {shown}");
}

/// A ring is as large as who sends now needs it.
#[test]
fn rings_that_grew_are_of_the_usual_size_for_the_next_publisher() {
    use crate::media::ring::VIDEO_RING_CAPACITY_BYTES;

    let mut scene = deaf_scene(3);
    let kept = |scene: &Scene| {
        let track = &scene.rig.plane.tracks[scene.rig.plane.places[&VIDEO]];
        let ring = track.layers[0].ring.as_ref().unwrap();
        let highest = ring.highest().unwrap();
        let newest = (0..=highest).rev().take(1_000).map_while(|index| ring.get(index));
        newest.map(<[u8]>::len).sum::<usize>()
    };
    let mut watcher = scene.join(3);
    let mut fill = |scene: &mut Scene| {
        scene.picture(true, 50, None, &mut [&mut watcher]);
        (0..118).for_each(|_| scene.picture(false, 7, None, &mut [&mut watcher]));
    };
    fill(&mut scene);
    assert!(kept(&scene) > VIDEO_RING_CAPACITY_BYTES);
    scene.rig.plane.remove_peer(scene.rig.now, scene.publisher.client.peer);
    scene.publisher = scene.rig.publisher(9, &scene.setup.clone());
    fill(&mut scene);
    assert!(kept(&scene) <= VIDEO_RING_CAPACITY_BYTES, "{}", kept(&scene));
}

/// Nothing is missing where a group is given up for that of a lower layer.
#[test]
fn who_goes_down_while_it_catches_up_is_sent_the_other_group_only() {
    let mut scene = Simulcast::new(SrtpProfile::AeadAes128Gcm, 120);
    let mut viewer = scene.rig.viewer(2, &setup());
    scene.rig.flush(&mut [], &mut [&mut viewer]);
    let mut sizes = Vec::new();
    let mut packets = viewer.client.packets();
    assert!(packets[0].0.payload().len() == 1_000 && packets.len() < 60);
    std::mem::swap(&mut scene.viewer, &mut viewer);
    scene.rig.plane.limit_bitrate(scene.rig.now, scene.viewer.client.peer, Some(150_000));
    scene.steps(60);
    packets.extend(scene.viewer.client.packets());
    sizes.extend(packets.iter().map(|(header, _)| header.payload().len()));
    sizes.dedup();
    assert_eq!(sizes, [1_000, 200]);
    assert!(steps(&packets).iter().all(|(sequence, time)| *sequence == 1 && *time > 0));
    let low = packets.iter().filter(|(header, _)| header.payload().len() == 200).count();
    assert_eq!(low, 120, "its group, and what followed");
}

/// What a path carries is known where there is a budget: no more than that leaves, and everything comes.
#[test]
fn a_path_that_is_narrow_is_sent_what_it_carries() {
    let mut scene = Simulcast::new(SrtpProfile::AeadAes128Gcm, 120);
    scene.viewer.client.packets();
    scene.steps(20);
    scene.viewer.client.packets();
    // The lower layer takes 56 kbit/s of it, and its group are 150 kbit.
    const PATH_BPS: u64 = 190_000;
    scene.rig.plane.limit_bitrate(scene.rig.now, scene.viewer.client.peer, Some(PATH_BPS));
    let (start, mut bits, mut low) = (scene.rig.now, 0, 0);
    for _ in 0..35 {
        scene.steps(1);
        let packets = scene.viewer.client.packets();
        let came = packets.iter().filter(|(header, _)| header.payload().len() == 200);
        low += came.count();
        bits += packets.iter().map(|(_, packet)| packet.len() as u64 * 8).sum::<u64>();
        let carried = PATH_BPS * (scene.rig.now - start).as_millis() as u64 / 1_000;
        assert!(bits <= carried + 30_000, "{bits} of {carried} after {:?}", scene.rig.now - start);
    }
    assert!(low > 60, "{low}");
    scene.steps(10);
    low += scene.viewer.client.packets().len();
    assert_eq!(low, 80 + 45);
}

#[test]
fn a_path_that_turns_out_narrower_meanwhile_is_sent_less_for_longer() {
    let mut scene = Simulcast::new(SrtpProfile::AeadAes128Gcm, 120);
    scene.steps(20);
    scene.viewer.client.packets();
    let peer = scene.viewer.client.peer;
    scene.rig.plane.limit_bitrate(scene.rig.now, peer, Some(190_000));
    scene.steps(4);
    let mut low = scene.viewer.client.packets().len();
    const PATH_BPS: u64 = 120_000;
    scene.rig.plane.limit_bitrate(scene.rig.now, peer, Some(PATH_BPS));
    let (start, mut bits) = (scene.rig.now, 0);
    for _ in 0..90 {
        scene.steps(1);
        let packets = scene.viewer.client.packets();
        low += packets.len();
        bits += packets.iter().map(|(_, packet)| packet.len() as u64 * 8).sum::<u64>();
        let carried = PATH_BPS * (scene.rig.now - start).as_millis() as u64 / 1_000;
        assert!(bits <= carried + 30_000, "{bits} of {carried} after {:?}", scene.rig.now - start);
    }
    assert_eq!(low, 80 + 94, "all of its group, and what followed");
}

#[test]
fn who_joins_and_turns_out_to_have_a_narrow_path_is_sent_no_more_than_that() {
    let mut scene = deaf_scene(3);
    let mut viewer = scene.join(2);
    scene.pictures(4, &mut [&mut viewer]);
    let mut all = viewer.client.packets();
    // What follows takes 0.7 Mbit/s of it.
    const PATH_BPS: u64 = 1_500_000;
    scene.rig.plane.limit_bitrate(scene.rig.now, viewer.client.peer, Some(PATH_BPS));
    let (start, mut bits) = (scene.rig.now, 0);
    for _ in 0..120 {
        scene.picture(false, 3, None, &mut [&mut viewer]);
        let packets = viewer.client.packets();
        bits += packets.iter().map(|(_, packet)| packet.len() as u64 * 8).sum::<u64>();
        all.extend(packets);
        let carried = PATH_BPS * (scene.rig.now - start).as_millis() as u64 / 1_000;
        assert!(bits <= carried + 60_000, "{bits} of {carried} after {:?}", scene.rig.now - start);
    }
    assert!(is_whole(&all));
    assert_eq!(all.len(), 20 + (102 + 124) * 3);
}

#[test]
fn what_a_layer_sends_is_known_on_another_shard_at_once_and_later() {
    let mut scene = deaf_scene(5);
    let mut far = Rig::on_shard(1);
    far.now = scene.rig.now;
    let mut viewer = far.viewer(1, &scene.setup);
    exchange(&mut scene.rig, &mut far);
    let place = far.plane.places[&VIDEO];
    for picture in 0..45 {
        let track = &far.plane.tracks[place];
        let layer_bps = track.group(far.now, &track.layers[0]).unwrap().0.layer_bps;
        // 5 packets of 920 bytes, 30 times a second, and a keyframe.
        assert!((1_050_000..1_250_000).contains(&layer_bps), "{layer_bps} after {picture}");
        scene.picture(false, 5, None, &mut []);
        exchange(&mut scene.rig, &mut far);
        far.wait(FRAME, &mut [], &mut [&mut viewer]);
    }
}

#[test]
fn the_next_publisher_may_hear_on_another_shard_too() {
    for packets_first in [false, true] {
        let mut scene = deaf_scene(3);
        let mut far = Rig::on_shard(1);
        far.now = scene.rig.now;
        far.viewer(1, &scene.setup);
        exchange(&mut scene.rig, &mut far);
        let place = far.plane.places[&VIDEO];
        assert!(far.plane.tracks[place].is_unheard(far.now, 0));
        scene.rig.plane.remove_peer(scene.rig.now, scene.publisher.client.peer);
        scene.publisher = scene.rig.publisher(9, &scene.setup.clone());
        scene.picture(true, 20, None, &mut []);
        far.now = scene.rig.now;
        let messages = std::iter::from_fn(|| scene.rig.plane.poll_shard()).map(|(_, message)| message);
        let mut messages: Vec<ShardMessage> = messages.collect();
        if packets_first {
            messages.sort_by_key(|message| !matches!(message, ShardMessage::Packets(_)));
        }
        messages.into_iter().for_each(|message| far.plane.receive_shard(far.now, message));
        assert!(!far.plane.tracks[place].is_unheard(far.now, 0), "packets first: {packets_first}");
    }
}

#[test]
fn the_way_between_shards_is_no_reason_to_ask_twice() {
    let mut scene = Scene::new();
    scene.group(40, &mut []);
    let mut far = Rig::on_shard(1);
    far.now = scene.rig.now;
    let mut viewer = far.viewer(1, &scene.setup);
    let joined = far.now;
    // A shard that is busy answers later.
    scene.pictures(3, &mut []);
    far.wait(3 * FRAME, &mut [], &mut [&mut viewer]);
    while viewer.client.rtp.is_empty() {
        exchange(&mut scene.rig, &mut far);
        scene.pictures(1, &mut []);
        exchange(&mut scene.rig, &mut far);
        far.wait(FRAME, &mut [], &mut [&mut viewer]);
        assert!(far.now - joined < Duration::from_millis(600), "{:?}", far.now - joined);
    }
    assert!(far.now - joined >= Duration::from_millis(500), "an answer may come");
}

#[test]
fn one_whose_path_is_too_narrow_keeps_nobody_waiting() {
    let mut scene = Scene::new();
    scene.group(40, &mut []);
    let (mut narrow, mut viewer) = (scene.join(1), scene.join(2));
    scene.rig.plane.limit_bitrate(scene.rig.now, narrow.client.peer, Some(10_000));
    scene.pictures(16, &mut [&mut narrow, &mut viewer]);
    assert!(narrow.client.packets().is_empty() && !viewer.client.packets().is_empty());
}

#[test]
fn who_catches_up_is_done_in_time_however_its_budget_wavers() {
    let mut scene = deaf_scene(3);
    let mut viewer = scene.join(2);
    let peer = viewer.client.peer;
    scene.pictures(4, &mut [&mut viewer]);
    scene.rig.plane.limit_bitrate(scene.rig.now, peer, Some(1_500_000));
    scene.pictures(20, &mut [&mut viewer]);
    // What follows takes nearly all of it.
    for picture in 0..300 {
        scene.rig.plane.limit_bitrate(scene.rig.now, peer, Some(740_000 + picture % 2 * 1_000));
        scene.picture(false, 3, None, &mut [&mut viewer]);
    }
    let packets = viewer.client.packets();
    assert!(is_whole(&packets));
    assert_eq!(packets.len(), 20 + (102 + 324) * 3);
}

#[test]
fn first_packets_that_were_swapped_hold_nobody_back_on_another_shard() {
    let mut scene = deaf_scene(3);
    let mut far = Rig::on_shard(1);
    far.now = scene.rig.now;
    let mut viewer = far.viewer(1, &scene.setup);
    exchange(&mut scene.rig, &mut far);
    scene.rig.plane.remove_peer(scene.rig.now, scene.publisher.client.peer);
    scene.publisher = scene.rig.publisher(9, &scene.setup.clone());
    exchange(&mut scene.rig, &mut far);
    viewer.client.packets();
    let keyframe = Sent { timestamp: 900_000, ..Sent::frame(1_000, true) };
    let rest = Sent { timestamp: 900_000, ..Sent::frame(1_001, false) };
    for sent in [rest, keyframe] {
        let packet = scene.publisher.video(&sent);
        scene.rig.publish(&mut scene.publisher, &packet, &mut []);
    }
    scene.rig.wait(FRAME, &mut [&mut scene.publisher], &mut []);
    exchange(&mut scene.rig, &mut far);
    far.wait(FRAME, &mut [], &mut [&mut viewer]);
    let packets = viewer.client.packets();
    assert!(packets.len() == 2 && packets.iter().any(is_keyframe), "{}", packets.len());
}

#[test]
fn time_goes_on_where_a_publisher_fell_silent_for_one_that_caught_up() {
    let mut scene = deaf_scene(3);
    let mut viewer = scene.join(2);
    scene.pictures(4, &mut [&mut viewer]);
    for _ in 0..120 {
        scene.rig.wait(FRAME, &mut [&mut scene.publisher], &mut [&mut viewer]);
    }
    scene.pictures(30, &mut [&mut viewer]);
    let packets = viewer.client.packets();
    assert!(is_whole(&packets));
    assert_eq!(packets.len(), 20 + (102 + 34) * 3);
}
