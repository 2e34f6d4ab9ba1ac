//! The bus: requests between processes, and the key-value buckets that are the cluster's only memory.
//!
//! `memory` is the bus inside one process (`aforo dev`). Everything that uses a bus takes `Arc<dyn Bus>`, and
//! [`conformance`] holds every implementation to the same promises.

pub mod conformance;
pub mod memory;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for one server on a subject. Full means: the requester gets [`BusError::Busy`] at once, as a
/// server that is this far behind would answer too late anyway.
pub const REQUEST_LANE_CAPACITY: usize = 1024;

/// The buckets of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// `aforo_nodes`: one lease per node, by its id.
    Nodes,
    /// `aforo_rooms`: who is the origin of a stream, by `room/stream`; changed only by compare-and-swap.
    Rooms,
}

impl Bucket {
    /// The bucket's name on a bus that several programs share.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nodes => "aforo_nodes",
            Self::Rooms => "aforo_rooms",
        }
    }

    /// The place in this bucket that has this name.
    pub fn key(self, name: &str) -> Key<'_> {
        Key { bucket: self, name }
    }
}

/// A place on the bus that has at most one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// Where it is.
    pub bucket: Bucket,
    /// What it is called there.
    pub name: &'a str,
}

/// A value with the revision that a change of it must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key in the bucket.
    pub key: String,
    /// What was stored.
    pub value: Bytes,
    /// Grows with every change in the bucket.
    pub revision: u64,
}

/// A request that a server took from its lane.
#[derive(Debug)]
pub struct Request {
    /// What was asked.
    pub payload: Bytes,
    /// Where the answer goes; dropping it lets the requester time out at once.
    pub reply: oneshot::Sender<Bytes>,
}

/// Why the bus did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Nobody serves the subject.
    #[error("nobody serves {0}")]
    NoResponder(String),
    /// The server did not answer in time.
    #[error("no answer on {subject} within {deadline:?}")]
    Timeout {
        /// What was asked.
        subject: String,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// The server has [`REQUEST_LANE_CAPACITY`] requests waiting.
    #[error("{0} is behind with its requests")]
    Busy(String),
    /// The key exists already, or its revision is not the one named: somebody else was first.
    #[error("{key} was changed by somebody else")]
    Conflict {
        /// The key.
        key: String,
    },
}

/// What the bus answers.
pub type Answer<T> = Result<T, BusError>;

/// Requests and buckets, on any transport.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Asks whoever serves `subject` and waits for the answer, at most `deadline`.
    async fn request(&self, subject: &str, payload: Bytes, deadline: Duration) -> Answer<Bytes>;

    /// Serves `subject` until the receiver is dropped. The last to call it gets the requests.
    async fn serve(&self, subject: &str) -> Answer<mpsc::Receiver<Request>>;

    /// Stores a new key; [`BusError::Conflict`] if it exists. With `ttl` it vanishes unless renewed by [`Bus::update`].
    async fn create(&self, key: Key<'_>, value: Bytes, ttl: Option<Duration>) -> Answer<u64>;

    /// Replaces a value if its revision still is `last`, and starts its `ttl` anew. Returns the new revision.
    async fn update(&self, key: Key<'_>, last: u64, value: Bytes, ttl: Option<Duration>) -> Answer<u64>;

    /// Removes a key if its revision still is `last`.
    async fn delete(&self, key: Key<'_>, last: u64) -> Answer<()>;

    /// One value.
    async fn get(&self, key: Key<'_>) -> Answer<Option<Entry>>;

    /// Every value of a bucket, by key.
    async fn list(&self, bucket: Bucket) -> Answer<Vec<Entry>>;
}
