//! Opening what a peer sends, in place: index estimation, replay protection, authentication, in this order of trust.
//!
//! State for an SSRC is kept only once one of its packets has authenticated, so a stranger cannot make us keep any.

use smallvec::SmallVec;

use super::SrtpError;
use super::cipher::{Cipher, Protocol};
use super::replay::ReplayWindow;
use crate::media::keys::{MasterKey, SrtpProfile};

/// SSRCs of one peer: three layers with their retransmissions and audio are 7; the rest is for restarted encoders.
const SOURCES_MAX: usize = 32;

/// RTP's window in words of 64 packets: 1,024 packets, half a second of a 20 Mbit/s stream, so that a repaired packet is never
/// mistaken for a replay.
const RTP_WINDOW_WORDS: usize = 16;

/// RTCP's window in words: 128 compound packets.
const RTCP_WINDOW_WORDS: usize = 2;

/// An RTP packet that was opened in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedRtp {
    /// Bytes of the opened packet: header and payload, without the tag.
    pub len: usize,
    /// The packet's SSRC.
    pub ssrc: u32,
    /// Rollover counter and sequence number: the 48-bit packet index (RFC 3711 §3.3.1).
    pub index: u64,
}

/// SSRCs whose packets have authenticated, and which of their packets came.
struct Sources<const WORDS: usize>(SmallVec<[(u32, ReplayWindow<WORDS>); 1]>);

impl<const WORDS: usize> Sources<WORDS> {
    /// Where the window of `ssrc` stands, if one of its packets has authenticated.
    fn find(&self, ssrc: u32) -> Option<usize> {
        self.0.iter().position(|(known, _)| *known == ssrc)
    }

    fn window(&self, place: Option<usize>) -> Option<&ReplayWindow<WORDS>> {
        self.0.get(place?).map(|(_, window)| window)
    }

    /// Refuses what came before, and one source too many: before it is authenticated, as that is dear.
    fn check(&self, place: Option<usize>, index: u64) -> Result<(), SrtpError> {
        match self.window(place) {
            Some(window) if !window.is_new(index) => Err(SrtpError::Replay),
            None if self.0.len() >= SOURCES_MAX => Err(SrtpError::TooManySources),
            _ => Ok(()),
        }
    }

    /// Takes note of a packet that has authenticated.
    fn accept(&mut self, place: Option<usize>, ssrc: u32, index: u64) {
        match place.and_then(|place| self.0.get_mut(place)) {
            Some((_, window)) => window.accept(index),
            None => {
                let mut window = ReplayWindow::new();
                window.accept(index);
                self.0.push((ssrc, window));
            }
        }
    }
}

/// Opens the RTP packets of one peer.
pub struct RtpOpener {
    cipher: Cipher,
    sources: Sources<RTP_WINDOW_WORDS>,
}

impl RtpOpener {
    /// An opener under the peer's master key.
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Result<Self, SrtpError> {
        Ok(Self {
            cipher: Cipher::new(profile, master, Protocol::Rtp)?,
            sources: Sources(SmallVec::with_capacity(8)),
        })
    }

    /// Opens `packet` in place. `header_bytes`: bytes of its fixed header, CSRCs and extensions.
    pub fn open(&mut self, packet: &mut [u8], header_bytes: usize) -> Result<OpenedRtp, SrtpError> {
        let tag_bytes = self.cipher.tag_bytes();
        if header_bytes < 12 || packet.len() < header_bytes + tag_bytes {
            return Err(SrtpError::Malformed);
        }
        let sequence = u16::from_be_bytes(read(packet, 2)?);
        let ssrc = u32::from_be_bytes(read(packet, 8)?);
        let place = self.sources.find(ssrc);
        let index = estimate_index(self.sources.window(place).and_then(ReplayWindow::highest), sequence);
        self.sources.check(place, index)?;
        let len = packet.len() - tag_bytes;
        open_rtp(&self.cipher, (ssrc, index), packet, header_bytes, len)?;
        self.sources.accept(place, ssrc, index);
        Ok(OpenedRtp { len, ssrc, index })
    }
}

