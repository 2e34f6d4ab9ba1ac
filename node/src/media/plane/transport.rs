//! The sending side of a peer: where packets go, the key that seals them, and the numbers that all of its tracks share.

use crate::media::codec::{PictureNumbers, PictureShift, red};
use crate::media::estimate::SentLog;
use crate::media::leg::Mapping;
use crate::media::numbering::Place;
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
    /// When it is sent, in µs on the plane's clock; wraps.
    pub(super) at_micros: u32,
    pub(super) rewrite: Rewrite,
}

/// What of a packet is not as its publisher wrote it, beyond what differs between viewers anyway.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rewrite {
    /// The picture numbers of the payload and what is added to them.
    pub(super) picture: Option<(PictureNumbers, PictureShift)>,
    /// Added to the frame number of the dependency descriptor.
    pub(super) frame_shift: u16,
    /// Whether it ends its picture, though its publisher's picture goes on.
    pub(super) ends_picture: bool,
}

impl Rewrite {
    /// That of a packet that stands at `place` of what a leg plays.
    #[inline]
    pub(super) fn of(mapping: &Mapping, place: &Place, numbers: Option<PictureNumbers>) -> Self {
        let shift = mapping.picture();
        let shift = PictureShift { id: shift.id.wrapping_sub(place.pictures), ..shift };
        let picture = numbers.filter(|_| !shift.is_none()).map(|numbers| (numbers, shift));
        Self { picture, frame_shift: mapping.frame_shift(), ends_picture: place.ends_picture }
    }
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
            ends_picture: packet.rewrite.ends_picture,
            frame_shift: packet.rewrite.frame_shift,
        };
        if packet.header.has_transport_sequence() {
            self.next_transport_sequence = self.next_transport_sequence.wrapping_add(1);
            if let Some(log) = &mut self.sent_log {
                log.record(packet.at_micros, len);
            }
        }
        let nonce = (packet.ssrc, packet.index);
        let written = packet.header.write(out, &fields);
        let sealed = match (packet.rewrite.picture, packet.header.frames_type()) {
            (None, None) => self.rtp.seal(nonce, out, header_bytes, packet.payload),
            (picture, frames_type) => {
                // One copy more, of bytes that sealing reads anyway; only viewers that changed layers pay for it, and those who
                // number their codecs otherwise than a publisher of redundant sound.
                let end = header_bytes + packet.payload.len();
                if let Some(place) = out.get_mut(header_bytes..end) {
                    place.copy_from_slice(packet.payload);
                    if let Some((numbers, shift)) = picture {
                        numbers.rewrite(shift, place);
                    }
                    frames_type.into_iter().for_each(|number| red::renumber(place, number));
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
