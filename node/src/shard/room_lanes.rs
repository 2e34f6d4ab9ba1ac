//! What a shard's peers have to say to their rooms. What viewers do is gathered for a moment, so that a crowd that joins
//! wakes the rooms' thread some fifty times a second instead of some times for each of them.

use std::time::{Duration, Instant};

use actix::Recipient;
use actix::prelude::SendError;
use rustc_hash::FxHashMap;

use crate::actor::lane::{LaneLosses, NOTICE_RETRY};
use crate::peer::message::{PeerEvent, PeerNotice, PeerNotices};

/// How long what a viewer does may wait for more of its kind. Its room keeps books with it and nothing else, so the bound
/// is that of an operator who looks at them; each notice carries the time at which it happened.
pub(super) const GATHER: Duration = Duration::from_millis(20);

/// Notices that wait for one room. A peer says some five things in its life, so full means that the room has been stuck
/// while thousands came and went: the newest is dropped and counted.
pub(super) const ROOM_NOTICES_CAPACITY: usize = 65_536;

/// Whether a notice may wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// Others wait for what follows from it: a publisher's stream goes live, or ends.
    AtOnce,
    /// Within [`GATHER`].
    Gathered,
}

/// The way to one room. It is kept between two batches: an actix mailbox grants each new sender one message more than
/// its bound.
#[derive(Default)]
struct Lane {
    /// What waits, oldest first.
    notices: Vec<PeerNotice>,
    /// When it is handed over.
    due: Option<Instant>,
    /// The room's mailbox was full: haste does not help.
    refused: bool,
}

/// The ways to all rooms that have peers here, or had some a moment ago.
#[derive(Default)]
pub(super) struct RoomLanes {
    rooms: FxHashMap<Recipient<PeerNotices>, Lane>,
    /// The earliest moment at which something is due.
    next: Option<Instant>,
    losses: LaneLosses,
    /// A room was found to be no more since [`Self::take_closed`] asked.
    closed: bool,
}

impl RoomLanes {
    /// Tells `room`, after all that still waits for it.
    pub(super) fn send(
        &mut self,
        now: Instant,
        room: &Recipient<PeerNotices>,
        notice: PeerNotice,
        haste: Haste,
    ) {
        let at = match haste {
            Haste::AtOnce => now,
            Haste::Gathered => now + GATHER,
        };
        let lane = match self.rooms.get_mut(room) {
            Some(lane) => lane,
            None => self.rooms.entry(room.clone()).or_default(),
        };
        if lane.notices.len() >= ROOM_NOTICES_CAPACITY {
            self.losses.full += 1;
            return;
        }
        lane.notices.push(notice);
        if !lane.refused {
            lane.due = lane.due.into_iter().chain([at]).min();
            self.next = self.next.into_iter().chain(lane.due).min();
        }
        self.handle_timeout(now);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Hands over what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        self.next = None;
        for (room, lane) in &mut self.rooms {
            if lane.due.is_some_and(|due| due <= now) {
                let notices = std::mem::take(&mut lane.notices);
                *lane = match room.try_send(PeerNotices(notices)) {
                    Ok(()) => Lane::default(),
                    Err(SendError::Full(PeerNotices(notices))) => {
                        Lane { notices, due: Some(now + NOTICE_RETRY), refused: true }
                    }
                    Err(SendError::Closed(PeerNotices(notices))) => {
                        // A room that closed has ended all its sessions: that a peer of it has ended too is no news.
                        let news =
                            notices.iter().filter(|notice| !matches!(notice.event, PeerEvent::Ended(_)));
                        self.losses.closed += news.count() as u64;
                        self.closed = true;
                        Lane::default()
                    }
                };
            }
            self.next = self.next.into_iter().chain(lane.due).min();
        }
    }

    /// Hands over all that waits: the shard may be on its way out.
    pub(super) fn flush(&mut self, now: Instant) {
        for lane in self.rooms.values_mut().filter(|lane| !lane.notices.is_empty()) {
            lane.due = Some(now);
            self.next = Some(now);
        }
        self.handle_timeout(now);
    }

    /// Whether a room that was to be told something turned out to be no more since the last time: the peers that it has
    /// left are nobody's.
    pub(super) fn take_closed(&mut self) -> bool {
        std::mem::take(&mut self.closed)
    }

    /// Forgets rooms that are no more.
    pub(super) fn forget_closed(&mut self) {
        self.rooms.retain(|room, _| room.connected());
    }

