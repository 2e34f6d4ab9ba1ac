//! Payloads of H265 as packetizers make them (RFC 7798 §4.4): a keyframe begins with an aggregation packet of its parameter sets
//! and a first slice; what does not fit one packet is a slice of its own, in fragments.

use crate::footage::Tag;

/// NAL unit types (ITU-T H.265 table 7-1) and those of RFC 7798.
const TRAILING: u8 = 1;
const IDR: u8 = 19;
const AGGREGATION: u8 = 48;
const FRAGMENT: u8 = 49;

/// VPS, SPS and PPS: header, then as much as tells one from another. Nobody decodes them here.
const PARAMETER_SETS: [&[u8]; 3] = [
    &[0x40, 0x01, 0x0C, 0x01, 0xFF, 0xFF, 0x01, 0x60],
    &[0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00],
    &[0x44, 0x01, 0xC1],
];

/// First byte of a slice: whether it is the first of its picture (`first_slice_segment_in_pic_flag`, ITU-T H.265 §7.3.6.1), and
/// bits that do not matter.
const FIRST_SLICE: u8 = 0xAF;
const NEXT_SLICE: u8 = 0x2F;

/// What a packet of `len` bytes in all has before its tag.
pub fn head(tag: &Tag, len: usize) -> Vec<u8> {
    let kind = if tag.key { IDR } else { TRAILING };
    // The first slice of a keyframe ends with its first packet; other pictures are one slice.
    let (first_place, slice) = match (tag.key, tag.place) {
        (true, 0) => return aggregation(tag, len),
        (true, _) => (1, NEXT_SLICE),
        (false, _) => (0, FIRST_SLICE),
    };
    let [begins, ends] = [tag.place == first_place, tag.place + 1 == tag.count];
    if begins && ends {
        return [&header(kind, tag)[..], &[slice]].concat();
    }
    let fragment = u8::from(begins) << 7 | u8::from(ends) << 6 | kind;
    [&header(FRAGMENT, tag)[..], &[fragment, slice]].concat()
}

fn aggregation(tag: &Tag, len: usize) -> Vec<u8> {
    let mut bytes = header(AGGREGATION, tag).to_vec();
    for set in PARAMETER_SETS {
        bytes.extend((set.len() as u16).to_be_bytes());
        bytes.extend(set);
    }
    let slice = len - bytes.len() - 2;
    bytes.extend((slice as u16).to_be_bytes());
    bytes.extend(header(IDR, tag));
    bytes.push(FIRST_SLICE);
    bytes
}

/// RFC 7798 §1.1.4: type, layer 0, temporal layer and one.
fn header(kind: u8, tag: &Tag) -> [u8; 2] {
    [kind << 1, tag.temporal + 1]
}

/// The length of what [`head`] made.
pub fn head_bytes(payload: &[u8]) -> Option<usize> {
    let sets: usize = PARAMETER_SETS.iter().map(|set| 2 + set.len()).sum();
    match payload.first()? >> 1 {
        AGGREGATION => Some(2 + sets + 2 + 2 + 1),
        FRAGMENT => Some(4),
        _ => Some(3),
    }
}

mod tests {
    use aforo_node::media::codec::CodecKind;
    use rtc_rtp::codec::h265::{H265Packet, H265Payload};
    use rtc_rtp::packetizer::Depacketizer;

    use super::*;
    use crate::footage::{Format, Numbers, video};

    /// The NAL units of a frame of so many packets, read by another implementation.
    fn units(key: bool, temporal: u8, count: u8) -> Vec<Vec<u8>> {
        let format = Format {
            codec: CodecKind::H265,
            spatial_layers: 1,
            temporal_layers: 3,
            layers_meet_at_keyframes: false,
            descriptor: false,
        };
        let (mut whole, mut fragmented) = (Vec::new(), None::<Vec<u8>>);
        for place in 0..count {
            let tag = Tag {
                number: place.into(),
                frame: 5,
                place,
                count,
                spatial: 0,
                temporal,
                key,
                from_middle: false,
                references: [None; 2],
            };
            let payload = video(&format, 0, &tag, Numbers { picture: 0, base: 0 }, 300);
            let mut packet = H265Packet::default();
            packet.depacketize(&payload.into()).unwrap();
            match packet.payload() {
                H265Payload::H265SingleNALUnitPacket(unit) => {
                    whole.push([&unit.payload_header().0.to_be_bytes()[..], &unit.payload()].concat());
                }
                H265Payload::H265AggregationPacket(units) => {
                    whole.push(units.first_unit().unwrap().nal_unit().to_vec());
                    whole.extend(units.other_units().iter().map(|unit| unit.nal_unit().to_vec()));
                }
                H265Payload::H265FragmentationUnitPacket(unit) => {
                    let (fu, kept) = (unit.fu_header(), unit.payload_header().0 & 0x81FF);
                    assert!(!(fu.s() && fu.e()), "a fragment that is all of it");
                    assert_eq!(fu.s(), fragmented.is_none());
                    let first = u16::from(fu.fu_type()) << 9 | kept;
                    let unfinished = fragmented.get_or_insert_with(|| first.to_be_bytes().to_vec());
                    unfinished.extend(unit.payload());
                    if fu.e() {
                        whole.extend(fragmented.take());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(fragmented, None, "all fragments are there");
        whole
    }

    #[test]
    fn frames_have_the_shapes_of_rfc_7798() {
        for (key, count, expected) in [
            (true, 1, &[(32, 8), (33, 7), (34, 3), (IDR, 272)][..]),
            (true, 2, &[(32, 8), (33, 7), (34, 3), (IDR, 272), (IDR, 300)]),
            (true, 4, &[(32, 8), (33, 7), (34, 3), (IDR, 272), (IDR, 3 * 297 + 2)]),
            (false, 1, &[(TRAILING, 300)]),
            (false, 3, &[(TRAILING, 3 * 297 + 2)]),
        ] {
            for temporal in 0..3 {
                let units = units(key, temporal, count);
                let seen: Vec<_> = units.iter().map(|unit| (unit[0] >> 1, unit.len())).collect();
                assert_eq!(seen, expected, "{key} {count}");
                let slices = units.iter().filter(|unit| unit[0] >> 1 < 32);
                assert!(slices.clone().all(|unit| unit[1] == temporal + 1));
                let firsts: Vec<_> = slices.map(|unit| unit[2] & 0x80 != 0).collect();
                assert_eq!(firsts.iter().filter(|first| **first).count(), 1);
                assert!(firsts[0], "a picture begins with its first slice");
            }
        }
    }
}
