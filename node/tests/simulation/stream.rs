//! One stream of a publisher: its sequence numbers, what was sent, and what can be sent again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use aforo_node::media::codec::CodecKind;
use bytes::Bytes;
use rtc_rtp::header::{Extension, Header};
use rtc_rtp::packet::Packet;
use rtc_shared::marshal::Marshal;

use crate::dice::Dice;
use crate::encoder::{Coded, Encoder, has_numbers};
use crate::footage::{self, Numbers, Tag};
use crate::publisher::Manner;
use crate::redundancy::{self, Habit, Older};
use crate::session::{
    DESCRIPTOR_EXTENSION, Encoding, MID_EXTENSION, REPAIRED_RID_EXTENSION, RID_EXTENSION, TWCC_EXTENSION,
    TrackPlan,
};

/// Packets of one stream; the next one's numbers begin above them.
pub const NUMBERS_PER_STREAM: u32 = 1 << 18;

const HISTORY_PACKETS: usize = 1_000;

/// One-byte and two-byte header extensions (RFC 8285 §4.2, §4.3), and the longest value of the former.
const ONE_BYTE_PROFILE: u16 = 0xBEDE;
const TWO_BYTE_PROFILE: u16 = 0x1000;
const ONE_BYTE_VALUE_MAX: usize = 16;

/// What was sent under one number.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub tag: Tag,
    pub numbers: Option<Numbers>,
    /// Whether picture numbers are those of the stream, though some pictures may be left out (VP9, RFC 9628 §4.2).
    pub keeps_picture_numbers: bool,
    /// Whether viewers may get the stream without it.
    pub may_be_left_out: bool,
    /// Of the dependency descriptor.
    pub frame_number: Option<u16>,
    pub timestamp: u32,
    /// Of the frame, without what is redundant.
    pub len: usize,
    /// How many frames before its own it repeats.
    pub older_frames: u32,
    /// Of its stream, without wraps; padding has some, too.
    pub sequence: u64,
    pub marker: bool,
    /// When it was filmed.
    pub filmed: Instant,
    /// When it was sent.
    pub at: Instant,
}

impl Record {
    /// `len` is that of the payload.
    pub fn video(codec: CodecKind, coded: &Coded, len: usize, timestamp: u32, at: Instant) -> Self {
        let descriptor = coded.descriptor.as_deref();
        Self {
            tag: coded.tag,
            numbers: has_numbers(codec).then_some(coded.numbers),
            keeps_picture_numbers: codec == CodecKind::Vp9,
            may_be_left_out: coded.tag.spatial > 0 || coded.tag.temporal > 0,
            frame_number: descriptor.map(|value| u16::from_be_bytes([value[1], value[2]])),
            timestamp,
            len,
            older_frames: 0,
            sequence: 0,
            marker: coded.marker,
            filmed: at,
            at,
        }
    }
}

/// What went out by a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The packet of this number.
    Packet(u32),
    Padding,
}

/// A packet that is to be sent.
pub struct Media {
    pub record: Record,
    pub payload: Vec<u8>,
    pub descriptor: Option<Vec<u8>>,
}

/// See the module.
pub struct Stream {
    mid: &'static str,
    encoding: Encoding,
    payload_type: u8,
    rtx_payload_type: Option<u8>,
    red_payload_type: Option<u8>,
    habit: Habit,
    /// The last frames of sound, with their timestamps.
    recent: VecDeque<(u32, Vec<u8>)>,
    pub clock_rate_hz: u32,
    always_names_itself: bool,
    /// Whether the node has said that it knows the stream.
    pub known: bool,
    pub encoder: Option<Encoder>,
    pub first_number: u32,
    sequence: u64,
    rtx_sequence: u16,
    pub first_timestamp: u32,
    pub records: Vec<Record>,
    /// Packets before protection, for retransmission.
    history: BTreeMap<u16, Packet>,
    order: VecDeque<u16>,
    /// What went out by each number, and which of them each retransmission was of.
    sent: HashMap<u16, Sent>,
    resent: HashMap<u16, u16>,
    pub octets: u32,
}

