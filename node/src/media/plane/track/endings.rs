//! Where the numberings of a layer have ended: what a leg that was cut off counts the time from that it was sent nothing.
//!
//! The timestamps of two publishers have nothing to do with each other, and neither have those of one publisher's layers.
//! So a pause is counted between packets as they came, by each leg for the layer that it played.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{Layer, NEW_NUMBERING};
use crate::media::codec::CodecKind;

/// Endings that are remembered: legs that waited for a keyframe through more publishers than that were shown nothing for
/// minutes, and go on a frame's time after their last picture.
const ENDINGS_MAX: usize = 4;

/// The longest pause that legs count in their timestamps: the longest grace that can be configured, and far from half the
/// range of a timestamp.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Packets that the first one of a new numbering may have overtaken.
const REORDER_BEFORE_FIRST: u64 = 64;

/// The last packet of a numbering.
#[derive(Debug, Clone, Copy)]
struct Ending {
    /// The lowest index of what followed.
    followed_by: u64,
    last: Newest,
}

/// The newest packet of a numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Newest {
    /// When it came.
    at: Instant,
    timestamp: u32,
}

/// Of one layer, the latest last.
#[derive(Debug, Default)]
pub(super) struct Endings {
    known: SmallVec<[Ending; 1]>,
    /// Nothing is known any more of numberings below it.
    forgotten_below: u64,
}

impl Newest {
    /// How long before `now` it came, as far as that is counted.
    pub(in super::super) fn pause(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at).min(PAUSE_MAX)
    }

    /// What its clock shows when `passed` has passed.
    pub(in super::super) fn timestamp_after(self, passed: Duration, clock_rate_hz: u32) -> u32 {
        let units = passed.as_nanos() * u128::from(clock_rate_hz) / Duration::from_secs(1).as_nanos();
        self.timestamp.wrapping_add(units as u32)
    }
}

impl Layer {
    /// If a packet of `index` is too far from those before, it is of a publisher that began anew.
    pub(super) fn begin_anew_if_far(&mut self, codec: CodecKind, index: u64) {
        if self.highest().is_some_and(|highest| index > highest + NEW_NUMBERING) {
            self.keep_last_numbers(codec, &[]);
            self.forget_targets();
            self.begin_numbering(index - REORDER_BEFORE_FIRST);
        }
    }

    /// What comes now is of another numbering, whose indices begin at `first`. The clocks of the one before say nothing of it.
    pub(super) fn begin_numbering(&mut self, first: u64) {
        let last = self.newest.map(|(at, timestamp)| Newest { at, timestamp });
        // A numbering may be over before the next one's first index is known, and nothing came in between.
        let endings = &mut self.endings;
        let known = endings.known.last().map(|ending| ending.last);
        if let Some(last) = last.filter(|last| known != Some(*last)) {
            if endings.known.len() == ENDINGS_MAX {
                endings.forgotten_below = endings.known.remove(0).followed_by;
            }
            endings.known.push(Ending { followed_by: first, last });
        }
        self.numbering_start = first;
        self.forget_clock();
    }

    /// Another publisher has other clocks.
    pub(super) fn forget_clock(&mut self) {
        (self.clock, self.clock_awaited_since) = (None, None);
    }

    /// The newest packet of the numbering that `index` is of, if it is remembered.
    pub(in super::super) fn newest_beside(&self, index: u64) -> Option<Newest> {
        if index < self.endings.forgotten_below {
            return None;
        }
        let ended = self.endings.known.iter().find(|ending| index < ending.followed_by);
        let newest = || self.newest.map(|(at, timestamp)| Newest { at, timestamp });
        ended.map(|ending| ending.last).or_else(newest)
    }

    /// Whether `newest`, which need not have come, is of a numbering before the one that is here.
    pub(in super::super) fn is_of_other_numbering(&self, newest: u64) -> bool {
        newest + NEW_NUMBERING < self.numbering_start
    }

    /// Whether `index` is of a numbering that has ended.
    pub(in super::super) fn has_ended(&self, index: u64) -> bool {
        index < self.numbering_start
    }
}
