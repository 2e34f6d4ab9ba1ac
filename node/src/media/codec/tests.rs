#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use rtc_rtp::codec::av1::Av1Payloader;
use rtc_rtp::codec::h264::H264Payloader;
use rtc_rtp::codec::h265::HevcPayloader;
use rtc_rtp::codec::vp8::Vp8Payloader;
use rtc_rtp::packetizer::Payloader;

const MTU: usize = 200;

/// What `starts_keyframe` says of each packet that another implementation cuts `frame` into.
fn verdicts(kind: CodecKind, payloader: &mut impl Payloader, frame: Vec<u8>) -> Vec<bool> {
    let payloads = payloader.payload(MTU, &Bytes::from(frame)).unwrap();
    payloads.iter().map(|payload| starts_keyframe(kind, payload)).collect()
}

/// Units with start codes in front.
fn annex_b(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&[0, 0, 0, 1], *unit].concat()).collect()
}

fn slice(header: &[u8], first: bool, len: usize) -> Vec<u8> {
    let mut unit = header.to_vec();
    unit.push(if first { 0x88 } else { 0x40 });
    unit.resize(len, 0x55);
    unit
}

#[test]
fn h264_starts_with_parameter_sets_or_the_first_idr_slice() {
    let idr = slice(&[0x65], true, 900);
    let frame = annex_b(&[&[0x67, 0x42, 0xC0, 0x1F], &[0x68, 0xCE], &idr]);
    let found = verdicts(CodecKind::H264, &mut H264Payloader::default(), frame);
    assert_eq!(found[..2], [true, true], "STAP-A, then the first fragment");
    assert!(found.len() > 4 && !found[2..].contains(&true));

    let whole =
        verdicts(CodecKind::H264, &mut H264Payloader::default(), annex_b(&[&slice(&[0x65], true, 90)]));
    assert_eq!(whole, [true]);
    let second_slice = annex_b(&[&slice(&[0x65], false, 90)]);
    assert_eq!(verdicts(CodecKind::H264, &mut H264Payloader::default(), second_slice), [false]);
    let delta =
        verdicts(CodecKind::H264, &mut H264Payloader::default(), annex_b(&[&slice(&[0x41], true, 900)]));
    assert!(delta.len() > 3 && !delta.contains(&true));
}

#[test]
fn h265_starts_with_parameter_sets_or_the_first_irap_slice() {
    let irap = slice(&[19 << 1, 1], true, 900);
    let frame = annex_b(&[&[32 << 1, 1, 2], &[33 << 1, 1, 2], &[34 << 1, 1, 2], &irap]);
    let found = verdicts(CodecKind::H265, &mut HevcPayloader, frame);
    assert!(found[0], "the parameter sets");
    assert!(!found[found.len() - 1]);

    let fragment =
        |start: u8, kind: u8| starts_keyframe(CodecKind::H265, &[49 << 1, 1, start | kind, 0x80, 0]);
    assert!(fragment(0x80, 21) && !fragment(0, 21) && !fragment(0x80, 1));
    assert!(starts_keyframe(CodecKind::H265, &slice(&[16 << 1, 1], true, 20)));
    assert!(!starts_keyframe(CodecKind::H265, &slice(&[16 << 1, 1], false, 20)));
    assert!(!starts_keyframe(CodecKind::H265, &slice(&[1 << 1, 1], true, 20)));
    let aggregate = |kind: u8| [48 << 1, 1, 0, 3, 39 << 1, 1, 0, 0, 3, kind << 1, 1, 0x80];
    assert!(
        starts_keyframe(CodecKind::H265, &aggregate(20)) && starts_keyframe(CodecKind::H265, &aggregate(32))
    );
    assert!(!starts_keyframe(CodecKind::H265, &aggregate(0)));
}

#[test]
fn vp8_starts_where_the_first_partition_of_a_keyframe_does() {
    for enable_picture_id in [false, true] {
        let mut payloader = Vp8Payloader::default();
        payloader.enable_picture_id = enable_picture_id;
        let mut key = vec![0x55; 900];
        key[0] = 0x10;
        for round in 0..300 {
            let found = verdicts(CodecKind::Vp8, &mut payloader, key.clone());
            assert!(found[0] && !found[1..].contains(&true), "picture {round}");
        }
        key[0] = 0x11;
        assert!(!verdicts(CodecKind::Vp8, &mut payloader, key).contains(&true));
    }
    let all_fields = [0x90, 0xF0, 0x80, 1, 7, 0x21, 0x10];
    assert!(starts_keyframe(CodecKind::Vp8, &all_fields));
    assert!(!starts_keyframe(CodecKind::Vp8, &all_fields[..6]));
    let second_partition = [0x11, 0x10];
    assert!(!starts_keyframe(CodecKind::Vp8, &second_partition));
}

