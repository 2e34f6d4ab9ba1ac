//! One publisher after another on the same track.

use std::time::{Duration, Instant};

use super::{Source, Track};
use crate::media::rate::RateMeter;
use crate::media::selection::Ladder;

/// The longest pause between two publishers that legs count in their timestamps: the longest grace that can be configured,
/// and far from half the range of a timestamp.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

impl Track {
    /// A publisher takes the track over, from nobody or from another; `rids` names its layers if it has several. What is known of the one before
    /// only serves to go on where it ended.
    pub(in super::super) fn begin_anew(&mut self, now: Instant, source: Source, rids: &[String]) {
        self.source = source;
        self.rids = rids.to_vec();
        let layers = rids.len().max(1);
        for layer in &mut self.layers {
            layer.requests = layer.requests.begin_anew();
            layer.points.iter_mut().for_each(|points| points.begin_anew());
            layer.newest_keyframe = None;
        }
        for gone in self.layers.iter_mut().skip(layers) {
            gone.bytes_rate = RateMeter::new(now);
            gone.gone = true;
        }
        // Rungs that are not measured again were those of the one before.
        self.ladder = Ladder::default();
        self.measure(now);
    }

    /// When the newest packet of any layer came, and its timestamp.
    pub(in super::super) fn newest(&self) -> Option<(Instant, u32)> {
        self.layers.iter().filter_map(|layer| layer.newest).max_by_key(|(at, _)| *at)
    }

    /// Whether the publisher at this place of the plane's tables sends it.
    pub(in super::super) fn comes_from(&self, publisher: u32) -> bool {
        matches!(self.source, Source::Publisher { place, .. } if place == publisher)
    }
}

/// How long nothing came between a layer's newest packet and now, as far as legs count it.
pub(super) fn silence(now: Instant, newest: Option<(Instant, u32)>) -> Duration {
    let silence = newest.map(|(at, _)| now.saturating_duration_since(at));
    silence.unwrap_or_default().min(PAUSE_MAX)
}
