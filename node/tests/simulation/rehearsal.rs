//! Peers that come and go before a run, so that the node's tables are as large as they get: what it has more afterwards, it has kept.

use std::net::SocketAddr;
use std::time::Instant;

use aforo_cluster::id::{SessionId, TrackId};
use aforo_node::media::keys::{MasterKey, SrtpKeys, SrtpProfile};
use aforo_node::media::negotiated::Direction;
use aforo_node::media::path::{Path, ShardId};
use aforo_node::media::spec::{EgressTrack, IngestTrack};
use aforo_node::peer::ice;
use aforo_node::peer::message::{EndReason, PeerOutput};
use aforo_node::shard::core::ShardCore;
use aforo_node::shard::message::PeerMedia;

use crate::session::TrackPlan;

/// As many as any run has.
const PEERS: u16 = 12;

/// Lets peers come to a shard and leave it, without a client of any: half of them publish, each a track of its own.
pub fn play(core: &mut ShardCore, now: Instant, plan: &TrackPlan) {
    let profile = SrtpProfile::Aes128CmHmacSha1_80;
    let key = || MasterKey { key: vec![7; profile.key_bytes()], salt: vec![7; profile.salt_bytes()] };
    let id = |place: u16| TrackId(1_000 + u64::from(place / 2));
    let peers: Vec<_> = (0..PEERS)
        .map(|place| {
            let media = if place % 2 == 0 {
                PeerMedia::Ingest(vec![IngestTrack {
                    id: id(place),
                    media: plan.negotiated(Direction::Publish),
                }])
            } else {
                let media = plan.negotiated(Direction::Play);
                PeerMedia::Egress(vec![EgressTrack { id: id(place), origin: core.id(), media }])
            };
            let local = ice::credentials(ShardId(core.id().0)).unwrap();
            let peer = core.add_peer(SessionId::random(), &local, media).unwrap();
            let path = Path::Udp(SocketAddr::from(([10, 9, 9, 9], 1_000 + place)));
            core.handle_peer(now, peer, PeerOutput::PathSelected(path));
            let keys = SrtpKeys { profile, local: key(), remote: key() };
            core.handle_peer(now, peer, PeerOutput::Connected { path, keys });
            peer
        })
        .collect();
    for peer in peers {
        core.handle_peer(now, peer, PeerOutput::Ended(EndReason::Deleted));
    }
    while core.poll_output().is_some() {}
}
