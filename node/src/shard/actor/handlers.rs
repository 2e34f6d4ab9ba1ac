//! What a shard does with each message.

use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::{AsyncContext, Context, MessageResult, ResponseFuture};

use super::{PeerStart, Shard};
use crate::actor::instruments::{Handler, instrumented};
use crate::media::path::PeerKey;
use crate::peer::message::PeerInput;
use crate::shard::lanes::PeerLanes;
use crate::shard::message::{
    AddPeer, AddPeerError, AdoptTcp, ClosePeers, FromShard, GetLoad, GetReport, Meet, PeerSaid, ShardLoad,
    ShardReport, Stop, TellPeer,
};
use crate::shard::socket::tcp::connections;

/// How long a shard that stops waits for its peers' goodbyes.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

instrumented! {
    Shard in instruments:
        AddPeer, AdoptTcp, ClosePeers, FromShard, GetLoad, GetReport, Meet, PeerSaid, Stop, TellPeer,
}

impl Handler<AddPeer> for Shard {
    type Result = Result<PeerKey, AddPeerError>;

    fn handle(&mut self, add: AddPeer, context: &mut Context<Self>) -> Self::Result {
        let mut pump = self.pump.borrow_mut();
        let peer = pump.core.add_peer(add.session, &add.config.local_ice.ufrag, add.media)?;
        let start = PeerStart { peer, config: add.config, shard: context.address().recipient() };
        pump.adopt(peer, PeerLanes::new((self.peers)(start), add.notices));
        Ok(peer)
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
            // A shard that stops is not kept waiting for its event loop: the goodbyes leave first.
            pump.flush();
            self.emptied.notify_waiters();
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
            actix_rt::spawn(connections::run(Rc::clone(&self.pump), stream, remote, identified.first));
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
            datagrams_per_second: pump.core.plane().fan_out_per_second(),
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
        let empty = pump.core.peers() == 0;
        let emptied = Rc::clone(&self.emptied);
        Box::pin(async move {
            if !empty {
                // Peers that do not answer in time are cut off: the process is ending.
                let _ = tokio::time::timeout(STOP_PATIENCE, emptied.notified()).await;
            }
        })
    }
}
