//! Pictures that are held back from viewers who say nothing of their path meanwhile.

use super::*;

/// A viewer whose picture is held back on a path of 400 kbit/s, of one layer of 1.5 Mbit/s.
fn held(says: Says, rtx: bool, prepare: impl Fn(&mut Scene)) -> Scene {
    let mut scene = Scene::before_viewer(&[1.5e6], 4e5, says, true);
    (scene.rtx, scene.nack, scene.omits_silent) = (rtx, rtx, true);
    prepare(&mut scene);
    scene.join();
    let fate = watch(&mut scene, 10);
    assert_eq!(fate.holds, 1, "{fate:?}");
    scene
}

/// After how many seconds on a wide path the picture is there again and stays, of `most`.
fn back_within(scene: &mut Scene, most: u64) -> Option<u64> {
    scene.widen(5e6);
    let back = (1..=most).find(|_| watch(scene, 1).received > 20);
    let fate = watch(scene, 5);
    println!("back after {back:?} s, then {fate:?}");
    back.filter(|_| fate.holds == 0 && fate.received > 400)
}

#[test]
fn a_picture_comes_back_where_sound_has_no_transport_wide_numbers() {
    // Firefox.
    let uncounted = |scene: &mut Scene| scene.sound_counted = false;
    let mut scene = held(Says::TransportWideAndReports, true, uncounted);
    let fate = watch(&mut scene, 40);
    let (sent, lost) = fate.sound;
    assert!(lost * 100 <= sent, "{fate:?}");
    assert!(back_within(&mut scene, 20).is_some());
    let mut scene = held(Says::TransportWideAndReports, false, uncounted);
    assert!(back_within(&mut scene, 60).is_some(), "the picture is the trial");
}

#[test]
fn a_picture_comes_back_where_reports_leave_out_who_is_silent() {
    let mut scene = held(Says::ReceiverReports, true, |_| {});
    let fate = watch(&mut scene, 60);
    let (sent, lost) = fate.sound;
    assert!(lost * 50 <= sent, "{fate:?}");
    assert!(back_within(&mut scene, 150).is_some());
}

#[test]
fn a_picture_comes_back_where_the_viewer_estimates_the_sound_alone() {
    let mut scene = held(Says::ReceiverEstimates, true, |_| {});
    assert!(back_within(&mut scene, 60).is_some());
}

#[test]
fn a_picture_comes_back_when_there_is_no_sound_any_more_to_protect() {
    for says in [Says::TransportWideAndReports, Says::ReceiverReports] {
        let mut scene = held(says, true, |_| {});
        scene.sound_goes_on = false;
        assert!((1..=10).any(|_| watch(&mut scene, 1).received > 20), "a bad one is better than none");
    }
}

#[test]
fn a_picture_that_is_held_again_before_any_of_it_was_sent_is_looked_after() {
    let mut scene = held(Says::TransportWideAndReports, true, |_| {});
    let peer = scene.viewer.client.peer;
    let limit = |scene: &mut Scene, bps: Option<u64>| {
        let now = scene.rig.now;
        scene.rig.plane.select(now, peer, |selection| {
            selection.protect_sound(bps.is_some(), true);
            selection.limit(bps);
        });
        scene.rig.wait(Duration::from_secs(2), &mut [], &mut []);
    };
    let is_watched = |scene: &mut Scene| scene.rig.plane.viewer(peer).unwrap().hold_is_watched;
    limit(&mut scene, None);
    assert!(!scene.rig.plane.holds_picture(peer) && !is_watched(&mut scene));
    limit(&mut scene, Some(1_000));
    limit(&mut scene, Some(1_000));
    assert!(scene.rig.plane.holds_picture(peer) && !is_watched(&mut scene), "nothing of it came");
    (0..50).for_each(|_| scene.step());
    assert!(scene.rig.plane.holds_picture(peer) && is_watched(&mut scene));
}
