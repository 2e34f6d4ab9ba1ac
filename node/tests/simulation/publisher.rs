//! A publisher: sound and one video, in one encoding or in several, that answers NACK by a retransmission. Most are paced as a browser
//! paces, and answer PLI by a keyframe.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use aforo_node::media::codec::MediaKind;
use aforo_node::media::rtp::is_rtcp;
use rtc_rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc};
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc_shared::marshal::Marshal;

use crate::client::{Client, Incoming};
use crate::decoder::Shown;
use crate::dice::Dice;
use crate::encoder::{Encoder, FRAME};
use crate::footage::{self, Format};
use crate::redundancy::{self, Habit};
use crate::session::TrackPlan;
use crate::stream::{Media, NUMBERS_PER_STREAM, Record, Sent, Stream};

const SOUND_FRAME: Duration = Duration::from_millis(20);

/// Time between two packets of Opus with DTX in silence, between two pictures of a still screen, and between two of padding.
const COMFORT_NOISE: Duration = Duration::from_millis(400);
const STILL: Duration = Duration::from_secs(1);
const PADDING: Duration = Duration::from_millis(100);

/// Time over which a browser spreads the packets of a frame.
const PACING: Duration = Duration::from_millis(13);

/// The node asks for a keyframe of one encoding twice a second at most; the network may bring two requests nearer together.
const KEYFRAME_REQUESTS_APART: Duration = Duration::from_millis(450);

/// Time within which most of what arrives is told of.
const MUST_BE_TOLD: Duration = Duration::from_secs(3);

/// Packets of one publisher; the next one's numbers begin above them. One stream of sound and three of video at most.
pub const NUMBERS_PER_PUBLISHER: u32 = 4 * NUMBERS_PER_STREAM;

/// How a publisher of a broadcast behaves.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub format: Format,
    /// Whether timestamps of all encodings are of one clock.
    pub shared_clock: bool,
    /// Whether a keyframe of one encoding is one of all.
    pub keyframes_together: bool,
    /// Whether each packet says which encoding it is of, and not only those before the first report.
    pub always_names_itself: bool,
    pub sound: Habit,
    pub begins: Begins,
    /// Whether it makes a keyframe when it is asked for one. FFmpeg and OBS do not.
    pub hears: bool,
    /// Whether it spreads the packets of a frame over some time, and does not send all of them at once.
    pub paces: bool,
    /// What it sends from the start.
    pub mood: Mood,
}

/// What a publisher's encoder makes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// A keyframe.
    Anew,
    /// It was running before: pictures that depend on others that nobody gets.
    InTheMidst,
    /// The same for ever: it hangs.
    WithNothing,
}

/// What a publisher sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Sound and pictures.
    Plays,
    /// Comfort noise each 400 ms (Opus with DTX) and, if so, a still picture each second.
    Muted { pictures: bool },
    /// No media, but checks and reports; and, if so, padding.
    Silent { pads: bool },
    /// Nothing at all: it was killed or is stuck, and neither hears nor answers anything.
    Dead,
}

impl Mood {
    fn pictures_every(self) -> Option<Duration> {
        match self {
            Self::Plays => Some(FRAME),
            Self::Muted { pictures } => pictures.then_some(STILL),
            _ => None,
        }
    }

    fn sound_every(self) -> Option<Duration> {
        match self {
            Self::Plays => Some(SOUND_FRAME),
            Self::Muted { .. } => Some(COMFORT_NOISE),
            _ => None,
        }
    }

    fn pads(self) -> bool {
        self == Self::Silent { pads: true }
    }
}

/// Whether a packet is of the first stream of its publisher.
fn is_sound(number: u32) -> bool {
    (number / NUMBERS_PER_STREAM).is_multiple_of(4)
}

