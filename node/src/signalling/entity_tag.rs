//! Entity tags of sessions: strong, quoted, unique (RFC 9110 §8.8.3, RFC 9725 §4.3.1).

use actix_web::http::header::{HeaderMap, IF_MATCH};

use super::problem::Problem;
use crate::room::IfMatch;

/// The header's text for a session's tag.
pub fn quoted(tag: u64) -> String {
    format!("\"{tag:016x}\"")
}

/// Reads `If-Match`. `"*"` counts as `*`: some clients quote it. Weak tags never match, as If-Match compares strongly.
pub fn if_match(headers: &HeaderMap) -> Result<IfMatch, Problem> {
    let mut tags = Vec::new();
    let mut any_header = false;
    for value in headers.get_all(IF_MATCH) {
        any_header = true;
        let mut rest = next_item(value.as_bytes());
        while !rest.is_empty() {
            if let Some(after) = ["\"*\"", "*"].iter().find_map(|star| rest.strip_prefix(star.as_bytes())) {
                return item_ends(after).then_some(IfMatch::Any).ok_or(Problem::IfMatch);
            }
            let (tag, after) = tag(rest).filter(|(_, after)| item_ends(after)).ok_or(Problem::IfMatch)?;
            tags.extend(tag);
            rest = next_item(after);
        }
    }
    match any_header {
        true => Ok(IfMatch::Tags(tags)),
        false => Ok(IfMatch::Missing),
    }
}

/// What follows spaces and commas: items of a list may be empty (RFC 9110 §5.6.1.2).
fn next_item(list: &[u8]) -> &[u8] {
    let start = list.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','));
    start.and_then(|start| list.get(start..)).unwrap_or_default()
}

/// Whether an item of a list ends where `rest` begins.
fn item_ends(rest: &[u8]) -> bool {
    matches!(rest.trim_ascii_start().first(), None | Some(b','))
}

/// The entity tag that a list begins with, and what follows it; no number for a good tag that cannot be one of ours. A tag
/// may have commas in it (`etagc`, RFC 9110 §8.8.3).
fn tag(list: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let (weak, quoted) = match list.strip_prefix(b"W/") {
        Some(quoted) => (true, quoted),
        None => (false, list),
    };
    let opaque = quoted.strip_prefix(b"\"")?;
    let (inner, rest) = opaque.split_at_checked(opaque.iter().position(|byte| *byte == b'"')?)?;
    if !inner.iter().all(|byte| matches!(byte, 0x21..=0x7E | 0x80..)) {
        return None;
    }
    let ours =
        !weak && inner.len() == 16 && inner.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = std::str::from_utf8(inner).ok().filter(|_| ours);
    Some((number.and_then(|inner| u64::from_str_radix(inner, 16).ok()), rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use actix_web::http::header::HeaderValue;

    use super::*;

    fn read(values: &[&'static str]) -> Option<IfMatch> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, HeaderValue::from_static(value));
        }
        if_match(&headers).ok()
    }

    #[test]
    fn tags_are_read_as_they_are_written() {
        let text: &'static str = Box::leak(quoted(0xab).into_boxed_str());
        assert_eq!(read(&[text]), Some(IfMatch::Tags(vec![0xab])));
        assert_eq!(read(&["\"other\", \"00000000000000ff\""]), Some(IfMatch::Tags(vec![0xff])));
        assert_eq!(read(&["\"x\"", "\"00000000000000ff\""]), Some(IfMatch::Tags(vec![0xff])));
    }

    #[test]
    fn stars_mean_any_and_absence_is_told_apart() {
        assert_eq!(read(&["*"]), Some(IfMatch::Any));
        assert_eq!(read(&["\"*\""]), Some(IfMatch::Any));
        assert_eq!(read(&[]), Some(IfMatch::Missing));
    }

    #[test]
    fn weak_and_foreign_tags_match_nothing() {
        assert_eq!(read(&["W/\"00000000000000ff\""]), Some(IfMatch::Tags(vec![])));
        assert_eq!(read(&["\"00000000000000FF\""]), Some(IfMatch::Tags(vec![])));
        assert_eq!(read(&["\"+0000000000000ff\""]), Some(IfMatch::Tags(vec![])));
    }

    #[test]
    fn a_tag_may_have_commas_in_it() {
        assert_eq!(read(&["\"a,b\""]), Some(IfMatch::Tags(vec![])));
        assert_eq!(read(&["\"a,b\",\"00000000000000ff\""]), Some(IfMatch::Tags(vec![0xff])));
        assert_eq!(read(&["\",\" ,, W/\"*,\",\t\"00000000000000ff\" ,"]), Some(IfMatch::Tags(vec![0xff])));
        assert_eq!(read(&["\",*,\""]), Some(IfMatch::Tags(vec![])));
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for text in [
            "00000000000000ff",
            "\"a",
            "a\"",
            "\"a\"b\"",
            "\"a\" \"b\"",
            "\"a b\"",
            "w/\"a\"",
            "*a",
            "\"a\",b",
        ] {
            assert_eq!(read(&[text]), None, "{text}");
        }
    }
}
