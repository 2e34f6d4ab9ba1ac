#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use actix::Addr;
use aforo_cluster::bus::memory::MemoryBus;
use aforo_cluster::control::{LEASE_RENEWAL, NodeState, PlacementRefusal, PlacementRequest, Role};

use self::moody_bus::{Mood, MoodyBus};
use super::*;
use crate::actor::fault::{Panic, can_panic};
use crate::actor::supervise::{Exit, lifeline};
use crate::actor::virtual_time;

mod moody_bus;

fn agent<B: Bus>(bus: &Arc<B>, name: &str) -> Addr<ClusterAgent> {
    let bus: Arc<dyn Bus> = Arc::clone(bus) as _;
    let metrics = Arc::new(Metrics::new().unwrap());
    ClusterAgent::new(bus, metrics, name.parse().unwrap(), lifeline().0).start()
}

/// An agent whose lease stands and whose coordinator serves, on a bus of its own.
async fn one_node() -> (Arc<MemoryBus>, Addr<ClusterAgent>) {
    let bus = Arc::new(MemoryBus::new());
    actix::spawn({
        let bus: Arc<dyn Bus> = Arc::clone(&bus) as _;
        async move { aforo_coordinator::service::serve(bus).await.unwrap() }
    });
    let node = agent(&bus, "one");
    node.send(SetLoad(0.25)).await.unwrap();
    virtual_time::pass(LEASE_RENEWAL).await;
    (bus, node)
}

/// The lease of the node `one`, as the bus has it.
async fn lease_of(bus: &dyn Bus) -> Option<NodeLease> {
    let entry = bus.get(Bucket::Nodes.key("one")).await.unwrap();
    entry.map(|entry| serde_json::from_slice(&entry.value).unwrap())
}

fn viewer() -> GetPlacement {
    let (room, stream) = ("demo".parse().unwrap(), "main".parse().unwrap());
    GetPlacement(PlacementRequest { room, stream, role: Role::Viewer })
}

fn claim() -> ClaimStream {
    ClaimStream { room: "demo".parse().unwrap(), stream: "main".parse().unwrap() }
}

#[test]
fn the_one_node_gets_every_session_until_it_drains() {
    virtual_time::run(async {
        let (_bus, node) = one_node().await;
        let answer = node.send(viewer()).await.unwrap().unwrap();
        assert_eq!(answer, PlacementAnswer::Node("one".parse().unwrap()));

        node.send(SetState(NodeState::Draining)).await.unwrap();
        virtual_time::pass(Duration::from_millis(1)).await;
        let answer = node.send(viewer()).await.unwrap().unwrap();
        assert_eq!(answer, PlacementAnswer::Refused(PlacementRefusal::Draining));
    });
}

#[test]
fn the_lease_is_renewed_with_the_load_and_ends_with_the_node() {
    virtual_time::run(async {
        let (bus, node) = one_node().await;
        virtual_time::pass(LEASE_TTL * 3).await;
        let lease = lease_of(&*bus).await.expect("a node that lives has its lease");
        assert_eq!(lease.load_ratio, 0.25);

        node.send(Leave).await.unwrap();
        assert_eq!(lease_of(&*bus).await, None);
    });
}

#[test]
fn how_long_the_bus_takes_is_counted_by_what_it_was_asked() {
    virtual_time::run(async {
        let (bus, first) = one_node().await;
        let metrics = Arc::new(Metrics::new().unwrap());
        let (counted, name) = (Arc::clone(&metrics), "two".parse().unwrap());
        let node = ClusterAgent::new(bus, counted, name, lifeline().0).start();
        first.send(Leave).await.unwrap();
        node.send(viewer()).await.unwrap().unwrap();
        node.send(claim()).await.unwrap().unwrap();
        let ClaimStream { room, stream } = claim();
        node.send(ReleaseStream { room, stream }).await.unwrap();
        for class in ["place", "lease", "claim", "release"] {
            let duration = metrics.bus_request_duration_seconds.with_label_values(&[class]);
            assert_eq!(duration.get_sample_count(), 1, "{class}");
        }
    });
}

#[test]
fn a_stream_has_one_origin_at_a_time() {
    virtual_time::run(async {
        let (bus, first) = one_node().await;
        let second = agent(&bus, "two");
        first.send(claim()).await.unwrap().unwrap();
        let refused = second.send(claim()).await.unwrap();
        assert!(matches!(refused, Err(ClusterError::Claimed { .. })));

        let ClaimStream { room, stream } = claim();
        first.send(ReleaseStream { room, stream }).await.unwrap();
        second.send(claim()).await.unwrap().expect("a released stream can be claimed");
    });
}

