//! A viewer behind a bottleneck, and a publisher of simulcast whose frames have the size of their layer.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::screen::{Piece, Screen};
use super::*;
use crate::media::rtcp::{Packet, ReportBlock, packets};
use crate::media::twcc::ArrivalRecorder;

/// Bytes of one packet's payload at most.
const PAYLOAD_BYTES: usize = 1_100;

/// IP and UDP headers, which the link carries too.
const HEADERS_BYTES: usize = 28;

/// Id of the transport-wide sequence number among [`VIEWER_IDS`].
const TRANSPORT_ID: u8 = 5;

const STEP: Duration = Duration::from_millis(1);
const FRAME: Duration = Duration::from_nanos(33_333_333);
const FEEDBACK: Duration = Duration::from_millis(100);
const NACK_AFTER: Duration = Duration::from_millis(20);

/// Sound of 32 kbit/s.
const SOUND_MS: u64 = 20;
const SOUND_BYTES: usize = 80;

/// How far back the viewer asks for packets.
const NACK_REACH: u64 = 500;

/// A keyframe is this much larger than other frames.
const KEYFRAME_FACTOR: f64 = 4.0;

/// How far the sizes of frames lie apart, as the deviation of their logarithms, and the bounds: an encoder that is given
/// 1.5 Mbit/s for a picture in motion makes frames of 3 to 14 KB.
const SIZE_DEVIATION: f64 = 0.45;
const SIZE_FACTORS: (f64, f64) = (0.45, 2.25);

/// Stalls of a busy machine: how long, and how long there is none after one, in ms.
const STALL_MS: (u64, u64) = (5, 60);
const UNSTALLED_MS: (u64, u64) = (20, 800);

/// What the viewer says of the packets it gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    TransportWide,
    /// Both, as browsers do.
    TransportWideAndReports,
    ReceiverReports,
    /// Reports, and what it takes its path for (REMB): the truth, but no more than half again of what comes.
    ReceiverEstimates,
}

pub(super) struct Scene {
    pub(super) rig: Rig,
    publisher: Publisher,
    pub(super) viewer: Viewer,
    pub(super) rate_bps: f64,
    pub(super) queue_bytes: usize,
    pub(super) round_trip: Duration,
    /// Whether the viewer takes retransmissions with an SSRC of their own.
    pub(super) rtx: bool,
    /// Whether it asks for pictures again.
    pub(super) nack: bool,
    /// Whether its sound has transport-wide numbers.
    pub(super) sound_counted: bool,
    /// Whether its reports leave out pictures of which nothing came.
    pub(super) omits_silent: bool,
    /// Whether the publisher's sound goes on.
    pub(super) sound_goes_on: bool,
    /// Seconds in which more than a tenth of what was sent did not fit.
    pub(super) lossy_seconds: u32,
    /// Datagrams of the second that runs: sent to the viewer, and dropped of them.
    offered: (u32, u32),
    /// All that did not fit.
    pub(super) dropped: u32,
    /// A keyframe is this much larger than other frames.
    pub(super) keyframe_factor: f64,
    /// Bytes that arrived since the last report.
    arrived_bytes: usize,
    /// Packets of sound that arrived.
    pub(super) sound_received: usize,
    sound_reported: (u64, usize),
    /// Its highest sequence number that arrived, with its wraps.
    sound_highest: u32,
    /// How long the publisher takes for a keyframe that it is asked for.
    pub(super) keyframe_after: Duration,
    /// How often the viewer says what arrived.
    pub(super) feedback: Duration,
    /// How long the publisher waits before each packet of a keyframe.
    pub(super) keyframe_gap: Duration,
    uplink: VecDeque<(Instant, Vec<u8>)>,
    /// What frames' sizes are drawn from; without, all are alike.
    sizes: Option<StdRng>,
    /// Of a viewer whose machine has others to serve: what its stalls are drawn from, and from when to when the next lasts.
    stalls: Option<(StdRng, Instant, Instant)>,
    pub(super) screen: Screen,
    /// Packets of sound that were sent, if there is any.
    sound: Option<u16>,
    says: Says,
    layers: Vec<f64>,
    sequences: Vec<u16>,
    keyframes: Vec<Option<Instant>>,
    next_frame: Instant,
    frames: u32,
    /// Before the bottleneck: when the last byte is through, the datagram.
    queue: VecDeque<(Instant, Vec<u8>)>,
    flying: VecDeque<(Instant, Vec<u8>)>,
    returning: VecDeque<(Instant, Vec<u8>)>,
    recorder: ArrivalRecorder,
    next_feedback: Instant,
    feedbacks: u32,
    next_nack: Instant,
    got: BTreeMap<u64, (Instant, u8)>,
    asked: BTreeMap<u64, Instant>,
    /// When a packet of which layer arrived last.
    pub(super) layer: u8,
    reported: (u64, usize),
    start: Instant,
}

