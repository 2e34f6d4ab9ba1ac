#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

fn pick(layer: u8) -> Option<Pick> {
    Some(Pick::whole(layer))
}

fn rung(layer: u8, kbps: u64) -> Rung {
    Rung { layer, active: true, bitrate_bps: kbps * 1_000, ..Rung::default() }
}

/// Layers of 150, 500 and 1,500 kbit/s; the best has the index 1, the worst 2.
fn ladder() -> Ladder {
    let mut ladder = Ladder::default();
    assert!(ladder.update([rung(0, 500), rung(1, 1_500), rung(2, 150)]));
    ladder
}

fn limited(kbps: u64) -> Selection {
    let mut selection = Selection::default();
    selection.limit(Some(kbps * 1_000));
    selection
}

#[test]
fn layers_are_ordered_by_size_then_by_bitrate_and_not_by_index() {
    let mut ladder = ladder();
    let order = |ladder: &Ladder| ladder.rungs().iter().map(|rung| rung.layer).collect::<Vec<_>>();
    assert_eq!(order(&ladder), [2, 0, 1]);
    // A little more is not clearly more, so the order stays.
    assert!(!ladder.update([rung(0, 540), rung(2, 600)]));
    let sized = |layer, kbps, width| Rung { width, height: width, ..rung(layer, kbps) };
    ladder.update([sized(0, 2_000, 320), sized(1, 500, 640), sized(2, 1_900, 160)]);
    assert_eq!(order(&ladder), [2, 0, 1], "a busy small picture is still the smaller one");
}

#[test]
fn without_an_estimate_the_best_within_the_wish_is_played() {
    let ladder = ladder();
    let mut selection = Selection::default();
    assert_eq!(selection.choose(0, &Ladder::default(), None), None);
    assert_eq!(selection.choose(0, &ladder, None), pick(1));
    selection.wish(LayerWish::AtMost(LayerLimit { layer: Some(0), ..LayerLimit::default() }));
    assert_eq!(selection.choose(0, &ladder, pick(1)), pick(0));
    selection.wish(LayerWish::AtMost(LayerLimit { max_height: Some(100), ..LayerLimit::default() }));
    assert_eq!(selection.choose(0, &ladder, pick(0)), pick(1), "sizes are unknown");
    let mut sized = ladder;
    sized.update([720, 1_080, 360].into_iter().zip(0..).map(|(height, layer)| Rung {
        width: height,
        height,
        ..rung(layer, u64::from(height))
    }));
    assert_eq!(selection.choose(0, &sized, pick(0)), pick(2), "nothing is that small: the smallest");
    selection.wish(LayerWish::AtMost(LayerLimit { max_height: Some(720), ..LayerLimit::default() }));
    assert_eq!(selection.choose(0, &sized, pick(2)), pick(0));
}

#[test]
fn a_layer_that_stops_is_left_at_once_and_taken_up_again() {
    let mut ladder = ladder();
    let mut selection = Selection::default();
    assert!(ladder.update([Rung { active: false, ..rung(1, 0) }]));
    assert_eq!(selection.choose(0, &ladder, pick(1)), pick(0));
    assert!(ladder.update([rung(1, 1_500)]));
    assert_eq!(selection.choose(100, &ladder, pick(0)), pick(1));
    let all_off = [0, 1, 2].map(|layer| Rung { active: false, ..rung(layer, 0) });
    ladder.update(all_off);
    assert_eq!(selection.choose(200, &ladder, pick(1)), pick(1), "a pause is no reason to change");
}

#[test]
fn a_smaller_budget_is_obeyed_at_once_and_a_larger_one_after_a_while() {
    let ladder = ladder();
    let mut selection = limited(400);
    assert_eq!(selection.choose(0, &ladder, pick(1)), pick(2));
    selection.limit(Some(20_000));
    assert_eq!(
        selection.choose(5, &ladder, pick(2)),
        pick(2),
        "less than all: it lowers, and is still played"
    );
    selection.limit(Some(3_000_000));
    assert_eq!(selection.choose(1_000, &ladder, pick(2)), pick(2));
    assert_eq!(selection.choose(1_900, &ladder, pick(2)), pick(2));
    assert_eq!(selection.choose(2_000, &ladder, pick(2)), pick(1), "straight to the top");
    // That was too much: the next step up takes twice as long.
    selection.limit(Some(600_000));
    assert_eq!(selection.choose(3_000, &ladder, pick(1)), pick(0));
    selection.limit(Some(3_000_000));
    assert_eq!(selection.choose(4_000, &ladder, pick(0)), pick(0));
    assert_eq!(selection.choose(5_500, &ladder, pick(0)), pick(0));
    assert_eq!(selection.choose(6_000, &ladder, pick(0)), pick(1));
}

#[test]
fn a_whole_layer_takes_the_place_of_a_part_that_flows_no_more() {
    let mut ladder = Ladder::default();
    let part = |temporal, active| Rung { point: Point::new(Some(0), Some(temporal)), active, ..rung(0, 100) };
    ladder.update((0..7).map(|temporal| part(temporal, true)).chain([rung(0, 1_000)]));
    ladder.update([rung(1, 2_000)]);
    assert!(ladder.rung(Pick::whole(1)).is_none(), "all are in use");
    ladder.update((0..7).map(|temporal| part(temporal, false)).chain([rung(0, 1_000), rung(1, 2_000)]));
    assert_eq!(ladder.rungs().len(), LADDER_CAPACITY);
    assert!(ladder.rung(Pick::whole(0)).is_some() && ladder.rung(Pick::whole(1)).is_some());
}

