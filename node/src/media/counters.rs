//! What a plane counts: plain numbers that its owner reads once a second.

use crate::media::codec::CodecKind;
use crate::media::rtcp::Packet;
use crate::media::srtp::SrtpError;

/// Packets and bytes of one codec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// RTP packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One [`Flow`] for each codec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flows([Flow; CodecKind::ALL.len()]);

impl Flows {
    /// The flow of `codec`.
    pub fn of(&self, codec: CodecKind) -> Flow {
        self.0.get(codec as usize).copied().unwrap_or_default()
    }

    /// Adds to the flow of `codec`.
    pub(super) fn add(&mut self, codec: CodecKind, packets: u64, bytes: u64) {
        if let Some(flow) = self.0.get_mut(codec as usize) {
            flow.packets += packets;
            flow.bytes += bytes;
        }
    }
}

/// RTCP messages of each type in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Generic NACK (RFC 4585 §6.2.1).
    pub nack: u64,
    /// Picture loss indications (RFC 4585 §6.3.1).
    pub pli: u64,
    /// Full intra requests (RFC 5104 §4.3.1).
    pub fir: u64,
    /// Transport-wide congestion feedback.
    pub twcc: u64,
    /// Receiver reports.
    pub rr: u64,
    /// Sender reports.
    pub sr: u64,
    /// Receiver estimated maximum bitrate.
    pub remb: u64,
}

impl Feedback {
    /// Counts a message, if it is one of these.
    pub(super) fn count(&mut self, packet: &Packet<'_>) {
        let count = match packet {
            Packet::Nack(_) => &mut self.nack,
            Packet::PictureLoss(_) => &mut self.pli,
            Packet::FullIntra(_) => &mut self.fir,
            Packet::TransportCc(_) => &mut self.twcc,
            Packet::ReceiverReport(_) => &mut self.rr,
            Packet::SenderReport(_) => &mut self.sr,
            Packet::ReceiverEstimate(_) => &mut self.remb,
            Packet::SourceDescription(_) | Packet::Goodbye(_) | Packet::Other { .. } => return,
        };
        *count += 1;
    }
}

/// How often viewers began to get redundancy that the node adds to sound, and how often that ended before they left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RedundancyChanges {
    /// They lose much.
    pub on: u64,
    /// They have not for a while.
    pub off: u64,
}

/// Totals since the plane was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// RTP packets from publishers that authenticated.
    pub rtp_received_packets: u64,
    /// RTP packets sealed for viewers, retransmissions included.
    pub rtp_sent_packets: u64,
    /// Their bytes as datagrams.
    pub rtp_sent_bytes: u64,
    /// What tracks took in, by codec: repaired packets included, duplicates not.
    pub taken_in: Flows,
    /// What legs sent, by codec: retransmissions included.
    pub sent: Flows,
    /// RTCP compounds that authenticated.
    pub rtcp_received_packets: u64,
    /// RTCP compounds sealed.
    pub rtcp_sent_packets: u64,
    /// RTP that failed authentication.
    pub rtp_unauthentic: u64,
    /// RTCP that failed authentication.
    pub rtcp_unauthentic: u64,
    /// RTP that was received before.
    pub rtp_replayed: u64,
    /// RTCP that was received before.
    pub rtcp_replayed: u64,
    /// RTP that cannot be read, or that a peer has no business sending.
    pub rtp_malformed: u64,
    /// RTCP that cannot be read.
    pub rtcp_malformed: u64,
    /// Datagrams of a peer that the plane does not know.
    pub peer_unknown: u64,
    /// RTP that authenticated but belongs to no track.
    pub rtp_unmapped: u64,
    /// RTP that came twice, first by itself and then repaired, or the reverse.
    pub rtp_duplicate: u64,
    /// RTP that came after its place in the ring was reused.
    pub rtp_too_old: u64,
    /// RTP that came by retransmission from a publisher.
    pub rtx_received_packets: u64,
    /// RTP of redundant sound (RFC 2198) from publishers.
    pub red_received_packets: u64,
    /// See [`RedundancyChanges`].
    pub redundancy_changes: RedundancyChanges,
    /// Sequence numbers that we asked publishers for again.
    pub nack_sent_sequences: u64,
    /// Retransmissions sent to viewers.
    pub rtx_sent_packets: u64,
    /// Retransmissions not sent: asked for again too soon, over the peer's budget, more than may wait, or of a layer that the
    /// viewer leaves.
    pub rtx_refused: u64,
    /// Retransmissions not sent because the packet is no longer, or never was, in the ring.
    pub rtx_gone: u64,
    /// Messages from publishers and viewers.
    pub feedback_received: Feedback,
    /// Messages to them.
    pub feedback_sent: Feedback,
    /// RTP from publishers that did not come in its turn, what was repaired later included.
    pub rtp_missed_packets: u64,
    /// RTP from publishers that never came, not even repaired.
    pub rtp_unrepaired_packets: u64,
    /// RTP from publishers that had not come when its layer was turned off: it is not sent again, and was given up.
    pub rtp_abandoned_packets: u64,
    /// Wishes for a keyframe that had to wait because one was asked for just before.
    pub keyframe_requests_throttled: u64,
    /// Times that a viewer began with what a ring had, or went down to it or on with it, so that no keyframe was asked for.
    pub keyframe_requests_cached: u64,
    /// PLI and FIR from viewers.
    pub keyframe_requests_received: u64,
    /// PLI or FIR sent to publishers.
    pub keyframe_requests_sent: u64,
    /// Packets that viewers say they have not received: by transport-wide feedback, or by receiver reports without it.
    pub viewers_lost_packets: u64,
    /// Packets sent again to probe, which nobody had asked for.
    pub probe_sent_packets: u64,
    /// Probes whose packets arrived as fast as they were sent.
    pub probes_proved: u64,
    /// Probes that found less room than they asked for.
    pub probes_failed: u64,
    /// Packets that did not fit into the batch or that the cryptographic library refused. Always 0 unless we err.
    pub seal_failed: u64,
    /// Packets that came from other shards.
    pub shard_received_packets: u64,
}

impl Counters {
    pub(super) fn rtp_refused(&mut self, error: SrtpError) {
        match error {
            SrtpError::Authentication => self.rtp_unauthentic += 1,
            SrtpError::Replay => self.rtp_replayed += 1,
            _ => self.rtp_malformed += 1,
        }
    }

    pub(super) fn rtcp_refused(&mut self, error: SrtpError) {
        match error {
            SrtpError::Authentication => self.rtcp_unauthentic += 1,
            SrtpError::Replay => self.rtcp_replayed += 1,
            _ => self.rtcp_malformed += 1,
        }
    }
}
