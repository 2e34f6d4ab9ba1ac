//! Maps the RTP packets of one publisher to track, layer and whether they are retransmissions.
//!
//! Inputs: what was agreed for each track, opened packets. Output: a [`Route`] per packet, or why there is none.
//!
//! An SSRC that the offer announced (`a=ssrc`) is known from the start. Of any other, its first packet says where it belongs:
//! by MID and RID (RFC 9143, RFC 8852), or by its payload type as the last resort. Publishers stop writing MID and RID once
//! they know that we have them, so an SSRC that was mapped stays mapped until another takes over its place.

use crate::media::extension::{ExtensionKind, ExtensionMap};
use crate::media::negotiated::NegotiatedMedia;
use crate::media::rtp::{FIXED_HEADER_BYTES, RtpHeader};

/// SSRCs known at once: two tracks with a handful of layers and their retransmissions fill half of it. When it is full
/// the packets of further SSRCs are dropped; an SSRC that takes the place of another does not count.
const SSRC_TABLE_CAPACITY: usize = 32;

/// Where a packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Index of its track in the list that the demux was made with.
    pub track: u8,
    /// Index of its layer in the track's RIDs; 0 without simulcast.
    pub layer: u8,
    /// Whether it is a retransmission that [`unwrap_rtx`] must open (RFC 4588).
    pub rtx: bool,
}

/// Why a packet belongs nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unroutable {
    /// Its payload type was not agreed on, or not for its track.
    #[error("payload type {0} is not agreed on")]
    PayloadType(u8),
    /// Its MID names no m-section.
    #[error("the mid names no track")]
    Mid,
    /// It is of a simulcast track and has no RID, or one that was not announced.
    #[error("the rid names no layer")]
    Rid,
    /// [`SSRC_TABLE_CAPACITY`] other SSRCs are in use.
    #[error("too many streams")]
    TableFull,
}

impl Unroutable {
    /// The label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PayloadType(_) => "unknown_payload_type",
            Self::Mid => "unknown_mid",
            Self::Rid => "unknown_rid",
            Self::TableFull => "too_many_ssrcs",
        }
    }
}

/// What the demux knows of a track.
#[derive(Debug, Clone)]
struct Track {
    mid: String,
    rids: Vec<String>,
    extensions: ExtensionMap,
    payload_type: u8,
    rtx_payload_type: Option<u8>,
    red_payload_type: Option<u8>,
}

impl Track {
    /// Whether `payload_type` is that of retransmissions; `None` if it is none of this track's.
    fn is_rtx(&self, payload_type: u8) -> Option<bool> {
        if payload_type == self.payload_type || self.red_payload_type == Some(payload_type) {
            return Some(false);
        }
        (self.rtx_payload_type == Some(payload_type)).then_some(true)
    }

    fn extension<'a>(&self, kind: ExtensionKind, header: &RtpHeader, packet: &'a [u8]) -> Option<&'a [u8]> {
        self.extensions.id(kind).and_then(|id| header.extension(packet, id))
    }
}

/// The map of one publisher's streams.
#[derive(Debug, Clone)]
pub struct Demux {
    tracks: Vec<Track>,
    ssrcs: Vec<(u32, Route)>,
}

