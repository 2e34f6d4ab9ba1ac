//! An encoder of one RID of a video, or of all of it: frames of about the wished size, keyframes when it is told to.

use std::time::Duration;

use aforo_node::media::codec::CodecKind;

use crate::descriptor;
use crate::dice::Dice;
use crate::footage::{Format, Numbers, PAYLOAD_BYTES_MIN, Tag, VIDEO_PACKET_BYTES};

/// Time between two pictures.
pub const FRAME: Duration = Duration::from_micros(33_333);

/// Pictures from one keyframe to the next when nobody asks for one.
const KEYFRAME_EVERY: u32 = 60;

/// How much larger a keyframe is.
const KEYFRAME_FACTOR: u64 = 4;

/// Bytes of a frame, on average: 120 kbit/s, three and ten times as much.
const FRAME_BYTES: [u64; 3] = [500, 1_600, 5_000];

/// A packet before it has a place in time and a sequence number.
#[derive(Debug, Clone)]
pub struct Coded {
    pub tag: Tag,
    pub numbers: Numbers,
    pub descriptor: Option<Vec<u8>>,
    pub len: usize,
    /// Whether it is the last one of its picture.
    pub marker: bool,
}

/// See the module.
pub struct Encoder {
    pub format: Format,
    /// Which encoding of its video it is; 0 if there is one only.
    pub place: u8,
    largest: u8,
    first_number: u32,
    packets: u32,
    pictures: u32,
    since_keyframe: u32,
    keyframe_wanted: bool,
    first_picture: u16,
    base: u8,
    first_frame: u16,
}

impl Encoder {
    /// The encoder of encoding `place` of so many, worst first; its packets are numbered from `first_number` on.
    pub fn new(format: Format, place: u8, encodings: u8, first_number: u32, dice: &mut Dice) -> Self {
        Self {
            format,
            place,
            largest: if encodings == 1 && format.spatial_layers == 1 { 2 } else { place },
            first_number,
            packets: 0,
            pictures: 0,
            since_keyframe: KEYFRAME_EVERY,
            keyframe_wanted: false,
            first_picture: 0u16.wrapping_sub(dice.between(0, 200) as u16) ^ dice.pick(&[0, 0x5A5A]),
            base: dice.next() as u8,
            first_frame: 0u16.wrapping_sub(dice.between(0, 200) as u16) ^ dice.pick(&[0, 0x5A5A]),
        }
    }

    /// It was running before: the pictures that it makes now depend on others.
    pub fn begin_in_the_midst(&mut self, dice: &mut Dice) {
        // Enough of them that the longest group refers to some.
        self.pictures = 64;
        self.since_keyframe = dice.between(0, 20) as u32;
    }

    /// The next picture shall be a keyframe.
    pub fn want_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }

    /// The packets of the next picture, which may be a keyframe or not.
    pub fn encode(&mut self, may_be_key: bool, dice: &mut Dice) -> Vec<Coded> {
        self.since_keyframe += 1;
        let key = may_be_key && (self.keyframe_wanted || self.since_keyframe > KEYFRAME_EVERY);
        if key {
            (self.keyframe_wanted, self.since_keyframe) = (false, 0);
        }
        let temporal = self.format.temporal(self.since_keyframe);
        if temporal == 0 {
            self.base = self.base.wrapping_add(1);
        }
        let mut packets = Vec::new();
        for spatial in 0..self.format.spatial_layers {
            self.frame(key, spatial, temporal, dice, &mut packets);
        }
        packets.last_mut().unwrap().marker = true;
        self.pictures += 1;
        packets
    }

    fn frame(&mut self, key: bool, spatial: u8, temporal: u8, dice: &mut Dice, packets: &mut Vec<Coded>) {
        let layers = u32::from(self.format.spatial_layers);
        let frame = self.pictures * layers + u32::from(spatial);
        let back = self.format.back(self.since_keyframe) * layers;
        let from_smaller = spatial > 0 && (key || !self.format.layers_meet_at_keyframes);
        let references = [(!key).then(|| frame - back), from_smaller.then(|| frame - 1)];
        let phase = self.since_keyframe % self.format.period();
        let mean = FRAME_BYTES[usize::from(self.largest + spatial).min(2)];
        let bytes = mean * if key { KEYFRAME_FACTOR } else { 1 } * dice.between(60, 140) / 100;
        let full = VIDEO_PACKET_BYTES as u64;
        let count = bytes.div_ceil(full);
        for place in 0..count {
            let last = place + 1 == count;
            let len = if last { bytes - place * full } else { full };
            let tag = Tag {
                number: self.first_number + self.packets,
                frame,
                place: place as u8,
                count: count as u8,
                spatial,
                temporal,
                key,
                from_middle: self.format.temporal_layers == 3 && phase == 3,
                references,
            };
            self.packets += 1;
            let frame_number = self.first_frame.wrapping_add(frame as u16);
            let picture = self.first_picture.wrapping_add(self.pictures as u16) & 0x7FFF;
            packets.push(Coded {
                tag,
                numbers: Numbers { picture, base: self.base },
                descriptor: self
                    .format
                    .descriptor
                    .then(|| descriptor::write(&self.format, &tag, frame_number)),
                len: (len as usize).max(PAYLOAD_BYTES_MIN),
                marker: false,
            });
        }
    }
}

/// Which codecs write picture numbers into their payloads.
pub fn has_numbers(codec: CodecKind) -> bool {
    matches!(codec, CodecKind::Vp8 | CodecKind::Vp9)
}
