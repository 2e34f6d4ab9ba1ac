#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::media::codec::{CodecKind, MediaKind};
use crate::media::negotiated::{Codec, Feedback, SsrcPair};
use crate::media::rtp::{HeaderFields, write_header};
use proptest::prelude::*;

const MID: u8 = 1;
const RID: u8 = 2;
const REPAIRED_RID: u8 = 3;

fn media(kind: CodecKind, mid: &str, rids: &[&str], remote_ssrcs: &[SsrcPair]) -> NegotiatedMedia {
    let mut extensions = ExtensionMap::default();
    extensions.set(ExtensionKind::Mid, MID);
    extensions.set(ExtensionKind::Rid, RID);
    extensions.set(ExtensionKind::RepairedRid, REPAIRED_RID);
    let video = kind.kind() == MediaKind::Video;
    NegotiatedMedia {
        kind: kind.kind(),
        mid: mid.to_owned(),
        codec: Codec { kind, payload_type: if video { 96 } else { 111 }, fmtp: String::new() },
        rtx_payload_type: video.then_some(97),
        red_payload_type: None,
        extensions,
        feedback: Feedback::default(),
        rids: rids.iter().map(|rid| (*rid).to_owned()).collect(),
        remote_ssrcs: remote_ssrcs.to_vec(),
        local_ssrc: None,
    }
}

fn packet(ssrc: u32, payload_type: u8, extensions: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let fields = HeaderFields { marker: true, padding: false, payload_type, sequence: 7, timestamp: 9, ssrc };
    let mut bytes = vec![0; 200];
    let len = write_header(&mut bytes, &fields, extensions).unwrap().len;
    bytes.truncate(len);
    bytes.extend(payload);
    bytes
}

fn route(
    demux: &mut Demux,
    ssrc: u32,
    payload_type: u8,
    extensions: &[(u8, &[u8])],
) -> Result<Route, Unroutable> {
    let bytes = packet(ssrc, payload_type, extensions, &[1, 2, 3]);
    demux.route(&RtpHeader::parse(&bytes).unwrap(), &bytes)
}

#[test]
fn announced_ssrcs_need_no_extensions() {
    let announced = [SsrcPair { primary: 10, rtx: Some(11) }];
    let audio = [SsrcPair { primary: 20, rtx: None }];
    let mut demux =
        Demux::new(&[media(CodecKind::Opus, "0", &[], &audio), media(CodecKind::H264, "1", &[], &announced)]);
    assert_eq!(route(&mut demux, 20, 111, &[]), Ok(Route { track: 0, layer: 0, rtx: false }));
    assert_eq!(route(&mut demux, 10, 96, &[]), Ok(Route { track: 1, layer: 0, rtx: false }));
    assert_eq!(route(&mut demux, 11, 97, &[]), Ok(Route { track: 1, layer: 0, rtx: true }));
    assert_eq!(route(&mut demux, 10, 111, &[]), Err(Unroutable::PayloadType(111)));
    assert_eq!(demux.media_ssrc(1, 0), Some(10));
}

#[test]
fn layers_are_learned_from_rids_and_kept_when_they_stop() {
    let mut demux = Demux::new(&[media(CodecKind::Vp8, "v", &["h", "m", "l"], &[])]);
    assert_eq!(route(&mut demux, 5, 96, &[]), Err(Unroutable::Rid), "could be any layer");
    let middle = Route { track: 0, layer: 1, rtx: false };
    assert_eq!(route(&mut demux, 5, 96, &[(MID, b"v"), (RID, b"m")]), Ok(middle));
    assert_eq!(route(&mut demux, 5, 96, &[]), Ok(middle));
    assert_eq!(route(&mut demux, 6, 97, &[(REPAIRED_RID, b"m")]), Ok(Route { rtx: true, ..middle }));
    assert_eq!(route(&mut demux, 7, 96, &[(MID, b"v"), (RID, b"x")]), Err(Unroutable::Rid));
    assert_eq!(route(&mut demux, 7, 96, &[(MID, b"w"), (RID, b"h")]), Err(Unroutable::Mid));
    assert_eq!(demux.media_ssrc(0, 1), Some(5));
    assert_eq!(demux.media_ssrc(0, 0), None);
}

