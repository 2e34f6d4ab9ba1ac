//! Whether an encoder answers requests for a keyframe, learnt from what it does: those of FFmpeg and OBS never do, browsers
//! do within a round trip and a picture or two.
//!
//! - In: when a request was sent, when a keyframe came and what time it shows.
//! - Out: whether to wait for an answer, and when the next keyframe of the encoder's own accord comes.
//!
//! A keyframe that was due anyway proves nothing. Two requests in a row without an answer make an encoder deaf, one does not;
//! whoever was deaf for long has to answer twice. Both mistakes are cheap: of an encoder that is wrongly believed to hear, a
//! viewer waits for half a second, and of one that is wrongly believed to be deaf it is sent more than it needed.

use std::time::{Duration, Instant};

use crate::media::fast_start::GROUP_AGE_MAX_UNHEARD;

/// How long an answer may take, from the first of its requests: a round trip of 300 ms, a picture at 5 a second, and half a
/// second for a second request if the first was lost.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// After this long without an answer nobody waits for it any more: as long as there is between two requests.
const PATIENCE: Duration = Duration::from_millis(500);

/// Doubts from which on an encoder is deaf: two requests, as one may have been lost.
const DEAF: u8 = 2;

/// The most doubts that there are: two answers take them away.
const DOUBTS_MAX: u8 = 4;

/// How often a deaf encoder is asked when a viewer joins that needs no answer, to see whether that is still so: a keyframe of
/// 100 KB each 10 s is 5 % of 1.5 Mbit/s to one that hears after all.
const RECHECK: Duration = Duration::from_secs(10);

/// By how much a keyframe that is due may be early or late, as a divisor of the time between two: encoders count pictures.
const DUE_WITHIN: u32 = 20;

/// Requests that were not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trial {
    since: Instant,
    requests: u8,
}

/// What is known of one layer's encoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hearing {
    trial: Option<Trial>,
    doubts: u8,
    /// Whether a keyframe came that nothing but a request explains, and nothing has spoken against it since.
    has_answered: bool,
    asked_at: Option<Instant>,
    /// When the newest keyframe came, and the time that it shows, in units of its clock.
    keyframe: Option<(Instant, u32)>,
    /// The time from keyframe to keyframe, as the last two show it.
    period: Option<Duration>,
}

impl Hearing {
    /// A request was sent. `flows`: whether the layer has packets; an encoder that is off answers nobody.
    pub fn asked(&mut self, now: Instant, flows: bool) {
        self.conclude(now, flows);
        let trial = self.trial.get_or_insert(Trial { since: now, requests: 0 });
        trial.requests = trial.requests.saturating_add(1);
        self.asked_at = Some(now);
    }

    /// Somebody else sent a request at `at`, for all who wait here.
    pub fn was_asked(&mut self, at: Instant) {
        self.trial.get_or_insert(Trial { since: at, requests: 1 });
        self.asked_at.get_or_insert(at);
    }

    /// A keyframe came. `timestamp`: the time that it shows, in units of `clock_rate_hz`. `flows`: whether the layer had
    /// packets before it.
    pub fn keyframe_came(&mut self, now: Instant, timestamp: u32, clock_rate_hz: u32, flows: bool) {
        self.conclude(now, flows);
        let since_last = self.keyframe.replace((now, timestamp)).and_then(|(_, last)| {
            let units = timestamp.wrapping_sub(last);
            (units.cast_signed() > 0).then(|| {
                Duration::from_micros(u64::from(units) * 1_000_000 / u64::from(clock_rate_hz.max(1)))
            })
        });
        let before = std::mem::replace(&mut self.period, since_last);
        let Some(trial) = self.trial.take() else { return };
        let took = now.saturating_duration_since(trial.since);
        let is_due =
            before.zip(since_last).map(|(period, last)| period.abs_diff(last) <= period / DUE_WITHIN);
        match is_due {
            Some(false) => (self.has_answered, self.doubts) = (true, self.doubts.saturating_sub(DEAF)),
            // It came of its own accord, and nothing else had.
            Some(true) if took >= PATIENCE => self.doubt(1),
            // The second keyframe of all may be either.
            None if took < PATIENCE => self.has_answered = true,
            _ => {}
        }
    }

    /// The newest keyframe came at this moment already, to another shard.
    pub fn came_at(&mut self, at: Instant) {
        self.keyframe = self.keyframe.map(|(_, timestamp)| (at, timestamp));
    }

    /// Keyframes may come from now on that are not told of.
    pub fn forget_keyframes(&mut self) {
        (self.keyframe, self.period) = (None, None);
    }

    /// Another shard knows that requests are not answered.
    pub fn believe_deaf(&mut self) {
        self.doubts = self.doubts.max(DEAF);
    }

    /// Whether its keyframes come when it likes.
    pub fn is_deaf(&self, now: Instant, flows: bool) -> bool {
        let mut concluded = *self;
        concluded.conclude(now, flows);
        concluded.doubts >= DEAF
    }

    /// Whether a viewer had better not wait for an answer: none is expected, or one is overdue.
    pub fn is_in_doubt(&self, now: Instant, flows: bool) -> bool {
        let overdue = |trial: Trial| now.saturating_duration_since(trial.since) >= PATIENCE;
        self.is_deaf(now, flows) || self.trial.is_some_and(overdue)
    }

    /// Whether its groups of pictures may be what viewers have to begin with: they end by themselves, and it is not known to
    /// answer.
    pub fn may_be_deaf(&self, now: Instant, flows: bool) -> bool {
        let ends_groups = self.period.is_some_and(|period| period <= GROUP_AGE_MAX_UNHEARD);
        self.is_in_doubt(now, flows) || (ends_groups && !self.has_answered)
    }

    /// Whether it ever answered, as far as can be told.
    pub fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Whether to ask once more, to see whether that is still so.
    pub fn is_to_be_rechecked(&self, now: Instant) -> bool {
        self.asked_at.is_none_or(|at| now.saturating_duration_since(at) >= RECHECK)
    }

    /// When the next keyframe comes of its own accord, if that is known: of one that is overdue nobody knows when it comes.
    pub fn next_keyframe(&self, now: Instant) -> Option<Instant> {
        let ((at, _), period) = self.keyframe.zip(self.period)?;
        Some(at + period).filter(|due| now < *due + period / DUE_WITHIN)
    }

    /// Ends a trial that lasted too long.
    fn conclude(&mut self, now: Instant, flows: bool) {
        let over = |trial: &Trial| now.saturating_duration_since(trial.since) >= ANSWER_MAX;
        if let Some(trial) = self.trial.take_if(|trial| over(trial))
            && flows
        {
            self.doubt(trial.requests.min(DEAF));
        }
    }

    fn doubt(&mut self, doubts: u8) {
        self.doubts = (self.doubts + doubts).min(DOUBTS_MAX);
        self.has_answered = false;
    }
}

#[cfg(test)]
mod tests;
