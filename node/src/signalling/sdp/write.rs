//! The text of answers.
//!
//! Every accepted section repeats ICE and DTLS lines, though a BUNDLE needs them once: many clients read them from each
//! section. Candidates stand in the section that carries the BUNDLE only (RFC 9143 §7.1.3).

use std::fmt::{self, Write};
use std::net::SocketAddr;

use crate::media::negotiated::{Direction, DtlsRole, Feedback};
use crate::signalling::sdp::agreement::{Accepted, Plan};
use crate::signalling::sdp::candidate::{self, CandidateProtocol};
use crate::signalling::sdp::capabilities::LocalTransport;
use crate::signalling::sdp::offer::Section;
use crate::signalling::sdp::transport::fingerprint_line;

/// `ice2` says that we follow RFC 8445 (§10 there), `trickle` that PATCH with candidates is welcome (RFC 8838 §3).
pub(super) const ICE_OPTIONS: &str = "trickle ice2";

/// All that an answer says.
pub(super) struct Outline<'a> {
    pub(super) local: &'a LocalTransport,
    pub(super) direction: Direction,
    pub(super) dtls_role: DtlsRole,
    /// Mids of the BUNDLE group; empty for no group.
    pub(super) bundle: &'a [&'a str],
    /// The section that has the candidates.
    pub(super) tagged: &'a Section,
    /// The offer has `a=extmap-allow-mixed` for the session (RFC 8285 §6).
    pub(super) extmap_allow_mixed: bool,
    pub(super) plans: &'a [Plan<'a>],
}

/// Lines with CRLF. Writing to a string cannot fail, so no result is handed on.
#[derive(Default)]
pub(super) struct Lines(String);

/// Bytes of an answer with sound and picture, some 2,000, with room to spare: it is written without moving what is there.
const ANSWER_BYTES: usize = 3_072;

impl Lines {
    pub(super) fn line(&mut self, text: fmt::Arguments<'_>) {
        let _infallible = self.0.write_fmt(text);
        self.0.push_str("\r\n");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Writes an answer.
pub(super) fn answer(outline: &Outline<'_>) -> String {
    let mut lines = Lines(String::with_capacity(ANSWER_BYTES));
    let local = outline.local;
    lines.line(format_args!("v=0"));
    lines.line(format_args!("o=- {} {} IN IP4 127.0.0.1", local.session_id, local.session_version));
    lines.line(format_args!("s=-"));
    lines.line(format_args!("t=0 0"));
    if !outline.bundle.is_empty() {
        lines.line(format_args!("a=group:BUNDLE {}", outline.bundle.join(" ")));
    }
    lines.line(format_args!("a=ice-lite"));
    if outline.extmap_allow_mixed {
        lines.line(format_args!("a=extmap-allow-mixed"));
    }
    for plan in outline.plans {
        match plan {
            Plan::Rejected(section) => write_rejected(&mut lines, section),
            Plan::Accepted(accepted) => write_kept(&mut lines, outline, accepted, Some(outline.direction)),
            Plan::Idle(idle) => write_kept(&mut lines, outline, idle, None),
        }
    }
    lines.finish()
}

/// A rejected section repeats the `m=` line with port 0 and stands outside of the BUNDLE (RFC 9143 §7.3.3).
fn write_rejected(lines: &mut Lines, section: &Section) {
    lines.line(format_args!("m={} 0 {} {}", section.media, section.protocol, section.formats.join(" ")));
    lines.line(format_args!("c=IN IP4 0.0.0.0"));
    if let Some(mid) = &section.mid {
        lines.line(format_args!("a=mid:{mid}"));
    }
    lines.line(format_args!("a=inactive"));
}

fn write_kept(lines: &mut Lines, outline: &Outline<'_>, accepted: &Accepted<'_>, flow: Option<Direction>) {
    let (section, media) = (accepted.section, &accepted.media);
    let address = default_address(outline.local);
    let formats = format_list(accepted);
    lines.line(format_args!("m={} {} {} {formats}", section.media, address.port(), section.protocol));
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    lines.line(format_args!("c=IN {family} {}", address.ip()));
    if let Some(mid) = &section.mid {
        lines.line(format_args!("a=mid:{mid}"));
    }
    match flow {
        None => lines.line(format_args!("a=inactive")),
        Some(Direction::Publish) => lines.line(format_args!("a=recvonly")),
        Some(Direction::Play) => {
            lines.line(format_args!("a=sendonly"));
            lines.line(format_args!("a=msid:{} {}", outline.local.cname, media.kind.as_str()));
        }
    }
    lines.line(format_args!("a=rtcp-mux"));
    lines.line(format_args!("a=rtcp-mux-only"));
    if section.attributes.has("rtcp-rsize") {
        lines.line(format_args!("a=rtcp-rsize"));
    }
    write_transport(lines, outline);
    if section.attributes.has("extmap-allow-mixed") && !outline.extmap_allow_mixed {
        lines.line(format_args!("a=extmap-allow-mixed"));
    }
    for line in &accepted.extmap_lines {
        lines.line(format_args!("a=extmap:{line}"));
    }
    write_format(lines, accepted);
    write_sources(lines, outline.local, accepted);
    if std::ptr::eq(section, outline.tagged) {
        write_candidates(lines, outline.local);
    }
}

/// The address that a client without ICE would use: the best UDP candidate (RFC 8839 §4.2.1.2).
fn default_address(local: &LocalTransport) -> SocketAddr {
    let udp = local.candidates.iter().find(|candidate| candidate.protocol == CandidateProtocol::Udp);
    udp.map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 9)), |candidate| candidate.address)
}

