//! Scalable streams between shards: what nobody over there watches stays where it came in.

use proptest::prelude::*;

use super::scalable::{Decoder, Happening, Packets, Source, dense, happening, repairs_match, sizes};
use super::shards::exchange;
use super::*;
use crate::media::codec::CodecKind;
use crate::media::selection::{LayerLimit, LayerWish};

/// The next picture on its way to viewers of both shards.
fn carry(
    shards: (&mut Rig, &mut Rig),
    source: &mut Source,
    keyframe: bool,
    here: &mut [&mut Viewer],
    there: &mut [&mut Viewer],
) {
    let packets = source.av1_in_two_sizes(keyframe);
    carry_packets(shards, source, packets, here, there);
}

/// The same of these packets.
fn carry_packets(
    (near, far): (&mut Rig, &mut Rig),
    source: &mut Source,
    packets: Vec<Vec<u8>>,
    here: &mut [&mut Viewer],
    there: &mut [&mut Viewer],
) {
    for packet in packets {
        near.receive(&source.publisher.client, packet);
        near.flush(&mut [&mut source.publisher], here);
        exchange(near, far);
        far.flush(&mut [], there);
    }
    near.wait(Duration::from_millis(33), &mut [&mut source.publisher], here);
    exchange(near, far);
    far.wait(Duration::from_millis(33), &mut [], there);
    exchange(near, far);
}

fn wish(spatial: Option<u8>, temporal: Option<u8>) -> LayerWish {
    LayerWish::AtMost(LayerLimit { spatial, temporal, ..LayerLimit::default() })
}

#[test]
fn a_mirror_is_sent_only_the_parts_that_its_viewers_play() {
    let setup = Setup { codec: CodecKind::Av1, ..Setup::default() };
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut source = Source::new(&mut near, &setup);
    let mut viewer = far.viewer(1, &setup);
    let mut decoder = Decoder::default();
    let mut all = Packets::new();
    let mut run = |far: &mut Rig, viewer: &mut Viewer, keyframe_at: u16| {
        let before = far.plane.counters().shard_received_packets;
        for step in 0..60 {
            carry((&mut near, far), &mut source, step == keyframe_at, &mut [], &mut [viewer]);
        }
        let packets = viewer.client.packets();
        all.extend(packets.clone());
        (far.plane.counters().shard_received_packets - before, packets)
    };
    run(&mut far, &mut viewer, 0);
    let (crossed, packets) = run(&mut far, &mut viewer, 99);
    assert_eq!((crossed, sizes(&packets)), (60, vec![1_000]), "the larger picture alone");
    repairs_match(&mut far, &mut viewer, &packets[40..].to_vec());
    far.plane.wish_layer(far.now, viewer.client.peer, wish(Some(0), None));
    let (crossed, packets) = run(&mut far, &mut viewer, 20);
    assert_eq!(sizes(&packets), [1_000, 200]);
    assert!((61..120).contains(&crossed), "{crossed}: both until it has changed over");
    let (crossed, packets) = run(&mut far, &mut viewer, 99);
    assert_eq!((crossed, packets.len(), sizes(&packets)), (60, 60, vec![200]));
    repairs_match(&mut far, &mut viewer, &packets[40..].to_vec());
    far.plane.wish_layer(far.now, viewer.client.peer, wish(Some(0), Some(0)));
    run(&mut far, &mut viewer, 99);
    let (crossed, packets) = run(&mut far, &mut viewer, 99);
    assert_eq!((crossed, packets.len()), (30, 30), "half of the smaller pictures");
    far.plane.wish_layer(far.now, viewer.client.peer, LayerWish::Best);
    let (_, packets) = run(&mut far, &mut viewer, 20);
    assert_eq!(sizes(&packets), [200, 1_000, 200, 1_000][..sizes(&packets).len()].to_vec());
    let (crossed, packets) = run(&mut far, &mut viewer, 99);
    assert_eq!((crossed, packets.len(), sizes(&packets)), (60, 60, vec![1_000]));
    decoder.take(&all);
    assert!(dense(&all));
    assert_eq!((decoder.stuck, viewer.client.refused), (0, 0));
}

#[test]
fn who_joins_at_a_mirror_begins_with_the_group_though_parts_of_it_stayed_behind() {
    let setup = Setup { codec: CodecKind::Av1, ..Setup::default() };
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut source = Source::new(&mut near, &setup);
    let mut first = far.viewer(1, &setup);
    for step in 0..90 {
        carry((&mut near, &mut far), &mut source, step % 80 == 0, &mut [], &mut [&mut first]);
    }
    let asked = near.plane.counters().keyframe_requests_sent;
    let mut second = far.viewer(2, &setup);
    for _ in 0..30 {
        carry((&mut near, &mut far), &mut source, false, &mut [], &mut [&mut first, &mut second]);
    }
    let packets = second.client.packets();
    let mut decoder = Decoder::default();
    decoder.take(&packets);
    assert_eq!((decoder.stuck, packets.len(), dense(&packets)), (0, 1 + 10 + 30, true));
    assert_eq!(near.plane.counters().keyframe_requests_sent, asked);
}

