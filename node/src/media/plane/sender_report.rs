//! Sender reports to viewers: one compound per viewer and second, at a time of its own within the second.

use std::time::{Duration, Instant};

use super::schedule::Task;
use super::transport::send_rtcp;
use super::{Plane, Role};
use crate::media::leg::SentReport;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::PeerKey;
use crate::media::rtcp::{SenderInfo, Writer};

/// How often each viewer is told: libwebrtc's own interval for video.
pub(super) const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The name that ties a viewer's streams together (RFC 3550 §6.5.1). It only has to be one for all streams of a connection.
pub(super) const CNAME: &str = "aforo";

impl Plane {
    /// A viewer's reports are due: they leave with the next flush, and come again in a second.
    pub(super) fn sender_reports_due(&mut self, now: Instant, peer: PeerKey) {
        if self.is_known(peer) {
            self.reports.push(peer);
            self.schedule.add(now + SENDER_REPORT_INTERVAL, Task::SenderReports(peer));
        }
    }

    pub(super) fn send_sender_reports(
        &mut self,
        now: Instant,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) {
        while let Some(peer) = self.reports.pop() {
            self.send_sender_report(now, peer, batch, transmit);
        }
    }

    fn send_sender_report(
        &mut self,
        now: Instant,
        peer: PeerKey,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> Option<()> {
        let at_ms = self.since_epoch_ms(now);
        let transport = self.transports.get(peer.index).filter(|known| known.key == peer)?;
        let Role::Viewer(viewer) = self.roles.get_mut(peer.index)? else { return None };
        let mut writer = Writer::new(self.scratch.as_mut_slice());
        for place in &viewer.legs {
            let Some(track) = self.tracks.get_mut(place.track) else { continue };
            let clock_rate_hz = track.clock_rate_hz();
            let Some(leg) = track.legs.get_mut(place.leg).filter(|leg| leg.is_live()) else { continue };
            let layer = track.layers.get(usize::from(leg.mapping().layer()));
            let layer = layer.filter(|layer| !layer.has_ended(leg.mapping().first_source()));
            let Some(clock) = layer.and_then(|layer| layer.clock(now, self.epoch)) else { continue };
            let (ntp, rtp_timestamp) = clock.at(now, clock_rate_hz);
            let info = SenderInfo {
                ntp,
                rtp_timestamp: leg.mapping().timestamp(rtp_timestamp),
                packet_count: leg.packets,
                octet_count: leg.octets,
            };
            writer.sender_report(leg.ssrc, &info, &[]).and_then(|()| writer.cname(leg.ssrc, CNAME)).ok()?;
            leg.sent_report = SentReport { middle_ntp: info.middle_ntp(), at_ms };
        }
        let len = writer.len();
        if len > 0 {
            let plain = self.scratch.get(..len)?;
            let sent = send_rtcp(transport.path, &mut viewer.rtcp_out, plain, batch, transmit);
            self.counters.rtcp_sent_packets += u64::from(sent);
            self.counters.feedback_sent.sr += u64::from(sent);
        }
        Some(())
    }
}
