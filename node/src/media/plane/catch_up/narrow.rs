//! How a leg whose path has become narrow begins with the keyframe that comes: from the ring, no faster than the path carries.
//! What it was sent before fills the path's queue, and a keyframe that leaves at once is more than there is room for.

use std::time::Instant;

use super::super::told_loss::ToldLoss;
use super::super::track::Track;
use super::super::viewer::LegPlace;
use super::super::{Plane, Role};
use super::begin::Offer;
use crate::media::codec::Point;
use crate::media::fast_start::{Squeeze, Terms, live_pace};
use crate::media::leg::Leg;

impl Track {
    /// How `leg` begins with the keyframe in this window, if nothing flows to it as its path carries too little for what it
    /// played. A layer that does not fit either would never be caught up with.
    fn narrow_offer(&self, now: Instant, leg: &Leg) -> Option<Offer> {
        let path_bps = leg.selection.budget_bps().filter(|_| leg.is_paused() && !self.is_cut_off(leg))?;
        let rung = self.ladder.rung(leg.wanted).filter(|rung| rung.bitrate_bps <= path_bps)?;
        if rung.point != Point::WHOLE || leg.selection.holds_picture() {
            return None;
        }
        let layer = self.layers.get(usize::from(rung.layer)).filter(|layer| layer.starts_afresh())?;
        let (group, keyframe) = self.group(now, layer).filter(|(_, keyframe)| {
            layer.start().is_some_and(|packet| packet.header.timestamp == keyframe.timestamp)
        })?;
        // Nothing is squeezed, and it is over with the next picture: the rest of the keyframe may still be to come.
        let squeeze = Squeeze { until: keyframe.timestamp.wrapping_add(1), factor: 1 };
        let terms = Terms { unheard: false, path_bps: Some(path_bps), backlog_packets: 0 };
        Some(Offer { group, pace: live_pace(), keyframe, squeeze, terms })
    }
}

impl Plane {
    /// Lets legs of the track at `place` begin with the keyframe in its window at the pace of their path, as far as there is room
    /// for more that catch up. The others are sent all of the window.
    pub(in super::super) fn begin_narrow(&mut self, now: Instant, place: usize) {
        let track = self.tracks.get(place).filter(|track| track.is_video() && !track.starts().is_empty());
        let Some(track) = track else { return };
        let offers = (0..).zip(&track.legs).filter_map(|(number, leg)| {
            let offer = track.narrow_offer(now, leg)?;
            let peer = self.transports.get(leg.peer)?.key;
            let Role::Viewer(viewer) = self.roles.get(peer.index)? else { return None };
            // What reports tell of a path is a guess: a keyframe that is drawn out would only be a longer trial of it.
            if !viewer.estimate.is_by_feedback() {
                return None;
            }
            let place = LegPlace { track: place, leg: number, ssrc: leg.ssrc, told: ToldLoss::default() };
            Some((peer, place, leg.wanted.layer, offer))
        });
        let offers: Vec<_> = offers.collect();
        for (peer, leg, layer, offer) in offers {
            if self.catch_ups.is_full(false) {
                return;
            }
            self.catch_up_with(now, peer, leg, layer, &offer);
        }
    }
}
