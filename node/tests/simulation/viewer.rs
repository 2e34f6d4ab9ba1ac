//! A viewer: asks again for what is missing, reports, and writes down everything that it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aforo_node::media::codec::{CodecKind, MediaKind};
use aforo_node::media::rtcp::Writer;
use aforo_node::media::twcc::{ArrivalRecorder, MAX_FEEDBACK_BYTES};
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use rtc_rtp::packet::Packet;
use rtc_shared::marshal::{Marshal, Unmarshal};

use crate::client::{Client, Incoming};
use crate::decoder::Decoder;
use crate::footage::{self, Numbers, Tag};
use crate::redundancy;
use crate::session::{DESCRIPTOR_EXTENSION, Encoding, MID_EXTENSION, TWCC_EXTENSION, TrackPlan};

const ASK_EVERY: Duration = Duration::from_millis(60);
const REORDER: Duration = Duration::from_millis(10);
const ASK_FOR: Duration = Duration::from_millis(1_500);
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// A picture that takes longer has to be begun anew.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who is being sent a keyframe does not ask for one (libwebrtc's `IsReceivingKeyFrame`): its last packet came less than this ago.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(200);

/// A packet as the viewer got it first.
#[derive(Debug, Clone, Copy)]
pub struct Got {
    pub tag: Tag,
    pub numbers: Option<Numbers>,
    /// Of the dependency descriptor.
    pub frame_number: Option<u16>,
    pub marker: bool,
    pub len: usize,
    pub timestamp: u32,
    pub repaired: bool,
    pub at: Instant,
}

/// A frame of sound that a packet repeats: its number, how much older the packet says that it is, and its length.
#[derive(Debug, Clone, Copy)]
pub struct Repeated {
    pub number: u32,
    pub age: u32,
    pub len: usize,
}

/// What one packet carries.
struct Unwrapped<'a> {
    sequence: u16,
    payload: &'a [u8],
    repaired: bool,
    repeated: Vec<Repeated>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    noticed: Instant,
    asked: Option<Instant>,
}

/// One track as it arrives.
pub struct Stream {
    plan: TrackPlan,
    /// By sequence number without wraps.
    pub packets: BTreeMap<u64, Got>,
    /// What the packets repeat, those that do.
    pub repeated: BTreeMap<u64, Vec<Repeated>>,
    /// The indices of packets and of padding.
    arrived: BTreeSet<u64>,
    /// The index that came first; older ones may follow, but nobody misses them.
    pub first_arrived: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    pub asked: u32,
    /// The last sender report: the middle of its NTP time, and when it came.
    report: Option<(u32, Instant)>,
    /// Expected and received at the last receiver report.
    reported: (u64, u64),
    /// What all reports together said: packets, and how many of them were lost.
    told: (u64, u64),
}

/// See the module.
pub struct Viewer {
    pub client: Client,
    pub streams: [Stream; 2],
    recorder: ArrivalRecorder,
    next_report: Instant,
    next_look: Option<Instant>,
    pub complaints: Vec<String>,
    pub sender_reports: u32,
    pub decoder: Decoder,
    /// When the newest packet of video came.
    pub last_picture: Option<Instant>,
    /// When the newest packet of a keyframe came.
    keyframe_came_at: Option<Instant>,
    /// Times that it asked for a keyframe.
    pub keyframes_asked: u32,
    pub ssrc: u32,
}

impl Viewer {
    pub fn new(client: Client, plans: [TrackPlan; 2], ssrc: u32, now: Instant) -> Self {
        let stream = |plan| Stream {
            plan,
            packets: BTreeMap::new(),
            repeated: BTreeMap::new(),
            arrived: BTreeSet::new(),
            first_arrived: None,
            missing: BTreeMap::new(),
            asked: 0,
            report: None,
            reported: (0, 0),
            told: (0, 0),
        };
        Self {
            client,
            streams: plans.map(stream),
            recorder: ArrivalRecorder::new(now),
            next_report: now + REPORT_EVERY,
            next_look: None,
            complaints: Vec::new(),
            sender_reports: 0,
            decoder: Decoder::default(),
            last_picture: None,
            keyframe_came_at: None,
            keyframes_asked: 0,
            ssrc,
        }
    }

    /// Whether the node hears of each packet that arrives, and can send more to try what does.
    pub fn says_what_arrives(&self) -> bool {
        let plan = &self.streams[1].plan;
        plan.transport_cc && plan.rtx_payload_type.is_some()
    }

