//! The sending side of a peer: where packets go, the key that seals them, and the numbers that all of its tracks share.

use crate::media::codec::{PictureNumbers, PictureShift};
use crate::media::estimate::SentLog;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::{Path, PeerKey};
use crate::media::srtp::{RtcpSealer, RtpSealer};
use crate::media::template::{HeaderTemplate, LegFields};

/// See the module. Its place in the plane's table is the peer's index; only the hot path's needs are in here, and they
/// begin with a cache line of their own.
#[repr(align(64))]
pub(super) struct Transport {
    pub(super) path: Path,
    pub(super) rtp: RtpSealer,
    pub(super) key: PeerKey,
    /// The next transport-wide sequence number; wraps.
    next_transport_sequence: u16,
    /// Whether its first packet and first keyframe were told of.
    pub(super) media_told: bool,
    pub(super) keyframe_told: bool,
    /// What was sent and when, once the viewer gives feedback on it and something depends on it.
    pub(super) sent_log: Option<Box<SentLog>>,
}

/// When packets leave.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendTime {
    /// As packets say it: abs-send-time, seconds in 6.18 fixed point.
    pub(super) fixed_point: u32,
    /// As the log keeps it: µs on the plane's clock; wraps.
    pub(super) micros: u32,
}

/// A packet on its way out: which nonce, under which header.
pub(super) struct Outgoing<'a> {
    pub(super) header: &'a HeaderTemplate,
    pub(super) ssrc: u32,
    /// Rollover counter and sequence number.
    pub(super) index: u64,
    pub(super) timestamp: u32,
    pub(super) payload: &'a [u8],
    /// The picture numbers of the payload and what is added to them, if they change.
    pub(super) picture: Option<(PictureNumbers, PictureShift)>,
    /// When it is sent, in µs on the plane's clock; wraps.
    pub(super) at_micros: u32,
}

impl Transport {
    pub(super) fn new(key: PeerKey, path: Path, rtp: RtpSealer, first_transport_sequence: u16) -> Self {
        Self {
            path,
            rtp,
            key,
            next_transport_sequence: first_transport_sequence,
            media_told: false,
            keyframe_told: false,
            sent_log: None,
        }
    }

    /// From the next packet on, what is sent is remembered until the viewer reports it.
    pub(super) fn keep_log(&mut self) {
        self.sent_log = Some(Box::new(SentLog::new(self.next_transport_sequence)));
    }

    /// Seals `packet` straight into `batch`. Returns the datagram's bytes; `None` if it could not be sealed.
    #[inline]
    pub(super) fn send(
        &mut self,
        packet: &Outgoing<'_>,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> Option<usize> {
        let header_bytes = packet.header.len();
        let len = header_bytes + packet.payload.len() + self.rtp.overhead_bytes();
        let out = batch.datagram(self.path, len, transmit)?;
        let fields = LegFields {
            sequence: packet.index as u16,
            timestamp: packet.timestamp,
            ssrc: packet.ssrc,
            transport_sequence: self.next_transport_sequence,
        };
        if packet.header.has_transport_sequence() {
            self.next_transport_sequence = self.next_transport_sequence.wrapping_add(1);
            if let Some(log) = &mut self.sent_log {
                log.record(packet.at_micros, len);
            }
        }
        let nonce = (packet.ssrc, packet.index);
        let written = packet.header.write(out, &fields);
        let sealed = match packet.picture {
            None => self.rtp.seal(nonce, out, header_bytes, packet.payload),
            Some((numbers, shift)) => {
                // One copy more, of bytes that sealing reads anyway; only viewers that changed layers pay for it.
                let end = header_bytes + packet.payload.len();
                if let Some(place) = out.get_mut(header_bytes..end) {
                    place.copy_from_slice(packet.payload);
                    numbers.rewrite(shift, place);
                }
                self.rtp.seal_in_place(nonce, out, header_bytes)
            }
        };
        if written.is_none() || sealed.is_err() {
            // The space is spoken for, and what lies in it is not for the wire.
            out.fill(0);
            return None;
        }
        Some(len)
    }
}

/// Seals the compound packet `plain` into `batch`. Whether it could be.
pub(super) fn send_rtcp(
    path: Path,
    sealer: &mut RtcpSealer,
    plain: &[u8],
    batch: &mut SendBatch,
    transmit: &mut impl Transmit,
) -> bool {
    let Some(out) = batch.datagram(path, plain.len() + sealer.overhead_bytes(), transmit) else {
        return false;
    };
    let sealed = out.get_mut(..plain.len()).is_some_and(|place| {
        place.copy_from_slice(plain);
        true
    }) && sealer.seal(out).is_ok();
    if !sealed {
        out.fill(0);
    }
    sealed
}
