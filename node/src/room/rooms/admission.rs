//! Viewers on their way through the root into their rooms: handed over, not asked for, so that nobody here waits for a room.

use actix::prelude::SendError;
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use aforo_cluster::control::PlacementRefusal;

use super::{InRoom, Opened, ROOMS_MAILBOX_CAPACITY, Rooms};
use crate::actor::instruments::measure;
use crate::room::error::RoomError;
use crate::room::message::Admit;

/// Viewers on their way into rooms whose mailboxes are full: as many as the root itself has waiting. Full means that
/// the next is refused by 503 and asks again, instead of making a queue without an end.
const ADMITS_WAITING_CAPACITY: usize = ROOMS_MAILBOX_CAPACITY;

impl actix::Handler<InRoom<Admit>> for Rooms {
    type Result = ();

    fn handle(&mut self, admit: InRoom<Admit>, context: &mut Context<Self>) {
        measure(self, "InRoom", context, |rooms, context| rooms.pass_on(admit, context));
    }
}

impl Rooms {
    /// Hands a viewer to its room, which answers; or refuses it.
    fn pass_on(&mut self, InRoom { room, message }: InRoom<Admit>, context: &mut Context<Self>) {
        let refuse = |Admit { answer, .. }: Admit, error| drop(answer.send(Err(error)));
        if self.draining {
            return refuse(message, RoomError::Refused(PlacementRefusal::Draining));
        }
        let Some(Opened { room, .. }) = self.rooms.get(&room) else {
            return refuse(message, RoomError::NotLive);
        };
        match room.try_send(message) {
            Ok(()) => {}
            Err(SendError::Closed(message)) => refuse(message, RoomError::Closed),
            Err(SendError::Full(message)) if self.waiting >= ADMITS_WAITING_CAPACITY => {
                refuse(message, RoomError::Crowded);
            }
            Err(SendError::Full(message)) => {
                // It waits for room in the mailbox; its worker waits for an answer until its deadline.
                self.waiting += 1;
                let handed = room.send(message).into_actor(self);
                context.spawn(handed.map(|_, rooms, _| rooms.waiting -= 1));
            }
        }
    }
}
