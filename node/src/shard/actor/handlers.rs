//! What a shard does with each message.

use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::{AsyncContext, Context, MessageResult, ResponseFuture};
use tokio::sync::oneshot;

use super::{PeerStart, Shard};
use crate::actor::instruments::{Handler, instrumented};
use crate::media::path::PeerKey;
use crate::peer::message::{EndReason, PeerEvent, PeerInput, PeerNotice};
use crate::shard::lanes::PeerLanes;
use crate::shard::message::{
    AddPeer, AddPeerError, AdmitPeer, AdoptTcp, ClosePeers, FromShard, GetLoad, GetReport, Meet, PeerMedia,
    PeerSaid, ShardLoad, ShardReport, Stop, TellPeer, WishLayer,
};
use crate::shard::room_lanes::Haste;
use crate::shard::socket::tcp::connections;

/// How long a shard that stops waits for its peers' goodbyes.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

instrumented! {
    Shard in instruments:
        AddPeer, AdmitPeer, AdoptTcp, ClosePeers, FromShard, GetLoad, GetReport, Meet, PeerSaid, Stop, TellPeer,
        WishLayer,
}

impl Shard {
    fn add_peer(&mut self, add: AddPeer, context: &Context<Self>) -> Result<PeerKey, AddPeerError> {
        let mut pump = self.pump.borrow_mut();
        let haste = match &add.media {
            PeerMedia::Ingest(_) => Haste::AtOnce,
            PeerMedia::Egress(_) => Haste::Gathered,
        };
        let peer = pump.core.add_peer(add.session, &add.config.local_ice, add.media)?;
        let (shard, trace_id) = (context.address().recipient(), add.trace_id);
        let start = PeerStart { peer, config: add.config, shard, trace_id };
        pump.adopt(peer, PeerLanes::new((self.peers)(start), add.notices, haste));
        Ok(peer)
    }
}

impl Handler<AddPeer> for Shard {
    type Result = Result<PeerKey, AddPeerError>;

    fn handle(&mut self, add: AddPeer, context: &mut Context<Self>) -> Self::Result {
        self.add_peer(add, context)
    }
}

impl Handler<AdmitPeer> for Shard {
    type Result = ();

    fn handle(&mut self, AdmitPeer { add, answer }: AdmitPeer, context: &mut Context<Self>) {
        let (session, room) = (add.session, add.notices.clone());
        let added = self.add_peer(add, context);
        let at = Instant::now();
        let mut pump = self.pump.borrow_mut();
        let event = match added {
            Ok(peer) => PeerEvent::Added { shard: pump.core.id(), peer },
            Err(_) => PeerEvent::Ended(EndReason::Internal),
        };
        let before = pump.lanes.poll_timeout();
        pump.lanes.tell_room_of_viewer(at, &room, PeerNotice { session, event, at });
        if pump.lanes.poll_timeout() != before {
            // The loop has a new deadline.
            self.wake.notify_one();
        }
        answer(added.map(|_| ()));
    }
}

impl Handler<TellPeer> for Shard {
    type Result = ();

    fn handle(&mut self, tell: TellPeer, _: &mut Context<Self>) {
        let mut pump = self.pump.borrow_mut();
        pump.core.tell(tell.peer, tell.input);
        pump.hand_out(Instant::now());
    }
}

impl Handler<WishLayer> for Shard {
    type Result = ();

    fn handle(&mut self, WishLayer { peer, wish }: WishLayer, _: &mut Context<Self>) {
        let mut pump = self.pump.borrow_mut();
        let now = Instant::now();
        pump.core.wish_layer(now, peer, wish);
        pump.hand_out(now);
        // A change of layer may want a keyframe, which leaves with the next round.
        self.wake.notify_one();
    }
}

impl Handler<ClosePeers> for Shard {
    type Result = ();

    fn handle(&mut self, ClosePeers { peers, reason }: ClosePeers, _: &mut Context<Self>) {
        let mut pump = self.pump.borrow_mut();
        for peer in peers {
            pump.core.tell(peer, PeerInput::Close(reason));
        }
        pump.hand_out(Instant::now());
    }
}

impl Handler<PeerSaid> for Shard {
    type Result = ();

    fn handle(&mut self, said: PeerSaid, _: &mut Context<Self>) {
        let mut pump = self.pump.borrow_mut();
        let now = Instant::now();
        pump.core.handle_peer(now, said.peer, said.output);
        pump.hand_out(now);
        if pump.core.peers() == 0 {
            // A shard that stops is not kept waiting for its event loop: the goodbyes leave first, and rooms hear of them.
            pump.flush();
            pump.lanes.flush_rooms(now);
            // Whoever asked may have given up by now.
            let _ = self.emptied.take().map(|emptied| emptied.send(()));
        }
        self.wake.notify_one();
    }
}

impl Handler<FromShard> for Shard {
    type Result = ();

    fn handle(&mut self, FromShard(message): FromShard, _: &mut Context<Self>) {
        self.pump.borrow_mut().read_shard(message);
        self.wake.notify_one();
    }
}

impl Handler<Meet> for Shard {
    type Result = ();

    fn handle(&mut self, Meet(links): Meet, _: &mut Context<Self>) {
        let mut pump = self.pump.borrow_mut();
        links.into_iter().for_each(|link| pump.lanes.link(link));
    }
}

impl Handler<AdoptTcp> for Shard {
    type Result = ();

    fn handle(&mut self, AdoptTcp(identified): AdoptTcp, _: &mut Context<Self>) {
        let remote = identified.remote;
        // It fails only if the connection or the process is at its end, and the client tries again.
        if let Ok(stream) = tokio::net::TcpStream::from_std(identified.stream) {
            let run = connections::run(Rc::clone(&self.pump), stream, remote, identified.first);
            let place = identified.place;
            actix_rt::spawn(async move {
                run.await;
                drop(place);
            });
        }
    }
}

impl Handler<GetLoad> for Shard {
    type Result = MessageResult<GetLoad>;

    fn handle(&mut self, _: GetLoad, _: &mut Context<Self>) -> Self::Result {
        let pump = self.pump.borrow();
        MessageResult(ShardLoad {
            peers: pump.core.peers(),
            busy_ratio: self.busy.ratio(),
            datagrams_per_second: pump.core.plane().fan_out_per_second(Instant::now()),
            sent_bytes: pump.wire.sender.counters().bytes,
        })
    }
}

impl Handler<GetReport> for Shard {
    type Result = MessageResult<GetReport>;

    fn handle(&mut self, GetReport { tracks }: GetReport, _: &mut Context<Self>) -> Self::Result {
        let pump = self.pump.borrow();
        let plane = pump.core.plane();
        let now = Instant::now();
        let report = |track| plane.track_report(now, track).map(|report| (track, report));
        MessageResult(ShardReport { tracks: tracks.into_iter().filter_map(report).collect() })
    }
}

impl Handler<Stop> for Shard {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, _: &mut Context<Self>) -> Self::Result {
        self.lifeline.finish();
        let mut pump = self.pump.borrow_mut();
        pump.core.stop();
        pump.hand_out(Instant::now());
        let (emptied, listens) = oneshot::channel();
        // Kept before the first goodbye can come, which may be in this very turn of the mailbox.
        self.emptied = Some(emptied).filter(|_| pump.core.peers() > 0);
        Box::pin(async move {
            // Peers that do not answer in time are cut off: the process is ending.
            let _ = tokio::time::timeout(STOP_PATIENCE, listens).await;
        })
    }
}
