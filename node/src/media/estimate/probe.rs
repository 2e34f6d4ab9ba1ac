//! Probes: for some 50 ms more is sent than there is media, and what arrives of it says what the path carries.
//!
//! Whatever leaves meanwhile is part of the probe, media too; packets that were sent before fill it up. It leaves in bursts
//! of [`PROBE_STEP`] behind the media, so media never waits for it.

use std::time::Duration;

use super::sent_log::{SentLog, SentPacket};

/// How often a burst of a probe leaves: the grid of the plane's schedule.
pub const PROBE_STEP: Duration = Duration::from_millis(10);
const STEP_MICROS: i64 = PROBE_STEP.as_micros() as i64;

/// How long a probe lasts, in µs: five bursts. Long enough to even out a millisecond of jitter, short enough that at twice
/// what the path carries it makes a queue of 50 ms.
const PROBE_MICROS: i64 = 5 * STEP_MICROS;

/// Packets of a probe at least (libwebrtc's).
const PROBE_PACKETS_MIN: u16 = 5;

/// Share of its packets that must arrive for a probe to say anything (libwebrtc's).
const PROBE_RECEIVED_MIN: f64 = 0.8;

/// A probe never asks for more than this times what is known (libwebrtc's), so that one that fails fills no queue.
const PROBE_FACTOR: f64 = 2.0;

/// Arriving slower than this share of how it was sent, a probe has found the bottleneck; this much of it is believed
/// (libwebrtc's).
const UNSATURATED: f64 = 0.9;
const BELIEVED: f64 = 0.95;

/// Finding less than this share of what it asked for, a probe has found no room.
const FOUND: f64 = 0.7;

/// A probe's feedback that does not come for so long was lost, in µs.
const PATIENCE_MICROS: i64 = 1_000_000;

/// How long the queue that a probe made may still be seen after its feedback has come, in µs: it is up to 50 ms long.
const SETTLING_MICROS: i64 = 250_000;

/// Time to the next probe after one that found no room, in µs: 5 KB each at 400 kbit/s, so a hundredth of the path; and a
/// viewer is back on its best layer within 10 s after the path is.
const INTERVAL_MICROS: i64 = 3_000_000;

/// A probe that was proved wrong so soon after it raised the estimate doubles the interval, in µs, up to the longest: a path
/// that lets bursts through but no stream must not make layers go up and down.
const PROOF_MICROS: i64 = 10_000_000;
const INTERVAL_MAX_MICROS: i64 = 48_000_000;

/// Probes that follow at once on each other, of which a queue that grows may be the doing: a queue that all of them find is
/// the media's.
const DISTURBING_PROBES: u32 = 2;

#[derive(Debug, Clone, Copy)]
enum Phase {
    Idle,
    Sending {
        started: i64,
        bytes_before: u64,
    },
    /// Until the feedback of the packet before `end` has come.
    Awaiting {
        end: u16,
        since: i64,
    },
}

/// Packets of a probe that were reported.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    received: u32,
    reported: u32,
    bytes: u32,
    first: Burst,
    last: Burst,
}

/// Packets of a probe that were sent at one instant.
#[derive(Debug, Clone, Copy, Default)]
struct Burst {
    bytes: u32,
    sent: i64,
    /// When its first packet arrived.
    arrived: i64,
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Finding {
    /// What the path carries at least, in bits per second; `None` if too little arrived.
    pub(super) bps: Option<f64>,
    /// Whether all that was asked for arrived as fast as it was sent.
    pub(super) proved: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Prober {
    phase: Phase,
    target_bps: f64,
    first: u16,
    tally: Tally,
    next_at: i64,
    interval: i64,
    raised_at: Option<i64>,
    settled_at: i64,
    /// Probes since the last pause between two.
    chain: u32,
}

impl Prober {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Idle,
            target_bps: 0.0,
            first: 0,
            tally: Tally::default(),
            next_at: i64::MIN,
            interval: INTERVAL_MICROS,
            raised_at: None,
            settled_at: i64::MIN,
            chain: 0,
        }
    }

