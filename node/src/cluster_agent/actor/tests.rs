#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use actix::Addr;
use aforo_cluster::bus::memory::MemoryBus;
use aforo_cluster::control::{PlacementRefusal, PlacementRequest, Role};

use super::*;
use crate::actor::fault::{Panic, can_panic};
use crate::actor::supervise::{Exit, lifeline};
use crate::actor::virtual_time;

fn agent(bus: &Arc<MemoryBus>, name: &str) -> Addr<ClusterAgent> {
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
        let lease = bus.get(Bucket::Nodes, "one").await.unwrap().expect("a node that lives has its lease");
        let lease: NodeLease = serde_json::from_slice(&lease.value).unwrap();
        assert_eq!(lease.load_ratio, 0.25);

        node.send(Leave).await.unwrap();
        assert_eq!(bus.get(Bucket::Nodes, "one").await, Ok(None));
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

/// A bus that takes a second to store a new key.
struct SlowBus(Arc<MemoryBus>);

#[async_trait::async_trait]
impl Bus for SlowBus {
    async fn request(&self, subject: &str, payload: Bytes, deadline: Duration) -> Result<Bytes, BusError> {
        self.0.request(subject, payload, deadline).await
    }

    async fn serve(
        &self,
        subject: &str,
    ) -> Result<tokio::sync::mpsc::Receiver<aforo_cluster::bus::Request>, BusError> {
        self.0.serve(subject).await
    }

    async fn create(
        &self,
        bucket: Bucket,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<u64, BusError> {
        virtual_time::pass(Duration::from_secs(1)).await;
        self.0.create(bucket, key, value, ttl).await
    }

    async fn update(
        &self,
        bucket: Bucket,
        key: &str,
        value: Bytes,
        revision: u64,
        ttl: Option<Duration>,
    ) -> Result<u64, BusError> {
        self.0.update(bucket, key, value, revision, ttl).await
    }

    async fn delete(&self, bucket: Bucket, key: &str, revision: u64) -> Result<(), BusError> {
        self.0.delete(bucket, key, revision).await
    }

    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<aforo_cluster::bus::Entry>, BusError> {
        self.0.get(bucket, key).await
    }

    async fn list(&self, bucket: Bucket) -> Result<Vec<aforo_cluster::bus::Entry>, BusError> {
        self.0.list(bucket).await
    }
}

#[test]
fn a_stream_that_ends_while_it_is_claimed_leaves_no_claim() {
    virtual_time::run(async {
        let memory = Arc::new(MemoryBus::new());
        let (bus, metrics) = (Arc::new(SlowBus(Arc::clone(&memory))), Arc::new(Metrics::new().unwrap()));
        let node = ClusterAgent::new(bus, metrics, "one".parse().unwrap(), lifeline().0).start();
        let ClaimStream { room, stream } = claim();
        let pending = node.send(claim());
        let again = node.send(claim());
        let released = node.send(ReleaseStream { room, stream });
        let (claimed, again, released) = tokio::join!(pending, again, released);
        claimed.unwrap().unwrap();
        assert!(matches!(again.unwrap(), Err(ClusterError::Claimed { .. })));
        released.unwrap();
        virtual_time::pass(Duration::from_millis(1)).await;
        assert_eq!(memory.list(Bucket::Rooms).await.unwrap(), []);
        node.send(claim()).await.unwrap().expect("the name is free again");
        assert_eq!(memory.list(Bucket::Rooms).await.unwrap().len(), 1);
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
