//! How well media travels at this moment, peer by peer, without names: what histograms are fed with once a second.

use std::time::Duration;

use super::{Plane, Role};

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

impl Plane {
    /// How many tracks of each kind are being sent to viewers: audio, then video.
    pub fn legs(&self) -> (usize, usize) {
        let mut legs = (0, 0);
        for (_, track) in &self.tracks {
            let count = if track.is_video() { &mut legs.1 } else { &mut legs.0 };
            *count += track.legs.len();
        }
        legs
    }

    /// Shows every figure that is known to `observe`. Costs some 20 ns per peer.
    pub fn sample_quality(&self, mut observe: impl FnMut(Quality)) {
        for role in self.roles.iter() {
            match role {
                Role::Publisher(publisher) => publisher.sample_quality(&mut observe),
                Role::Viewer(viewer) => {
                    viewer.round_trip().map(Quality::ViewerRoundTrip).into_iter().for_each(&mut observe);
                    viewer.estimate.bitrate_bps().map(Quality::Estimate).into_iter().for_each(&mut observe);
                    for place in &viewer.legs {
                        let track = self.tracks.get(place.track);
                        let leg = track.and_then(|track| track.legs.get(place.leg));
                        if let Some(leg) = leg.filter(|leg| leg.is_live()) {
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
