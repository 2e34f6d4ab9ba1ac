//! `/v1`: what is on this node, as JSON.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, http::StatusCode};
use serde::Serialize;

use super::app::App;
use super::endpoint::Target;
use super::problem::Problem;
use crate::room::{GetReport, GetRooms, RoomError, RoomReport};

/// The body of `/v1/rooms`.
#[derive(Debug, Serialize)]
struct RoomList {
    rooms: Vec<RoomReport>,
}

/// `GET /v1/rooms`: every room that has a stream and that the bearer may know of.
pub async fn rooms(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, Problem> {
    let view = app.view(request.headers())?;
    let rooms = app.room_reports.all(crate::actor::now(), app.ask(GetRooms)).await?;
    let rooms = rooms.iter().filter_map(|room| view.show(room)).collect();
    Ok(json(&RoomList { rooms }))
}

/// `GET /v1/rooms/{room}`: one room with the figures of its tracks.
pub async fn room(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, Problem> {
    let Target { room, .. } = Target::of(&request)?;
    let view = app.view_with(&room, request.headers())?;
    let report = async {
        match app.ask_room(&room, GetReport { with_figures: true }).await {
            // Every name is a room. That nothing is in it is an answer: players ask every other second before they make an
            // offer, so what is live here must be so for those who look on from any place that takes their offers.
            Err(Problem::Room(RoomError::NotLive)) => Ok(RoomReport::idle(room.clone())),
            report => report,
        }
    };
    let live = app.directory.is_live(&room);
    let report = app.room_reports.room(crate::actor::now(), &room, live, report).await?;
    Ok(json(&view.show(&report).unwrap_or_else(|| RoomReport::idle(room.clone()))))
}

/// Figures are of the moment, so nobody may keep them.
fn json(body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(StatusCode::OK)
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .json(body)
}
