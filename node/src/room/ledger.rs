//! Which sessions the node has, and where their peers live. It outlives a room that dies, so that its peers can be ended.

use std::collections::HashMap;

use aforo_cluster::id::{RoomName, SessionId, StreamName};

use super::directory::Reservation;
use crate::media::path::PeerKey;

/// A session's place on the node.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its room.
    pub room: RoomName,
    /// Its place on a shard, which nobody else gets while the session lasts.
    pub reservation: Reservation,
    /// Its peer, once the shard has taken it.
    pub peer: Option<PeerKey>,
}

/// All sessions of the node.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    sessions: HashMap<SessionId, Place>,
    /// Streams that were claimed and not given back yet: one that waits for its publisher has no session that tells.
    claimed: HashMap<RoomName, Vec<StreamName>>,
    last_track: u64,
}

impl Ledger {
    /// Takes note of a session.
    pub fn enter(&mut self, session: SessionId, room: RoomName, reservation: Reservation) {
        self.sessions.insert(session, Place { room, reservation, peer: None });
    }

    /// The stream is asked of the cluster.
    pub fn claim(&mut self, room: RoomName, stream: StreamName) {
        self.claimed.entry(room).or_default().push(stream);
    }

    /// The stream is given back.
    pub fn release(&mut self, room: &RoomName, stream: &StreamName) {
        if let Some(streams) = self.claimed.get_mut(room) {
            streams.retain(|claimed| claimed != stream);
            if streams.is_empty() {
                self.claimed.remove(room);
            }
        }
    }

    /// Takes out all streams of `room`, for the case that it died.
    pub fn take_claimed(&mut self, room: &RoomName) -> Vec<StreamName> {
        self.claimed.remove(room).unwrap_or_default()
    }

    /// The shard took the session's peer.
    pub fn added(&mut self, session: SessionId, peer: PeerKey) {
        if let Some(place) = self.sessions.get_mut(&session) {
            place.peer = Some(peer);
        }
    }

    /// The session is over. Its place is free as soon as what is returned is dropped.
    pub fn leave(&mut self, session: SessionId) -> Option<Reservation> {
        self.sessions.remove(&session).map(|place| place.reservation)
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

    use std::sync::Arc;

    use super::*;
    use crate::media::path::ShardId;
    use crate::room::Directory;

    #[test]
    fn sessions_spread_over_shards_and_leave_no_trace() {
        let (mut ledger, directory) = (Ledger::default(), Arc::new(Directory::new(3, 30)));
        let room: RoomName = "a".parse().unwrap();
        let sessions: Vec<SessionId> = (0..30).map(|_| SessionId::random()).collect();
        for session in &sessions {
            ledger.enter(*session, room.clone(), directory.reserve().unwrap());
        }
        assert_eq!(directory.loads(), [10, 10, 10]);
        assert!(directory.reserve().is_err());
        for session in sessions.iter().chain(&sessions) {
            ledger.leave(*session);
        }
        assert_eq!(directory.loads(), [0, 0, 0]);
        assert!(ledger.of_room(&room).is_empty());
    }

    #[test]
    fn a_shard_that_emptied_is_filled_again() {
        let (mut ledger, directory) = (Ledger::default(), Arc::new(Directory::new(2, 30)));
        let room: RoomName = "a".parse().unwrap();
        let mut on_second = Vec::new();
        for _ in 0..6 {
            let (session, place) = (SessionId::random(), directory.reserve().unwrap());
            on_second.extend((place.shard() == ShardId(1)).then_some(session));
            ledger.enter(session, room.clone(), place);
        }
        assert_eq!(directory.loads(), [3, 3]);
        on_second.iter().for_each(|session| drop(ledger.leave(*session)));
        for _ in 0..3 {
            let place = directory.reserve().unwrap();
            assert_eq!(place.shard(), ShardId(1));
            ledger.enter(SessionId::random(), room.clone(), place);
        }
        assert_eq!(ledger.of_room(&room).len(), 6);
    }
}
