//! A whole node in this process that loses one of its parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::process::Command;
use std::time::Duration;

use actix::Handler;
use actix::dev::ToEnvelope;
use aforo_cluster::control::{PLACEMENT_SUBJECT, PlacementRequest, Role};
use bytes::Bytes;
use serde_json::Value;
use tokio::time::timeout;

use super::*;
use crate::actor::fault::Panic;
use crate::actor::supervise::RESTART_BUDGET;
use crate::actor::virtual_time;
use crate::config::LogFormat;

/// Longer than a drain takes, short enough that a failure does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node on ports that the system chose, and what it was built from.
fn started() -> (Config, Node) {
    let mut config = Config::default();
    let any = "127.0.0.1:0".parse().unwrap();
    (config.http.listen, config.admin.listen, config.media.udp) = (any, any, any);
    (config.media.shards, config.media.advertise) = (2, vec![any.ip()]);
    let metrics = Arc::new(Metrics::new().unwrap());
    let bus = Arc::new(MemoryBus::new());
    let node = start(&config, bus, metrics, None, &Arbiter::current()).unwrap();
    (config, node)
}

/// Lets `actor` of a running node panic, which is counted under `label`. Returns who is said to have died.
async fn killed<A>(label: &str, actor: impl FnOnce(&Node) -> Addr<A>) -> String
where
    A: Actor + Handler<Panic>,
    A::Context: ToEnvelope<A, Panic>,
{
    let (config, node) = started();
    let lifecycle = Arc::clone(&node.lifecycle);
    assert_eq!(lifecycle.state(), NodeState::Ready);
    let (actor, metrics) = (actor(&node), Arc::clone(&node.metrics));
    let ended = run(&config, node, drain::StopSignals::new().unwrap());
    let (ended, _) = tokio::join!(timeout(PATIENCE, ended), actor.send(Panic));
    assert_eq!(metrics.actor_restarts_total.with_label_values(&[label, "fatal"]).get(), 1);
    assert_eq!(lifecycle.state(), NodeState::Draining, "no join is taken and /readyz says no");
    match ended.expect("the node ends") {
        Err(StartupError::Died { actor }) => actor,
        ended => panic!("{ended:?}"),
    }
}

#[actix_rt::test]
async fn a_node_that_loses_a_shard_drains_and_names_it() {
    assert_eq!(killed("shard", |node| node.shards[1].addr.clone()).await, "shard 1");
}

#[actix_rt::test]
async fn a_node_that_loses_the_root_of_rooms_drains_and_names_it() {
    assert_eq!(killed("rooms", |node| node.rooms.clone()).await, "the root of rooms");
}

#[actix_rt::test]
async fn a_node_that_loses_its_cluster_agent_drains_and_names_it() {
    assert_eq!(killed("cluster_agent", |node| node.agent.clone()).await, "the cluster agent");
}

#[actix_rt::test]
async fn a_node_that_loses_a_listener_drains_and_names_it() {
    let (config, mut node) = started();
    let metrics = Arc::clone(&node.metrics);
    node.roots
        .push(roots::serve("the third listener", async { Err(io::Error::other("a fault for the test")) }));
    let ended = timeout(PATIENCE, run(&config, node, drain::StopSignals::new().unwrap())).await;
    let ended = ended.expect("the node ends");
    assert!(
        matches!(&ended, Err(StartupError::Died { actor }) if actor == "the third listener"),
        "{ended:?}"
    );
    assert_eq!(metrics.actor_restarts_total.with_label_values(&["listener", "fatal"]).get(), 1);
}

#[test]
fn a_load_meter_that_dies_is_rebuilt_until_its_budget_is_used() {
    virtual_time::run(async {
        let metrics = Arc::new(Metrics::new().unwrap());
        let root =
            roots::keep_running("the load meter", "load_meter", &Arbiter::current(), &metrics, || async {
                panic!("a fault for the test")
            });
        assert_eq!(first_death([root]).await.name, "the load meter");
        let rebuilt = metrics.actor_restarts_total.with_label_values(&["load_meter", "panic"]).get();
        assert_eq!(rebuilt, RESTART_BUDGET as u64);
    });
}

/// Set in the process that the next test starts of itself.
const LOSES_A_SHARD: &str = "AFORO_TEST_LOSES_A_SHARD";

/// What the binary does when one of its shards dies, up to its exit code; the fault is in tests alone.
fn lose_a_shard() -> u8 {
    crate::cli::ended(actix::System::new().block_on(async {
        let (mut config, node) = started();
        config.log.format = LogFormat::Json;
        telemetry::start(&config.log).unwrap();
        let shard = node.shards[1].addr.clone();
        let ended = timeout(PATIENCE, run(&config, node, drain::StopSignals::new().unwrap()));
        tokio::join!(ended, shard.send(Panic)).0.expect("the node ends")
    }))
}

#[test]
fn a_process_that_loses_a_shard_says_so_in_its_log_and_ends_with_70() {
    if std::env::var_os(LOSES_A_SHARD).is_some() {
        std::process::exit(lose_a_shard().into());
    }
    let name = "startup::tests::a_process_that_loses_a_shard_says_so_in_its_log_and_ends_with_70";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture"]).env(LOSES_A_SHARD, "1").env_remove("RUST_BACKTRACE");
    let output = child.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(70), "{said}");
    let log: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let panic = log.iter().find(|line| line["message"] == "a thread panicked").expect("the fault is logged");
    assert_eq!((&panic["level"], &panic["reason"]), (&"ERROR".into(), &"a fault for the test".into()));
    assert!(panic["place"].as_str().unwrap().contains("shard/actor/tests.rs"), "{panic}");
    assert!(log.iter().any(|line| line["actor"] == "shard 1"), "{log:?}");
    let last = log.last().unwrap();
    assert_eq!((&last["level"], &last["message"]), (&"ERROR".into(), &"node ends".into()));
    assert!(last["reason"].as_str().unwrap().starts_with("shard 1 died"), "{last}");
}

#[test]
fn a_coordinator_that_ends_is_rebuilt_until_its_budget_is_used() {
    virtual_time::run(async {
        let (bus, metrics) = (Arc::new(MemoryBus::new()), Arc::new(Metrics::new().unwrap()));
        let root = roots::coordinator(bus.clone(), &metrics, &Arbiter::current());
        let (room, stream) = ("demo".parse().unwrap(), "main".parse().unwrap());
        let question = PlacementRequest { room, stream, role: Role::Publisher };
        let question = Bytes::from(serde_json::to_vec(&question).unwrap());
        for deaths in 0..=RESTART_BUDGET {
            virtual_time::pass(Duration::from_millis(1)).await;
            let answer = bus.request(PLACEMENT_SUBJECT, question.clone(), PATIENCE).await;
            assert!(answer.is_ok(), "after {deaths} deaths: {answer:?}");
            // Whoever serves the subject now takes it away from the coordinator, whose serving ends.
            drop(bus.serve(PLACEMENT_SUBJECT).await.unwrap());
        }
        assert_eq!(first_death([root]).await.name, "the coordinator");
        assert!(bus.request(PLACEMENT_SUBJECT, question, PATIENCE).await.is_err(), "nobody serves any more");
    });
}
