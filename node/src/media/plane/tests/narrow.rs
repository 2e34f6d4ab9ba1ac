//! Viewers whose path carries less than there is, for minutes: what they suffer until they have what fits.

mod silent;

use std::time::Duration;

use super::bottleneck::{Says, Scene};
use crate::media::spec::PlaneEvent;

/// What became of a viewer.
#[derive(Debug, Default)]
struct Fate {
    /// Changes to a better layer.
    ups: u32,
    /// Seconds in which more than a tenth did not fit.
    lossy_seconds: u32,
    /// When it went up for the last time, in ms.
    last_up_ms: u64,
    /// How often its picture was held back.
    holds: u32,
    /// Packets of sound that were sent and that did not arrive.
    sound: (usize, usize),
    /// Pictures' packets that arrived.
    received: usize,
}

fn watch(scene: &mut Scene, seconds: u64) -> Fate {
    let mut fate = Fate::default();
    let (mut layer, lossy_before) = (scene.layer, scene.lossy_seconds);
    let before = (scene.sound_sent(), scene.sound_received, scene.received());
    for _ in 0..seconds * 1_000 {
        scene.step();
        if scene.layer > layer {
            (fate.ups, fate.last_up_ms) = (fate.ups + 1, scene.ms());
        }
        layer = scene.layer;
        let held = |event: &PlaneEvent| matches!(event, PlaneEvent::PictureHeld { held: true, .. });
        fate.holds += scene.rig.events().iter().filter(|event| held(event)).count() as u32;
    }
    let sent = scene.sound_sent() - before.0;
    fate.sound = (sent, sent.saturating_sub(scene.sound_received - before.1));
    fate.received = scene.received() - before.2;
    fate.lossy_seconds = scene.lossy_seconds - lossy_before;
    fate
}

/// The ways to say how it goes without anything that could be probed.
const UNPROBED: [(&str, Says, bool); 3] = [
    ("receiver reports", Says::ReceiverReports, true),
    ("REMB", Says::ReceiverEstimates, true),
    ("transport-wide, no RTX", Says::TransportWide, false),
];

/// A viewer that says this and has come to such a path. What does not take RTX does not ask again either: else its pictures
/// would have no transport-wide numbers.
fn come(layers: &[f64], rate_bps: f64, says: Says, (rtx, sound): (bool, bool)) -> Scene {
    let mut scene = Scene::before_viewer(layers, rate_bps, says, sound);
    (scene.rtx, scene.nack) = (rtx, rtx);
    scene.join();
    scene
}

