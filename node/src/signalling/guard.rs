//! What every public request passes: limits of rate and of headers on the way in; CORS, hardening headers and metrics on
//! the way out.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, HeaderMap, HeaderValue, ORIGIN,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, ResponseError};
use aforo_cluster::metric::Metrics;

use super::app::App;
use super::problem::Problem;
use super::{connection, routes};

/// Headers that a page of another origin must read (standards of WHIP and WHEP clients).
const EXPOSED: &str = "Location, ETag, Link, Retry-After, Accept-Post, Accept-Patch, WWW-Authenticate";
/// Headers that such a page sends; the last two name the trace that its request is part of (W3C Trace Context §3).
const ALLOWED: &str = "Authorization, Content-Type, If-Match, traceparent, tracestate";
/// Methods of all public resources together.
const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";
/// Seconds that a browser may remember a preflight: two hours is the most that Chromium does.
const PREFLIGHT_SECONDS: &str = "7200";

/// Wraps every public request.
pub async fn public(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    connection::serves(&request);
    let Some(app) = request.app_data::<Data<App>>().cloned() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let origin = request.headers().get(ORIGIN).cloned();
    let method = request.method().clone();
    let shows_token = request.headers().contains_key(AUTHORIZATION);
    let mut response = match admitted(&app, &request) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(problem) => request.into_response(problem.error_response()),
    };
    if is_in_vain(&method, shows_token, response.status()) {
        app.rate_limit.count_in_vain(response.request());
    }
    harden(response.headers_mut());
    cross_origin(response.headers_mut(), &app.cors_origins, origin.as_ref(), &method);
    measure(&app.metrics, &method, &response, started);
    Ok(response)
}

/// Whether a request that costs nothing else was a guess: it was to end a session that is none, or to read or end something with
/// a token that is none. What failed by our own fault is no guess, nor is a page that asks whether it needs a token.
fn is_in_vain(method: &Method, shows_token: bool, status: StatusCode) -> bool {
    let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    match *method {
        Method::DELETE => status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS,
        Method::GET | Method::HEAD => shows_token && refused,
        _ => false,
    }
}

/// Whether the request is neither one too many nor too long.
fn admitted(app: &App, request: &ServiceRequest) -> Result<(), Problem> {
    app.rate_limit.check(request).map_err(|seconds| limited(app, seconds))?;
    let lengths = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    let short = lengths.sum::<usize>() <= app.header_bytes as usize;
    short.then_some(()).ok_or(Problem::HeadersTooLarge(app.header_bytes))
}

fn limited(app: &App, seconds: u32) -> Problem {
    app.metrics.rate_limited_total.with_label_values(&["address"]).inc();
    Problem::RateLimited(seconds)
}

/// Browsers must not guess types, and must not tell other sites a session's or a room's address.
fn harden(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// CORS (Fetch standard §3.2). Nothing here rests on cookies, so `*` gives a page no more than any program has that reaches the
/// node. A page in a browser beside the node reaches more than its author does, so an open node has no `*` unless told.
fn cross_origin(headers: &mut HeaderMap, allowed: &[String], origin: Option<&HeaderValue>, method: &Method) {
    let any = allowed.iter().any(|allowed| allowed == "*");
    let listed =
        origin.filter(|origin| allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()));
    if !any {
        // What one origin gets must not be kept for another.
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    let value = match (any, listed) {
        (true, _) => HeaderValue::from_static("*"),
        (false, Some(origin)) => origin.clone(),
        (false, None) => return,
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if *method == Method::OPTIONS {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    }
}

/// Methods and routes are labels, so whatever a client invents is `other`. Nobody waits for what is refused.
fn measure(metrics: &Metrics, method: &Method, response: &ServiceResponse, started: Instant) {
    let (method, route) = routes::labels_of(method, response.request().match_info().as_str());
    let class = match response.status().as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    metrics.http_requests_total.with_label_values(&[method, route, class]).inc();
    if method != "other" {
        let duration = metrics.http_request_duration_seconds.with_label_values(&[method, route]);
        duration.observe(started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_client_did_wrong_is_in_vain() {
        let vain = |method, shows_token, status: u16| {
            is_in_vain(&method, shows_token, StatusCode::from_u16(status).unwrap_or_default())
        };
        let end = |status| vain(Method::DELETE, false, status);
        assert_eq!([400, 401, 403, 404, 410].map(end), [true; 5]);
        assert_eq!([200, 204, 307, 429, 500, 503, 504].map(end), [false; 7]);
        let read = |status| vain(Method::GET, true, status);
        assert_eq!([401, 403].map(read), [true; 2]);
        assert_eq!([200, 400, 404, 429, 500, 503].map(read), [false; 6]);
        assert!(!vain(Method::GET, false, 401));
    }
}
