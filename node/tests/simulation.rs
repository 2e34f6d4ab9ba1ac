//! Whole broadcasts on virtual time: real peers, real planes, a network that loses, delays, reorders and repeats.
//!
//! One seed is one run. `AFORO_SIM_SEEDS` says how many seeds are played (200 by default) and `AFORO_SIM_FIRST` from which one on;
//! `AFORO_SIM_STOP` ends at the first complaint.
//! `AFORO_SIM_SEED` plays a single one, and with `AFORO_SIM_PACKETS` everything that its viewers got is printed.
//! An oracle watches every datagram that leaves the node, and everything that its viewers make of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "simulation/air.rs"]
mod air;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/decoder.rs"]
mod decoder;
#[path = "simulation/descriptor.rs"]
mod descriptor;
#[path = "simulation/dice.rs"]
mod dice;
#[path = "simulation/encoder.rs"]
mod encoder;
#[path = "simulation/flow.rs"]
mod flow;
#[path = "simulation/footage.rs"]
mod footage;
#[path = "simulation/hevc.rs"]
mod hevc;
#[path = "simulation/hold.rs"]
mod hold;
#[path = "simulation/judgement.rs"]
mod judgement;
#[path = "simulation/member.rs"]
mod member;
#[path = "simulation/memory.rs"]
mod memory;
#[path = "simulation/mischief.rs"]
mod mischief;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/part.rs"]
mod part;
#[path = "simulation/plot.rs"]
mod plot;
#[path = "simulation/publisher.rs"]
mod publisher;
#[path = "simulation/redundancy.rs"]
mod redundancy;
#[path = "simulation/rehearsal.rs"]
mod rehearsal;
#[path = "simulation/room.rs"]
mod room;
#[path = "simulation/scenario.rs"]
mod scenario;
#[path = "simulation/session.rs"]
mod session;
#[path = "simulation/steps.rs"]
mod steps;
#[path = "simulation/stream.rs"]
mod stream;
#[path = "simulation/viewer.rs"]
mod viewer;
#[path = "simulation/world.rs"]
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aforo_cluster::id::SessionId;
use aforo_node::media::codec::CodecKind;
use aforo_node::media::negotiated::{Direction, DtlsRole, IceCredentials};
use aforo_node::media::path::ShardId;
use aforo_node::peer::ice;
use aforo_node::peer::message::{EndReason, PeerConfig, PeerEvent};
use aforo_node::shard::message::PeerMedia;
use footage::Format;
use node::Node;
use scenario::{Act, Scenario};
use world::{Outcome, World};

/// Seeds of a test run, unless the environment says otherwise.
const SEEDS: u64 = 200;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// Plays one seed. A panic is a complaint like any other: the message is on standard error, the seed is known here.
fn play_one(seed: u64) -> Result<Outcome, String> {
    let played = std::panic::catch_unwind(|| World::run(&Scenario::of(seed)));
    played.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("seed {seed} panicked: {}", message.unwrap_or("without a message")))
    })
}

/// Plays the seeds from `first` to below `end`, as many at a time as there are cores; each one's outcome or complaint, in their order.
fn play(first: u64, end: u64) -> Vec<(u64, Result<Outcome, String>)> {
    let next = AtomicU64::new(first);
    let play_some = || {
        let seeds = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let seeds = seeds.take_while(|seed| *seed < end);
        let played = seeds.map(|seed| {
            let outcome = play_one(seed);
            if outcome.is_err() && std::env::var_os("AFORO_SIM_STOP").is_some() {
                next.store(end, Ordering::Relaxed);
            }
            (seed, outcome)
        });
        played.collect::<Vec<_>>()
    };
    let mut played = std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let players: Vec<_> = (0..cores).map(|_| scope.spawn(play_some)).collect();
        players.into_iter().flat_map(|player| player.join().unwrap()).collect::<Vec<_>>()
    });
    played.sort_by_key(|(seed, _)| *seed);
    played
}

