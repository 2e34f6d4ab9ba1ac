//! One viewer's estimate from transport-wide feedback: reads it, and combines what delay, loss and probes say.

use std::time::Duration;

use super::collapse::Collapse;
use super::delay_trend::{DelayTrend, Usage};
use super::delivered::{DeliveredRate, FullPath};
use super::loss::LossControl;
use super::probe::Prober;
use super::rate_control::{Observation, RateControl};
use super::sent_log::SentLog;
use super::trial::Trials;
use super::{ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS};
use crate::media::twcc::{Arrival, Feedback};

/// Round trip until a report has told it: across a continent.
const ROUND_TRIP_GUESS: Duration = Duration::from_millis(100);

/// Loss above which no probe is worth its while.
const PROBE_LOSS_MAX: f64 = 0.10;

/// A queue above which no probe is made, in µs.
const PROBE_QUEUE_MAX_MICROS: i64 = 50_000;

/// The longest queue that a probe makes by itself, in µs: it asks for twice what is known for 50 ms, and jitter comes on top.
const PROBE_QUEUE_MICROS: i64 = 150_000;

/// Without feedback for so long there is no queue and no loss any more of what it spoke of, in µs.
const QUIET_MICROS: i64 = 1_000_000;

/// Loss up to which a way that stays longer is another route: a queue that is full to the brim stays as long as it is, too,
/// and loses what is too much.
const ROUTE_LOSS_MAX: f64 = 0.02;

/// What else is known when a feedback is read.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// To the viewer and back, once a report has told it.
    pub round_trip: Option<Duration>,
    /// Whether a probe can prove that more arrives than there is media. If not, a better layer is tried now and then.
    pub can_probe: bool,
    /// What the next better layer takes with all else, in bits per second, if there is one to try.
    pub next_bps: Option<u64>,
}

