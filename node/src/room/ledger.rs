//! Which sessions the node has, where their peers live, and so which shard is the least loaded.
//!
//! One ledger serves all rooms. It outlives a room that dies, so that its peers can be ended.

use std::collections::HashMap;

use aforo_cluster::id::{RoomName, SessionId, StreamName};

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
    /// Sessions by shard; the index is the shard's.
    load: Vec<u32>,
    /// Where the next search for the least loaded shard starts, so that ties are spread.
    turn: usize,
    limit: u32,
    last_track: u64,
}

impl Ledger {
    /// A ledger for `shards` shards and at most `limit` sessions.
    pub fn new(shards: usize, limit: u32) -> Self {
        Self { sessions: HashMap::new(), load: vec![0; shards], turn: 0, limit, last_track: 0 }
    }

    /// The shard with the fewest sessions, or the limit that is reached.
    pub fn least_loaded(&mut self) -> Result<ShardId, u32> {
        if self.sessions.len() >= self.limit as usize {
            return Err(self.limit);
        }
        let count = self.load.len();
        let turn = self.turn;
        self.turn = (turn + 1) % count.max(1);
        let order = (0..count).map(|offset| (turn + offset) % count);
        let least = order.min_by_key(|index| self.load.get(*index).copied().unwrap_or(u32::MAX));
        Ok(ShardId(u8::try_from(least.unwrap_or(0)).unwrap_or(0)))
    }

    /// Takes note of a session.
    pub fn enter(
        &mut self,
        session: SessionId,
        room: RoomName,
        shard: ShardId,
        published: Option<StreamName>,
    ) {
        if let Some(load) = self.load.get_mut(usize::from(shard.0)) {
            *load += 1;
        }
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
        if let Some(place) = self.sessions.remove(&session)
            && let Some(load) = self.load.get_mut(usize::from(place.shard.0))
        {
            *load = load.saturating_sub(1);
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

    /// How many sessions there are.
    #[cfg(test)]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn sessions_spread_over_shards_and_leave_no_trace() {
        let mut ledger = Ledger::new(3, 30);
        let room: RoomName = "a".parse().unwrap();
        let sessions: Vec<SessionId> = (0..30).map(|_| SessionId::random()).collect();
        for session in &sessions {
            let shard = ledger.least_loaded().unwrap();
            ledger.enter(*session, room.clone(), shard, None);
        }
        assert_eq!(ledger.load, [10, 10, 10]);
        assert_eq!(ledger.least_loaded(), Err(30));
        for session in sessions.iter().chain(&sessions) {
            ledger.leave(*session);
        }
        assert_eq!((ledger.load.clone(), ledger.sessions()), (vec![0, 0, 0], 0));
    }

    #[test]
    fn a_shard_that_emptied_is_filled_again() {
        let mut ledger = Ledger::new(2, 30);
        let room: RoomName = "a".parse().unwrap();
        for shard in [0, 0, 0, 1] {
            ledger.enter(SessionId::random(), room.clone(), ShardId(shard), None);
        }
        for _ in 0..2 {
            assert_eq!(ledger.least_loaded(), Ok(ShardId(1)));
            ledger.enter(SessionId::random(), room.clone(), ShardId(1), None);
        }
        assert_eq!(ledger.of_room(&room).len(), 6);
    }
}
