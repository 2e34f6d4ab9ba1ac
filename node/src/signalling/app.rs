//! What every HTTP handler has at hand.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix::dev::{MessageResponse, ToEnvelope};
use actix::{Context, Handler, Message};
use actix_rt::time::timeout;
use actix_web::http::header::HeaderMap;
use aforo_cluster::control::Role;
use aforo_cluster::id::{RoomName, SessionId};
use aforo_cluster::metric::Metrics;
use rand::RngExt;
use tokio::sync::oneshot;

use super::authorization::{self, Tokens};
use super::body::BodyLimits;
use super::endpoint::Target;
use super::events::OpenStreams;
use super::forwarded::Proxies;
use super::listener;
use super::location::Origin;
use super::problem::Problem;
use super::rate_limit::RateLimit;
use super::room_reports::RoomReports;
use super::sdp::{Candidate, CandidateProtocol, LocalTransport};
use super::view::View;
use crate::actor::lane::{AskError, ask, hand_over};
use crate::config::{Config, Turn};
use crate::lifecycle::Lifecycle;
use crate::media::negotiated::{Fingerprint, IceCredentials};
use crate::media::path::ShardId;
use crate::peer::ice;
use crate::room::{
    Admit, Claimant, Directory, InRoom, IsBearer, Play, Room, RoomError, RoomMessage, Rooms, TokenDigest,
};
use crate::telemetry::JoinTracer;
use crate::token::KeyRing;

/// How long a request may wait for rooms, shards and cluster together: longer than each of them may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// A room that closes while a request is on its way sends it back; the next try finds it gone or opens it anew. More
/// than this many times in a row is no coincidence.
const CLOSED_ROOM_TRIES: usize = 4;

/// What every HTTP handler has at hand.
pub struct App {
    /// The root of all rooms.
    pub rooms: Addr<Rooms>,
    /// Which streams are live, and which shard has room.
    pub directory: Arc<Directory>,
    /// Where each shard can be reached, in the order of their ids.
    pub candidates: Vec<Vec<Candidate>>,
    /// Of the node's DTLS certificate.
    pub fingerprint: Fingerprint,
    /// For requests and joins.
    pub metrics: Arc<Metrics>,
    /// The node's state.
    pub lifecycle: Arc<Lifecycle>,
    /// Who asks too often.
    pub rate_limit: RateLimit,
    /// Who may publish and who may play.
    tokens: Tokens,
    /// How many bytes a request's headers may have.
    pub header_bytes: u32,
    /// How much of a body is read.
    pub body: BodyLimits,
    /// Servers for clients' `Link` headers.
    pub turn: Turn,
    /// What session addresses start with.
    pub origin: Origin,
    /// Origins that may use the API.
    pub cors_origins: Vec<String>,
    /// What is in rooms, for many who look.
    pub room_reports: RoomReports,
    /// Makes traces of joins, if there is a collector for them.
    pub tracer: Option<JoinTracer>,
    /// Who listens to events.
    pub event_streams: OpenStreams,
}

/// The parts of the node that handlers talk to.
pub struct Parts {
    /// The root of all rooms.
    pub rooms: Addr<Rooms>,
    /// Which streams are live, and which shard has room.
    pub directory: Arc<Directory>,
    /// Where each shard can be reached, in the order of their ids.
    pub candidates: Vec<Vec<Candidate>>,
    /// Of the node's DTLS certificate.
    pub fingerprint: Fingerprint,
    /// For requests and joins.
    pub metrics: Arc<Metrics>,
    /// The node's state.
    pub lifecycle: Arc<Lifecycle>,
    /// What access tokens are checked with, if there are keys.
    pub keys: Option<KeyRing>,
    /// Makes traces of joins, if there is a collector for them.
    pub tracer: Option<JoinTracer>,
}

/// The candidates of one shard: its UDP port at every advertised address, then ICE-TCP at `tcp_port` if it is offered.
pub fn candidates(advertise: &[IpAddr], udp_port: u16, tcp_port: Option<u16>) -> Vec<Candidate> {
    let at = |protocol, port| {
        advertise.iter().map(move |ip| Candidate { protocol, address: SocketAddr::new(*ip, port) })
    };
    let udp = at(CandidateProtocol::Udp, udp_port);
    udp.chain(tcp_port.into_iter().flat_map(|port| at(CandidateProtocol::Tcp, port))).collect()
}

impl App {
    /// Puts the parts and the configuration together.
    pub fn new(config: &Config, parts: Parts) -> Self {
        let event_streams = OpenStreams::new(listener::event_streams(config), &parts.metrics);
        let Parts { rooms, directory, candidates, fingerprint, metrics, lifecycle, keys, tracer } = parts;
        Self {
            rooms,
            directory,
            candidates,
            tracer,
            fingerprint,
            metrics,
            lifecycle,
            rate_limit: RateLimit::new(config),
            tokens: Tokens::new(&config.auth, keys),
            header_bytes: config.limits.header_bytes,
            body: BodyLimits {
                bytes: config.limits.body_bytes as usize,
                time: Duration::from_secs(config.limits.request_timeout_seconds.into()),
            },
            turn: config.turn.clone(),
            origin: Origin {
                public_url: config.http.public_url.clone(),
                proxies: Proxies::new(&config.http),
            },
            cors_origins: config.cors_origins(),
            room_reports: RoomReports::default(),
            event_streams,
        }
    }

