use super::*;
use crate::media::rtcp::{self, Packet, SenderInfo};
use crate::media::selection::{LayerLimit, LayerWish};
use crate::media::spec::ShardMessage;

/// Carries messages between two shards until none is left. Returns how many batches of packets went over.
pub(super) fn exchange(near: &mut Rig, far: &mut Rig) -> usize {
    let mut batches = 0;
    loop {
        let mut moved = false;
        while let Some((shard, message)) = near.plane.poll_shard() {
            assert_eq!(shard, ShardId(1));
            batches += usize::from(matches!(message, ShardMessage::Packets(_)));
            far.plane.receive_shard(far.now, message);
            moved = true;
        }
        while let Some((shard, message)) = far.plane.poll_shard() {
            assert_eq!(shard, ShardId(0));
            near.plane.receive_shard(near.now, message);
            moved = true;
        }
        if !moved {
            return batches;
        }
    }
}

#[test]
fn viewers_on_another_shard_see_the_same_from_one_batch_per_flush() {
    let setup = Setup::default();
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    // The viewers are there first: the origin does not know the track yet.
    let (mut first, mut second) = (far.viewer(1, &setup), far.viewer(2, &setup));
    assert_eq!(exchange(&mut near, &mut far), 0);
    let mut publisher = near.publisher(0, &setup);
    near.flush(&mut [&mut publisher], &mut []);
    let mut local = near.viewer(3, &setup);
    for window in 0..5_u16 {
        for sequence in window * 4..window * 4 + 4 {
            let packet = publisher.video(&Sent::frame(sequence, sequence == 0));
            let sealed = publisher.client.seal(&packet);
            near.receive(&publisher.client, sealed);
        }
        near.flush(&mut [&mut publisher], &mut [&mut local]);
        assert_eq!(exchange(&mut near, &mut far), 1, "one batch for all viewers");
        let came = near.now;
        near.now += Duration::from_millis(3);
        far.now += Duration::from_millis(3);
        let sent = far.flush(&mut [], &mut [&mut first, &mut second]);
        assert_eq!(
            sent.video,
            Some(came),
            "the mirror's share is counted from the packet's arrival at the node"
        );
    }
    let seen = [&mut local, &mut first, &mut second].map(|viewer| {
        let packets = viewer.client.packets();
        packets.iter().map(|(header, packet)| packet[header.payload()].to_vec()).collect::<Vec<_>>()
    });
    assert_eq!(seen[0].len(), 20);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    // Lost on the last way, a packet comes from the mirror's own ring.
    let sequence = next_sequence(&mut far, &mut near, &mut publisher, &mut first);
    let nack = first.nack(&[sequence]);
    far.receive(&first.client, nack);
    far.flush(&mut [], &mut [&mut first]);
    assert_eq!(first.client.packets()[0].0.ssrc, first.rtx_ssrc);
}

/// Publishes one more packet; the number under which `viewer` got it.
fn next_sequence(far: &mut Rig, near: &mut Rig, publisher: &mut Publisher, viewer: &mut Viewer) -> u16 {
    let packet = publisher.video(&Sent::frame(20, false));
    near.publish(publisher, &packet, &mut []);
    exchange(near, far);
    far.flush(&mut [], &mut [viewer]);
    viewer.client.packets()[0].0.sequence
}

#[test]
fn keyframe_requests_of_a_mirror_reach_the_publisher_coalesced() {
    let setup = Setup::default();
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut publisher = near.publisher(0, &setup);
    let packet = publisher.video(&Sent::frame(1, true));
    near.publish(&mut publisher, &packet, &mut []);
    // Nobody begins with a keyframe that is so old.
    near.wait(Duration::from_secs(2), &mut [&mut publisher], &mut []);
    far.now = near.now;
    let mut viewers: Vec<_> = (1..20).map(|index| far.viewer(index, &setup)).collect();
    exchange(&mut near, &mut far);
    near.flush(&mut [&mut publisher], &mut []);
    for viewer in &mut viewers {
        let pli = viewer.pli();
        far.receive(&viewer.client, pli);
    }
    exchange(&mut near, &mut far);
    near.flush(&mut [&mut publisher], &mut []);
    let compounds = std::mem::take(&mut publisher.client.rtcp);
    let is_pli = |packet: &Packet<'_>| matches!(packet, Packet::PictureLoss(_));
    let packets = compounds.iter().flat_map(|compound| rtcp::packets(compound)).map(Result::unwrap);
    assert_eq!(packets.filter(is_pli).count(), 1);
}

