//! Keeps retransmissions to one viewer in bounds: a share of what its path carries, none twice within a round trip, and those of pictures
//! at a pace. What waits for that pace waits here, so that nobody takes the place of others.

use std::collections::VecDeque;

/// What is sent again counts as packets of the usual size: those of pictures, and of sound, in bits.
pub(super) const PICTURE_BITS: i64 = 9_600;
pub(super) const SOUND_BITS: i64 = 1_600;

/// Bits that are sent again to one viewer in a second: a quarter of a 20 Mbit/s stream. A viewer that loses more is not helped by more.
const SHARE_MAX_BPS: i64 = 500 * PICTURE_BITS;

/// Retransmissions take at most this share of what the path carries, as a divisor; what is larger would keep new packets from
/// coming.
const SHARE_OF_PATH: i64 = 2;

/// What is allowed on any path, in bits per second.
const SHARE_MIN_BPS: i64 = 10 * PICTURE_BITS;

/// Whoever lost nothing for so long may get all that this would have allowed at once, in seconds: half a second in which nothing
/// came through takes a path's estimate down, and no picture goes on before all of it is there.
const BURST_SECONDS: i64 = 3;

/// How much more than that of sound, which is small and does not wait for pictures, as a divisor.
const SOUND_BEYOND: i64 = 4;

/// Recent retransmissions remembered, by sequence number: more than are lost in one burst. A collision only forgets.
const RECENT_RESENDS: usize = 256;

/// Retransmissions that wait for their pace. What is more is dropped, and asked for again.
const WAITING_MAX: usize = 256;

/// Retransmissions that leave at once before they are paced: as much as leaves in so long at their pace, in µs.
const BURST_MICROS: i64 = 20_000;

/// What may wait before a narrow path of what was sent again, as the time that its share of the path takes for it, in µs: a quarter of a
/// second of all that the path carries. Queues are seldom shorter, and who filled a longer one would delay all that is new.
const QUEUE_MICROS: i64 = 500_000;

/// Bits per second that may be sent again on a path that carries `limit_bps`; `None` if it is not known to carry less than there is.
pub(super) fn resend_share_bps(limit_bps: Option<u64>) -> i64 {
    let limit_bps = limit_bps.map_or(i64::MAX, |bps| i64::try_from(bps).unwrap_or(i64::MAX));
    (limit_bps / SHARE_OF_PATH).clamp(SHARE_MIN_BPS, SHARE_MAX_BPS)
}

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
    /// Bits that may be sent again, less than none after sound, and when they were counted, in ms; `None` before the first.
    left_bits: i64,
    counted_ms: Option<u32>,
    /// When all that was sent again has left at its pace, in µs.
    clear_at_micros: i64,
    /// When it has left the queue before a narrow path, in µs.
    drained_at_micros: i64,
    recent: Box<[Recent; RECENT_RESENDS]>,
    /// The oldest first.
    waiting: VecDeque<Wanted>,
}

impl Default for ResendBudget {
    fn default() -> Self {
        let never = Recent { ssrc: 0, sequence: 0, at_ms: 0 };
        Self {
            left_bits: 0,
            counted_ms: None,
            clear_at_micros: 0,
            drained_at_micros: 0,
            recent: Box::new([never; RECENT_RESENDS]),
            waiting: VecDeque::new(),
        }
    }
}

impl ResendBudget {
    /// Whether `wanted` may be sent again. `interval_ms`: time in which a second request is about the first loss; `bits`: what it
    /// takes of what may be sent again, of which there are `share_bps` more each second.
    pub(super) fn take(
        &mut self,
        wanted: Wanted,
        (now_ms, interval_ms): (u32, u32),
        bits: i64,
        share_bps: i64,
    ) -> bool {
        let most_bits = (share_bps * BURST_SECONDS).min(SHARE_MAX_BPS);
        let passed_ms = self.counted_ms.replace(now_ms).map(|at| i64::from(now_ms.wrapping_sub(at)));
        let more_bits = passed_ms.map_or(most_bits, |ms| share_bps * ms / 1_000);
        self.left_bits = (self.left_bits + more_bits).min(most_bits);
        let least_bits = if bits < PICTURE_BITS { -most_bits / SOUND_BEYOND } else { 0 };
        if self.left_bits - bits < least_bits || self.is_recent(wanted, now_ms, interval_ms) {
            return false;
        }
        // Noted for one that waits too, so that it is looked for once in that time.
        self.note(wanted, now_ms);
        if self.waiting.contains(&wanted) {
            return false;
        }
        self.left_bits -= bits;
        true
    }

    /// What was to be sent again, and took so many bits, is not.
    pub(super) fn give_back(&mut self, bits: i64) {
        self.left_bits += bits;
    }

