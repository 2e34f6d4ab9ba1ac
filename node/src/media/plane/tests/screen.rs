//! What a viewer sees of what arrives: which frames can be decoded and when, and where the picture froze, as Chromium counts
//! it. Frames are shown as soon as they can be; a real player holds them back by what its path has jittered.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// What an average of gaps is taken over, and from how many there is one (libwebrtc's video quality observer).
const GAPS: usize = 30;
const GAPS_MIN: usize = 5;

/// A gap is a freeze if it is this many times the average, and by so much longer.
const FREEZE_FACTOR: f64 = 3.0;
const FREEZE_MORE_MS: f64 = 150.0;

/// One packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) starts: bool,
    pub(super) ends: bool,
    pub(super) keyframe: bool,
    pub(super) layer: u8,
}

/// A picture that was shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    pub(super) at: Instant,
    /// Since the one before, if that was a freeze.
    pub(super) freeze: Option<Duration>,
    pub(super) layer: u8,
}

/// See the module.
#[derive(Default)]
pub(super) struct Screen {
    waiting: BTreeMap<u64, Piece>,
    /// The packet after the last frame that was decoded.
    next: u64,
    gaps_ms: VecDeque<f64>,
    pub(super) shown: Vec<Shown>,
}

impl Screen {
    /// A packet arrived.
    pub(super) fn take(&mut self, at: Instant, index: u64, piece: Piece) {
        if index < self.next {
            return;
        }
        self.waiting.insert(index, piece);
        loop {
            let follows = self.end_of(self.next).filter(|_| self.next > 0).map(|end| (self.next, end));
            let keyframes = self.waiting.iter().filter(|(_, piece)| piece.keyframe && piece.starts);
            let keyframe = || keyframes.filter_map(|(first, _)| Some((*first, self.end_of(*first)?))).next();
            let Some((first, end)) = follows.or_else(keyframe) else { return };
            let layer = self.waiting[&first].layer;
            self.next = end + 1;
            self.waiting = self.waiting.split_off(&self.next);
            self.show(at, layer);
        }
    }

    /// The last packet of the frame that begins with `first`, if all of it is there.
    fn end_of(&self, first: u64) -> Option<u64> {
        for (expected, (index, piece)) in (first..).zip(self.waiting.range(first..)) {
            if *index != expected || piece.starts != (expected == first) {
                return None;
            }
            if piece.ends {
                return Some(expected);
            }
        }
        None
    }

    fn show(&mut self, at: Instant, layer: u8) {
        let gap = self.shown.last().map(|before| at.saturating_duration_since(before.at));
        let mut freeze = None;
        if let Some(gap) = gap {
            let gap_ms = gap.as_secs_f64() * 1e3;
            self.gaps_ms.push_back(gap_ms);
            if self.gaps_ms.len() > GAPS {
                self.gaps_ms.pop_front();
            }
            let average_ms = self.gaps_ms.iter().sum::<f64>() / self.gaps_ms.len() as f64;
            let least_ms = (FREEZE_FACTOR * average_ms).max(average_ms + FREEZE_MORE_MS);
            freeze = Some(gap).filter(|_| self.gaps_ms.len() >= GAPS_MIN && gap_ms >= least_ms);
        }
        self.shown.push(Shown { at, freeze, layer });
    }
}

#[test]
fn a_picture_freezes_while_a_packet_is_missing_and_goes_on_with_it_or_with_a_keyframe() {
    let (start, mut screen) = (Instant::now(), Screen::default());
    let at = |ms| start + Duration::from_millis(ms);
    let whole = |keyframe| Piece { starts: true, ends: true, keyframe, layer: 0 };
    screen.take(at(0), 9, whole(false));
    assert!(screen.shown.is_empty(), "nothing to begin with");
    (10..20).for_each(|index| screen.take(at(index * 33 - 330), index, whole(index == 10)));
    assert_eq!(screen.shown.len(), 10);
    screen.take(at(330), 21, whole(false));
    screen.take(at(520), 20, whole(false));
    assert_eq!(screen.shown.len(), 12, "two at once");
    assert_eq!(screen.shown[10].freeze, Some(Duration::from_millis(223)));
    screen.take(at(560), 23, whole(false));
    screen.take(at(600), 25, Piece { starts: true, ends: false, keyframe: true, layer: 1 });
    assert_eq!(screen.shown.len(), 12);
    screen.take(at(610), 26, Piece { starts: false, ends: true, keyframe: true, layer: 1 });
    assert_eq!(screen.shown.last().map(|shown| (shown.layer, shown.freeze)), Some((1, None)));
}
