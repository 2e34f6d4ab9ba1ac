//! Who was on the air when: the publishers of a broadcast, one after the other, and the times at which nothing was shown of any.

use std::time::{Duration, Instant};

use crate::flow::Trouble;
use crate::publisher::Publisher;

/// Pictures that are further apart than this come from an encoder that has paused, or from two.
const PAUSE: Duration = Duration::from_millis(150);

/// Time within which something of a publisher reaches all viewers.
const MUST_ARRIVE: Duration = Duration::from_secs(3);

/// One publisher's time.
#[derive(Debug, Clone, Copy)]
pub struct Reign {
    /// Which of the publishers.
    pub publisher: usize,
    pub from: Instant,
    /// `None`: to the end of the run.
    pub until: Option<Instant>,
}

/// See the module.
pub struct Air<'a> {
    pub publishers: Vec<&'a Publisher>,
    pub reigns: &'a [Reign],
    /// When pictures were sent that could be shown.
    sent: Vec<Instant>,
}

impl<'a> Air<'a> {
    pub fn new(publishers: Vec<&'a Publisher>, reigns: &'a [Reign]) -> Self {
        let of_reign = |reign: &Reign| shown(publishers[reign.publisher], *reign);
        let mut sent: Vec<Instant> = reigns.iter().flat_map(of_reign).collect();
        sent.sort();
        Self { publishers, reigns, sent }
    }

    /// Whether one publisher sent all the time.
    pub fn is_steady(&self) -> bool {
        self.publishers.len() == 1 && self.sent.windows(2).all(|pair| pair[1] - pair[0] < PAUSE)
    }

    /// When the last picture was sent that could be shown.
    pub fn last_sent(&self) -> Option<Instant> {
        self.sent.last().copied()
    }

    pub fn reign(&self, publisher: usize) -> Option<&Reign> {
        self.reigns.iter().find(|reign| reign.publisher == publisher)
    }

    /// When the last picture of this publisher was sent that could be shown.
    pub fn last_of(&self, publisher: usize) -> Option<Instant> {
        shown(self.publishers[publisher], *self.reign(publisher)?).last()
    }

    /// Whether a publisher had so much time before `until` that viewers must have got something, though nothing was sent while they were
    /// `held`.
    pub fn plays_before(&self, publisher: usize, until: Instant, held: &[Trouble]) -> bool {
        let Some(reign) = self.reign(publisher) else { return false };
        let shown = || shown(self.publishers[publisher], *reign);
        let Some((first, last)) = shown().next().zip(shown().last()) else { return false };
        let begin = first.max(reign.from);
        let end = last.min(until).min(reign.until.unwrap_or(until));
        // What lies before, between and after the holds, which follow on each other.
        let begins = [begin].into_iter().chain(held.iter().map(|held| held.until.max(begin)));
        let ends = held.iter().map(|held| held.from.min(end)).chain([end]);
        begins.zip(ends).any(|(from, to)| from + MUST_ARRIVE < to)
    }

    /// How much of the time between `from` and `to` nothing was sent that could be shown, with the `delay` that it takes after that
    /// until it is.
    pub fn absent(&self, from: Instant, to: Instant, delay: Duration) -> Duration {
        let first = self.sent.first().copied();
        let begin = first.map(|first| (first.min(from), first));
        let end = self.last_sent().map(|last| (last, to));
        let pauses = self.sent.windows(2).map(|pair| (pair[0], pair[1]));
        let mut counted = from;
        let mut absent = Duration::ZERO;
        for (gone, back) in begin.into_iter().chain(pauses).chain(end) {
            if back.saturating_duration_since(gone) > PAUSE {
                let (gone, back) = (gone.max(counted), (back + delay).min(to));
                absent += back.saturating_duration_since(gone);
                counted = counted.max(back);
            }
        }
        absent
    }
}

/// When the pictures of a reign were sent, from the first keyframe that came. That one was sent before the reign began, if it took the
/// stream over.
fn shown(publisher: &Publisher, reign: Reign) -> impl DoubleEndedIterator<Item = Instant> {
    let mut sent: Vec<Instant> = publisher.pictures_sent().collect();
    sent.sort();
    sent.into_iter().filter(move |at| reign.until.is_none_or(|until| *at < until))
}