#[test]
fn the_payload_type_is_the_last_resort() {
    let mut demux =
        Demux::new(&[media(CodecKind::Opus, "a", &[], &[]), media(CodecKind::H264, "v", &[], &[])]);
    assert_eq!(route(&mut demux, 1, 111, &[]), Ok(Route { track: 0, layer: 0, rtx: false }));
    assert_eq!(route(&mut demux, 2, 97, &[]), Ok(Route { track: 1, layer: 0, rtx: true }));
    assert_eq!(route(&mut demux, 3, 100, &[]), Err(Unroutable::PayloadType(100)));
    assert_eq!(route(&mut demux, 3, 111, &[(MID, b"v")]), Err(Unroutable::PayloadType(111)));
}

#[test]
fn a_new_ssrc_takes_over_its_place_so_the_table_stays_small() {
    let announced = [SsrcPair { primary: 10, rtx: None }];
    let mut demux = Demux::new(&[media(CodecKind::H264, "v", &[], &announced)]);
    for ssrc in 100..1000 {
        assert!(route(&mut demux, ssrc, 96, &[]).is_ok());
        assert_eq!(demux.media_ssrc(0, 0), Some(ssrc));
    }
    assert_eq!(demux.ssrcs.len(), 1);
}

#[test]
fn a_full_table_drops_new_streams() {
    let rids: Vec<String> = (0..40).map(|index| index.to_string()).collect();
    let rids: Vec<&str> = rids.iter().map(String::as_str).collect();
    let mut demux = Demux::new(&[media(CodecKind::Vp8, "v", &rids, &[])]);
    let results: Vec<_> = (0u32..)
        .zip(&rids)
        .map(|(ssrc, rid)| route(&mut demux, ssrc, 96, &[(RID, rid.as_bytes())]))
        .collect();
    assert!(results[..SSRC_TABLE_CAPACITY].iter().all(Result::is_ok));
    assert!(results[SSRC_TABLE_CAPACITY..].iter().all(|result| *result == Err(Unroutable::TableFull)));
}

#[test]
fn a_retransmission_becomes_the_packet_it_repeats() {
    let mut bytes = packet(11, 97, &[(MID, b"v")], &[0x12, 0x34, 7, 8, 9]);
    let header = RtpHeader::parse(&bytes).unwrap();
    let original = unwrap_rtx(&mut bytes, &header, 96, 10).unwrap();
    let read = RtpHeader::parse(original).unwrap();
    assert_eq!((read.ssrc, read.payload_type, read.sequence, read.timestamp), (10, 96, 0x1234, 9));
    assert!(read.marker);
    assert_eq!(original[read.payload()], [7, 8, 9]);
    assert_eq!(read.extension(original, MID), Some(&b"v"[..]));
    for empty in [&[][..], &[1], &[1, 2]] {
        let mut bytes = packet(11, 97, &[], empty);
        let header = RtpHeader::parse(&bytes).unwrap();
        assert!(unwrap_rtx(&mut bytes, &header, 96, 10).is_none());
    }
}

proptest! {
    #[test]
    fn any_packets_get_an_answer(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 12..60), 0..80)) {
        let mut demux = Demux::new(&[media(CodecKind::Vp8, "v", &["h", "l"], &[]), media(CodecKind::Opus, "a", &[], &[])]);
        for mut bytes in packets {
            bytes[0] = bytes[0] & 0x1F | 0x80;
            let Ok(header) = RtpHeader::parse(&bytes) else { continue };
            let _ = demux.route(&header, &bytes);
            prop_assert!(demux.ssrcs.len() <= SSRC_TABLE_CAPACITY);
            let payload = header.payload().len();
            if let Some(original) = unwrap_rtx(&mut bytes, &header, 96, 1) {
                prop_assert_eq!(RtpHeader::parse(original).unwrap().payload().len() + 2, payload);
            }
        }
    }
}
