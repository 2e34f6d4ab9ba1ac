//! What viewers say: requests for lost packets and keyframes, and how well they receive.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::estimate::ViewerEstimate;
use super::resend_budget::{ResendBudget, Wanted, resend_share_bps};
use super::told_loss::ToldLoss;
use super::{Plane, Role};
use crate::media::leg::Leg;
use crate::media::loss_watch::LossWatch;
use crate::media::path::PeerKey;
use crate::media::rtcp::{self, Packet, ReportBlock};
use crate::media::srtp::{RtcpOpener, RtcpSealer};

/// Retransmissions that wait for the next flush. Full means: more are not sent, and the viewer asks again.
pub(super) const RESEND_QUEUE_CAPACITY: usize = 4096;

/// Least time between two retransmissions of one packet, in ms: a viewer on the same network repeats a NACK this fast.
const RESEND_INTERVAL_MIN_MS: u32 = 10;

/// Longest time that a second NACK for a packet is held to be about the first loss.
const RESEND_INTERVAL_MAX_MS: u32 = 150;

/// Transport-wide feedbacks of one datagram that are read. A viewer needs a second one only after a pause; hundreds fit, and
/// each may speak of all that was sent lately.
const DATAGRAM_FEEDBACKS_MAX: u32 = 8;

/// A viewer's side of the plane but for what the hot path needs.
pub(super) struct Viewer {
    pub(super) rtcp_in: RtcpOpener,
    pub(super) rtcp_out: RtcpSealer,
    pub(super) legs: SmallVec<[LegPlace; 2]>,
    /// Made with the first NACK: most viewers never send one.
    pub(super) resends: Option<Box<ResendBudget>>,
    /// Round trip, in ms; 0 until a report told it.
    rtt_ms: u32,
    pub(super) estimate: ViewerEstimate,
    /// Whether it has sent transport-wide feedback, which says what is lost better than its reports.
    feeds_back: bool,
    /// Whether there is a task for its picture, which is held back.
    pub(super) hold_is_watched: bool,
    /// Of a viewer whose sound may have redundancy added.
    pub(super) loss_watch: Option<Box<LossWatch>>,
}

/// Where a leg of a viewer is.
#[derive(Debug, Clone, Copy)]
pub(super) struct LegPlace {
    /// Place of the track in the plane's table.
    pub(super) track: usize,
    /// Place of the leg in the track's list.
    pub(super) leg: usize,
    /// SSRC of its media.
    pub(super) ssrc: u32,
    /// What its viewer's reports have said of it.
    pub(super) told: ToldLoss,
}

/// A packet that a viewer wants again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resend {
    pub(super) peer: PeerKey,
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
}

impl Resend {
    pub(super) fn of(peer: PeerKey, Wanted { ssrc, sequence }: Wanted) -> Self {
        Self { peer, ssrc, sequence }
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted { ssrc: self.ssrc, sequence: self.sequence }
    }
}

impl Viewer {
    pub(super) fn new(rtcp_in: RtcpOpener, rtcp_out: RtcpSealer) -> Self {
        let (legs, estimate) = (SmallVec::new(), ViewerEstimate::default());
        Self {
            rtcp_in,
            rtcp_out,
            legs,
            resends: None,
            rtt_ms: 0,
            estimate,
            feeds_back: false,
            hold_is_watched: false,
            loss_watch: None,
        }
    }

    pub(super) fn leg(&self, ssrc: u32) -> Option<LegPlace> {
        self.legs.iter().copied().find(|leg| leg.ssrc == ssrc)
    }

    /// Round trip, once a report told it.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        (self.rtt_ms > 0).then(|| Duration::from_millis(self.rtt_ms.into()))
    }

    /// Nothing that was learned of the path is true any more.
    pub(super) fn forget_path(&mut self) {
        (self.estimate, self.rtt_ms) = (ViewerEstimate::default(), 0);
        if let Some(resends) = &mut self.resends {
            resends.forget_path();
        }
    }

    /// Whether a packet is sent again that was asked for. `bits`: what it counts as.
    fn may_resend(&mut self, wanted: Wanted, now_ms: u32, bits: i64) -> bool {
        let interval_ms = (self.rtt_ms * 3 / 4).clamp(RESEND_INTERVAL_MIN_MS, RESEND_INTERVAL_MAX_MS);
        let share_bps = resend_share_bps(self.estimate.limit_bps());
        let resends = self.resends.get_or_insert_with(Box::default);
        resends.take(wanted, (now_ms, interval_ms), bits, share_bps)
    }
}

