//! The payload formats of an offered section: `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` (RFC 8866 §6, RFC 4585 §4.2).

use std::borrow::Cow;

use crate::media::codec::{CodecKind, MediaKind};
use crate::media::negotiated::Feedback;
use crate::signalling::sdp::offer::Section;

/// Payload types that RTCP's packet types would be taken for on a shared port (RFC 5761 §4).
const RTCP_CONFLICTS: std::ops::RangeInclusive<u8> = 64..=95;

/// One payload type of an offer.
#[derive(Debug, Clone, Default)]
pub(super) struct Format<'a> {
    /// 0 to 127.
    pub(super) payload_type: u8,
    /// The value of `a=rtpmap` without the payload type, `VP8/90000`; empty if there is none.
    pub(super) rtpmap: &'a str,
    /// The value of `a=fmtp` without the payload type; empty if there is none.
    pub(super) fmtp: Cow<'a, str>,
    /// What the client can do about it.
    pub(super) feedback: Feedback,
}

impl Format<'_> {
    /// The encoding name of `a=rtpmap`.
    pub(super) fn name(&self) -> &str {
        self.rtpmap.split('/').next().unwrap_or_default()
    }

    /// The codec, if it is one of ours at its one clock rate.
    pub(super) fn codec(&self) -> Option<CodecKind> {
        let clock_rate_hz = self.rtpmap.split('/').nth(1)?.trim().parse::<u32>().ok()?;
        CodecKind::ALL.into_iter().find(|codec| {
            codec.encoding_name().eq_ignore_ascii_case(self.name()) && codec.clock_rate_hz() == clock_rate_hz
        })
    }

    fn is_red_of(&self, other: &Format<'_>) -> bool {
        let rate = |format: &Self| format.rtpmap.split_once('/').map(|(_, rate)| rate.trim().to_owned());
        let mut frames = self.fmtp.split('/').map(|frame| frame.trim().parse::<u8>());
        self.name().eq_ignore_ascii_case("red")
            && rate(self) == other.rtpmap.split_once('/').map(|(_, rate)| rate.trim().to_owned())
            && self.fmtp.contains('/')
            && frames.all(|frame| frame == Ok(other.payload_type))
    }

    fn is_rtx_of(&self, payload_type: u8) -> bool {
        self.name().eq_ignore_ascii_case("rtx")
            && parameter(&self.fmtp, "apt").and_then(|apt| apt.parse().ok()) == Some(payload_type)
    }
}

/// The format of redundant sound whose frames are all of `chosen` (RFC 2198 §5).
pub(super) fn red<'a, 'b>(formats: &'b [Format<'a>], chosen: &Format<'_>) -> Option<&'b Format<'a>> {
    formats.iter().find(|format| format.is_red_of(chosen))
}

/// The value of `name` in an `a=fmtp` value such as `apt=96` or `a=1;b=2`, names matched without case.
pub(super) fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The formats of a section in the order of its `m=` line, which is the client's order of preference.
pub(super) fn formats(section: &Section) -> Vec<Format<'_>> {
    let mut formats: Vec<Format<'_>> = Vec::with_capacity(section.formats.len());
    for payload_type in section.formats.iter().filter_map(|text| text.parse::<u8>().ok()) {
        let known = formats.iter().any(|format| format.payload_type == payload_type);
        if payload_type <= 127 && !RTCP_CONFLICTS.contains(&payload_type) && !known {
            formats.push(Format { payload_type, ..Format::default() });
        }
    }
    for (key, value) in section.attributes.all() {
        if !matches!(key, "rtpmap" | "fmtp" | "rtcp-fb") {
            continue;
        }
        let Some((target, rest)) = value.split_once(char::is_whitespace) else { continue };
        if key == "rtcp-fb" && target == "*" {
            formats.iter_mut().for_each(|format| add_feedback(&mut format.feedback, rest));
            continue;
        }
        let Ok(payload_type) = target.parse::<u8>() else { continue };
        let Some(format) = formats.iter_mut().find(|format| format.payload_type == payload_type) else {
            continue;
        };
        match key {
            "rtpmap" if format.rtpmap.is_empty() => format.rtpmap = rest.trim(),
            "fmtp" => add_parameters(&mut format.fmtp, rest.trim()),
            "rtcp-fb" => add_feedback(&mut format.feedback, rest),
            _ => {}
        }
    }
    formats
}

/// The payload type of retransmissions of `payload_type` (RFC 4588 §8.6).
pub(super) fn rtx(formats: &[Format<'_>], payload_type: u8) -> Option<u8> {
    formats.iter().find(|format| format.is_rtx_of(payload_type)).map(|format| format.payload_type)
}

/// Names of the codecs among `formats` that carry media of `kind`, for messages to people.
pub(super) fn names(formats: &[Format<'_>], kind: MediaKind) -> Vec<String> {
    const REPAIR: [&str; 5] = ["rtx", "red", "ulpfec", "flexfec-03", "telephone-event"];
    const MAX_NAMES: usize = 16;
    let mut names: Vec<String> = Vec::new();
    for format in formats {
        let name = match format.codec() {
            Some(codec) if codec.kind() == kind => describe(codec, &format.fmtp),
            _ => format.name().chars().take(32).collect(),
        };
        let repair = REPAIR.iter().any(|repair| repair.eq_ignore_ascii_case(&name));
        if !name.is_empty() && !repair && !names.contains(&name) && names.len() < MAX_NAMES {
            names.push(name);
        }
    }
    names
}

/// A codec with the parameters that decide whether someone else can decode it.
pub(super) fn describe(codec: CodecKind, fmtp: &str) -> String {
    let deciding: &[&str] = match codec {
        CodecKind::H264 => &["profile-level-id", "packetization-mode"],
        CodecKind::Vp9 | CodecKind::H265 => &["profile-id"],
        CodecKind::Av1 => &["profile"],
        CodecKind::Vp8 | CodecKind::Opus => &[],
    };
    let parameters: Vec<String> = deciding
        .iter()
        .filter_map(|name| {
            let value: String = parameter(fmtp, name)?.chars().take(32).collect();
            Some(format!("{name}={value}"))
        })
        .collect();
    match parameters.is_empty() {
        true => codec.encoding_name().to_owned(),
        false => format!("{} ({})", codec.encoding_name(), parameters.join(" ")),
    }
}

fn add_parameters<'a>(fmtp: &mut Cow<'a, str>, more: &'a str) {
    if fmtp.is_empty() {
        *fmtp = Cow::Borrowed(more);
    } else {
        let fmtp = fmtp.to_mut();
        fmtp.push(';');
        fmtp.push_str(more);
    }
}

fn add_feedback(feedback: &mut Feedback, value: &str) {
    let mut words = value.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some("nack"), None) => feedback.nack = true,
        (Some("nack"), Some("pli")) => feedback.pli = true,
        (Some("ccm"), Some("fir")) => feedback.fir = true,
        (Some("transport-cc"), None) => feedback.transport_cc = true,
        (Some("goog-remb"), None) => feedback.remb = true,
        _ => {}
    }
}
