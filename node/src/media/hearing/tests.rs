#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// An encoder on virtual time, and what is learnt of it.
struct Scene {
    start: Instant,
    hearing: Hearing,
}

impl Scene {
    fn new() -> Self {
        Self { start: Instant::now(), hearing: Hearing::default() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn ask(&mut self, ms: u64) {
        let at = self.at(ms);
        self.hearing.asked(at, true);
    }

    fn keyframe(&mut self, ms: u64) {
        let at = self.at(ms);
        self.hearing.keyframe_came(at, (ms * 90) as u32, 90_000, true);
    }

    fn is_deaf(&self, ms: u64) -> bool {
        self.hearing.is_deaf(self.at(ms), true)
    }

    fn is_in_doubt(&self, ms: u64) -> bool {
        self.hearing.is_in_doubt(self.at(ms), true)
    }
}

#[test]
fn two_requests_without_an_answer_make_it_deaf() {
    let mut scene = Scene::new();
    scene.keyframe(0);
    scene.ask(1_200);
    assert!(!scene.is_in_doubt(1_699));
    assert!(scene.is_in_doubt(1_700) && !scene.is_deaf(1_700), "an answer is overdue");
    scene.ask(1_700);
    assert!(!scene.is_deaf(2_199) && scene.is_deaf(2_200));
    scene.keyframe(4_000);
    assert!(scene.is_deaf(4_000), "it came of its own accord");
    assert_eq!(scene.hearing.next_keyframe(scene.at(8_100)), Some(scene.at(8_000)), "it may be late");
    assert_eq!(scene.hearing.next_keyframe(scene.at(8_200)), None, "it comes when it likes");
}

#[test]
fn one_that_answers_is_never_in_doubt() {
    let mut scene = Scene::new();
    scene.keyframe(0);
    for second in [3_u64, 4, 7, 9, 14, 15, 16] {
        scene.ask(second * 1_000);
        assert!(!scene.is_in_doubt(second * 1_000 + 180));
        scene.keyframe(second * 1_000 + 180);
    }
    assert!(!scene.is_in_doubt(60_000));
}

#[test]
fn one_lost_request_proves_nothing() {
    let mut scene = Scene::new();
    scene.keyframe(0);
    scene.ask(3_000);
    scene.ask(3_500);
    scene.keyframe(3_620);
    assert!(!scene.is_deaf(9_000));
    // Nobody needed it any more, so it was not asked for again.
    scene.ask(10_000);
    assert!(!scene.is_deaf(20_000));
    scene.ask(30_000);
    scene.keyframe(30_100);
    assert!(!scene.is_deaf(60_000));
}

#[test]
fn one_that_lost_both_requests_is_heard_again_with_the_next_answer() {
    let mut scene = Scene::new();
    scene.keyframe(0);
    scene.ask(1_000);
    scene.keyframe(1_100);
    scene.ask(3_000);
    scene.ask(3_500);
    assert!(scene.is_deaf(4_000));
    scene.ask(4_000);
    scene.keyframe(4_120);
    assert!(!scene.is_deaf(4_120));
}

/// The joins that ask come when the group is a second old: the keyframe that is due each 2 s looks like an answer.
#[test]
fn a_keyframe_that_was_due_is_no_answer() {
    let mut scene = Scene::new();
    for round in 0..4 {
        scene.keyframe(round * 2_000);
        scene.ask(round * 2_000 + 1_100);
        scene.ask(round * 2_000 + 1_600);
    }
    assert!(scene.is_deaf(7_800));
    scene.keyframe(8_000);
    assert!(scene.is_deaf(8_000));
}

#[test]
fn a_scene_cut_does_not_make_a_deaf_one_hear() {
    let mut scene = Scene::new();
    for round in 0..3 {
        scene.keyframe(round * 4_000);
        scene.ask(round * 4_000 + 1_000);
        scene.ask(round * 4_000 + 1_500);
    }
    scene.keyframe(12_000);
    scene.ask(13_000);
    scene.keyframe(13_300);
    assert!(scene.is_deaf(13_300));
    scene.ask(14_500);
    scene.keyframe(14_700);
    assert!(!scene.is_deaf(14_700), "twice in a row it is an answer");
}

#[test]
fn groups_of_one_that_may_be_deaf_are_worth_keeping() {
    let mut scene = Scene::new();
    let may_be_deaf = |scene: &Scene, ms| scene.hearing.may_be_deaf(scene.at(ms), true);
    scene.keyframe(0);
    assert!(!may_be_deaf(&scene, 3_000), "a browser sends no other, unless it is asked");
    scene.keyframe(4_000);
    assert!(may_be_deaf(&scene, 4_000));
    scene.ask(5_200);
    scene.keyframe(5_300);
    assert!(!may_be_deaf(&scene, 5_300));
}

#[test]
fn an_encoder_that_is_off_answers_nobody() {
    let mut scene = Scene::new();
    scene.keyframe(0);
    scene.ask(3_000);
    scene.ask(3_500);
    assert!(!scene.hearing.is_deaf(scene.at(9_000), false));
    let at = scene.at(20_000);
    scene.hearing.keyframe_came(at, 1_800_000, 90_000, false);
    assert!(!scene.is_deaf(20_000));
}

#[test]
fn it_is_asked_again_from_time_to_time() {
    let mut scene = Scene::new();
    assert!(scene.hearing.is_to_be_rechecked(scene.at(0)));
    scene.ask(0);
    assert!(!scene.hearing.is_to_be_rechecked(scene.at(9_999)));
    assert!(scene.hearing.is_to_be_rechecked(scene.at(10_000)));
}

proptest! {
    /// Whenever viewers come, and whatever the encoder's period is: one that hears no request is found out within a few
    /// trials. One that hears all of them never is.
    #[test]
    fn the_deaf_are_found_out_and_others_are_not(
        period_ms in 1_100_u64..9_000,
        joins in prop::collection::vec(1_100_u64..6_000, 24),
        answers_in in prop::option::of(40_u64..450),
    ) {
        let mut scene = Scene::new();
        let (mut now, mut next, mut keyframe) = (0, period_ms, 0);
        scene.keyframe(0);
        for join in joins {
            now += join;
            while next <= now {
                keyframe = next;
                scene.keyframe(next);
                next += period_ms;
            }
            if now - keyframe <= 1_000 {
                continue;
            }
            scene.ask(now);
            match answers_in {
                Some(answer) => {
                    keyframe = now + answer;
                    if next > keyframe {
                        scene.keyframe(keyframe);
                        next = keyframe + period_ms;
                    }
                    prop_assert!(!scene.is_deaf(now + 2_000));
                }
                None if next > now + 500 => scene.ask(now + 500),
                None => {}
            }
        }
        let asked_when_it_counts = period_ms > 3_000;
        if answers_in.is_none() && asked_when_it_counts {
            prop_assert!(scene.is_deaf(now + 1_000));
        }
    }
}
