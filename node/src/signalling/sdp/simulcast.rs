//! Simulcast by RID (RFC 8853, RFC 8851): the layers of an offer, and the lines that accept them.

use crate::signalling::sdp::offer::Section;

/// Most layers of one track; browsers and OBS send three, and RFC 8853 §5.3.2 lets an answer drop some.
const MAX_LAYERS: usize = 4;

/// Longest RID in bytes: what a one-byte header extension can carry (RFC 8285 §4.2).
const MAX_RID_BYTES: usize = 16;

/// The layers that we take.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// In the order of the offer's `a=simulcast` line.
    pub(super) rids: Vec<String>,
    /// Values of the answer's `a=rid` lines.
    pub(super) rid_lines: Vec<String>,
}

/// The layers that the client offers to send in the format `payload_type`; none without simulcast.
///
/// Of alternatives the first is taken, and a layer that starts paused (`~`) is taken like any other.
pub(super) fn agree(section: &Section, payload_type: u8) -> Layers {
    let mut layers = Layers::default();
    let streams = section.attributes.value("simulcast").and_then(send_streams).unwrap_or_default();
    for stream in streams.split(';') {
        let rid = stream.split(',').next().unwrap_or_default().trim().trim_start_matches('~');
        if !is_rid(rid) || layers.rids.len() == MAX_LAYERS || layers.rids.iter().any(|known| known == rid) {
            continue;
        }
        let Some(line) =
            section.attributes.values("rid").find_map(|value| answer_line(value, rid, payload_type))
        else {
            continue;
        };
        layers.rids.push(rid.to_owned());
        layers.rid_lines.push(line);
    }
    layers
}

/// The list after `send` in a value such as `send 1;2,~3 recv 4`.
fn send_streams(value: &str) -> Option<&str> {
    let mut words = value.split_ascii_whitespace();
    words.find(|word| *word == "send")?;
    words.next()
}

fn is_rid(text: &str) -> bool {
    (1..=MAX_RID_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Turns `<rid> send [restrictions]` round, if it is about `rid` and its formats include `payload_type`. Restrictions
/// are repeated, as an answer may not widen them (RFC 8851 §6.3).
fn answer_line(value: &str, rid: &str, payload_type: u8) -> Option<String> {
    let mut words = value.split_ascii_whitespace();
    if words.next() != Some(rid) || words.next() != Some("send") {
        return None;
    }
    let Some(restrictions) = words.next() else { return Some(format!("{rid} recv")) };
    let mut kept: Vec<String> = Vec::new();
    for restriction in restrictions.split(';').filter(|restriction| !restriction.is_empty()) {
        match restriction.strip_prefix("pt=") {
            Some(list) if list.split(',').any(|text| text.parse() == Ok(payload_type)) => {
                kept.insert(0, format!("pt={payload_type}"));
            }
            Some(_) => return None,
            None => kept.push(restriction.to_owned()),
        }
    }
    match kept.is_empty() {
        true => Some(format!("{rid} recv")),
        false => Some(format!("{rid} recv {}", kept.join(";"))),
    }
}
