//! Session resources: trickled candidates and ICE restarts by PATCH, the end by DELETE (RFC 9725 §4.3, §4.4).

use actix_web::http::header::{ALLOW, CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use aforo_cluster::control::Role;
use aforo_cluster::id::SessionId;

use super::app::App;
use super::endpoint::Target;
use super::problem::Problem;
use super::sdp::fragment;
use super::{body, entity_tag};
use crate::room::{EndSession, PatchSession, Patched, RoomError};

/// The one content type of fragments (RFC 8840 §9).
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What a session can be asked.
pub const METHODS: &str = "PATCH, DELETE, OPTIONS";

/// The session that the address names, for those who may. Text that is no session id names no session.
pub(super) async fn named(
    role: Role,
    request: &HttpRequest,
    app: &App,
) -> Result<(Target, SessionId), Problem> {
    let target = Target::of(request)?;
    let session = request.match_info().query("session").parse().ok();
    app.authorize_begun(role, &target, session, request.headers()).await?;
    Ok((target, session.ok_or(Problem::Room(RoomError::NoSession))?))
}

/// `PATCH`: 204 for candidates, 200 with our new credentials for an ICE restart.
pub async fn patch(
    role: Role,
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    let (Target { room, stream }, session) = named(role, &request, &app).await?;
    body::require_type(&request, FRAGMENT)?;
    let if_match = entity_tag::if_match(request.headers())?;
    let text = body::read_text(&request, payload, app.body).await?;
    let remote = fragment::parse(&text)?.ice;
    match app.ask_room(&room, PatchSession { session, stream, role, if_match, remote }).await? {
        Patched::Trickled => Ok(HttpResponse::NoContent().finish()),
        Patched::Restarted { shard, local, etag, media } => {
            let local = app.transport_with(shard, local);
            let answer = fragment::restart_answer(&local, &media);
            Ok(HttpResponse::Ok()
                .insert_header((ETAG, entity_tag::quoted(etag)))
                .insert_header((CONTENT_TYPE, FRAGMENT))
                .body(answer))
        }
    }
}

/// `DELETE`: the session is over, whatever its entity tag.
pub async fn delete(role: Role, request: HttpRequest, app: Data<App>) -> Result<HttpResponse, Problem> {
    let (Target { room, stream }, session) = named(role, &request, &app).await?;
    app.ask_room(&room, EndSession { session, stream, role }).await?;
    Ok(HttpResponse::Ok().finish())
}

/// `OPTIONS`.
pub async fn options(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Target::of(&request)?;
    Ok(HttpResponse::NoContent()
        .insert_header((ALLOW, HeaderValue::from_static(METHODS)))
        .insert_header((HeaderName::from_static("accept-patch"), HeaderValue::from_static(FRAGMENT)))
        .finish())
}