#[test]
fn every_seed_satisfies_the_oracle() {
    let (first, end) = match from_environment("AFORO_SIM_SEED") {
        Some(seed) => (seed, seed + 1),
        None => {
            let first = from_environment("AFORO_SIM_FIRST").unwrap_or(0);
            (first, first + from_environment("AFORO_SIM_SEEDS").unwrap_or(SEEDS))
        }
    };
    let mut failures = Vec::new();
    let (mut flowed, mut repaired, mut missing) = (0, 0, 0);
    let mut seldom = [0; 6];
    let mut steps = [0; 4];
    for (seed, outcome) in play(first, end) {
        match outcome {
            Ok(outcome) => {
                println!("seed {seed}: {outcome:?}");
                flowed += outcome.media_packets;
                repaired += outcome.repaired;
                missing += outcome.missing;
                let Outcome { repeated, recovered, silences, takeovers, given_up, rebindings, .. } = outcome;
                let counts = [repeated, recovered, silences, takeovers, given_up, rebindings];
                seldom.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                let Outcome { falls, returns, switches, keyframe_requests, .. } = outcome;
                let counts = [falls, returns, switches, keyframe_requests as usize];
                steps.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
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
    println!("of {flowed} packets {repaired} came by repair, {missing} never");
    if end - first >= SEEDS {
        // Frames that came with others only, to viewers and to the node; publishers that were silent, taken over from,
        // given up; addresses that changed unknown to their clients.
        assert!(seldom.iter().all(|count| *count > 0), "what never happened was not looked at: {seldom:?}");
        // Viewers that had to go down, and up again; times that one went on with another layer; keyframes that were asked for.
        let enough = steps.iter().zip([8, 3, 200, 200]).all(|(count, least)| *count >= least);
        assert!(enough, "steps were hardly looked at: {steps:?}");
        assert!(repaired > 2 * missing, "{repaired} packets came by repair, {missing} never");
    }
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

#[test]
fn h265_passes_a_network_that_loses() {
    let mut repaired = 0;
    for seed in [1, 2, 3] {
        let mut scenario = Scenario::of(seed);
        scenario.show.manner.format = Format {
            codec: CodecKind::H265,
            spatial_layers: 1,
            temporal_layers: 1,
            layers_meet_at_keyframes: false,
            descriptor: false,
        };
        scenario.show.encodings = 1;
        let outcome = World::run(&scenario).unwrap();
        assert!(outcome.media_packets > 100, "{outcome:?}");
        repaired += outcome.repaired;
    }
    assert!(repaired > 0, "nothing was lost on the way to a viewer");
}

#[test]
fn a_viewer_that_vanishes_is_gone_when_its_consent_ends() {
    let mut scenario = Scenario::of(0);
    scenario.duration = Duration::from_secs(45);
    scenario.acts.retain(|(_, act)| matches!(act, Act::Join(_)));
    scenario.acts.push((Duration::from_secs(6), Act::Vanish(1)));
    let outcome = World::run(&scenario).unwrap();
    assert!(outcome.media_packets > 100);
}

#[test]
fn a_client_that_never_comes_is_forgotten_after_15_s() {
    let start = Instant::now();
    let mut node = Node::new(1, Duration::ZERO, 0, start);
    let ours = ice::credentials(ShardId(0)).unwrap();
    let theirs = IceCredentials { ufrag: "none".to_owned(), password: "0".repeat(24) };
    let plans = session::plans(session::PlanOptions {
        ssrc: 1,
        mids: ["0", "1"],
        payload_types: [111, 96],
        codec: CodecKind::H264,
        encodings: 1,
        red: true,
        sound_nack: true,
        sound_rtx: false,
        best_first: false,
        descriptor: false,
        rtx: true,
        transport_cc: true,
        announced: true,
    });
    let fingerprint = aforo_node::media::negotiated::Fingerprint {
        algorithm: aforo_node::media::negotiated::FingerprintAlgorithm::Sha256,
        digest: vec![0; 32],
    };
    let negotiated = session::negotiated(Direction::Publish, theirs, DtlsRole::Client, fingerprint, &plans);
    let config = PeerConfig { local_ice: ours, negotiated };
    node.add_peer(start, ShardId(0), SessionId::random(), config, PeerMedia::Ingest(Vec::new()));
    let mut now = start;
    while let Some(next) = node.poll_timeout() {
        assert_eq!(node.peers(), (1, 1));
        now = next;
        node.step(now);
    }
    assert_eq!(now - start, Duration::from_secs(15));
    assert_eq!(node.peers(), (0, 0));
    assert_eq!(node.notices.last().unwrap().event, PeerEvent::Ended(EndReason::IceTimeout));
}