    /// Notices that were dropped so far.
    pub(super) fn losses(&self) -> LaneLosses {
        self.losses
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use actix::{Actor, Context, Handler, Message};
    use aforo_cluster::id::SessionId;

    use super::*;
    use crate::actor::{now, virtual_time};
    use crate::peer::message::EndReason;

    /// A room that takes one message at a time and keeps the batches that it got.
    #[derive(Default)]
    struct Room(Vec<usize>);

    impl Actor for Room {
        type Context = Context<Self>;

        fn started(&mut self, context: &mut Context<Self>) {
            context.set_mailbox_capacity(1);
        }
    }

    impl Handler<PeerNotices> for Room {
        type Result = ();

        fn handle(&mut self, PeerNotices(notices): PeerNotices, _: &mut Context<Self>) {
            self.0.push(notices.len());
        }
    }

    #[derive(Message)]
    #[rtype(result = "Vec<usize>")]
    struct GetBatches;

    impl Handler<GetBatches> for Room {
        type Result = Vec<usize>;

        fn handle(&mut self, _: GetBatches, _: &mut Context<Self>) -> Vec<usize> {
            self.0.clone()
        }
    }

    fn notice(at: Instant) -> PeerNotice {
        PeerNotice { session: SessionId::random(), event: PeerEvent::Connected, at }
    }

    #[test]
    fn a_crowd_is_one_message_and_haste_takes_it_along() {
        virtual_time::run(async {
            let (mut lanes, start, room) = (RoomLanes::default(), now(), Room::default().start());
            let to = room.clone().recipient();
            for millisecond in 0..10 {
                let at = start + Duration::from_millis(millisecond);
                lanes.send(at, &to, notice(at), Haste::Gathered);
            }
            assert_eq!(lanes.poll_timeout(), Some(start + GATHER), "the first one's bound");
            lanes.handle_timeout(start + GATHER - Duration::from_millis(1));
            assert!(room.send(GetBatches).await.unwrap().is_empty());
            lanes.handle_timeout(start + GATHER);
            assert_eq!((room.send(GetBatches).await.unwrap(), lanes.poll_timeout()), (vec![10], None));
            lanes.send(start, &to, notice(start), Haste::Gathered);
            lanes.send(start, &to, notice(start), Haste::AtOnce);
            assert_eq!((room.send(GetBatches).await.unwrap(), lanes.poll_timeout()), (vec![10, 2], None));
        });
    }

    #[test]
    fn what_a_full_room_refuses_is_kept_in_order_and_bounded() {
        virtual_time::run(async {
            let (mut lanes, start, room) = (RoomLanes::default(), now(), Room::default().start());
            let to = room.clone().recipient();
            let mut sent: usize = 0;
            while lanes.poll_timeout().is_none() {
                lanes.send(start, &to, notice(start), Haste::AtOnce);
                sent += 1;
            }
            assert_eq!(lanes.poll_timeout(), Some(start + NOTICE_RETRY));
            for _ in 0..ROOM_NOTICES_CAPACITY {
                lanes.send(start, &to, notice(start), Haste::Gathered);
            }
            assert_eq!(lanes.losses(), LaneLosses { full: 1, closed: 0 });
            assert_eq!(room.send(GetBatches).await.unwrap().iter().sum::<usize>(), sent - 1);
            lanes.handle_timeout(start + NOTICE_RETRY);
            assert_eq!(room.send(GetBatches).await.unwrap().last(), Some(&ROOM_NOTICES_CAPACITY));
            assert_eq!(lanes.poll_timeout(), None);
        });
    }

    #[test]
    fn what_a_room_that_has_gone_does_not_hear_is_counted() {
        virtual_time::run(async {
            let mut lanes = RoomLanes::default();
            let gone = Stopped.start();
            let to = gone.clone().recipient();
            while gone.connected() {
                tokio::task::yield_now().await;
            }
            lanes.send(now(), &to, notice(now()), Haste::Gathered);
            assert!(!lanes.take_closed(), "nobody has asked the room yet");
            lanes.handle_timeout(now() + GATHER);
            assert!(lanes.take_closed() && !lanes.take_closed(), "said once");
            lanes.send(now(), &to, notice(now()), Haste::AtOnce);
            let ended = PeerEvent::Ended(EndReason::Deleted);
            lanes.send(now(), &to, PeerNotice { event: ended, ..notice(now()) }, Haste::AtOnce);
            assert_eq!(
                lanes.losses(),
                LaneLosses { full: 0, closed: 2 },
                "an end is no loss to a closed room"
            );
            assert_eq!(lanes.poll_timeout(), None);
        });
    }

    struct Stopped;

    impl Actor for Stopped {
        type Context = Context<Self>;

        fn started(&mut self, context: &mut Context<Self>) {
            actix::ActorContext::terminate(context);
        }
    }

    impl Handler<PeerNotices> for Stopped {
        type Result = ();

        fn handle(&mut self, _: PeerNotices, _: &mut Context<Self>) {}
    }
}
