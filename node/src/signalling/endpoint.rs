//! WHIP and WHEP endpoints: an offer comes in by POST, a session and its answer go out (RFC 9725 §4.2,
//! draft-ietf-wish-whep §4).
//!
//! The offer is answered on the HTTP worker's thread; then the room lets the session in.

use std::time::Instant;

use actix_web::http::header::{ALLOW, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LINK, LOCATION};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError};
use aforo_cluster::control::Role;
use aforo_cluster::id::{RoomName, SessionId, StreamName};
use opentelemetry::KeyValue;
use rand::RngExt;

use super::app::App;
use super::problem::Problem;
use super::routes::route_of;
use super::sdp::{self, Answer, Capabilities, PlayTrack};
use super::{body, entity_tag, extension, location, turn};
use crate::media::negotiated::SsrcPair;
use crate::peer::message::PeerConfig;
use crate::room::{Claimant, LiveStream, Place, Play, Publish, TokenDigest, protocol};
use crate::telemetry::RequestTrace;

/// The one content type of offers and answers.
pub const SDP: &str = "application/sdp";

/// The room and the stream that an address names.
#[derive(Debug, Clone)]
pub struct Target {
    /// The room.
    pub room: RoomName,
    /// The stream; `main` unless named.
    pub stream: StreamName,
}

impl Target {
    /// Reads the names in a request's path.
    pub fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let path = request.match_info();
        let room = path.query("room").parse().map_err(|error| Problem::Name("room name", error))?;
        let stream = path.get("stream").map(str::parse).transpose();
        let stream = stream.map_err(|error| Problem::Name("stream name", error))?;
        Ok(Self { room, stream: stream.unwrap_or_default() })
    }
}

/// `POST /whip/{room}[/{stream}]`.
pub async fn publish(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    counted(Role::Publisher, &request, payload, &app).await
}

/// `POST /whep/{room}[/{stream}]`.
pub async fn play(request: HttpRequest, payload: Payload, app: Data<App>) -> Result<HttpResponse, Problem> {
    counted(Role::Viewer, &request, payload, &app).await
}

/// Joins, and counts how that went and how long it took.
async fn counted(
    role: Role,
    request: &HttpRequest,
    payload: Payload,
    app: &App,
) -> Result<HttpResponse, Problem> {
    let started = Instant::now();
    let trace = RequestTrace::begin(
        app.tracer.as_ref(),
        role,
        route_of(request.match_info().as_str()),
        request,
        started,
    );
    let joined = join(role, request, payload, app, &trace).await;
    let (protocol, result) = (protocol(role), joined.as_ref().map_or_else(Problem::result, |_| "ok"));
    app.metrics.session_attempts_total.with_label_values(&[role.as_str(), protocol, result]).inc();
    if joined.is_ok() {
        let duration = app.metrics.join_duration_seconds.with_label_values(&[protocol, "answer"]);
        let seconds = started.elapsed().as_secs_f64();
        duration.observe(seconds);
        if let Some(trace) = trace.join() {
            app.metrics.join_exemplars.keep(protocol, "answer", seconds, trace.trace_id().to_string());
        }
    }
    match &joined {
        Ok(response) => trace.answered(response.status().as_u16(), None),
        Err(problem) => trace.answered(problem.status_code().as_u16(), Some(result)),
    }
    joined
}

async fn join(
    role: Role,
    request: &HttpRequest,
    payload: Payload,
    app: &App,
    trace: &RequestTrace,
) -> Result<HttpResponse, Problem> {
    let target = Target::of(request)?;
    app.authorize(role, &target, request.headers())?;
    if app.lifecycle.is_draining() {
        return Err(Problem::Draining);
    }
    body::require_type(request, SDP)?;
    let base = location::base(&app.origin, request)?;
    let offer = body::read_text(request, payload, app.body).await?;
    let entry = Entry { session: SessionId::random(), etag: rand::rng().random(), target };
    trace.describe(|| entry.attributes());
    let answer = match role {
        Role::Publisher => {
            let claimant = app.claimant(request.headers());
            publish_on(app, &entry, claimant, &offer, trace).await?
        }
        Role::Viewer => {
            let token = app.token_digest(request.headers());
            play_on(app, &entry, token, &offer, trace).await?
        }
    };
    let Target { room, stream } = &entry.target;
    let address = location::of_session(&base, role, room, stream, entry.session);
    let extensions = match role {
        Role::Publisher => Vec::new(),
        Role::Viewer => extension::links(&address, answer.video_section.is_some()),
    };
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, address));
    response.insert_header((ETAG, entity_tag::quoted(entry.etag)));
    for link in turn::links(&app.turn).into_iter().chain(extensions) {
        response.append_header((LINK, link));
    }
    Ok(response.insert_header((CONTENT_TYPE, SDP)).body(answer.sdp))
}