#[test]
fn vp9_starts_at_the_lowest_layer_of_a_picture_that_needs_no_other() {
    let vp9 = |payload: &[u8]| starts_keyframe(CodecKind::Vp9, payload);
    assert!(vp9(&[0x88, 5, 0]), "picture id of seven bits");
    assert!(!vp9(&[0xC8, 5, 0]), "predicted");
    assert!(!vp9(&[0x80, 5, 0]), "not the beginning");
    assert!(vp9(&[0xA8, 0x80, 5, 0x00]) && vp9(&[0xA8, 5, 0x10]), "lowest layer; a switching point too");
    assert!(!vp9(&[0xA8, 0x80, 5, 0x03]), "second spatial layer, predicted from the first");
    assert!(!vp9(&[0xA8, 5, 0x20]), "second temporal layer");
    assert!(!vp9(&[0xA8, 0x80]), "cut off");
}

#[test]
fn av1_starts_with_a_sequence_header() {
    let obu = |kind: u8, len: usize| {
        let mut bytes = vec![kind << 3 | 0x02, (len % 128) as u8 | 0x80, (len / 128) as u8];
        bytes.resize(3 + len, 0x55);
        bytes
    };
    let key = [obu(1, 10), obu(6, 900)].concat();
    let found = verdicts(CodecKind::Av1, &mut Av1Payloader {}, key);
    assert!(found[0] && found.len() > 3 && !found[1..].contains(&true));
    let delta = verdicts(CodecKind::Av1, &mut Av1Payloader {}, obu(6, 900));
    assert!(!delta.contains(&true));

    let av1 = |payload: &[u8]| starts_keyframe(CodecKind::Av1, payload);
    assert!(av1(&[0x18, 0x30, 0]), "the N bit says so");
    assert!(av1(&[0x20, 1, 0x10, 0x08, 0]), "a sequence header behind a temporal delimiter");
    assert!(!av1(&[0x80 | 0x10, 0x08, 0]), "the rest of an element");
    assert!(!av1(&[0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x08]) && !av1(&[0x08]));
    let empty_elements = [0; 300];
    let behind = [&[0x00], empty_elements.as_slice(), &[2, 0x08, 0]].concat();
    assert!(av1(&behind), "behind more elements than a byte counts");
}

proptest! {
    #[test]
    fn any_payload_has_an_answer(payload in proptest::collection::vec(any::<u8>(), 0..120)) {
        for kind in CodecKind::ALL {
            let found = starts_keyframe(kind, &payload);
            prop_assert!(kind != CodecKind::Opus || found);
        }
    }
}

#[test]
fn picture_numbers_go_on_over_a_switch_in_either_width() {
    for (kind, head) in [
        (CodecKind::Vp8, vec![0x90, 0xE0, 0xFF, 0xFE, 0x07, 0x20]),
        (CodecKind::Vp9, vec![0xA8, 0xFF, 0xFE, 0x00, 0x07]),
    ] {
        let mut payload = head.clone();
        payload.extend([0x11; 9]);
        let numbers = picture_numbers(kind, &payload).unwrap();
        assert_eq!((numbers.id, numbers.base), (0x7FFE, 7), "{kind:?}");
        let shift = PictureShift { id: 5, base: 250 };
        numbers.rewrite(shift, &mut payload);
        let after = picture_numbers(kind, &payload).unwrap();
        assert_eq!((after.id, after.base), (3, 1), "{kind:?}");
        assert_eq!(after, numbers.shifted(shift));
        assert_eq!(&payload[head.len()..], &[0x11; 9], "nothing else changes");
        let next = PictureNumbers { id: 900, base: 90, ..numbers };
        let followed = next.shifted(PictureShift::following(after, next));
        assert_eq!((followed.id, followed.base), (4, 2));
    }
    let mut short = [0x90, 0x80, 0x7F, 0x01];
    let numbers = picture_numbers(CodecKind::Vp8, &short).unwrap();
    numbers.rewrite(PictureShift { id: 2, base: 9 }, &mut short);
    assert_eq!(short, [0x90, 0x80, 0x01, 0x01]);
    assert_eq!(picture_numbers(CodecKind::Vp8, &[0x10, 0, 0]), None);
    assert_eq!(picture_numbers(CodecKind::H264, &[0x90, 0x80, 0x7F]), None);
}

#[test]
fn a_vp8_keyframe_says_its_size() {
    let payload = [0x90, 0x80, 0x01, 0, 0, 0, 0x9D, 0x01, 0x2A, 0x00, 0x45, 0xD0, 0x02, 1];
    assert_eq!(dimensions(CodecKind::Vp8, &payload), Some((1_280, 720)));
    assert_eq!(dimensions(CodecKind::Vp8, &payload[..12]), None);
}

proptest! {
    #[test]
    fn no_descriptor_panics(payload in prop::collection::vec(any::<u8>(), 0..24), id in any::<u16>(), base in any::<u8>()) {
        for kind in CodecKind::ALL {
            dimensions(kind, &payload);
            spatial_size(kind, &payload, 1);
            Reader::default().read(kind, 0, &payload, Some(&payload));
            if let Some(numbers) = picture_numbers(kind, &payload) {
                let mut changed = payload.clone();
                numbers.rewrite(PictureShift { id, base }, &mut changed);
                prop_assert_eq!(picture_numbers(kind, &changed), Some(numbers.shifted(PictureShift { id, base })));
            }
        }
    }
}

