//! Which viewers get redundancy with their sound that its publisher did not send: those who lose much of what they get.

use std::time::Instant;

use super::{Plane, Role};
use crate::media::loss_watch::LossWatch;
use crate::media::path::PeerKey;
use crate::media::rtcp::ReportBlock;
use crate::media::twcc::Feedback;

impl Plane {
    /// A viewer's transport-wide feedback.
    pub(super) fn watch_feedback(&mut self, now: Instant, peer: PeerKey, feedback: &Feedback<'_>) {
        let (packets, now_ms) = (u32::from(feedback.status_count), self.since_epoch_ms(now));
        self.watch(peer, |watch| watch.feedback(now_ms, packets, feedback.lost() as u32));
    }

    /// What a viewer reports of its sound.
    pub(super) fn watch_report(&mut self, now: Instant, peer: PeerKey, block: &ReportBlock) {
        let now_ms = self.since_epoch_ms(now);
        let (highest, ratio) = (block.highest_sequence, super::quality::ratio(block.fraction_lost));
        self.watch(peer, |watch| watch.report(now_ms, highest, ratio));
    }

    fn watch(&mut self, peer: PeerKey, look: impl FnOnce(&mut LossWatch) -> Option<bool>) {
        let Some(Role::Viewer(viewer)) = self.roles.get_mut(peer.index) else { return };
        let Some(is_lossy) = viewer.loss_watch.as_mut().and_then(|watch| look(watch)) else { return };
        let changes = &mut self.counters.redundancy_changes;
        *(if is_lossy { &mut changes.on } else { &mut changes.off }) += 1;
        for place in &viewer.legs {
            let Some(track) = self.tracks.get_mut(place.track).filter(|track| !track.is_video()) else {
                continue;
            };
            let class = track.legs.get(place.leg).and_then(|leg| track.classes.get(usize::from(leg.class)));
            if let Some(class) = class.and_then(|class| class.class.with_added(is_lossy)) {
                track.reclassify(place.leg, class);
            }
        }
    }
}
