//! A path in virtual time: a bottleneck with a queue, delay, loss and steps of its rate; a viewer behind it that sends
//! feedback as browsers do; and a sender before it whose packets leave as a shard's do.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::media::estimate::{Conditions, Estimator, ProbeEnd, SentLog};
use crate::media::rtcp::{Packet, Writer, packets};
use crate::media::selection::{Ladder, Pick, Rung, Selection};
use crate::media::twcc::{ArrivalRecorder, MAX_FEEDBACK_BYTES};

/// Bytes of a full datagram, and IP and UDP headers, which the link carries too.
const DATAGRAM_BYTES: usize = 1_200;
const HEADERS_BYTES: usize = 28;

/// How long a shard gathers what it sends together.
const GATHER_MS: i64 = 5;

/// Packets of one burst of others on average.
const CROSS_BURST_PACKETS: f64 = 10.0;

/// How long the last hop stands still, and how long it does not in between at most, in µs.
const STALL_MICROS: (i64, i64) = (20_000, 80_000);
const STALL_APART_MICROS: f64 = 1_000_000.0;

/// From this rate on a link's queue holds 50 ms at least.
const FAST_BPS: f64 = 1e7;

/// What a path is like.
#[derive(Clone)]
pub(super) struct Setup {
    /// From when, in ms, what rate in bit/s.
    pub(super) rates: Vec<(i64, f64)>,
    pub(super) round_trip_ms: i64,
    /// What the queue holds, in ms at the first rate.
    pub(super) queue_ms: f64,
    /// Share of packets lost at random.
    pub(super) loss: f64,
    /// Up to how much later a packet arrives at random, in ms; order is kept.
    pub(super) jitter_ms: f64,
    pub(super) feedback_ms: i64,
    /// By how much later a feedback may come at random, in ms; order is kept.
    pub(super) late_ms: i64,
    /// Whether the last hop stands still for 20 to 80 ms now and then, as Wi-Fi does, and then hands over all at once.
    pub(super) stalls: bool,
    /// The last hop hands over only at multiples of this, in ms, as LTE does.
    pub(super) grid_ms: i64,
    /// What others send through the bottleneck on average, in bursts, in bit/s.
    pub(super) cross_bps: f64,
    /// How long the publisher takes to send a frame's packets, in ms.
    pub(super) spread_ms: f64,
    /// Whether they leave in runs, as a shard gathers them.
    pub(super) gathers: bool,
    /// Bits per second of layers to choose from; none: the source sends what is estimated.
    pub(super) layers: Vec<f64>,
    /// Whether frames differ in size as an encoder's do, with sound beside them. If not, all are of one size.
    pub(super) varies: bool,
    /// Frames since the last keyframe when the run begins.
    pub(super) age_frames: u32,
    /// From when, in ms, by how much longer the way to the viewer is, in ms.
    pub(super) detours: Vec<(i64, i64)>,
    /// How long the viewer's clock has run when the run begins.
    pub(super) uptime: Duration,
    pub(super) probes: bool,
    pub(super) seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rates: vec![(0, 2e6)],
            round_trip_ms: 50,
            queue_ms: 500.0,
            loss: 0.0,
            jitter_ms: 0.0,
            feedback_ms: 100,
            late_ms: 0,
            stalls: false,
            grid_ms: 1,
            cross_bps: 0.0,
            spread_ms: 13.0,
            gathers: false,
            layers: Vec::new(),
            varies: false,
            age_frames: 0,
            detours: Vec::new(),
            uptime: Duration::from_secs(1),
            probes: true,
            seed: 1,
        }
    }
}

/// One millisecond.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) ms: i64,
    pub(super) queue_ms: f64,
    /// Bits that arrived.
    pub(super) bits: f64,
    pub(super) estimate_bps: Option<f64>,
    pub(super) rate_bps: f64,
    /// Layer that is sent.
    pub(super) layer: usize,
}

/// What judges the path: ours, or one to compare it with.
pub(super) trait Subject {
    fn sent(&mut self, now: i64, bytes: usize);
    fn feedback(&mut self, now: i64, message: &[u8], round_trip: Duration);
    fn bps(&self) -> Option<f64>;
    /// The most that may be sent.
    fn limit_bps(&self) -> Option<f64> {
        self.bps()
    }
    /// Padding to send now.
    fn probe(&mut self, _now: i64, _wanted: f64) -> usize {
        0
    }
}

pub(super) struct Ours {
    pub(super) estimator: Estimator,
    pub(super) log: SentLog,
    /// Whether what is sent is remembered: from the first feedback on, as the plane does it.
    logs: bool,
    probing: bool,
    pub(super) ends: Vec<(i64, ProbeEnd)>,
    /// When the path was found to have become far narrower, in ms.
    pub(super) collapses: Vec<i64>,
}

