//! Extensions of WHEP, as `Link` headers announce them (core extensions of draft-ietf-wish-whep).

use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use super::endpoint::Target;
use super::problem::Problem;
use crate::room::EventKind;

/// The one content type of what extensions are posted.
pub const JSON: &str = "application/json";

/// Values of `Link` headers for the viewer's session at `address`, one per extension. Who plays no video has no layers.
pub fn links(address: &str, has_video: bool) -> Vec<String> {
    let events = EventKind::ALL.map(EventKind::name).join(",");
    let sse = "urn:ietf:params:whep:ext:core:server-sent-events";
    let layer = has_video.then(|| format!("<{address}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\""));
    [format!("<{address}/sse>; rel=\"{sse}\"; events=\"{events}\"")].into_iter().chain(layer).collect()
}

/// `OPTIONS` of a resource that takes `methods`.
pub async fn options(request: HttpRequest, methods: &'static str) -> Result<HttpResponse, Problem> {
    Target::of(&request)?;
    Ok(HttpResponse::NoContent().insert_header((ALLOW, HeaderValue::from_static(methods))).finish())
}