    /// Whether it is sent more than the smallest of a picture's layers: without descriptors AV1 does not say that they belong together.
    pub fn takes_large_pictures(&self) -> bool {
        let plan = &self.streams[1].plan;
        plan.codec != CodecKind::Av1 || plan.descriptor
    }

    /// The part of its sound that it said was lost, where its reports alone say so: what was sent again on the same stream came, as
    /// they count it.
    pub fn told_loss(&self) -> Option<f64> {
        let Stream { plan, told: (packets, lost), .. } = &self.streams[0];
        (!plan.transport_cc).then(|| *lost as f64 / (*packets).max(1) as f64)
    }

    /// Whether what is lost can be sent again: on a stream of its own, as sound is so small that it does not matter.
    pub fn can_repair(&self, kind: MediaKind) -> bool {
        let plan = &self.stream(kind).plan;
        plan.nack && (kind == MediaKind::Audio || plan.rtx_payload_type.is_some())
    }

    /// Whether it takes redundant sound.
    pub fn takes_redundancy(&self) -> bool {
        self.streams[0].plan.red_payload_type.is_some()
    }

    pub fn stream(&self, kind: MediaKind) -> &Stream {
        &self.streams[kind as usize]
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let connected = self.client.is_connected() && !self.client.closed;
        let media = [Some(self.next_report), self.next_look, self.recorder.poll_timeout()];
        let media = media.into_iter().flatten().min().filter(|_| connected);
        [media, self.client.poll_timeout()].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(now);
        if self.client.closed {
            return;
        }
        if self.next_report <= now {
            self.next_report = now + REPORT_EVERY;
            self.report(now);
            let shown = self.decoder.shown.last().map(|shown| shown.at);
            let comes = self.keyframe_came_at.is_some_and(|at| at + KEYFRAME_PATIENCE > now);
            let stuck = !comes && shown.is_none_or(|at| at + PATIENCE < now);
            if stuck && self.last_picture.is_some_and(|at| at + PATIENCE > now) {
                self.ask_for_keyframe();
            }
        }
        if self.next_look.is_some_and(|at| at <= now) {
            self.look_for_missing(now);
        }
        if self.recorder.poll_timeout().is_some_and(|at| at <= now) {
            loop {
                let mut buffer = [0; MAX_FEEDBACK_BYTES];
                let mut writer = Writer::new(&mut buffer);
                let more =
                    self.recorder.write_feedback(&mut writer, self.ssrc, self.streams[1].ssrc()).unwrap();
                let len = writer.len();
                self.client.send_rtcp(&buffer[..len]);
                if !more {
                    break;
                }
            }
        }
    }

    /// Takes a datagram; what it was, for the trace.
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Option<String> {
        match self.client.handle(now, datagram)? {
            Incoming::Rtp(packet) => match self.handle_rtp(now, &packet) {
                Ok(seen) => Some(seen),
                Err(complaint) => {
                    self.complaints.push(complaint);
                    None
                }
            },
            Incoming::Rtcp(compound) => {
                match rtc_rtcp::packet::unmarshal(&mut &compound[..]) {
                    Ok(packets) => {
                        let reports = packets.iter();
                        for report in reports.filter_map(|packet| packet.as_any().downcast_ref()) {
                            self.handle_report(now, report);
                        }
                    }
                    Err(error) => self.complaints.push(format!("rtcp that cannot be read: {error}")),
                }
                None
            }
        }
    }

