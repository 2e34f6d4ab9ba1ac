//! Sequence numbers without wraps, and which of them were seen.

/// Packets behind the newest of which we know whether they came: 1 s of 10 Mbit/s in full packets. A power of two.
pub(super) const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

/// A jump forward by more than this is doubted until the packet after it comes too (RFC 3550 A.1, `MAX_DROPOUT`).
const MAX_DROPOUT: i64 = 3000;

/// What the sequence number of a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It is newer than all before.
    Fresh,
    /// It fills a gap.
    Late,
    /// It was received before.
    Duplicate,
    /// It is too far from the newest to be of use.
    TooOld,
}

/// The sequence numbers of one stream.
#[derive(Debug, Clone)]
pub(super) struct Sequences {
    /// The first index since the stream began or restarted.
    base: u64,
    highest: u64,
    /// One bit per index modulo [`WINDOW`].
    seen: [u64; WORDS],
    /// The number that would confirm a doubtful jump.
    suspected: Option<u16>,
}

/// A sequence number put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub index: u64,
    pub freshness: Freshness,
    /// The stream began anew with this packet: indexes before it are of another numbering.
    pub restarted: bool,
}

impl Sequences {
    /// Begins with `sequence`, which counts as seen. The index is one full wrap above it, so that packets which the first
    /// has overtaken have one too.
    pub(super) fn begin(sequence: u16) -> Self {
        let mut sequences = Self { base: 0, highest: 0, seen: [0; WORDS], suspected: None };
        sequences.begin_at(u64::from(sequence) + (1 << 16));
        sequences
    }

    fn begin_at(&mut self, index: u64) {
        (self.base, self.highest, self.suspected) = (index, index, None);
        self.seen.fill(0);
        self.mark(index);
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Packets that were sent since the stream began, as far as we can know.
    pub(super) fn expected(&self) -> u64 {
        self.highest - self.base + 1
    }

    /// The highest number with its wraps since the stream began, as reports have it (RFC 3550 §6.4.1).
    pub(super) fn highest_for_report(&self) -> u32 {
        (self.highest - (self.base & !0xFFFF)) as u32
    }

    /// Begins anew with `sequence`. Indexes go on above all before, with room for packets that this one has overtaken.
    pub(super) fn restart(&mut self, sequence: u16) -> Placed {
        self.begin_at((self.highest & !0xFFFF) + (2 << 16) + u64::from(sequence));
        Placed { index: self.highest, freshness: Freshness::Fresh, restarted: true }
    }

    /// Puts `sequence` in its place and remembers it. A jump that the number after it confirms is a restart, except for
    /// repaired packets, which prove nothing.
    pub(super) fn place(&mut self, sequence: u16, repaired: bool) -> Placed {
        let distance = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        let index = self.highest.saturating_add_signed(distance);
        let placed = |freshness| Placed { index, freshness, restarted: false };
        if distance > MAX_DROPOUT || distance <= -(WINDOW as i64) {
            if repaired {
                return placed(Freshness::TooOld);
            }
            if self.suspected == Some(sequence) {
                return self.restart(sequence);
            }
            self.suspected = Some(sequence.wrapping_add(1));
            return placed(Freshness::TooOld);
        }
        if !repaired {
            self.suspected = None;
        }
        if distance > 0 {
            let forgotten = (self.highest + 1..=index).take(WINDOW as usize);
            forgotten.for_each(|skipped| self.clear(skipped));
            self.highest = index;
            self.mark(index);
            return placed(Freshness::Fresh);
        }
        if self.is_seen(index) {
            return placed(Freshness::Duplicate);
        }
        self.mark(index);
        self.base = self.base.min(index);
        placed(Freshness::Late)
    }

    fn is_seen(&self, index: u64) -> bool {
        self.word(index).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }

    fn word(&self, index: u64) -> Option<u64> {
        self.seen.get((index / 64) as usize % WORDS).copied()
    }

    fn mark(&mut self, index: u64) {
        if let Some(word) = self.seen.get_mut((index / 64) as usize % WORDS) {
            *word |= 1 << (index % 64);
        }
    }

    fn clear(&mut self, index: u64) {
        if let Some(word) = self.seen.get_mut((index / 64) as usize % WORDS) {
            *word &= !(1 << (index % 64));
        }
    }
}
