//! A synthetic publisher: the `webrtc` crate's whole stack sends a looped clip by WHIP (RFC 9725).
//!
//! It is deliberately not ours: another author's ICE, DTLS, SRTP and SDP stand on the far end of the wire. Each packet
//! carries the time at which it was handed to that stack, so that viewers measure what lies between.

mod keyframe_requests;
pub mod packetise;
pub mod schedule;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use tokio::task::JoinHandle;

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
    /// Keyframe requests that arrived.
    pub keyframe_requests: AtomicU64,
    video: AtomicU64,
    audio: AtomicU64,
    cut_off: AtomicBool,
}

impl PublisherCounters {
    /// Packets of a track that left or are just leaving; goes on when the server has cut the publisher off, for its
    /// viewers still wait for them.
    pub fn sent(&self, kind: TrackKind) -> u64 {
        self.of(kind).load(Ordering::Relaxed)
    }

    /// Whether a publisher can no longer send, or no longer hears the server.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
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
    tasks: Vec<JoinHandle<()>>,
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
        let session = Arc::new(Session::connect(target, shape.codec).await?);
        let keyframe_wanted = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        if let Some(video) = session.video() {
            tasks.push(tokio::spawn(listen(video.clone(), keyframe_wanted.clone(), counters.clone())));
        }
        tasks.push(tokio::spawn(send(session.clone(), schedule, keyframe_wanted, counters)));
        Ok(Self { session, tasks })
    }

    /// Ends the session: DELETE, then the connection.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.session.close().await;
    }
}

async fn listen(
    track: session::SendTrack,
    keyframe_wanted: Arc<AtomicBool>,
    counters: Arc<PublisherCounters>,
) {
    while track.keyframe_requested().await {
        counters.keyframe_requests.fetch_add(1, Ordering::Relaxed);
        keyframe_wanted.store(true, Ordering::Relaxed);
    }
}

async fn send(
    session: Arc<Session>,
    mut schedule: Schedule,
    keyframe_wanted: Arc<AtomicBool>,
    counters: Arc<PublisherCounters>,
) {
    let start = tokio::time::Instant::now();
    loop {
        let mut wanted = keyframe_wanted.swap(false, Ordering::Relaxed);
        let Some(packet) = schedule.next(&mut wanted) else { return };
        if wanted {
            keyframe_wanted.store(true, Ordering::Relaxed);
        }
        let due = start + packet.due;
        if due > tokio::time::Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        let bytes = packet.payload.len() as u64;
        // Before it leaves: no viewer may know of a packet that is not counted.
        counters.of(packet.kind).fetch_add(1, Ordering::Relaxed);
        let sent = session.is_up() && session.send(packet).await.is_ok();
        counters.cut_off.store(!sent || !session.is_heard(), Ordering::Relaxed);
        if !sent {
            continue;
        }
        counters.packets.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
