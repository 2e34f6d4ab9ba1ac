//! Pure cores stay pure, and actors talk only over the kit's lanes.

use crate::source::{Source, no_offences, sources};

/// Words that have no place in a core: a core has no runtime, no clock, no lock and no dice of its own.
const FORBIDDEN_IN_CORES: &[&str] = &[
    "async ",
    ".await",
    "tokio",
    "actix",
    "Instant::now",
    "SystemTime",
    "thread_rng",
    "rand::rng(",
    "Mutex",
    "RwLock",
];

/// Raw actix calls that forget what a full mailbox means.
const RAW_ACTOR_CALLS: &[&str] = &["do_send(", "run_interval("];

fn is_core(source: &Source) -> bool {
    source.path.starts_with("node/src/media/")
        || source.path.starts_with("node/src/signalling/sdp")
        || source.path.ends_with("/core.rs")
        || source.path.contains("/core/")
        || source.path.ends_with("/gather.rs")
        || source.path.ends_with("/placement.rs")
}

fn offences(within: impl Fn(&Source) -> bool, words: &[&str]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources().into_iter().filter(|source| within(source)) {
        for (number, line) in source.code() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                offences.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    offences
}

#[test]
fn cores_are_pure() {
    assert!(sources().iter().any(is_core), "there are cores to look at");
    no_offences("cores know no runtime, clock, lock or dice", &offences(is_core, FORBIDDEN_IN_CORES));
}

#[test]
fn actors_talk_over_lanes() {
    let outside_the_kit = |source: &Source| !source.path.starts_with("node/src/actor");
    no_offences("raw actor calls stay in node/src/actor", &offences(outside_the_kit, RAW_ACTOR_CALLS));
}

#[test]
fn tests_do_not_wait_for_time() {
    let waits = [concat!("sle", "ep("), concat!("sle", "ep_until("), concat!("park_", "timeout(")];
    let mut offences = Vec::new();
    for source in sources() {
        // The clock of tests is moved in one place; and a benchmark is about time.
        if source.path == "node/src/actor/virtual_time.rs" || source.path.contains("/benches/") {
            continue;
        }
        // The suite of buses is run by tests alone, but by those of other crates too.
        let lines = if source.path.ends_with("/bus/conformance.rs") { source.code() } else { source.tests() };
        for (number, line) in lines {
            if waits.iter().any(|wait| line.contains(wait)) {
                offences.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    no_offences("tests wait for a state, never for a time", &offences);
}

#[test]
fn no_test_is_left_out() {
    let ignored = concat!("#[ign", "ore");
    let mut offences = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate().filter(|(_, line)| line.contains(ignored)) {
            offences.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
        }
    }
    no_offences("every test runs", &offences);
}

#[test]
fn the_rules_see_what_only_tests_run() {
    let sources = sources();
    let seen = |path: &str| {
        let source = sources.iter().find(|source| source.path == path).expect(path);
        source.tests().iter().any(|(_, line)| line.contains("fn "))
    };
    assert!(seen("node/src/actor/lane/tests.rs"), "a file of tests");
    assert!(seen("node/src/room/rig.rs"), "a module for tests");
    assert!(seen("node/src/shard/timer.rs"), "a module of tests in a file of production");
    assert!(!seen("node/src/actor/lane.rs"), "production");
}
