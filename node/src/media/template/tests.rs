#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::media::codec::{CodecKind, MediaKind};
use crate::media::negotiated::{Codec, Feedback};

fn media(ids: &[(ExtensionKind, u8)]) -> NegotiatedMedia {
    let mut extensions = ExtensionMap::default();
    ids.iter().for_each(|(kind, id)| extensions.set(*kind, *id));
    NegotiatedMedia {
        kind: MediaKind::Video,
        mid: "1".to_owned(),
        codec: Codec { kind: CodecKind::Vp8, payload_type: 101, fmtp: String::new() },
        rtx_payload_type: Some(102),
        red_payload_type: None,
        extensions,
        feedback: Feedback { nack: true, ..Default::default() },
        rids: Vec::new(),
        remote_ssrcs: Vec::new(),
        local_ssrc: None,
    }
}

/// A packet with canonical ids, as rings hold it.
fn packet(extensions: &[(ExtensionKind, &[u8])], marker: bool) -> Vec<u8> {
    let fields =
        HeaderFields { marker, padding: false, payload_type: 96, sequence: 7, timestamp: 1_234, ssrc: 9 };
    let list: Vec<_> = extensions.iter().map(|(kind, value)| (canonical_id(*kind), *value)).collect();
    let mut bytes = vec![0; 400];
    let written = write_header(&mut bytes, &fields, &list).unwrap();
    bytes.truncate(written.len);
    bytes.extend([0xAB; 100]);
    bytes
}

const FIELDS: LegFields = LegFields {
    sequence: 0xFFFE,
    timestamp: 77,
    ssrc: 0xCAFE,
    transport_sequence: 0x1234,
    ends_picture: false,
    frame_shift: 0,
};

fn rewritten(class: &LegClass, packet: &[u8]) -> (Vec<u8>, RtpHeader) {
    let template = class.header(packet, &RtpHeader::parse(packet).unwrap(), 0x01_02_03);
    let mut out = vec![0xEE; template.len() + 100];
    template.write(&mut out, &FIELDS).unwrap();
    let header = RtpHeader::parse(&out).unwrap();
    assert_eq!(header.header_len(), template.len());
    (out, header)
}

#[test]
fn a_leg_gets_its_own_numbers_and_the_viewers_ids() {
    let class = LegClass::of(&media(&[
        (ExtensionKind::Mid, 4),
        (ExtensionKind::TransportWideCc, 3),
        (ExtensionKind::AbsSendTime, 2),
        (ExtensionKind::VideoOrientation, 13),
    ]));
    let source = packet(
        &[
            (ExtensionKind::Rid, b"hi"),
            (ExtensionKind::VideoOrientation, &[1]),
            (ExtensionKind::AudioLevel, &[9]),
        ],
        true,
    );
    let (out, header) = rewritten(&class, &source);
    assert_eq!((header.payload_type, header.marker, header.csrc_count), (101, true, 0));
    assert_eq!((header.sequence, header.timestamp, header.ssrc), (0xFFFE, 77, 0xCAFE));
    let found: Vec<_> = header.extensions(&out).collect();
    assert_eq!(found, [(4, &b"1"[..]), (3, &[0x12, 0x34]), (2, &[1, 2, 3]), (13, &[1])]);
}

#[test]
fn ids_above_14_take_the_two_byte_form_and_long_descriptors_fit() {
    let class = LegClass::of(&media(&[
        (ExtensionKind::TransportWideCc, 40),
        (ExtensionKind::DependencyDescriptor, 5),
    ]));
    let (out, header) =
        rewritten(&class, &packet(&[(ExtensionKind::DependencyDescriptor, &[3; 120])], false));
    assert_eq!(header.extension(&out, 40), Some(&[0x12, 0x34][..]));
    assert_eq!(header.extension(&out, 5), Some(&[3; 120][..]));
    // One that cannot fit is left out, and the packet still goes.
    let (out, header) =
        rewritten(&class, &packet(&[(ExtensionKind::DependencyDescriptor, &[3; 230])], false));
    assert_eq!(header.extension(&out, 40), Some(&[0x12, 0x34][..]));
    assert_eq!(header.extension(&out, 5), None);
}

#[test]
fn without_extensions_there_is_no_extension_block() {
    let class = LegClass::of(&media(&[]));
    let (_, header) = rewritten(&class, &packet(&[(ExtensionKind::AudioLevel, &[1])], false));
    assert_eq!(header.header_len(), 12);
}

#[test]
fn packets_that_may_be_sent_again_as_they_are_have_nothing_of_the_moment_in_them() {
    let ids = [(ExtensionKind::TransportWideCc, 3), (ExtensionKind::AbsSendTime, 2), (ExtensionKind::Mid, 1)];
    let mut viewer = media(&ids);
    assert!(!LegClass::of(&viewer).is_verbatim());
    viewer.rtx_payload_type = None;
    let class = LegClass::of(&viewer);
    assert!(class.is_verbatim());
    let source = packet(&[], false);
    let header = RtpHeader::parse(&source).unwrap();
    let (early, late) = (class.header(&source, &header, 1), class.header(&source, &header, 2));
    assert_eq!(early.bytes, late.bytes);
    assert!(class.rtx_header(&source, &header, 1).is_none());
}

proptest! {
    /// Whatever ids the viewer chose, every value it negotiated arrives under its id, in a form that can carry it.
    #[test]
    fn values_arrive_under_the_viewers_ids(
        seed in prop::collection::hash_set(1_u8..=255, 6),
        level in any::<u8>(),
        descriptor in prop::collection::vec(any::<u8>(), 1..60),
    ) {
        let kinds = [
            ExtensionKind::Mid,
            ExtensionKind::TransportWideCc,
            ExtensionKind::AudioLevel,
            ExtensionKind::DependencyDescriptor,
            ExtensionKind::AbsCaptureTime,
            ExtensionKind::PlayoutDelay,
        ];
        let ids: Vec<_> = kinds.into_iter().zip(seed).collect();
        let source = packet(
            &[(ExtensionKind::DependencyDescriptor, &descriptor), (ExtensionKind::AudioLevel, &[level])],
            false,
        );
        let (out, header) = rewritten(&LegClass::of(&media(&ids)), &source);
        let value = |kind: ExtensionKind| {
            let id = ids.iter().find(|(known, _)| *known == kind).unwrap().1;
            header.extension(&out, id).map(<[u8]>::to_vec)
        };
        prop_assert_eq!(value(ExtensionKind::Mid), Some(b"1".to_vec()));
        prop_assert_eq!(value(ExtensionKind::TransportWideCc), Some(vec![0x12, 0x34]));
        prop_assert_eq!(value(ExtensionKind::AudioLevel), Some(vec![level]));
        prop_assert_eq!(value(ExtensionKind::DependencyDescriptor), Some(descriptor.clone()));
        prop_assert_eq!(value(ExtensionKind::PlayoutDelay), None);
    }
}
