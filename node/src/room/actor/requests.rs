//! What clients and operators ask of a room: what is in it, PATCH and DELETE of sessions, its end.

use std::rc::Rc;

use actix::{ActorContext, Context, ResponseFuture};
use aforo_cluster::control::Role;
use rand::RngExt;

use super::{DEADLINE, Room};
use crate::actor::instruments::Handler;
use crate::peer::ice;
use crate::room::core::PatchKind;
use crate::room::error::RoomError;
use crate::room::message::{
    CheckFree, CloseAll, EndSession, GetReport, Home, IsBearer, PatchSession, Patched, SelectLayer,
};
use crate::room::report::{self, RoomReport};
use crate::room::rooms::End;
use crate::shard;

impl Handler<CheckFree> for Room {
    type Result = Result<Option<Home>, RoomError>;

    fn handle(&mut self, check: CheckFree, _: &mut Context<Self>) -> Self::Result {
        let home = |shard| Home { shard, seat: self.seats.of(&check.stream) };
        Ok(self.core.vacancy(&check.stream, &check.claimant)?.map(home))
    }
}

impl Handler<PatchSession> for Room {
    type Result = Result<Patched, RoomError>;

    fn handle(&mut self, patch: PatchSession, context: &mut Context<Self>) -> Self::Result {
        let PatchSession { session, stream, role, if_match, remote } = patch;
        self.core.require(session, role, &stream)?;
        let kind = self.core.patch(session, &if_match, remote.as_ref())?;
        let (PatchKind::Restart(shard), Some(remote)) = (kind, remote) else { return Ok(Patched::Trickled) };
        let local = ice::credentials(shard).map_err(|_| RoomError::Randomness)?;
        let etag = rand::rng().random();
        let restarted = self.core.restart(session, local.clone(), remote, etag);
        let result = if restarted.is_ok() { "ok" } else { "failed" };
        self.around.metrics.ice_restarts_total.with_label_values(&[result]).inc();
        self.drain(context);
        restarted.map(|media| Patched::Restarted { shard, local, etag, media })
    }
}

impl Handler<IsBearer> for Room {
    type Result = Result<bool, RoomError>;

    fn handle(&mut self, question: IsBearer, _: &mut Context<Self>) -> Self::Result {
        let IsBearer { session, stream, role, token } = question;
        self.core.require(session, role, &stream)?;
        Ok(self.core.is_bearer(session, &token))
    }
}

impl Handler<EndSession> for Room {
    type Result = Result<(), RoomError>;

    fn handle(&mut self, end: EndSession, context: &mut Context<Self>) -> Self::Result {
        let EndSession { session, stream, role } = end;
        self.core.require(session, role, &stream)?;
        let ended = self.core.delete(crate::actor::now(), session);
        self.drain(context);
        ended
    }
}

impl Handler<SelectLayer> for Room {
    type Result = Result<(), RoomError>;

    fn handle(&mut self, select: SelectLayer, context: &mut Context<Self>) -> Self::Result {
        let SelectLayer { session, stream, request } = select;
        self.core.require(session, Role::Viewer, &stream)?;
        let selected = self.core.select_layer(session, &request);
        self.drain(context);
        selected
    }
}

impl Handler<CloseAll> for Room {
    type Result = ();

    fn handle(&mut self, CloseAll(reason): CloseAll, context: &mut Context<Self>) {
        self.core.close_all(crate::actor::now(), reason);
        self.drain(context);
    }
}

impl Handler<End> for Room {
    type Result = ();

    fn handle(&mut self, End: End, context: &mut Context<Self>) {
        self.lifeline.finish();
        context.stop();
    }
}

impl Handler<GetReport> for Room {
    type Result = ResponseFuture<Result<RoomReport, RoomError>>;

    fn handle(&mut self, question: GetReport, _: &mut Context<Self>) -> Self::Result {
        let report = report::of_room(&self.name, &self.core, crate::actor::now());
        let origins = if question.with_figures { report::origins(&self.core) } else { Vec::new() };
        let links = Rc::clone(&self.around.shards);
        Box::pin(async move {
            let mut report = report;
            for (shard, tracks) in origins {
                let Some(link) = links.get(usize::from(shard.0)) else { continue };
                let asked = link.report.send(shard::message::GetReport { tracks });
                // A shard that does not answer leaves its figures out; the rest of the report is good.
                if let Ok(Ok(answer)) = actix_rt::time::timeout(DEADLINE, asked).await {
                    report.fill(&answer);
                }
            }
            Ok(report)
        })
    }
}
