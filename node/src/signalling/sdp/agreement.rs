//! What becomes of each section of an offer: taken with one codec, rejected, or the whole offer refused.

use crate::media::codec::{CodecKind, MediaKind};
use crate::media::extension::ExtensionKind;
use crate::media::negotiated::{Codec, Direction, Feedback, NegotiatedMedia, SsrcPair};
use crate::signalling::sdp::capabilities::{Capabilities, PlayTrack, Role};
use crate::signalling::sdp::extmap;
use crate::signalling::sdp::format::{self, Format};
use crate::signalling::sdp::offer::{Offer, Section, malformed};
use crate::signalling::sdp::profile;
use crate::signalling::sdp::refusal::Refusal;
use crate::signalling::sdp::simulcast::{self, Layers};
use crate::signalling::sdp::sources;

/// Where a browser's estimate starts instead of at 300 kbit/s, in kbit/s: enough for two of three layers of 720p or a
/// soft single picture, and half of what any line that can publish at all should carry.
const START_BITRATE_KBPS: u32 = 1_000;

/// Protocols that are DTLS-SRTP, by any of the names that RFC 9429 §5.1.2 tells answerers to take.
const PROTOCOLS: [&str; 6] = [
    "UDP/TLS/RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "TCP/DTLS/RTP/SAVPF",
    "TCP/DTLS/RTP/SAVP",
    "RTP/SAVPF",
    "RTP/SAVP",
];

/// What becomes of one section.
#[derive(Debug)]
pub(super) enum Plan<'a> {
    /// It stands in the answer with port 0.
    Rejected(&'a Section),
    /// Media flows in it.
    Accepted(Box<Accepted<'a>>),
    /// It stays in the BUNDLE without media: the stream has none of its kind.
    Idle(Box<Accepted<'a>>),
}

impl<'a> Plan<'a> {
    /// What stands in the answer with a port, whether media flows in it or not.
    pub(super) fn kept(&self) -> Option<&Accepted<'a>> {
        match self {
            Self::Rejected(_) => None,
            Self::Accepted(accepted) | Self::Idle(accepted) => Some(accepted),
        }
    }
}

/// A section that stands in the answer with a port.
#[derive(Debug)]
pub(super) struct Accepted<'a> {
    pub(super) section: &'a Section,
    pub(super) media: NegotiatedMedia,
    /// `a=rtpmap` of the chosen format, as the offer wrote it.
    pub(super) rtpmap: String,
    /// `a=fmtp` of the answer; empty for none.
    pub(super) fmtp: String,
    /// Redundant sound (RFC 2198), if it is agreed on.
    pub(super) red: Option<Red>,
    pub(super) extmap_lines: Vec<String>,
    pub(super) rid_lines: Vec<String>,
}

/// Redundant sound as it stands in the answer.
#[derive(Debug)]
pub(super) struct Red {
    pub(super) payload_type: u8,
    /// `a=rtpmap` and `a=fmtp`, as the offer wrote them.
    pub(super) rtpmap: String,
    pub(super) fmtp: String,
    /// Whether the offer has it before the codec itself. A publisher sends what comes first (RFC 3264 §6.1), so it is the
    /// publisher that decides whether its uplink carries everything twice.
    pub(super) first: bool,
}

/// Decides about every section, in their order. With at least one accepted.
pub(super) fn plan<'a>(offer: &'a Offer, capabilities: &Capabilities) -> Result<Vec<Plan<'a>>, Refusal> {
    check_tracks(offer)?;
    if capabilities.direction() == Direction::Publish {
        check_other_media(offer)?;
    }
    let mut plans = offer
        .sections
        .iter()
        .map(|section| plan_section(section, capabilities))
        .collect::<Result<Vec<_>, Refusal>>()?;
    check_payload_types(&plans)?;
    if !plans.iter().any(|plan| matches!(plan, Plan::Accepted(_))) {
        return Err(nothing_in_common(offer, capabilities));
    }
    keep_idle(offer, &mut plans);
    Ok(plans)
}

/// Keeps sections of a kind that the stream lacks, without media, where they share the BUNDLE of the others. An answer
/// may reject them instead (RFC 9143 §7.3.3), but Chromium with `max-bundle` then takes no answer at all if it is the
/// section whose transport they share, and aiortc none that has a rejected section.
fn keep_idle<'a>(offer: &'a Offer, plans: &mut [Plan<'a>]) {
    let mid_of = |plan: &Plan<'a>| plan.kept().and_then(|kept| kept.section.mid.as_deref());
    let accepted: Vec<&str> = plans.iter().filter_map(mid_of).collect();
    let group = offer.bundles.iter().find(|group| group.iter().any(|mid| accepted.contains(&mid.as_str())));
    let Some(group) = group else { return };
    for plan in plans {
        let Plan::Rejected(section) = *plan else { continue };
        if !section.rejected
            && section.mid.as_ref().is_some_and(|mid| group.contains(mid))
            && let Some(idle) = idle(section)
        {
            *plan = Plan::Idle(Box::new(idle));
        }
    }
}