#[test]
fn a_mirror_has_the_publishers_clock_and_ends_with_its_last_viewer() {
    let setup = Setup::default();
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut publisher = near.publisher(0, &setup);
    let report = publisher.client.rtcp(|writer| {
        let info = SenderInfo { ntp: 5 << 32, rtp_timestamp: 1, packet_count: 1, octet_count: 1 };
        writer.sender_report(PUBLISHER_VIDEO_SSRC, &info, &[]).unwrap();
    });
    near.receive(&publisher.client, report);
    let mut viewer = far.viewer(1, &setup);
    exchange(&mut near, &mut far);
    let packet = publisher.video(&Sent::frame(1, true));
    near.publish(&mut publisher, &packet, &mut []);
    exchange(&mut near, &mut far);
    far.wait(Duration::from_millis(1_010), &mut [], &mut [&mut viewer]);
    assert_eq!(viewer.client.rtcp.len(), 1, "a sender report from the mirror");
    assert_eq!(viewer.client.packets().len(), 1);
    far.plane.remove_peer(far.now, viewer.client.peer);
    assert_eq!(far.plane.track_report(far.now, VIDEO), None);
    assert_eq!(exchange(&mut near, &mut far), 0);
    let packet = publisher.video(&Sent::frame(2, false));
    near.publish(&mut publisher, &packet, &mut []);
    assert_eq!(exchange(&mut near, &mut far), 0, "nobody over there wants it");
    // A batch that crossed the farewell is of no use and does no harm.
    let batch = crate::media::batch::PacketBatch {
        track: VIDEO,
        arrival: far.now,
        group: None,
        points: crate::media::subscription::Subscription::ALL,
        packets: Vec::new(),
        bytes: Vec::new(),
    };
    far.plane.receive_shard(far.now, ShardMessage::Packets(std::sync::Arc::new(batch)));
    assert_eq!(far.plane.track_report(far.now, VIDEO), None);
}

#[test]
fn a_mirror_is_sent_only_the_layers_that_its_viewers_play() {
    let setup = Setup { rids: vec!["a".into(), "b".into()], ..Setup::default() };
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut publisher = near.publisher(0, &setup);
    let mut viewer = far.viewer(1, &setup);
    let mut step = 0;
    let mut run = |near: &mut Rig, far: &mut Rig, viewer: &mut Viewer, wanted: usize| {
        let received = |far: &Rig| far.plane.counters().shard_received_packets;
        let before = received(far);
        for _ in 0..60 {
            for layer in [0, 1] {
                let size = if layer == 0 { 200 } else { 1_000 };
                let sequence = step + 500 * layer as u16;
                let timestamp = u32::from(step) * 3_000;
                let sent = Sent { sequence, timestamp, keyframe: step % 10 == 0, layer, size };
                let packet = publisher.video(&sent);
                near.publish(&mut publisher, &packet, &mut []);
            }
            step += 1;
            exchange(near, far);
            near.wait(Duration::from_millis(33), &mut [&mut publisher], &mut []);
            exchange(near, far);
            far.wait(Duration::from_millis(33), &mut [], &mut [viewer]);
            exchange(near, far);
        }
        let packets = viewer.client.packets();
        let (last, _) = packets.last().expect("it plays");
        assert_eq!(last.payload().len(), if wanted == 0 { 200 } else { 1_000 });
        received(far) - before
    };
    let all = run(&mut near, &mut far, &mut viewer, 1);
    assert!((60..100).contains(&all), "{all}: both layers only until it is known which is better");
    let one = run(&mut near, &mut far, &mut viewer, 1);
    assert_eq!(one, 60);
    let peer = viewer.client.peer;
    far.plane.wish_layer(
        far.now,
        peer,
        LayerWish::AtMost(LayerLimit { layer: Some(0), ..LayerLimit::default() }),
    );
    let changing = run(&mut near, &mut far, &mut viewer, 0);
    assert!((61..80).contains(&changing), "{changing}: both until the keyframe of the lower one");
    assert_eq!(run(&mut near, &mut far, &mut viewer, 0), 60);
    far.plane.wish_layer(far.now, peer, LayerWish::default());
    run(&mut near, &mut far, &mut viewer, 1);
    far.plane.limit_bitrate(far.now, peer, Some(100_000));
    assert_eq!(run(&mut near, &mut far, &mut viewer, 0), 60, "not the one that it cannot take any more");
}

