//! Synthetic video and sound: payloads that begin as their codec's do and say of themselves which they are, so that a viewer can
//! check each bit and knows what can be decoded.

use std::sync::LazyLock;

use aforo_node::media::codec::CodecKind;

use crate::dice::Dice;
use crate::hevc;

/// Payload bytes of a full video packet.
pub const VIDEO_PACKET_BYTES: usize = 1_100;

/// The least that a payload has: the longest head and a tag.
pub const PAYLOAD_BYTES_MIN: usize = 60;

/// Bytes of the parameter set that an H264 keyframe begins with, filled up with zeros.
const PARAMETER_SET_BYTES: usize = 16;

const TAG_BYTES: usize = 20;

/// How one encoding of a video is made. Every picture has all spatial layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub codec: CodecKind,
    pub spatial_layers: u8,
    pub temporal_layers: u8,
    /// Whether larger pictures depend on the smaller ones at keyframes only.
    pub layers_meet_at_keyframes: bool,
    /// Whether packets have a dependency descriptor.
    pub descriptor: bool,
}

impl Format {
    /// Pictures between two of the lowest temporal layer.
    pub fn period(&self) -> u32 {
        1 << (self.temporal_layers - 1)
    }

    /// Temporal layer of the picture at `phase` after one of the lowest: 0 2 1 2 with three layers.
    pub fn temporal(&self, phase: u32) -> u8 {
        match (self.temporal_layers, phase % self.period()) {
            (_, 0) => 0,
            (2, _) | (3, 2) => 1,
            _ => 2,
        }
    }

    /// How many pictures back the one is that a picture at `phase` is predicted from.
    pub fn back(&self, phase: u32) -> u32 {
        match phase % self.period() {
            0 => self.period(),
            2 => 2,
            _ => 1,
        }
    }

    /// Width and height of a spatial layer of encoding `encoding`.
    pub fn size(encoding: u8, spatial: u8) -> (u16, u16) {
        let scale = (encoding + spatial).min(2);
        (320 << scale, 176 << scale)
    }
}

/// What a packet says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Of all packets of a broadcast: publisher, encoding, count.
    pub number: u32,
    /// Counts the frames of its encoding; one for each spatial layer of a picture.
    pub frame: u32,
    /// Of the packet within its frame, and how many that has.
    pub place: u8,
    pub count: u8,
    pub spatial: u8,
    pub temporal: u8,
    pub key: bool,
    /// Whether it is predicted from a frame between the lowest and its own temporal layer.
    pub from_middle: bool,
    /// Frames of the encoding that this one is predicted from.
    pub references: [Option<u32>; 2],
}

impl Tag {
    /// Whether a decoder can begin with the picture that this packet begins.
    pub fn begins_keyframe(&self) -> bool {
        self.key && self.spatial == 0 && self.place == 0
    }

    fn bytes(&self) -> [u8; TAG_BYTES] {
        let mut bytes = [0; TAG_BYTES];
        bytes[..4].copy_from_slice(&self.number.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.frame.to_be_bytes());
        bytes[8..12].copy_from_slice(&[
            self.place,
            self.count,
            self.spatial << 4 | self.temporal,
            u8::from(self.key) | u8::from(self.from_middle) << 1,
        ]);
        for (place, reference) in bytes[12..].chunks_mut(4).zip(self.references) {
            place.copy_from_slice(&reference.map_or(0, |frame| frame + 1).to_be_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8; TAG_BYTES]) -> Self {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        Self {
            number: word(0),
            frame: word(4),
            place: bytes[8],
            count: bytes[9],
            spatial: bytes[10] >> 4,
            temporal: bytes[10] & 0xF,
            key: bytes[11] & 1 != 0,
            from_middle: bytes[11] & 2 != 0,
            references: [12, 16].map(|at| word(at).checked_sub(1)),
        }
    }
}

/// Numbers of pictures, as payload descriptors have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    pub picture: u16,
    pub base: u8,
}

/// The payload of a video packet of encoding `encoding`.
pub fn video(format: &Format, encoding: u8, tag: &Tag, numbers: Numbers, len: usize) -> Vec<u8> {
    let mut bytes = match format.codec {
        CodecKind::Vp8 => vp8_head(encoding, tag, numbers),
        CodecKind::Vp9 => vp9_head(format, tag, numbers),
        CodecKind::Av1 => av1_head(tag),
        CodecKind::H265 => hevc::head(tag, len),
        _ => h264_head(encoding, tag),
    };
    bytes.extend(tag.bytes());
    fill(bytes, tag.number, len)
}