/// What of a publisher reached the node since that can read it.
#[derive(Default)]
pub struct Heard {
    /// When it was connected, as the node says.
    pub connected_at: Option<Instant>,
    /// Each packet when it came first, in that order.
    pub packets: Vec<(Instant, u32)>,
    numbers: HashSet<u32>,
    /// When the last packet came, new or not.
    pub any_at: Option<Instant>,
    /// When the first keyframe that came was sent.
    keyframe_sent: Option<Instant>,
    /// When the first keyframe came in its turn: who waits for the stream of somebody else has nothing to show with one that came
    /// late, as all that followed on it was thrown away.
    pub shows_since: Option<Instant>,
}

/// A packet that waits for its turn.
struct Planned {
    at: Instant,
    stream: usize,
    media: Media,
}

/// See the module.
pub struct Publisher {
    pub client: Client,
    /// Sound, then the encodings of the video, worst first.
    streams: Vec<Stream>,
    manner: Manner,
    dice: Dice,
    start: Instant,
    next_frame: Instant,
    next_sound: Instant,
    next_report: Instant,
    next_padding: Instant,
    mood: Mood,
    planned: VecDeque<Planned>,
    twcc_next: u16,
    twcc_acknowledged: BTreeSet<u16>,
    pub keyframe_requests: u32,
    /// When the last one came for each stream.
    keyframe_asked_at: Vec<Option<Instant>>,
    pub nacked: u32,
    pub complaints: Vec<String>,
    stop_at: Instant,
    pub heard: Heard,
}

impl Publisher {
    /// `place` counts the publishers of a broadcast.
    pub fn new(
        client: Client,
        plans: [TrackPlan; 2],
        manner: Manner,
        place: u32,
        mut dice: Dice,
        now: Instant,
        stop_at: Instant,
    ) -> Self {
        let first_number = place * NUMBERS_PER_PUBLISHER;
        let [sound, video] = plans;
        let count = video.encodings.len() as u8;
        let number_of = |slot: u32| first_number + slot * NUMBERS_PER_STREAM;
        let mut streams = vec![Stream::new(&sound, 0, None, number_of(0), manner, &mut dice)];
        for place in 0..count {
            let number = number_of(u32::from(place) + 1);
            let mut encoder = Encoder::new(manner.format, place, count, number, &mut dice);
            if manner.begins != Begins::Anew {
                encoder.begin_in_the_midst(&mut dice);
            }
            streams.push(Stream::new(&video, place.into(), Some(encoder), number, manner, &mut dice));
        }
        if manner.shared_clock {
            let first = streams[1].first_timestamp;
            streams.iter_mut().skip(1).for_each(|stream| stream.first_timestamp = first);
        } else {
            // Anywhere: clocks that are near each other are taken for one.
            streams.iter_mut().skip(2).for_each(|stream| stream.first_timestamp = dice.next() as u32);
        }
        Self {
            client,
            streams,
            manner,
            dice,
            start: now,
            next_frame: now,
            next_sound: now,
            next_report: now,
            next_padding: now,
            mood: manner.mood,
            planned: VecDeque::new(),
            twcc_next: 0,
            twcc_acknowledged: BTreeSet::new(),
            keyframe_requests: 0,
            keyframe_asked_at: vec![None; usize::from(count) + 1],
            nacked: 0,
            complaints: Vec::new(),
            stop_at,
            heard: Heard::default(),
        }
    }

    /// What was sent as `number`, if this publisher did.
    pub fn record(&self, number: u32) -> Option<&Record> {
        let first = self.streams[0].first_number;
        let slot = number.checked_sub(first)? / NUMBERS_PER_STREAM;
        let stream = self.streams.get(slot as usize)?;
        stream.records.get((number - stream.first_number) as usize)
    }

    /// What was sent of sound, or of the first encoding of video.
    pub fn records(&self, kind: MediaKind) -> &[Record] {
        &self.streams[kind as usize].records
    }