#[test]
fn a_batch_that_another_shard_did_not_take_is_made_good_by_a_keyframe() {
    let setup = Setup::default();
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut publisher = near.publisher(0, &setup);
    let packet = publisher.video(&Sent::frame(1, true));
    near.publish(&mut publisher, &packet, &mut []);
    let mut viewer = far.viewer(1, &setup);
    exchange(&mut near, &mut far);
    far.flush(&mut [], &mut [&mut viewer]);
    assert_eq!(viewer.client.packets().len(), 1, "the group that is shown");
    let picture_losses = |publisher: &Publisher| {
        let packets = publisher.client.rtcp.iter().flat_map(|compound| rtcp::packets(compound));
        packets.filter(|packet| matches!(packet, Ok(Packet::PictureLoss(_)))).count()
    };
    let mut send = |near: &mut Rig, far: &mut Rig, sequence, keyframe, taken: bool| {
        let packet = publisher.video(&Sent::frame(sequence, keyframe));
        near.publish(&mut publisher, &packet, &mut []);
        while let Some((_, message)) = near.plane.poll_shard() {
            match message {
                ShardMessage::Packets(batch) if !taken => near.plane.lost_between_shards(near.now, &batch),
                message => far.plane.receive_shard(far.now, message),
            }
        }
        far.flush(&mut [], &mut [&mut viewer]);
        near.wait(Duration::from_millis(600), &mut [&mut publisher], &mut []);
        (picture_losses(&publisher), viewer.client.packets().len())
    };
    assert_eq!(send(&mut near, &mut far, 2, true, true), (0, 1));
    assert_eq!(send(&mut near, &mut far, 3, false, false), (2, 0), "at once, and again");
    assert_eq!(send(&mut near, &mut far, 4, true, true), (2, 1));
}

#[test]
fn what_the_one_before_said_of_its_clock_is_not_believed_of_the_next() {
    let setup = Setup::default();
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut viewer = far.viewer(1, &setup);
    exchange(&mut near, &mut far);
    let reports = |rig: &mut Rig, publisher: &mut Publisher, ntp: u64| {
        let info = SenderInfo { ntp, rtp_timestamp: 3, packet_count: 1, octet_count: 1 };
        let report = publisher.client.rtcp(|writer| {
            writer.sender_report(PUBLISHER_VIDEO_SSRC, &info, &[]).unwrap();
        });
        rig.receive(&publisher.client, report);
    };
    let clock = |rig: &Rig| {
        let track = rig.plane.tracks.get(rig.plane.places[&VIDEO]).unwrap();
        track.layers[0].clock.map(|clock| clock.ntp >> 32)
    };
    let mut first = near.publisher(0, &setup);
    let packet = first.video(&Sent::frame(7, true));
    near.publish(&mut first, &packet, &mut []);
    exchange(&mut near, &mut far);
    far.flush(&mut [], &mut [&mut viewer]);
    reports(&mut near, &mut first, 5 << 32);
    near.plane.remove_peer(near.now, first.client.peer);
    let mut second = near.publisher(5, &setup);
    let packet = second.video(&Sent::frame(900, true));
    near.publish(&mut second, &packet, &mut []);
    let mut messages: Vec<_> = std::iter::from_fn(|| near.plane.poll_shard()).collect();
    assert!(messages.iter().any(|(_, message)| matches!(message, ShardMessage::Clock { .. })));
    // Packets are the quickest.
    messages.sort_by_key(|(_, message)| !matches!(message, ShardMessage::Packets(_)));
    for (_, message) in messages {
        far.plane.receive_shard(far.now, message);
    }
    assert_eq!(clock(&far), None);
    reports(&mut near, &mut second, 9 << 32);
    exchange(&mut near, &mut far);
    assert_eq!((clock(&far), clock(&near)), (Some(5), Some(5)), "it goes on from the clock before");
    assert_eq!(viewer.client.packets().len(), 1);
}
