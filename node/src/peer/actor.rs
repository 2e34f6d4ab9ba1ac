//! The shell around one [`PeerCore`]: it lives on its shard's arbiter, hears from the shard and speaks to it.
//!
//! Its own death is an output too: whatever ends the actor, its shard hears `Ended` or `Died`.

use std::time::Instant;

use actix::{Actor, ActorContext, Context, Recipient};
use aforo_cluster::metric::Metrics;
use opentelemetry::trace::TraceId;
use prometheus::IntCounter;
use tracing::field::display;

use super::core::PeerCore;
use super::message::{PeerInput, PeerOutput, PeerSaid};
use crate::actor::instruments::{Handler, Instruments, instrumented};
use crate::actor::lane::{MediaLane, NoticeLane};
use crate::actor::now;
use crate::actor::timer::{Timed, Timer, arm};
use crate::media::path::PeerKey;

/// Inputs that wait for a peer: some flights of a handshake. Full means that the shard drops the datagram; ICE and DTLS
/// send it again.
pub const PEER_MAILBOX_CAPACITY: usize = 32;

/// One WebRTC connection, as an actor.
pub struct Peer {
    key: PeerKey,
    core: PeerCore,
    timer: Timer,
    /// STUN and DTLS datagrams: their protocols repair losses.
    datagrams: MediaLane<PeerSaid>,
    /// Everything else must arrive.
    steps: NoticeLane<PeerSaid>,
    ended: bool,
    instruments: Instruments,
    dtls_ignored: IntCounter,
    /// What the counter has of this peer.
    ignored_counted: u64,
    /// The trace of its join, for the log.
    trace_id: Option<TraceId>,
}

instrumented!(Peer in instruments: PeerInput);

impl Peer {
    /// The actor of `core`; `shard` hears what it says, under `key`.
    pub fn new(key: PeerKey, core: PeerCore, shard: Recipient<PeerSaid>, metrics: &Metrics) -> Self {
        Self {
            key,
            core,
            timer: Timer::default(),
            datagrams: MediaLane::new(shard.clone()),
            steps: NoticeLane::new(shard),
            ended: false,
            instruments: Instruments::new(metrics, "peer"),
            dtls_ignored: metrics.datagrams_dropped_total.with_label_values(&["dtls_ignored"]),
            ignored_counted: 0,
            trace_id: None,
        }
    }

    /// The same as part of a join with this trace.
    #[must_use]
    pub fn traced(mut self, trace_id: Option<TraceId>) -> Self {
        self.trace_id = trace_id;
        self
    }

    /// Passes on what the core has to say and arms the timer.
    fn drain(&mut self, now: Instant, context: &mut Context<Self>) {
        while let Some(output) = self.core.poll_output() {
            self.say(now, output);
        }
        let ignored = self.core.dtls_ignored();
        self.dtls_ignored.inc_by(ignored - std::mem::replace(&mut self.ignored_counted, ignored));
        let wanted = [self.core.poll_timeout(), self.steps.poll_timeout()].into_iter().flatten().min();
        arm(self, context, wanted);
        if self.ended && wanted.is_none() {
            context.stop();
        }
    }

    fn say(&mut self, now: Instant, output: PeerOutput) {
        let peer = self.key;
        match output {
            PeerOutput::Transmit { .. } => {
                self.datagrams.send(PeerSaid { peer, output });
            }
            PeerOutput::Ended(reason) => {
                self.ended = true;
                if let Some(error) = self.core.take_error() {
                    let error = &error as &dyn std::error::Error;
                    let trace_id = self.trace_id.map(display);
                    tracing::info!(?peer, reason = reason.as_str(), error, trace_id, "dtls failed");
                }
                self.steps.send(now, PeerSaid { peer, output });
            }
            output => self.steps.send(now, PeerSaid { peer, output }),
        }
    }
}

impl Actor for Peer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(PEER_MAILBOX_CAPACITY);
        self.drain(now(), context);
    }
}

impl Timed for Peer {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn handle_timeout(&mut self, now: Instant, context: &mut Context<Self>) {
        self.core.handle_timeout(now);
        self.steps.handle_timeout(now);
        self.drain(now, context);
    }
}

impl Handler<PeerInput> for Peer {
    type Result = ();

    fn handle(&mut self, input: PeerInput, context: &mut Context<Self>) {
        let now = now();
        // A mailbox drains before timers fire, so the core may be behind.
        self.core.handle_timeout(now);
        self.core.handle(now, input);
        self.drain(now, context);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !self.ended {
            // A panic ended the actor: the shard must not wait for it.
            let trace_id = self.trace_id.map(display);
            tracing::error!(peer = ?self.key, trace_id, "a peer died, its session ends");
            self.say(now(), PeerOutput::Died);
        }
    }
}

#[cfg(test)]
mod tests;
