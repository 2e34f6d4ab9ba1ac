use super::bottleneck::{Says, Scene};
use super::*;
use crate::media::rtcp::ReportBlock;

/// Two layers as a browser sends 720p.
const LAYERS: [f64; 2] = [2e5, 1.2e6];

#[test]
fn what_arrives_at_a_viewer_of_several_layers_is_estimated_and_others_pay_nothing() {
    let mut scene = Scene::new(&LAYERS, 2e7, Says::TransportWide);
    (0..5_000).for_each(|_| scene.step());
    let estimate = scene.estimate_bps().unwrap();
    assert!((1_200_000..2_500_000).contains(&estimate), "{estimate}");
    assert_eq!((scene.layer, scene.missing(Duration::from_secs(1))), (1, 0));
    assert!(scene.received() > 500);
    let mut scene = Scene::new(&LAYERS[1..], 2e7, Says::TransportWide);
    (0..2_000).for_each(|_| scene.step());
    assert_eq!(scene.estimate_bps(), None, "nothing depends on it");
    assert!(scene.rig.plane.counters().feedback_received.twcc > 10);
    assert!(scene.received() > 200);
}

#[test]
fn a_viewer_that_sends_reports_only_is_limited_by_its_losses() {
    let mut scene = Scene::new(&LAYERS, 3e6, Says::ReceiverReports);
    (0..4_000).for_each(|_| scene.step());
    assert_eq!((scene.estimate_bps(), scene.missing(Duration::from_secs(1))), (None, 0));
    scene.rate_bps = 6e5;
    let cut_ms = scene.ms();
    while scene.layer != 0 {
        scene.step();
        assert!(scene.ms() < cut_ms + 4_000, "on the layer that loses half after {} ms", scene.ms() - cut_ms);
    }
    assert!(scene.estimate_bps().unwrap() < 700_000, "{:?}", scene.estimate_bps());
}

#[test]
fn a_viewer_that_is_cut_to_400_kbit_plays_what_fits_and_is_back_on_top_soon_after() {
    let mut scene = Scene::new(&[1.5e5, 5e5, 2.5e6], 4e6, Says::TransportWide);
    (0..12_000).for_each(|_| scene.step());
    assert_eq!((scene.layer, scene.missing(Duration::from_secs(1))), (2, 0));
    // When the layer arrived for good within the time, in ms from now, and its first packet.
    let arrived = |scene: &mut Scene, layer: u8, for_ms: u64| {
        let start_ms = scene.ms();
        let mut since = (start_ms, scene.newest());
        for _ in 0..for_ms {
            scene.step();
            if scene.layer != layer {
                since = (scene.ms(), scene.newest() + 1);
            }
        }
        (since.0 - start_ms, since.1)
    };
    scene.rate_bps = 4e5;
    let (down_ms, first) = arrived(&mut scene, 0, 20_000);
    scene.rate_bps = 4e6;
    let (up_ms, _) = arrived(&mut scene, 2, 20_000);
    let counters = scene.rig.plane.counters();
    println!(
        "cut to 400 kbit/s: fitting layer after {down_ms} ms, top {up_ms} ms after its end, {} packets of {} probes",
        counters.probe_sent_packets,
        counters.probes_proved + counters.probes_failed,
    );
    assert!(down_ms <= 3_000 && up_ms <= 10_000, "{down_ms} {up_ms}");
    // What the narrow path dropped of the layer that was left is not repaired; of what was played since, all arrived.
    assert_eq!(scene.missing_since(first, Duration::from_secs(1)), 0);
    assert!(scene.received() > 3_000);
    assert_eq!(scene.viewer.client.refused, 0);
}

#[test]
fn sound_that_comes_before_the_picture_says_nothing_of_the_picture() {
    for keyframe_ms in [200, 300, 400, 500, 700] {
        let mut scene = Scene::before_viewer(&[1.5e5, 5e5, 2.5e6], 2e7, Says::TransportWide, true);
        // The group in the ring is too old to begin with, and the publisher takes its time for the next keyframe.
        (0..2_000).for_each(|_| scene.step());
        scene.keyframe_after = Duration::from_millis(keyframe_ms);
        scene.join();
        let mut played = Vec::new();
        for _ in 0..6_000 {
            let before = scene.received();
            scene.step();
            if scene.received() > before && played.last() != Some(&scene.layer) {
                played.push(scene.layer);
            }
        }
        assert_eq!(played, [2], "keyframe after {keyframe_ms} ms");
        assert!(scene.received() > 1_000 && scene.estimate_bps().unwrap() > 2_000_000);
    }
}