impl Demux {
    /// A map of `tracks`; routes name them by their place in it. At most 255 are looked at.
    pub fn new<'a>(tracks: impl IntoIterator<Item = &'a NegotiatedMedia>) -> Self {
        let mut demux = Self { tracks: Vec::new(), ssrcs: Vec::with_capacity(SSRC_TABLE_CAPACITY) };
        for (media, index) in tracks.into_iter().zip(0u8..u8::MAX) {
            demux.tracks.push(Track {
                mid: media.mid.clone(),
                rids: media.rids.clone(),
                extensions: media.extensions,
                payload_type: media.codec.payload_type,
                rtx_payload_type: media.rtx_payload_type,
                red_payload_type: media.red_payload_type,
            });
            // With RIDs, `a=ssrc` lines need not be in their order: only packets can tell.
            let announced = if media.rids.is_empty() { media.remote_ssrcs.as_slice() } else { &[] };
            for (pair, layer) in announced.iter().zip(0u8..u8::MAX) {
                let streams = [(Some(pair.primary), false), (pair.rtx, true)];
                for (ssrc, rtx) in streams {
                    let Some(ssrc) = ssrc else { continue };
                    // Full means: the rest is learned from packets, or dropped there.
                    let _ = demux.remember(ssrc, Route { track: index, layer, rtx });
                }
            }
        }
        demux
    }

    /// Where `packet` belongs. `header` was read from it.
    pub fn route(&mut self, header: &RtpHeader, packet: &[u8]) -> Result<Route, Unroutable> {
        let wrong_type = Unroutable::PayloadType(header.payload_type);
        if let Some(route) = self.route_of(header.ssrc) {
            let track = self.tracks.get(usize::from(route.track));
            let agreed = track.and_then(|track| track.is_rtx(header.payload_type));
            return if agreed == Some(route.rtx) { Ok(route) } else { Err(wrong_type) };
        }
        let route = self.learn(header, packet, wrong_type)?;
        self.remember(header.ssrc, route)?;
        Ok(route)
    }

    /// What is known of an SSRC.
    pub fn route_of(&self, ssrc: u32) -> Option<Route> {
        self.ssrcs.iter().find(|(known, _)| *known == ssrc).map(|(_, route)| *route)
    }

    /// The SSRC of a layer's media: what NACK and PLI name. `None` until its first packet, unless it was announced.
    pub fn media_ssrc(&self, track: u8, layer: u8) -> Option<u32> {
        let wanted = Route { track, layer, rtx: false };
        self.ssrcs.iter().find(|(_, route)| *route == wanted).map(|(ssrc, _)| *ssrc)
    }

    /// What a packet of an unknown SSRC says of itself.
    fn learn(&self, header: &RtpHeader, packet: &[u8], wrong_type: Unroutable) -> Result<Route, Unroutable> {
        let (index, track) = match self.track_by_mid(header, packet)? {
            Some(found) => found,
            None => {
                let mut of_type =
                    self.tracks().filter(|(_, track)| track.is_rtx(header.payload_type).is_some());
                of_type.next().ok_or(wrong_type)?
            }
        };
        let rtx = track.is_rtx(header.payload_type).ok_or(wrong_type)?;
        let layer = if track.rids.is_empty() {
            0
        } else {
            let kind = if rtx { ExtensionKind::RepairedRid } else { ExtensionKind::Rid };
            let rid = track.extension(kind, header, packet).ok_or(Unroutable::Rid)?;
            let place = track.rids.iter().zip(0u8..).find(|(known, _)| known.as_bytes() == rid);
            place.map(|(_, layer)| layer).ok_or(Unroutable::Rid)?
        };
        Ok(Route { track: index, layer, rtx })
    }

    /// The track whose MID the packet carries; `None` if it carries none.
    fn track_by_mid(&self, header: &RtpHeader, packet: &[u8]) -> Result<Option<(u8, &Track)>, Unroutable> {
        let mut has_mid = false;
        for (index, track) in self.tracks() {
            if let Some(mid) = track.extension(ExtensionKind::Mid, header, packet) {
                if mid == track.mid.as_bytes() {
                    return Ok(Some((index, track)));
                }
                has_mid = true;
            }
        }
        if has_mid { Err(Unroutable::Mid) } else { Ok(None) }
    }

    fn tracks(&self) -> impl Iterator<Item = (u8, &Track)> {
        (0u8..).zip(&self.tracks)
    }

    /// Maps `ssrc` to `route`. A stream that had the route before ended: its sender began anew.
    fn remember(&mut self, ssrc: u32, route: Route) -> Result<(), Unroutable> {
        if let Some(entry) = self.ssrcs.iter_mut().find(|(known, held)| *known == ssrc || *held == route) {
            *entry = (ssrc, route);
            return Ok(());
        }
        if self.ssrcs.len() >= SSRC_TABLE_CAPACITY {
            return Err(Unroutable::TableFull);
        }
        self.ssrcs.push((ssrc, route));
        Ok(())
    }
}

/// Turns a retransmission back into the packet it repeats (RFC 4588 §4), within `packet`.
///
/// `header` was read from `packet`; `payload_type` and `ssrc` are those of the media. The header moves up by the two bytes of
/// the original sequence number, so nothing else is copied; the header extensions stay those of the retransmission.
/// `None` if it repeats nothing, as padding that probes for bandwidth does.
pub fn unwrap_rtx<'a>(
    packet: &'a mut [u8],
    header: &RtpHeader,
    payload_type: u8,
    ssrc: u32,
) -> Option<&'a mut [u8]> {
    let payload = header.payload();
    if payload.len() <= 2 {
        return None;
    }
    let original: [u8; 2] = *packet.get(payload)?.first_chunk()?;
    let header_len = header.header_len();
    if header_len < FIXED_HEADER_BYTES || packet.len() < header_len + 2 {
        return None;
    }
    packet.copy_within(..header_len, 2);
    let packet = packet.get_mut(2..)?;
    let marker_and_type = packet.get_mut(1)?;
    *marker_and_type = *marker_and_type & 0x80 | payload_type & 0x7F;
    packet.get_mut(2..4)?.copy_from_slice(&original);
    packet.get_mut(8..12)?.copy_from_slice(&ssrc.to_be_bytes());
    Some(packet)
}

#[cfg(test)]
mod tests;
