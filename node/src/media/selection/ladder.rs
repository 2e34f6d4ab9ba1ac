//! All layers of a track, in the order of their quality.

/// Layers of one track at most: what a browser sends is 3.
pub const LADDER_CAPACITY: usize = 8;

/// How much more than another a layer of unknown size must send to be taken for the better one, in percent: two encoders
/// at rest differ by less from second to second.
const CLEARLY_MORE_PERCENT: u64 = 125;

/// Each measurement's share in a layer's bitrate, as a divisor: at four a second, the last second or so counts.
const SMOOTHING: u64 = 4;

/// One layer as it is sent now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rung {
    /// Its index within the track.
    pub layer: u8,
    /// Whether it flows.
    pub active: bool,
    /// In pixels; 0 while unknown.
    pub width: u16,
    /// In pixels; 0 while unknown.
    pub height: u16,
    /// Bits per second, headers included; of a layer that does not flow, what it had last.
    pub bitrate_bps: u64,
}

impl Rung {
    fn is_clearly_better_than(&self, other: &Self) -> bool {
        let area = |rung: &Self| u32::from(rung.width) * u32::from(rung.height);
        match (area(self), area(other)) {
            (0, _) | (_, 0) => {}
            (own, others) if own == others => {}
            (own, others) => return own > others,
        }
        self.bitrate_bps > other.bitrate_bps.saturating_mul(CLEARLY_MORE_PERCENT) / 100
    }
}

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ladder {
    rungs: [Rung; LADDER_CAPACITY],
    len: usize,
}

impl Ladder {
    /// The layers, worst first. The order is that of their sizes where they are known, and of their bitrates elsewhere.
    pub fn rungs(&self) -> &[Rung] {
        self.rungs.get(..self.len).unwrap_or_default()
    }

    /// The rung of `layer`.
    pub fn rung(&self, layer: u8) -> Option<&Rung> {
        self.rungs().iter().find(|rung| rung.layer == layer)
    }

    /// Takes over what was measured; layers that are not among `measured` stay as they are. Whether another layer flows now
    /// or the order is another.
    pub fn update(&mut self, measured: impl IntoIterator<Item = Rung>) -> bool {
        let before = *self;
        for new in measured {
            let known = self.rungs.iter_mut().take(self.len).find(|rung| rung.layer == new.layer);
            match known {
                Some(rung) => {
                    let bitrate_bps = match (rung.bitrate_bps, new.active) {
                        (old, false) => old,
                        (0, true) => new.bitrate_bps,
                        (old, true) => (old * (SMOOTHING - 1) + new.bitrate_bps) / SMOOTHING,
                    };
                    *rung = Rung { bitrate_bps, ..new };
                }
                None => {
                    if let Some(free) = self.rungs.get_mut(self.len) {
                        *free = new;
                        self.len += 1;
                    }
                }
            }
        }
        self.sort();
        let shape = |ladder: &Self| ladder.rungs.map(|rung| (rung.layer, rung.active));
        self.len != before.len || shape(self) != shape(&before)
    }

    /// Moves a layer up only past one that is clearly worse: the order does not change back and forth.
    fn sort(&mut self) {
        for _ in 0..self.len {
            for upper in 1..self.len {
                let pair = self.rungs.get_mut(upper - 1..=upper);
                let Some([worse, better]) = pair else { continue };
                if worse.is_clearly_better_than(better) {
                    std::mem::swap(worse, better);
                }
            }
        }
    }
}
