//! When to ask a publisher for a keyframe: at once if nothing was asked lately, at most twice a second however many ask.

use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;

use super::Plane;
use super::schedule::Task;
use super::track::{Source, Track};
use crate::media::batch::PacketBatch;
use crate::media::hearing::Hearing;
use crate::media::spec::{Layers, ShardMessage};

/// Least time between two requests for one layer. A keyframe of 720p takes a publisher some 300 ms to encode, pace and send;
/// asking faster only makes it encode another.
pub(super) const KEYFRAME_REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// The requests for one layer.
#[derive(Debug, Default)]
pub(super) struct KeyframeRequests {
    sent_at: Option<Instant>,
    wanted_since: Option<Instant>,
    /// Whether a look at [`Self::look`] is on the schedule.
    scheduled: bool,
    /// Whether they are answered.
    pub(super) hearing: Hearing,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe. Whether to ask the publisher now.
    pub(super) fn request(&mut self, now: Instant) -> bool {
        self.wanted_since.get_or_insert(now);
        let may_send = self.sent_at.is_none_or(|at| now >= at + KEYFRAME_REQUEST_INTERVAL);
        if may_send {
            self.sent_at = Some(now);
        }
        may_send
    }

    /// It could not be asked for: the next request need not wait.
    pub(super) fn not_sent(&mut self) {
        self.sent_at = None;
    }

    /// A keyframe came: everybody who asked before has it. Returns how long the first of them waited.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<Duration> {
        self.wanted_since.take().map(|since| now.saturating_duration_since(since))
    }

    /// When to look again, if that is to be put on the schedule now.
    pub(super) fn schedule(&mut self) -> Option<Instant> {
        if self.scheduled || self.wanted_since.is_none() {
            return None;
        }
        self.scheduled = true;
        self.sent_at.map(|at| at + KEYFRAME_REQUEST_INTERVAL)
    }

    /// The scheduled look: whether to ask (again) now.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        self.scheduled = false;
        self.wanted_since.is_some() && self.request(now)
    }

    /// Another publisher sends the track: what the one before was asked is of no use, and this one may be asked at once.
    pub(super) fn begin_anew(&self) -> Self {
        Self { scheduled: self.scheduled, ..Self::default() }
    }

    /// Another shard asked, when this one told it that somebody is here.
    pub(super) fn asked_elsewhere(&mut self, now: Instant) {
        self.hearing.was_asked(self.sent_at.map_or(now, |at| at.min(now)));
    }

    /// Its publisher was asked already, at `at`, before it had the track.
    pub(super) fn asked(&mut self, at: Instant) {
        self.sent_at = Some(at);
    }

    /// Nobody needs it any more.
    pub(super) fn forget(&mut self) {
        self.wanted_since = None;
    }
}

impl Plane {
    /// Somebody needs a keyframe of this layer of the track at `place`.
    pub(super) fn want_keyframe(&mut self, now: Instant, place: usize, layer: u8) {
        let Some(track) = self.tracks.get_mut(place).filter(|track| track.is_video()) else { return };
        let id = track.id;
        let Some(requests) = track.layer(now, layer).map(|layer| &mut layer.requests) else { return };
        let ask = requests.request(now);
        let look_at = requests.schedule();
        if ask {
            self.ask_for_keyframe(now, place, layer);
        } else {
            self.counters.keyframe_requests_throttled += 1;
        }
        if let Some(at) = look_at {
            self.schedule.add(at, Task::Keyframe(id, layer));
        }
    }

    /// Somebody needs keyframes of these layers.
    pub(super) fn want_keyframes(&mut self, now: Instant, place: usize, layers: Layers) {
        layers.iter().for_each(|layer| self.want_keyframe(now, place, layer));
    }

    /// Another shard did not take these packets. No ring over there has them, so its viewers cannot ask for them again, and
    /// need a keyframe instead.
    pub fn lost_between_shards(&mut self, now: Instant, batch: &PacketBatch) {
        let Some(place) = self.places.get(&batch.track).copied() else { return };
        let layers = batch.packets.iter().fold(Layers::NONE, |all, packet| all | Layers::of(packet.layer));
        self.want_keyframes(now, place, layers);
    }

