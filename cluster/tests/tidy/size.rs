//! Files and functions that fit a reader's head.

use crate::source::{no_offences, sources};

const FILE_MAX_LINES: usize = 400;
const FUNCTION_MAX_LINES: usize = 70;

/// Files that are longer than the rule allows, and by how much they may be. This list can only shrink.
const LONG_FILES: &[(&str, usize)] = &[];

/// Functions that are longer than the rule allows, as `path:name`. This list can only shrink.
const LONG_FUNCTIONS: &[&str] = &[];

#[test]
fn files_are_short() {
    let mut offences = Vec::new();
    for source in sources() {
        let lines = source.production().len();
        let allowed = LONG_FILES.iter().find(|(path, _)| *path == source.path).map(|(_, lines)| *lines);
        if lines > allowed.unwrap_or(FILE_MAX_LINES) {
            offences.push(format!("{}: {lines} production lines", source.path));
        }
        if allowed.is_some() && lines <= FILE_MAX_LINES {
            offences.push(format!("{}: is short now, take it off the list", source.path));
        }
    }
    no_offences("files have at most 400 production lines", &offences);
}

#[test]
fn functions_are_short() {
    let mut offences = Vec::new();
    for source in sources() {
        let lines = source.production();
        for (start, name, indent) in lines.iter().enumerate().filter_map(|(n, line)| function(n, line)) {
            let closing = format!("{}}}", " ".repeat(indent));
            let end = lines[start..].iter().position(|line| *line == closing).unwrap_or(0);
            let place = format!("{}:{name}", source.path);
            if end + 1 > FUNCTION_MAX_LINES && !LONG_FUNCTIONS.contains(&place.as_str()) {
                offences.push(format!("{place}: {} lines", end + 1));
            }
        }
    }
    no_offences("functions have at most 70 lines", &offences);
}

/// Line, name and indentation of the function that a line starts, if it starts one that has a body.
fn function(number: usize, line: &str) -> Option<(usize, String, usize)> {
    let trimmed = line.trim_start();
    let words = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe ", "fn "];
    if !words.iter().any(|word| trimmed.starts_with(word)) || trimmed.ends_with(';') {
        return None;
    }
    let (before, after) = trimmed.split_once("fn ")?;
    let modifiers = before.split_whitespace().all(|word| words.iter().any(|known| known.trim() == word));
    let name = after.split(['(', '<']).next()?.to_owned();
    modifiers.then_some((number, name, line.len() - trimmed.len()))
}