/// A section with the first codec that we know and no media; none if there is no such codec.
fn idle(section: &Section) -> Option<Accepted<'_>> {
    let formats = format::formats(section);
    let mut known = formats.iter().filter_map(|format| Some((format.codec()?, format)));
    let (codec, chosen) = known.find(|(codec, _)| Some(codec.kind()) == section.kind)?;
    let plain = Format { feedback: Feedback::default(), ..chosen.clone() };
    Some(accept(section, codec, &[], &plain, Direction::Play))
}

/// The sections of audio and video that the offer does not reject itself.
fn offered(offer: &Offer) -> impl Iterator<Item = (&Section, MediaKind)> {
    offer
        .sections
        .iter()
        .filter(|section| !section.rejected)
        .filter_map(|section| Some((section, section.kind?)))
}

/// One stream in one MediaStream (RFC 9725 §4.4.2).
fn check_tracks(offer: &Offer) -> Result<(), Refusal> {
    for kind in [MediaKind::Audio, MediaKind::Video] {
        if offered(offer).filter(|(_, offered)| *offered == kind).count() > 1 {
            return Err(Refusal::TooManyTracks(kind));
        }
    }
    if offered(offer).next().is_none() {
        return Err(Refusal::NoMedia);
    }
    match sources::count_media_streams(offer) {
        0 | 1 => Ok(()),
        count => Err(Refusal::TooManyMediaStreams(count)),
    }
}

/// What a publisher sends and we do not carry would be lost without a word. A data channel is offered by habit, and is
/// rejected by itself.
fn check_other_media(offer: &Offer) -> Result<(), Refusal> {
    let others = offer.sections.iter().filter(|section| section.kind.is_none() && !section.rejected);
    match others.filter(|section| section.media != "application").find(|section| section.direction.sends()) {
        None => Ok(()),
        Some(section) => {
            Err(Refusal::OtherMedia { mid: section.name(), media: section.media.chars().take(64).collect() })
        }
    }
}

/// Media is told apart by payload type where a client numbers neither MIDs nor SSRCs.
fn check_payload_types(plans: &[Plan<'_>]) -> Result<(), Refusal> {
    let mut seen: Vec<u8> = Vec::new();
    for plan in plans {
        let Plan::Accepted(accepted) = plan else { continue };
        let media = &accepted.media;
        let types = [Some(media.codec.payload_type), media.rtx_payload_type, media.red_payload_type];
        for payload_type in types.into_iter().flatten() {
            if seen.contains(&payload_type) {
                return Err(malformed("one payload type means two codecs"));
            }
            seen.push(payload_type);
        }
    }
    Ok(())
}

/// A viewer who wants only what the stream lacks.
fn nothing_in_common(offer: &Offer, capabilities: &Capabilities) -> Refusal {
    let missing = [MediaKind::Video, MediaKind::Audio].into_iter().find_map(|kind| capabilities.track(kind));
    let kind = missing.map_or(MediaKind::Video, |track| track.codec.kind.kind());
    let offered =
        offered(offer).flat_map(|(section, kind)| format::names(&format::formats(section), kind)).collect();
    let available =
        missing.map(|track| format::describe(track.codec.kind, &track.codec.fmtp)).into_iter().collect();
    Refusal::NoCommonCodec { kind, offered, available }
}

fn plan_section<'a>(section: &'a Section, capabilities: &Capabilities) -> Result<Plan<'a>, Refusal> {
    let Some(kind) = section.kind.filter(|_| !section.rejected) else { return Ok(Plan::Rejected(section)) };
    check_section(section, capabilities.direction())?;
    let formats = format::formats(section);
    let accepted = match &capabilities.role {
        Role::Publish { codecs } => publish(section, kind, &formats, codecs)?,
        Role::Play { .. } => match capabilities.track(kind) {
            None => return Ok(Plan::Rejected(section)),
            Some(track) => play(section, kind, &formats, track)?,
        },
    };
    Ok(Plan::Accepted(Box::new(accepted)))
}

fn check_section(section: &Section, direction: Direction) -> Result<(), Refusal> {
    if !PROTOCOLS.contains(&section.protocol.as_str()) {
        let protocol = section.protocol.chars().take(64).collect();
        return Err(Refusal::Protocol { mid: section.name(), protocol });
    }
    let (flows, expected) = match direction {
        Direction::Publish => (section.direction.sends(), "sendonly"),
        Direction::Play => (section.direction.receives(), "recvonly"),
    };
    if !flows {
        return Err(Refusal::Direction {
            mid: section.name(),
            offered: section.direction.as_str(),
            expected,
        });
    }
    if !section.attributes.has("rtcp-mux") && !section.attributes.has("rtcp-mux-only") {
        return Err(Refusal::NoRtcpMux { mid: section.name() });
    }
    Ok(())
}