    pub(super) fn keyframe_due(&mut self, now: Instant, id: TrackId, layer: u8) {
        let Some(place) = self.places.get(&id).copied() else { return };
        let Some(track) = self.tracks.get_mut(place) else { return };
        let watched = track.watched().contains(layer);
        let Some(requests) = track.layer(now, layer).map(|layer| &mut layer.requests) else { return };
        if !watched {
            requests.forget();
        }
        let ask = requests.look(now);
        let look_at = requests.schedule();
        if ask {
            self.ask_for_keyframe(now, place, layer);
        }
        if let Some(at) = look_at {
            self.schedule.add(at, Task::Keyframe(id, layer));
        }
        if watched {
            self.begin_waiting(now, id, layer);
            self.all_go_down_from_ring(now, place);
        }
    }

    /// Asks a publisher that is believed not to answer, from time to time: a viewer that joined did not need it.
    pub(super) fn recheck_hearing(&mut self, now: Instant, place: usize, layer: u8) {
        let Some(known) = self.tracks.get_mut(place).and_then(|track| track.layer(now, layer)) else {
            return;
        };
        if known.is_deaf(now) && known.requests.hearing.is_to_be_rechecked(now) {
            self.want_keyframe(now, place, layer);
        }
    }

    fn ask_for_keyframe(&mut self, now: Instant, track_place: usize, layer: u8) {
        let Some(track) = self.tracks.get(track_place) else { return };
        let sent = match track.source {
            Source::Publisher { place, number } => self.publisher_owes_keyframe(place, number, layer),
            Source::Shard(shard) => {
                // A shard that does not know the layers leaves it to the other which one is meant.
                let layer = (!track.ladder.rungs().is_empty()).then_some(layer);
                let request = ShardMessage::RequestKeyframe { track: track.id, layer };
                self.shard_messages.push_back((shard, request));
                true
            }
            Source::Absent => return,
        };
        let Some(layer) = self.tracks.get_mut(track_place).and_then(|track| track.layer(now, layer)) else {
            return;
        };
        let flows = layer.flows(now);
        if sent {
            layer.requests.hearing.asked(now, flows);
        } else {
            // The layer's first packet brings the next wish, and must not find this one in its way.
            layer.requests.not_sent();
        }
    }
}

impl Track {
    /// What a viewer plays of whom nothing else is known.
    pub(super) fn best_layer(&self) -> u8 {
        let active = self.ladder.rungs().iter().rev().find(|rung| rung.active);
        active.map_or(0, |rung| rung.layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_requests_are_one_until_the_interval_is_over() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        assert!(requests.request(at(0)), "at once");
        assert!((1..500).all(|ms| !requests.request(at(ms))));
        assert_eq!(requests.schedule(), Some(at(500)));
        assert_eq!(requests.schedule(), None, "scheduled already");
        assert!(requests.look(at(500)), "it did not come: again");
        assert_eq!(requests.schedule(), Some(at(1_000)));
        assert_eq!(requests.arrived(at(700)), Some(Duration::from_millis(700)), "since the first wish");
        assert_eq!(requests.arrived(at(800)), None, "nobody waits");
        assert!(!requests.look(at(1_000)), "it came");
        assert_eq!(requests.schedule(), None);
        assert!(requests.request(at(1_001)));
    }

    #[test]
    fn a_publisher_that_takes_over_is_asked_at_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        assert!(requests.request(at(0)));
        assert_eq!(requests.schedule(), Some(at(500)));
        let mut requests = requests.begin_anew();
        assert!(requests.request(at(1)), "it was never asked");
        assert_eq!(requests.schedule(), None, "the look of before is still on the schedule");
    }

    #[test]
    fn a_publisher_that_was_asked_while_it_waited_is_not_asked_again_too_soon() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default().begin_anew();
        requests.asked(at(0));
        assert!(!requests.request(at(499)));
        assert_eq!(requests.schedule(), Some(at(500)));
    }

    #[test]
    fn a_request_after_the_keyframe_is_a_new_one_and_waits_its_turn() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        assert!(requests.request(at(0)));
        requests.arrived(at(50));
        assert!(!requests.request(at(100)));
        assert_eq!(requests.schedule(), Some(at(500)));
        assert!(requests.look(at(500)));
    }

    #[test]
    fn a_request_that_nobody_could_be_asked_holds_up_none() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        assert!(requests.request(at(0)));
        assert_eq!(requests.schedule(), Some(at(500)));
        requests.not_sent();
        assert!(requests.request(at(1)), "there is somebody now");
        assert!(!requests.request(at(2)));
        assert_eq!(requests.arrived(at(100)), Some(Duration::from_millis(100)), "since the first wish");
    }
}
