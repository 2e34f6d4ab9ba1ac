//! A publisher: one H264 and one Opus track, paced as a browser paces, that answers NACK by RTX and PLI by a keyframe.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use aforo_node::media::codec::MediaKind;
use bytes::Bytes;
use rtc_rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc};
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc_rtp::header::{Extension, Header};
use rtc_rtp::packet::Packet;
use rtc_shared::marshal::Marshal;

use crate::client::{Client, Incoming};
use crate::dice::Dice;
use crate::footage::{self, Shape, VIDEO_PACKET_BYTES};
use crate::session::{MID_EXTENSION, TWCC_EXTENSION, TrackPlan};

const FRAME: Duration = Duration::from_micros(33_333);
const SOUND_FRAME: Duration = Duration::from_millis(20);
/// Time over which a browser spreads the packets of a frame.
const PACING: Duration = Duration::from_millis(13);
const KEYFRAME_EVERY: u32 = 60;
const KEYFRAME_PACKETS: u64 = 14;
const HISTORY_PACKETS: usize = 1_000;

/// What was sent under one number.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub timestamp: u32,
    pub shape: Shape,
    pub len: usize,
    pub at: Instant,
}

struct Stream {
    plan: TrackPlan,
    sequence: u16,
    rtx_sequence: u16,
    first_timestamp: u32,
    records: Vec<Record>,
    /// Packets before protection, for retransmission.
    history: BTreeMap<u16, Packet>,
    order: VecDeque<u16>,
    octets: u32,
}

/// A packet that waits for its turn.
struct Planned {
    at: Instant,
    kind: MediaKind,
    shape: Shape,
    len: usize,
    timestamp: u32,
    marker: bool,
}

/// See the module.
pub struct Publisher {
    pub client: Client,
    streams: [Stream; 2],
    dice: Dice,
    start: Instant,
    next_frame: Instant,
    next_sound: Instant,
    next_report: Instant,
    planned: VecDeque<Planned>,
    frames_since_keyframe: u32,
    keyframe_wanted: bool,
    twcc_next: u16,
    twcc_acknowledged: BTreeSet<u16>,
    pub keyframe_requests: u32,
    pub nacked: u32,
    pub complaints: Vec<String>,
    stop_at: Instant,
    /// Number of its first packet of each kind.
    first_number: u32,
}

/// Packets of one publisher; the next one's numbers begin above them.
pub const NUMBERS_PER_PUBLISHER: u32 = 1 << 20;

impl Publisher {
    /// `place` counts the publishers of a broadcast.
    pub fn new(
        client: Client,
        plans: [TrackPlan; 2],
        place: u32,
        mut dice: Dice,
        now: Instant,
        stop_at: Instant,
    ) -> Self {
        let streams = plans.map(|plan| Stream {
            plan,
            // Half of all publishers soon wrap around.
            sequence: 0u16.wrapping_sub(dice.between(0, 1_000) as u16) ^ dice.pick(&[0, 0x5A5A]),
            rtx_sequence: 0u16.wrapping_sub(dice.between(0, 50) as u16) ^ dice.pick(&[0, 0x5A5A]),
            first_timestamp: 0u32.wrapping_sub(dice.between(0, 500_000) as u32)
                ^ dice.pick(&[0, 0x5A5A_5A5A]),
            records: Vec::new(),
            history: BTreeMap::new(),
            order: VecDeque::new(),
            octets: 0,
        });
        Self {
            client,
            streams,
            dice,
            start: now,
            next_frame: now,
            next_sound: now,
            next_report: now,
            planned: VecDeque::new(),
            frames_since_keyframe: KEYFRAME_EVERY,
            keyframe_wanted: false,
            twcc_next: 0,
            twcc_acknowledged: BTreeSet::new(),
            keyframe_requests: 0,
            nacked: 0,
            complaints: Vec::new(),
            stop_at,
            first_number: place * NUMBERS_PER_PUBLISHER,
        }
    }

    /// What was sent of `kind`, by number less that of the first.
    pub fn records(&self, kind: MediaKind) -> &[Record] {
        &self.streams[kind as usize].records
    }

