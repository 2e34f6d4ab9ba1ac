//! Fragments of SDP in PATCH requests (`application/trickle-ice-sdpfrag`, RFC 8840 §9): reading the client's, writing ours.
//!
//! We are ICE-lite: a client's candidates teach us nothing, its checks do. They are still read, so that a body that is
//! no fragment is told from one with candidates that we cannot use.

use crate::media::negotiated::{IceCredentials, NegotiatedMedia};
use crate::signalling::sdp::candidate::{self, Candidate, Parsed};
use crate::signalling::sdp::capabilities::LocalTransport;
use crate::signalling::sdp::transport::{is_password, is_ufrag};
use crate::signalling::sdp::write::{self, Lines};

/// Largest fragment that is read, in bytes: a few dozen candidates.
pub const MAX_FRAGMENT_BYTES: usize = 16_384;

/// Most candidates that are kept; RFC 8445 §5.1.2 advises agents to stay far below.
const MAX_CANDIDATES: usize = 64;

/// What a client's fragment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The ICE generation that it is about. Other credentials than the session's ask for a restart (RFC 9725 §4.3.3).
    pub ice: Option<IceCredentials>,
    /// Candidates with an address, of a transport that we know; others are dropped silently (RFC 9725 §4.3.2).
    pub candidates: Vec<Candidate>,
    /// No more candidates will come.
    pub end_of_candidates: bool,
    /// The sections it is about.
    pub mids: Vec<String>,
}

/// Why a body is not a fragment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// The body is longer than [`MAX_FRAGMENT_BYTES`].
    #[error("the fragment has {0} bytes, at most {MAX_FRAGMENT_BYTES} are read")]
    TooLarge(usize),
    /// A line is not `<letter>=<value>`.
    #[error("line {0} of the fragment is not <letter>=<value>")]
    Line(usize),
    /// `a=ice-ufrag` or `a=ice-pwd` is missing beside the other, or has other characters than RFC 8839 §5.4 allows.
    #[error("the fragment has no good pair of a=ice-ufrag and a=ice-pwd")]
    Credentials,
    /// Sections have different credentials, though one transport carries them all.
    #[error("the fragment has two pairs of a=ice-ufrag and a=ice-pwd")]
    TwoCredentials,
    /// An `a=candidate` that has not the parts of one.
    #[error("line {0} of the fragment is not a candidate")]
    Candidate(usize),
    /// Neither credentials nor candidates.
    #[error("the fragment has no a=ice-ufrag, no a=candidate and no a=end-of-candidates")]
    Empty,
}

/// Reads a fragment. Attributes may stand before the first `m=` line or after one.
pub fn parse(text: &str) -> Result<Fragment, FragmentError> {
    if text.len() > MAX_FRAGMENT_BYTES {
        return Err(FragmentError::TooLarge(text.len()));
    }
    let mut fragment = Fragment::default();
    let (mut ufrag, mut password) = (None, None);
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let (letter, value) = line.split_once('=').ok_or(FragmentError::Line(number))?;
        if letter.len() != 1 || !letter.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Err(FragmentError::Line(number));
        }
        if letter != "a" {
            continue;
        }
        match value.trim().split_once(':').unwrap_or((value.trim(), "")) {
            ("ice-ufrag", value) => set_once(&mut ufrag, value)?,
            ("ice-pwd", value) => set_once(&mut password, value)?,
            ("mid", value) if !value.is_empty() => fragment.mids.push(value.to_owned()),
            ("end-of-candidates", _) | ("candidate", "") => fragment.end_of_candidates = true,
            ("candidate", value) => match candidate::parse(value) {
                Parsed::Usable(candidate) if fragment.candidates.len() < MAX_CANDIDATES => {
                    fragment.candidates.push(candidate);
                }
                Parsed::Usable(_) | Parsed::Unusable => {}
                Parsed::Malformed => return Err(FragmentError::Candidate(number)),
            },
            _ => {}
        }
    }
    fragment.ice = match (ufrag, password) {
        (None, None) => None,
        (Some(ufrag), Some(password)) if is_ufrag(ufrag) && is_password(password) => {
            Some(IceCredentials { ufrag: ufrag.to_owned(), password: password.to_owned() })
        }
        _ => return Err(FragmentError::Credentials),
    };
    let has_candidate = text.lines().any(|line| line.starts_with("a=candidate:"));
    match fragment.ice.is_some() || has_candidate || fragment.end_of_candidates {
        true => Ok(fragment),
        false => Err(FragmentError::Empty),
    }
}

fn set_once<'a>(slot: &mut Option<&'a str>, value: &'a str) -> Result<(), FragmentError> {
    match slot {
        Some(known) if *known != value => Err(FragmentError::TwoCredentials),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// The body of the 200 to an ICE restart (RFC 9725 §4.3.3): our new credentials and all of our candidates, for the
/// sections that the session's answer accepted.
pub fn restart_answer(local: &LocalTransport, media: &[NegotiatedMedia]) -> String {
    let mut lines = Lines::default();
    lines.line(format_args!("a=ice-lite"));
    lines.line(format_args!("a=ice-options:{}", write::ICE_OPTIONS));
    let mids: Vec<&str> =
        media.iter().map(|media| media.mid.as_str()).filter(|mid| !mid.is_empty()).collect();
    if !mids.is_empty() {
        lines.line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
    }
    if let Some(tagged) = media.first() {
        let (kind, payload_type) = (tagged.kind.as_str(), tagged.codec.payload_type);
        lines.line(format_args!("m={kind} 9 UDP/TLS/RTP/SAVPF {payload_type}"));
        if !tagged.mid.is_empty() {
            lines.line(format_args!("a=mid:{}", tagged.mid));
        }
    }
    lines.line(format_args!("a=ice-ufrag:{}", local.ice.ufrag));
    lines.line(format_args!("a=ice-pwd:{}", local.ice.password));
    write::write_candidates(&mut lines, local);
    lines.finish()
}
