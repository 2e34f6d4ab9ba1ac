//! From an offer to an answer.

use crate::media::codec::MediaKind;
use crate::media::negotiated::{Negotiated, NegotiatedMedia};
use crate::signalling::sdp::agreement::{self, Accepted, Plan};
use crate::signalling::sdp::capabilities::Capabilities;
use crate::signalling::sdp::offer::{self, Offer};
use crate::signalling::sdp::refusal::Refusal;
use crate::signalling::sdp::{transport, write};

/// An answer, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The body of the 201, `application/sdp`.
    pub sdp: String,
    /// The place of the section in which video flows among all sections, from 0; `None` if none does.
    pub video_section: Option<usize>,
}

/// Answers a WHIP or WHEP offer (RFC 9725 §4.2, draft-ietf-wish-whep §4), whole or not at all: a [`Refusal`] leaves
/// nothing half agreed. Inside of a complete answer, sections of a kind that the stream lacks are inactive, and those
/// that are not audio or video are rejected (RFC 9429 §5.3.1).
pub fn answer(offer: &str, capabilities: &Capabilities) -> Result<(Answer, Negotiated), Refusal> {
    let offer = offer::parse(offer)?;
    let plans = agreement::plan(&offer, capabilities)?;
    let kept: Vec<&Accepted<'_>> = plans.iter().filter_map(Plan::kept).collect();
    let bundle = bundle(&offer, &kept)?;
    let tagged = bundle
        .first()
        .and_then(|mid| kept.iter().find(|kept| kept.section.mid.as_deref() == Some(mid)))
        .or(kept.first())
        .ok_or(Refusal::NoMedia)?;
    let remote = transport::read(&offer, tagged.section)?;
    let negotiated = Negotiated {
        direction: capabilities.direction(),
        remote_ice: remote.ice,
        dtls_role: remote.dtls_role,
        remote_fingerprints: remote.fingerprints,
        media: plans.iter().filter_map(flowing).cloned().collect(),
    };
    let sdp = write::answer(&write::Outline {
        local: &capabilities.local,
        direction: negotiated.direction,
        dtls_role: negotiated.dtls_role,
        bundle: &bundle,
        tagged: tagged.section,
        extmap_allow_mixed: offer.session.has("extmap-allow-mixed"),
        plans: &plans,
    });
    let video = |plan| flowing(plan).is_some_and(|media| media.kind == MediaKind::Video);
    Ok((Answer { sdp, video_section: plans.iter().position(video) }, negotiated))
}

fn flowing<'a>(plan: &'a Plan<'_>) -> Option<&'a NegotiatedMedia> {
    match plan {
        Plan::Accepted(accepted) => Some(&accepted.media),
        Plan::Rejected(_) | Plan::Idle(_) => None,
    }
}

/// The mids of the answer's BUNDLE group, in the order of the offer's; empty if the offer has none (RFC 9143 §7.3).
fn bundle<'a>(offer: &'a Offer, accepted: &[&Accepted<'a>]) -> Result<Vec<&'a str>, Refusal> {
    let mid_of = |accepted: &Accepted<'a>| accepted.section.mid.as_deref();
    let mids: Vec<&str> = accepted.iter().filter_map(|accepted| mid_of(accepted)).collect();
    let group = offer.bundles.iter().find(|group| group.iter().any(|mid| mids.contains(&mid.as_str())));
    let group = group.map(Vec::as_slice).unwrap_or_default();
    let outside = |accepted: &&&Accepted<'a>| {
        !mid_of(accepted).is_some_and(|mid| group.iter().any(|known| known == mid))
    };
    match accepted.iter().find(outside) {
        Some(accepted_alone) if accepted.len() > 1 => {
            Err(Refusal::NotBundled { mid: accepted_alone.section.name() })
        }
        Some(_) => Ok(Vec::new()),
        None => {
            let mut bundle: Vec<&str> = Vec::new();
            for mid in group.iter().map(String::as_str).filter(|mid| mids.contains(mid)) {
                if !bundle.contains(&mid) {
                    bundle.push(mid);
                }
            }
            Ok(bundle)
        }
    }
}