    /// Begins a probe if it is time for one. `known_bps`: the estimate; `wanted_bps`: what there is use for.
    pub(super) fn begin(&mut self, now: i64, known_bps: f64, wanted_bps: f64, log: &SentLog) -> bool {
        if let Phase::Awaiting { since, .. } = self.phase
            && now - since >= PATIENCE_MICROS
        {
            // Nothing of it arrived, so nobody said so.
            self.phase = Phase::Idle;
            self.next_at = self.next_at.max(since + self.interval);
        }
        if !matches!(self.phase, Phase::Idle) || now < self.next_at || wanted_bps <= known_bps {
            return false;
        }
        self.chain = if now < self.settled_at { self.chain + 1 } else { 1 };
        self.target_bps = wanted_bps.min(known_bps * PROBE_FACTOR);
        self.first = log.next();
        self.tally = Tally::default();
        self.phase = Phase::Sending { started: now, bytes_before: log.bytes() };
        true
    }

    /// How many bytes are to be sent on top of what was sent; `None` once the probe is over.
    pub(super) fn step(&mut self, now: i64, log: &SentLog) -> Option<usize> {
        let Phase::Sending { started, bytes_before } = self.phase else { return None };
        let passed = now - started;
        if passed >= PROBE_MICROS && log.next().wrapping_sub(self.first) >= PROBE_PACKETS_MIN
            || passed >= 4 * PROBE_MICROS
        {
            self.phase = Phase::Awaiting { end: log.next(), since: now };
            return None;
        }
        let due = self.target_bps / 8e6 * (passed + STEP_MICROS) as f64;
        Some((due as u64).saturating_sub(log.bytes() - bytes_before) as usize)
    }

    /// A packet was reported. `at`: when it was sent, and when it arrived if it did.
    #[inline]
    pub(super) fn reported(&mut self, sequence: u16, packet: &SentPacket, at: (i64, Option<i64>)) {
        if matches!(self.phase, Phase::Idle) {
            return;
        }
        let end = if let Phase::Awaiting { end, .. } = self.phase { end } else { sequence.wrapping_add(1) };
        let len = end.wrapping_sub(self.first);
        if sequence.wrapping_sub(self.first) < len && len < u16::MAX / 2 {
            self.tally.add(u32::from(packet.bytes), packet.was_lost, at);
        }
    }

    /// All of a feedback was read; `newest` is the last packet it reported on.
    pub(super) fn conclude(&mut self, now: i64, newest: u16) -> Option<Finding> {
        let Phase::Awaiting { end, since } = self.phase else { return None };
        let whole = newest.wrapping_sub(end.wrapping_sub(1)) < u16::MAX / 2;
        if !whole && now - since < PATIENCE_MICROS {
            return None;
        }
        self.phase = Phase::Idle;
        self.settled_at = now + SETTLING_MICROS;
        let count = end.wrapping_sub(self.first);
        let finding = match self.tally.rates(count) {
            Some((sent, arrived)) if arrived >= sent * UNSATURATED => {
                Finding { bps: Some(sent.min(arrived)), proved: true }
            }
            Some((_, arrived)) => Finding { bps: Some(arrived * BELIEVED), proved: false },
            None => Finding { bps: None, proved: false },
        };
        if finding.bps.is_none_or(|bps| bps < self.target_bps * FOUND) {
            // A probe that says no can be believed.
            self.interval = INTERVAL_MICROS;
        }
        let next_at = if finding.proved { now } else { now + self.interval };
        // What else was found while it ran may want a longer pause.
        self.next_at = self.next_at.max(next_at);
        Some(finding)
    }

    /// Whether a queue that grows at `now` may be the probe's own doing, which says nothing about the media.
    pub(super) fn disturbs(&self, now: i64) -> bool {
        self.chain <= DISTURBING_PROBES && (!matches!(self.phase, Phase::Idle) || now < self.settled_at)
    }

    /// A probe has raised the estimate.
    pub(super) fn raised(&mut self, now: i64) {
        self.raised_at = Some(now);
    }

    /// The path is full: a probe that runs would only make its queue longer.
    pub(super) fn stop(&mut self, now: i64) {
        if matches!(self.phase, Phase::Sending { .. }) {
            self.phase = Phase::Idle;
            self.settled_at = now + SETTLING_MICROS;
        }
    }

    /// The path carries less than was estimated: no probe before it has settled.
    pub(super) fn decreased(&mut self, now: i64) {
        match self.raised_at.take() {
            Some(at) if now - at < PROOF_MICROS => {
                self.interval = (self.interval * 2).min(INTERVAL_MAX_MICROS);
            }
            Some(_) => self.interval = INTERVAL_MICROS,
            None => {}
        }
        self.next_at = self.next_at.max(now + self.interval);
    }
}

