//! What HTTP workers may do without asking a room: find out which streams are live, and reserve a session's place.
//!
//! A viewer's join then costs one round trip between threads instead of two, and each is tens of microseconds of CPU.
//! Rooms write here when a stream goes live or ends; what a worker reads may be old by the time it acts on it, so the room
//! checks again when the session enters. A place is counted from the moment it is promised, so requests that come together
//! cannot bring in more sessions than the node may have.

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
    /// Places that are taken, on all shards together.
    taken: AtomicU32,
    /// The same by shard; the index is the shard's.
    by_shard: Box<[AtomicU32]>,
    /// Where the next search for the least loaded shard starts, so that ties are spread.
    turn: AtomicUsize,
    session_limit: u32,
    /// Viewers among them.
    viewers: AtomicU32,
    /// Viewers that what the node may send leaves room for; all there are without a limit.
    room_for_viewers: AtomicU32,
}

/// A session's place on one shard. The last clone to be dropped gives it back: the request on its way holds one, and the
/// ledger another for as long as the session lasts.
#[derive(Debug, Clone)]
pub struct Reservation(Arc<Held>);

#[derive(Debug)]
struct Held {
    shard: ShardId,
    of_viewer: bool,
    directory: Arc<Directory>,
}

impl Reservation {
    /// Where the place is.
    pub fn shard(&self) -> ShardId {
        self.0.shard
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.directory.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = self.directory.by_shard.get(usize::from(self.shard.0)) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        if self.of_viewer {
            self.directory.viewers.fetch_sub(1, Ordering::Relaxed);
            self.directory.change_room(|room| Some(room.saturating_add(1)));
        }
    }
}

impl Directory {
    /// A directory for `shards` shards and at most `session_limit` sessions on all of them.
    pub fn new(shards: usize, session_limit: u32) -> Self {
        let by_shard = (0..shards.max(1)).map(|_| AtomicU32::new(0)).collect();
        let (taken, turn) = (AtomicU32::new(0), AtomicUsize::new(0));
        let (viewers, room_for_viewers) = (AtomicU32::new(0), AtomicU32::new(u32::MAX));
        Self { live: RwLock::default(), taken, by_shard, turn, session_limit, viewers, room_for_viewers }
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

    /// Whether any stream of the room is live.
    pub fn is_live(&self, room: &RoomName) -> bool {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(room).is_some_and(|streams| !streams.is_empty())
    }

    /// Takes a viewer's place on the shard with the fewest sessions.
    ///
    /// # Errors
    ///
    /// [`RoomError::SessionLimit`] or [`RoomError::OutputLimit`] if the node is full.
    pub fn reserve_for_viewer(self: &Arc<Self>) -> Result<Reservation, RoomError> {
        if !self.change_room(|room| room.checked_sub(1)) {
            return Err(RoomError::OutputLimit);
        }
        self.take(None, true).inspect_err(|_| {
            self.change_room(|room| Some(room.saturating_add(1)));
        })
    }

    /// Takes a new publisher's place there: its viewers will come.
    ///
    /// # Errors
    ///
    /// As for viewers.
    pub(super) fn reserve(self: &Arc<Self>) -> Result<Reservation, RoomError> {
        if self.room_for_viewers.load(Ordering::Relaxed) == 0 {
            return Err(RoomError::OutputLimit);
        }
        self.take(None, false)
    }

    /// Takes a publisher's place on this shard: who goes on with a stream comes in where it did, however full the node is.
    pub(super) fn reserve_on(self: &Arc<Self>, shard: ShardId) -> Result<Reservation, RoomError> {
        self.take(Some(shard), false)
    }

    fn take(self: &Arc<Self>, shard: Option<ShardId>, of_viewer: bool) -> Result<Reservation, RoomError> {
        let one_more = |taken| (taken < self.session_limit).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| RoomError::SessionLimit(self.session_limit))?;
        let shard = shard.unwrap_or_else(|| self.least_loaded());
        if let Some(count) = self.by_shard.get(usize::from(shard.0)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.viewers.fetch_add(of_viewer.into(), Ordering::Relaxed);
        Ok(Reservation(Arc::new(Held { shard, of_viewer, directory: Arc::clone(self) })))
    }

    /// Returns whether there was a change; where there is no limit, none is needed.
    fn change_room(&self, change: impl Fn(u32) -> Option<u32>) -> bool {
        let changed = |room| if room == u32::MAX { Some(room) } else { change(room) };
        self.room_for_viewers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed).is_ok()
    }

