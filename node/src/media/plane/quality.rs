//! How well media travels at this moment, peer by peer, without names: what histograms are fed with once a second.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::track::{Source, Track};
use super::{Plane, Role};
use crate::media::leg::Leg;
use crate::media::selection::Place;

/// One figure of one peer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Quality {
    /// Round trip to a publisher, by its answers to NACK.
    PublisherRoundTrip(Duration),
    /// Round trip to a viewer, by its reports (RFC 3550 §6.4.1).
    ViewerRoundTrip(Duration),
    /// Share of packets from a publisher that were lost between the last two reports, repaired ones included.
    ReceivedLoss(f64),
    /// Share of packets to a viewer that it reported lost last.
    SentLoss(f64),
    /// Bits per second that the path to a viewer is estimated to carry.
    Estimate(u64),
    /// Interarrival jitter of a publisher's layer.
    Jitter(Duration),
}

/// Tracks that are being sent to viewers, by what each viewer gets of its: numbers in the order of [`Place::ALL`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Legs {
    /// Sound.
    pub audio: [u32; Place::ALL.len()],
    /// Pictures.
    pub video: [u32; Place::ALL.len()],
}

/// What a viewer may suffer from, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suffering {
    /// No picture comes, though the publisher sends one: it waits for a keyframe, or its path carries next to nothing.
    NoPicture,
    /// No picture is sent, as its path carries none beside the sound.
    SoundOnly,
    /// So many packets are lost that it is noticed, repairs or not.
    Loss,
    /// Its path carries less than the best layer that it wants.
    Bandwidth,
}

impl Suffering {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NoPicture, Self::SoundOnly, Self::Loss, Self::Bandwidth];

    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoPicture => "no_picture",
            Self::SoundOnly => "sound_only",
            Self::Loss => "loss",
            Self::Bandwidth => "bandwidth",
        }
    }
}

/// Viewers that have less than they should, in the order of [`Suffering::ALL`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Degraded(pub [u32; Suffering::ALL.len()]);

/// Loss from which sound suffers, and from which pictures do, in 256ths: 2 % and 10 %, as for the histogram of loss.
const AUDIO_SUFFERS: u8 = 5;
const VIDEO_SUFFERS: u8 = 26;

impl Track {
    fn suffering(&self, now: Instant, leg: &Leg) -> Option<Suffering> {
        let video = self.is_video();
        let flows = || self.source != Source::Absent && self.layers.iter().any(|layer| layer.is_active(now));
        if video && leg.selection.holds_picture() {
            return flows().then_some(Suffering::SoundOnly);
        }
        if video && (!leg.is_live() || leg.is_paused()) {
            return flows().then_some(Suffering::NoPicture);
        }
        if leg.fraction_lost >= if video { VIDEO_SUFFERS } else { AUDIO_SUFFERS } {
            return Some(Suffering::Loss);
        }
        let held_down = video && leg.selection.is_held_down(&self.ladder, leg.chosen);
        held_down.then_some(Suffering::Bandwidth)
    }
}

impl Plane {
    /// How many tracks are being sent to viewers. Costs some 10 ns per viewer.
    pub fn legs(&self) -> Legs {
        let mut legs = Legs::default();
        for (_, track) in &self.tracks {
            let counts = if track.is_video() { &mut legs.video } else { &mut legs.audio };
            for leg in &track.legs {
                let flows = leg.is_live() && !leg.is_paused();
                let place = if flows { track.ladder.place(leg.mapping().pick()) } else { Place::Nowhere };
                counts.get_mut(place as usize).into_iter().for_each(|count| *count += 1);
            }
        }
        legs
    }

    /// How many viewers have less than they should at this moment, each by the worst that it suffers from. Costs some 20 ns
    /// per viewer.
    pub fn degraded(&self, now: Instant) -> Degraded {
        let mut degraded = Degraded::default();
        for role in self.roles.iter() {
            let Role::Viewer(viewer) = role else { continue };
            let legs = viewer.legs.iter().filter_map(|place| {
                let track = self.tracks.get(place.track)?;
                Some((track, track.legs.get(place.leg)?))
            });
            let suffers = legs.filter_map(|(track, leg)| track.suffering(now, leg)).min();
            let count = suffers.and_then(|suffering| degraded.0.get_mut(suffering as usize));
            count.into_iter().for_each(|count| *count += 1);
        }
        degraded
    }

    /// Shows every figure that is known to `observe`; of loss only what was reported within `time`, so that samples whose times
    /// follow on each other have each report once. Costs some 20 ns per peer.
    pub fn sample_quality(&self, time: Range<Instant>, mut observe: impl FnMut(Quality)) {
        let start_ms = self.since_epoch_ms(time.start);
        let passed_ms = self.since_epoch_ms(time.end).wrapping_sub(start_ms);
        let within = |at_ms: u32| at_ms.wrapping_sub(start_ms) < passed_ms;
        for role in self.roles.iter() {
            match role {
                Role::Publisher(publisher) => publisher.sample_quality(&time, &mut observe),
                Role::Viewer(viewer) => {
                    viewer.round_trip().map(Quality::ViewerRoundTrip).into_iter().for_each(&mut observe);
                    viewer.estimate.bitrate_bps().map(Quality::Estimate).into_iter().for_each(&mut observe);
                    for place in &viewer.legs {
                        let track = self.tracks.get(place.track);
                        let leg = track.and_then(|track| track.legs.get(place.leg));
                        let is_new = |leg: &&Leg| leg.reported_ms.is_some_and(within);
                        if let Some(leg) = leg.filter(|leg| leg.is_live()).filter(is_new) {
                            observe(Quality::SentLoss(ratio(leg.fraction_lost)));
                        }
                    }
                }
            }
        }
    }
}

/// 256ths as a ratio.
pub(super) fn ratio(fraction_lost: u8) -> f64 {
    f64::from(fraction_lost) / 256.0
}