    /// Share of its packets that transport-wide feedback said to have arrived.
    pub fn acknowledged(&self) -> f64 {
        self.twcc_acknowledged.len() as f64 / f64::from(self.twcc_next.max(1))
    }

    /// Bits per second that each rank of the video costs: an encoding, or a spatial layer with those below it.
    pub fn rank_bitrates_bps(&self) -> Vec<f64> {
        let Some((first, last)) = self.lived() else { return Vec::new() };
        let seconds = (last - first).as_secs_f64().max(0.1);
        let bitrate = |stream: &Stream, spatial: u8| {
            let of_rank = stream.records.iter().filter(|record| record.tag.spatial <= spatial);
            of_rank.map(|record| record.len).sum::<usize>() as f64 * 8.0 / seconds
        };
        let top = self.manner.format.spatial_layers;
        let encodings = self.streams.iter().skip(1);
        encodings.flat_map(|stream| (0..top).map(move |spatial| bitrate(stream, spatial))).collect()
    }

    /// The rank of a frame.
    pub fn rank(&self, shown: &Shown) -> usize {
        (shown.stream % 4 - 1) as usize + usize::from(shown.spatial)
    }

    /// Whether what viewers get of an encoding may leave some of its packets out.
    pub fn is_scalable(&self) -> bool {
        let Format { spatial_layers, temporal_layers, .. } = self.manner.format;
        spatial_layers > 1 || temporal_layers > 1
    }

    /// What an RTP datagram of it says in plain is packet `number`, or padding; nothing if it is no RTP of this publisher.
    fn identify(&self, datagram: &[u8]) -> Option<Sent> {
        let sequence = u16::from_be_bytes(*datagram.get(2..)?.first_chunk()?);
        let ssrc = u32::from_be_bytes(*datagram.get(8..)?.first_chunk()?);
        self.streams.iter().find_map(|stream| stream.identify(ssrc, sequence))
    }

    /// A datagram of media reached the node, which can read it.
    pub fn arrived(&mut self, now: Instant, datagram: &[u8]) {
        let Some(Sent::Packet(number)) = self.identify(datagram).filter(|_| !is_rtcp(datagram)) else {
            return;
        };
        self.heard.any_at = Some(now);
        if !self.heard.numbers.insert(number) {
            return;
        }
        self.heard.packets.push((now, number));
        let begins_keyframe = |record: &&Record| record.tag.begins_keyframe();
        let Some(record) = self.record(number).filter(begins_keyframe).filter(|_| !is_sound(number)) else {
            return;
        };
        let sent = record.at;
        self.heard.keyframe_sent.get_or_insert(sent);
        let follows =
            |other: u32| other > number && other / NUMBERS_PER_STREAM == number / NUMBERS_PER_STREAM;
        if self.heard.shows_since.is_none() && !self.heard.packets.iter().any(|(_, other)| follows(*other)) {
            self.heard.shows_since = Some(now);
        }
    }

    /// What the node has of its sound if it takes in what comes between `from` and `until`, and what of that came only with other
    /// packets.
    pub fn known_sound(&self, from: Instant, until: Instant) -> (Vec<u32>, Vec<u32>) {
        let taken_in = |at: Instant| at > from && at <= until;
        let sound = self.heard.packets.iter().filter(|(at, number)| taken_in(*at) && is_sound(*number));
        redundancy::known(sound.filter_map(|(_, number)| Some((*number, self.record(*number)?.older_frames))))
    }

    /// When its pictures were sent, but for those before the first keyframe that the node got.
    pub fn pictures_sent(&self) -> impl Iterator<Item = Instant> {
        let first = self.heard.keyframe_sent;
        let records = self.streams.iter().skip(1).flat_map(|stream| &stream.records);
        records.map(|record| record.at).filter(move |at| first.is_some_and(|first| *at >= first))
    }

    pub fn manner(&self) -> &Manner {
        &self.manner
    }

