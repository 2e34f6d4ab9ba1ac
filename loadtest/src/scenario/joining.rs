//! Viewers' WHEP joins, at a given pace.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::{Plan, Progress};
use crate::garbage::Door;
use crate::publisher::PublisherCounters;
use crate::signalling::{SessionUrl, Signaller};
use crate::viewer::core::ViewerSpec;
use crate::viewer::fleet::Fleet;
use crate::viewer::sdp::{self, Answer};
use crate::viewer::totals;

/// After the last POST viewers get this long until they have a keyframe: connect timeout and a group of pictures.
const COMPLETE_TIMEOUT: Duration = Duration::from_secs(20);

/// How often to look whether all have what they came for.
const COMPLETE_POLL: Duration = Duration::from_millis(100);

/// DELETEs under way at once at the end.
const DELETES_AT_ONCE: usize = 32;

/// How many different refusals are told.
const SHOWN_FAILURES: usize = 5;

/// How many viewers' ways to the server are remembered.
const KNOWN_DOORS: usize = 64;

/// What came of the joins' HTTP part.
#[derive(Debug)]
pub(super) struct Joins {
    pub(super) attempted: u64,
    pub(super) answer_us: Histogram<u64>,
    pub(super) failures: Vec<String>,
    /// Of the first viewers.
    pub(super) doors: Vec<Door>,
}

impl Joins {
    fn none() -> Result<Self> {
        Ok(Self { attempted: 0, answer_us: totals::histogram()?, failures: Vec::new(), doors: Vec::new() })
    }
}

/// What joins under way share.
struct Shared {
    answered: AtomicU64,
    refused: AtomicU64,
    joins: Mutex<Joins>,
    sessions: Arc<Mutex<Vec<SessionUrl>>>,
}

/// Joins all viewers of a plan, and ends their sessions.
pub(super) struct Joiner {
    plan: Arc<Plan>,
    fleet: Arc<Fleet>,
    signaller: Signaller,
    publishers: Vec<Arc<PublisherCounters>>,
    /// Those that the server has made: also known when joining is broken off.
    sessions: Arc<Mutex<Vec<SessionUrl>>>,
    /// Viewers that came and were not refused.
    let_in: u64,
    came: usize,
}

impl Joiner {
    pub(super) fn new(
        plan: Arc<Plan>,
        fleet: Arc<Fleet>,
        signaller: Signaller,
        publishers: &[Arc<PublisherCounters>],
    ) -> Self {
        Self {
            plan,
            fleet,
            signaller,
            publishers: publishers.to_vec(),
            sessions: Arc::default(),
            let_in: 0,
            came: 0,
        }
    }

    /// Posts the offers of `viewers` more, then waits until all play or time is up.
    pub(super) async fn join(
        &mut self,
        viewers: usize,
        per_second: f64,
        progress: &Progress,
    ) -> Result<Joins> {
        let shared = Arc::new(Shared {
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            joins: Mutex::new(Joins::none()?),
            sessions: self.sessions.clone(),
        });
        let started = tokio::time::Instant::now();
        let mut tasks = JoinSet::new();
        for nth in 0..viewers {
            let due = started + Duration::from_secs_f64(nth as f64 / per_second);
            tokio::time::sleep_until(due).await;
            progress.joining(nth + 1, viewers, shared.answered.load(Ordering::Relaxed));
            let stream = self.plan.stream_of(self.came + nth);
            let endpoint = format!("{}/whep/{}", self.plan.target, self.plan.stream_path(stream));
            let publisher = self.publishers.get(stream).cloned();
            let (fleet, signaller, shared) = (self.fleet.clone(), self.signaller.clone(), shared.clone());
            tasks.spawn(async move { join(&endpoint, publisher, (&fleet, &signaller), &shared).await });
        }
        while tasks.join_next().await.is_some() {}
        self.came += viewers;
        self.let_in += viewers as u64 - shared.refused.load(Ordering::Relaxed);
        self.wait_until_complete(progress).await?;
        let mut joins = shared.joins.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut joins, Joins::none()?))
    }

    async fn wait_until_complete(&self, progress: &Progress) -> Result<()> {
        let deadline = Instant::now() + COMPLETE_TIMEOUT;
        loop {
            let totals = self.fleet.snapshot().await?;
            progress.stage(&format!("{} of {} viewers play", totals.complete, self.came));
            if totals.complete + totals.failed >= self.let_in || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(COMPLETE_POLL).await;
        }
    }

    /// Ends all sessions.
    pub(super) async fn delete_all(&mut self) {
        let mut tasks = JoinSet::new();
        let sessions = std::mem::take(&mut *self.sessions.lock().unwrap_or_else(PoisonError::into_inner));
        for session in sessions {
            if tasks.len() >= DELETES_AT_ONCE {
                tasks.join_next().await;
            }
            let signaller = self.signaller.clone();
            tasks.spawn(async move {
                let _ = signaller.delete(&session).await;
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}

async fn join(
    endpoint: &str,
    publisher: Option<Arc<PublisherCounters>>,
    (fleet, signaller): (&Fleet, &Signaller),
    shared: &Shared,
) {
    let seat = fleet.reserve();
    let offer = sdp::offer(&seat.ice, &fleet.fingerprint(), seat.address);
    let (posted_at, posted) = signaller.post_until_live(endpoint, &offer).await;
    let answered_after = posted_at.elapsed();
    let answer = posted.and_then(|posted| Ok((Answer::parse(&posted.answer)?, posted.session)));
    let mut joins = shared.joins.lock().unwrap_or_else(PoisonError::into_inner);
    joins.attempted += 1;
    match answer {
        Ok((answer, session)) => {
            shared.answered.fetch_add(1, Ordering::Relaxed);
            joins.answer_us.saturating_record(answered_after.as_micros() as u64);
            shared.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
            if let Some(address) = answer.candidates.first().filter(|_| joins.doors.len() < KNOWN_DOORS) {
                let client_ufrag = seat.ice.ufrag.clone();
                let door = Door { ufrag: answer.ice.ufrag.clone(), client_ufrag, address: *address };
                joins.doors.push(door);
            }
            let spec = ViewerSpec { local: seat.ice, answer, posted_at, seed: rand::random(), publisher };
            fleet.add(seat.index, spec);
        }
        Err(error) => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            let failure = format!("{error:#}");
            if joins.failures.len() < SHOWN_FAILURES && !joins.failures.contains(&failure) {
                joins.failures.push(failure);
            }
        }
    }
}
