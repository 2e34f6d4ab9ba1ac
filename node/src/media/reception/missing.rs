//! Packets that did not come, and when to ask for them.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Missing packets that are asked for at once: 1 s of 3 Mbit/s lost as a whole. More means that repair cannot keep up:
/// the list is given up, which for video asks for a keyframe instead.
const MISSING_CAPACITY: usize = 256;

/// Later packets after which a gap is loss and not reordering; below it, [`REORDER_TIME`] decides.
const REORDER_PACKETS: u64 = 3;

/// How long a gap waits for a packet that was merely overtaken. Reordering on paths with load balancing is below 5 ms.
const REORDER_TIME: Duration = Duration::from_millis(5);

/// The same where the next step is a keyframe, which costs everybody more than one request too many.
const SILENT_REORDER_TIME: Duration = Duration::from_millis(15);

/// Answers on the stream itself look like packets that were overtaken. What comes so soon after it was asked for may be one:
/// it does not show that the sender answers.
const ANSWER_MIN: Duration = REORDER_TIME.saturating_mul(2);

/// How long such an answer speaks for its sender. Where packets are lost more often than that, others follow.
const ANSWER_SPEAKS_FOR: Duration = Duration::from_secs(10);

/// A request is not repeated sooner, however short the round trip.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// Round trip before one was measured: the median between a viewer at home and a server on the same continent, doubled.
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(100);

/// From the second round on each request is sent twice, this far apart: the first one showed that the path loses packets,
/// requests too, and a publisher answers a request once per round trip however often it comes.
const REPEAT_INTERVAL: Duration = MIN_INTERVAL;

/// Requests for one packet: eight rounds. At 10 % loss each way, all of them fail once in 1,000,000.
const MAX_TRIES: u8 = 15;

/// Answers after more requests than this say more about loss than about the round trip.
const MAX_SAMPLED_TRIES: u8 = 5;

/// How long a packet is asked for: five times on a round trip of 200 ms. By then a viewer's player has given the picture up
/// and wants a keyframe.
const MAX_AGE: Duration = Duration::from_millis(1_500);

/// Requests of two rounds: a sender of which no answer speaks, and that has not answered by then, is believed not to. A browser on
/// a round trip of 300 ms, which is not known yet, costs that one keyframe.
const SILENT_TRIES: u8 = 3;

#[derive(Debug, Clone, Copy)]
struct Missing {
    index: u64,
    noticed: Instant,
    first_asked: Option<Instant>,
    asked: Option<Instant>,
    tries: u8,
}

/// The missing packets of one stream, by index.
#[derive(Debug)]
pub(super) struct MissingList {
    entries: Vec<Missing>,
    /// Sequence numbers to ask for, filled by [`Self::handle_timeout`].
    due: Vec<u16>,
    next_due: Option<Instant>,
    /// `None` until an answer has measured it.
    round_trip: Option<Duration>,
    /// Whether we may ask at all.
    asks: bool,
    /// Whether answers come on a stream of their own, so that nothing else is taken for one.
    distinct: bool,
    /// When something came last that was asked for.
    answered: Option<Instant>,
    /// When the packet was noticed that was given up since then, if one was: that single one may be lost to its sender too.
    unanswered: Option<Instant>,
    /// Whether the sender is believed not to answer, whatever it agreed to: OBS does so for the lower layers of simulcast.
    silent: bool,
    given_up: u64,
    abandoned: u64,
    missed: u64,
}