    /// Share of its packets that transport-wide feedback said to have arrived.
    pub fn acknowledged(&self) -> f64 {
        self.twcc_acknowledged.len() as f64 / f64::from(self.twcc_next.max(1))
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let media = self.client.is_connected().then(|| {
            let planned = self.planned.front().map(|planned| planned.at);
            let next = [Some(self.next_frame), Some(self.next_sound), Some(self.next_report)];
            next.into_iter()
                .filter(|at| at.is_some_and(|at| at < self.stop_at))
                .chain([planned])
                .flatten()
                .min()
        });
        [media.flatten(), self.client.poll_timeout()].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(now);
        if !self.client.is_connected() {
            // The camera runs, but nobody sees it.
            (self.next_frame, self.next_sound, self.next_report) = (now, now, now + SOUND_FRAME);
            return;
        }
        if now < self.stop_at {
            if self.next_frame <= now {
                self.next_frame += FRAME;
                self.plan_frame(now);
            }
            if self.next_sound <= now {
                self.next_sound += SOUND_FRAME;
                let len = self.dice.between(60, 140) as usize;
                let timestamp = self.timestamp(MediaKind::Audio, now);
                let planned = Planned {
                    at: now,
                    kind: MediaKind::Audio,
                    shape: Shape::Sound,
                    len,
                    timestamp,
                    marker: false,
                };
                self.planned.push_front(planned);
            }
            if self.next_report <= now {
                self.next_report += Duration::from_secs(1);
                self.report(now);
            }
        }
        while self.planned.front().is_some_and(|planned| planned.at <= now) {
            let planned = self.planned.pop_front().unwrap();
            self.send(now, &planned);
        }
    }

    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Option<String> {
        match self.client.handle(now, datagram)? {
            Incoming::Rtp(_) => {
                self.complaints.push("the node sends media to a publisher".to_owned());
                None
            }
            Incoming::Rtcp(compound) => Some(self.handle_rtcp(&compound)),
        }
    }

    fn timestamp(&self, kind: MediaKind, now: Instant) -> u32 {
        let stream = &self.streams[kind as usize];
        let units = (now - self.start).as_micros() * u128::from(stream.plan.clock_rate_hz()) / 1_000_000;
        stream.first_timestamp.wrapping_add(units as u32)
    }

    fn plan_frame(&mut self, now: Instant) {
        self.frames_since_keyframe += 1;
        let key = self.keyframe_wanted || self.frames_since_keyframe > KEYFRAME_EVERY;
        if key {
            (self.keyframe_wanted, self.frames_since_keyframe) = (false, 0);
        }
        let count = if key { KEYFRAME_PACKETS } else { self.dice.between(3, 7) };
        let timestamp = self.timestamp(MediaKind::Video, now);
        for place in 0..count {
            let last = place + 1 == count;
            let shape = match (key, place) {
                (true, 0) => Shape::KeyframeStart,
                (true, _) => Shape::KeyframeRest,
                (false, _) => Shape::Delta,
            };
            let len = if last {
                self.dice.between(100, VIDEO_PACKET_BYTES as u64) as usize
            } else {
                VIDEO_PACKET_BYTES
            };
            let at = now + PACING * place as u32 / count as u32;
            self.planned.push_back(Planned {
                at,
                kind: MediaKind::Video,
                shape,
                len,
                timestamp,
                marker: last,
            });
        }
    }

    fn send(&mut self, now: Instant, planned: &Planned) {
        let twcc = self.next_twcc();
        let stream = &mut self.streams[planned.kind as usize];
        let number = self.first_number + stream.records.len() as u32;
        stream.records.push(Record {
            timestamp: planned.timestamp,
            shape: planned.shape,
            len: planned.len,
            at: now,
        });
        stream.octets = stream.octets.wrapping_add(planned.len as u32);
        let sequence = stream.sequence;
        stream.sequence = sequence.wrapping_add(1);
        let mut packet = Packet {
            header: Header {
                version: 2,
                extension: true,
                extension_profile: 0xBEDE,
                marker: planned.marker,
                payload_type: stream.plan.payload_type,
                sequence_number: sequence,
                timestamp: planned.timestamp,
                ssrc: stream.plan.ssrc,
                ..Header::default()
            },
            payload: footage::payload(planned.shape, number, planned.len).into(),
        };
        packet.header.extensions = stream.plan.extensions(twcc);
        let bytes = packet.marshal().unwrap();
        stream.history.insert(sequence, packet);
        stream.order.push_back(sequence);
        if stream.order.len() > HISTORY_PACKETS {
            let oldest = stream.order.pop_front().unwrap();
            stream.history.remove(&oldest);
        }
        self.client.send_rtp(&bytes);
    }