#[test]
fn a_stream_that_ends_while_it_is_claimed_leaves_no_claim() {
    virtual_time::run(async {
        let bus = Arc::new(MoodyBus::default());
        let node = agent(&bus, "one");
        virtual_time::pass(Duration::from_millis(1)).await;
        bus.set(Mood::Slow(Duration::from_secs(1)));
        let ClaimStream { room, stream } = claim();
        let pending = node.send(claim());
        let again = node.send(claim());
        let released = node.send(ReleaseStream { room, stream });
        let (claimed, again, released) = tokio::join!(pending, again, released);
        claimed.unwrap().unwrap();
        assert!(matches!(again.unwrap(), Err(ClusterError::Claimed { .. })));
        released.unwrap();
        bus.set(Mood::Good);
        // The claim was stored while the bus was slow, so is it taken back.
        virtual_time::pass(Duration::from_secs(2)).await;
        assert_eq!(bus.list(Bucket::Rooms).await.unwrap(), []);
        node.send(claim()).await.unwrap().expect("the name is free again");
        assert_eq!(bus.list(Bucket::Rooms).await.unwrap().len(), 1);
    });
}

#[test]
fn a_drain_that_meets_a_renewal_is_written_after_it_and_the_lease_can_still_be_removed() {
    virtual_time::run(async {
        let bus = Arc::new(MoodyBus::default());
        let node = agent(&bus, "one");
        virtual_time::pass(Duration::from_millis(1)).await;
        bus.set(Mood::Slow(Duration::from_millis(100)));
        virtual_time::pass(LEASE_RENEWAL).await;
        assert_eq!(bus.writing(), 1, "the renewal is on its way");
        node.send(SetState(NodeState::Draining)).await.unwrap();
        virtual_time::pass(Duration::from_millis(300)).await;
        assert_eq!(bus.most_at_once(), 1);
        assert_eq!(lease_of(&*bus).await.map(|lease| lease.state), Some(NodeState::Draining));

        node.send(SetState(NodeState::Draining)).await.unwrap();
        node.send(Leave).await.unwrap();
        assert_eq!(lease_of(&*bus).await, None, "nothing is left to run out");
    });
}

#[test]
fn a_bus_that_was_away_finds_the_lease_renewed_with_its_revision() {
    virtual_time::run(async {
        let bus = Arc::new(MoodyBus::default());
        let (metrics, line) = (Arc::new(Metrics::new().unwrap()), lifeline().0);
        let shared: Arc<dyn Bus> = Arc::clone(&bus) as _;
        let _node = ClusterAgent::new(shared, Arc::clone(&metrics), "one".parse().unwrap(), line).start();
        virtual_time::pass(Duration::from_millis(1)).await;
        bus.set(Mood::Failing);
        virtual_time::pass(LEASE_RENEWAL).await;
        assert_eq!(metrics.bus_connected.get(), 0);
        bus.set(Mood::Good);
        virtual_time::pass(LEASE_RENEWAL).await;
        assert_eq!((metrics.bus_connected.get(), bus.conflicts()), (1, 0));

        bus.set(Mood::Slow(LEASE_TTL * 10));
        virtual_time::pass(LEASE_RENEWAL + LEASE_TTL * 2).await;
        assert_eq!(metrics.bus_connected.get(), 0, "an answer that late is none");
        bus.set(Mood::Good);
        virtual_time::pass(LEASE_TTL).await;
        assert_eq!(metrics.bus_connected.get(), 1);
        assert!(lease_of(&*bus).await.is_some(), "what ran out was created anew");
    });
}

can_panic!(ClusterAgent);

#[test]
fn an_agent_that_leaves_has_finished_and_one_that_panics_has_died() {
    virtual_time::run(async {
        let start = || {
            let (bus, metrics) = (Arc::new(MemoryBus::new()), Arc::new(Metrics::new().unwrap()));
            let (line, watch) = lifeline();
            (ClusterAgent::new(bus, metrics, "one".parse().unwrap(), line).start(), watch)
        };
        let (leaves, watch) = start();
        leaves.send(Leave).await.unwrap();
        assert_eq!(watch.exit().await, Exit::Finished);
        let (panics, watch) = start();
        panics.send(Panic).await.unwrap_err();
        assert_eq!(watch.exit().await, Exit::Died);
    });
}