impl MissingList {
    /// `asks`: whether we may ask at all. `distinct`: whether answers come on a stream of their own.
    pub(super) fn new(asks: bool, distinct: bool) -> Self {
        Self {
            entries: Vec::with_capacity(MISSING_CAPACITY),
            due: Vec::with_capacity(MISSING_CAPACITY),
            next_due: None,
            round_trip: None,
            asks,
            distinct,
            answered: None,
            unanswered: None,
            silent: false,
            given_up: 0,
            abandoned: 0,
            missed: 0,
        }
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    fn believed_round_trip(&self) -> Duration {
        self.round_trip.unwrap_or(INITIAL_ROUND_TRIP)
    }

    /// How many packets were never received although they were missed.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// How many packets did not come in their turn: longer than reordering takes, repaired later or not.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// How many packets of those that were missed nobody waits for any more.
    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// The sender does not send the packets of `indices` again: what is missing of them says nothing of it, or of the path.
    pub(super) fn abandon(&mut self, indices: Range<u64>, highest: u64) {
        let (abandoned, missed) = (&mut self.abandoned, &mut self.missed);
        self.entries.retain(|missing| {
            let stays = !indices.contains(&missing.index);
            *abandoned += u64::from(!stays);
            *missed += u64::from(!stays && missing.tries == 0);
            stays
        });
        self.rearm(highest);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.next_due = None;
    }

    /// Packets from `first` to below `newest`, which just came, are missing. Returns the newest that was given up because
    /// there are too many.
    pub(super) fn add(&mut self, now: Instant, first: u64, newest: u64) -> Option<u64> {
        let count = newest.saturating_sub(first);
        let mut lost = None;
        if self.entries.len() as u64 + count > MISSING_CAPACITY as u64 {
            self.given_up += self.entries.len() as u64 + count;
            let unasked = self.entries.iter().filter(|missing| missing.tries == 0).count();
            self.missed += unasked as u64 + count;
            self.clear();
            lost = newest.checked_sub(1);
        } else {
            let missing = |index| Missing { index, noticed: now, first_asked: None, asked: None, tries: 0 };
            self.entries.extend((first..newest).map(missing));
        }
        if !self.entries.is_empty() {
            self.rearm(newest);
        }
        lost
    }

    /// A sender that began anew may answer.
    pub(super) fn forget_sender(&mut self) {
        (self.answered, self.unanswered, self.silent) = (None, None, false);
    }

    /// The packet of `index` came. `repaired` says that it came as an answer to us, which measures the round trip, or may have.
    pub(super) fn remove(&mut self, now: Instant, index: u64, highest: u64, repaired: bool) {
        let Ok(place) = self.entries.binary_search_by_key(&index, |missing| missing.index) else { return };
        let missing = self.entries.remove(place);
        let took = missing.first_asked.map(|asked| now.saturating_duration_since(asked));
        let answers = repaired && missing.tries > 0;
        let answers = answers && (self.distinct || took.is_some_and(|took| took >= ANSWER_MIN));
        if answers {
            (self.answered, self.unanswered) = (Some(now), None);
            if std::mem::take(&mut self.silent) {
                // The other answers are on their way.
                self.entries.iter_mut().for_each(|missing| missing.asked = missing.asked.map(|_| now));
            }
        }
        // Counted from the first request: an estimate that is too short makes us ask again before the answer can be here, and
        // would never grow if only the latest request counted. A lost request makes the sample too long by one interval.
        if let (true, 1..=MAX_SAMPLED_TRIES, Some(took)) = (answers, missing.tries, took) {
            let sample = took.min(MAX_AGE);
            // Smoothed as TCP does (RFC 6298 §2.3).
            self.round_trip = Some((self.believed_round_trip() * 7 + sample) / 8);
        }
        self.rearm(highest);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_due
    }

    /// What to ask for now, and the newest packet that only a keyframe makes up for: it was given up, or the sender is not
    /// expected to send it again. That one is asked for once all the same: an answer shows that the sender does.
    pub(super) fn handle_timeout(&mut self, now: Instant, highest: u64) -> (&[u16], Option<u64>) {
        self.due.clear();
        let mut lost = None;
        if self.next_due.is_some_and(|due| due <= now) {
            let (asks, round_trip) = (self.asks, self.believed_round_trip());
            let (due, given_up, missed) = (&mut self.due, &mut self.given_up, &mut self.missed);
            let (answered, unanswered, silent) = (self.answered, &mut self.unanswered, &mut self.silent);
            let speaks = |at: Instant| now.saturating_duration_since(at) < ANSWER_SPEAKS_FOR;
            let answers = answered.is_some_and(|at| self.distinct || speaks(at));
            self.entries.retain_mut(|missing| {
                if missing.due(highest, round_trip, *silent) > now {
                    return true;
                }
                *missed += u64::from(missing.tries == 0);
                if !asks
                    || missing.tries >= MAX_TRIES
                    || now.saturating_duration_since(missing.noticed) >= MAX_AGE
                {
                    lost = Some(missing.index);
                    *given_up += 1;
                    if asks && answered.is_none_or(|at| at <= missing.noticed) {
                        *silent |= *unanswered.get_or_insert(missing.noticed) != missing.noticed;
                    }
                    return false;
                }
                *silent |= missing.tries >= SILENT_TRIES && !answers;
                if *silent {
                    lost = Some(missing.index);
                    if missing.tries > 0 {
                        return true;
                    }
                }
                missing.tries += 1;
                missing.first_asked.get_or_insert(now);
                missing.asked = Some(now);
                due.push(missing.index as u16);
                true
            });
            self.rearm(highest);
        }
        (&self.due, lost)
    }

    fn rearm(&mut self, highest: u64) {
        let (round_trip, silent) = (self.believed_round_trip(), self.silent);
        self.next_due = self.entries.iter().map(|missing| missing.due(highest, round_trip, silent)).min();
    }
}

impl Missing {
    /// When to ask next: at once if it cannot be reordering, then after a round trip, from the third round on after half a
    /// one more each time. `silent`: the sender does not answer, so what was asked for once is only waited for.
    fn due(&self, highest: u64, round_trip: Duration, silent: bool) -> Instant {
        let Some(asked) = self.asked else {
            let lost = highest >= self.index + REORDER_PACKETS;
            let reordering = if silent { SILENT_REORDER_TIME } else { REORDER_TIME };
            return if lost { self.noticed } else { self.noticed + reordering };
        };
        if silent {
            return self.noticed + MAX_AGE;
        }
        let repeated = self.tries > 1;
        if repeated && self.tries.is_multiple_of(2) {
            return asked + REPEAT_INTERVAL;
        }
        // A quarter above the round trip, because half of all answers take longer than the mean.
        let interval = (round_trip + round_trip / 4).max(MIN_INTERVAL);
        let rounds = u32::from(self.tries / 2 + 1);
        let backed_off = (interval * rounds.max(2) / 2).min(MAX_AGE);
        let since_round = if repeated { REPEAT_INTERVAL } else { Duration::ZERO };
        asked + backed_off.saturating_sub(since_round).max(MIN_INTERVAL)
    }
}
