//! A publisher's packet as all others are to see it: its extensions under the node's ids, and what its payload is.

use crate::media::canonical::{PayloadForm, renumber};
use crate::media::codec::red::Redundancy;
use crate::media::negotiated::NegotiatedMedia;
use crate::media::rtp::RtpHeader;

/// Gives an opened packet canonical numbers. Where nothing is redundant in redundant sound (RFC 2198), or what is has another
/// codec, the frame is left alone with its header. `None` if it cannot be read.
pub(super) fn canonicalise<'a>(packet: &'a mut [u8], media: &NegotiatedMedia) -> Option<&'a mut [u8]> {
    let header = RtpHeader::parse(packet).ok()?;
    renumber(packet, &header, &media.extensions);
    if media.red_payload_type != Some(header.payload_type) {
        PayloadForm::Plain.mark(packet);
        return Some(packet);
    }
    let redundancy = Redundancy::parse(packet.get(header.payload())?)?;
    if redundancy.payload_type != media.codec.payload_type {
        return None;
    }
    if redundancy.older_frames > 0 && redundancy.is_uniform {
        PayloadForm::Redundant.mark(packet);
        return Some(packet);
    }
    let before = usize::from(redundancy.bytes);
    packet.copy_within(..header.header_len(), before);
    let packet = packet.get_mut(before..)?;
    PayloadForm::Plain.mark(packet);
    Some(packet)
}
