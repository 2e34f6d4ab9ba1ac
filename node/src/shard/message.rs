//! What a shard accepts: commands and questions of rooms, what its peers say, and what other shards send.

use actix::{Message, Recipient};
use aforo_cluster::id::{SessionId, TrackId};
use opentelemetry::trace::TraceId;

use crate::media::path::PeerKey;
use crate::media::plane::TrackReport;
use crate::media::selection::LayerWish;
use crate::media::spec::{EgressTrack, IngestTrack, ShardMessage};
pub use crate::peer::message::PeerSaid;
use crate::peer::message::{EndReason, PeerConfig, PeerInput, PeerNotices};
use crate::shard::lanes::ShardLink;
use crate::shard::socket::tcp::accept::Identified;

/// Take on a peer whose offer has been answered: start its actor and route its ufrag to it.
#[derive(Message)]
#[rtype(result = "Result<PeerKey, AddPeerError>")]
pub struct AddPeer {
    /// The session it belongs to.
    pub session: SessionId,
    /// ICE credentials and what was negotiated.
    pub config: PeerConfig,
    /// What it sends or plays, once DTLS has keys.
    pub media: PeerMedia,
    /// Who hears of its life: its room.
    pub notices: Recipient<PeerNotices>,
    /// The trace of its join, for what it says in the log.
    pub trace_id: Option<TraceId>,
}

/// Take on a viewer's peer, like [`AddPeer`], and answer whoever waits for it: the HTTP worker itself, so that the answer
/// crosses one thread less. The room learns by its notices what came of it: the peer's key, or the session's end.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AdmitPeer {
    /// The peer.
    pub add: AddPeer,
    /// Takes the answer.
    pub answer: Box<dyn FnOnce(Result<(), AddPeerError>) + Send>,
}

/// What a peer is there for.
#[derive(Debug, Clone)]
pub enum PeerMedia {
    /// It publishes these tracks.
    Ingest(Vec<IngestTrack>),
    /// It plays these tracks.
    Egress(Vec<EgressTrack>),
}

/// Why a shard does not take a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddPeerError {
    /// The shard has as many peers as it may have.
    #[error("the shard is full")]
    Full,
    /// Another peer of the shard has this ufrag: draw new credentials.
    #[error("the ice user fragment is taken")]
    UfragTaken,
    /// The shard is on its way out.
    #[error("the shard is stopping")]
    Stopping,
}

/// Give `input` to a peer. A peer that has ended is not told; its room has its `Ended` notice.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TellPeer {
    /// Which peer.
    pub peer: PeerKey,
    /// What to tell it.
    pub input: PeerInput,
}

/// A viewer asks for a layer of its video. One that has ended asks for nothing any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WishLayer {
    /// Which peer.
    pub peer: PeerKey,
    /// What it asks for.
    pub wish: LayerWish,
}

/// End these peers. Those that have ended already are passed over. One message however many leave: a stream that ends takes
/// a crowd with it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ClosePeers {
    /// Which peers.
    pub peers: Vec<PeerKey>,
    /// Why.
    pub reason: EndReason,
}

/// What another shard's plane says to this one's, packets excepted: those have a lane of their own.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FromShard(pub ShardMessage);

/// How busy is the shard?
#[derive(Debug, Message)]
#[rtype(result = "ShardLoad")]
pub struct GetLoad;

/// The load of one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ShardLoad {
    /// Peers that it has, connected or not.
    pub peers: usize,
    /// Share of the last second that its thread spent working, 0 to 1.
    pub busy_ratio: f64,
    /// Datagrams of media sealed per second, smoothed.
    pub datagrams_per_second: f64,
    /// Bytes that its UDP socket has sent since it started, headers of UDP and IP not counted.
    pub sent_bytes: u64,
}

/// How are these tracks doing on this shard?
#[derive(Debug, Message)]
#[rtype(result = "ShardReport")]
pub struct GetReport {
    /// The tracks; those that the shard does not carry are missing in the report.
    pub tracks: Vec<TrackId>,
}

/// What a shard says about tracks.
#[derive(Debug)]
pub struct ShardReport {
    /// One entry for each track asked for that the shard carries.
    pub tracks: Vec<(TrackId, TrackReport)>,
}

/// These are the other shards of the node.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Meet(pub Vec<ShardLink>);

/// An ICE-TCP connection for one of the shard's peers.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AdoptTcp(pub Identified);

/// End every peer with `Shutdown`, send what they have to say, take no new one. Answered when all
/// have ended, or after two seconds.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;
