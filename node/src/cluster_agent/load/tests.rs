//! The meter under paused time, between shards that say how busy they are and an agent on a bus.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::Cell;
use std::rc::Rc;

use actix::{Actor, Addr, Context, Handler};
use aforo_cluster::bus::memory::MemoryBus;
use aforo_cluster::bus::{Bucket, Bus};
use aforo_cluster::control::{NodeLease, PlacementAnswer, PlacementRefusal, PlacementRequest, Role};

use super::*;
use crate::actor::supervise::lifeline;
use crate::actor::virtual_time;
use crate::cluster_agent::{ClusterAgent, GetPlacement, Leave};

/// How busy a shard says it is; one that is stuck says nothing.
#[derive(Clone, Default)]
struct Busy(Rc<Cell<Option<f64>>>);

struct TellingShard(Busy);

impl Actor for TellingShard {
    type Context = Context<Self>;
}

impl Handler<GetLoad> for TellingShard {
    type Result = actix::ResponseFuture<ShardLoad>;

    fn handle(&mut self, _: GetLoad, _: &mut Context<Self>) -> Self::Result {
        let busy = self.0.0.get();
        Box::pin(async move {
            match busy {
                Some(busy_ratio) => ShardLoad { busy_ratio, ..ShardLoad::default() },
                None => std::future::pending().await,
            }
        })
    }
}

struct Node {
    bus: Arc<MemoryBus>,
    agent: Addr<ClusterAgent>,
    busy: [Busy; 2],
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    task: tokio::task::JoinHandle<()>,
}

impl Node {
    fn start() -> Self {
        let (bus, metrics) = (Arc::new(MemoryBus::new()), Arc::new(Metrics::new().unwrap()));
        let shared: Arc<dyn Bus> = Arc::clone(&bus) as _;
        actix::spawn(async move { aforo_coordinator::service::serve(shared).await.unwrap() });
        let name = "one".parse().unwrap();
        let agent =
            ClusterAgent::new(Arc::clone(&bus) as _, Arc::clone(&metrics), name, lifeline().0).start();
        let busy = [Busy::default(), Busy::default()];
        busy.iter().for_each(|busy| busy.0.set(Some(0.0)));
        let directory = Arc::new(Directory::new(2, 100));
        let meter = LoadMeter {
            shards: busy.iter().map(|busy| TellingShard(busy.clone()).start().recipient()).collect(),
            directory: Arc::clone(&directory),
            limits: Limits { sessions: 100, ..Limits::default() },
            agent: agent.clone().recipient(),
            metrics: Arc::clone(&metrics),
        };
        let task = actix::spawn(meter.run());
        Self { bus, agent, busy, directory, metrics, task }
    }

    /// Lets `seconds` pass with a second shard that is this busy.
    async fn pass(&self, seconds: u64, busy: Option<f64>) {
        self.busy[1].0.set(busy);
        virtual_time::pass(Duration::from_secs(seconds)).await;
    }

    async fn lease(&self) -> f64 {
        let lease = self.bus.get(Bucket::Nodes.key("one")).await.unwrap().unwrap();
        serde_json::from_slice::<NodeLease>(&lease.value).unwrap().load_ratio
    }

    async fn place_publisher(&self) -> PlacementAnswer {
        let (room, stream) = ("demo".parse().unwrap(), "main".parse().unwrap());
        let request = PlacementRequest { room, stream, role: Role::Publisher };
        self.agent.send(GetPlacement(request)).await.unwrap().unwrap()
    }
}

#[test]
fn a_node_that_stays_busy_is_full_to_publishers_until_it_has_headroom() {
    virtual_time::run(async {
        let node = Node::start();
        let here = PlacementAnswer::Node("one".parse().unwrap());
        node.pass(30, Some(0.5)).await;
        assert_eq!(node.place_publisher().await, here);
        node.pass(2, Some(1.0)).await;
        assert_eq!(node.place_publisher().await, here, "two busy seconds are nothing");
        node.pass(30, Some(1.0)).await;
        assert_eq!(node.place_publisher().await, PlacementAnswer::Refused(PlacementRefusal::Full));
        assert!(node.metrics.node_load_ratio.get() > 0.95);
        node.pass(3, Some(0.5)).await;
        assert_eq!(node.place_publisher().await, here);
        node.pass(30, None).await;
        let stuck = node.place_publisher().await;
        assert_eq!(stuck, PlacementAnswer::Refused(PlacementRefusal::Full), "a shard does not answer");
    });
}

#[test]
fn sessions_are_load_too_and_operators_see_what_it_is_made_of() {
    virtual_time::run(async {
        let node = Node::start();
        let places: Vec<_> = (0..60).map(|_| node.directory.reserve_for_viewer().unwrap()).collect();
        node.pass(60, Some(0.3)).await;
        assert_eq!(node.lease().await, 0.6);
        assert_eq!(node.metrics.node_load_ratio.get(), 0.6);
        let of = |gauge: &prometheus::GaugeVec, resource| gauge.with_label_values(&[resource]).get();
        assert_eq!(
            (of(&node.metrics.node_usage, "sessions"), of(&node.metrics.node_limit, "sessions")),
            (60.0, 100.0)
        );
        let cpu = of(&node.metrics.node_usage, "cpu");
        assert!((cpu - 0.3).abs() < 0.001, "{cpu}");
        assert_eq!(of(&node.metrics.node_limit, "cpu"), 1.0);
        drop(places);
        node.pass(2, Some(0.3)).await;
        assert!((node.lease().await - 0.3).abs() < 0.001);
    });
}

#[test]
fn the_meter_ends_with_the_agent() {
    virtual_time::run(async {
        let node = Node::start();
        node.pass(3, Some(0.1)).await;
        assert!(!node.task.is_finished());
        node.agent.send(Leave).await.unwrap();
        node.pass(2, Some(0.1)).await;
        assert!(node.task.is_finished());
    });
}
