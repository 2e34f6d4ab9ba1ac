//! One publisher after another on the same track.

use std::time::Instant;

use super::{Source, Track};
use crate::media::rate::RateMeter;
use crate::media::selection::Ladder;

impl Track {
    /// A publisher takes the track over, from nobody or from another; `rids` names its layers if it has several. What is known of the one before
    /// only serves to go on where it ended.
    pub(in super::super) fn begin_anew(&mut self, now: Instant, source: Source, rids: &[String]) {
        self.source = source;
        self.rids = rids.to_vec();
        let layers = rids.len().max(1);
        self.clock_before = self.layers.iter().find_map(|layer| layer.clock).or(self.clock_before);
        for layer in &mut self.layers {
            layer.requests = layer.requests.begin_anew();
            layer.points.iter_mut().for_each(|points| points.begin_anew());
            layer.newest_keyframe = None;
            layer.forget_clock();
        }
        for gone in self.layers.iter_mut().skip(layers) {
            gone.bytes_rate = RateMeter::new(now);
            gone.gone = true;
        }
        // Rungs that are not measured again were those of the one before.
        self.ladder = Ladder::default();
        self.measure(now);
    }

    /// Whether the publisher at this place of the plane's tables sends it.
    pub(in super::super) fn comes_from(&self, publisher: u32) -> bool {
        matches!(self.source, Source::Publisher { place, .. } if place == publisher)
    }
}
