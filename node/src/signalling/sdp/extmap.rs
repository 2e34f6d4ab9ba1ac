//! Header extensions (`a=extmap`, RFC 8285 §5): what both sides know, under the ids of the offer.

use crate::media::extension::{ExtensionKind, ExtensionMap};
use crate::media::negotiated::Direction;
use crate::signalling::sdp::offer::Section;

/// Ids of the one-byte form (RFC 8285 §4.2). Higher ones would force the two-byte form on every packet.
const ONE_BYTE_IDS: std::ops::RangeInclusive<u8> = 1..=14;

/// What became of a section's `a=extmap` lines.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    /// For the plane.
    pub(super) map: ExtensionMap,
    /// Values of the answer's `a=extmap` lines.
    pub(super) lines: Vec<String>,
}

/// The extensions of `section` that we use. `transport_cc` says whether the chosen format has that feedback: without
/// it the extension would number packets that nobody reports on.
pub(super) fn agree(section: &Section, direction: Direction, transport_cc: bool) -> Agreed {
    let mut agreed = Agreed::default();
    let offered = || section.attributes.values("extmap").filter_map(Offered::parse);
    let has_transport_cc =
        transport_cc && offered().any(|offered| offered.kind == ExtensionKind::TransportWideCc);
    for offered in offered() {
        let wanted = match offered.kind {
            ExtensionKind::TransportWideCc => transport_cc,
            // Says the same as the feedback for the transport, for four bytes more in each packet.
            ExtensionKind::AbsSendTime => !has_transport_cc,
            kind => direction == Direction::Publish || of_use_to_viewers(kind),
        };
        let taken = agreed.map.id(offered.kind).is_some() || agreed.map.kind(offered.id).is_some();
        if wanted && offered.flows(direction) && !taken {
            agreed.map.set(offered.kind, offered.id);
            agreed.lines.push(offered.answer());
        }
    }
    agreed
}

/// A viewer gets one layer under one SSRC, so what tells layers apart would be noise.
fn of_use_to_viewers(kind: ExtensionKind) -> bool {
    !matches!(kind, ExtensionKind::Rid | ExtensionKind::RepairedRid | ExtensionKind::VideoLayersAllocation)
}

/// One `a=extmap` line that names an extension we know.
struct Offered<'a> {
    id: u8,
    direction: Option<&'a str>,
    kind: ExtensionKind,
}

impl<'a> Offered<'a> {
    /// Reads `<id>["/"<direction>] <URI> [<attributes>]`.
    fn parse(value: &'a str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let entry = words.next()?;
        let kind = ExtensionKind::from_uri(words.next()?)?;
        let (id, direction) = match entry.split_once('/') {
            Some((id, direction)) => (id, Some(direction)),
            None => (entry, None),
        };
        let id = id.parse().ok().filter(|id| ONE_BYTE_IDS.contains(id))?;
        Some(Self { id, direction, kind })
    }

    /// Whether the client would use it in the direction in which media flows.
    fn flows(&self, direction: Direction) -> bool {
        match (self.direction, direction) {
            (None | Some("sendrecv"), _) => true,
            (Some("sendonly"), Direction::Publish) | (Some("recvonly"), Direction::Play) => true,
            (Some(_), _) => false,
        }
    }

    /// The line of the answer; a direction is turned round (RFC 8285 §6).
    fn answer(&self) -> String {
        let direction = match self.direction {
            Some("sendonly") => "/recvonly",
            Some("recvonly") => "/sendonly",
            Some("sendrecv") => "/sendrecv",
            _ => "",
        };
        format!("{}{direction} {}", self.id, self.kind.uri())
    }
}
