//! What a publisher is told: receiver reports, transport-wide feedback, what to send again, and that a keyframe is needed.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::super::schedule::Task;
use super::super::sender_report::CNAME;
use super::super::track::Track;
use super::super::transport::send_rtcp;
use super::super::{Plane, Role};
use super::{Publisher, RECEIVER_REPORT_INTERVAL};
use crate::media::counters::Counters;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::PeerKey;
use crate::media::rtcp::{MAX_REPORT_BLOCKS, ReportBlock, RtcpError, Writer};
use crate::media::spec::Layers;
use crate::media::twcc::MAX_FEEDBACK_BYTES;

/// Bytes of one compound at most, so that it is one unfragmented datagram on any path with its tag.
const COMPOUND_MAX_BYTES: usize = 1_160;

/// What could not be said now is tried again this much later.
const SOON: Duration = Duration::from_millis(1);

impl Plane {
    pub(in super::super) fn receiver_reports_due(&mut self, now: Instant, peer: PeerKey) {
        if self.owe(peer, |publisher| publisher.due.receiver_reports = true) {
            self.look_for_silence(now, peer);
            self.schedule.add(now + RECEIVER_REPORT_INTERVAL, Task::ReceiverReports(peer));
        }
    }

    pub(in super::super) fn transport_feedback_due(&mut self, peer: PeerKey) {
        self.owe(peer, |publisher| {
            publisher.feedback_scheduled = false;
            publisher.due.transport_feedback = true;
        });
    }

    pub(in super::super) fn nack_due(&mut self, peer: PeerKey) {
        self.owe(peer, |publisher| {
            publisher.nack_scheduled = false;
            publisher.due.nack = true;
        });
    }

    /// The publisher at `place` shall send a keyframe of `layer` of its track `number`. Whether it can be asked for one:
    /// before a layer's first packet nobody may know what it is called.
    pub(in super::super) fn publisher_owes_keyframe(&mut self, place: u32, number: u8, layer: u8) -> bool {
        let Some(peer) = self.transports.get(place).map(|transport| transport.key) else { return false };
        let Some(Role::Publisher(publisher)) = self.roles.get(place) else { return false };
        if publisher.demux.media_ssrc(number, layer).is_none() {
            return false;
        }
        self.owe(peer, |publisher| {
            if let Some(track) = publisher.tracks.get_mut(usize::from(number)) {
                track.keyframes_of = track.keyframes_of | Layers::of(layer);
            }
        })
    }

    /// What a publisher's packets make us say: now, if `at_once` lets us, or later.
    pub(super) fn schedule_feedback(&mut self, now: Instant, peer: PeerKey, at_once: bool) {
        let Some(Role::Publisher(publisher)) = self.roles.get_mut(peer.index) else { return };
        let mut due_now = false;
        let receptions = publisher.tracks.iter().flat_map(|track| &track.layers);
        if let Some(at) = receptions.filter_map(|layer| layer.reception.poll_timeout()).min() {
            if at_once && at <= now {
                publisher.due.nack = true;
                due_now = true;
            } else if !std::mem::replace(&mut publisher.nack_scheduled, true) {
                self.schedule.add(at.max(now + SOON), Task::Nack(peer));
            }
        }
        if let Some(at) = publisher.arrivals.poll_timeout() {
            if at_once && at <= now {
                publisher.due.transport_feedback = true;
                due_now = true;
            } else if !std::mem::replace(&mut publisher.feedback_scheduled, true) {
                self.schedule.add(at.max(now + SOON), Task::TransportFeedback(peer));
            }
        }
        if due_now {
            self.owe(peer, |_| {});
        }
    }

    /// Puts a publisher on the list of those who are told something with the next flush. Whether it is still here.
    fn owe(&mut self, peer: PeerKey, note: impl FnOnce(&mut Publisher)) -> bool {
        if !self.is_known(peer) {
            return false;
        }
        let Some(Role::Publisher(publisher)) = self.roles.get_mut(peer.index) else { return false };
        note(publisher);
        if !std::mem::replace(&mut publisher.due.listed, true) {
            self.feedback.push(peer);
        }
        true
    }

    pub(in super::super) fn send_feedback(
        &mut self,
        now: Instant,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) {
        // A loss that is given up here puts its publisher on the list again, for a keyframe.
        while let Some(peer) = self.feedback.pop() {
            self.send_feedback_to(now, peer, batch, transmit);
        }
    }

