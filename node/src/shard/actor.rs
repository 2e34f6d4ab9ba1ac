//! The shell of one shard: it takes messages, gives them to the core, and keeps the event loop and the tasks of ICE-TCP
//! connections running on its thread.

mod handlers;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, AsyncContext, Context, Recipient};
use aforo_cluster::metric::Metrics;
use opentelemetry::trace::TraceId;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::actor::instruments::Instruments;
use crate::actor::supervise::Lifeline;
use crate::actor::timer::every;
use crate::media::path::PeerKey;
use crate::media::spec::ShardMessage;
use crate::peer::message::{PeerConfig, PeerInput};
use crate::shard::core::{ShardCore, ShardCoreConfig};
use crate::shard::event_loop::{self, Sources};
use crate::shard::health::{BusyMeter, Heartbeat};
use crate::shard::lanes::Lanes;
use crate::shard::message::PeerSaid;
use crate::shard::pump::{Pump, SharedPump};
use crate::shard::socket::udp::UdpSocket;
use crate::shard::telemetry::Telemetry;

/// Messages that wait for the shard: some per peer, of thousands that join at once. Full means that rooms wait (a request
/// has a deadline) and that peers and other shards keep what they have to say and try again.
const MAILBOX_CAPACITY: usize = 4096;

/// How often the shard shows that it is alive, and measures how late its timers are.
const TICK: Duration = Duration::from_millis(250);

/// Ticks between two readings of all counters: a second's worth.
const TICKS_PER_REPORT: u32 = 4;

/// A peer to start; the actor lives on the shard's thread.
pub struct PeerStart {
    /// Its key on this shard.
    pub peer: PeerKey,
    /// What it is made of.
    pub config: PeerConfig,
    /// Who hears what it says.
    pub shard: Recipient<PeerSaid>,
    /// The trace of its join, for the log.
    pub trace_id: Option<TraceId>,
}

/// Starts the actor of a peer.
pub type PeerFactory = Arc<dyn Fn(PeerStart) -> Recipient<PeerInput> + Send + Sync>;

/// What a shard is made of; made on one thread and sent to the shard's own.
pub struct ShardSetup {
    /// Its id, seed and size.
    pub core: ShardCoreConfig,
    /// Its socket.
    pub udp: UdpSocket,
    /// Packets from other shards.
    pub packets: mpsc::Receiver<ShardMessage>,
    /// Starts its peers.
    pub peers: PeerFactory,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Its sign of life.
    pub heartbeat: Arc<Heartbeat>,
    /// Tells its owner when it dies.
    pub lifeline: Lifeline,
}

/// One media arbiter's actor.
pub struct Shard {
    pump: SharedPump,
    sources: Option<Sources>,
    event_loop: Option<tokio::task::AbortHandle>,
    peers: PeerFactory,
    metrics: Arc<Metrics>,
    instruments: Instruments,
    telemetry: Telemetry,
    heartbeat: Arc<Heartbeat>,
    busy: BusyMeter,
    lifeline: Lifeline,
    wake: Rc<Notify>,
    /// Told when the last peer has gone.
    emptied: Option<oneshot::Sender<()>>,
    last_tick: Instant,
    ticks: u32,
}

impl Shard {
    /// Makes the shard; to be called on the thread that it is to live on, inside its runtime.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch the socket.
    pub fn new(setup: ShardSetup) -> io::Result<Self> {
        let now = Instant::now();
        let udp = Rc::new(setup.udp.watch()?);
        let wake = Rc::new(Notify::new());
        let core = ShardCore::new(setup.core, now);
        let metrics = setup.metrics;
        let instruments = Instruments::new(&metrics, "shard");
        let telemetry = Telemetry::new(setup.core.id, Arc::clone(&metrics));
        let pump = Pump::new(core, Rc::clone(&udp), Lanes::default(), &metrics, Rc::clone(&wake));
        Ok(Self {
            pump: Rc::new(RefCell::new(pump)),
            sources: Some(Sources { udp, packets: setup.packets, wake: Rc::clone(&wake) }),
            event_loop: None,
            peers: setup.peers,
            metrics,
            instruments,
            telemetry,
            heartbeat: setup.heartbeat,
            busy: BusyMeter::new(now),
            lifeline: setup.lifeline,
            wake,
            emptied: None,
            last_tick: now,
            ticks: 0,
        })
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let late = now.saturating_duration_since(self.last_tick).saturating_sub(TICK);
        self.last_tick = now;
        self.metrics.event_loop_lag_seconds.observe(late.as_secs_f64());
        self.heartbeat.beat(now);
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(TICKS_PER_REPORT) {
            let ratio = self.busy.measure(now);
            let mut pump = self.pump.borrow_mut();
            pump.bury_the_dead(now);
            self.telemetry.report(&pump, ratio);
        }
    }

    /// Watches the event loop: should it ever end, the shard is of no use and ends too.
    fn watch(&mut self, event_loop: JoinHandle<io::Result<()>>, context: &mut Context<Self>) {
        self.event_loop = Some(event_loop.abort_handle());
        let watched = wrap_future::<_, Self>(event_loop).map(|ended, shard, context: &mut Context<Self>| {
            tracing::error!(?ended, shard = shard.pump.borrow().core.id().0, "the shard's event loop ended");
            context.terminate();
        });
        context.spawn(watched);
    }
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
        if let Some(sources) = self.sources.take() {
            let event_loop = actix_rt::spawn(event_loop::run(Rc::clone(&self.pump), sources));
            self.watch(event_loop, context);
        }
        every(context, TICK, |shard: &mut Self, _| shard.tick());
    }
}

/// Also after a panic, when nothing else of the actor runs any more.
impl Drop for Shard {
    fn drop(&mut self) {
        if let Some(event_loop) = self.event_loop.take() {
            event_loop.abort();
        }
    }
}

#[cfg(test)]
mod tests;