fn write_transport(lines: &mut Lines, outline: &Outline<'_>) {
    write_ice(lines, outline.local);
    lines.line(format_args!("a=fingerprint:{}", fingerprint_line(&outline.local.fingerprint)));
    lines.line(format_args!(
        "a=setup:{}",
        match outline.dtls_role {
            DtlsRole::Server => "passive",
            DtlsRole::Client => "active",
        }
    ));
}

pub(super) fn write_ice(lines: &mut Lines, local: &LocalTransport) {
    lines.line(format_args!("a=ice-ufrag:{}", local.ice.ufrag));
    lines.line(format_args!("a=ice-pwd:{}", local.ice.password));
    lines.line(format_args!("a=ice-options:{ICE_OPTIONS}"));
}

pub(super) fn write_candidates(lines: &mut Lines, local: &LocalTransport) {
    for line in candidate::lines(&local.candidates) {
        lines.line(format_args!("a=candidate:{line}"));
    }
    lines.line(format_args!("a=end-of-candidates"));
}

/// The payload types of the `m=` line, the preferred one first.
fn format_list(accepted: &Accepted<'_>) -> String {
    let media = &accepted.media;
    let red = |first| accepted.red.as_ref().filter(|red| red.first == first).map(|red| red.payload_type);
    let types = [red(true), Some(media.codec.payload_type), media.rtx_payload_type, red(false)];
    let types: Vec<String> = types.into_iter().flatten().map(|number| number.to_string()).collect();
    types.join(" ")
}

fn write_format(lines: &mut Lines, accepted: &Accepted<'_>) {
    let payload_type = accepted.media.codec.payload_type;
    lines.line(format_args!("a=rtpmap:{payload_type} {}", accepted.rtpmap));
    if !accepted.fmtp.is_empty() {
        lines.line(format_args!("a=fmtp:{payload_type} {}", accepted.fmtp));
    }
    for name in feedback_names(accepted.media.feedback) {
        lines.line(format_args!("a=rtcp-fb:{payload_type} {name}"));
    }
    if let Some(rtx) = accepted.media.rtx_payload_type {
        lines.line(format_args!("a=rtpmap:{rtx} rtx/{}", accepted.media.codec.kind.clock_rate_hz()));
        lines.line(format_args!("a=fmtp:{rtx} apt={payload_type}"));
    }
    if let Some(red) = &accepted.red {
        lines.line(format_args!("a=rtpmap:{} {}", red.payload_type, red.rtpmap));
        lines.line(format_args!("a=fmtp:{} {}", red.payload_type, red.fmtp));
    }
    for line in &accepted.rid_lines {
        lines.line(format_args!("a=rid:{line}"));
    }
    if !accepted.media.rids.is_empty() {
        lines.line(format_args!("a=simulcast:recv {}", accepted.media.rids.join(";")));
    }
}

fn feedback_names(feedback: Feedback) -> impl Iterator<Item = &'static str> {
    [
        (feedback.transport_cc, "transport-cc"),
        (feedback.remb, "goog-remb"),
        (feedback.fir, "ccm fir"),
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
    ]
    .into_iter()
    .filter_map(|(agreed, name)| agreed.then_some(name))
}

fn write_sources(lines: &mut Lines, local: &LocalTransport, accepted: &Accepted<'_>) {
    let Some(pair) = accepted.media.local_ssrc else { return };
    if let Some(rtx) = pair.rtx {
        lines.line(format_args!("a=ssrc-group:FID {} {rtx}", pair.primary));
    }
    for ssrc in [Some(pair.primary), pair.rtx].into_iter().flatten() {
        lines.line(format_args!("a=ssrc:{ssrc} cname:{}", local.cname));
        lines.line(format_args!("a=ssrc:{ssrc} msid:{} {}", local.cname, accepted.media.kind.as_str()));
    }
}