impl Stream {
    /// Encoding `place` of a track.
    pub fn new(
        plan: &TrackPlan,
        place: usize,
        encoder: Option<Encoder>,
        first_number: u32,
        manner: Manner,
        dice: &mut Dice,
    ) -> Self {
        // Half of all streams soon wrap around, but not while packets may be lost because the other side has no keys yet:
        // it would miscount the wraps (RFC 3711 §3.3.1).
        let sequence = |least, most, dice: &mut Dice| {
            0u16.wrapping_sub(dice.between(least, most) as u16) ^ dice.pick(&[0, 0x5A5A])
        };
        Self {
            mid: plan.mid,
            encoding: plan.encodings[place],
            payload_type: plan.payload_type,
            rtx_payload_type: plan.rtx_payload_type,
            red_payload_type: plan.red_payload_type,
            habit: manner.sound,
            recent: VecDeque::new(),
            clock_rate_hz: plan.clock_rate_hz(),
            always_names_itself: manner.always_names_itself,
            known: false,
            encoder,
            first_number,
            sequence: u64::from(sequence(200, 1_000, dice)),
            rtx_sequence: sequence(30, 80, dice),
            first_timestamp: 0u32.wrapping_sub(dice.between(0, 500_000) as u32)
                ^ dice.pick(&[0, 0x5A5A_5A5A]),
            records: Vec::new(),
            history: BTreeMap::new(),
            order: VecDeque::new(),
            sent: HashMap::new(),
            resent: HashMap::new(),
            octets: 0,
        }
    }

    pub fn ssrc(&self) -> u32 {
        self.encoding.ssrc
    }

    /// A packet of sound.
    pub fn sound(&self, now: Instant, timestamp: u32, len: usize) -> Media {
        let payload = footage::sound(self.first_number + self.records.len() as u32, len);
        let tag = footage::recognise(CodecKind::Opus, &payload).unwrap().0;
        let record = Record {
            tag,
            numbers: None,
            keeps_picture_numbers: false,
            may_be_left_out: false,
            frame_number: None,
            timestamp,
            len: payload.len(),
            older_frames: 0,
            sequence: 0,
            marker: false,
            filmed: now,
            at: now,
        };
        Media { record, payload, descriptor: None }
    }

    /// The packet's bytes.
    pub fn send(&mut self, now: Instant, media: Media, twcc: u16) -> Bytes {
        let Media { record, payload, descriptor } = media;
        let (payload_type, payload, older_frames) = self.wrap(&record, payload);
        let sequence = self.take_sequence();
        self.records.push(Record { at: now, older_frames, sequence, ..record });
        self.octets = self.octets.wrapping_add(record.len as u32);
        let sequence = sequence as u16;
        let mut packet = Packet {
            header: Header {
                version: 2,
                extension: true,
                marker: record.marker,
                payload_type,
                sequence_number: sequence,
                timestamp: record.timestamp,
                ssrc: self.encoding.ssrc,
                ..Header::default()
            },
            payload: payload.into(),
        };
        let rid = self.encoding.rid.filter(|_| self.always_names_itself || !self.known);
        let mut extensions = self.extensions(twcc, rid.map(|rid| (RID_EXTENSION, rid)));
        extensions.extend(descriptor.map(|value| extension(DESCRIPTOR_EXTENSION, &value)));
        set_extensions(&mut packet.header, extensions);
        let bytes = packet.marshal().unwrap();
        self.remember(packet, Sent::Packet(record.tag.number));
        bytes.freeze()
    }

    /// Payload type, payload and number of older frames of what is sent: a video's own, or sound with what it repeats.
    fn wrap(&mut self, record: &Record, payload: Vec<u8>) -> (u8, Vec<u8>, u32) {
        let Some(red) = self.red_payload_type.filter(|_| self.habit.older_frames > 0) else {
            return (self.payload_type, payload, 0);
        };
        let older = self
            .recent
            .iter()
            .map(|(timestamp, frame)| Older { age: record.timestamp.wrapping_sub(*timestamp), frame });
        let older: Vec<Older> = older.collect();
        let (redundant, count) = redundancy::write(self.payload_type, &older, &payload);
        self.recent.push_back((record.timestamp, payload));
        if self.recent.len() > self.habit.older_frames {
            self.recent.pop_front();
        }
        (red, redundant, count as u32)
    }

