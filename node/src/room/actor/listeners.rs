//! What viewers listen to: event streams are opened, listened to and closed; layers are asked of the shard for them.

use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use aforo_cluster::control::Role;
use aforo_cluster::id::{SessionId, StreamName};

use super::{DEADLINE, Room};
use crate::actor::instruments::Handler;
use crate::media::codec::MediaKind;
use crate::room::error::RoomError;
use crate::room::events::{EventFeed, StreamNumber};
use crate::room::message::{CloseEvents, ListenToEvents, OpenEvents, TellToLeave};
use crate::room::report;
use crate::shard;

impl Room {
    /// Tells listeners what is new, those who `left` as the last thing.
    pub(super) fn tell_listeners(&mut self, now: Instant, left: &[SessionId], context: &mut Context<Self>) {
        let core = &self.core;
        self.events.observe(now, |stream| core.facts(stream));
        left.iter().for_each(|session| self.events.session_ended(*session));
        while let Some(stream) = self.events.poll_question() {
            self.ask_for_layers(stream, context);
        }
    }

    fn ask_for_layers(&mut self, stream: StreamName, context: &mut Context<Self>) {
        let live = self.core.find(&stream).ok();
        let video = live.and_then(|live| {
            let track = live.tracks.iter().find(|track| track.kind() == MediaKind::Video)?;
            Some((self.around.shards.get(usize::from(live.origin.0))?.report.clone(), track.clone()))
        });
        let Some((shard, track)) = video else {
            // Sound alone has no layers, whatever its publisher before had.
            let none = live.map(|_| Vec::new());
            return self.events.layers_reported(crate::actor::now(), &stream, none);
        };
        let asked = shard.send(shard::message::GetReport { tracks: vec![track.id] });
        let answer = actix_rt::time::timeout(DEADLINE, asked).into_actor(self);
        context.spawn(answer.map(move |answer, room, context| {
            // A shard that does not answer in time is asked again with the next interval.
            let report = answer.ok().and_then(Result::ok);
            let layers = report.map(|report| report::layers_of(&track, &report));
            let known = layers.filter(|layers| !layers.is_empty());
            room.events.layers_reported(crate::actor::now(), &stream, known);
            room.drain(context);
        }));
    }
}

impl Handler<OpenEvents> for Room {
    type Result = Result<StreamNumber, RoomError>;

    fn handle(&mut self, open: OpenEvents, context: &mut Context<Self>) -> Self::Result {
        let OpenEvents { session, stream, kinds } = open;
        self.core.require(session, Role::Viewer, &stream)?;
        let facts = self.core.facts(&stream).ok_or(RoomError::NoSession)?;
        let video = (self.core.video_section(session), self.core.holds_picture(session));
        let number = self.events.subscribe(crate::actor::now(), session, (stream, facts), video, kinds);
        self.drain(context);
        number
    }
}

impl Handler<ListenToEvents> for Room {
    type Result = Result<EventFeed, RoomError>;

    fn handle(&mut self, listen: ListenToEvents, _: &mut Context<Self>) -> Self::Result {
        self.core.require(listen.session, Role::Viewer, &listen.stream)?;
        self.events.connect(listen.session, listen.number)
    }
}

impl Handler<CloseEvents> for Room {
    type Result = Result<(), RoomError>;

    fn handle(&mut self, close: CloseEvents, _: &mut Context<Self>) -> Self::Result {
        self.core.require(close.session, Role::Viewer, &close.stream)?;
        self.events.unsubscribe(close.session, close.number)
    }
}

impl Handler<TellToLeave> for Room {
    type Result = usize;

    fn handle(&mut self, TellToLeave: TellToLeave, _: &mut Context<Self>) -> Self::Result {
        self.events.leave()
    }
}
