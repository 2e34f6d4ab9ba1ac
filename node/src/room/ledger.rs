//! Which sessions the node has, and where their peers live. It outlives a room that dies, so that its peers can be ended.

use std::collections::HashMap;
use std::sync::Arc;

use aforo_cluster::id::{RoomName, SessionId, StreamName};

use super::directory::Directory;
use crate::media::path::{PeerKey, ShardId};

/// A session's place on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Its room.
    pub room: RoomName,
    /// Its shard.
    pub shard: ShardId,
    /// The stream that it publishes, if it does.
    pub published: Option<StreamName>,
    /// Its peer, once the shard has taken it.
    pub peer: Option<PeerKey>,
}

/// All sessions of the node.
#[derive(Debug)]
pub(super) struct Ledger {
    sessions: HashMap<SessionId, Place>,
    directory: Arc<Directory>,
    last_track: u64,
}

impl Ledger {
    /// A ledger without sessions; it keeps the directory's load up to date.
    pub fn new(directory: Arc<Directory>) -> Self {
        Self { sessions: HashMap::new(), directory, last_track: 0 }
    }

    /// Takes note of a session.
    pub fn enter(
        &mut self,
        session: SessionId,
        room: RoomName,
        shard: ShardId,
        published: Option<StreamName>,
    ) {
        self.directory.entered(shard);
        self.sessions.insert(session, Place { room, shard, published, peer: None });
    }

    /// The shard took the session's peer.
    pub fn added(&mut self, session: SessionId, peer: PeerKey) {
        if let Some(place) = self.sessions.get_mut(&session) {
            place.peer = Some(peer);
        }
    }

    /// The session is over.
    pub fn leave(&mut self, session: SessionId) {
        if let Some(place) = self.sessions.remove(&session) {
            self.directory.left(place.shard);
        }
    }

    /// Sessions of `room`, for the case that it died.
    pub fn of_room(&self, room: &RoomName) -> Vec<(SessionId, Place)> {
        let here = self.sessions.iter().filter(|(_, place)| place.room == *room);
        here.map(|(session, place)| (*session, place.clone())).collect()
    }

    /// A number for a new track, never given before.
    pub fn next_track(&mut self) -> u64 {
        self.last_track += 1;
        self.last_track
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn ledger(shards: usize) -> (Ledger, Arc<Directory>) {
        let directory = Arc::new(Directory::new(shards, 30));
        (Ledger::new(Arc::clone(&directory)), directory)
    }

    #[test]
    fn sessions_spread_over_shards_and_leave_no_trace() {
        let (mut ledger, directory) = ledger(3);
        let room: RoomName = "a".parse().unwrap();
        let sessions: Vec<SessionId> = (0..30).map(|_| SessionId::random()).collect();
        for session in &sessions {
            let shard = directory.least_loaded().unwrap();
            ledger.enter(*session, room.clone(), shard, None);
        }
        assert_eq!(directory.loads(), [10, 10, 10]);
        assert!(directory.least_loaded().is_err());
        for session in sessions.iter().chain(&sessions) {
            ledger.leave(*session);
        }
        assert_eq!(directory.loads(), [0, 0, 0]);
        assert!(ledger.of_room(&room).is_empty());
    }

    #[test]
    fn a_shard_that_emptied_is_filled_again() {
        let (mut ledger, directory) = ledger(2);
        let room: RoomName = "a".parse().unwrap();
        for shard in [0, 0, 0, 1] {
            ledger.enter(SessionId::random(), room.clone(), ShardId(shard), None);
        }
        for _ in 0..2 {
            assert_eq!(directory.least_loaded().unwrap(), ShardId(1));
            ledger.enter(SessionId::random(), room.clone(), ShardId(1), None);
        }
        assert_eq!(ledger.of_room(&room).len(), 6);
    }
}
