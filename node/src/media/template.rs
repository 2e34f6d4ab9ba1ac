//! Leg classes: viewers whose packets differ only in SSRC, sequence numbers and key share one prepared header per packet.
//!
//! What a publisher sends is taken apart once per class, not once per viewer: the class writes the whole header with
//! payload type, extension ids and MID of its viewers, and a leg copies it and patches 14 bytes.

use smallvec::SmallVec;

use crate::media::canonical::{PayloadForm, canonical_id};
use crate::media::codec::red::Redundancy;
use crate::media::extension::{ExtensionKind, ExtensionMap};
use crate::media::negotiated::NegotiatedMedia;
use crate::media::rtp::{HeaderFields, MAX_WRITTEN_EXTENSIONS, RtpHeader, write_header};

/// Bytes of the longest header we write: fixed header, MID, TWCC, and a dependency descriptor with its whole template
/// structure (some 100 bytes for three spatial and three temporal layers).
pub const HEADER_MAX_BYTES: usize = 192;

/// Headers up to this length are copied as one block of fixed size, which compiles to four vector moves.
const SHORT_HEADER_BYTES: usize = 64;

/// Kinds that mean something end to end, in the order in which they are written. Hop-by-hop kinds are written anew, and
/// what only a server needs (RID, layer allocation) stays here.
const END_TO_END: [ExtensionKind; 5] = [
    ExtensionKind::AudioLevel,
    ExtensionKind::VideoOrientation,
    ExtensionKind::PlayoutDelay,
    ExtensionKind::AbsCaptureTime,
    ExtensionKind::DependencyDescriptor,
];

/// What makes two viewers of a track alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegClass {
    payload_type: u8,
    rtx_payload_type: Option<u8>,
    red_payload_type: Option<u8>,
    /// Whether its viewers get the redundancy that the node adds.
    takes_added: bool,
    extensions: ExtensionMap,
    mid: SmallVec<[u8; 16]>,
}

impl LegClass {
    /// The class of a viewer's m-section.
    ///
    /// A viewer that asks for packets again but has no RTX gets them again as they were, under the same nonce: then
    /// nothing in them may depend on when they are sent, so its class has no transport-wide sequence number.
    pub fn of(media: &NegotiatedMedia) -> Self {
        let mut extensions = media.extensions;
        if media.feedback.nack && media.rtx_payload_type.is_none() {
            extensions.set(ExtensionKind::TransportWideCc, 0);
            extensions.set(ExtensionKind::AbsSendTime, 0);
        }
        Self {
            payload_type: media.codec.payload_type,
            rtx_payload_type: media.rtx_payload_type,
            red_payload_type: media.red_payload_type,
            takes_added: false,
            extensions,
            mid: SmallVec::from_slice(media.mid.as_bytes()),
        }
    }

    /// Whether its packets have transport-wide sequence numbers, so that feedback speaks of them.
    pub fn counts_transport(&self) -> bool {
        self.extensions.id(ExtensionKind::TransportWideCc).is_some()
    }

    /// Whether its packets look the same whenever they are sent.
    pub fn is_verbatim(&self) -> bool {
        let sent_anew = [ExtensionKind::TransportWideCc, ExtensionKind::AbsSendTime];
        sent_anew.into_iter().all(|kind| self.extensions.id(kind).is_none())
    }

    /// The same with or without the redundancy that the node adds; `None` if its viewers did not agree on any.
    pub fn with_added(&self, takes_added: bool) -> Option<Self> {
        self.red_payload_type.map(|_| Self { takes_added, ..self.clone() })
    }

    /// Whether its viewers get the redundancy that the node adds.
    pub fn takes_added(&self) -> bool {
        self.takes_added
    }

    /// Whether its viewers get what is redundant in packets of this form.
    pub fn takes(&self, form: PayloadForm) -> bool {
        match form {
            PayloadForm::Plain => false,
            PayloadForm::Redundant => self.red_payload_type.is_some(),
            PayloadForm::Added => self.red_payload_type.is_some() && self.takes_added,
        }
    }

    /// The header of a retransmission (RFC 4588 §4) of `packet`; `None` without RTX.
    pub fn rtx_header(&self, packet: &[u8], header: &RtpHeader, send_time: u32) -> Option<HeaderTemplate> {
        Some(self.write(self.rtx_payload_type?, packet, header, send_time))
    }

    /// The header of `packet`, which has canonical extension ids, for this class's viewers; SSRC, sequence and transport-wide
    /// sequence number are zero. `send_time`: abs-send-time, 6.18 fixed-point seconds in 24 bits.
    pub fn header(&self, packet: &[u8], header: &RtpHeader, send_time: u32) -> HeaderTemplate {
        self.write(self.payload_type, packet, header, send_time)
    }

    /// As [`Self::header`], of a packet whose frame may stand behind `redundancy`: who did not agree on it gets the frame alone.
    pub fn header_of_form(
        &self,
        packet: &[u8],
        header: &RtpHeader,
        redundancy: Option<Redundancy>,
        send_time: u32,
    ) -> HeaderTemplate {
        let mut template = self.header(packet, header, send_time);
        let Some(redundancy) = redundancy else { return template };
        match self.red_payload_type.filter(|_| self.takes(PayloadForm::of(header))) {
            Some(red) => {
                let [_, marker_and_type, ..] = &mut template.bytes;
                *marker_and_type = *marker_and_type & 0x80 | red & 0x7F;
                let foreign = redundancy.payload_type != self.payload_type;
                template.frames_type = foreign.then_some(self.payload_type);
            }
            None => template.skip = redundancy.bytes,
        }
        template
    }