#[test]
fn a_picture_that_ends_without_a_word_is_followed_over_there_at_the_same_keyframe() {
    let setup = Setup { codec: CodecKind::Av1, ..Setup::default() };
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut source = Source::new(&mut near, &setup);
    let mut viewer = far.viewer(1, &setup);
    let mut decoder = Decoder::default();
    for step in 0..120 {
        carry((&mut near, &mut far), &mut source, step == 0, &mut [], &mut [&mut viewer]);
    }
    decoder.take(&viewer.client.packets());
    let asked = near.plane.counters().keyframe_requests_sent;
    let mut answered = None;
    for step in 0..120 {
        let is_asked = near.plane.counters().keyframe_requests_sent > asked;
        let keyframe = is_asked && answered.is_none() && source.is_even();
        answered = answered.or(keyframe.then_some(step));
        let packets = source.av1_in_the_smaller_size(keyframe);
        carry_packets((&mut near, &mut far), &mut source, packets, &mut [], &mut [&mut viewer]);
    }
    let answered = answered.expect("a keyframe was asked for");
    let packets = viewer.client.packets();
    decoder.take(&packets);
    assert_eq!((packets.len(), sizes(&packets), decoder.stuck), (120 - answered, vec![200], 0));
    assert!((30..40).contains(&answered), "{answered}");
    assert_eq!(near.plane.counters().keyframe_requests_sent, asked + 1);
}

#[test]
fn what_stays_behind_unwatched_costs_no_keyframes() {
    let setup = Setup { codec: CodecKind::Av1, ..Setup::default() };
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut source = Source::new(&mut near, &setup);
    let mut viewer = far.viewer(1, &setup);
    for step in 0..120 {
        carry((&mut near, &mut far), &mut source, step == 0, &mut [], &mut [&mut viewer]);
    }
    far.plane.wish_layer(far.now, viewer.client.peer, wish(Some(0), None));
    for step in 0..60 {
        carry((&mut near, &mut far), &mut source, step == 20, &mut [], &mut [&mut viewer]);
    }
    viewer.client.packets();
    let asked = near.plane.counters().keyframe_requests_sent;
    for _ in 0..120 {
        carry((&mut near, &mut far), &mut source, false, &mut [], &mut [&mut viewer]);
    }
    let packets = viewer.client.packets();
    assert_eq!((packets.len(), sizes(&packets)), (120, vec![200]));
    assert_eq!(near.plane.counters().keyframe_requests_sent, asked);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two viewers over there, one here: whatever they want, each is sent only what it can decode, and all of that.
    #[test]
    fn whatever_viewers_of_another_shard_want_they_can_decode(course in prop::collection::vec(happening(), 1..40), whole in any::<bool>()) {
        let setup = Setup { codec: CodecKind::Av1, ..Setup::default() };
        let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
        let mut source = Source::new(&mut near, &setup);
        if whole {
            source.all_needed();
        }
        let mut here = near.viewer(3, &setup);
        let mut there = [far.viewer(1, &setup), far.viewer(2, &setup)];
        let mut sent = [Packets::new(), Packets::new(), Packets::new()];
        for (step, happening) in course.into_iter().enumerate() {
            let pictures = match happening {
                Happening::Pictures(count, keyframe) => (count + 2, keyframe),
                Happening::Wish(spatial, temporal) => {
                    let wish = wish(spatial, temporal);
                    match there.get(step % 3) {
                        Some(viewer) => far.plane.wish_layer(far.now, viewer.client.peer, wish),
                        None => near.plane.wish_layer(near.now, here.client.peer, wish),
                    }
                    (1, false)
                }
                Happening::Budget(bps) => {
                    far.plane.limit_bitrate(far.now, there[step % 2].client.peer, bps);
                    (1, false)
                }
                _ => (20, true),
            };
            for step in 0..pictures.0 {
                let keyframe = source.begins() || pictures.1 && step < 2 && source.is_even();
                let [one, other] = &mut there;
                carry((&mut near, &mut far), &mut source, keyframe, &mut [&mut here], &mut [one, other]);
            }
            let [one, other] = &mut there;
            for (sent, viewer) in sent.iter_mut().zip([&mut here, one, other]) {
                sent.extend(viewer.client.packets());
            }
        }
        for (who, sent) in sent.iter().enumerate() {
            let mut decoder = Decoder::default();
            decoder.take(sent);
            prop_assert!(!sent.is_empty() && dense(sent), "{}", who);
            prop_assert_eq!(decoder.stuck, 0, "{}", who);
        }
        prop_assert_eq!(near.plane.counters().seal_failed + far.plane.counters().seal_failed, 0);
    }
}
