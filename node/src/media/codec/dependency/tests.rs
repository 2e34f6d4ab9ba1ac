#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

/// Writes bits as the specification's syntax tables order them.
#[derive(Default)]
struct Written(Vec<bool>);

impl Written {
    fn put(&mut self, count: u32, value: u32) -> &mut Self {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        self.0
            .chunks(8)
            .map(|bits| bits.iter().zip((0..8).rev()).map(|(bit, at)| u8::from(*bit) << at).sum())
            .collect()
    }
}

fn mandatory(template: u32, frame: u32) -> Written {
    let mut written = Written::default();
    written.put(1, 1).put(1, 0).put(6, template).put(16, frame);
    written
}

/// Two spatial layers of one temporal one, a decode target and a chain each: the keyframe's two templates, then a delta frame's.
fn with_structure(template: u32, frame: u32, active: Option<u32>) -> Vec<u8> {
    let mut written = mandatory(template, frame);
    written.put(1, 1).put(1, u32::from(active.is_some())).put(3, 0);
    written.put(6, 10).put(5, 1);
    // Templates 10 and 11 of the first spatial layer, 12 and 13 of the second.
    written.put(2, 0).put(2, 2).put(2, 0).put(2, 3);
    let indications = [[2, 2], [2, 3], [0, 2], [0, 1]];
    for indication in indications.as_flattened() {
        written.put(2, *indication);
    }
    // Differences: none; 2; 1; 2 and 1.
    written.put(1, 0).put(1, 1).put(4, 1).put(1, 0).put(1, 1).put(4, 0).put(1, 0);
    written.put(1, 1).put(4, 1).put(1, 1).put(4, 0).put(1, 0);
    // Two chains of three possible counts: 2 is written as 11. Each target is protected by its own.
    written.put(2, 0b11).put(1, 0).put(1, 1);
    for _ in 0..8 {
        written.put(4, 1);
    }
    written.put(1, 1).put(16, 639).put(16, 359).put(16, 1_279).put(16, 719);
    if let Some(active) = active {
        written.put(2, active);
    }
    written.bytes()
}

#[test]
fn a_keyframe_brings_the_structure_that_later_frames_refer_to() {
    let mut structure = None;
    assert_eq!(read(&mandatory(11, 5).bytes(), &mut structure), Err(DependencyError::UnknownTemplate));
    let key = read(&with_structure(10, 0xFFFF, Some(0b01)), &mut structure).unwrap();
    assert!(key.starts_frame && !key.ends_frame && key.has_structure && key.references.is_empty());
    assert_eq!((key.frame_number, key.spatial, key.temporal), (0xFFFF, 0, 0));
    assert_eq!((key.present, key.switch, key.active), (0b11, 0b11, Some(0b01)));
    let known = structure.as_deref().unwrap();
    assert_eq!(known.sizes[..3], [(640, 360), (1_280, 720), (0, 0)]);
    assert_eq!(known.highest(), (1, 0));
    assert_eq!(
        [(0, 7, 3), (1, 0, 3), (9, 9, 3), (9, 9, 1)]
            .map(|(spatial, temporal, active)| known.target(spatial, temporal, active)),
        [Some(0), Some(1), Some(1), Some(0)]
    );
    assert!(known.leaves_out(0) && !known.leaves_out(1), "the larger picture needs the smaller one");
    assert!(known.covers(1, 0) && !known.covers(0, 1) && known.covers(1, 1));
    assert_eq!((known.highest_spatial(1), known.targets_without(0b10)), (Some(1), 0b01));
    let upper = read(&mandatory(13, 2).bytes(), &mut structure).unwrap();
    assert_eq!((upper.spatial, upper.present, upper.switch), (1, 0b10, 0));
    assert_eq!(upper.references.distances().unwrap().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(read(&mandatory(14, 2).bytes(), &mut structure), Err(DependencyError::UnknownTemplate));
    assert_eq!(read(&mandatory(9, 2).bytes(), &mut structure), Err(DependencyError::UnknownTemplate));
    assert_eq!(frame_number(&mandatory(9, 0x1234).bytes()), Some(0x1234));
}

#[test]
fn a_frame_may_say_for_itself_what_its_template_says_otherwise() {
    let mut structure = None;
    read(&with_structure(10, 1, None), &mut structure).unwrap();
    let mut written = mandatory(13, 3);
    written.put(2, 0).put(1, 1).put(1, 1).put(1, 0);
    written.put(2, 3).put(2, 2).put(2, 0);
    let frame = read(&written.bytes(), &mut structure).unwrap();
    assert_eq!((frame.present, frame.switch), (0b11, 0b10));
    assert!(frame.references.is_empty(), "a list of no differences");
    let mut written = mandatory(13, 3);
    written.put(3, 0).put(1, 1).put(1, 0);
    written.put(2, 1).put(4, 3).put(2, 3).put(12, 63).put(2, 0);
    let frame = read(&written.bytes(), &mut structure).unwrap();
    assert_eq!(frame.references.distances().unwrap().collect::<Vec<_>>(), [4, 64]);
    let mut written = mandatory(13, 3);
    written.put(3, 0).put(1, 1).put(1, 0);
    written.put(2, 3).put(12, 64).put(2, 0);
    let frame = read(&written.bytes(), &mut structure).unwrap();
    assert!(frame.references.distances().is_none() && !frame.references.is_empty());
}

#[test]
fn a_structure_that_is_cut_off_leaves_the_one_before() {
    let mut structure = None;
    let whole = with_structure(10, 1, None);
    read(&whole, &mut structure).unwrap();
    let before = structure.clone();
    for len in 4..whole.len() - 1 {
        assert!(read(&whole[..len], &mut structure).is_err(), "{len}");
        assert_eq!(structure, before);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..6)) {
        let mut structure = None;
        for mut value in values {
            if let Some(flags) = value.get_mut(3) {
                *flags |= 0x80;
            }
            let _ = read(&value, &mut structure);
            if let Some(known) = &structure {
                prop_assert!(known.template_count <= TEMPLATES_MAX && known.target_count <= TARGETS_MAX);
                prop_assert!(known.highest().0 <= LAYER_ID_MAX && known.highest().1 <= LAYER_ID_MAX);
                known.target(3, 3, u32::MAX);
                known.targets_without(1);
                assert!(known.covers(0, 0) && known.covers(31, 31) && (known.leaves_out(0) || !known.leaves_out(0)));
            }
        }
    }
}