fn open_rtp(
    cipher: &Cipher,
    nonce: (u32, u64),
    packet: &mut [u8],
    header_bytes: usize,
    len: usize,
) -> Result<(), SrtpError> {
    match cipher {
        Cipher::Gcm(gcm) => {
            let (header, rest) = packet.split_at_mut_checked(header_bytes).ok_or(SrtpError::Malformed)?;
            let (payload, tag) = rest.split_at_mut_checked(len - header_bytes).ok_or(SrtpError::Malformed)?;
            gcm.open(nonce, header, payload, tag)
        }
        Cipher::CounterMode(counter_mode) => {
            let tag: [u8; 10] = read(packet, len)?;
            // What is authenticated ends with the rollover counter (RFC 3711 §4.2): it stands where the tag began.
            let rollover = ((nonce.1 >> 16) as u32).to_be_bytes();
            packet.get_mut(len..len + 4).ok_or(SrtpError::Malformed)?.copy_from_slice(&rollover);
            counter_mode.verify(packet.get(..len + 4).unwrap_or_default(), &tag)?;
            counter_mode.apply(nonce, packet.get_mut(header_bytes..len).unwrap_or_default())
        }
    }
}

/// RFC 3711 appendix A: the index closest to the highest one so far that ends in `sequence`.
pub(super) fn estimate_index(highest: Option<u64>, sequence: u16) -> u64 {
    let Some(highest) = highest else { return u64::from(sequence) };
    let distance = i64::from(sequence.wrapping_sub(highest as u16) as i16);
    // Behind the very first rollover there is nothing: such a packet can only be a late one of the far past.
    highest.checked_add_signed(distance).unwrap_or_else(|| u64::from(sequence))
}

/// Opens the RTCP packets of one peer.
pub struct RtcpOpener {
    cipher: Cipher,
    sources: Sources<RTCP_WINDOW_WORDS>,
}

impl RtcpOpener {
    /// An opener under the peer's master key.
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Result<Self, SrtpError> {
        Ok(Self { cipher: Cipher::new(profile, master, Protocol::Rtcp)?, sources: Sources(SmallVec::new()) })
    }

    /// Opens a compound packet in place and returns its plain part.
    pub fn open<'packet>(&mut self, packet: &'packet mut [u8]) -> Result<&'packet [u8], SrtpError> {
        let tag_bytes = self.cipher.tag_bytes();
        let len =
            packet.len().checked_sub(tag_bytes + 4).filter(|len| *len >= 8).ok_or(SrtpError::Malformed)?;
        let ssrc = u32::from_be_bytes(read(packet, 4)?);
        // The index stands before the tag of HMAC-SHA1 (RFC 3711 §3.4) and after that of GCM (RFC 7714 §9.1).
        let index_at = if matches!(self.cipher, Cipher::Gcm(_)) { len + tag_bytes } else { len };
        let word: [u8; 4] = read(packet, index_at)?;
        let encrypted = u32::from_be_bytes(word) >> 31 == 1;
        let index = u64::from(u32::from_be_bytes(word) & 0x7FFF_FFFF);
        let place = self.sources.find(ssrc);
        self.sources.check(place, index)?;
        open_rtcp(&self.cipher, (ssrc, index), encrypted, packet, len)?;
        self.sources.accept(place, ssrc, index);
        packet.get(..len).ok_or(SrtpError::Malformed)
    }
}

fn open_rtcp(
    cipher: &Cipher,
    nonce: (u32, u64),
    encrypted: bool,
    packet: &mut [u8],
    len: usize,
) -> Result<(), SrtpError> {
    match cipher {
        // WebRTC always encrypts; a packet that is only authenticated comes from nobody we talk to.
        _ if !encrypted => Err(SrtpError::Malformed),
        Cipher::Gcm(gcm) => {
            let tag: [u8; 16] = read(packet, len)?;
            let mut aad = [0; 12];
            aad[..8].copy_from_slice(&read::<8>(packet, 0)?);
            aad[8..].copy_from_slice(&read::<4>(packet, len + 16)?);
            gcm.open(nonce, &aad, packet.get_mut(8..len).ok_or(SrtpError::Malformed)?, &tag)
        }
        Cipher::CounterMode(counter_mode) => {
            let tag: [u8; 10] = read(packet, len + 4)?;
            counter_mode.verify(packet.get(..len + 4).unwrap_or_default(), &tag)?;
            counter_mode.apply(nonce, packet.get_mut(8..len).ok_or(SrtpError::Malformed)?)
        }
    }
}

fn read<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], SrtpError> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(SrtpError::Malformed)
}