    /// Whether a request with these headers may do what `role` does with the stream `target`.
    pub fn authorize(&self, role: Role, target: &Target, headers: &HeaderMap) -> Result<(), Problem> {
        self.tokens.check(role, target, headers).inspect_err(|problem| self.count_refusal(problem))
    }

    /// Whether a request with these headers may change or end a running session of `role` with the stream `target`. The token
    /// that the session was let in with may, also when its key has been taken out since: else the first change of
    /// network would end each session that is older than the rotation.
    pub async fn authorize_begun(
        &self,
        role: Role,
        target: &Target,
        session: Option<SessionId>,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let Err(problem) = self.tokens.check_begun(role, target, headers) else { return Ok(()) };
        let unknown = matches!(problem, Problem::UnknownToken | Problem::InvalidToken(_));
        if let (true, Some(session), Some(token)) = (unknown, session, self.token_digest(headers)) {
            let question = IsBearer { session, stream: target.stream.clone(), role, token };
            // Where there is no such session, the token is what is wrong: whoever guesses learns nothing.
            if matches!(self.ask_room(&target.room, question).await, Ok(true)) {
                return Ok(());
            }
        }
        self.count_refusal(&problem);
        Err(problem)
    }

    /// Of the token that a request carries.
    pub fn token_digest(&self, headers: &HeaderMap) -> Option<TokenDigest> {
        authorization::token_digest(headers)
    }

    /// What a publisher's request, which was let in, says about which streams it may take over.
    pub fn claimant(&self, headers: &HeaderMap) -> Claimant {
        self.tokens.claimant(headers)
    }

    /// What a request with these headers may know of.
    pub fn view(&self, headers: &HeaderMap) -> Result<View, Problem> {
        self.tokens.view(headers).inspect_err(|problem| self.count_refusal(problem))
    }

    /// The same, if `room` is part of it.
    pub fn view_with(&self, room: &RoomName, headers: &HeaderMap) -> Result<View, Problem> {
        let view = Some(self.view(headers)?).filter(|view| view.has(room));
        view.ok_or(Problem::OtherRoom).inspect_err(|problem| self.count_refusal(problem))
    }

    fn count_refusal(&self, problem: &Problem) {
        let reason = match problem {
            Problem::NoToken => "no_token",
            Problem::NoGrant(_) | Problem::OtherRoom => "no_grant",
            Problem::InvalidToken(error) => error.reason(),
            _ => "unknown_token",
        };
        self.metrics.auth_failures_total.with_label_values(&[reason]).inc();
    }

    /// Asks the root of all rooms.
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, Problem>
    where
        M: Message + Send + 'static,
        M::Result: Send + MessageResponse<Rooms, M>,
        Rooms: Handler<M>,
        Context<Rooms>: ToEnvelope<Rooms, M>,
    {
        ask(&self.rooms, message, DEADLINE).await.map_err(|error| Problem::Room(RoomError::Unanswered(error)))
    }

    /// Asks one room; again if it closed just now.
    pub async fn ask_room<M, T>(&self, room: &RoomName, message: M) -> Result<T, Problem>
    where
        M: RoomMessage<Result = Result<T, RoomError>> + Clone,
        T: Send + 'static,
        Room: Handler<M>,
        Context<Room>: ToEnvelope<Room, M>,
        Result<T, RoomError>: MessageResponse<Room, M>,
    {
        for _ in 0..CLOSED_ROOM_TRIES {
            match self.ask(InRoom { room: room.clone(), message: message.clone() }).await? {
                Err(RoomError::Closed) => {}
                answer => return Ok(answer?),
            }
        }
        Err(Problem::Room(RoomError::Unanswered(AskError::Closed)))
    }

    /// Asks a room to let a viewer in; again if it closed just now.
    pub async fn admit(&self, room: &RoomName, play: Play) -> Result<(), Problem> {
        let unanswered = |error| Problem::Room(RoomError::Unanswered(error));
        for _ in 0..CLOSED_ROOM_TRIES {
            let (answer, answered) = oneshot::channel();
            let admit = InRoom { room: room.clone(), message: Admit { play: play.clone(), answer } };
            hand_over(&self.rooms, admit, DEADLINE).await.map_err(unanswered)?;
            match timeout(DEADLINE, answered).await {
                Ok(Ok(Err(RoomError::Closed))) => {}
                Ok(Ok(answer)) => return answer.map_err(Problem::Room),
                Ok(Err(_)) => return Err(unanswered(AskError::Closed)),
                Err(_) => return Err(unanswered(AskError::Timeout)),
            }
        }
        Err(unanswered(AskError::Closed))
    }

    /// Our end of a new session on `shard`.
    pub fn local_transport(&self, shard: ShardId) -> Result<LocalTransport, Problem> {
        let ice = ice::credentials(shard).map_err(|_| Problem::Room(RoomError::Randomness))?;
        Ok(self.transport_with(shard, ice))
    }

    /// Our end of a session on `shard` whose credentials are drawn already.
    pub fn transport_with(&self, shard: ShardId, ice: IceCredentials) -> LocalTransport {
        let number: u64 = rand::rng().random();
        LocalTransport {
            ice,
            fingerprint: self.fingerprint.clone(),
            candidates: self.candidates.get(usize::from(shard.0)).cloned().unwrap_or_default(),
            session_id: number >> 2,
            session_version: 1,
            cname: format!("aforo-{number:016x}"),
        }
    }
}