impl Scene {
    /// Layers of `layers` bits per second; a link of `rate_bps` with 50 ms round trip and a queue of 150 ms at it.
    pub(super) fn new(layers: &[f64], rate_bps: f64, says: Says) -> Self {
        let mut scene = Self::before_viewer(layers, rate_bps, says, false);
        scene.join();
        scene
    }

    /// The same before [`Self::join`], with or without sound.
    pub(super) fn before_viewer(layers: &[f64], rate_bps: f64, says: Says, sound: bool) -> Self {
        let rids = if layers.len() > 1 { layers.iter().enumerate() } else { [].iter().enumerate() };
        let rids = rids.map(|(layer, _)| char::from(b'a' + layer as u8).to_string()).collect();
        let setup = Setup { rids, audio: sound, ..Setup::default() };
        let mut rig = Rig::new();
        let publisher = rig.publisher(0, &setup);
        let viewer = Viewer::new(1, &setup);
        let start = rig.now;
        Self {
            publisher,
            viewer,
            rate_bps,
            queue_bytes: (rate_bps * 0.15 / 8.0) as usize,
            round_trip: Duration::from_millis(50),
            rtx: true,
            nack: true,
            sound_counted: true,
            omits_silent: false,
            sound_goes_on: true,
            lossy_seconds: 0,
            offered: (0, 0),
            dropped: 0,
            keyframe_factor: KEYFRAME_FACTOR,
            arrived_bytes: 0,
            sound_received: 0,
            sound_reported: (0, 0),
            sound_highest: 0,
            keyframe_after: Duration::from_millis(50),
            feedback: FEEDBACK,
            keyframe_gap: Duration::ZERO,
            uplink: VecDeque::new(),
            sizes: None,
            stalls: None,
            screen: Screen::default(),
            sound: sound.then_some(0),
            says,
            layers: layers.to_vec(),
            sequences: vec![0; layers.len()],
            keyframes: vec![Some(start); layers.len()],
            next_frame: start,
            frames: 0,
            queue: VecDeque::new(),
            flying: VecDeque::new(),
            returning: VecDeque::new(),
            recorder: ArrivalRecorder::new(start),
            next_feedback: start + FEEDBACK,
            feedbacks: 0,
            next_nack: start,
            got: BTreeMap::new(),
            asked: BTreeMap::new(),
            layer: 0,
            reported: (0, 0),
            start,
            rig,
        }
    }

    /// The viewer comes.
    pub(super) fn join(&mut self) {
        let (rtx, video_nack) = (self.rtx, self.nack);
        let (audio, audio_counted) = (self.sound.is_some(), self.sound_counted);
        let setup = Setup { audio, audio_counted, rtx, video_nack, ..Setup::default() };
        let spec = self.viewer.spec(&setup);
        self.rig.plane.add_egress(self.rig.now, spec).unwrap();
    }

    /// The next frame of each layer is a keyframe.
    pub(super) fn begin_group(&mut self) {
        self.keyframes.fill(Some(self.rig.now));
    }

    /// Frames differ in size from now on.
    pub(super) fn vary(&mut self, seed: u64) {
        self.sizes = Some(StdRng::seed_from_u64(seed));
    }

    /// The viewer's machine is busy from now on.
    pub(super) fn stall(&mut self, seed: u64) {
        self.stalls = Some((StdRng::seed_from_u64(seed), self.rig.now, self.rig.now));
    }

    /// The viewer is reached by another path from now on; what is under way on the old one is lost.
    pub(super) fn move_viewer(&mut self, rate_bps: f64, round_trip: Duration) {
        let Path::Udp(mut address) = self.viewer.client.path else { panic!("no address") };
        address.set_port(address.port() + 1_000);
        self.viewer.client.path = Path::Udp(address);
        (self.rate_bps, self.round_trip) = (rate_bps, round_trip);
        self.queue_bytes = (rate_bps * 0.15 / 8.0) as usize;
        (self.queue, self.flying) = Default::default();
        self.rig.plane.move_peer(self.rig.now, self.viewer.client.peer, self.viewer.client.path);
    }

    /// The path carries this much from now on.
    pub(super) fn widen(&mut self, rate_bps: f64) {
        (self.rate_bps, self.queue_bytes) = (rate_bps, (rate_bps * 0.15 / 8.0) as usize);
    }

