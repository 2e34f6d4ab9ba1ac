//! The times at which the node sends a viewer no pictures: whether its path was as bad as that, and how soon each ends when it is not.
//!
//! Judged by what the link to the viewer did to media, and not by what the node knows of it.

use std::time::{Duration, Instant};

use aforo_node::peer::message::{PeerEvent, PeerNotice};

use crate::flow::{Step, Trouble, WIDE_BPS};
use crate::network::Link;

/// What must have been lost of all media within a stretch of this length: the node holds a picture back where a third is lost, as it sees it
/// in half a second of feedback or in one report, whose ends are others.
const STRETCH: Duration = Duration::from_millis(500);
const LEAST_LOST: f64 = 0.25;

/// Fewer datagrams than this say nothing of a share.
const LEAST_DATAGRAMS: usize = 5;

/// How long before a hold that may have been: a report speaks of a second and comes a round trip after it, the node bears with it for two, and
/// what it has heard is so until it hears again.
const REACH: Duration = Duration::from_secs(4);

/// How long after its path is well again a picture must be back: where the node can probe; and where the picture itself is the trial, of
/// which the first comes 15 s after the path was found to be narrow.
const PROBED_MAX: Duration = Duration::from_secs(10);
const TRIED_MAX: Duration = Duration::from_secs(20);

/// After so long each hold ends, and after twice that where the one before was right.
const END: Duration = Duration::from_secs(150);

/// When the node said that it sends pictures to a viewer no more, and again.
pub fn times(notices: &[&PeerNotice], end: Instant) -> Vec<Trouble> {
    let mut times: Vec<Trouble> = Vec::new();
    for notice in notices {
        match notice.event {
            PeerEvent::PictureHeld(true) => times.push(Trouble { from: notice.at, until: end }),
            PeerEvent::PictureHeld(false) => {
                times.last_mut().into_iter().for_each(|held| held.until = notice.at);
            }
            _ => {}
        }
    }
    times
}

/// What is known of the path to a viewer whose picture is held back now and then.
pub struct Grounds<'a> {
    /// The link to it: what publishers' links lose is none of its business, whatever its reports call lost.
    pub link: &'a Link,
    pub steps: &'a [Step],
    pub troubles: &'a [Trouble],
    /// Whether the node hears of each packet that arrives, and can send more to try what does.
    pub probed: bool,
}

impl Grounds<'_> {
    /// Each hold had its reason, and ended when that did.
    pub fn judge(&self, held: &[Trouble], joined: Instant) -> Result<(), String> {
        let mut before: Option<&Trouble> = None;
        for hold in held {
            let after = hold.from - joined;
            if !self.is_bad(hold.from - REACH.min(after), hold.from) {
                return Err(format!(
                    "pictures were held back on a path that carries them, {after:?} after the join"
                ));
            }
            // Nothing is lost of sound alone, so a link is as narrow as it was until it is made wider.
            let bad_until = self.bad_until(*hold);
            let most = if self.probed { PROBED_MAX } else { TRIED_MAX };
            let end = END * if before.is_some() { 2 } else { 1 };
            if hold.until > bad_until + most || hold.until > hold.from + end {
                return Err(format!(
                    "pictures were held back for {:?}, {after:?} after the join, and the path was well for {:?}",
                    hold.until - hold.from,
                    hold.until.saturating_duration_since(bad_until)
                ));
            }
            before = Some(hold);
        }
        Ok(())
    }

    /// Until when the path was bad before the end of a hold.
    fn bad_until(&self, hold: Trouble) -> Instant {
        let wider = self.steps.iter().skip(1).map(|step| step.at).chain([hold.until]);
        let narrow = self.steps.iter().zip(wider).filter(|(step, _)| step.bandwidth_bps < WIDE_BPS);
        let narrow = narrow.map(|(step, until)| (step.at, until));
        let troubles = self.troubles.iter().map(|trouble| (trouble.from, trouble.until));
        let ends = narrow.chain(troubles).filter(|(from, _)| *from <= hold.until).map(|(_, until)| until);
        let lossy = self.lossy_stretches(hold.from, hold.until).max();
        ends.chain(lossy).max().map_or(hold.from, |until| until.clamp(hold.from, hold.until))
    }

    /// Whether something between `from` and `to` is a reason to hold pictures back.
    fn is_bad(&self, from: Instant, to: Instant) -> bool {
        let trouble = self.troubles.iter().any(|trouble| trouble.from <= to && trouble.until >= from);
        trouble || self.lossy_stretches(from, to).next().is_some()
    }

    /// The ends of stretches between `from` and `to` of which much was lost.
    fn lossy_stretches(&self, from: Instant, to: Instant) -> impl Iterator<Item = Instant> {
        let fates = &self.link.fates;
        let begin = fates.partition_point(|(at, _)| *at < from);
        (begin..fates.partition_point(|(at, _)| *at <= to)).filter_map(move |first| {
            let (at, lost) = fates[first];
            let behind = fates.partition_point(|(other, _)| *other < at + STRETCH);
            let stretch = &fates[first..behind];
            let lost_of = stretch.iter().filter(|(_, lost)| *lost).count() as f64;
            let many = stretch.len() >= LEAST_DATAGRAMS && lost_of >= LEAST_LOST * stretch.len() as f64;
            (lost && many).then(|| stretch[stretch.len() - 1].0.min(to))
        })
    }
}
