//! ICE candidates in text (RFC 8839 §5.1, RFC 6544 §4.5): ours in answers, the client's in fragments.

use std::net::{IpAddr, SocketAddr};

/// One transport address of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// UDP, or TCP of which we are the passive side.
    pub protocol: CandidateProtocol,
    /// Where it can be reached.
    pub address: SocketAddr,
}

/// Transport of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CandidateProtocol {
    /// RFC 8445.
    Udp,
    /// RFC 6544.
    Tcp,
}

/// Type preferences of RFC 8445 §5.1.2.2 for host candidates; TCP goes below everything that runs over UDP but relays
/// (RFC 6544 §4.2), and 90 is what browsers give it.
const UDP_HOST_TYPE_PREFERENCE: u32 = 126;
const TCP_HOST_TYPE_PREFERENCE: u32 = 90;

/// Direction preference of a passive host candidate (RFC 6544 §4.2).
const TCP_PASSIVE_DIRECTION_PREFERENCE: u32 = 4;

/// All media share one component, as RTCP is multiplexed.
const COMPONENT: u32 = 1;

/// The values of `a=candidate` for `candidates`. UDP comes first: FFmpeg's WHIP muxer reads no further than the first line.
pub(super) fn lines(candidates: &[Candidate]) -> Vec<String> {
    let mut sorted = candidates.to_vec();
    sorted.sort_by_key(|candidate| candidate.protocol);
    sorted.dedup();
    let mut bases: Vec<(CandidateProtocol, IpAddr)> = Vec::new();
    let mut place = 0;
    let mut previous = None;
    let line = |candidate: &Candidate| {
        place = if previous == Some(candidate.protocol) { place + 1 } else { 0 };
        previous = Some(candidate.protocol);
        let base = (candidate.protocol, candidate.address.ip());
        // One foundation for each base address and protocol, whatever the port (RFC 8445 §5.1.1.3).
        let foundation = bases.iter().position(|known| *known == base).unwrap_or_else(|| {
            bases.push(base);
            bases.len() - 1
        });
        line_of(candidate, foundation + 1, place)
    };
    sorted.iter().map(line).collect()
}

fn line_of(candidate: &Candidate, foundation: usize, place: u32) -> String {
    let (name, suffix) = match candidate.protocol {
        CandidateProtocol::Udp => ("udp", ""),
        CandidateProtocol::Tcp => ("tcp", " tcptype passive"),
    };
    let priority = priority(candidate.protocol, place);
    let (ip, port) = (candidate.address.ip(), candidate.address.port());
    format!("{foundation} {COMPONENT} {name} {priority} {ip} {port} typ host{suffix}")
}

/// RFC 8445 §5.1.2.1; `place` counts from 0, the preferred address of its protocol first.
fn priority(protocol: CandidateProtocol, place: u32) -> u32 {
    let (type_preference, local_preference) = match protocol {
        CandidateProtocol::Udp => (UDP_HOST_TYPE_PREFERENCE, 65_535_u32.saturating_sub(place)),
        CandidateProtocol::Tcp => {
            let other = 8_191_u32.saturating_sub(place);
            (TCP_HOST_TYPE_PREFERENCE, (TCP_PASSIVE_DIRECTION_PREFERENCE << 13) + other)
        }
    };
    (type_preference << 24) + (local_preference << 8) + (256 - COMPONENT)
}

/// What became of the text of a client's candidate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// We could send to it.
    Usable(Candidate),
    /// Well formed, but of a transport we do not know, another component, or a name instead of an address (mDNS).
    Unusable,
    /// Not a candidate.
    Malformed,
}

/// Reads the value of a client's `a=candidate`.
pub(super) fn parse(value: &str) -> Parsed {
    let mut fields = value.split_ascii_whitespace();
    let (
        Some(foundation),
        Some(component),
        Some(transport),
        Some(priority),
        Some(host),
        Some(port),
        Some("typ"),
        Some(_),
    ) = (
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
    )
    else {
        return Parsed::Malformed;
    };
    let (Ok(component), Ok(_), Ok(port)) =
        (component.parse::<u16>(), priority.parse::<u32>(), port.parse::<u16>())
    else {
        return Parsed::Malformed;
    };
    if foundation.len() > 32 {
        return Parsed::Malformed;
    }
    let protocol = match transport {
        text if text.eq_ignore_ascii_case("udp") => CandidateProtocol::Udp,
        text if text.eq_ignore_ascii_case("tcp") => CandidateProtocol::Tcp,
        _ => return Parsed::Unusable,
    };
    match host.parse::<IpAddr>() {
        Ok(ip) if u32::from(component) == COMPONENT => {
            Parsed::Usable(Candidate { protocol, address: SocketAddr::new(ip, port) })
        }
        _ => Parsed::Unusable,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn candidate(protocol: CandidateProtocol, address: &str) -> Candidate {
        Candidate { protocol, address: address.parse().expect("an address") }
    }

    #[test]
    fn udp_comes_first_and_priorities_fall() {
        let tcp = CandidateProtocol::Tcp;
        let udp = CandidateProtocol::Udp;
        let lines = lines(&[
            candidate(tcp, "192.0.2.1:7800"),
            candidate(udp, "192.0.2.1:7800"),
            candidate(udp, "[2001:db8::1]:7800"),
            candidate(udp, "192.0.2.1:7801"),
        ]);
        assert_eq!(
            lines,
            [
                "1 1 udp 2130706431 192.0.2.1 7800 typ host",
                "2 1 udp 2130706175 2001:db8::1 7800 typ host",
                "1 1 udp 2130705919 192.0.2.1 7801 typ host",
                "3 1 tcp 1520435199 192.0.2.1 7800 typ host tcptype passive",
            ]
        );
    }

    #[test]
    fn names_and_strange_transports_are_unusable_not_wrong() {
        let usable = parse("1 1 UDP 2130706431 192.0.2.1 7800 typ host generation 0");
        assert_eq!(usable, Parsed::Usable(candidate(CandidateProtocol::Udp, "192.0.2.1:7800")));
        for text in [
            "1 1 udp 1 8f3c4a10-aaaa-bbbb-cccc-0123456789ab.local 7 typ host",
            "1 1 sctp 1 192.0.2.1 7 typ host",
            "1 2 udp 1 192.0.2.1 7 typ host",
        ] {
            assert_eq!(parse(text), Parsed::Unusable, "{text}");
        }
        for text in ["", "1 1 udp", "1 1 udp x 192.0.2.1 7 typ host", "1 1 udp 1 192.0.2.1 70000 typ host"] {
            assert_eq!(parse(text), Parsed::Malformed, "{text}");
        }
    }
}
