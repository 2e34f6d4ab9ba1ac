//! Viewers whose picture is held back are looked at each second: sound alone makes some of them say nothing that could bring
//! it back, and a sound that has ended none at all.

use std::time::{Duration, Instant};

use super::Plane;
use super::schedule::Task;
use crate::media::path::PeerKey;

/// How often: the time of a receiver report, and a fraction of what passes between two probes or trials.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl Plane {
    /// Begins to look at those whose picture is held back since the last call.
    pub(super) fn watch_holds(&mut self, now: Instant) {
        while let Some(peer) = self.held.pop() {
            let Some(viewer) = self.viewer(peer) else { continue };
            if !std::mem::replace(&mut viewer.hold_is_watched, true) {
                self.schedule.add(now + LOOK_INTERVAL, Task::Held(peer));
            }
        }
    }

    /// Looks whether there is still sound to protect, and whether the path carries more.
    pub(super) fn held_due(&mut self, now: Instant, peer: PeerKey) {
        if !self.is_known(peer) {
            return;
        }
        if self.holds_picture(peer) {
            self.ask_for_more(now, peer);
            self.limit_video(now, peer);
        }
        let goes_on = self.holds_picture(peer);
        if let Some(viewer) = self.viewer(peer) {
            viewer.hold_is_watched = goes_on;
        }
        if goes_on {
            self.schedule.add(now + LOOK_INTERVAL, Task::Held(peer));
        }
    }

    /// Whether a picture of `peer` is held back.
    pub(super) fn holds_picture(&self, peer: PeerKey) -> bool {
        self.legs_of(peer).any(|place| {
            let track = self.tracks.get(place.track).filter(|track| track.is_video());
            let leg = track.and_then(|track| track.legs.get(place.leg));
            leg.is_some_and(|leg| leg.selection.holds_picture())
        })
    }

    /// Probes with padding where that is answered; else the picture itself is the trial, by time.
    fn ask_for_more(&mut self, now: Instant, peer: PeerKey) {
        let now_micros = self.since_epoch_micros(now);
        let pads = self.padding_leg(peer).is_some();
        let (audio_bps, next_bps) = (self.audio_bps(now, peer), self.next_bps(now, peer));
        let pictures = self.legs_of(peer).find_map(|place| {
            let track = self.tracks.get(place.track).filter(|track| track.is_video())?;
            Some(track.legs.get(place.leg)?.octets)
        });
        let Some(viewer) = self.viewer(peer) else { return };
        viewer.estimate.sound_alone(now_micros, pictures.unwrap_or_default(), audio_bps, (pads, next_bps));
        if pads {
            self.probe_if_wanted(now, peer);
        }
    }
}
