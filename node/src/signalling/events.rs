//! Event streams of viewers (server-sent events extension of draft-ietf-wish-whep): made by POST, read by GET, ended by
//! DELETE or with their session.
//!
//! `writer` turns a stream's state into the lines of its events, pure; `open` counts the connections. A browser's
//! `EventSource` cannot send a token, so GET wants none: its address has the session's id in it, which nobody can guess and
//! which only the session's owner was told.

mod open;
mod writer;

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use aforo_cluster::control::Role;
use aforo_cluster::id::SessionId;
use futures_util::Stream;
use futures_util::stream::unfold;

use super::app::App;
use super::endpoint::Target;
use super::extension::JSON;
use super::problem::Problem;
use super::{body, location, session};
use crate::room::{
    CloseEvents, EventFeed, EventKind, EventKinds, ListenToEvents, OpenEvents, RoomError, StreamNumber,
};
use open::OpenStream;
pub use open::OpenStreams;
use writer::EventWriter;

/// What an event stream is made of.
pub const ENTRY_METHODS: &str = "POST, OPTIONS";

/// What an event stream can be asked.
pub const STREAM_METHODS: &str = "GET, DELETE, OPTIONS";

/// A comment is sent when nothing else was for this long: proxies close connections that are silent for a minute, and we
/// learn of clients that are gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `POST …/sse`: 201 with the address of a new event stream.
pub async fn open(request: HttpRequest, payload: Payload, app: Data<App>) -> Result<HttpResponse, Problem> {
    let (Target { room, stream }, session) = session::named(Role::Viewer, &request, &app).await?;
    let base = location::base(&app.origin, &request)?;
    let wanted = body::read_text(&request, payload, app.body).await?;
    let kinds = match wanted.trim() {
        "" => EventKinds::every(),
        list => {
            body::require_type(&request, JSON)?;
            kinds(list)?
        }
    };
    let open = OpenEvents { session, stream: stream.clone(), kinds };
    let number = app.ask_room(&room, open).await?;
    let session = location::of_session(&base, Role::Viewer, &room, &stream, session);
    Ok(HttpResponse::Created().insert_header((LOCATION, format!("{session}/sse/{number}"))).finish())
}

/// The kinds that a JSON array names, one at least.
fn kinds(list: &str) -> Result<EventKinds, Problem> {
    let names: Vec<String> = serde_json::from_str(list).map_err(|_| Problem::EventList)?;
    if names.is_empty() {
        return Err(Problem::EventList);
    }
    let kind = |name: String| {
        let known = EventKind::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or(Problem::UnknownEvent(name))
    };
    names.into_iter().map(kind).collect()
}

/// The event stream that the address names. Text that is no number names none.
fn named(request: &HttpRequest) -> Result<(Target, SessionId, StreamNumber), Problem> {
    let path = request.match_info();
    let session = path.query("session").parse().map_err(|_| Problem::Room(RoomError::NoSession))?;
    let number = path.query("number").parse().map_err(|_| Problem::Room(RoomError::NoEventStream))?;
    Ok((Target::of(request)?, session, number))
}

/// `GET …/sse/{number}`: the events, for as long as the session lasts.
pub async fn listen(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, Problem> {
    let (Target { room, stream }, session, number) = named(&request)?;
    let base = location::base(&app.origin, &request)?;
    let endpoint = location::of_endpoint(&base, Role::Viewer, &room, &stream);
    // First, as the room then ends the connection that had the stream: of a client that comes back to a full node, the one
    // that it has must stay. Whoever invents addresses has the place for no longer than the room takes to say no.
    let open = app.event_streams.open()?;
    let feed = app.ask_room(&room, ListenToEvents { session, stream, number }).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        // A proxy that gathers a body before it passes it on would keep every event.
        .insert_header((HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")))
        .streaming(lines(feed, endpoint, open)))
}

/// `DELETE …/sse/{number}`.
pub async fn close(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, Problem> {
    let (Target { room, stream }, session, number) = named(&request)?;
    let target = Target { room: room.clone(), stream: stream.clone() };
    app.authorize_begun(Role::Viewer, &target, Some(session), request.headers()).await?;
    app.ask_room(&room, CloseEvents { session, stream, number }).await?;
    Ok(HttpResponse::Ok().finish())
}

/// The body: what is new whenever something is, a comment when nothing was for long, the last news before the end.
fn lines(
    feed: EventFeed,
    endpoint: String,
    open: OpenStream,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let returns = feed.number > 1;
    let writer = EventWriter::new(feed.kinds, feed.video_section, endpoint, returns);
    unfold((feed, writer, open, false), async |(mut feed, mut writer, open, mut over)| {
        loop {
            let held = *feed.held.borrow_and_update();
            let news = writer.write(&feed.state.borrow_and_update(), held);
            let text = match (news.is_empty(), over) {
                (false, _) => Bytes::from(news),
                (true, true) => return None,
                (true, false) => match turn(&mut feed).await {
                    Turn::News => continue,
                    Turn::Over => {
                        over = true;
                        continue;
                    }
                    Turn::Silence => Bytes::from_static(b":\n\n"),
                },
            };
            return Some((Ok(text), (feed, writer, open, over)));
        }
    })
}

/// What an event stream waited for.
enum Turn {
    News,
    /// The session is over, or another request has the event stream.
    Over,
    Silence,
}

async fn turn(feed: &mut EventFeed) -> Turn {
    let own = feed.number;
    tokio::select! {
        changed = feed.state.changed() => if changed.is_ok() { Turn::News } else { Turn::Over },
        Ok(()) = feed.held.changed() => Turn::News,
        _ = feed.holder.wait_for(|holder| *holder != own) => Turn::Over,
        () = tokio::time::sleep(KEEP_ALIVE) => Turn::Silence,
    }
}