fn way(from: Point, to: Point) -> Way {
    Way { from, to, targets: None, covers: false }
}

#[test]
fn vp9_says_layers_and_sizes() {
    // I, L, B, E and V; picture id 5; layer T1 U S2, TL0PICIDX; two more spatial layers with sizes.
    let mut payload = vec![0x80 | 0x20 | 0x08 | 0x04 | 0x02, 5, 1 << 5 | 0x10 | 2 << 1, 9, 2 << 5 | 0x10];
    for (width, height) in [(320_u16, 180_u16), (640, 360), (1_280, 720)] {
        payload.extend(width.to_be_bytes());
        payload.extend(height.to_be_bytes());
    }
    assert_eq!(dimensions(CodecKind::Vp9, &payload), Some((1_280, 720)));
    assert_eq!(spatial_size(CodecKind::Vp9, &payload, 1), Some((640, 360)));
    assert_eq!(spatial_size(CodecKind::Vp9, &payload, 3), None);
    let position = Reader::default().read(CodecKind::Vp9, 0, &payload, None).unwrap();
    assert_eq!((position.spatial, position.temporal, position.ends_layer), (2, 1, true));
    let point = |spatial, temporal| Point::new(Some(spatial), Some(temporal));
    assert!(position.is_part_of(Point::WHOLE, None) && position.is_part_of(point(2, 1), None));
    assert!(!position.is_part_of(point(1, 2), None) && !position.is_part_of(point(2, 0), None));
    // From T1 on, T2 depends on nothing older; a viewer of T0 alone has not seen this frame.
    assert!(position.lets_over(&way(point(2, 1), Point::new(Some(2), None)), true));
    assert!(!position.lets_over(&way(point(2, 0), point(2, 1)), true));
    assert!(position.lets_over(&way(point(2, 2), point(1, 1)), true), "down at any picture");
    assert!(!position.lets_over(&way(point(1, 2), point(2, 2)), true), "up by a keyframe");
}

#[test]
fn vp8_says_temporal_layers() {
    let payload = |layer: u8| [0x90, 0xE0, 0x80, 1, 7, layer, 0];
    let sync = Reader::default().read(CodecKind::Vp8, 0, &payload(2 << 6 | 0x20), None).unwrap();
    assert_eq!((sync.spatial, sync.temporal, sync.closes_up), (0, 2, true));
    let (lowest, whole) = (Point::new(None, Some(0)), Point::WHOLE);
    assert!(sync.lets_over(&way(lowest, whole), true));
    let other = Reader::default().read(CodecKind::Vp8, 0, &payload(1 << 6), None).unwrap();
    assert!(!other.lets_over(&way(lowest, whole), true));
    assert_eq!(Reader::default().read(CodecKind::Vp8, 0, &[0x10, 0, 0], None), None);
    assert_eq!(lowest.within(Point::new(Some(1), None)), Point::new(Some(1), Some(0)));
}

/// Two decode targets, of one temporal layer and of both: templates of a keyframe, of a lower frame and of an upper one.
const L1T2_STRUCTURE: [u8; 7] =
    [0b1000_0000, 0b0000_0001, 0b0001_1110, 0b1010_1000, 0b0101_0001, 0b0100_0000, 0b0000_0000];

/// The descriptor of frame `number`, by its template and what follows.
fn descriptor(template: u8, number: u64, more: &[u8]) -> Vec<u8> {
    let [high, low] = (number as u16).to_be_bytes();
    [&[0xC0 | template, high, low], more].concat()
}

#[test]
fn what_an_encoder_says_that_it_sends_holds_until_it_says_so_again_however_late() {
    let mut reader = Reader::default();
    let mut read = |index: u64, template, more: &[u8]| {
        reader.read(CodecKind::Av1, index, &[], Some(&descriptor(template, index, more))).unwrap();
        reader.state().1
    };
    // Active decode targets: the lower one, or both.
    let (lower, both) = ([0x40 | 0b01 << 1], [0x40 | 0b11 << 1]);
    read(0, 0, &L1T2_STRUCTURE);
    assert_eq!(read(1, 1, &lower), 0b01);
    (2..40_000).for_each(|index| assert_eq!(read(index, 1, &[]), 0b01));
    assert_eq!(read(40_001, 1, &both), 0b11);
    assert_eq!(read(40_000, 1, &lower), 0b11, "it came late");
}

#[test]
fn a_frame_is_not_taken_for_the_one_that_brought_the_structure_when_its_number_comes_again() {
    let mut reader = Reader::default();
    let mut is_part_of_lower = |index: u64, template, more: &[u8]| {
        let position = reader.read(CodecKind::Av1, index, &[], Some(&descriptor(template, index, more)));
        position.unwrap().is_part_of(Point::new(None, Some(0)), Some(0))
    };
    assert!(is_part_of_lower(0, 0, &L1T2_STRUCTURE));
    (1..65_536).for_each(|index| assert!(is_part_of_lower(index, 1, &[])));
    assert!(!is_part_of_lower(65_536, 2, &[]));
}