    /// A packet of nothing but padding: on the stream of retransmissions, or where there is none with the number after the last
    /// packet and its time.
    pub fn pad(&mut self, twcc: u16) -> Option<Bytes> {
        let timestamp = self.records.last()?.timestamp;
        let rtx = self.encoding.rtx_ssrc.zip(self.rtx_payload_type);
        let (ssrc, payload_type) = rtx.unwrap_or((self.encoding.ssrc, self.payload_type));
        let sequence_number =
            if rtx.is_some() { self.take_rtx_sequence() } else { self.take_sequence() as u16 };
        let mut packet = Packet {
            header: Header {
                version: 2,
                extension: true,
                padding: true,
                payload_type,
                sequence_number,
                timestamp,
                ssrc,
                ..Header::default()
            },
            payload: Bytes::new(),
        };
        let id = if rtx.is_some() { REPAIRED_RID_EXTENSION } else { RID_EXTENSION };
        let extensions = self.extensions(twcc, self.encoding.rid.map(|rid| (id, rid)));
        set_extensions(&mut packet.header, extensions);
        let bytes = marshal(&packet);
        if rtx.is_none() {
            self.remember(packet, Sent::Padding);
        }
        Some(bytes)
    }

    fn take_sequence(&mut self) -> u64 {
        let sequence = self.sequence;
        self.sequence += 1;
        sequence
    }

    fn take_rtx_sequence(&mut self) -> u16 {
        let sequence = self.rtx_sequence;
        self.rtx_sequence = sequence.wrapping_add(1);
        sequence
    }

    fn remember(&mut self, packet: Packet, sent: Sent) {
        let sequence = packet.header.sequence_number;
        self.history.insert(sequence, packet);
        self.order.push_back(sequence);
        if self.order.len() > HISTORY_PACKETS {
            let oldest = self.order.pop_front().unwrap();
            self.history.remove(&oldest);
        }
        self.sent.insert(sequence, sent);
    }

    /// What a packet of this SSRC and sequence number is, if it is of this stream.
    pub fn identify(&self, ssrc: u32, sequence: u16) -> Option<Sent> {
        if ssrc == self.encoding.ssrc {
            return self.sent.get(&sequence).copied();
        }
        let original = self.resent.get(&sequence).filter(|_| self.encoding.rtx_ssrc == Some(ssrc))?;
        self.sent.get(original).copied()
    }

    /// The bytes of a packet that is sent again, and whether that used the transport-wide number.
    pub fn retransmit(&mut self, sequence: u16, twcc: u16) -> Option<(Bytes, bool)> {
        let mut packet = self.history.get(&sequence)?.clone();
        let (Some(ssrc), Some(payload_type)) = (self.encoding.rtx_ssrc, self.rtx_payload_type) else {
            // The same packet under the same nonce must be the same bytes.
            return Some((marshal(&packet), false));
        };
        packet.payload = Bytes::from([&sequence.to_be_bytes()[..], &packet.payload].concat());
        packet.header.ssrc = ssrc;
        packet.header.payload_type = payload_type;
        packet.header.sequence_number = self.take_rtx_sequence();
        self.resent.insert(packet.header.sequence_number, sequence);
        let mut extensions =
            self.extensions(twcc, self.encoding.rid.map(|rid| (REPAIRED_RID_EXTENSION, rid)));
        let descriptor = packet.header.extensions.iter().find(|known| known.id == DESCRIPTOR_EXTENSION);
        extensions.extend(descriptor.cloned());
        set_extensions(&mut packet.header, extensions);
        Some((marshal(&packet), true))
    }

    fn extensions(&self, twcc: u16, rid: Option<(u8, &str)>) -> Vec<Extension> {
        let mut extensions = vec![extension(MID_EXTENSION, self.mid.as_bytes())];
        extensions.push(extension(TWCC_EXTENSION, &twcc.to_be_bytes()));
        extensions.extend(rid.map(|(id, rid)| extension(id, rid.as_bytes())));
        extensions
    }
}

/// The bytes of a packet; one byte of padding if it says that it has some.
fn marshal(packet: &Packet) -> Bytes {
    let mut bytes = packet.header.marshal().unwrap();
    bytes.extend_from_slice(&packet.payload);
    bytes.extend_from_slice(if packet.header.padding { &[1] } else { &[] });
    bytes.freeze()
}

fn extension(id: u8, value: &[u8]) -> Extension {
    Extension { id, payload: Bytes::copy_from_slice(value) }
}

fn set_extensions(header: &mut Header, extensions: Vec<Extension>) {
    let long = extensions.iter().any(|extension| extension.payload.len() > ONE_BYTE_VALUE_MAX);
    header.extension_profile = if long { TWO_BYTE_PROFILE } else { ONE_BYTE_PROFILE };
    header.extensions = extensions;
}