/// The payload of sound.
pub fn sound(number: u32, len: usize) -> Vec<u8> {
    let tag = Tag {
        number,
        frame: number,
        place: 0,
        count: 1,
        spatial: 0,
        temporal: 0,
        key: true,
        from_middle: false,
        references: [None; 2],
    };
    let mut bytes = vec![0x78, 0];
    bytes.extend(tag.bytes());
    fill(bytes, number, len)
}

fn fill(mut bytes: Vec<u8>, number: u32, len: usize) -> Vec<u8> {
    let filling = filler(number);
    bytes.extend_from_slice(&filling[..len.saturating_sub(bytes.len())]);
    bytes
}

/// What fills up the payload of packet `number`: bytes without order, from a place that few others have.
fn filler(number: u32) -> &'static [u8] {
    const PLACES: usize = 1_021;
    static FILLING: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut dice = Dice::new(0, 7);
        (0..PLACES + 2 * VIDEO_PACKET_BYTES).map(|_| dice.next() as u8).collect()
    });
    &FILLING[number as usize % PLACES..]
}

fn h264_head(encoding: u8, tag: &Tag) -> Vec<u8> {
    if tag.begins_keyframe() {
        return parameter_set(Format::size(encoding, 0));
    }
    // A fragment of an IDR picture that is not its first, or a slice that depends on others.
    if tag.key { vec![0x7C, 0x05] } else { vec![0x41, 0x9A] }
}

/// A sequence parameter set of the baseline profile (ITU-T H.264 §7.3.2.1).
fn parameter_set((width, height): (u16, u16)) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0x67_42_C0_1F, 32);
    // Id, frame numbers of 4 bits, order as decoded, one reference.
    [0, 0, 2, 1].into_iter().for_each(|value| bits.put_exp_golomb(value));
    bits.put(0, 1);
    bits.put_exp_golomb(u32::from(width) / 16 - 1);
    bits.put_exp_golomb(u32::from(height) / 16 - 1);
    // Frames only, direct inference, no cropping, no usability information, and the stop bit.
    bits.put(0b11001, 5);
    let mut bytes = bits.bytes();
    bytes.resize(PARAMETER_SET_BYTES, 0);
    bytes
}

fn vp8_head(encoding: u8, tag: &Tag, numbers: Numbers) -> Vec<u8> {
    let [high, low] = numbers.picture.to_be_bytes();
    let begins = if tag.place == 0 { 0x10 } else { 0 };
    // Y: of the frames that it depends on all are of the lowest layer.
    let layer = tag.temporal << 6 | u8::from(tag.temporal > 0 && !tag.from_middle) << 5;
    let mut head = vec![0x80 | begins, 0xE0, high | 0x80, low, numbers.base, layer];
    if tag.place == 0 {
        let (width, height) = Format::size(encoding, 0);
        head.extend([u8::from(!tag.key), 0, 0, 0x9D, 0x01, 0x2A]);
        head.extend(width.to_le_bytes().into_iter().chain(height.to_le_bytes()));
    }
    head
}

fn vp9_head(format: &Format, tag: &Tag, numbers: Numbers) -> Vec<u8> {
    let [high, low] = numbers.picture.to_be_bytes();
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let structure = tag.begins_keyframe();
    let first = 0x80
        | flag(!tag.key, 0x40)
        | 0x20
        | flag(tag.place == 0, 0x08)
        | flag(tag.place + 1 == tag.count, 0x04)
        | flag(structure, 0x02);
    let from_smaller = tag.spatial > 0 && (tag.key || !format.layers_meet_at_keyframes);
    let layer = tag.temporal << 5 | flag(tag.temporal == 0, 0x10) | tag.spatial << 1 | u8::from(from_smaller);
    let mut head = vec![first, high | 0x80, low, layer, numbers.base];
    if structure {
        head.push((format.spatial_layers - 1) << 5 | 0x10);
        for spatial in 0..format.spatial_layers {
            let (width, height) = Format::size(0, spatial);
            head.extend(width.to_be_bytes().into_iter().chain(height.to_be_bytes()));
        }
    }
    head
}

fn av1_head(tag: &Tag) -> Vec<u8> {
    let goes_on = if tag.place + 1 < tag.count { 0x40 } else { 0 };
    if tag.begins_keyframe() {
        // A new coded video sequence, and a sequence header.
        vec![0x18 | goes_on, 0x0A]
    } else if tag.place == 0 {
        vec![0x10 | goes_on, 0x30]
    } else {
        vec![0x90 | goes_on, 0x30]
    }
}