impl Plane {
    /// RTCP of a viewer.
    pub(super) fn receive_from_viewer(
        &mut self,
        now: Instant,
        arrival: Instant,
        peer: PeerKey,
        datagram: &mut [u8],
    ) {
        let Some(Role::Viewer(viewer)) = self.roles.get_mut(peer.index) else { return };
        let compound = match viewer.rtcp_in.open(datagram) {
            Ok(compound) => compound,
            Err(error) => return self.counters.rtcp_refused(error),
        };
        self.counters.rtcp_received_packets += 1;
        let mut feedbacks = 0;
        for packet in rtcp::packets(compound) {
            match packet {
                Ok(Packet::Nack(nack)) => {
                    self.counters.feedback_received.nack += 1;
                    for sequence in nack.sequences() {
                        self.want_resend(now, arrival, Resend { peer, ssrc: nack.media_ssrc, sequence });
                    }
                }
                Ok(Packet::PictureLoss(loss)) => {
                    self.counters.feedback_received.pli += 1;
                    self.viewer_wants_keyframe(now, peer, loss.media_ssrc);
                }
                Ok(Packet::FullIntra(request)) => {
                    self.counters.feedback_received.fir += 1;
                    for (ssrc, _) in request.entries() {
                        self.viewer_wants_keyframe(now, peer, ssrc);
                    }
                }
                Ok(Packet::ReceiverReport(report)) => {
                    self.counters.feedback_received.rr += 1;
                    report.blocks().for_each(|block| self.viewer_reports(now, peer, &block));
                }
                Ok(Packet::SenderReport(report)) => {
                    self.counters.feedback_received.sr += 1;
                    report.blocks().for_each(|block| self.viewer_reports(now, peer, &block));
                }
                Ok(Packet::TransportCc(feedback)) => {
                    self.counters.feedback_received.twcc += 1;
                    if feedbacks < DATAGRAM_FEEDBACKS_MAX {
                        self.viewer(peer).into_iter().for_each(|viewer| viewer.feeds_back = true);
                        self.viewer_feeds_back(now, peer, &feedback);
                        self.watch_feedback(now, peer, &feedback);
                    }
                    feedbacks += 1;
                }
                Ok(Packet::ReceiverEstimate(estimate)) => {
                    self.counters.feedback_received.remb += 1;
                    self.viewer_estimates(now, peer, estimate.bitrate_bps);
                }
                Ok(Packet::SourceDescription(_) | Packet::Goodbye(_) | Packet::Other { .. }) => {}
                Err(_) => self.counters.rtcp_malformed += 1,
            }
        }
    }

    fn want_resend(&mut self, now: Instant, arrival: Instant, resend: Resend) {
        let now_ms = self.since_epoch_ms(now);
        let Some(place) = self.viewer(resend.peer).map(|viewer| viewer.leg(resend.ssrc)) else { return };
        // What is not sent again must not take the place of what is.
        let left_behind = place.is_some() && self.is_left_behind(&resend);
        let bits = self.resend_bits(&resend);
        let Some(viewer) = self.viewer(resend.peer) else { return };
        if place.is_none() || left_behind || !viewer.may_resend(resend.wanted(), now_ms, bits) {
            self.counters.rtx_refused += 1;
        } else if self.resends.len() < RESEND_QUEUE_CAPACITY {
            self.resends.push(resend);
            self.resends_since.get_or_insert(arrival);
        } else {
            self.refuse_resend(&resend);
        }
    }

    fn viewer_wants_keyframe(&mut self, now: Instant, peer: PeerKey, ssrc: u32) {
        self.counters.keyframe_requests_received += 1;
        let Some(place) = self.viewer(peer).and_then(|viewer| viewer.leg(ssrc)) else { return };
        let leg = self.tracks.get(place.track).and_then(|track| track.legs.get(place.leg));
        if leg.is_some_and(|leg| leg.selection.holds_picture()) {
            return;
        }
        // Of what it plays it gets nothing while it is paused.
        let plays = |leg: &&Leg| leg.is_live() && !leg.is_paused();
        let layer = leg.map(|leg| if plays(&leg) { leg.mapping().layer() } else { leg.wanted.layer });
        if let Some(layer) = layer {
            self.want_keyframe(now, place.track, layer);
        }
    }

    fn viewer_reports(&mut self, now: Instant, peer: PeerKey, block: &ReportBlock) {
        let now_ms = self.since_epoch_ms(now);
        let Some(Role::Viewer(viewer)) = self.roles.get_mut(peer.index) else { return };
        let Some(place) = viewer.leg(block.ssrc) else { return };
        let leg = self.tracks.get_mut(place.track).and_then(|track| track.legs.get_mut(place.leg));
        let Some(leg) = leg else { return };
        (leg.fraction_lost, leg.reported_ms) = (block.fraction_lost, Some(now_ms));
        let mut packets = 0;
        if let Some(known) = viewer.legs.iter_mut().find(|leg| leg.ssrc == block.ssrc) {
            packets = known.told.passed(block.highest_sequence, leg.packets);
            let more = known.told.more(block.cumulative_lost, leg.packets);
            self.counters.viewers_lost_packets += if viewer.feeds_back { 0 } else { more };
        }
        let sent = leg.sent_report;
        if block.last_sender_report != 0 && block.last_sender_report == sent.middle_ntp {
            let held =
                Duration::from_micros((u64::from(block.delay_since_last_sender_report) * 1_000_000) >> 16);
            viewer.rtt_ms = now_ms.wrapping_sub(sent.at_ms).saturating_sub(held.as_millis() as u32);
            viewer.estimate.distress.round_trip(now_ms, viewer.rtt_ms);
        }
        self.viewer_reports_loss(now, peer, place, (block, packets));
        if self.tracks.get(place.track).is_some_and(|track| !track.is_video()) {
            self.watch_report(now, peer, block);
        }
    }

    pub(super) fn viewer(&mut self, peer: PeerKey) -> Option<&mut Viewer> {
        match self.roles.get_mut(peer.index) {
            Some(Role::Viewer(viewer)) => Some(viewer),
            _ => None,
        }
    }
}