    /// Another path has nothing of what was sent on this one in its queue.
    pub(super) fn forget_path(&mut self) {
        (self.clear_at_micros, self.drained_at_micros) = (0, 0);
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

    /// A packet of so many bytes was sent again, of those that leave at `pace_bps`; `drains_bps`: of those that have filled the queue before
    /// a narrow path.
    pub(super) fn spend(&mut self, now_micros: i64, bytes: usize, pace_bps: u64, drains_bps: Option<u64>) {
        let takes = |bps: u64| (bytes as u64 * 8_000_000 / bps.max(1)) as i64;
        self.clear_at_micros = self.clear_at_micros.max(now_micros) + takes(pace_bps);
        if let Some(bps) = drains_bps {
            self.drained_at_micros = self.drained_at_micros.max(now_micros) + takes(bps);
        }
    }

    /// Whether so much was sent again just now that more has to wait.
    pub(super) fn is_spent(&self, now_micros: i64) -> bool {
        self.clear_at_micros > now_micros + BURST_MICROS || self.drained_at_micros > now_micros + QUEUE_MICROS
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

    fn wanted(ssrc: u32, sequence: u16) -> Wanted {
        Wanted { ssrc, sequence }
    }

    /// As [`ResendBudget::take`], of a picture on a path of which nothing is known.
    fn take(budget: &mut ResendBudget, wanted: Wanted, now_ms: u32, interval_ms: u32) -> bool {
        budget.take(wanted, (now_ms, interval_ms), PICTURE_BITS, resend_share_bps(None))
    }

    /// How many of 2,000 packets of so many bits are sent again at once.
    fn burst(budget: &mut ResendBudget, now_ms: u32, bits: i64, share_bps: i64) -> usize {
        let packets = (0..2_000).map(|sequence| wanted(1, sequence));
        packets.filter(|wanted| budget.take(*wanted, (now_ms, 0), bits, share_bps)).count()
    }

    #[test]
    fn a_packet_is_not_resent_within_the_interval() {
        let mut budget = ResendBudget::default();
        assert!(take(&mut budget, wanted(1, 7), 5_000, 40));
        assert!(!take(&mut budget, wanted(1, 7), 5_039, 40));
        assert!(take(&mut budget, wanted(2, 7), 5_039, 40), "another stream");
        assert!(take(&mut budget, wanted(1, 8), 5_039, 40));
        assert!(
            take(&mut budget, wanted(1, 7), 5_040, 40),
            "forgotten by collision, or the interval is over"
        );
    }

    #[test]
    fn no_more_is_resent_than_its_share_of_the_path_over_some_seconds() {
        let mut budget = ResendBudget::default();
        let wide = resend_share_bps(None);
        assert_eq!(burst(&mut budget, u32::MAX - 499, PICTURE_BITS, wide), 500);
        assert_eq!(burst(&mut budget, 500, PICTURE_BITS, wide), 500, "a second later");
        let mut budget = ResendBudget::default();
        // A path of 800 kbit/s on which half a second of 1.2 Mbit/s was lost, and its sound.
        let narrow = resend_share_bps(Some(800_000));
        assert_eq!(burst(&mut budget, 0, PICTURE_BITS, narrow), 125);
        assert!(burst(&mut budget, 0, SOUND_BITS, narrow) >= 25, "the pictures took none of it");
        assert_eq!(
            burst(&mut budget, 2_000, PICTURE_BITS, narrow),
            52,
            "more of it when there is a share again"
        );
        let least = resend_share_bps(Some(0));
        assert_eq!(burst(&mut ResendBudget::default(), 0, PICTURE_BITS, least), 30, "whatever the path");
    }

    #[test]
    fn a_burst_of_a_quarter_thousand_is_remembered_whole() {
        let mut budget = ResendBudget::default();
        let burst = 65_400..65_400 + 256_u32;
        let mut take_all = |now_ms| {
            burst.clone().filter(|number| take(&mut budget, wanted(1, *number as u16), now_ms, 40)).count()
        };
        assert_eq!((take_all(5_000), take_all(5_039)), (256, 0));
    }

    #[test]
    fn what_waits_is_not_taken_again_and_is_bounded() {
        let mut budget = ResendBudget::default();
        assert_eq!(budget.wait(wanted(1, 0)), Place::First);
        assert!((1..WAITING_MAX).all(|number| budget.wait(wanted(1, number as u16)) == Place::Behind));
        assert_eq!(budget.wait(wanted(1, 1_000)), Place::None);
        assert!(!take(&mut budget, wanted(1, 9), 5_000, 10));
        assert!(!take(&mut budget, wanted(1, 9), 5_500, 10), "however long");
        assert!(take(&mut budget, wanted(2, 9), 5_500, 10));
        budget.pass();
        assert_eq!(budget.next(), Some(wanted(1, 1)));
        assert!(take(&mut budget, wanted(1, 0), 5_500, 10));
    }

    #[test]
    fn a_viewer_that_loses_takes_a_few_kilobytes_more() {
        let mut budget = ResendBudget::default();
        (0..1_000).for_each(|number| _ = budget.wait(wanted(1, number)));
        let waiting = budget.waiting.capacity() * size_of::<Wanted>();
        assert!(size_of::<ResendBudget>() + size_of::<[Recent; RECENT_RESENDS]>() + waiting <= 5 * 1_024);
    }
}