    fn send_feedback_to(
        &mut self,
        now: Instant,
        peer: PeerKey,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> Option<()> {
        let transport = self.transports.get(peer.index).filter(|known| known.key == peer)?;
        let Role::Publisher(publisher) = self.roles.get_mut(peer.index)? else { return None };
        publisher.due.listed = false;
        let path = transport.path;
        loop {
            let room = self.scratch.get_mut(..COMPOUND_MAX_BYTES)?;
            let mut writer = Writer::new(room);
            let more = publisher.write_compound(now, &mut writer, &mut self.counters);
            let len = writer.len();
            if len > 0 {
                let plain = self.scratch.get(..len)?;
                let sent = send_rtcp(path, &mut publisher.rtcp_out, plain, batch, transmit);
                self.counters.rtcp_sent_packets += u64::from(sent);
            }
            if !more || len == 0 {
                break;
            }
        }
        let mut beyond_repair: SmallVec<[(usize, Layers); 2]> = SmallVec::new();
        for track in &mut publisher.tracks {
            let lost = track.layers.iter_mut().zip(0_u8..);
            let lost =
                lost.filter_map(|(layer, index)| layer.reception.take_keyframe_wanted().then_some(index));
            beyond_repair.push((track.place, lost.fold(Layers::NONE, |all, index| all | Layers::of(index))));
        }
        for (place, lost) in beyond_repair {
            let track = self.tracks.get(place).filter(|track| track.comes_from(peer.index));
            let watched = track.map(Track::watched).unwrap_or_default();
            self.want_keyframes(now, place, lost & watched);
        }
        // What was asked for may have to be asked for again.
        self.schedule_feedback(now, peer, false);
        Some(())
    }
}

impl Publisher {
    /// Writes one compound of what is due. Whether there is more.
    fn write_compound(&mut self, now: Instant, writer: &mut Writer<'_>, counters: &mut Counters) -> bool {
        let due = std::mem::take(&mut self.due);
        let intra = self.tracks.iter().any(|track| !track.keyframes_of.is_empty());
        if !(due.receiver_reports || due.transport_feedback || due.nack || intra) {
            return false;
        }
        // Every compound begins with a report (RFC 3550 §6.1), an empty one if none is due.
        if self.write_reports(now, writer, due.receiver_reports).is_err() {
            return false;
        }
        counters.feedback_sent.rr += u64::from(due.receiver_reports);
        if due.nack {
            self.write_nacks(now, writer, counters);
        }
        self.write_keyframe_requests(writer, counters);
        if due.transport_feedback {
            self.due.transport_feedback = self.write_transport_feedback(writer, counters);
        }
        self.due.transport_feedback || self.tracks.iter().any(|track| !track.keyframes_of.is_empty())
    }

    fn write_reports(&mut self, now: Instant, writer: &mut Writer<'_>, whole: bool) -> Result<(), RtcpError> {
        let mut blocks = [ReportBlock::default(); MAX_REPORT_BLOCKS];
        let mut count = 0;
        if whole {
            let layers = self.tracks.iter_mut().flat_map(|track| &mut track.layers);
            let made = layers.filter_map(|layer| layer.reception.report_block(now));
            for (block, place) in made.zip(&mut blocks) {
                *place = block;
                count += 1;
            }
        }
        writer.receiver_report(self.ssrc, blocks.get(..count).unwrap_or_default())?;
        writer.cname(self.ssrc, CNAME)
    }

    fn write_nacks(&mut self, now: Instant, writer: &mut Writer<'_>, counters: &mut Counters) {
        for (number, track) in (0_u8..).zip(&mut self.tracks) {
            for (index, layer) in (0_u8..).zip(&mut track.layers) {
                let sequences = layer.reception.handle_timeout(now);
                if sequences.is_empty() {
                    continue;
                }
                let Some(media_ssrc) = self.demux.media_ssrc(number, index) else { continue };
                // What does not fit is asked for again after a round trip.
                if writer.nack(self.ssrc, media_ssrc, sequences).is_ok() {
                    counters.nack_sent_sequences += sequences.len() as u64;
                    counters.feedback_sent.nack += 1;
                }
            }
        }
    }

    fn write_keyframe_requests(&mut self, writer: &mut Writer<'_>, counters: &mut Counters) {
        for (number, track) in (0_u8..).zip(&mut self.tracks) {
            for layer in std::mem::take(&mut track.keyframes_of).iter() {
                let Some(media_ssrc) = self.demux.media_ssrc(number, layer) else { continue };
                let (written, count) = if track.media.feedback.fir && !track.media.feedback.pli {
                    track.intra_requests = track.intra_requests.wrapping_add(1);
                    let written = writer.full_intra(self.ssrc, media_ssrc, track.intra_requests);
                    (written, &mut counters.feedback_sent.fir)
                } else {
                    (writer.picture_loss(self.ssrc, media_ssrc), &mut counters.feedback_sent.pli)
                };
                if written.is_err() {
                    // Numbers of lost packets have filled the compound: the next one is empty.
                    track.keyframes_of = track.keyframes_of | Layers::of(layer);
                    continue;
                }
                *count += 1;
                counters.keyframe_requests_sent += 1;
            }
        }
    }

    /// Whether there is more to report.
    fn write_transport_feedback(&mut self, writer: &mut Writer<'_>, counters: &mut Counters) -> bool {
        if writer.len() + MAX_FEEDBACK_BYTES > COMPOUND_MAX_BYTES {
            return true;
        }
        let media_ssrc = self.demux.media_ssrc(0, 0).unwrap_or(0);
        let result = self.arrivals.write_feedback(writer, self.ssrc, media_ssrc);
        counters.feedback_sent.twcc += u64::from(result.is_ok());
        result.unwrap_or(false)
    }
}
