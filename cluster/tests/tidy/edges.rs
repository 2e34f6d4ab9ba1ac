//! Crates and the features of the node depend on each other as docs/ARCHITECTURE.md draws it, and use every crate they name.

use std::collections::{BTreeMap, BTreeSet};
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

/// The features of the node that this line of code names, as `crate::feature`.
fn named_features(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices("crate::").filter_map(move |(start, path)| {
        // `$crate::` and `some_crate::` are other crates.
        let begins = !line[..start].ends_with(|c: char| c == '$' || is_name(c));
        let rest = &line[start + path.len()..];
        begins.then(|| rest.split(|c| !is_name(c)).next()).flatten().filter(|name| !name.is_empty())
    })
}

#[test]
fn features_of_the_node_depend_as_drawn() {
    let map = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("docs/ARCHITECTURE.md is there");
    let is_feature = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let drawn: BTreeSet<String> = map
        .lines()
        .filter(|line| line.split_once(" -> ").is_some_and(|(from, _)| is_feature(from)))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let sources = sources();
    for source in sources.iter().filter(|source| !source.for_tests) {
        let Some(inside) = source.path.strip_prefix("node/src/") else { continue };
        let own = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        for (_, line) in source.code() {
            let others = named_features(line).filter(|name| *name != own);
            edges.entry(own.to_owned()).or_default().extend(others.map(str::to_owned));
        }
    }
    edges.retain(|_, to| !to.is_empty());
    assert!(edges["signalling"].contains("room"), "the rule sees edges");
    assert!(!edges.contains_key("media"), "the data plane knows nobody");
    let real = edges
        .into_iter()
        .map(|(from, to)| format!("{from} -> {}", to.into_iter().collect::<Vec<_>>().join(" ")));
    assert_eq!(real.collect::<BTreeSet<_>>(), drawn, "features and those drawn in docs/ARCHITECTURE.md");
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
