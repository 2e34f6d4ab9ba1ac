//! A bus that answers its writes late, or not at all, as a test says.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aforo_cluster::bus::memory::MemoryBus;
use aforo_cluster::bus::{Answer, Bucket, Bus, BusError, Entry, Key, Request};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::actor::virtual_time;

/// What the bus does with writes.
#[derive(Debug, Clone, Copy, Default)]
pub enum Mood {
    /// It answers at once.
    #[default]
    Good,
    /// It writes and answers this much later.
    Slow(Duration),
    /// It writes nothing and says that it got no answer.
    Failing,
}

/// See the module.
#[derive(Debug, Default)]
pub struct MoodyBus {
    memory: MemoryBus,
    mood: Mutex<Mood>,
    writing: AtomicU64,
    most_at_once: AtomicU64,
    conflicts: AtomicU64,
}

impl MoodyBus {
    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// How many writes are on their way.
    pub fn writing(&self) -> u64 {
        self.writing.load(Ordering::Relaxed)
    }

    /// How many ever were so together.
    pub fn most_at_once(&self) -> u64 {
        self.most_at_once.load(Ordering::Relaxed)
    }

    /// How many writes named a wrong revision.
    pub fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    async fn write<T>(&self, key: Key<'_>, write: impl Future<Output = Answer<T>>) -> Answer<T> {
        let mood = *self.mood.lock().unwrap();
        let now = self.writing.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(now, Ordering::Relaxed);
        let written = match mood {
            Mood::Good => write.await,
            Mood::Slow(time) => {
                virtual_time::pass(time).await;
                write.await
            }
            Mood::Failing => {
                Err(BusError::Timeout { subject: key.bucket.name().to_owned(), deadline: Duration::ZERO })
            }
        };
        self.writing.fetch_sub(1, Ordering::Relaxed);
        let conflict = matches!(written, Err(BusError::Conflict { .. }));
        self.conflicts.fetch_add(conflict.into(), Ordering::Relaxed);
        written
    }
}

#[async_trait]
impl Bus for MoodyBus {
    async fn request(&self, subject: &str, payload: Bytes, deadline: Duration) -> Answer<Bytes> {
        self.memory.request(subject, payload, deadline).await
    }

    async fn serve(&self, subject: &str) -> Answer<mpsc::Receiver<Request>> {
        self.memory.serve(subject).await
    }

    async fn create(&self, key: Key<'_>, value: Bytes, ttl: Option<Duration>) -> Answer<u64> {
        self.write(key, self.memory.create(key, value, ttl)).await
    }

    async fn update(&self, key: Key<'_>, last: u64, value: Bytes, ttl: Option<Duration>) -> Answer<u64> {
        self.write(key, self.memory.update(key, last, value, ttl)).await
    }

    async fn delete(&self, key: Key<'_>, last: u64) -> Answer<()> {
        self.write(key, self.memory.delete(key, last)).await
    }

    async fn get(&self, key: Key<'_>) -> Answer<Option<Entry>> {
        self.memory.get(key).await
    }

    async fn list(&self, bucket: Bucket) -> Answer<Vec<Entry>> {
        self.memory.list(bucket).await
    }
}
