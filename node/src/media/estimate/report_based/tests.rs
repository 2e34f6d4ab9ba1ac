#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

const SECOND: i64 = 1_000_000;

#[test]
fn loss_and_remb_limit_and_what_arrives_is_followed() {
    let mut estimator = ReportEstimator::default();
    estimator.report(0, 0.05, 2e6, None);
    estimator.receiver_estimate(0, 3e6, 2e6);
    assert_eq!(estimator.bitrate_bps(), None, "no more than usual is lost, and more is said to fit");
    estimator.report(SECOND, 0.2, 2e6, None);
    assert_eq!(estimator.bitrate_bps(), Some(1_800_000));
    estimator.receiver_estimate(SECOND, 5e5, 6e5);
    assert_eq!(estimator.bitrate_bps(), Some(500_000));
    estimator.receiver_estimate(9 * SECOND, 7.6e5, 5e5);
    (10..40).for_each(|second| estimator.report(second * SECOND, 0.0, 5e5, Some(3_000_000_000)));
    assert_eq!(estimator.bitrate_bps(), None, "a trial of more than anybody is ever sent");
}

#[test]
fn without_a_trial_the_limit_stays_within_half_again_of_what_arrives() {
    let mut estimator = ReportEstimator::default();
    estimator.report(0, 0.2, 1e6, None);
    (1..50).for_each(|second| estimator.report(second * SECOND, 0.0, 1e6, None));
    assert_eq!(estimator.bitrate_bps(), Some(1_510_000));
    (50..62).for_each(|second| estimator.report(second * SECOND, 0.0, 1e6, None));
    assert_eq!(estimator.bitrate_bps(), None, "a minute on the best without loss");
}

#[test]
fn what_arrives_counts_where_most_is_lost() {
    let mut estimator = ReportEstimator::default();
    estimator.report(0, 0.75, 1.6e6, None);
    assert_eq!(estimator.bitrate_bps(), Some(380_000));
    for second in 1..20 {
        estimator.report(second * SECOND, 0.12, 3e5, None);
    }
    assert_eq!(estimator.bitrate_bps(), Some(237_600), "a lossy radio does not take all");
}

#[test]
fn a_trial_goes_up_to_the_next_layer_and_a_lower_remb_takes_it_back() {
    let mut estimator = ReportEstimator::default();
    estimator.report(0, 0.5, 1.2e6, None);
    assert_eq!(estimator.bitrate_bps(), Some(570_000));
    let wanted = Some(1_440_000);
    (1..15).for_each(|second| estimator.report(second * SECOND, 0.0, 2e5, wanted));
    assert_eq!(estimator.bitrate_bps(), Some(570_000), "not yet");
    estimator.report(15 * SECOND, 0.0, 2e5, wanted);
    assert_eq!(estimator.bitrate_bps(), Some(1_440_000));
    estimator.receiver_estimate(16 * SECOND, 6e5, 1.2e6);
    assert_eq!(estimator.bitrate_bps(), Some(600_000));
    estimator.report(16 * SECOND, 0.5, 1.2e6, None);
    (17..46).for_each(|second| {
        estimator.receiver_estimate(second * SECOND, 3.1e5, 2e5);
        estimator.report(second * SECOND, 0.0, 2e5, wanted);
    });
    assert_eq!(estimator.bitrate_bps(), Some(310_000), "the second one waits twice as long");
    estimator.report(46 * SECOND, 0.0, 2e5, wanted);
    assert_eq!(estimator.bitrate_bps(), Some(1_440_000));
}

#[test]
fn a_remb_that_rises_raises_the_limit_and_loss_keeps_its_own() {
    let mut estimator = ReportEstimator::default();
    estimator.receiver_estimate(0, 3e5, 2.5e6);
    assert_eq!(estimator.bitrate_bps(), Some(300_000));
    estimator.receiver_estimate(SECOND, 1.7e6, 2e5);
    assert_eq!(estimator.bitrate_bps(), Some(1_700_000));
    estimator.report(SECOND, 0.2, 1e6, None);
    assert_eq!(estimator.bitrate_bps(), Some(900_000));
    estimator.receiver_estimate(SECOND, 3e6, 1e6);
    assert_eq!(estimator.bitrate_bps(), Some(900_000), "a fifth was lost just now");
}
