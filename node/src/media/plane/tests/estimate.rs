use super::bottleneck::{Says, Scene};
use super::*;

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
    while scene.estimate_bps().is_none() {
        scene.step();
        assert!(scene.ms() < cut_ms + 6_000, "no limit after {} ms", scene.ms() - cut_ms);
    }
    assert!(scene.estimate_bps().unwrap() < 1_300_000);
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
