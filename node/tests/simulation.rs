//! Whole broadcasts on virtual time: real peers, real planes, a network that loses, delays, reorders and repeats.
//!
//! One seed is one run. `AFORO_SIM_SEEDS` says how many seeds are played (20 by default), `AFORO_SIM_SEED` plays a single one.
//! An oracle watches every datagram that leaves the node, and everything that its viewers make of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/dice.rs"]
mod dice;
#[path = "simulation/footage.rs"]
mod footage;
#[path = "simulation/member.rs"]
mod member;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/publisher.rs"]
mod publisher;
#[path = "simulation/scenario.rs"]
mod scenario;
#[path = "simulation/session.rs"]
mod session;
#[path = "simulation/viewer.rs"]
mod viewer;
#[path = "simulation/world.rs"]
mod world;

use scenario::Scenario;
use world::World;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

#[test]
fn every_seed_satisfies_the_oracle() {
    let seeds = match from_environment("AFORO_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("AFORO_SIM_SEEDS").unwrap_or(20),
    };
    let mut failures = Vec::new();
    let mut flowed = 0;
    for seed in seeds {
        match World::run(&Scenario::of(seed)) {
            Ok(outcome) => {
                println!("seed {seed}: {outcome:?}");
                flowed += outcome.media_packets;
            }
            Err(complaint) => failures.push(complaint),
        }
    }
    assert!(
        failures.is_empty(),
        "{} seeds failed; play one with AFORO_SIM_SEED=n:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(flowed > 1_000, "only {flowed} packets flowed");
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 7] {
        let first = World::run(&Scenario::of(seed)).unwrap();
        let second = World::run(&Scenario::of(seed)).unwrap();
        assert_eq!(first, second, "seed {seed} went two ways");
        assert!(first.media_packets > 100);
    }
}