/// Tag and picture numbers of a payload; an error says which byte is not as it was sent.
pub fn recognise(codec: CodecKind, payload: &[u8]) -> Result<(Tag, Option<Numbers>), String> {
    let (head_bytes, numbers) =
        head(codec, payload).ok_or_else(|| format!("no payload of {codec:?}: {payload:?}"))?;
    let Some((tag, filling)) = payload.get(head_bytes..).and_then(<[u8]>::split_first_chunk) else {
        return Err(format!("a payload of {} bytes", payload.len()));
    };
    let tag = Tag::read(tag);
    let wanted = &filler(tag.number)[..filling.len()];
    if filling != wanted {
        let place = filling.iter().zip(wanted).position(|(byte, wanted)| byte != wanted);
        return Err(format!("byte {place:?} of what fills payload {} was changed", tag.number));
    }
    Ok((tag, numbers))
}

/// The length of a payload's head, and the numbers in it.
fn head(codec: CodecKind, payload: &[u8]) -> Option<(usize, Option<Numbers>)> {
    let first = *payload.first()?;
    let numbers = |at: usize, base: usize| {
        let picture = u16::from_be_bytes([payload.get(at)? & 0x7F, *payload.get(at + 1)?]);
        Some(Numbers { picture, base: *payload.get(base)? })
    };
    match codec {
        CodecKind::Vp8 => Some((if first & 0x10 == 0 { 6 } else { 16 }, Some(numbers(2, 4)?))),
        CodecKind::Vp9 => {
            let layers = if first & 0x02 == 0 { None } else { Some(usize::from(payload.get(5)? >> 5) + 1) };
            Some((5 + layers.map_or(0, |layers| 1 + 4 * layers), Some(numbers(1, 4)?)))
        }
        CodecKind::H264 if first == 0x67 => Some((PARAMETER_SET_BYTES, None)),
        CodecKind::H265 => Some((hevc::head_bytes(payload)?, None)),
        _ => Some((2, None)),
    }
}

/// Bits, most significant first.
#[derive(Default)]
pub struct Bits(Vec<bool>);

impl Bits {
    pub fn put(&mut self, value: u64, count: u32) {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    }

    /// ITU-T H.264 §9.1.
    fn put_exp_golomb(&mut self, value: u32) {
        let digits = u32::BITS - (value + 1).leading_zeros();
        self.put(u64::from(value) + 1, 2 * digits - 1);
    }

    /// Filled up with zeros.
    pub fn bytes(&self) -> Vec<u8> {
        let byte =
            |bits: &[bool]| (0..8).fold(0, |byte, bit| byte << 1 | u8::from(bits.get(bit) == Some(&true)));
        self.0.chunks(8).map(byte).collect()
    }
}

mod tests {
    use aforo_node::media::codec::{dimensions, picture_numbers, starts_keyframe};

    use super::*;

    #[test]
    fn the_node_sees_in_it_what_is_meant() {
        for codec in [CodecKind::H264, CodecKind::Vp8, CodecKind::Vp9, CodecKind::Av1, CodecKind::H265] {
            let format = Format {
                codec,
                spatial_layers: if codec == CodecKind::Vp9 { 3 } else { 1 },
                temporal_layers: 3,
                layers_meet_at_keyframes: false,
                descriptor: false,
            };
            let tag = Tag {
                number: 77,
                frame: 5,
                place: 0,
                count: 2,
                spatial: 0,
                temporal: 0,
                key: true,
                from_middle: false,
                references: [None; 2],
            };
            let numbers = Numbers { picture: 0x7FFE, base: 9 };
            let key = video(&format, 0, &tag, numbers, 300);
            assert!(starts_keyframe(codec, &key), "{codec:?}");
            let seen = recognise(codec, &key).unwrap();
            assert_eq!(seen.0, tag);
            assert_eq!(seen.1.map(|seen| seen.picture), picture_numbers(codec, &key).map(|known| known.id));
            if !matches!(codec, CodecKind::Av1 | CodecKind::H265) {
                let largest = Format::size(0, format.spatial_layers - 1);
                assert_eq!(dimensions(codec, &key), Some(largest), "{codec:?}");
            }
            for other in [Tag { place: 1, ..tag }, Tag { key: false, references: [Some(4), None], ..tag }] {
                let payload = video(&format, 0, &other, numbers, 300);
                assert!(!starts_keyframe(codec, &payload), "{codec:?} {other:?}");
                assert_eq!(recognise(codec, &payload).unwrap().0, other);
            }
        }
    }
}
