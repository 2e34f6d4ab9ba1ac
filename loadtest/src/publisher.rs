//! A synthetic publisher: the `webrtc` crate's whole stack sends a looped clip by WHIP (RFC 9725).
//!
//! It is deliberately not ours: another author's ICE, DTLS, SRTP and SDP stand on the far end of the wire. Each packet
//! carries the time at which it was handed to that stack, so that viewers measure what lies between.

mod codecs;
mod keyframe_requests;
pub mod layers;
pub mod packetise;
mod pass;
mod repair_names;
pub mod schedule;
mod session;
mod track;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinHandle;

use layers::{KeyframesWanted, LAYERS_MAX};
use schedule::{Schedule, StreamShape, TrackKind};
pub use session::PublishTarget;
use session::Session;

/// What publishers have sent so far, counted together.
#[derive(Debug, Default)]
pub struct PublisherCounters {
    /// RTP packets.
    pub packets: AtomicU64,
    /// Payload bytes.
    pub bytes: AtomicU64,
    keyframe_requests: AtomicU64,
    video: AtomicU64,
    audio: AtomicU64,
    cut_off: AtomicBool,
    wanted: AtomicU8,
    requests: Mutex<[LayerRequests; LAYERS_MAX]>,
}

/// The keyframe requests for one layer.
#[derive(Debug, Clone, Copy, Default)]
struct LayerRequests {
    last: Option<Instant>,
    shortest: Option<Duration>,
}

impl PublisherCounters {
    /// Packets of a track that left or are just leaving, of the layer that has fewest: a viewer may be on any. Goes on when
    /// the server has cut the publisher off, for its viewers still wait for them.
    pub fn sent(&self, kind: TrackKind) -> u64 {
        self.of(kind).load(Ordering::Relaxed)
    }

    /// Whether a publisher can no longer send, or no longer hears the server.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Keyframe requests that arrived, of all layers.
    pub fn keyframe_requests(&self) -> u64 {
        self.keyframe_requests.load(Ordering::Relaxed)
    }

    /// The shortest time between two keyframe requests for one layer; none before the second.
    pub fn shortest_request_interval(&self) -> Option<Duration> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter_map(|layer| layer.shortest).min()
    }

    /// Requests for these layers came at `now`.
    fn request_keyframes(&self, now: Instant, wanted: KeyframesWanted) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, layer) in requests.iter_mut().enumerate().filter(|(index, _)| wanted.contains(*index)) {
            self.keyframe_requests.fetch_add(1, Ordering::Relaxed);
            self.wanted.fetch_or(KeyframesWanted::of(index).0, Ordering::Relaxed);
            let since = layer.last.replace(now).map(|last| now.saturating_duration_since(last));
            layer.shortest = layer.shortest.into_iter().chain(since).min();
        }
    }

    fn of(&self, kind: TrackKind) -> &AtomicU64 {
        match kind {
            TrackKind::Video => &self.video,
            TrackKind::Audio => &self.audio,
        }
    }
}

/// A running publisher.
#[derive(Debug)]
pub struct Publisher {
    session: Arc<Session>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Posts the offer, waits until the connection stands, and starts to send.
    ///
    /// # Errors
    ///
    /// The server refuses, or no connection within 15 s.
    pub async fn start(
        target: PublishTarget,
        shape: StreamShape,
        counters: Arc<PublisherCounters>,
    ) -> Result<Self> {
        let schedule = Schedule::new(shape)?;
        let session = Arc::new(Session::connect(target, shape, counters.clone()).await?);
        let lowest = shape.layers().len().saturating_sub(1);
        let task = tokio::spawn(send(session.clone(), schedule, shape, lowest, counters));
        Ok(Self { session, task })
    }

    /// Ends the session: DELETE, then the connection.
    pub async fn stop(self) {
        self.task.abort();
        self.session.close().await;
    }
}

async fn send(
    session: Arc<Session>,
    mut schedule: Schedule,
    shape: StreamShape,
    lowest_layer: usize,
    counters: Arc<PublisherCounters>,
) {
    let start = tokio::time::Instant::now();
    loop {
        let asked_for = counters.wanted.swap(0, Ordering::Relaxed);
        let mut wanted = KeyframesWanted(if shape.deaf { 0 } else { asked_for });
        let Some(packet) = schedule.next(&mut wanted) else { return };
        counters.wanted.fetch_or(wanted.0, Ordering::Relaxed);
        let due = start + packet.due;
        if due > tokio::time::Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        let bytes = packet.payload.len() as u64;
        if packet.kind == TrackKind::Audio || packet.layer == lowest_layer {
            // Before it leaves: no viewer may know of a packet that is not counted.
            counters.of(packet.kind).fetch_add(1, Ordering::Relaxed);
        }
        let sent = session.is_up() && session.send(packet).await.is_ok();
        counters.cut_off.store(!sent || !session.is_heard(), Ordering::Relaxed);
        if !sent {
            continue;
        }
        counters.packets.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