proptest! {
    /// An estimate that wavers by 7 % about any value moves a viewer once at most, whatever layer it begins with.
    #[test]
    fn a_wavering_estimate_does_not_flap(
        centre in 50_u64..3_000,
        wobbles in prop::collection::vec(-70_i64..=70, 1..400),
        begin in 0_u8..3,
    ) {
        let ladder = ladder();
        let mut selection = limited(centre);
        let (mut current, mut moves) = (begin, 0);
        for (step, wobble) in wobbles.into_iter().enumerate() {
            selection.limit(Some((centre * 1_000).saturating_add_signed(centre as i64 * wobble)));
            let chosen = selection.choose(step as u32 * 50, &ladder, pick(current)).unwrap().layer;
            moves += usize::from(chosen != current);
            current = chosen;
        }
        // Once to where it belongs, and once more if the first look was at an extreme.
        prop_assert!(moves <= 2, "{moves} moves");
    }

    /// Whatever the estimate does, there are no two steps up within the least hold, and no layer is played that does not flow.
    #[test]
    fn steps_up_are_rare(steps in prop::collection::vec((0_u64..4_000, 1_u32..500, any::<bool>()), 1..300)) {
        let mut ladder = ladder();
        let mut selection = Selection::default();
        let (mut now, mut current, mut raised) = (u32::MAX - 10_000, 2_u8, None);
        for (kbps, pause, flows) in steps {
            now = now.wrapping_add(pause);
            ladder.update([Rung { active: flows, ..rung(1, 1_500) }]);
            selection.limit(Some(kbps * 1_000));
            let chosen = selection.choose(now, &ladder, pick(current)).unwrap().layer;
            let rank = |layer| ladder.rungs().iter().position(|rung| rung.layer == layer).unwrap();
            prop_assert!(ladder.rungs()[rank(chosen)].active);
            if rank(chosen) > rank(current) {
                prop_assert!(raised.is_none_or(|at| now.wrapping_sub(at) >= HOLD_MIN_MS));
                raised = Some(now);
            }
            current = chosen;
        }
    }
}

#[test]
fn each_change_has_the_cause_that_a_person_would_name() {
    let mut ladder = ladder();
    let mut selection = Selection::default();
    selection.wish(LayerWish::Best);
    assert_eq!((selection.choose(0, &ladder, pick(0)), selection.cause()), (pick(1), Cause::Start));
    ladder.update([Rung { active: false, ..rung(1, 1_500) }]);
    assert_eq!((selection.choose(0, &ladder, pick(1)), selection.cause()), (pick(0), Cause::Publisher));
    ladder.update([rung(1, 1_500)]);
    selection.limit(Some(200_000));
    assert_eq!((selection.choose(0, &ladder, pick(0)), selection.cause()), (pick(2), Cause::Network));
    assert!(selection.is_held_down(&ladder, Pick::whole(2)));
    selection.limit(Some(9_000_000));
    let after = |at_ms, current, selection: &mut Selection, ladder: &Ladder| {
        assert_eq!(selection.choose(at_ms, ladder, current), current, "not at once");
        (selection.choose(at_ms + HOLD_MAX_MS, ladder, current), selection.cause())
    };
    assert_eq!(after(1_000, pick(2), &mut selection, &ladder), (pick(1), Cause::Network));
    assert!(!selection.is_held_down(&ladder, Pick::whole(1)));
    selection.wish(LayerWish::AtMost(LayerLimit { layer: Some(2), ..LayerLimit::default() }));
    assert_eq!((selection.choose(20_000, &ladder, pick(1)), selection.cause()), (pick(2), Cause::Viewer));
    assert!(!selection.is_held_down(&ladder, Pick::whole(2)), "it wants no more");
    selection.wish(LayerWish::Best);
    assert_eq!(after(30_000, pick(2), &mut selection, &ladder), (pick(1), Cause::Viewer));
    ladder.update([Rung { active: false, ..rung(1, 1_500) }]);
    assert_eq!((selection.choose(40_000, &ladder, pick(1)), selection.cause()), (pick(0), Cause::Publisher));
    ladder.update([rung(1, 1_500)]);
    assert_eq!(after(50_000, pick(0), &mut selection, &ladder), (pick(1), Cause::Publisher));
}

#[test]
fn viewers_stand_among_the_layers_that_flow() {
    let mut ladder = ladder();
    let places = |ladder: &Ladder| [2, 0, 1].map(|layer| ladder.place(Pick::whole(layer)));
    assert_eq!(places(&ladder), [Place::Lowest, Place::Middle, Place::Best]);
    ladder.update([Rung { active: false, ..rung(1, 1_500) }]);
    assert_eq!(places(&ladder), [Place::Lowest, Place::Best, Place::Best]);
    assert_eq!(Ladder::default().place(Pick::whole(0)), Place::Best, "there is no other");
    let mut parts = Ladder::default();
    let part = |spatial, temporal, kbps| Rung { point: Point::new(spatial, temporal), ..rung(0, kbps) };
    parts.update([
        part(Some(0), Some(0), 50),
        part(Some(0), None, 90),
        part(Some(1), None, 300),
        part(None, None, 900),
    ]);
    let place = |spatial, temporal| parts.place(Pick { layer: 0, point: Point::new(spatial, temporal) });
    assert_eq!((place(None, None), place(Some(0), Some(0))), (Place::Best, Place::Lowest));
    assert_eq!((place(Some(1), None), place(Some(1), Some(0))), (Place::Middle, Place::Middle));
    let best = Pick::whole(0);
    let less = Pick { point: Point::new(Some(1), Some(1)), ..best };
    assert!(parts.is_better(best, less) && !parts.is_better(less, best) && !parts.is_better(best, best));
}
