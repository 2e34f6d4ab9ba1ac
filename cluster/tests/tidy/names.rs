//! Names that say something, constants that say what full means, metrics that are used.

use std::fs;

use aforo_cluster::metric::METRICS;

use crate::source::{no_offences, root, sources};

/// What may lie at the top of the repository.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".git",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "charts",
    "client-js",
    "cluster",
    "coordinator",
    "dashboards",
    "docs",
    "loadtest",
    "node",
    "rustfmt.toml",
    "target",
];

#[test]
fn the_top_level_is_the_map() {
    let mut offences = Vec::new();
    for entry in fs::read_dir(root()).expect("the root can be read") {
        let name = entry.expect("an entry can be read").file_name().to_string_lossy().into_owned();
        if !TOP_LEVEL.contains(&name.as_str()) {
            offences.push(name);
        }
    }
    no_offences("the top level has what design and README name, and nothing else", &offences);
}

#[test]
fn files_are_named_after_what_they_are() {
    let empty = ["mod.rs", "util", "utils", "common", "helper", "helpers", "misc", "manager"];
    let says_nothing = |part: &str| empty.contains(&part) || empty.contains(&part.trim_end_matches(".rs"));
    let sources = sources();
    let offences: Vec<String> = sources
        .iter()
        .filter(|source| source.path.split('/').any(says_nothing))
        .map(|source| source.path.clone())
        .collect();
    no_offences("no file is named utils, common, helpers, misc, manager or mod.rs", &offences);
}

#[test]
fn every_capacity_says_what_full_means() {
    let mut offences = Vec::new();
    for source in sources() {
        let lines = source.production();
        for (index, line) in lines.iter().enumerate() {
            let declares = line.contains("const ") && line.contains("_CAPACITY") && line.contains(": usize");
            let documented = index > 0 && lines[index - 1].trim_start().starts_with("///");
            if declares && !documented {
                offences.push(format!("{}:{}", source.path, index + 1));
            }
        }
    }
    no_offences("every *_CAPACITY has a doc sentence", &offences);
}

#[test]
fn nothing_is_left_for_later() {
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimple", "mented!(")];
    let mut offences = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                offences.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    no_offences("nothing is left for later in the tree", &offences);
}

#[test]
fn every_metric_is_used() {
    let text: String = sources()
        .iter()
        .filter(|source| source.path != "cluster/src/metric.rs")
        .flat_map(|source| source.production().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect::<Vec<_>>()
        .join("\n");
    let mut offences = Vec::new();
    for (name, _) in METRICS {
        let field = name.trim_start_matches("aforo_");
        if !["metrics.", "metrics().", "counters."]
            .iter()
            .any(|owner| text.contains(&format!("{owner}{field}")))
        {
            offences.push((*name).to_owned());
        }
    }
    no_offences("every metric that is declared is measured", &offences);
}
