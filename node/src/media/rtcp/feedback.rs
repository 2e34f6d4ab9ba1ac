//! Feedback of receivers: NACK, PLI, FIR, REMB.

/// Sender, media source and what follows them in every feedback packet (RFC 4585 §6.1).
fn sources(body: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (sender, rest) = body.split_first_chunk()?;
    let (media, rest) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*sender), u32::from_be_bytes(*media), rest))
}

/// Packets that a receiver asks for again (RFC 4585 §6.2.1).
#[derive(Debug, Clone, Copy)]
pub struct Nack<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    /// The stream.
    pub media_ssrc: u32,
    pairs: &'a [[u8; 4]],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender_ssrc, media_ssrc, rest) = sources(body)?;
        Some(Self { sender_ssrc, media_ssrc, pairs: rest.as_chunks().0 })
    }

    /// The sequence numbers, in the order of the packet.
    pub fn sequences(&self) -> impl Iterator<Item = u16> + 'a {
        self.pairs.iter().flat_map(|[p0, p1, b0, b1]| {
            let first = u16::from_be_bytes([*p0, *p1]);
            let following = u16::from_be_bytes([*b0, *b1]);
            let rest = (0..16u16).filter(move |bit| following >> bit & 1 != 0);
            std::iter::once(first).chain(rest.map(move |bit| first.wrapping_add(bit + 1)))
        })
    }
}

/// A decoder lost its picture (RFC 4585 §6.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureLossIndication {
    /// Who asks.
    pub sender_ssrc: u32,
    /// The stream.
    pub media_ssrc: u32,
}

impl PictureLossIndication {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        sources(body).map(|(sender_ssrc, media_ssrc, _)| Self { sender_ssrc, media_ssrc })
    }
}

/// Streams of which a receiver needs a keyframe (RFC 5104 §4.3.1).
#[derive(Debug, Clone, Copy)]
pub struct FullIntraRequest<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    entries: &'a [[u8; 8]],
}

impl<'a> FullIntraRequest<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender_ssrc, _, rest) = sources(body)?;
        Some(Self { sender_ssrc, entries: rest.as_chunks().0 })
    }

    /// Stream and command number; a repeated number is the same request (RFC 5104 §4.3.1.2).
    pub fn entries(&self) -> impl Iterator<Item = (u32, u8)> + 'a {
        self.entries
            .iter()
            .map(|[s0, s1, s2, s3, number, ..]| (u32::from_be_bytes([*s0, *s1, *s2, *s3]), *number))
    }
}

/// The bitrate that a receiver thinks its path carries (draft-alvestrand-rmcat-remb-03 §2.2).
#[derive(Debug, Clone, Copy)]
pub struct ReceiverEstimate<'a> {
    /// Who estimates.
    pub sender_ssrc: u32,
    /// Bits per second for all [`Self::ssrcs`] together.
    pub bitrate_bps: u64,
    ssrcs: &'a [[u8; 4]],
}

impl<'a> ReceiverEstimate<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender_ssrc, _, rest) = sources(body)?;
        let (head, rest) = rest.split_first_chunk::<8>()?;
        let [b'R', b'E', b'M', b'B', count, b0, b1, b2] = *head else { return None };
        let mantissa = u64::from(u32::from_be_bytes([0, b0 & 0x03, b1, b2]));
        let exponent = u32::from(b0 >> 2);
        // 18 bits shifted by up to 63 can leave 64 bits: as much as can be said then.
        let fits = mantissa.leading_zeros() >= exponent;
        let bitrate_bps = if fits { mantissa << exponent } else { u64::MAX };
        let ssrcs = rest.as_chunks().0.get(..usize::from(count))?;
        Some(Self { sender_ssrc, bitrate_bps, ssrcs })
    }

    /// The streams that share the bitrate.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + 'a {
        self.ssrcs.iter().map(|ssrc| u32::from_be_bytes(*ssrc))
    }
}