impl Ours {
    pub(super) fn new() -> Self {
        let (estimator, log) = (Estimator::new(), SentLog::new(0));
        Self { estimator, log, logs: false, probing: false, ends: Vec::new(), collapses: Vec::new() }
    }
}

impl Subject for Ours {
    fn sent(&mut self, now: i64, bytes: usize) {
        self.log.record(now as u32, bytes);
    }

    fn feedback(&mut self, now: i64, message: &[u8], round_trip: Duration) {
        let Some(Ok(Packet::TransportCc(feedback))) = packets(message).next() else { panic!("no feedback") };
        let conditions = Conditions { round_trip: Some(round_trip), can_probe: true, next_bps: None };
        if !std::mem::replace(&mut self.logs, true) {
            self.log = SentLog::new(self.log.next());
            return;
        }
        let reading = self.estimator.read(now, &feedback, &mut self.log, conditions);
        self.collapses.extend(reading.collapsed.then_some(now / 1_000));
        self.ends.extend(reading.probe.map(|end| (now / 1_000, end)));
    }

    fn bps(&self) -> Option<f64> {
        self.estimator.bitrate_bps().map(|bps| bps as f64)
    }

    fn limit_bps(&self) -> Option<f64> {
        self.estimator.limit_bps().map(|bps| bps as f64)
    }

    fn probe(&mut self, now: i64, wanted: f64) -> usize {
        if !self.probing {
            self.probing = self.estimator.begin_probe(now, wanted as u64, &self.log);
        }
        let step = self.probing.then(|| self.estimator.probe_step(now, &self.log)).flatten();
        self.probing = step.is_some();
        step.unwrap_or(0)
    }
}

struct Queued {
    /// None of a packet of others.
    sequence: Option<u16>,
    bytes: usize,
    done_at: i64,
}

/// Runs `subject` over the path for `seconds`.
pub(super) fn run(setup: &Setup, subject: &mut dyn Subject, seconds: i64) -> Vec<Sample> {
    let mut path = Path::new(setup);
    let mut source = Source::new(setup);
    let mut samples = Vec::new();
    for ms in 0..seconds * 1_000 {
        let now = ms * 1_000;
        let rate = setup.rates.iter().rev().find(|(from, _)| *from <= ms).unwrap().1;
        let (bits, arrived) = path.deliver(now);
        arrived.into_iter().for_each(|(sequence, at)| path.receive(sequence, at));
        path.feedback(now, subject);
        path.cross(now, rate);
        let known = if setup.layers.is_empty() { subject.bps() } else { subject.limit_bps() };
        for bytes in source.due(ms, setup, known) {
            subject.sent(now, bytes);
            path.send(now, bytes, rate);
        }
        let lacks = setup.layers.is_empty() || source.layer + 1 < setup.layers.len();
        if setup.probes && lacks && ms % 10 == 0 {
            let wanted = setup.layers.iter().copied().fold(0.0, f64::max) * 1.2;
            let wanted = if setup.layers.is_empty() { 5e6 } else { wanted };
            let mut padding = subject.probe(now, wanted);
            while padding > 0 {
                let bytes = padding.clamp(200, DATAGRAM_BYTES);
                subject.sent(now, bytes);
                path.send(now, bytes, rate);
                padding -= padding.min(bytes);
            }
        }
        samples.push(Sample {
            ms,
            queue_ms: path.queue_ms(now),
            bits,
            estimate_bps: subject.bps(),
            rate_bps: rate,
            layer: source.layer,
        });
    }
    samples
}

struct Path<'a> {
    setup: &'a Setup,
    random: StdRng,
    base: Instant,
    queue: VecDeque<Queued>,
    queue_max: f64,
    /// On the way behind the bottleneck: sequence number, arrival.
    flying: VecDeque<(u16, i64)>,
    next: u16,
    recorder: ArrivalRecorder,
    /// On the way back: arrival, message.
    returning: VecDeque<(i64, Vec<u8>)>,
    next_feedback: i64,
    /// From when to when the last hop stands still.
    stall: (i64, i64),
}

impl<'a> Path<'a> {
    fn new(setup: &'a Setup) -> Self {
        let base = Instant::now();
        Self {
            setup,
            random: StdRng::seed_from_u64(setup.seed),
            base,
            queue: VecDeque::new(),
            queue_max: setup.rates[0].1 * setup.queue_ms / 8e3,
            flying: VecDeque::new(),
            next: 0,
            recorder: ArrivalRecorder::new(base),
            returning: VecDeque::new(),
            next_feedback: 0,
            stall: (0, 0),
        }
    }

