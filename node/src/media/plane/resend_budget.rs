//! Keeps retransmissions to one viewer in bounds: so many in a second, none twice within a round trip, and those of pictures
//! at a pace. What waits for that pace waits here, so that nobody takes the place of others.

use std::collections::VecDeque;

/// Recent retransmissions remembered, by sequence number: more than are lost in one burst. A collision only forgets.
const RECENT_RESENDS: usize = 256;

/// Retransmissions that wait for their pace. What is more is dropped, and asked for again.
const WAITING_MAX: usize = 256;

/// Retransmissions that leave at once before they are paced: as much as leaves in so long at their pace, in µs.
const BURST_MICROS: i64 = 20_000;

/// A packet as its viewer names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
}

/// When a packet was asked for or sent last.
#[derive(Clone, Copy)]
struct Recent {
    ssrc: u32,
    sequence: u16,
    /// In ms; wraps after a minute, which is longer than any packet is kept.
    at_ms: u16,
}

/// What became of a wish to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing else waits.
    First,
    /// Others go before it.
    Behind,
    /// There is no room.
    None,
}

/// See the module. Made with a viewer's first NACK.
pub(super) struct ResendBudget {
    second: u32,
    used: u32,
    /// When all that was sent again has left at its pace, in µs.
    clear_at_micros: i64,
    recent: Box<[Recent; RECENT_RESENDS]>,
    /// The oldest first.
    waiting: VecDeque<Wanted>,
}

impl Default for ResendBudget {
    fn default() -> Self {
        let never = Recent { ssrc: 0, sequence: 0, at_ms: 0 };
        Self {
            second: 0,
            used: 0,
            clear_at_micros: 0,
            recent: Box::new([never; RECENT_RESENDS]),
            waiting: VecDeque::new(),
        }
    }
}

impl ResendBudget {
    /// Whether `wanted` may be sent again. `interval_ms`: time in which a second request is about the first loss; `most`:
    /// retransmissions in a second.
    pub(super) fn take(&mut self, wanted: Wanted, now_ms: u32, interval_ms: u32, most: u32) -> bool {
        if self.second != now_ms / 1_000 {
            (self.second, self.used) = (now_ms / 1_000, 0);
        }
        if self.used >= most || self.is_recent(wanted, now_ms, interval_ms) {
            return false;
        }
        // Noted for one that waits too, so that it is looked for once in that time.
        self.note(wanted, now_ms);
        if self.waiting.contains(&wanted) {
            return false;
        }
        self.used += 1;
        true
    }

    fn is_recent(&self, wanted: Wanted, now_ms: u32, interval_ms: u32) -> bool {
        let recent = self.recent.get(usize::from(wanted.sequence) % RECENT_RESENDS);
        recent.is_some_and(|recent| {
            let age_ms = (now_ms as u16).wrapping_sub(recent.at_ms);
            recent.ssrc == wanted.ssrc
                && recent.sequence == wanted.sequence
                && u32::from(age_ms) < interval_ms
        })
    }

    /// `wanted` is asked for or sent now.
    pub(super) fn note(&mut self, wanted: Wanted, now_ms: u32) {
        let Wanted { ssrc, sequence } = wanted;
        if let Some(recent) = self.recent.get_mut(usize::from(sequence) % RECENT_RESENDS) {
            *recent = Recent { ssrc, sequence, at_ms: now_ms as u16 };
        }
    }

    /// A packet of so many bytes was sent again, of those that leave at `pace_bps`.
    pub(super) fn spend(&mut self, now_micros: i64, bytes: usize, pace_bps: u64) {
        let takes = (bytes as u64 * 8_000_000 / pace_bps.max(1)) as i64;
        self.clear_at_micros = self.clear_at_micros.max(now_micros) + takes;
    }

    /// Whether so much was sent again just now that more has to wait.
    pub(super) fn is_spent(&self, now_micros: i64) -> bool {
        self.clear_at_micros > now_micros + BURST_MICROS
    }

    /// Lets `wanted` wait behind what waits already.
    pub(super) fn wait(&mut self, wanted: Wanted) -> Place {
        let place = match self.waiting.len() {
            0 => Place::First,
            WAITING_MAX.. => return Place::None,
            _ => Place::Behind,
        };
        self.waiting.push_back(wanted);
        place
    }

    /// What has waited longest.
    pub(super) fn next(&self) -> Option<Wanted> {
        self.waiting.front().copied()
    }

    /// What has waited longest waits no more.
    pub(super) fn pass(&mut self) {
        self.waiting.pop_front();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    const MOST: u32 = 500;

    fn wanted(ssrc: u32, sequence: u16) -> Wanted {
        Wanted { ssrc, sequence }
    }

    #[test]
    fn a_packet_is_not_resent_within_the_interval_nor_beyond_the_budget() {
        let mut budget = ResendBudget::default();
        assert!(budget.take(wanted(1, 7), 5_000, 40, MOST));
        assert!(!budget.take(wanted(1, 7), 5_039, 40, MOST));
        assert!(budget.take(wanted(2, 7), 5_039, 40, MOST), "another stream");
        assert!(budget.take(wanted(1, 8), 5_039, 40, MOST));
        assert!(
            budget.take(wanted(1, 7), 5_040, 40, MOST),
            "forgotten by collision, or the interval is over"
        );
        let sent = (0..2_000).filter(|sequence| budget.take(wanted(1, *sequence), 6_000, 10, MOST)).count();
        assert_eq!(sent, MOST as usize);
        assert!(budget.take(wanted(1, 1), 7_000, 10, MOST));
    }

    #[test]
    fn a_burst_of_a_quarter_thousand_is_remembered_whole() {
        let mut budget = ResendBudget::default();
        let burst = 65_400..65_400 + 256_u32;
        let mut take = |now_ms| {
            burst.clone().filter(|number| budget.take(wanted(1, *number as u16), now_ms, 40, MOST)).count()
        };
        assert_eq!((take(5_000), take(5_039)), (256, 0));
    }

    #[test]
    fn what_waits_is_not_taken_again_and_is_bounded() {
        let mut budget = ResendBudget::default();
        assert_eq!(budget.wait(wanted(1, 0)), Place::First);
        assert!((1..WAITING_MAX).all(|number| budget.wait(wanted(1, number as u16)) == Place::Behind));
        assert_eq!(budget.wait(wanted(1, 1_000)), Place::None);
        assert!(!budget.take(wanted(1, 9), 5_000, 10, MOST));
        assert!(!budget.take(wanted(1, 9), 5_500, 10, MOST), "however long");
        assert!(budget.take(wanted(2, 9), 5_500, 10, MOST));
        budget.pass();
        assert_eq!(budget.next(), Some(wanted(1, 1)));
        assert!(budget.take(wanted(1, 0), 5_500, 10, MOST));
    }

    #[test]
    fn a_viewer_that_loses_takes_a_few_kilobytes_more() {
        let mut budget = ResendBudget::default();
        (0..1_000).for_each(|number| _ = budget.wait(wanted(1, number)));
        let waiting = budget.waiting.capacity() * size_of::<Wanted>();
        assert!(size_of::<ResendBudget>() + size_of::<[Recent; RECENT_RESENDS]>() + waiting <= 5 * 1_024);
    }
}
