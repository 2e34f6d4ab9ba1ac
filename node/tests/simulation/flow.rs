//! Whether pictures went on at a viewer, and on which layer.

use std::time::{Duration, Instant};

use crate::air::Air;
use crate::footage::Tag;
use crate::stream::NUMBERS_PER_STREAM;
use crate::viewer::Viewer;

/// What any video of a run fits through.
pub const WIDE_BPS: u64 = 3_000_000;

/// Until what is shown fits through a link that has become narrow.
const FALL_MAX: Duration = Duration::from_secs(4);

/// Until the best layer is shown on a link that carries it.
const RISE_MAX: Duration = Duration::from_secs(10);

/// Until pictures go on after nothing came through, beside the time to the publisher and back: a keyframe of each layer is asked for
/// each 500 ms, and has to be made, sent, gathered and shown.
const RECOVERY_MAX: Duration = Duration::from_millis(700);

/// How bad the worst of the paths was that a viewer's media took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sky {
    /// Nothing was lost.
    Clear,
    /// Single datagrams were lost.
    Rough,
    /// All were lost for a while: by an outage of the network, or as a client moved or its link became narrow.
    Broken,
    /// So much that repair fails now and then.
    Heavy,
}

impl Sky {
    /// The longest time between two pictures that follow on each other, and from a switch to the first picture of the new layer.
    fn gap_max(self) -> Duration {
        Duration::from_millis(match self {
            // One who had to be cut off from a layer waits for a keyframe of another: a round trip to the publisher, and a picture.
            Self::Clear => 300,
            Self::Rough | Self::Broken => 3_000,
            // With a fifth lost on the way there, of NACKs and of repairs, most pictures of five packets lack one. So much loss is taken for
            // a path that carries less, and repairs are paced by that: keyframes of 25 packets are seldom whole. One viewer of 200 seeds
            // waits for 7 s (scalable video of one size at 1.5 Mbit/s).
            Self::Heavy => 8_000,
        })
    }

    /// The longest time that a viewer takes from its offer to its first picture, handshakes included.
    fn join_max(self) -> Duration {
        Duration::from_secs(match self {
            Self::Clear => 3,
            Self::Rough | Self::Broken => 8,
            Self::Heavy => 12,
        })
    }

    /// How long it takes until pictures of a publisher that comes back are shown, from its first packet on: it may have sent its
    /// first keyframe before the node had its keys.
    fn return_max(self) -> Duration {
        Duration::from_millis(match self {
            Self::Clear => 1_200,
            Self::Rough | Self::Broken => 4_000,
            Self::Heavy => 6_000,
        })
    }
}

/// A viewer's link from this moment on.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub at: Instant,
    pub bandwidth_bps: u64,
}

/// How often a viewer had to show less, or all again, and it was looked at whether it did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Judged {
    pub falls: usize,
    pub returns: usize,
}

/// A time at which nothing came through.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    pub from: Instant,
    pub until: Instant,
}

/// What is known of a viewer's time.
pub struct Watch<'a> {
    pub viewer: &'a Viewer,
    pub air: &'a Air<'a>,
    pub sky: Sky,
    pub joined: Instant,
    pub until: Instant,
    /// When the node sent it no pictures, and might.
    pub held: Vec<Trouble>,
    /// When nothing came through, to the node or to the viewer.
    pub troubles: Vec<Trouble>,
    /// Those of them in which the node could not know where one of the two was.
    pub rebindings: Vec<Trouble>,
    /// If there was nothing but that, the time to the publisher and back, by way of the node.
    pub fair: Option<Duration>,
}