    fn send(&mut self, now: i64, bytes: usize, rate: f64) {
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        self.enqueue(now, bytes, rate, Some(sequence));
    }

    /// What others send: bursts as of a window that grows.
    fn cross(&mut self, now: i64, rate: f64) {
        if self.setup.cross_bps == 0.0 {
            return;
        }
        let burst_packets = 1.0 + self.random.random::<f64>() * 2.0 * CROSS_BURST_PACKETS;
        let bits = CROSS_BURST_PACKETS * (DATAGRAM_BYTES + HEADERS_BYTES) as f64 * 8.0;
        if self.random.random_bool((self.setup.cross_bps / 1e3 / bits).min(1.0)) {
            (0..burst_packets as usize).for_each(|_| self.enqueue(now, DATAGRAM_BYTES, rate, None));
        }
    }

    fn enqueue(&mut self, now: i64, bytes: usize, rate: f64, sequence: Option<u16>) {
        let waiting: usize = self.queue.iter().map(|packet| packet.bytes).sum();
        let bytes = bytes + HEADERS_BYTES;
        let fails = sequence.is_some() && self.random.random_bool(self.setup.loss);
        if fails || (waiting + bytes) as f64 > self.room(rate) {
            return;
        }
        let start = self.queue.back().map_or(now, |last| last.done_at.max(now));
        let done_at = start + (bytes as f64 * 8e6 / rate) as i64;
        self.queue.push_back(Queued { sequence, bytes, done_at });
    }

    /// What the queue holds, in bytes. That of a fast link is never in the way of a burst.
    fn room(&self, rate: f64) -> f64 {
        let least = if rate >= FAST_BPS { rate * 0.05 / 8.0 } else { 3_000.0 };
        self.queue_max.max(least)
    }

    fn deliver(&mut self, now: i64) -> (f64, Vec<(u16, i64)>) {
        let mut bits = 0.0;
        while let Some(packet) = self.queue.front().filter(|packet| packet.done_at <= now) {
            let Some(sequence) = packet.sequence else {
                self.queue.pop_front();
                continue;
            };
            bits += packet.bytes as f64 * 8.0;
            let jitter = (self.random.random::<f64>() * self.setup.jitter_ms * 1e3) as i64;
            let detour = self.setup.detours.iter().rev().find(|(from, _)| *from * 1_000 <= packet.done_at);
            let detour = detour.map_or(0, |(_, longer_ms)| longer_ms * 1_000);
            let at = packet.done_at + self.setup.round_trip_ms * 500 + detour + jitter;
            let at = self.handed_over(at);
            let at = self.flying.back().map_or(at, |(_, before)| at.max(*before));
            self.flying.push_back((sequence, at));
            self.queue.pop_front();
        }
        let count = self.flying.iter().take_while(|(_, at)| *at <= now).count();
        (bits, self.flying.drain(..count).collect())
    }

    /// When the last hop hands over what came to it `at`.
    fn handed_over(&mut self, at: i64) -> i64 {
        let grid = self.setup.grid_ms * 1_000;
        let at = if grid > 1_000 { (at + grid - 1) / grid * grid } else { at };
        if !self.setup.stalls {
            return at;
        }
        while at >= self.stall.1 {
            let from = self.stall.1 + (self.random.random::<f64>() * STALL_APART_MICROS) as i64;
            self.stall = (from, from + self.random.random_range(STALL_MICROS.0..STALL_MICROS.1));
        }
        if at >= self.stall.0 { self.stall.1 } else { at }
    }

    fn receive(&mut self, sequence: u16, at: i64) {
        self.recorder.record(sequence, self.base + self.setup.uptime + Duration::from_micros(at as u64));
    }

    fn feedback(&mut self, now: i64, subject: &mut dyn Subject) {
        while self.returning.front().is_some_and(|(at, _)| *at <= now) {
            let (_, message) = self.returning.pop_front().unwrap();
            let round_trip = Duration::from_millis(self.setup.round_trip_ms as u64);
            subject.feedback(now, &message, round_trip);
        }
        if now < self.next_feedback {
            return;
        }
        self.next_feedback = now + self.setup.feedback_ms * 1_000;
        loop {
            let mut buffer = [0; MAX_FEEDBACK_BYTES];
            let mut writer = Writer::new(&mut buffer);
            let more = self.recorder.write_feedback(&mut writer, 1, 2).unwrap();
            let len = writer.len();
            if len > 0 {
                let late = match self.setup.late_ms {
                    0 => 0,
                    late_ms => self.random.random_range(0..late_ms * 1_000),
                };
                let at = now + self.setup.round_trip_ms * 500 + late;
                let at = self.returning.back().map_or(at, |(before, _)| at.max(*before));
                self.returning.push_back((at, buffer[..len].to_vec()));
            }
            if !more {
                return;
            }
        }
    }