    fn write(&self, payload_type: u8, packet: &[u8], header: &RtpHeader, send_time: u32) -> HeaderTemplate {
        let [_, send_time @ ..] = send_time.to_be_bytes();
        let mut list: SmallVec<[(u8, &[u8]); MAX_WRITTEN_EXTENSIONS]> = SmallVec::new();
        let (mut twcc_place, mut descriptor_place) = (None, None);
        if let Some(id) = self.extensions.id(ExtensionKind::Mid).filter(|_| !self.mid.is_empty()) {
            list.push((id, &self.mid));
        }
        if let Some(id) = self.extensions.id(ExtensionKind::TransportWideCc) {
            twcc_place = Some(list.len());
            list.push((id, &[0, 0]));
        }
        if let Some(id) = self.extensions.id(ExtensionKind::AbsSendTime) {
            list.push((id, &send_time));
        }
        let ours = list.len();
        if header.extension_form.is_some() {
            for kind in END_TO_END {
                let value = header.extension(packet, canonical_id(kind));
                if let (Some(id), Some(value)) = (self.extensions.id(kind), value) {
                    if kind == ExtensionKind::DependencyDescriptor {
                        descriptor_place = Some(list.len());
                    }
                    list.push((id, value));
                }
            }
        }
        let fields = HeaderFields {
            marker: header.marker,
            padding: header.padding_len != 0,
            payload_type,
            sequence: 0,
            timestamp: header.timestamp,
            ssrc: 0,
        };
        let mut template = HeaderTemplate {
            bytes: [0; HEADER_MAX_BYTES],
            len: 0,
            twcc_at: 0,
            descriptor_at: 0,
            skip: 0,
            frames_type: None,
        };
        // A header that is too long for us loses what came from the publisher; ours always fits.
        let written = write_header(&mut template.bytes, &fields, &list)
            .or_else(|_| write_header(&mut template.bytes, &fields, list.get(..ours).unwrap_or_default()));
        if let Ok(written) = written {
            template.len = written.len as u16;
            let offset = |place: Option<usize>| {
                place.and_then(|place| written.value_offset(place)).unwrap_or(0) as u16
            };
            template.twcc_at = offset(twcc_place);
            template.descriptor_at = offset(descriptor_place);
        }
        template
    }
}

/// A header that lacks only what differs between the viewers of a class.
#[derive(Debug, Clone)]
pub struct HeaderTemplate {
    bytes: [u8; HEADER_MAX_BYTES],
    len: u16,
    /// Offset of the transport-wide sequence number; 0 without one.
    twcc_at: u16,
    /// Offset of the dependency descriptor; 0 without one.
    descriptor_at: u16,
    /// Bytes at the start of the payload that are not sent.
    skip: u16,
    /// What the frames of redundant sound are to be numbered with, if its publisher's number is another.
    frames_type: Option<u8>,
}

/// What a leg puts into a copy of a [`HeaderTemplate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegFields {
    /// Of the leg.
    pub sequence: u16,
    /// Of the packet, on the leg's time line.
    pub timestamp: u32,
    /// Of the leg.
    pub ssrc: u32,
    /// Of the peer, if the class has the extension.
    pub transport_sequence: u16,
    /// Whether the marker bit is set even if the publisher's packet has none.
    pub ends_picture: bool,
    /// Added to the frame number of the dependency descriptor, wrapping.
    pub frame_shift: u16,
}

impl HeaderTemplate {
    /// Bytes of the header.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Says that the payload ends with padding (RFC 3550 §5.1).
    pub fn announce_padding(&mut self) {
        let [first, ..] = &mut self.bytes;
        *first |= 0x20;
    }

    /// Whether nothing could be written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is sent of a payload: its place and length.
    #[inline]
    pub fn sent_part(&self, start: u32, len: u32) -> (u32, u32) {
        let skip = u32::from(self.skip);
        (start + skip, len.saturating_sub(skip))
    }

    /// The payload type that the frames of redundant sound are to have instead of theirs.
    #[inline]
    pub fn frames_type(&self) -> Option<u8> {
        self.frames_type
    }

    /// Whether each packet takes a transport-wide sequence number.
    #[inline]
    pub fn has_transport_sequence(&self) -> bool {
        self.twcc_at != 0
    }

    /// Writes the finished header to the start of `out`, which has room for at least [`Self::len`] bytes; bytes behind the
    /// header, which the payload will overwrite, may change. `None` if there is no room.
    #[inline]
    pub fn write(&self, out: &mut [u8], fields: &LegFields) -> Option<()> {
        match (out.first_chunk_mut::<SHORT_HEADER_BYTES>(), self.bytes.first_chunk::<SHORT_HEADER_BYTES>()) {
            (Some(out), Some(bytes)) if self.len() <= SHORT_HEADER_BYTES => *out = *bytes,
            _ => out.get_mut(..self.len())?.copy_from_slice(self.bytes.get(..self.len())?),
        }
        let [_, _, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = out.first_chunk_mut::<12>()?;
        [*s0, *s1] = fields.sequence.to_be_bytes();
        [*t0, *t1, *t2, *t3] = fields.timestamp.to_be_bytes();
        [*c0, *c1, *c2, *c3] = fields.ssrc.to_be_bytes();
        if self.twcc_at != 0 {
            let at = usize::from(self.twcc_at);
            out.get_mut(at..at + 2)?.copy_from_slice(&fields.transport_sequence.to_be_bytes());
        }
        if fields.ends_picture {
            *out.get_mut(1)? |= 0x80;
        }
        if fields.frame_shift != 0 && self.descriptor_at != 0 {
            // The frame number follows on the two flags and the template's id.
            let at = usize::from(self.descriptor_at) + 1;
            let number = out.get_mut(at..)?.first_chunk_mut::<2>()?;
            *number = u16::from_be_bytes(*number).wrapping_add(fields.frame_shift).to_be_bytes();
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
