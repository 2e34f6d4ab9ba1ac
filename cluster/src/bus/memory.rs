//! The bus inside one process: what `aforo dev` and the simulations use.
//!
//! Leases expire by tokio's clock, so paused time governs them in tests. The locks are held for a map operation, never
//! across an await, and no packet ever comes this way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Answer, Bucket, Bus, BusError, Entry, Key, REQUEST_LANE_CAPACITY, Request};

/// A bus whose other ends are in this process.
#[derive(Debug, Default)]
pub struct MemoryBus {
    servers: Mutex<HashMap<String, mpsc::Sender<Request>>>,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    revision: u64,
    buckets: HashMap<Bucket, BTreeMap<String, Stored>>,
}

#[derive(Debug)]
struct Stored {
    value: Bytes,
    revision: u64,
    expires: Option<Instant>,
}

impl MemoryBus {
    /// A bus with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    fn lane(&self, subject: &str) -> Option<mpsc::Sender<Request>> {
        lock(&self.servers).get(subject).filter(|lane| !lane.is_closed()).cloned()
    }
}

/// A poisoned lock means that a holder panicked between two whole map operations: the map itself is good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// The bucket without what has expired.
    fn bucket(&mut self, bucket: Bucket) -> &mut BTreeMap<String, Stored> {
        let now = Instant::now();
        let entries = self.buckets.entry(bucket).or_default();
        entries.retain(|_, stored| stored.expires.is_none_or(|at| at > now));
        entries
    }

    fn write(&mut self, key: Key<'_>, value: Bytes, ttl: Option<Duration>) -> u64 {
        self.revision += 1;
        let stored = Stored { value, revision: self.revision, expires: ttl.map(|ttl| Instant::now() + ttl) };
        self.bucket(key.bucket).insert(key.name.to_owned(), stored);
        self.revision
    }

    /// Whether the key's revision is this one; without one, whether there is no such key.
    fn expect(&mut self, key: Key<'_>, revision: Option<u64>) -> Answer<()> {
        let current = self.bucket(key.bucket).get(key.name).map(|stored| stored.revision);
        let conflict = || BusError::Conflict { key: key.name.to_owned() };
        (current == revision).then_some(()).ok_or_else(conflict)
    }
}

fn entry((key, stored): (&String, &Stored)) -> Entry {
    Entry { key: key.clone(), value: stored.value.clone(), revision: stored.revision }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn request(&self, subject: &str, payload: Bytes, deadline: Duration) -> Answer<Bytes> {
        let lane = self.lane(subject).ok_or_else(|| BusError::NoResponder(subject.to_owned()))?;
        let (reply, answer) = oneshot::channel();
        lane.try_send(Request { payload, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => BusError::Busy(subject.to_owned()),
            mpsc::error::TrySendError::Closed(_) => BusError::NoResponder(subject.to_owned()),
        })?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(BusError::Timeout { subject: subject.to_owned(), deadline }),
        }
    }

    async fn serve(&self, subject: &str) -> Answer<mpsc::Receiver<Request>> {
        let (lane, requests) = mpsc::channel(REQUEST_LANE_CAPACITY);
        lock(&self.servers).insert(subject.to_owned(), lane);
        Ok(requests)
    }

    async fn create(&self, key: Key<'_>, value: Bytes, ttl: Option<Duration>) -> Answer<u64> {
        let mut store = lock(&self.store);
        store.expect(key, None)?;
        Ok(store.write(key, value, ttl))
    }

    async fn update(&self, key: Key<'_>, last: u64, value: Bytes, ttl: Option<Duration>) -> Answer<u64> {
        let mut store = lock(&self.store);
        store.expect(key, Some(last))?;
        Ok(store.write(key, value, ttl))
    }

    async fn delete(&self, key: Key<'_>, last: u64) -> Answer<()> {
        let mut store = lock(&self.store);
        store.expect(key, Some(last))?;
        store.bucket(key.bucket).remove(key.name);
        Ok(())
    }

    async fn get(&self, key: Key<'_>) -> Answer<Option<Entry>> {
        Ok(lock(&self.store).bucket(key.bucket).get_key_value(key.name).map(entry))
    }

    async fn list(&self, bucket: Bucket) -> Answer<Vec<Entry>> {
        Ok(lock(&self.store).bucket(bucket).iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bus::conformance;

    #[tokio::test(start_paused = true)]
    async fn keeps_the_promises_of_a_bus() {
        conformance::check(Arc::new(MemoryBus::new()), tokio::time::advance).await;
    }
}