    /// Whether it sent so much that the node must have told what came of it.
    pub fn has_played(&self) -> bool {
        self.lived().is_some_and(|(first, last)| first + MUST_BE_TOLD < last)
    }

    /// When its first and its last packet of video were sent.
    pub fn lived(&self) -> Option<(Instant, Instant)> {
        let records = || self.streams.iter().skip(1).flat_map(|stream| &stream.records);
        Some((records().map(|record| record.at).min()?, records().map(|record| record.at).max()?))
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let media = self.client.is_connected().then(|| {
            let planned = self.planned.front().map(|planned| planned.at);
            let next = [
                self.mood.pictures_every().map(|_| self.next_frame),
                self.mood.sound_every().map(|_| self.next_sound),
                self.mood.pads().then_some(self.next_padding),
                Some(self.next_report),
            ];
            next.into_iter().flatten().filter(|at| *at < self.stop_at).chain(planned).min()
        });
        if self.mood == Mood::Dead {
            return None;
        }
        [media.flatten(), self.client.poll_timeout()].into_iter().flatten().min()
    }

    /// It goes on with this from now on.
    pub fn set_mood(&mut self, now: Instant, mood: Mood) {
        self.mood = mood;
        // What is on its way out of the picture before goes first.
        self.next_frame = now.max(self.planned.back().map_or(now, |last| last.at + FRAME / 2));
        (self.next_sound, self.next_padding) = (now, now);
        self.next_report = self.next_report.max(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.mood == Mood::Dead {
            return;
        }
        self.client.handle_timeout(now);
        if !self.client.is_connected() {
            // The camera runs, but nobody sees it.
            (self.next_frame, self.next_sound, self.next_report) = (now, now, now + SOUND_FRAME);
            return;
        }
        if now < self.stop_at {
            if let Some(every) = self.mood.pictures_every().filter(|_| self.next_frame <= now) {
                // One picture at a time, though none was taken while nobody saw it.
                self.next_frame = (self.next_frame + every).max(now + every / 2);
                self.plan_frame(now);
            }
            if self.mood.pads() && self.next_padding <= now {
                self.next_padding = now + PADDING;
                let twcc = self.next_twcc();
                let padding = self.streams[1].pad(twcc);
                padding.into_iter().for_each(|padding| self.client.send_rtp(&padding));
            }
            if let Some(every) = self.mood.sound_every().filter(|_| self.next_sound <= now) {
                self.next_sound = (self.next_sound + every).max(now + every / 2);
                let len = self.dice.between(60, 140) as usize;
                let timestamp = self.timestamp(0, now);
                let media = self.streams[0].sound(now, timestamp, len);
                self.planned.push_front(Planned { at: now, stream: 0, media });
            }
            if self.next_report <= now {
                self.next_report += Duration::from_secs(1);
                self.report(now);
            }
        }
        while self.planned.front().is_some_and(|planned| planned.at <= now) {
            let Planned { stream, media, .. } = self.planned.pop_front().unwrap();
            let twcc = self.next_twcc();
            let bytes = self.streams[stream].send(now, media, twcc);
            self.client.send_rtp(&bytes);
        }
    }

    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Option<String> {
        if self.mood == Mood::Dead {
            return None;
        }
        match self.client.handle(now, datagram)? {
            Incoming::Rtp(_) => {
                self.complaints.push("the node sends media to a publisher".to_owned());
                None
            }
            Incoming::Rtcp(compound) => Some(self.handle_rtcp(now, &compound)),
        }
    }

    fn timestamp(&self, stream: usize, now: Instant) -> u32 {
        let stream = &self.streams[stream];
        let units = (now - self.start).as_micros() * u128::from(stream.clock_rate_hz) / 1_000_000;
        stream.first_timestamp.wrapping_add(units as u32)
    }

    fn plan_frame(&mut self, now: Instant) {
        for place in 1..self.streams.len() {
            let timestamp = self.timestamp(place, now);
            let stream = &mut self.streams[place];
            let Some(encoder) = &mut stream.encoder else { continue };
            let codec = encoder.format.codec;
            let may_be_key = self.manner.begins != Begins::WithNothing;
            let packets = encoder.encode(may_be_key, &mut self.dice);
            let pacing = if self.manner.paces { PACING } else { Duration::ZERO };
            let count = packets.len() as u32;
            for (number, coded) in (0..).zip(packets) {
                let payload =
                    footage::video(&encoder.format, encoder.place, &coded.tag, coded.numbers, coded.len);
                let media = Media {
                    record: Record::video(codec, &coded, payload.len(), timestamp, now),
                    payload,
                    descriptor: coded.descriptor,
                };
                self.planned.push_back(Planned { at: now + pacing * number / count, stream: place, media });
            }
        }
        // Packets of several encodings go side by side.
        self.planned.make_contiguous().sort_by_key(|planned| planned.at);
    }

    fn next_twcc(&mut self) -> u16 {
        let twcc = self.twcc_next;
        self.twcc_next = twcc.wrapping_add(1);
        twcc
    }

    fn handle_rtcp(&mut self, now: Instant, compound: &[u8]) -> String {
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
            } else if let Some(loss) = packet.downcast_ref::<PictureLossIndication>() {
                heard += &format!("keyframe {} ", loss.media_ssrc);
                self.want_keyframe(now, loss.media_ssrc);
            } else if let Some(request) = packet.downcast_ref::<FullIntraRequest>() {
                request.fir.iter().for_each(|entry| self.want_keyframe(now, entry.ssrc));
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                for stream in &mut self.streams {
                    stream.known |= report.reports.iter().any(|block| block.ssrc == stream.ssrc());
                }
            } else if let Some(feedback) = packet.downcast_ref::<TransportLayerCc>() {
                heard += &format!("twcc {} {} ", feedback.base_sequence_number, feedback.packet_status_count);
                self.acknowledge(feedback);
            }
        }
        heard
    }

    fn want_keyframe(&mut self, now: Instant, ssrc: u32) {
        self.keyframe_requests += 1;
        let Some(asked) = self.streams.iter().position(|stream| stream.ssrc() == ssrc) else {
            self.complaints.push(format!("a keyframe is wanted of the unknown ssrc {ssrc}"));
            return;
        };
        let before = self.keyframe_asked_at[asked].replace(now);
        if before.is_some_and(|before| now < before + KEYFRAME_REQUESTS_APART) {
            self.complaints.push(format!("keyframes of {ssrc} are wanted too often"));
        }
        if !self.manner.hears || self.manner.begins == Begins::WithNothing {
            return;
        }
        let together = self.manner.keyframes_together;
        for (place, stream) in self.streams.iter_mut().enumerate() {
            if together || place == asked {
                stream.encoder.iter_mut().for_each(Encoder::want_keyframe);
            }
        }
    }

    fn retransmit(&mut self, ssrc: u32, sequence: u16) {
        self.nacked += 1;
        let twcc = self.twcc_next;
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc() == ssrc) else {
            self.complaints.push(format!("a nack for the unknown ssrc {ssrc}"));
            return;
        };
        if stream.encoder.is_none() && !self.manner.sound.repairs {
            return self.complaints.push("a nack for sound, of which nobody spoke".to_owned());
        }
        match stream.retransmit(sequence, twcc) {
            Some((bytes, used_twcc)) => {
                self.twcc_next = twcc.wrapping_add(u16::from(used_twcc));
                self.client.send_rtp(&bytes);
            }
            None => self.complaints.push(format!("a nack for {sequence}, which was not sent")),
        }
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
        for place in 0..self.streams.len() {
            let rtp_time = self.timestamp(place, now);
            let stream = &self.streams[place];
            let report = SenderReport {
                ssrc: stream.ssrc(),
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
