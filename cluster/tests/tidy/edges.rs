//! Crates depend on each other as docs/ARCHITECTURE.md draws it, and use every crate they name.

use std::collections::BTreeSet;
use std::fs;

use crate::source::{no_offences, root, sources};

const CRATES: &[&str] = &["cluster", "coordinator", "loadtest", "node"];

/// Dependencies that no source names: they change a binary by being linked.
const LINKED_ONLY: &[&str] = &[];

/// Keys of `[dependencies]` and `[dev-dependencies]` of a crate, with the section they stand in.
fn dependencies(folder: &str) -> Vec<(String, bool)> {
    let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest is text");
    let mut found = Vec::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if matches!(section, "dependencies" | "dev-dependencies" | "build-dependencies")
            && let Some(name) = line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty())
        {
            found.push((name.to_owned(), section == "dependencies"));
        }
    }
    found
}

#[test]
fn crates_depend_as_drawn() {
    let map = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("docs/ARCHITECTURE.md is there");
    let drawn: BTreeSet<String> = map
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("aforo-") && line.contains(" -> "))
        .map(str::to_owned)
        .collect();
    let mut real = BTreeSet::new();
    for folder in CRATES {
        for (name, shipped) in dependencies(folder) {
            if shipped && name.starts_with("aforo-") {
                real.insert(format!("aforo-{folder} -> {name}"));
            }
        }
    }
    assert_eq!(real, drawn, "the crates' edges and those drawn in docs/ARCHITECTURE.md");
}

#[test]
fn every_dependency_is_used() {
    let sources = sources();
    let mut offences = Vec::new();
    for folder in CRATES {
        for (name, _) in dependencies(folder) {
            let word = name.replace('-', "_");
            let used = |text: &str| {
                [format!("{word}::"), format!("use {word}"), format!("{word} as ")]
                    .iter()
                    .any(|form| text.contains(form))
            };
            let inside = |path: &str| path.starts_with(&format!("{folder}/"));
            let mentioned = sources.iter().any(|source| inside(&source.path) && used(&source.text));
            if !mentioned && !LINKED_ONLY.contains(&name.as_str()) {
                offences.push(format!("{folder}: {name}"));
            }
        }
    }
    no_offences("a dependency that is named is used", &offences);
}
