//! Which address leads to which handler, and what every other method or address is answered.

use actix_web::http::Method;
use actix_web::middleware::Compress;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpResponse, Resource, Scope};
use aforo_cluster::control::Role;
use aforo_cluster::metric::labels::METHODS_OF;

use super::problem::Problem;
use super::{admin, api, endpoint, events, extension, layer, pages, session};

/// The public listener. WHEP and WHIP come first and in scopes of their own: each pattern that a request is tried
/// against costs microseconds, and joins come in crowds.
pub fn public(config: &mut ServiceConfig) {
    config
        .service(protocol(Role::Viewer, whep_endpoint))
        .service(protocol(Role::Publisher, whip_endpoint))
        .service(reads("/", web::get().to(pages::index), web::head().to(pages::index)))
        .service(reads("/studio/{room}", web::get().to(pages::studio), web::head().to(pages::studio)))
        .service(reads("/watch/{room}", web::get().to(pages::watch), web::head().to(pages::watch)))
        .service(reads("/v1/rooms", web::get().to(api::rooms), web::head().to(api::rooms)))
        .service(reads("/v1/rooms/{room}", web::get().to(api::room), web::head().to(api::room)))
        .service(reads("/{file:.+}", web::get().to(pages::file), web::head().to(pages::file)))
        .default_service(web::to(|payload| refuse(payload, Problem::NotFound)));
}

/// Whether the address is that of a part of a viewer's session.
pub fn is_of_session(path: &str) -> bool {
    route_of(path) == "/whep/{room}/{stream}/{session}/{extension}"
}

/// The route of a public address, as metrics name it: one of few, whatever the client asks for.
pub fn route_of(path: &str) -> &'static str {
    let mut parts = path.trim_start_matches('/').split('/');
    let (first, rest) = (parts.next().unwrap_or_default(), parts.count());
    match (first, rest) {
        ("", 0) => "/",
        ("whep", 1 | 2) => "/whep/{room}/{stream}",
        ("whep", 3) => "/whep/{room}/{stream}/{session}",
        ("whip", 1 | 2) => "/whip/{room}/{stream}",
        ("whep", 4 | 5) => "/whep/{room}/{stream}/{session}/{extension}",
        ("whip", 3) => "/whip/{room}/{stream}/{session}",
        ("studio", 1) => "/studio/{room}",
        ("watch", 1) => "/watch/{room}",
        ("v1", 1) => "/v1/rooms",
        ("v1", 2) => "/v1/rooms/{room}",
        ("assets", _) => "/assets/{file}",
        _ => "other",
    }
}

/// The labels `method` and `route` of a request: a method that the route does not have is `other`, so that clients who
/// try each method everywhere make no series of their own.
pub fn labels_of(method: &Method, path: &str) -> (&'static str, &'static str) {
    let route = route_of(path);
    let known = METHODS_OF.iter().find(|(routes, _)| routes.contains(&route));
    let methods = known.map_or(&[][..], |(_, methods)| *methods);
    (methods.iter().find(|known| **known == method.as_str()).copied().unwrap_or("other"), route)
}

/// Endpoints and sessions of WHIP or WHEP.
fn protocol(role: Role, endpoint: fn(&str) -> Resource) -> Scope {
    let session = web::resource("/{room}/{stream}/{session}")
        .route(web::patch().to(move |request, payload, app| session::patch(role, request, payload, app)))
        .route(web::delete().to(move |request, app| session::delete(role, request, app)))
        .route(web::method(Method::OPTIONS).to(session::options))
        .default_service(web::to(|payload| refuse(payload, Problem::Method(session::METHODS))));
    let scope = web::scope(&format!("/{}", crate::room::protocol(role)))
        .service(endpoint("/{room}"))
        .service(endpoint("/{room}/{stream}"))
        .service(session);
    let scope = match role {
        Role::Viewer => scope.configure(extensions),
        Role::Publisher => scope,
    };
    scope.service(web::resource("/{room:.*}").to(unnamed)).default_service(web::to(unnamed))
}

