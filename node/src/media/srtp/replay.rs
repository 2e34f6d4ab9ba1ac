//! Which packet indices of one SSRC have been seen (RFC 3711 §3.3.2).

/// A sliding window of `64 * WORDS` indices below the highest one that authenticated.
#[derive(Debug, Clone)]
pub(super) struct ReplayWindow<const WORDS: usize> {
    highest: Option<u64>,
    /// Bit `index % (64 * WORDS)` stands for `index`, so that sliding clears bits and moves none.
    seen: [u64; WORDS],
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    const WIDTH: u64 = 64 * WORDS as u64;

    pub(super) fn new() -> Self {
        Self { highest: None, seen: [0; WORDS] }
    }

    /// The highest index that was accepted.
    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether `index` may still be accepted.
    pub(super) fn is_new(&self, index: u64) -> bool {
        match self.highest {
            None => true,
            Some(highest) if index > highest => true,
            Some(highest) => highest - index < Self::WIDTH && !self.is_set(index),
        }
    }

    /// Remembers `index`. Only for a packet that authenticated.
    pub(super) fn accept(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => {}
            Some(highest) if index - highest < Self::WIDTH => {
                (highest + 1..index).for_each(|skipped| self.set(skipped, false));
                self.highest = Some(index);
            }
            _ => {
                self.seen = [0; WORDS];
                self.highest = Some(index);
            }
        }
        self.set(index, true);
    }

    fn is_set(&self, index: u64) -> bool {
        let place = index % Self::WIDTH;
        self.seen.get((place / 64) as usize).is_some_and(|word| word & (1 << (place % 64)) != 0)
    }

    fn set(&mut self, index: u64, seen: bool) {
        let place = index % Self::WIDTH;
        if let Some(word) = self.seen.get_mut((place / 64) as usize) {
            let bit = 1 << (place % 64);
            if seen {
                *word |= bit;
            } else {
                *word &= !bit;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn an_index_behind_the_window_is_refused() {
        let mut window = ReplayWindow::<2>::new();
        window.accept(1_000);
        assert!(window.is_new(1_000 - 127));
        assert!(!window.is_new(1_000 - 128));
        assert!(!window.is_new(1_000));
    }

    proptest! {
        #[test]
        fn nothing_is_accepted_twice_and_nothing_fresh_is_refused(steps in prop::collection::vec(0_u64..400, 1..300)) {
            let mut window = ReplayWindow::<2>::new();
            let (mut seen, mut highest) = (HashSet::new(), 0);
            for index in steps {
                let fresh = !seen.contains(&index) && index + 128 > highest;
                prop_assert_eq!(window.is_new(index), fresh);
                if fresh {
                    window.accept(index);
                    seen.insert(index);
                    highest = highest.max(index);
                }
            }
        }
    }
}
