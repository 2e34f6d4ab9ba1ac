//! All layers of a track, in the order of their quality.

use super::Pick;
use crate::media::codec::Point;

/// Rungs of one track at most: three simulcast layers, or three spatial and as many temporal ones.
pub const LADDER_CAPACITY: usize = 8;

/// How much more than another a layer of unknown size must send to be taken for the better one, in percent: two encoders
/// at rest differ by less from second to second.
const CLEARLY_MORE_PERCENT: u64 = 125;

/// Each measurement's share in a layer's bitrate, as a divisor: at ten a second, the last half second or so counts.
const SMOOTHING: u64 = 4;

/// One layer as it is sent now, or a part of it that can be played alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// Its index within the track.
    pub layer: u8,
    /// How much of it.
    pub point: Point,
    /// Whether it flows.
    pub active: bool,
    /// In pixels; 0 while unknown.
    pub width: u16,
    /// In pixels; 0 while unknown.
    pub height: u16,
    /// Bits per second, headers included; of a layer that does not flow, what it had last.
    pub bitrate_bps: u64,
}

/// Where a viewer stands among those of its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It has the best that flows.
    Best,
    /// Between the others.
    Middle,
    /// It has the lowest of several.
    Lowest,
    /// It gets nothing at the moment.
    Nowhere,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Best, Self::Middle, Self::Lowest, Self::Nowhere];

    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Middle => "middle",
            Self::Lowest => "lowest",
            Self::Nowhere => "none",
        }
    }
}

impl Default for Rung {
    fn default() -> Self {
        Self { layer: 0, point: Point::WHOLE, active: false, width: 0, height: 0, bitrate_bps: 0 }
    }
}

impl Rung {
    /// What a viewer plays on it.
    pub fn pick(&self) -> Pick {
        Pick { layer: self.layer, point: self.point }
    }

    fn is_clearly_better_than(&self, other: &Self) -> bool {
        if self.layer == other.layer {
            return self.point > other.point;
        }
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

    /// The rung on which `pick` is played.
    pub fn rung(&self, pick: Pick) -> Option<&Rung> {
        self.rungs().iter().find(|rung| rung.pick() == pick)
    }

    /// Whether a viewer of `pick` has a better picture than one of `other`.
    pub fn is_better(&self, pick: Pick, other: Pick) -> bool {
        if pick.layer == other.layer {
            return pick.point > other.point;
        }
        let rank = |pick: Pick| self.rungs().iter().position(|rung| rung.layer == pick.layer);
        rank(pick) > rank(other)
    }

    /// Where `pick` stands among the layers that flow.
    pub fn place(&self, pick: Pick) -> Place {
        let rungs = self.rungs();
        let within = |rung: &Rung| rung.layer == pick.layer && rung.point <= pick.point;
        let best = rungs.iter().rposition(|rung| rung.active);
        let lowest = rungs.iter().position(|rung| rung.active);
        match rungs.iter().rposition(within) {
            // Without a choice there is nothing better.
            rank if rungs.len() < 2 || rank >= best => Place::Best,
            rank if rank <= lowest => Place::Lowest,
            _ => Place::Middle,
        }
    }

    /// Takes over what was measured; layers that are not among `measured` stay as they are. Whether another layer flows now
    /// or the order is another.
    pub fn update(&mut self, measured: impl IntoIterator<Item = Rung>) -> bool {
        let before = *self;
        for new in measured {
            let known = self.rungs.iter_mut().take(self.len).find(|rung| rung.pick() == new.pick());
            match known {
                Some(rung) => {
                    let bitrate_bps = match (rung.bitrate_bps, new.active) {
                        (old, false) => old,
                        // It has just begun again.
                        (old, true) if new.bitrate_bps == 0 => old,
                        (0, true) => new.bitrate_bps,
                        (old, true) => (old * (SMOOTHING - 1) + new.bitrate_bps) / SMOOTHING,
                    };
                    *rung = Rung { bitrate_bps, ..new };
                }
                None => self.add(new),
            }
        }
        self.sort();
        let shape = |ladder: &Self| ladder.rungs.map(|rung| (rung.pick(), rung.active));
        self.len != before.len || shape(self) != shape(&before)
    }

    /// Adds a rung. On a full ladder it takes the place of a part that does not flow any more.
    fn add(&mut self, new: Rung) {
        if let Some(free) = self.rungs.get_mut(self.len) {
            *free = new;
            self.len += 1;
            return;
        }
        let idle = self.rungs.iter_mut().find(|rung| !rung.active && rung.point != Point::WHOLE);
        if let Some(idle) = idle {
            *idle = new;
        }
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
