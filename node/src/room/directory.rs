//! What HTTP workers may read without asking a room: which streams are live, and how full each shard is.
//!
//! A viewer's join then costs one round trip between threads instead of two, and each is tens of microseconds of CPU.
//! Rooms write here when a stream goes live or ends and when sessions come and go; what a worker reads may be old by the
//! time it acts on it, so the room checks again when the session enters.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aforo_cluster::id::{RoomName, StreamName};

use super::core::LiveStream;
use super::error::RoomError;
use crate::media::path::ShardId;

type LiveStreams = HashMap<RoomName, HashMap<StreamName, Arc<LiveStream>>>;

/// Live streams and load of one node.
#[derive(Debug)]
pub struct Directory {
    live: RwLock<LiveStreams>,
    /// Sessions by shard; the index is the shard's.
    sessions: Box<[AtomicU32]>,
    /// Where the next search for the least loaded shard starts, so that ties are spread.
    turn: AtomicUsize,
    session_limit: u32,
}

impl Directory {
    /// A directory for `shards` shards and at most `session_limit` sessions on all of them.
    pub fn new(shards: usize, session_limit: u32) -> Self {
        let sessions = (0..shards.max(1)).map(|_| AtomicU32::new(0)).collect();
        Self { live: RwLock::default(), sessions, turn: AtomicUsize::new(0), session_limit }
    }

    /// The stream, if it is live.
    ///
    /// # Errors
    ///
    /// [`RoomError::NotLive`], also for rooms that do not exist.
    pub fn find(&self, room: &RoomName, stream: &StreamName) -> Result<Arc<LiveStream>, RoomError> {
        // A poisoned lock means a panic between two whole map operations: the map itself is good.
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(room).and_then(|streams| streams.get(stream)).cloned().ok_or(RoomError::NotLive)
    }

    /// The shard with the fewest sessions.
    ///
    /// # Errors
    ///
    /// [`RoomError::SessionLimit`] if the node is full.
    pub fn least_loaded(&self) -> Result<ShardId, RoomError> {
        let loads: Vec<u32> = self.sessions.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        if loads.iter().sum::<u32>() >= self.session_limit {
            return Err(RoomError::SessionLimit(self.session_limit));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let order = (0..loads.len()).map(|offset| turn.wrapping_add(offset) % loads.len());
        let least = order.min_by_key(|index| loads.get(*index).copied().unwrap_or(u32::MAX));
        Ok(ShardId(u8::try_from(least.unwrap_or(0)).unwrap_or(0)))
    }

    /// A session entered on `shard`.
    pub(super) fn entered(&self, shard: ShardId) {
        if let Some(count) = self.sessions.get(usize::from(shard.0)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A session on `shard` is over.
    pub(super) fn left(&self, shard: ShardId) {
        if let Some(count) = self.sessions.get(usize::from(shard.0)) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The stream is live from now on.
    pub(super) fn announce(&self, room: &RoomName, stream: &StreamName, live: LiveStream) {
        let mut rooms = self.live.write().unwrap_or_else(PoisonError::into_inner);
        rooms.entry(room.clone()).or_default().insert(stream.clone(), Arc::new(live));
    }

    /// The stream is over.
    pub(super) fn withdraw(&self, room: &RoomName, stream: &StreamName) {
        let mut rooms = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(streams) = rooms.get_mut(room) {
            streams.remove(stream);
            if streams.is_empty() {
                rooms.remove(room);
            }
        }
    }

    /// The room is no more, and none of its streams.
    pub(super) fn withdraw_room(&self, room: &RoomName) {
        self.live.write().unwrap_or_else(PoisonError::into_inner).remove(room);
    }

    #[cfg(test)]
    pub(super) fn loads(&self) -> Vec<u32> {
        self.sessions.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}