    /// Time since the scene began, in ms.
    pub(super) fn ms(&self) -> u64 {
        (self.rig.now - self.start).as_millis() as u64
    }

    /// What the plane estimates now.
    pub(super) fn estimate_bps(&self) -> Option<u64> {
        let mut estimate = None;
        self.rig.plane.sample_quality(self.rig.now..self.rig.now, |quality| {
            if let crate::media::plane::quality::Quality::Estimate(bps) = quality {
                estimate = Some(bps);
            }
        });
        estimate
    }

    /// Packets that are missing though `patience` passed since the next one came.
    pub(super) fn missing(&self, patience: Duration) -> usize {
        self.missing_since(0, patience)
    }

    /// The same of those from `index` on.
    pub(super) fn missing_since(&self, index: u64, patience: Duration) -> usize {
        let pairs = self.got.range(index..).zip(self.got.range(index..).skip(1));
        let old = pairs.filter(|(_, (_, (at, _)))| *at + patience < self.rig.now);
        old.map(|((before, _), (after, _))| (after - before - 1) as usize).sum()
    }

    /// The newest packet that arrived.
    pub(super) fn newest(&self) -> u64 {
        self.got.keys().last().copied().unwrap_or(0)
    }

    /// Packets of media that arrived.
    pub(super) fn received(&self) -> usize {
        self.got.len()
    }

    /// Lets a millisecond pass.
    pub(super) fn step(&mut self) {
        self.rig.now += STEP;
        if self.rig.now >= self.next_frame {
            self.next_frame += FRAME;
            let size = self.frame_size();
            (0..self.layers.len()).for_each(|layer| self.publish(layer, size));
            self.frames += 1;
        }
        self.carry_up();
        if self.ms().is_multiple_of(SOUND_MS) {
            self.publish_sound();
        }
        if self.rig.plane.poll_timeout().is_some_and(|at| at <= self.rig.now) {
            self.rig.plane.handle_timeout(self.rig.now);
        }
        self.flush();
        self.carry();
        self.answer();
        if self.ms().is_multiple_of(1_000) {
            let (sent, dropped) = std::mem::take(&mut self.offered);
            self.lossy_seconds += u32::from(dropped * 10 > sent);
        }
    }

    /// The next frame is a keyframe.
    pub(super) fn show_keyframe(&mut self) {
        self.keyframes[0] = Some(self.rig.now);
    }

    /// Packets of sound that were sent.
    pub(super) fn sound_sent(&self) -> usize {
        self.sound.map_or(0, usize::from)
    }

    fn publish_sound(&mut self) {
        let Some(sent) = self.sound.as_mut().filter(|_| self.sound_goes_on) else { return };
        *sent = sent.wrapping_add(1);
        let packet = self.publisher.audio(*sent, &[0; SOUND_BYTES]);
        let sealed = self.publisher.client.seal(&packet);
        self.rig.receive(&self.publisher.client, sealed);
    }

    /// How much larger than the mean the next frame is.
    fn frame_size(&mut self) -> f64 {
        let Some(random) = &mut self.sizes else { return 1.0 };
        // Twelve even ones are close to a normal one.
        let normal = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let mean = (SIZE_DEVIATION * SIZE_DEVIATION / 2.0).exp();
        ((SIZE_DEVIATION * normal).exp() / mean).clamp(SIZE_FACTORS.0, SIZE_FACTORS.1)
    }

    fn publish(&mut self, layer: usize, size: f64) {
        let keyframe = self.keyframes[layer].is_some_and(|at| at <= self.rig.now);
        if keyframe {
            self.keyframes[layer] = None;
        }
        let (size, gap) =
            if keyframe { (self.keyframe_factor, self.keyframe_gap) } else { (size, Duration::ZERO) };
        let frame = (self.layers[layer] / 240.0 * size) as usize;
        let count = frame.div_ceil(PAYLOAD_BYTES);
        for number in 0..count {
            let head = if number == 0 { 0x10 } else { 0x00 };
            let mut payload = vec![head, u8::from(!keyframe), 0, 0, 0x9D, 0x01, 0x2A, 0, 5, 0xD0, 2];
            // Every layer of a size of its own, so that the plane can order them.
            payload[8] = 1 + layer as u8;
            payload.resize((frame / count).max(20), layer as u8);
            self.publisher.marker = number + 1 == count;
            let sequence = self.sequences[layer];
            self.sequences[layer] = sequence.wrapping_add(1);
            let sent =
                Sent { sequence, timestamp: self.frames * 3_000, keyframe, layer, size: payload.len() };
            let packet = self.publisher.video_payload(&sent, &payload);
            let sealed = self.publisher.client.seal(&packet);
            let before = self.uplink.back().map_or(self.rig.now, |(at, _)| (*at).max(self.rig.now));
            self.uplink.push_back((before + gap, sealed));
        }
        self.carry_up();
    }

