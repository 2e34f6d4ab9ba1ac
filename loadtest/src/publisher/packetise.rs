//! Pictures into RTP payloads of a wanted size: RFC 6184 for H264, RFC 7741 for VP8, with legal padding.
//!
//! Browsers cut a frame into packets that differ by a byte at most, which is what a server's segmentation offload
//! depends on, so padding fills a picture up to a whole number of equal packets. H264 is padded with filler NAL units
//! (type 12); VP8 with bytes after its last partition, which a decoder never reads (tested with FFmpeg's).

use bytes::Bytes;

use crate::clip::Picture;

/// Most bytes of RTP payload: with header, extensions and SRTP tag a packet stays under 1,200 bytes, as browsers' do.
pub const PAYLOAD_LIMIT_BYTES: usize = 1_140;

/// H264 NAL unit types of RFC 6184 §5.2 and ITU-T H.264 table 7-1.
const FILLER: u8 = 12;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Payloads of one H264 picture, padded to `wanted_bytes` if it is smaller.
pub fn h264(picture: &Picture, wanted_bytes: usize) -> Vec<Bytes> {
    let total = picture.bytes().max(wanted_bytes);
    let size = total.div_ceil(total.div_ceil(PAYLOAD_LIMIT_BYTES).max(1)).max(64);
    let (small, large): (Vec<&Bytes>, Vec<&Bytes>) =
        picture.parts.iter().partition(|part| part.len() + 4 <= size);
    let mut payloads = Vec::new();
    let mut first = vec![STAP_A | reference_bits(&picture.parts)];
    // Order matters only in that parameter sets come before slices, and those always fit: small ones first.
    for part in &small {
        if first.len() + 2 + part.len() > size {
            payloads.push(Bytes::from(std::mem::replace(
                &mut first,
                vec![STAP_A | reference_bits(&picture.parts)],
            )));
        }
        push_aggregated(&mut first, part);
    }
    if first.len() > 1 {
        let missing = size.saturating_sub(first.len() + 2);
        if large.is_empty() && wanted_bytes > 0 && missing >= 2 {
            push_aggregated(&mut first, &filler(missing));
        }
        payloads.push(Bytes::from(first));
    }
    for part in large {
        payloads.extend(fragments(part, size));
    }
    let mut sent: usize = payloads.iter().map(Bytes::len).sum();
    while sent + size / 2 < wanted_bytes {
        payloads.push(filler(size));
        sent += size;
    }
    payloads
}

/// The nal_ref_idc of an aggregate is the highest of its parts' (RFC 6184 §5.7.1).
fn reference_bits(parts: &[Bytes]) -> u8 {
    parts.iter().filter_map(|part| part.first()).map(|byte| byte & 0x60).max().unwrap_or(0)
}

fn push_aggregated(packet: &mut Vec<u8>, unit: &[u8]) {
    packet.extend_from_slice(&(unit.len() as u16).to_be_bytes());
    packet.extend_from_slice(unit);
}

/// A filler NAL unit of `bytes` bytes, at least 2 (ITU-T H.264 §7.3.2.7: 0xff bytes, then the stop bit).
fn filler(bytes: usize) -> Bytes {
    let mut unit = vec![0xff; bytes.max(2)];
    if let Some(first) = unit.first_mut() {
        *first = FILLER;
    }
    if let Some(last) = unit.last_mut() {
        *last = 0x80;
    }
    Bytes::from(unit)
}

/// One NAL unit as FU-A fragments of equal size (RFC 6184 §5.8).
fn fragments(unit: &Bytes, size: usize) -> Vec<Bytes> {
    let Some((header, body)) = unit.split_first() else { return Vec::new() };
    let count = body.len().div_ceil(size.saturating_sub(2).max(1)).max(2);
    let chunk = body.len().div_ceil(count).max(1);
    let pieces: Vec<&[u8]> = body.chunks(chunk).collect();
    let last = pieces.len().saturating_sub(1);
    pieces
        .into_iter()
        .enumerate()
        .map(|(index, piece)| {
            let start = if index == 0 { 0x80 } else { 0 };
            let end = if index == last { 0x40 } else { 0 };
            let mut payload = Vec::with_capacity(piece.len() + 2);
            payload.push((header & 0xe0) | FU_A);
            payload.push((header & 0x1f) | start | end);
            payload.extend_from_slice(piece);
            Bytes::from(payload)
        })
        .collect()
}

/// Payloads of one VP8 picture, padded to `wanted_bytes` if it is smaller; `picture_id` counts pictures.
pub fn vp8(picture: &Picture, wanted_bytes: usize, picture_id: u16) -> Vec<Bytes> {
    const DESCRIPTOR_BYTES: usize = 4;
    let mut frame: Vec<u8> = picture.parts.concat();
    frame.resize(frame.len().max(wanted_bytes), 0);
    let count = frame.len().div_ceil(PAYLOAD_LIMIT_BYTES - DESCRIPTOR_BYTES).max(1);
    let [id_high, id_low] = (picture_id | 0x8000).to_be_bytes();
    frame
        .chunks(frame.len().div_ceil(count).max(1))
        .enumerate()
        .map(|(index, piece)| {
            // RFC 7741 §4.2: X, S on the first packet, partition 0; then I; then a 15-bit picture id.
            let first = if index == 0 { 0x90 } else { 0x80 };
            let mut payload = vec![first, 0x80, id_high, id_low];
            payload.extend_from_slice(piece);
            Bytes::from(payload)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::clip::{ClipSize, h264_pictures, vp8_pictures};

    #[test]
    fn padded_h264_pictures_have_the_wanted_size_in_equal_packets() {
        for picture in h264_pictures(ClipSize::Full).unwrap().iter().skip(1).take(60) {
            let payloads = h264(picture, 6_000);
            let total: usize = payloads.iter().map(Bytes::len).sum();
            assert!(total.abs_diff(6_000) < 1_000, "{total}");
            assert!(payloads.iter().all(|payload| payload.len() <= PAYLOAD_LIMIT_BYTES));
            let largest = payloads.iter().map(Bytes::len).max().unwrap();
            let smallest = payloads.iter().map(Bytes::len).min().unwrap();
            assert!(largest - smallest <= 1, "{smallest} to {largest}");
        }
    }

    #[test]
    fn fragments_carry_start_and_end_once() {
        let picture = h264_pictures(ClipSize::Full).unwrap().into_iter().next().unwrap();
        let payloads = h264(&picture, 0);
        let units: Vec<&Bytes> = payloads.iter().filter(|payload| payload[0] & 0x1f == FU_A).collect();
        assert!(units.len() >= 2);
        assert_eq!(units.iter().filter(|unit| unit[1] & 0x80 != 0).count(), 1);
        assert_eq!(units.iter().filter(|unit| unit[1] & 0x40 != 0).count(), 1);
    }

    #[test]
    fn padded_vp8_pictures_have_the_wanted_size() {
        let picture = &vp8_pictures(ClipSize::Full).unwrap()[3];
        let payloads = vp8(picture, 6_000, 7);
        let total: usize = payloads.iter().map(|payload| payload.len() - 4).sum();
        assert_eq!(total, 6_000);
        assert_eq!(payloads[0][0], 0x90);
        assert_eq!(payloads[1][0], 0x80);
        assert_eq!(&payloads[0][1..4], &[0x80, 0x80, 7]);
    }
}
