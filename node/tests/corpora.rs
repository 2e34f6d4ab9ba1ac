//! Replays what fuzzing has found: each file of a corpus once made its parser take a way that no other file had taken.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "corpora/targets.rs"]
mod targets;

use std::path::Path;

use targets::TARGETS;

#[test]
fn no_parser_stumbles_over_its_corpus() {
    for (name, run) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut files: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() > 5, "the corpus of {name} has {} files", files.len());
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            // The name stays on the screen if the target panics.
            println!("{}", file.display());
            run(&bytes);
            // What is cut off or damaged in one place is as likely on the wire.
            for length in 0..bytes.len().min(256) {
                run(&bytes[..length]);
            }
            for place in 0..bytes.len().min(256) {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << (place % 8);
                run(&damaged);
            }
        }
    }
}
