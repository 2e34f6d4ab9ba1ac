#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;
use rtc_rtp::header::{Extension, Header};
use rtc_rtp::packet::Packet;
use rtc_shared::marshal::{Marshal, Unmarshal};

fn fields() -> impl Strategy<Value = HeaderFields> {
    (any::<bool>(), 0u8..128, any::<u16>(), any::<u32>(), any::<u32>()).prop_map(
        |(marker, payload_type, sequence, timestamp, ssrc)| HeaderFields {
            marker,
            padding: false,
            payload_type,
            sequence,
            timestamp,
            ssrc,
        },
    )
}

fn one_byte_extensions() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    proptest::collection::vec((1u8..=14, proptest::collection::vec(any::<u8>(), 1..=16)), 0..8)
}

fn any_extensions() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    proptest::collection::vec((1u8..=255, proptest::collection::vec(any::<u8>(), 0..=40)), 0..8)
}

fn borrowed(extensions: &[(u8, Vec<u8>)]) -> Vec<(u8, &[u8])> {
    extensions.iter().map(|(id, value)| (*id, value.as_slice())).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        fields in fields(),
        extensions in any_extensions(),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut buffer = [0xAA; 1500];
        let written = write_header(&mut buffer, &fields, &borrowed(&extensions)).unwrap();
        buffer[written.len..written.len + payload.len()].copy_from_slice(&payload);
        let packet = &buffer[..written.len + payload.len()];
        let header = RtpHeader::parse(packet).unwrap();
        prop_assert_eq!(header.header_len(), written.len);
        prop_assert_eq!(&packet[header.payload()], payload.as_slice());
        prop_assert_eq!(header.marker, fields.marker);
        prop_assert_eq!(header.payload_type, fields.payload_type);
        prop_assert_eq!(header.sequence, fields.sequence);
        prop_assert_eq!(header.timestamp, fields.timestamp);
        prop_assert_eq!(header.ssrc, fields.ssrc);
        let read: Vec<_> = header.extensions(packet).map(|(id, value)| (id, value.to_vec())).collect();
        prop_assert_eq!(&read, &extensions);
        for (index, (_, value)) in extensions.iter().enumerate() {
            let offset = written.value_offset(index).unwrap();
            prop_assert_eq!(&packet[offset..offset + value.len()], value.as_slice());
        }
        prop_assert_eq!(written.value_offset(extensions.len()), None);
    }

    #[test]
    fn another_implementation_reads_what_we_write(fields in fields(), extensions in any_extensions()) {
        let mut buffer = [0; 1500];
        let written = write_header(&mut buffer, &fields, &borrowed(&extensions)).unwrap();
        let theirs = Header::unmarshal(&mut &buffer[..written.len]).unwrap();
        prop_assert_eq!(theirs.sequence_number, fields.sequence);
        prop_assert_eq!(theirs.timestamp, fields.timestamp);
        prop_assert_eq!(theirs.ssrc, fields.ssrc);
        prop_assert_eq!(theirs.payload_type, fields.payload_type);
        prop_assert_eq!(theirs.marker, fields.marker);
        let read: Vec<_> = theirs.extensions.iter().map(|e| (e.id, e.payload.to_vec())).collect();
        prop_assert_eq!(read, extensions);
    }

    #[test]
    fn we_read_what_another_implementation_writes(
        fields in fields(),
        extensions in one_byte_extensions(),
        csrc in proptest::collection::vec(any::<u32>(), 0..15),
        payload in proptest::collection::vec(any::<u8>(), 1..64),
        padding in any::<bool>(),
    ) {
        let theirs = Packet {
            header: Header {
                version: 2,
                padding,
                extension: !extensions.is_empty(),
                marker: fields.marker,
                payload_type: fields.payload_type,
                sequence_number: fields.sequence,
                timestamp: fields.timestamp,
                ssrc: fields.ssrc,
                csrc: csrc.clone(),
                extension_profile: if extensions.is_empty() { 0 } else { 0xBEDE },
                extensions: extensions
                    .iter()
                    .map(|(id, value)| Extension { id: *id, payload: value.clone().into() })
                    .collect(),
                extensions_padding: 0,
            },
            payload: payload.clone().into(),
        };
        let bytes = theirs.marshal().unwrap();
        let header = RtpHeader::parse(&bytes).unwrap();
        prop_assert_eq!(usize::from(header.csrc_count), csrc.len());
        prop_assert_eq!(&bytes[header.payload()], payload.as_slice());
        prop_assert_eq!(header.padding_len > 0, padding);
        prop_assert_eq!(header.ssrc, fields.ssrc);
        let read: Vec<_> = header.extensions(&bytes).map(|(id, value)| (id, value.to_vec())).collect();
        prop_assert_eq!(read, extensions);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), version in any::<bool>()) {
        if let (true, Some(first)) = (version, bytes.first_mut()) {
            *first = *first & 0x3F | 0x80;
        }
        let _ = is_rtcp(&bytes);
        for parsed in [RtpHeader::parse(&bytes), RtpHeader::parse_protected(&bytes)] {
            let Ok(header) = parsed else { continue };
            prop_assert!(header.payload().end <= bytes.len());
            prop_assert!(header.extension_block().end <= header.header_len());
            let total: usize = header.extensions(&bytes).map(|(_, value)| value.len() + 1).sum();
            prop_assert!(total <= header.extension_block().len());
        }
    }
}