#[test]
fn another_path_is_estimated_anew_while_media_goes_on() {
    let mut scene = Scene::before_viewer(&[1.5e5, 5e5, 2.5e6], 2e7, Says::TransportWide, true);
    scene.join();
    (0..8_000).for_each(|_| scene.step());
    assert_eq!(scene.layer, 2);
    // A way that is longer by far is no queue, and the layer is never left.
    scene.move_viewer(2e7, Duration::from_millis(400));
    assert_eq!(scene.estimate_bps(), None);
    for _ in 0..8_000 {
        scene.step();
        assert_eq!(scene.layer, 2, "at {} ms", scene.ms());
    }
    assert!(scene.estimate_bps().unwrap() > 2_000_000);
    // What is known of a good path is not believed of a bad one, nor the other way round.
    let settled_ms = |scene: &mut Scene, layer: u8| {
        let start_ms = scene.ms();
        let mut since_ms = start_ms;
        for _ in 0..6_000 {
            scene.step();
            if scene.layer != layer {
                since_ms = scene.ms();
            }
        }
        since_ms - start_ms
    };
    scene.move_viewer(4e5, Duration::from_millis(50));
    let down_ms = settled_ms(&mut scene, 0);
    scene.move_viewer(2e7, Duration::from_millis(50));
    let up_ms = settled_ms(&mut scene, 2);
    println!("another path of 400 kbit/s: down after {down_ms} ms, of 20 Mbit/s: up after {up_ms} ms");
    assert!(down_ms <= 3_000 && up_ms <= 1_000, "{down_ms} {up_ms}");
    let received = scene.received();
    scene.rig.plane.move_peer(scene.rig.now, scene.viewer.client.peer, scene.viewer.client.path);
    assert!(scene.estimate_bps().is_some(), "the same path as before");
    (0..1_000).for_each(|_| scene.step());
    assert!(scene.received() > received + 100);
}

/// A second of what is published: the highest number and the share that a report of its viewer names then. `reaches` says which of
/// its packets come to the node, `arrives` which of those come to the viewer.
fn second(
    rig: &mut Rig,
    publisher: &mut Publisher,
    viewer: &mut Viewer,
    sequences: std::ops::Range<u16>,
    [reaches, arrives]: [fn(u16) -> bool; 2],
) -> usize {
    let expected = sequences.len() as u32;
    let (mut highest, mut got) = (0, 0);
    for sequence in sequences.filter(|sequence| reaches(*sequence)) {
        let packet = publisher.video(&Sent::frame(sequence, sequence == 1));
        rig.publish(publisher, &packet, &mut [viewer]);
        for (header, _) in viewer.client.packets() {
            highest = u32::from(header.sequence);
            got += u32::from(arrives(sequence));
        }
    }
    let fraction_lost = ((expected - got) * 256 / expected) as u8;
    let block =
        ReportBlock { ssrc: viewer.ssrc, fraction_lost, highest_sequence: highest, ..Default::default() };
    rig.now += Duration::from_secs(1);
    let report = viewer.client.rtcp(|writer| writer.receiver_report(1, &[block]).unwrap());
    rig.receive(&viewer.client, report);
    got as usize
}

fn is_estimated(rig: &Rig) -> bool {
    let mut known = false;
    let estimate = |quality| matches!(quality, crate::media::plane::quality::Quality::Estimate(_));
    rig.plane.sample_quality(rig.now..rig.now, |quality| known |= estimate(quality));
    known
}

#[test]
fn two_packets_of_six_are_no_loss_to_speak_of() {
    let (setup, mut rig) = (Setup::default(), Rig::new());
    let (mut publisher, mut viewer) = (rig.publisher(0, &setup), rig.viewer(1, &setup));
    let ways: [fn(u16) -> bool; 2] = [|_| true, |sequence| sequence % 3 > 0];
    for round in 0..4 {
        let sequences = 1 + round * 6..7 + round * 6;
        assert_eq!(second(&mut rig, &mut publisher, &mut viewer, sequences, ways), 4);
        assert!(!is_estimated(&rig), "after {round} more");
    }
    for round in 0..2 {
        second(&mut rig, &mut publisher, &mut viewer, 25 + round * 60..85 + round * 60, ways);
    }
    assert!(is_estimated(&rig), "two of six, and twenty of sixty");
}

#[test]
fn what_the_publishers_uplink_lost_is_not_blamed_on_a_viewers_path() {
    let (setup, mut rig) = (Setup::default(), Rig::new());
    let (mut publisher, mut viewer) = (rig.publisher(0, &setup), rig.viewer(1, &setup));
    let every_other: fn(u16) -> bool = |sequence| sequence % 2 == 1;
    for round in 0..3 {
        let sequences = 1 + round * 60..61 + round * 60;
        assert_eq!(second(&mut rig, &mut publisher, &mut viewer, sequences, [every_other, |_| true]), 30);
        assert!(!is_estimated(&rig), "it gets whatever is sent");
    }
    for round in 3..5 {
        second(
            &mut rig,
            &mut publisher,
            &mut viewer,
            1 + round * 60..61 + round * 60,
            [|_| true, every_other],
        );
    }
    assert!(is_estimated(&rig), "half of what was sent is lost");
}
