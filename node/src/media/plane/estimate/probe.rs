//! Probes on their way: what is sent once more behind the media, and when one begins.

use std::time::Instant;

use super::super::schedule::Task;
use super::super::transport::SendTime;
use super::super::viewer::{LegPlace, Resend};
use super::super::{Plane, Role};
use crate::media::estimate::PROBE_STEP;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::PeerKey;

/// Packets that one burst of a probe sends again at most; the newest of the leg, over and over if need be.
const PROBE_BURST_PACKETS: u16 = 64;

/// How many of the newest packets a probe sends again: they are in the ring for sure, and one that was lost is repaired.
const PROBE_RECENT_PACKETS: u16 = 16;

impl Plane {
    /// Begins a probe if a better layer would be played, were it known to fit.
    pub(in super::super) fn probe_if_wanted(&mut self, now: Instant, peer: PeerKey) {
        let Some(wanted_bps) = self.wanted_bps(now, peer) else { return };
        let now_micros = self.since_epoch_micros(now);
        let Some(Role::Viewer(viewer)) = self.roles.get_mut(peer.index) else { return };
        let log = self.transports.get(peer.index).and_then(|transport| transport.sent_log.as_ref());
        let (Some(estimator), Some(log)) = (&mut viewer.estimate.by_feedback, log) else { return };
        if estimator.begin_probe(now_micros, wanted_bps, log) {
            self.probes.push(peer);
        }
    }

    /// Sends the bursts of probes that are due. They come behind the media of the same flush, and go on at the next step.
    pub(in super::super) fn send_probes(
        &mut self,
        now: Instant,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) {
        let now_micros = self.since_epoch_micros(now);
        let mut probes = std::mem::take(&mut self.probes);
        for peer in probes.drain(..) {
            let Some(leg) = self.padding_leg(peer).filter(|_| self.is_known(peer)) else { continue };
            let Some(Role::Viewer(viewer)) = self.roles.get_mut(peer.index) else { continue };
            let log = self.transports.get(peer.index).and_then(|transport| transport.sent_log.as_ref());
            let (Some(estimator), Some(log)) = (&mut viewer.estimate.by_feedback, log) else { continue };
            let Some(bytes) = estimator.probe_step(now_micros, log) else { continue };
            self.send_padding(peer, leg, bytes, send_time, batch, transmit);
            self.schedule.add(now + PROBE_STEP, Task::Probe(peer));
        }
        self.probes = probes;
    }

    /// Sends at least `bytes` of what the leg sent last once more, as retransmissions.
    fn send_padding(
        &mut self,
        peer: PeerKey,
        place: LegPlace,
        bytes: usize,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) {
        let leg = self.tracks.get(place.track).and_then(|track| track.legs.get(place.leg));
        let Some((newest, held)) = leg.map(|leg| (leg.highest_out() as u16, leg.selection.holds_picture()))
        else {
            return;
        };
        let mut sent = 0;
        for number in 0..PROBE_BURST_PACKETS {
            if sent >= bytes {
                return;
            }
            let sequence = newest.wrapping_sub(number % PROBE_RECENT_PACKETS);
            let resend = Resend { peer, ssrc: place.ssrc, sequence };
            let len = if held {
                self.send_filler(&resend, send_time, batch, transmit)
            } else {
                self.resend(&resend, send_time, batch, transmit)
            };
            if let Some(len) = len {
                sent += len;
                self.counters.probe_sent_packets += 1;
            }
        }
    }
}
