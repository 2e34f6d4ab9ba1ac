//! One publisher after another on the same track.

use std::time::{Duration, Instant};

use super::allocation::Told;
use super::{Source, Track};
use crate::media::hearing::Hearing;
use crate::media::rate::RateMeter;
use crate::media::selection::Ladder;
use crate::media::subscription::Subscription;

/// How long nobody asks for a keyframe because of what was chosen, once a layer of another publisher has begun: each of its
/// layers begins with one, or is asked for one with its first packet. As long as there is between two requests.
const SETTLES: Duration = Duration::from_millis(500);

impl Track {
    /// A publisher takes the track over, from nobody or from another; `rids` names its layers if it has several. What is known of the one before
    /// only serves to go on where it ended.
    pub(in super::super) fn begin_anew(&mut self, now: Instant, source: Source, rids: &[String]) {
        self.source = source;
        self.rids = rids.to_vec();
        let layers = rids.len().max(1);
        self.clock_before = self.layers.iter().find_map(|layer| layer.clock).or(self.clock_before);
        self.keep_last_numbers();
        for layer in &mut self.layers {
            // Somebody may have asked while there was nobody to ask.
            layer.requests = layer.requests.begin_anew();
            layer.told = Told::default();
            if let Some(highest) = layer.highest() {
                // Not with the next one: there stands who has had all that there was, and what it plays is over too.
                layer.begin_anew(highest + 2);
                self.settled_at = now + SETTLES;
            }
        }
        for gone in self.layers.iter_mut().skip(layers) {
            gone.bytes_rate = RateMeter::new(now);
            gone.gone = true;
        }
        // Rungs that are not measured again were those of the one before.
        self.ladder = Ladder::default();
        self.measure(now);
    }

    /// Of a mirror: another publisher sends the track, from the indices `first` on. Which layers it has is not known here, so
    /// all are wanted.
    pub(in super::super) fn mirror_anew(&mut self, now: Instant, first: &[u64]) {
        self.keep_last_numbers();
        for (layer, first) in self.layers.iter_mut().zip(first) {
            // The next one may hear.
            layer.requests.hearing = Hearing::default();
            layer.has_room_of_before = true;
            // Packets and messages take different ways: its first ones may have been quicker.
            if layer.highest().is_none_or(|highest| highest < *first) {
                layer.begin_anew(*first);
                layer.mirrors_from(*first);
            }
        }
        self.subscription = Subscription::ALL;
        self.settled_at = now + SETTLES;
    }

    /// A layer of another publisher has begun.
    pub(super) fn layer_begins(&mut self, now: Instant) {
        (self.has_news, self.settled_at) = (true, now + SETTLES);
    }

    /// Whether the publisher at this place of the plane's tables sends it.
    pub(in super::super) fn comes_from(&self, publisher: u32) -> bool {
        matches!(self.source, Source::Publisher { place, .. } if place == publisher)
    }
}