#[test]
fn a_small_set_of_extensions_takes_the_one_byte_form() {
    let mut buffer = [0; 64];
    let fields =
        HeaderFields { marker: true, padding: false, payload_type: 96, sequence: 1, timestamp: 2, ssrc: 3 };
    assert!(!write_header(&mut buffer, &fields, &[(14, &[0; 16]), (1, &[1])]).unwrap().two_byte);
    assert!(write_header(&mut buffer, &fields, &[(15, &[0; 2])]).unwrap().two_byte);
    assert!(write_header(&mut buffer, &fields, &[(1, &[0; 17])]).unwrap().two_byte);
    assert!(write_header(&mut buffer, &fields, &[(1, &[])]).unwrap().two_byte);
    let plain = write_header(&mut buffer, &fields, &[]).unwrap();
    assert_eq!(plain.len, FIXED_HEADER_BYTES);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let fields =
        HeaderFields { marker: false, padding: false, payload_type: 96, sequence: 1, timestamp: 2, ssrc: 3 };
    assert_eq!(write_header(&mut [0; 64], &fields, &[(0, &[1])]), Err(RtpError::Extension));
    assert_eq!(write_header(&mut [0; 500], &fields, &[(1, &[0; 256])]), Err(RtpError::Extension));
    assert_eq!(write_header(&mut [0; 500], &fields, &[(1, &[0; 1][..]); 17]), Err(RtpError::Extension));
    assert_eq!(write_header(&mut [0; 11], &fields, &[]), Err(RtpError::NoRoom));
    assert_eq!(write_header(&mut [0; 19], &fields, &[(1, &[1])]), Err(RtpError::NoRoom));
    assert!(write_header(&mut [0; 20], &fields, &[(1, &[1])]).is_ok());
}

#[test]
fn an_element_of_id_zero_with_a_length_ends_the_one_byte_form() {
    let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xBE, 0xDE, 0, 2];
    packet.extend([0x10, 7, 0, 0x01, 9, 9, 0x20, 8]);
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(header.extensions(&packet).collect::<Vec<_>>(), [(1, &[7][..])]);
    packet[19] = 0xF0;
    assert_eq!(header.extensions(&packet).count(), 1);
    packet[19..22].fill(0);
    assert_eq!(header.extension(&packet, 2), Some(&[8][..]));
}

#[test]
fn padding_must_fit() {
    let mut packet = vec![0xA0, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 3];
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!((header.payload(), header.padding_len), (12..13, 3));
    for bad in [0, 5, 255] {
        packet[15] = bad;
        assert_eq!(RtpHeader::parse(&packet), Err(RtpError::Padding(bad)));
    }
    packet[15] = 4;
    assert!(RtpHeader::parse(&packet).unwrap().payload().is_empty());
    assert_eq!(RtpHeader::parse_protected(&packet).unwrap().payload(), 12..16);
}

#[test]
fn rtcp_is_told_from_rtp_by_its_packet_type() {
    assert!(is_rtcp(&[0x80, 200]) && is_rtcp(&[0x81, 206]) && is_rtcp(&[0x80, 192]) && is_rtcp(&[0x80, 223]));
    assert!(!is_rtcp(&[0x80, 191]) && !is_rtcp(&[0x80, 96]) && !is_rtcp(&[0x80, 0xE0]) && !is_rtcp(&[0x80]));
}