    fn next_twcc(&mut self) -> u16 {
        let twcc = self.twcc_next;
        self.twcc_next = twcc.wrapping_add(1);
        twcc
    }

    fn handle_rtcp(&mut self, compound: &[u8]) -> String {
        let packets = match rtc_rtcp::packet::unmarshal(&mut &compound[..]) {
            Ok(packets) => packets,
            Err(error) => {
                self.complaints.push(format!("rtcp that cannot be read: {error}"));
                return String::new();
            }
        };
        let mut heard = String::new();
        for packet in packets {
            let packet = packet.as_any();
            if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                let sequences: Vec<u16> = nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
                heard += &format!("nack {} {sequences:?} ", nack.media_ssrc);
                sequences.iter().for_each(|sequence| self.retransmit(nack.media_ssrc, *sequence));
            } else if packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>() {
                heard += "keyframe ";
                self.keyframe_requests += 1;
                self.keyframe_wanted = true;
            } else if let Some(feedback) = packet.downcast_ref::<TransportLayerCc>() {
                heard += &format!("twcc {} {} ", feedback.base_sequence_number, feedback.packet_status_count);
                self.acknowledge(feedback);
            }
        }
        heard
    }

    fn retransmit(&mut self, ssrc: u32, sequence: u16) {
        self.nacked += 1;
        let twcc = self.next_twcc();
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.plan.ssrc == ssrc) else {
            self.complaints.push(format!("a nack for the unknown ssrc {ssrc}"));
            return;
        };
        let Some(packet) = stream.history.get(&sequence) else {
            self.complaints.push(format!("a nack for {sequence}, which was not sent"));
            return;
        };
        let mut packet = packet.clone();
        packet.header.extensions = stream.plan.extensions(twcc);
        if let Some(rtx) = stream.plan.rtx {
            packet.payload = Bytes::from([&sequence.to_be_bytes()[..], &packet.payload].concat());
            packet.header.ssrc = rtx.ssrc;
            packet.header.payload_type = rtx.payload_type;
            packet.header.sequence_number = stream.rtx_sequence;
            stream.rtx_sequence = stream.rtx_sequence.wrapping_add(1);
        } else {
            // The same packet under the same nonce must be the same bytes.
            packet.header.extensions = stream.history[&sequence].header.extensions.clone();
        }
        let bytes = packet.marshal().unwrap();
        self.client.send_rtp(&bytes);
    }

    fn acknowledge(&mut self, feedback: &TransportLayerCc) {
        let symbols = feedback.packet_chunks.iter().flat_map(|chunk| match chunk {
            PacketStatusChunk::RunLengthChunk(run) => {
                vec![run.packet_status_symbol; usize::from(run.run_length)]
            }
            PacketStatusChunk::StatusVectorChunk(vector) => vector.symbol_list.clone(),
        });
        for (offset, symbol) in (0..feedback.packet_status_count).zip(symbols) {
            let sequence = feedback.base_sequence_number.wrapping_add(offset);
            if symbol != SymbolTypeTcc::PacketNotReceived {
                if sequence >= self.twcc_next {
                    self.complaints.push(format!("feedback for {sequence}, which was not sent"));
                }
                self.twcc_acknowledged.insert(sequence);
            }
        }
    }

    fn report(&mut self, now: Instant) {
        // Any wall clock will do, as long as it goes evenly.
        let ntp = ((now - self.start).as_nanos() << 32) / 1_000_000_000;
        let ntp_time = ntp as u64 + (3_900_000_000 << 32);
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let rtp_time = self.timestamp(kind, now);
            let stream = &self.streams[kind as usize];
            let report = SenderReport {
                ssrc: stream.plan.ssrc,
                ntp_time,
                rtp_time,
                packet_count: stream.records.len() as u32,
                octet_count: stream.octets,
                ..SenderReport::default()
            };
            let bytes = report.marshal().unwrap();
            self.client.send_rtcp(&bytes);
        }
    }
}

impl TrackPlan {
    fn extensions(&self, twcc: u16) -> Vec<Extension> {
        vec![
            Extension { id: MID_EXTENSION, payload: Bytes::copy_from_slice(self.mid.as_bytes()) },
            Extension { id: TWCC_EXTENSION, payload: Bytes::copy_from_slice(&twcc.to_be_bytes()) },
        ]
    }
}