/// Takes the first codec of the offer that we know, in the format of it that suits us best.
fn publish<'a>(
    section: &'a Section,
    kind: MediaKind,
    formats: &[Format<'_>],
    codecs: &[CodecKind],
) -> Result<Accepted<'a>, Refusal> {
    let ranked = |format: &Format<'_>| {
        let codec = format.codec().filter(|codec| codec.kind() == kind && codecs.contains(codec))?;
        Some((codec, profile::publish_rank(codec, &format.fmtp)?))
    };
    let first = formats.iter().find_map(ranked).map(|(codec, _)| codec);
    let best = formats
        .iter()
        .filter_map(|format| {
            ranked(format).filter(|(codec, _)| Some(*codec) == first).map(|found| (found, format))
        })
        .min_by_key(|((_, rank), _)| *rank);
    let Some(((codec, _), chosen)) = best else {
        let ours = codecs.iter().filter(|codec| codec.kind() == kind);
        return Err(Refusal::NoCommonCodec {
            kind,
            offered: format::names(formats, kind),
            available: ours.map(|codec| codec.encoding_name().to_owned()).collect(),
        });
    };
    let mut accepted = accept(section, codec, formats, chosen, Direction::Publish);
    if chosen.feedback.remb && kind == MediaKind::Video {
        // Only who knows REMB knows this parameter; others may not like a stranger in their format.
        let separator = if accepted.fmtp.is_empty() { "" } else { ";" };
        accepted.fmtp.push_str(&format!("{separator}x-google-start-bitrate={START_BITRATE_KBPS}"));
    }
    // We report by transport-wide feedback and never send REMB, so do not promise it.
    accepted.media.feedback.remb = false;
    accepted.media.remote_ssrcs = sources::ssrcs(section);
    if kind == MediaKind::Video && accepted.media.extensions.id(ExtensionKind::Rid).is_some() {
        let Layers { rids, rid_lines } = simulcast::agree(section, chosen.payload_type);
        accepted.media.rids = rids;
        accepted.rid_lines = rid_lines;
    }
    Ok(accepted)
}

/// Takes the format that plays the track best.
fn play<'a>(
    section: &'a Section,
    kind: MediaKind,
    formats: &[Format<'_>],
    track: &PlayTrack,
) -> Result<Accepted<'a>, Refusal> {
    let codec = track.codec.kind;
    let best = formats
        .iter()
        .filter(|format| format.codec() == Some(codec))
        .filter_map(|format| Some((profile::play_rank(codec, &track.codec.fmtp, &format.fmtp)?, format)))
        .min_by_key(|(rank, _)| *rank);
    let Some((_, chosen)) = best else {
        return Err(Refusal::NoCommonCodec {
            kind,
            offered: format::names(formats, kind),
            available: vec![format::describe(codec, &track.codec.fmtp)],
        });
    };
    let mut accepted = accept(section, codec, formats, chosen, Direction::Play);
    let rtx = track.ssrcs.rtx.filter(|_| accepted.media.rtx_payload_type.is_some());
    if rtx.is_none() {
        accepted.media.rtx_payload_type = None;
    }
    accepted.media.local_ssrc = Some(SsrcPair { primary: track.ssrcs.primary, rtx });
    Ok(accepted)
}

/// What both directions have alike: the format as offered, its retransmissions, extensions and feedback.
fn accept<'a>(
    section: &'a Section,
    codec: CodecKind,
    formats: &[Format<'_>],
    chosen: &Format<'_>,
    direction: Direction,
) -> Accepted<'a> {
    let extensions = extmap::agree(section, direction, chosen.feedback.transport_cc);
    let mut feedback = chosen.feedback;
    feedback.transport_cc &= extensions.map.id(ExtensionKind::TransportWideCc).is_some();
    let rtx = format::rtx(formats, chosen.payload_type).filter(|_| feedback.nack);
    let red = (codec == CodecKind::Opus).then(|| red(formats, chosen)).flatten();
    Accepted {
        section,
        media: NegotiatedMedia {
            kind: codec.kind(),
            mid: section.mid.clone().unwrap_or_default(),
            codec: Codec { kind: codec, payload_type: chosen.payload_type, fmtp: chosen.fmtp.to_string() },
            rtx_payload_type: rtx,
            red_payload_type: red.as_ref().map(|red| red.payload_type),
            extensions: extensions.map,
            feedback,
            rids: Vec::new(),
            remote_ssrcs: Vec::new(),
            local_ssrc: None,
        },
        rtpmap: chosen.rtpmap.to_owned(),
        fmtp: chosen.fmtp.to_string(),
        red,
        extmap_lines: extensions.lines,
        rid_lines: Vec::new(),
    }
}

fn red(formats: &[Format<'_>], chosen: &Format<'_>) -> Option<Red> {
    let red = format::red(formats, chosen)?;
    let mut order = formats.iter().map(|format| format.payload_type);
    let first = order.find(|known| [red.payload_type, chosen.payload_type].contains(known));
    Some(Red {
        payload_type: red.payload_type,
        rtpmap: red.rtpmap.to_owned(),
        fmtp: red.fmtp.to_string(),
        first: first == Some(red.payload_type),
    })
}