/// What one feedback said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Packets of ours that it newly reported lost.
    pub lost: u32,
    /// Whether it ended a probe, and how.
    pub probe: Option<ProbeEnd>,
    /// Whether it showed, before a queue did, that the path has become far narrower.
    pub collapsed: bool,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeEnd {
    /// All arrived as fast as it was sent.
    Proved,
    /// The path carries less.
    Failed,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Estimator {
    trend: DelayTrend,
    collapse: Collapse,
    delivered: DeliveredRate,
    control: RateControl,
    loss: LossControl,
    prober: Prober,
    /// In the place of probes, where there can be none.
    trials: Trials,
    /// When the last feedback came.
    read_at: Option<i64>,
    /// The reference time of the last feedback, without wraps.
    reference: Option<i32>,
    /// Whether anything has said that the path carries no more than is known.
    limited: bool,
}

impl Default for Estimator {
    fn default() -> Self {
        Self::new()
    }
}

impl Estimator {
    /// An estimator that knows nothing yet.
    pub fn new() -> Self {
        Self {
            trend: DelayTrend::default(),
            collapse: Collapse::default(),
            delivered: DeliveredRate::default(),
            control: RateControl::default(),
            loss: LossControl::default(),
            prober: Prober::new(),
            trials: Trials::default(),
            read_at: None,
            reference: None,
            limited: false,
        }
    }

    /// The most that may be sent, in bits per second of datagrams without IP and UDP headers. `None` until the queue grew,
    /// much was lost or a probe failed: what arrived until then is what there was to send, and a picture that is still, or
    /// between two keyframes, has little.
    pub fn limit_bps(&self) -> Option<u64> {
        self.bitrate_bps().filter(|_| self.limited)
    }

    /// Bits per second that are known to arrive, of datagrams without IP and UDP headers; `None` before enough did.
    pub fn bitrate_bps(&self) -> Option<u64> {
        let limit = self.loss.limit_bps().unwrap_or(ESTIMATE_MAX_BPS);
        self.control.bps().map(|bps| bps.min(limit).clamp(ESTIMATE_MIN_BPS, ESTIMATE_MAX_BPS) as u64)
    }

    /// Reads a feedback that came at `now_micros` on the clock that `log` is kept by.
    pub fn read(
        &mut self,
        now_micros: i64,
        feedback: &Feedback<'_>,
        log: &mut SentLog,
        conditions: Conditions,
    ) -> Reading {
        let (mut packets, mut lost, mut late) = (0, 0, 0);
        let mut full = FullPath::default();
        let reference = feedback.unwrapped_reference(self.reference.unwrap_or(feedback.reference_time));
        self.reference = Some(reference);
        self.read_at = Some(now_micros);
        let unwrapped_micros = feedback.micros_to(reference);
        let (oldest, known) = log.reach();
        let known_bps = self.control.bps().unwrap_or_default();
        let mut last = None;
        for (sequence, arrival) in feedback.packets_within(oldest, known) {
            let received = arrival != Arrival::Lost;
            let Some(packet) = log.report(sequence, received) else { continue };
            // The log's time has 32 bits, and no packet in it is older than a few seconds.
            let sent = now_micros - i64::from((now_micros as u32).wrapping_sub(packet.at_micros));
            packets += u32::from(!packet.was_lost);
            lost += u32::from(!received);
            late += u32::from(packet.was_lost);
            let mut arrived = None;
            if let Arrival::Received { at_micros } = arrival {
                let at_micros = at_micros + unwrapped_micros;
                arrived = Some(at_micros);
                self.delivered.add(at_micros, packet.bytes.into());
                if !packet.was_lost {
                    self.collapse.arrived(packet.bytes.into(), (sent, at_micros), known_bps);
                    last = Some((sequence, at_micros));
                }
                self.trend.packet(sent, at_micros);
                full.add(at_micros, packet.bytes.into(), self.trend.newest_queue_micros());
            }
            if !received {
                self.collapse.lost(packet.bytes.into());
            }
            self.prober.reported(sequence, &packet, (sent, arrived));
        }
        let collapsed_bps = last.and_then(|last| self.collapsed_bps(now_micros, last, log));
        self.loss.add(packets, lost as i32 - late as i32);
        let newest = feedback.base_sequence.wrapping_add(feedback.status_count).wrapping_sub(1);
        let probe = self.follow(now_micros, newest, (full.bps(), collapsed_bps), conditions);
        Reading { lost, probe, collapsed: collapsed_bps.is_some() }
    }

    /// What the path carries if that is far less than before. `last`: the newest packet that arrived, and when.
    fn collapsed_bps(&mut self, now: i64, (sequence, arrived): (u16, i64), log: &SentLog) -> Option<f64> {
        let known_bps = self.control.bps()?;
        let shortest = self.trend.shortest_micros()?;
        // What would have arrived before it on an empty path, had it overtaken it, stands behind it in the queue.
        let age_micros = now - (arrived - shortest);
        let waiting = || log.bytes_after(sequence, now as u32, age_micros);
        self.collapse.bps(known_bps, self.trend.newest_queue_micros(), waiting)
    }

    fn follow(
        &mut self,
        now: i64,
        newest: u16,
        (full_bps, collapsed_bps): (Option<f64>, Option<f64>),
        conditions: Conditions,
    ) -> Option<ProbeEnd> {
        let delivered_bps = self.delivered.bps();
        let (queue_micros, judged) = (self.trend.queue_micros(), self.trend.judge_feedback());
        let disturbed = self.prober.disturbs(now) && queue_micros < PROBE_QUEUE_MICROS;
        let usage = match judged {
            // No probe makes a path look slower than it is.
            _ if collapsed_bps.is_some() => Usage::Over,
            _ if disturbed => Usage::Under,
            judged => judged,
        };
        let decreased = self.control.update(&Observation {
            now,
            usage,
            queue_micros,
            delivered_bps,
            recent_bps: self.delivered.recent_bps(),
            full_bps: collapsed_bps.or(full_bps),
            limited: self.limited,
            round_trip_micros: conditions.round_trip.unwrap_or(ROUND_TRIP_GUESS).as_micros() as i64,
            may_grow: conditions.can_probe || !self.trials.pauses(now) || self.trials.has_just_begun(now),
        });
        if decreased {
            self.prober.stop(now);
        }
        let limit_before = self.loss.limit_bps();
        if let Some(bps) = self.control.bps() {
            self.loss.update(now, bps, delivered_bps);
        }
        let limit = self.loss.limit_bps();
        let lost_more = limit.is_some_and(|limit| limit_before.is_none_or(|before| limit < before));
        if let Some(limit) = limit.filter(|_| lost_more) {
            self.control.hold_down(limit);
        }
        if decreased || lost_more {
            self.limited = true;
            self.prober.decreased(now);
            self.trials.decreased(now);
        } else if let Some(bps) = conditions.next_bps.filter(|_| !conditions.can_probe) {
            self.try_more(now, bps);
        }
        if self.loss.ratio() < ROUTE_LOSS_MAX {
            self.trend.follow_route();
        }
        let finding = self.prober.conclude(now, newest)?;
        self.limited |= !finding.proved;
        if let Some(bps) = finding.bps.filter(|_| !decreased && !lost_more) {
            if self.bitrate_bps().is_some_and(|known| bps > known as f64) {
                self.prober.raised(now);
            }
            self.control.raise(now, bps);
            self.loss.raise(bps);
        }
        Some(if finding.proved { ProbeEnd::Proved } else { ProbeEnd::Failed })
    }

    /// Begins a probe if `wanted_bps` is more than what is known to arrive, and it is time. If so, [`Self::probe_step`] wants
    /// to be called every [`super::PROBE_STEP`].
    pub fn begin_probe(&mut self, now_micros: i64, wanted_bps: u64, log: &SentLog) -> bool {
        let Some(known) = self.bitrate_bps().filter(|_| self.is_calm(now_micros)) else { return false };
        self.prober.begin(now_micros, known as f64, wanted_bps as f64, log)
    }

    /// So little is sent that no feedback may come of it. Lets `next_bps` be sent at its time if so, where no probe can tell.
    pub fn unheard(&mut self, now_micros: i64, next_bps: Option<u64>) {
        if let Some(bps) = next_bps.filter(|_| self.is_quiet(now_micros)) {
            self.try_more(now_micros, bps);
        }
    }

    fn is_quiet(&self, now: i64) -> bool {
        self.read_at.is_none_or(|at| now - at >= QUIET_MICROS)
    }

    fn is_calm(&self, now: i64) -> bool {
        if self.is_quiet(now) {
            return true;
        }
        self.trend.usage() != Usage::Over
            && self.trend.queue_micros() < PROBE_QUEUE_MAX_MICROS
            && self.loss.ratio() < PROBE_LOSS_MAX
    }

    /// Lets `next_bps` be sent, if that is more than is known and it is time for a trial.
    fn try_more(&mut self, now: i64, next_bps: u64) {
        let more = self.limit_bps().is_some_and(|limit| next_bps > limit);
        if more && self.is_calm(now) && self.trials.begin(now) {
            self.control.raise(now, next_bps as f64);
            self.loss.raise(next_bps as f64);
        }
    }

    /// How many bytes the probe wants sent now on top of the media; `None` once it is over.
    pub fn probe_step(&mut self, now_micros: i64, log: &SentLog) -> Option<usize> {
        self.prober.step(now_micros, log)
    }
}
