//! A whole node in this process that loses one of its parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use actix::Handler;
use actix::dev::ToEnvelope;
use aforo_cluster::control::{PLACEMENT_SUBJECT, PlacementRequest, Role};
use bytes::Bytes;
use tokio::time::timeout;

use super::*;
use crate::actor::fault::Panic;
use crate::actor::supervise::RESTART_BUDGET;
use crate::actor::virtual_time;

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

#[test]
fn a_coordinator_that_ends_is_rebuilt_until_its_budget_is_used() {
    virtual_time::run(async {
        let (bus, metrics) = (Arc::new(MemoryBus::new()), Arc::new(Metrics::new().unwrap()));
        let root = start_coordinator(bus.clone(), &metrics, &Arbiter::current());
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