impl Watch<'_> {
    /// Pictures came soon, went on, and each layer that was begun was shown.
    pub fn flows(&self) -> Result<(), String> {
        let shown = &self.viewer.decoder.shown;
        let mut times: Vec<Instant> =
            shown.iter().map(|shown| shown.at).filter(|at| *at < self.until).collect();
        let Some(first) = times.first() else {
            let patient = self.absent(self.joined, self.until) + self.sky.join_max();
            let soon = self.until < self.joined + patient;
            return if soon { Ok(()) } else { Err("no picture was shown".to_owned()) };
        };
        let wait = *first - self.joined;
        if wait > self.sky.join_max() + self.absent(self.joined, *first) {
            return Err(format!("the first picture was shown after {wait:?}"));
        }
        times.push(self.air.last_sent().map_or(self.until, |last| last.min(self.until)));
        for pair in times.windows(2) {
            let whole = pair[1].saturating_duration_since(pair[0]);
            if whole <= self.sky.gap_max() {
                continue;
            }
            let gap = whole.saturating_sub(self.absent(pair[0], pair[1]));
            if gap > self.sky.gap_max() {
                let after = pair[0] - self.joined;
                return Err(format!("no picture was shown for {gap:?}, {after:?} after the join"));
            }
        }
        self.recovers(&times)?;
        self.switches_show()
    }

    /// Where nothing but troubles happened, pictures go on soon after each, and do not stop otherwise.
    fn recovers(&self, times: &[Instant]) -> Result<(), String> {
        let Some(round_trip) = self.fair else { return Ok(()) };
        let most = round_trip + RECOVERY_MAX;
        for pair in times.windows(2) {
            let whole = pair[1].saturating_duration_since(pair[0]);
            let gap = whole.saturating_sub(self.air.absent(pair[0], pair[1], self.sky.return_max()));
            let excused = |trouble: &&Trouble| trouble.from < pair[1] && pair[0] < trouble.until + most;
            let excuse = self.troubles.iter().filter(excused).map(|trouble| trouble.until).max();
            let late = match excuse {
                None => gap.saturating_sub(Sky::Clear.gap_max()),
                Some(until) => {
                    pair[1].saturating_duration_since((until + most).max(pair[0] + Sky::Clear.gap_max()))
                }
            };
            if late > Duration::ZERO && gap > Sky::Clear.gap_max() {
                let ago = excuse.map(|until| pair[1] - until);
                return Err(format!("a picture was shown after {gap:?}, {ago:?} after the trouble"));
            }
        }
        Ok(())
    }

    /// Each layer that came for so long that it must be seen was seen as soon.
    fn switches_show(&self) -> Result<(), String> {
        let packets = &self.viewer.streams[1].packets;
        let packets: Vec<_> = packets.values().collect();
        for part in
            packets.chunk_by(|a, b| a.tag.number / NUMBERS_PER_STREAM == b.tag.number / NUMBERS_PER_STREAM)
        {
            let (Some(begin), Some(end)) =
                (part.iter().map(|got| got.at).min(), part.iter().map(|got| got.at).max())
            else {
                continue;
            };
            let stream = part[0].tag.number / NUMBERS_PER_STREAM;
            // Of a publisher that falls silent, what is repaired last may come long after it.
            let most = |until: Instant| self.sky.gap_max() + self.absent(begin, until);
            let in_time = |at: Instant| (begin..=begin + most(at)).contains(&at);
            let seen =
                self.viewer.decoder.shown.iter().any(|shown| shown.stream == stream && in_time(shown.at));
            if end > begin + most(end) && !seen {
                let after = begin - self.joined;
                return Err(format!(
                    "stream {stream} was begun {after:?} after the join and not seen in time"
                ));
            }
        }
        Ok(())
    }

    /// How much of the time between `from` and `to` there was nothing to be shown, with the time that it takes to be seen.
    fn absent(&self, from: Instant, to: Instant) -> Duration {
        let absent = self.air.absent(from, to, self.sky.return_max());
        let lost = self
            .rebindings
            .iter()
            .map(|lost| lost.until.min(to).saturating_duration_since(lost.from.max(from)));
        let held = self.held.iter().map(|held| {
            (held.until + self.sky.return_max()).min(to).saturating_duration_since(held.from.max(from))
        });
        absent + held.chain(lost).sum::<Duration>()
    }

    /// In fair weather nothing that comes is of no use, and nobody asks for keyframes because of what a viewer lacks.
    pub fn wastes_nothing(&self) -> Result<(), String> {
        if self.viewer.keyframes_asked > 0 {
            return Err(format!("it asked for a keyframe {} times", self.viewer.keyframes_asked));
        }
        let packets: Vec<_> = self.viewer.streams[1].packets.values().map(|got| got.tag).collect();
        let parts = packets.chunk_by(|a, b| a.number / NUMBERS_PER_STREAM == b.number / NUMBERS_PER_STREAM);
        let last: Vec<(u32, u32)> = parts.filter_map(|part| part.last()).map(frame).collect();
        // The last picture before a switch may be cut off by the keyframe that follows.
        for tag in self.viewer.decoder.broken().filter(|tag| !last.contains(&frame(tag))) {
            let publishers = self.air.publishers.iter().enumerate();
            let known =
                publishers.filter_map(|(place, known)| Some((place, known.record(tag.number)?))).next();
            let Some((place, record)) = known else { continue };
            let end = self.air.last_of(place).map_or(self.until, |last| last.min(self.until));
            if record.at + Duration::from_millis(500) < end {
                return Err(format!("a frame could not be decoded: {tag:?}"));
            }
        }
        Ok(())
    }

    /// Where a bottleneck is the only trouble: what is shown fits through it soon, and the best is shown once it is gone.
    pub fn obeys(&self, steps: &[Step]) -> Result<Judged, String> {
        let mut judged = Judged::default();
        let Some(publisher) = self.air.publishers.last() else { return Ok(judged) };
        let mut rates = publisher.rank_bitrates_bps();
        if !self.viewer.takes_large_pictures() && publisher.manner().format.spatial_layers > 1 {
            rates.truncate(1);
        }
        let ends = steps.iter().skip(1).map(|step| step.at).chain([self.until]);
        for (step, end) in steps.iter().zip(ends) {
            let fitting = rates.iter().rposition(|rate| *rate < step.bandwidth_bps as f64).unwrap_or(0);
            let best = rates.len() - 1;
            let settled = step.at + if fitting == best { RISE_MAX } else { FALL_MAX };
            let shown = self.viewer.decoder.shown.iter();
            let shown = shown.filter(|shown| (settled..end).contains(&shown.at));
            let ranks: Vec<usize> = shown.map(|shown| publisher.rank(shown)).collect();
            let wrong = if fitting == best {
                !ranks.is_empty() && !ranks.contains(&best)
            } else {
                ranks.iter().any(|rank| *rank > fitting)
            };
            if wrong {
                let counts: Vec<usize> = (0..rates.len())
                    .map(|rank| ranks.iter().filter(|other| **other == rank).count())
                    .collect();
                return Err(format!(
                    "{} bit/s fit rank {fitting} of {rates:?}, but frames by rank are {counts:?}, {:?} after the join",
                    step.bandwidth_bps,
                    step.at - self.joined
                ));
            }
            let least = settled + Duration::from_secs(1) < end && !ranks.is_empty();
            judged.falls += usize::from(least && fitting < best);
            judged.returns += usize::from(least && fitting == best && judged.falls > 0);
        }
        Ok(judged)
    }
}

/// Which frame a packet is of.
fn frame(tag: &Tag) -> (u32, u32) {
    (tag.number / NUMBERS_PER_STREAM, tag.frame)
}