impl Tally {
    fn add(&mut self, bytes: u32, was_lost: bool, (sent, arrived): (i64, Option<i64>)) {
        self.reported += u32::from(!was_lost);
        let Some(arrived) = arrived else { return };
        if self.received == 0 || sent > self.last.sent {
            self.last = Burst { bytes: 0, sent, arrived };
        }
        self.last.bytes += bytes;
        self.last.arrived = self.last.arrived.min(arrived);
        self.bytes += bytes;
        self.received += 1;
        if sent <= self.first.sent || self.received == 1 {
            self.first = self.last;
        }
    }

    /// How fast the packets were sent and how fast they arrived, in bits per second. Both from the first packet of the first
    /// burst to the first of the last, so that on a path with room they are the same whatever the bursts are made of.
    fn rates(&self, count: u16) -> Option<(f64, f64)> {
        let enough = f64::from(self.received) >= f64::from(count) * PROBE_RECEIVED_MIN;
        let (left, came) = (self.last.sent - self.first.sent, self.last.arrived - self.first.arrived);
        if !enough || self.received < u32::from(PROBE_PACKETS_MIN) || left < STEP_MICROS || came <= 0 {
            return None;
        }
        let bits = f64::from(self.bytes - self.last.bytes) * 8e6;
        Some((bits / left as f64, bits / came as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe for twice `known_bps` from `now` on, of which all arrives as it was sent, concluded 60 ms later.
    fn proved(prober: &mut Prober, log: &mut SentLog, now: i64, known_bps: f64) -> bool {
        let first = log.next();
        let begun = prober.begin(now, known_bps, 1e9, log);
        for step in 0..=5 {
            let at = now + step * STEP_MICROS;
            for _ in 0..prober.step(at, log).unwrap_or(0).div_ceil(1_000) {
                log.record(at as u32, 1_000);
            }
        }
        for sequence in first..log.next() {
            let packet = log.report(sequence, true);
            let packet = packet.unwrap_or(SentPacket { at_micros: 0, bytes: 0, was_lost: true });
            let sent = i64::from(packet.at_micros);
            prober.reported(sequence, &packet, (sent, Some(sent + 20_000)));
        }
        let finding = prober.conclude(now + 60_000, log.next().wrapping_sub(1));
        begun && finding.is_some_and(|finding| finding.proved)
    }

    #[test]
    fn a_decrease_while_a_probe_runs_puts_the_next_off_though_it_proves_all() {
        let (mut prober, mut log) = (Prober::new(), SentLog::new(0));
        assert!(proved(&mut prober, &mut log, 1_000_000, 1e6));
        assert!(prober.begin(1_060_000, 1e6, 1e9, &log), "the next follows at once");
        prober.decreased(1_070_000);
        prober.stop(1_070_000);
        assert_eq!(prober.step(1_080_000, &log), None, "it does not go on");
        assert!(!prober.begin(4_000_000, 1e6, 1e9, &log));
        assert!(proved(&mut prober, &mut log, 5_000_000, 1e6));
        prober.next_at = 9_000_000;
        assert!(!proved(&mut prober, &mut log, 6_000_000, 1e6));
        prober.next_at = 0;
        assert!(prober.begin(10_000_000, 1e6, 1e9, &log));
        prober.next_at = 20_000_000;
        prober.phase = Phase::Awaiting { end: log.next(), since: 10_000_000 };
        assert!(prober.conclude(12_000_000, log.next()).is_some());
        assert_eq!(prober.next_at, 20_000_000, "what was found meanwhile stands");
    }

    #[test]
    fn a_queue_that_outlasts_two_probes_in_a_row_is_not_theirs() {
        let (mut prober, mut log) = (Prober::new(), SentLog::new(0));
        assert!(!prober.disturbs(0));
        assert!(proved(&mut prober, &mut log, 1_000_000, 1e6) && prober.disturbs(1_100_000));
        assert!(proved(&mut prober, &mut log, 1_100_000, 1e6) && prober.disturbs(1_200_000));
        assert!(proved(&mut prober, &mut log, 1_200_000, 1e6) && !prober.disturbs(1_300_000));
        assert!(proved(&mut prober, &mut log, 5_000_000, 1e6) && prober.disturbs(5_100_000));
    }
}