    /// What the publisher's own pace lets come by now.
    fn carry_up(&mut self) {
        while let Some((_, sealed)) = self.uplink.pop_front_if(|(at, _)| *at <= self.rig.now) {
            self.rig.receive(&self.publisher.client, sealed);
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.rig.plane.flush(self.rig.now, &mut self.rig.batch, &mut self.rig.sent);
        for (path, datagram) in std::mem::take(&mut self.rig.sent.0) {
            if path == self.publisher.client.path {
                self.publisher.client.take(&datagram);
            } else {
                self.send(datagram);
            }
        }
        for compound in std::mem::take(&mut self.publisher.client.rtcp) {
            for packet in packets(&compound) {
                if let Ok(Packet::PictureLoss(loss)) = packet {
                    let layer = ((loss.media_ssrc - PUBLISHER_VIDEO_SSRC) >> 8) as usize;
                    self.keyframes[layer].get_or_insert(self.rig.now + self.keyframe_after);
                }
            }
        }
    }

    fn send(&mut self, datagram: Vec<u8>) {
        let waiting: usize = self.queue.iter().map(|(_, waiting)| waiting.len() + HEADERS_BYTES).sum();
        self.offered.0 += 1;
        if waiting + datagram.len() > self.queue_bytes {
            self.offered.1 += 1;
            self.dropped += 1;
            return;
        }
        let begin = self.queue.back().map_or(self.rig.now, |(done, _)| (*done).max(self.rig.now));
        let bits = (datagram.len() + HEADERS_BYTES) as f64 * 8.0;
        self.queue.push_back((begin + Duration::from_secs_f64(bits / self.rate_bps), datagram));
    }

    fn carry(&mut self) {
        while let Some((done, _)) = self.queue.front().filter(|(done, _)| *done <= self.rig.now) {
            let arrival = *done + self.round_trip / 2;
            let (_, datagram) = self.queue.pop_front().unwrap();
            self.flying.push_back((arrival, datagram));
        }
        let (stalled, awake) = self.stalls();
        while self.flying.front().is_some_and(|(at, _)| *at <= self.rig.now && !stalled) {
            let (at, datagram) = self.flying.pop_front().unwrap();
            let at = at.max(awake);
            self.viewer.client.take(&datagram);
            for (header, packet) in self.viewer.client.packets() {
                if let Some(number) = header.extension(&packet, TRANSPORT_ID) {
                    self.recorder.record(u16::from_be_bytes([number[0], number[1]]), at);
                }
                self.arrived_bytes += packet.len();
                if header.ssrc == self.viewer.audio_ssrc {
                    self.sound_received += 1;
                    let ahead = header.sequence.wrapping_sub(self.sound_highest as u16).cast_signed();
                    self.sound_highest = self.sound_highest.wrapping_add(ahead.max(0) as u32);
                    continue;
                }
                let payload = &packet[header.payload()];
                let (sequence, payload) = if header.ssrc == self.viewer.rtx_ssrc {
                    if payload.len() <= 2 {
                        // Nothing but padding.
                        continue;
                    }
                    (u16::from_be_bytes([payload[0], payload[1]]), &payload[2..])
                } else {
                    self.reported.1 += 1;
                    (header.sequence, payload)
                };
                let highest = self.got.keys().last().copied().unwrap_or(1 << 32);
                let index =
                    highest.wrapping_add_signed(i64::from(sequence.wrapping_sub(highest as u16) as i16));
                let layer = *payload.last().unwrap();
                if index > highest {
                    self.layer = layer;
                }
                if self.got.insert(index, (at, layer)).is_none() {
                    let piece = Piece {
                        starts: payload[0] & 0x10 != 0,
                        ends: header.marker,
                        keyframe: payload[1] & 1 == 0,
                        layer,
                    };
                    self.screen.take(at, index, piece);
                }
            }
        }
        while self.returning.front().is_some_and(|(at, _)| *at <= self.rig.now) {
            let (_, datagram) = self.returning.pop_front().unwrap();
            self.rig.receive(&self.viewer.client, datagram);
            self.flush();
        }
    }

    /// Whether the viewer's machine does nothing just now, and when it did last.
    fn stalls(&mut self) -> (bool, Instant) {
        let now = self.rig.now;
        let Some((random, from, until)) = &mut self.stalls else { return (false, self.start) };
        let awake = (*until).min(now);
        if now >= *until {
            *from = *until + Duration::from_millis(random.random_range(UNSTALLED_MS.0..UNSTALLED_MS.1));
            *until = *from + Duration::from_millis(random.random_range(STALL_MS.0..STALL_MS.1));
        }
        (now >= *from && now < *until, awake)
    }

    /// Packets that newer ones have overtaken and that were not asked for just before.
    fn overtaken(&mut self, now: Instant) -> Vec<u64> {
        self.next_nack = now + NACK_AFTER;
        let newest = self.got.keys().last().copied().unwrap_or(0);
        let recent: Vec<_> = self.got.range(newest.saturating_sub(NACK_REACH)..).collect();
        let gaps = recent.windows(2).filter(|pair| pair[1].1.0 + NACK_AFTER <= now);
        gaps.flat_map(|pair| pair[0].0 + 1..*pair[1].0)
            .filter(|index| self.asked.get(index).is_none_or(|at| *at + self.round_trip * 2 < now))
            .collect()
    }

    /// Feedback and requests of the viewer.
    fn answer(&mut self) {
        let now = self.rig.now;
        if self.stalls.as_ref().is_some_and(|(_, from, until)| (*from..*until).contains(&now)) {
            return;
        }
        let missing = if now < self.next_nack || !self.nack { Vec::new() } else { self.overtaken(now) };
        if !missing.is_empty() {
            self.asked.extend(missing.iter().map(|index| (*index, now)));
            let sequences: Vec<_> = missing.iter().map(|index| *index as u16).collect();
            let nack = self.viewer.nack(&sequences);
            self.returning.push_back((now + self.round_trip / 2, nack));
        }
        if now < self.next_feedback {
            return;
        }
        let message = match self.says {
            Says::TransportWideAndReports if self.feedbacks % 11 == 10 => {
                self.feedbacks = 0;
                self.report()
            }
            Says::TransportWide | Says::TransportWideAndReports => {
                self.next_feedback = now + self.feedback;
                self.feedbacks += 1;
                let (recorder, ssrc) = (&mut self.recorder, self.viewer.ssrc);
                self.viewer.client.rtcp(|writer| assert!(!recorder.write_feedback(writer, 1, ssrc).unwrap()))
            }
            Says::ReceiverReports | Says::ReceiverEstimates => {
                self.next_feedback += FEEDBACK * 10;
                self.report()
            }
        };
        self.returning.push_back((now + self.round_trip / 2, message));
    }

    /// A receiver report of the last second, with REMB if the viewer sends that.
    fn report(&mut self) -> Vec<u8> {
        let highest = self.got.keys().last().copied().unwrap_or(0);
        let expected = highest.saturating_sub(self.reported.0.max(1 << 32));
        let video = block(self.viewer.ssrc, highest as u32, expected, self.reported.1);
        self.reported = (highest, 0);
        let sent = self.sound_sent() as u64;
        let sound_expected = sent.saturating_sub(self.sound_reported.0);
        let received = self.sound_received - self.sound_reported.1;
        let sound = block(self.viewer.audio_ssrc, self.sound_highest, sound_expected, received);
        self.sound_reported = (sent, self.sound_received);
        let blocks = [video, sound];
        let from = usize::from(self.omits_silent && expected == 0);
        let blocks = &blocks[from..1 + usize::from(self.sound.is_some())];
        let bytes = std::mem::take(&mut self.arrived_bytes);
        let bps = self.rate_bps.min(bytes as f64 * 12.0 + 10_000.0) as u32;
        let mut buffer = vec![0; 200];
        let mut writer = crate::media::rtcp::Writer::new(&mut buffer);
        writer.receiver_report(1, blocks).unwrap();
        let len = writer.len();
        buffer.truncate(len);
        if self.says == Says::ReceiverEstimates {
            // draft-alvestrand-rmcat-remb-03 §2.2: six bits of exponent, eighteen of mantissa.
            let exponent = (32 - bps.leading_zeros()).saturating_sub(18);
            let rate = exponent << 18 | bps >> exponent;
            let words = [0x8FCE_0005, 1, 0, u32::from_be_bytes(*b"REMB"), 1 << 24 | rate, self.viewer.ssrc];
            buffer.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        }
        self.viewer.client.seal(&buffer)
    }
}

fn block(ssrc: u32, highest_sequence: u32, expected: u64, received: usize) -> ReportBlock {
    let lost = expected.saturating_sub(received as u64);
    let fraction_lost = (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8;
    ReportBlock { ssrc, fraction_lost, highest_sequence, ..Default::default() }
}