/// What a viewer's session has beside itself (core extensions of draft-ietf-wish-whep).
fn extensions(config: &mut ServiceConfig) {
    let events = web::resource("/{room}/{stream}/{session}/sse")
        .route(web::post().to(events::open))
        .route(web::method(Method::OPTIONS).to(|request| extension::options(request, events::ENTRY_METHODS)))
        .default_service(web::to(|payload| refuse(payload, Problem::Method(events::ENTRY_METHODS))));
    let stream = web::resource("/{room}/{stream}/{session}/sse/{number}")
        .route(web::get().to(events::listen))
        .route(web::delete().to(events::close))
        .route(web::method(Method::OPTIONS).to(|request| extension::options(request, events::STREAM_METHODS)))
        .default_service(web::to(|payload| refuse(payload, Problem::Method(events::STREAM_METHODS))));
    let layer = web::resource("/{room}/{stream}/{session}/layer")
        .route(web::post().to(layer::select))
        .route(web::method(Method::OPTIONS).to(|request| extension::options(request, layer::METHODS)))
        .default_service(web::to(|payload| refuse(payload, Problem::Method(layer::METHODS))));
    config.service(events).service(stream).service(layer);
}

fn whep_endpoint(path: &str) -> Resource {
    let resource = web::resource(path)
        .route(web::post().to(endpoint::play))
        .route(web::get().to(endpoint::look_at_whep))
        .route(web::head().to(endpoint::look_at_whep));
    endpoint_of(resource)
}

fn whip_endpoint(path: &str) -> Resource {
    let resource = web::resource(path)
        .route(web::post().to(endpoint::publish))
        .route(web::get().to(endpoint::look_at_whip))
        .route(web::head().to(endpoint::look_at_whip));
    endpoint_of(resource)
}

/// The listener for operators.
pub fn operators(config: &mut ServiceConfig) {
    config
        .service(reads("/", web::get().to(admin::index), web::head().to(admin::index)))
        .service(reads("/metrics", web::get().to(admin::metrics), web::head().to(admin::metrics)))
        .service(reads("/livez", web::get().to(admin::live), web::head().to(admin::live)))
        .service(reads("/readyz", web::get().to(admin::ready), web::head().to(admin::ready)))
        .service(reads("/startupz", web::get().to(admin::started), web::head().to(admin::started)))
        .default_service(web::to(|payload| refuse(payload, Problem::NotFound)));
}

/// A resource that is only read; it is compressed where the client takes that.
fn reads(
    path: &str,
    get: actix_web::Route,
    head: actix_web::Route,
) -> impl actix_web::dev::HttpServiceFactory + 'static {
    web::resource(path)
        .route(get)
        .route(head)
        .route(web::method(Method::OPTIONS).to(read_options))
        .default_service(web::to(|payload| refuse(payload, Problem::Method(READ_METHODS))))
        .wrap(Compress::default())
}

/// What a resource that is only read can be asked.
const READ_METHODS: &str = "GET, HEAD, OPTIONS";

async fn read_options() -> HttpResponse {
    HttpResponse::NoContent().insert_header((actix_web::http::header::ALLOW, READ_METHODS)).finish()
}

fn endpoint_of(resource: Resource) -> Resource {
    resource
        .route(web::method(Method::OPTIONS).to(endpoint::options))
        .default_service(web::to(|payload| refuse(payload, Problem::Method(endpoint::METHODS))))
}

/// An address under an endpoint with an empty name or too many parts.
async fn unnamed(request: actix_web::HttpRequest) -> Result<HttpResponse, Problem> {
    endpoint::Target::of(&request)?;
    Err(Problem::NotFound)
}

/// The payload is taken so that the rest of a request with a body is read or the connection closed, not misread as the
/// next request.
async fn refuse(_: Payload, problem: Problem) -> Result<HttpResponse, Problem> {
    Err(problem)
}
