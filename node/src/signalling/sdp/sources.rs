//! Who sends what in an offer: SSRCs (RFC 5576) and MediaStreams (RFC 8830).

use crate::media::negotiated::SsrcPair;
use crate::signalling::sdp::offer::{Offer, Section};

/// Most SSRCs of one section that are kept; three layers with retransmissions are six.
const MAX_SSRCS: usize = 16;

/// The media SSRCs that the section announces, each with the one that repairs it. Those of forward error correction
/// are passed over.
pub(super) fn ssrcs(section: &Section) -> Vec<SsrcPair> {
    let mut pairs: Vec<SsrcPair> = Vec::new();
    let mut repairs: Vec<u32> = Vec::new();
    for value in section.attributes.values("ssrc-group").take(MAX_SSRCS) {
        let mut words = value.split_ascii_whitespace();
        let semantics = words.next();
        let mut numbers = words.map(str::parse::<u32>);
        let (Some(Ok(primary)), Some(Ok(repair))) = (numbers.next(), numbers.next()) else { continue };
        match semantics {
            Some("FID") => {
                add(&mut pairs, SsrcPair { primary, rtx: Some(repair) });
                repairs.push(repair);
            }
            Some("FEC" | "FEC-FR") => repairs.push(repair),
            _ => {}
        }
    }
    for value in section.attributes.values("ssrc") {
        let Some(Ok(primary)) = value.split_ascii_whitespace().next().map(str::parse::<u32>) else {
            continue;
        };
        if !repairs.contains(&primary) {
            add(&mut pairs, SsrcPair { primary, rtx: None });
        }
    }
    pairs
}

fn add(pairs: &mut Vec<SsrcPair>, pair: SsrcPair) {
    if pairs.len() < MAX_SSRCS && !pairs.iter().any(|known| known.primary == pair.primary) {
        pairs.push(pair);
    }
}

/// How many MediaStreams the tracks of an offer belong to. `-` means none (RFC 8830 §2).
pub(super) fn count_media_streams(offer: &Offer) -> usize {
    let mut streams: Vec<&str> = Vec::new();
    for section in offer.sections.iter().filter(|section| section.kind.is_some() && !section.rejected) {
        for value in section.attributes.values("msid") {
            let stream = value.split_ascii_whitespace().next().unwrap_or("-");
            if stream != "-" && !streams.contains(&stream) {
                streams.push(stream);
            }
        }
    }
    streams.len()
}