/// A session on its way in.
struct Entry {
    session: SessionId,
    etag: u64,
    target: Target,
}

impl Entry {
    /// What its trace says of it.
    fn attributes(&self) -> [KeyValue; 3] {
        let Target { room, stream } = &self.target;
        [
            KeyValue::new("aforo.room", room.to_string()),
            KeyValue::new("aforo.stream", stream.to_string()),
            // As in the log: whoever knows all of it may end the session.
            KeyValue::new("aforo.session", format!("{:?}", self.session)),
        ]
    }
}

async fn publish_on(
    app: &App,
    entry: &Entry,
    claimant: Claimant,
    offer: &str,
    trace: &RequestTrace,
) -> Result<Answer, Problem> {
    let Entry { session, etag, target } = entry;
    let Target { room, stream } = target.clone();
    let step = trace.step("placement");
    let place = app.ask(Place { room, stream: stream.clone(), claimant }).await??;
    drop(step);
    let step = trace.step("sdp");
    let local = app.local_transport(place.shard())?;
    let local_ice = local.ice.clone();
    let (answer, negotiated) = sdp::answer(offer, &Capabilities::publish(local))?;
    drop(step);
    let _step = trace.step("room");
    let config = PeerConfig { local_ice, negotiated };
    let (session, etag, trace) = (*session, *etag, trace.join());
    let publish = Publish { session, stream, claimant, place, etag, config, trace };
    app.ask_room(&target.room, publish).await?;
    Ok(answer)
}

/// A viewer of a stream that is here belongs here, whatever the coordinator does: it is not asked.
async fn play_on(
    app: &App,
    entry: &Entry,
    token: Option<TokenDigest>,
    offer: &str,
    trace: &RequestTrace,
) -> Result<Answer, Problem> {
    let Entry { session, etag, target } = entry;
    let step = trace.step("placement");
    let live = app.directory.find(&target.room, &target.stream)?;
    let place = app.directory.reserve_for_viewer()?;
    drop(step);
    let step = trace.step("sdp");
    let local = app.local_transport(place.shard())?;
    let local_ice = local.ice.clone();
    let (answer, negotiated) = sdp::answer(offer, &Capabilities::play(local, &play_tracks(&live)))?;
    drop(step);
    let _step = trace.step("room");
    let play = Play {
        session: *session,
        stream: target.stream.clone(),
        publisher: live.publisher,
        video_section: answer.video_section,
        place,
        token,
        etag: *etag,
        config: PeerConfig { local_ice, negotiated },
        trace: trace.join(),
    };
    app.admit(&target.room, play).await?;
    Ok(answer)
}

/// The stream's tracks with new SSRCs for one viewer.
fn play_tracks(live: &LiveStream) -> Vec<PlayTrack> {
    let mut rng = rand::rng();
    // Two random bits tell up to four SSRCs of one viewer apart, the others make them random (RFC 3550 §8.1).
    let base = rng.random::<u32>() & !3;
    let pairs = [
        SsrcPair { primary: base, rtx: Some(base | 1) },
        SsrcPair { primary: base | 2, rtx: Some(base | 3) },
    ];
    let tracks = live.tracks.iter().zip(pairs);
    tracks.map(|(track, ssrcs)| PlayTrack { codec: track.codec.clone(), ssrcs }).collect()
}

/// `GET` and `HEAD` of a WHIP endpoint: it is here.
pub async fn look_at_whip(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Target::of(&request)?;
    Ok(accepts_offers(&mut HttpResponse::Ok()).finish())
}

/// `GET` and `HEAD` of a WHEP endpoint: it is here, and it speaks SDP.
pub async fn look_at_whep(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Target::of(&request)?;
    Ok(accepts_offers(&mut HttpResponse::Ok()).insert_header((CONTENT_TYPE, SDP)).finish())
}

/// `OPTIONS` of an endpoint.
pub async fn options(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Target::of(&request)?;
    let mut response = HttpResponse::NoContent();
    response.insert_header((ALLOW, HeaderValue::from_static(METHODS)));
    Ok(accepts_offers(&mut response).finish())
}

/// What an endpoint can be asked.
pub const METHODS: &str = "POST, GET, HEAD, OPTIONS";

/// Says what may be posted (RFC 9725 §4.2 by way of the Accept-Post header).
fn accepts_offers(response: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    response.insert_header((HeaderName::from_static("accept-post"), HeaderValue::from_static(SDP)))
}
