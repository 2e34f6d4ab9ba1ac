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
        let value = value.to_str().map_err(|_| Problem::IfMatch)?;
        for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item {
                "*" | "\"*\"" => return Ok(IfMatch::Any),
                item => tags.extend(tag(item)?),
            }
        }
    }
    match any_header {
        true => Ok(IfMatch::Tags(tags)),
        false => Ok(IfMatch::Missing),
    }
}

/// One of our tags; `None` for a good tag that cannot be one.
fn tag(item: &str) -> Result<Option<u64>, Problem> {
    let (weak, quoted) = match item.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, item),
    };
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(Problem::IfMatch)?;
    if inner.contains('"') {
        return Err(Problem::IfMatch);
    }
    let ours =
        !weak && inner.len() == 16 && inner.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    Ok(u64::from_str_radix(inner, 16).ok().filter(|_| ours))
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
    fn unquoted_tags_are_refused() {
        for text in ["00000000000000ff", "\"a", "a\"", "\"a\"b\""] {
            assert_eq!(read(&[text]), None, "{text}");
        }
    }
}