    fn queue_ms(&self, now: i64) -> f64 {
        self.queue.back().map_or(0.0, |last| (last.done_at - now).max(0) as f64 / 1e3)
    }
}

/// 30 frames a second, each spread over 13 ms as publishers do.
struct Source {
    layer: usize,
    /// When, how much.
    planned: VecDeque<(i64, usize)>,
    random: StdRng,
    /// Since the last keyframe.
    frames: u32,
    selection: Selection,
    ladder: Ladder,
}

/// Of layers whose frames vary: how many there are from one keyframe to the next, how much larger that is than the others are
/// on average, and how much these differ.
const GROUP_FRAMES: u32 = 60;
const KEYFRAME_FACTOR: f64 = 5.0;
const FRAME_DEVIATION: f64 = 0.3;

impl Source {
    /// It begins with the best layer.
    fn new(setup: &Setup) -> Self {
        let mut ladder = Ladder::default();
        let rungs = setup.layers.iter().zip(0_u8..).map(|(bps, layer)| Rung {
            layer,
            active: true,
            bitrate_bps: *bps as u64,
            ..Rung::default()
        });
        ladder.update(rungs);
        Self {
            layer: setup.layers.len().saturating_sub(1),
            planned: VecDeque::new(),
            random: StdRng::seed_from_u64(setup.seed ^ 0xF0),
            frames: setup.age_frames,
            selection: Selection::default(),
            ladder,
        }
    }

    fn due(&mut self, ms: i64, setup: &Setup, known: Option<f64>) -> Vec<usize> {
        if ms * 30 / 1_000 != (ms - 1) * 30 / 1_000 || ms == 0 {
            self.frame(ms, setup, known);
        }
        let count = self.planned.iter().take_while(|(at, _)| *at <= ms).count();
        let sound = (setup.varies && ms % 20 == 0).then_some(130);
        self.planned.drain(..count).map(|(_, bytes)| bytes).chain(sound).collect()
    }

    fn frame(&mut self, ms: i64, setup: &Setup, known: Option<f64>) {
        let rate = if setup.layers.is_empty() {
            known.unwrap_or(300e3)
        } else if setup.varies {
            self.select(ms, known);
            setup.layers[self.layer] * self.size()
        } else {
            self.choose(&setup.layers, known);
            setup.layers[self.layer]
        };
        let bytes = (rate / 240.0) as usize;
        let count = bytes.div_ceil(DATAGRAM_BYTES).max(1);
        let step = setup.spread_ms / count as f64;
        let leaves = |after: f64| match setup.gathers {
            true => (after as i64 / GATHER_MS + 1) * GATHER_MS,
            false => after as i64,
        };
        self.planned.extend((0..count).map(|number| (ms + leaves(number as f64 * step), bytes / count)));
    }

    /// Chooses as the plane does. Another layer begins with a keyframe.
    fn select(&mut self, ms: i64, known: Option<f64>) {
        let sound_bps = 52e3;
        self.selection.limit(known.map(|bps| (bps - sound_bps).max(0.0) as u64));
        let current = Some(Pick::whole(self.layer as u8));
        let chosen = self.selection.choose(ms as u32, &self.ladder, current).unwrap();
        if Some(chosen) != current {
            (self.layer, self.frames) = (usize::from(chosen.layer), 0);
        }
    }

    /// How much larger the next frame is than the mean of all.
    fn size(&mut self) -> f64 {
        let keyframe = self.frames.is_multiple_of(GROUP_FRAMES);
        self.frames += 1;
        let mean = f64::from(GROUP_FRAMES) / (f64::from(GROUP_FRAMES) - 1.0 + KEYFRAME_FACTOR);
        // Twelve even ones are close to a normal one.
        let normal = (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0;
        mean * if keyframe { KEYFRAME_FACTOR } else { (1.0 + FRAME_DEVIATION * normal).max(0.1) }
    }

    /// The best layer that fits; a better one only with some room. The best of all before anything is known.
    fn choose(&mut self, layers: &[f64], known: Option<f64>) {
        let Some(known) = known else { return };
        let fits = |room: f64| layers.iter().rposition(|rate| rate * room <= known).unwrap_or(0);
        if layers[self.layer] > known {
            self.layer = fits(1.0);
        } else {
            self.layer = self.layer.max(fits(1.1));
        }
    }
}
