//! The studio and watch pages, embedded into the binary from `client-js/dist`.

use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EntityTag, HeaderName, HeaderValue,
    IfNoneMatch,
};
use actix_web::http::{StatusCode, header::Header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::app::App;
use super::endpoint::Target;
use super::problem::Problem;

/// What Vite built. A binary that was built without it still serves the API, and says how to get the pages.
#[derive(RustEmbed)]
#[folder = "../client-js/dist"]
struct Pages;

/// Pages load nothing from elsewhere and run no script and no style that is not ours; `blob:` and `data:` are what canvas
/// and video elements make.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    media-src 'self' blob: mediastream:; font-src 'self'; manifest-src 'self'; worker-src 'self' blob:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'self'; connect-src 'self'";

/// Files under this folder have a hash of their content in their name, so they never change.
const HASHED_FOLDER: &str = "assets/";

/// What to say where the pages are missing.
const NOT_BUILT: &str = "<!doctype html><title>Aforo</title><h1>The pages are not in this binary</h1>\
    <p>It was built without them. Run <code>make build</code>, which builds <code>client-js</code> first. \
    The API works: <a href=\"/v1/rooms\">/v1/rooms</a>, <code>/whip/{room}</code>, <code>/whep/{room}</code>.";

/// `GET /`.
pub async fn index(request: HttpRequest) -> HttpResponse {
    page(&request, "index.html")
}

/// `GET /studio/{room}`.
pub async fn studio(request: HttpRequest) -> Result<HttpResponse, Problem> {
    page_of_room(&request, "studio.html")
}

/// `GET /watch/{room}`.
pub async fn watch(request: HttpRequest) -> Result<HttpResponse, Problem> {
    page_of_room(&request, "watch.html")
}

/// With a name that is none, a person gets the page, which tells the rule and offers to choose another; a program gets
/// the problem. Both are a 400.
fn page_of_room(request: &HttpRequest, name: &str) -> Result<HttpResponse, Problem> {
    match Target::of(request) {
        Ok(_) => Ok(page(request, name)),
        Err(problem) if !wants_page(request) => Err(problem),
        Err(_) => {
            let page = page(request, name);
            Ok(if page.status() == StatusCode::OK { unkept(page, StatusCode::BAD_REQUEST) } else { page })
        }
    }
}

/// Browsers name HTML when a person opens an address; scripts and tools do not.
fn wants_page(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Any other file of the pages.
pub async fn file(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let path = request.path().trim_start_matches('/').to_owned();
    match Pages::get(&path).filter(|_| !path.ends_with(".html")) {
        Some(found) => Ok(serve(&request, &path, &found)),
        // Whoever types an address of ours half or wrong gets the page from which they go on.
        None if wants_page(&request) && Pages::get("index.html").is_some() => {
            Ok(unkept(page(&request, "index.html"), StatusCode::NOT_FOUND))
        }
        None => Err(Problem::NotFound),
    }
}

/// The page with another status than its own. It is none that may be kept for that address.
fn unkept(mut page: HttpResponse, status: StatusCode) -> HttpResponse {
    *page.status_mut() = status;
    page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page.headers_mut().remove(ETAG);
    page
}

fn page(request: &HttpRequest, name: &str) -> HttpResponse {
    match Pages::get(name) {
        Some(found) => serve(request, name, &found),
        None => HttpResponse::build(StatusCode::NOT_IMPLEMENTED)
            .content_type("text/html; charset=utf-8")
            .body(NOT_BUILT),
    }
}

/// Sessions live at the configured public address, which need not be the one that the page came from.
fn policy(request: &HttpRequest) -> String {
    let app = request.app_data::<Data<App>>();
    match app.and_then(|app| app.origin.public_url.as_deref()) {
        Some(url) => format!("{POLICY} {url}"),
        None => POLICY.to_owned(),
    }
}

fn serve(request: &HttpRequest, path: &str, file: &EmbeddedFile) -> HttpResponse {
    let hash: String =
        file.metadata.sha256_hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    // Weak, as the compressed forms share it.
    let tag = EntityTag::new_weak(hash);
    let cache =
        if path.starts_with(HASHED_FOLDER) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => request.headers().contains_key(IfNoneMatch::name()),
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|other| tag.weak_eq(other)),
        Err(_) => false,
    };
    let status = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut response = HttpResponse::build(status);
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static(cache)));
    response.insert_header((ETAG, tag));
    if known {
        return response.finish();
    }
    if path.ends_with(".html") {
        response.insert_header((CONTENT_SECURITY_POLICY, policy(request)));
        response.insert_header((
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static(
                "camera=(self), microphone=(self), display-capture=(self), autoplay=(self)",
            ),
        ));
    }
    let mime = file.metadata.mimetype();
    let text = mime.starts_with("text/") || mime.ends_with("javascript") || mime.ends_with("json");
    let content_type = if text { format!("{mime}; charset=utf-8") } else { mime.to_owned() };
    response.insert_header((CONTENT_TYPE, content_type)).body(file.data.to_vec())
}