    fn handle_rtp(&mut self, now: Instant, bytes: &[u8]) -> Result<String, String> {
        let packet = Packet::unmarshal(&mut &bytes[..]).map_err(|error| error.to_string())?;
        let header = &packet.header;
        let extension = |id| header.extensions.iter().find(|extension| extension.id == id);
        if let Some(twcc) = extension(TWCC_EXTENSION) {
            let twcc: [u8; 2] =
                twcc.payload.as_ref().try_into().map_err(|_| "a twcc number of another length")?;
            self.recorder.record(u16::from_be_bytes(twcc), now);
        }
        let matches = |stream: &&mut Stream| {
            let Encoding { ssrc, rtx_ssrc, .. } = stream.plan.encodings[0];
            ssrc == header.ssrc || rtx_ssrc == Some(header.ssrc)
        };
        let stream =
            self.streams.iter_mut().find(matches).ok_or(format!("ssrc {} is unknown", header.ssrc))?;
        if let Some(mid) = extension(MID_EXTENSION).filter(|mid| mid.payload != stream.plan.mid) {
            return Err(format!("mid {:?} on {}", mid.payload, stream.plan.mid));
        }
        if header.ssrc == stream.ssrc() && packet.payload.is_empty() && header.padding {
            let index = stream.index(header.sequence_number);
            stream.notice_gap(now, index);
            return Ok(format!("padding {index}"));
        }
        if header.ssrc != stream.ssrc() && packet.payload.is_empty() && header.padding {
            return Ok("a probe".to_owned());
        }
        let Unwrapped { sequence, payload, repaired, repeated } = stream.unwrap(&packet)?;
        let index = stream.index(sequence);
        if payload.is_empty() && repaired {
            // Padding that was lost, and sent again.
            stream.notice_gap(now, index);
            return Ok(format!("padding {index}"));
        }
        let (tag, numbers) = footage::recognise(stream.plan.codec, payload)?;
        if !repeated.is_empty() {
            stream.repeated.entry(index).or_insert(repeated);
        }
        stream.first_arrived.get_or_insert(index);
        let descriptor = extension(DESCRIPTOR_EXTENSION).map(|descriptor| &descriptor.payload);
        let frame_number = descriptor.map(|value| u16::from_be_bytes([value[1], value[2]]));
        let (marker, timestamp) = (header.marker, header.timestamp);
        let got =
            Got { tag, numbers, frame_number, marker, len: payload.len(), timestamp, repaired, at: now };
        let first = *stream.packets.entry(index).or_insert(got);
        let same = |got: &Got| (got.tag, got.numbers, got.frame_number, got.marker, got.len, got.timestamp);
        if same(&first) != same(&got) {
            return Err(format!("{index} was {first:?} and is now {got:?}"));
        }
        stream.notice_gap(now, index);
        if !stream.missing.is_empty() {
            self.next_look.get_or_insert(now + REORDER);
        }
        let kind = stream.plan.kind();
        if kind == MediaKind::Video {
            self.last_picture = Some(now);
            self.keyframe_came_at = Some(now).filter(|_| tag.key).or(self.keyframe_came_at);
            self.decoder.take(now, &tag);
        }
        Ok(format!("{kind:?} {index} {} {timestamp} {repaired}", tag.number))
    }

    fn handle_report(&mut self, now: Instant, report: &SenderReport) {
        self.sender_reports += 1;
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc() == report.ssrc) {
            stream.report = Some(((report.ntp_time >> 16) as u32, now));
        }
    }

    fn ask_for_keyframe(&mut self) {
        self.keyframes_asked += 1;
        let pli = PictureLossIndication { sender_ssrc: self.ssrc, media_ssrc: self.streams[1].ssrc() };
        self.client.send_rtcp(&pli.marshal().unwrap());
    }

    fn look_for_missing(&mut self, now: Instant) {
        self.next_look = None;
        let ssrc = self.ssrc;
        let mut gave_up = false;
        for stream in &mut self.streams {
            let before = stream.missing.len();
            stream.missing.retain(|_, missing| now - missing.noticed < ASK_FOR);
            gave_up |= stream.missing.len() < before && stream.plan.kind() == MediaKind::Video;
            let due = |missing: &Missing| {
                missing.asked.unwrap_or(missing.noticed) + ASK_EVERY <= now
                    || missing.asked.is_none() && missing.noticed + REORDER <= now
            };
            let mut sequences = Vec::new();
            for (index, missing) in stream.missing.iter_mut().filter(|(_, missing)| due(missing)).take(100) {
                missing.asked = Some(now);
                sequences.push(*index as u16);
            }
            stream.asked += sequences.len() as u32;
            if stream.plan.nack && !sequences.is_empty() {
                let nacks = nack_pairs_from_sequence_numbers(&sequences);
                let nack = TransportLayerNack { sender_ssrc: ssrc, media_ssrc: stream.ssrc(), nacks };
                self.client.send_rtcp(&nack.marshal().unwrap());
            }
            if !stream.missing.is_empty() {
                self.next_look = Some(now + REORDER);
            }
        }
        if gave_up {
            self.ask_for_keyframe();
        }
    }

    fn report(&mut self, now: Instant) {
        let blocks = self.streams.iter_mut().filter_map(|stream| stream.report_block(now));
        let report =
            ReceiverReport { ssrc: self.ssrc, reports: blocks.collect(), ..ReceiverReport::default() };
        self.client.send_rtcp(&report.marshal().unwrap());
    }
}