#[test]
fn what_does_not_fit_is_tried_less_and_less_often() {
    let paths: [(f64, &[f64]); 4] = [
        (6e5, &[2e5, 1.2e6]),
        (4e5, &[1.5e5, 5e5, 1.5e6]),
        (1e6, &[1.5e5, 5e5, 1.5e6]),
        (7e5, &[5e5, 6e5, 8e5]),
    ];
    let mut bad = Vec::new();
    for (rate_bps, layers) in paths {
        for (name, says, rtx) in UNPROBED {
            let mut scene = come(layers, rate_bps, says, (rtx, false));
            let fate = watch(&mut scene, 180);
            println!("{rate_bps} of {layers:?}, {name}: {fate:?}");
            if fate.ups > 7 || fate.lossy_seconds > 14 {
                bad.push((rate_bps, name, fate));
            }
            if layers.len() == 2 {
                // The longest pause between two trials is 120 s; the choice takes 8 s at most, and the keyframe the rest.
                scene.widen(4e6);
                let fate = watch(&mut scene, 140);
                println!("wide again, {name}: {fate:?}");
                if scene.layer != 1 || fate.ups != 1 || fate.lossy_seconds > 0 {
                    bad.push((rate_bps, name, fate));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn sound_stays_whole_where_no_picture_fits_and_the_picture_comes_back() {
    let paths: [(f64, &[f64]); 2] = [(1e5, &[1.5e5, 5e5, 1.5e6]), (4e5, &[1.5e6])];
    let ways = [
        ("transport-wide", Says::TransportWideAndReports, true, (2, 60, 20)),
        ("receiver reports", Says::ReceiverReports, true, (5, 180, 150)),
        ("REMB", Says::ReceiverEstimates, true, (5, 180, 150)),
        ("transport-wide, no RTX", Says::TransportWideAndReports, false, (3, 180, 150)),
    ];
    let mut bad = Vec::new();
    for (rate_bps, layers) in paths {
        for (name, says, rtx, (settles, narrow, wide)) in ways {
            let mut scene = come(layers, rate_bps, says, (rtx, true));
            let first = watch(&mut scene, settles);
            let fate = watch(&mut scene, narrow);
            println!("{rate_bps} of {layers:?}, {name}: {first:?} then {fate:?}");
            let (sent, lost) = fate.sound;
            if lost * 100 > sent || first.holds + fate.holds == 0 {
                bad.push((rate_bps, name, fate));
            }
            scene.widen(5e6);
            let back = (1..=wide).find(|_| watch(&mut scene, 1).received > 20);
            println!("wide again: picture after {back:?} s");
            let fate = watch(&mut scene, 5);
            if back.is_none() || fate.sound.1 > 2 || fate.holds > 0 || fate.received < 100 {
                bad.push((rate_bps, name, fate));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn a_picture_that_nearly_fits_is_not_held_back() {
    for says in [Says::TransportWideAndReports, Says::ReceiverReports] {
        let mut scene = come(&[1.5e6], 1.55e6, says, (true, true));
        let fate = watch(&mut scene, 60);
        println!("{fate:?}");
        assert!(fate.holds == 0 && fate.received > 7_000, "{fate:?}");
    }
}

#[test]
fn who_is_well_again_is_not_estimated_any_more() {
    let mut scene = come(&[1.5e6], 4e5, Says::TransportWideAndReports, (true, true));
    watch(&mut scene, 10);
    assert!(scene.estimate_bps().is_some());
    scene.widen(5e6);
    watch(&mut scene, 100);
    assert_eq!(scene.estimate_bps(), None);
    let fate = watch(&mut scene, 5);
    assert!(fate.received > 500 && fate.sound.1 <= 1, "{fate:?}");
}

#[test]
fn repairs_of_a_burst_are_no_burst_again() {
    let mut fates = Vec::new();
    for unpaced in [true, false] {
        let mut scene = come(&[1.5e6], 4e6, Says::TransportWideAndReports, (true, true));
        scene.queue_bytes = 25_000;
        if unpaced {
            scene.rig.plane.resend_pace_percent = 1_000_000;
        }
        watch(&mut scene, 5);
        // 60 KB at once.
        scene.keyframe_factor = 10.0;
        let (dropped, sent, received) = (scene.dropped, scene.sound_sent(), scene.sound_received);
        scene.show_keyframe();
        let start_ms = scene.ms();
        let mut whole_ms = 0;
        for _ in 0..1_500 {
            scene.step();
            if scene.missing(Duration::ZERO) > 0 {
                whole_ms = scene.ms() - start_ms;
            }
        }
        let dropped = scene.dropped - dropped;
        let silent = (scene.sound_sent() - sent).saturating_sub(scene.sound_received - received);
        println!("unpaced {unpaced}: {dropped} dropped, {silent} of sound, whole after {whole_ms} ms");
        fates.push((dropped, whole_ms));
    }
    let (without, with) = (fates[0], fates[1]);
    assert!(with.0 < without.0 && with.1 < 600, "{fates:?}");
}

#[test]
fn what_an_outage_took_fills_no_narrow_path_again() {
    let mut scene = come(&[2.5e5], 4e5, Says::TransportWideAndReports, (true, true));
    scene.queue_bytes = 25_000;
    watch(&mut scene, 20);
    let (queue_bytes, newest) = (std::mem::take(&mut scene.queue_bytes), scene.newest());
    (0..500).for_each(|_| scene.step());
    scene.queue_bytes = queue_bytes;
    let (start_ms, dropped) = (scene.ms(), scene.dropped);
    let mut whole_ms = 0;
    for _ in 0..2_000 {
        scene.step();
        if scene.missing_since(newest, Duration::ZERO) > 0 {
            whole_ms = scene.ms() - start_ms;
        }
    }
    let dropped = scene.dropped - dropped;
    println!("{dropped} dropped, whole after {whole_ms} ms");
    assert!(dropped == 0 && (1..1_200).contains(&whole_ms), "{dropped} {whole_ms}");
}