    /// Requests that come together may all choose the same shard; the next ones even that out.
    fn least_loaded(&self) -> ShardId {
        let loads: Vec<u32> = self.by_shard.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let order = (0..loads.len()).map(|offset| turn.wrapping_add(offset) % loads.len());
        let least = order.min_by_key(|index| loads.get(*index).copied().unwrap_or(u32::MAX));
        ShardId(u8::try_from(least.unwrap_or(0)).unwrap_or(0))
    }

    /// So many viewers may come in from now on; `u32::MAX` without a limit. Those who are in stay.
    pub fn set_room_for_viewers(&self, viewers: u32) {
        self.room_for_viewers.store(viewers, Ordering::Relaxed);
    }

    /// Viewers that are here or on their way in.
    pub fn viewers(&self) -> u32 {
        self.viewers.load(Ordering::Relaxed)
    }

    /// Sessions that are here or on their way in, and publishers that are waited for.
    pub fn sessions(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
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
        self.by_shard.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_place_is_taken_before_the_session_enters_and_given_back_if_it_never_does() {
        let directory = Arc::new(Directory::new(2, 2));
        let first = directory.reserve().unwrap();
        let second = directory.reserve().unwrap();
        assert_ne!(first.shard(), second.shard(), "who is on its way counts as load");
        assert!(matches!(directory.reserve(), Err(RoomError::SessionLimit(2))));
        let again = first.clone();
        drop(first);
        assert!(directory.reserve().is_err(), "a clone keeps the place");
        drop(again);
        directory.reserve().expect("the place is free again");
        drop(second);
        assert_eq!((directory.sessions(), directory.loads()), (0, vec![0, 0]));
    }

    #[test]
    fn while_the_node_sends_as_much_as_it_may_nobody_comes_in() {
        let directory = Arc::new(Directory::new(1, 10));
        let inside = directory.reserve().unwrap();
        directory.set_room_for_viewers(0);
        assert!(matches!(directory.reserve(), Err(RoomError::OutputLimit)));
        assert!(matches!(directory.reserve_for_viewer(), Err(RoomError::OutputLimit)));
        assert_eq!(directory.sessions(), 1, "who was refused is not counted");
        directory.set_room_for_viewers(u32::MAX);
        drop((inside, directory.reserve().unwrap()));
    }

    #[test]
    fn a_crowd_gets_as_many_places_as_the_output_has_room_for() {
        let directory = Arc::new(Directory::new(2, 7));
        directory.set_room_for_viewers(3);
        let publisher = directory.reserve().unwrap();
        let mut crowd: Vec<Reservation> =
            (0..10).filter_map(|_| directory.reserve_for_viewer().ok()).collect();
        assert_eq!((crowd.len(), directory.viewers(), directory.sessions()), (3, 3, 4));
        // Who never entered, or has left, leaves its room to others.
        crowd.pop();
        crowd.extend((0..3).filter_map(|_| directory.reserve_for_viewer().ok()));
        assert_eq!(directory.viewers(), 3);
        directory.set_room_for_viewers(10);
        crowd.extend((0..10).filter_map(|_| directory.reserve_for_viewer().ok()));
        assert_eq!((crowd.len(), directory.sessions()), (6, 7), "the limit of sessions holds as well");
        drop((publisher, crowd));
        assert_eq!((directory.viewers(), directory.sessions()), (0, 0));
    }

    #[test]
    fn requests_that_come_together_never_get_more_places_than_there_are() {
        const LIMIT: u32 = 20_000;
        let directory = Arc::new(Directory::new(3, LIMIT));
        let start = std::sync::Barrier::new(8);
        let taken: Vec<Reservation> = std::thread::scope(|scope| {
            let crowd = || {
                start.wait();
                (0..LIMIT).filter_map(|_| directory.reserve().ok()).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(crowd)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((taken.len(), directory.sessions()), (LIMIT as usize, LIMIT));
        assert_eq!(directory.loads().iter().sum::<u32>(), LIMIT);
        drop(taken);
        assert_eq!((directory.sessions(), directory.loads()), (0, vec![0, 0, 0]));
    }
}