impl Stream {
    pub fn ssrc(&self) -> u32 {
        self.plan.encodings[0].ssrc
    }

    /// Sequence number and payload of the media packet, which a retransmission carries inside.
    fn unwrap<'a>(&self, packet: &'a Packet) -> Result<Unwrapped<'a>, String> {
        let header = &packet.header;
        if header.ssrc == self.ssrc() {
            let sequence = header.sequence_number;
            if self.plan.red_payload_type == Some(header.payload_type) {
                let (older, payload) = redundancy::read(self.plan.payload_type, &packet.payload)?;
                let repeated = older.iter().map(|older| {
                    let tag = footage::recognise(self.plan.codec, older.frame)?.0;
                    Ok(Repeated { number: tag.number, age: older.age, len: older.frame.len() })
                });
                let repeated = repeated.collect::<Result<Vec<_>, String>>()?;
                return Ok(Unwrapped { sequence, payload, repaired: false, repeated });
            }
            if header.payload_type != self.plan.payload_type {
                return Err(format!("payload type {} on {}", header.payload_type, self.plan.mid));
            }
            return Ok(Unwrapped {
                sequence,
                payload: &packet.payload,
                repaired: false,
                repeated: Vec::new(),
            });
        }
        if self.plan.rtx_payload_type != Some(header.payload_type) {
            return Err(format!("rtx with payload type {}", header.payload_type));
        }
        let (sequence, payload) =
            packet.payload.split_first_chunk().ok_or("rtx without a sequence number")?;
        let sequence = u16::from_be_bytes(*sequence);
        Ok(Unwrapped { sequence, payload, repaired: true, repeated: Vec::new() })
    }

    /// Frames that came with other packets only.
    pub fn only_repeated(&self) -> usize {
        let own: BTreeSet<u32> = self.packets.values().map(|got| got.tag.number).collect();
        let repeated = self.repeated.values().flatten().map(|repeated| repeated.number);
        repeated.collect::<BTreeSet<u32>>().difference(&own).count()
    }

    /// Padding that came between two packets.
    pub fn padding_between(&self, one: u64, next: u64) -> usize {
        self.arrived.range(one..next).filter(|index| !self.packets.contains_key(index)).count()
    }

    /// RFC 3550 §6.4.1.
    fn report_block(&mut self, now: Instant) -> Option<ReceptionReport> {
        let (first, last) = (self.arrived.first()?, self.arrived.last()?);
        // What came on the stream of retransmissions is of another SSRC: on this one it is lost, as browsers report it too.
        let repaired = self.packets.values().filter(|got| got.repaired).count();
        let (expected, received) = (last - first + 1, (self.arrived.len() - repaired) as u64);
        let before = std::mem::replace(&mut self.reported, (expected, received));
        let interval = expected.saturating_sub(before.0);
        let lost = interval.saturating_sub(received - before.1);
        self.told = (self.told.0 + interval, self.told.1 + lost);
        let held = self.report.map(|(_, at)| (now - at).as_micros() * 65_536 / 1_000_000);
        Some(ReceptionReport {
            ssrc: self.ssrc(),
            fraction_lost: (lost * 256).checked_div(interval).unwrap_or(0).min(255) as u8,
            total_lost: (expected - received) as u32,
            last_sequence_number: *last as u32,
            last_sender_report: self.report.map_or(0, |(middle, _)| middle),
            delay: held.unwrap_or(0) as u32,
            ..ReceptionReport::default()
        })
    }

    fn index(&self, sequence: u16) -> u64 {
        let newest = self.arrived.last().copied().unwrap_or(u64::from(sequence) + (1 << 16));
        newest.saturating_add_signed(i64::from(sequence.wrapping_sub(newest as u16) as i16))
    }

    fn notice_gap(&mut self, now: Instant, index: u64) {
        self.missing.remove(&index);
        self.arrived.insert(index);
        let Some(before) = self.arrived.range(..index).next_back() else { return };
        let newest = self.arrived.last() == Some(&index);
        if newest {
            for lost in before + 1..index {
                self.missing.insert(lost, Missing { noticed: now, asked: None });
            }
        }
    }
}
