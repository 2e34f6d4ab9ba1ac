//! Reads the body of a request: of one content type, within a limit of bytes and of time.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{BytesMut, Payload};
use futures_util::StreamExt;

use super::problem::Problem;

/// How much of a body is read, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Bytes.
    pub bytes: usize,
    /// From the end of the headers to the end of the body.
    pub time: Duration,
}

/// Fails unless the request's body is of `wanted`, whatever its parameters.
pub fn require_type(request: &HttpRequest, wanted: &'static str) -> Result<(), Problem> {
    let found = request.headers().get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = found.as_deref().map(|value| value.split(';').next().unwrap_or_default().trim());
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    Err(Problem::ContentType { found: found.map_or_else(|| "missing".to_owned(), String::from), wanted })
}

/// The whole body, as text. One that says that it is too long is refused before any of it is read.
pub async fn read_text(
    request: &HttpRequest,
    payload: Payload,
    limits: BodyLimits,
) -> Result<String, Problem> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limits.bytes as u64) {
        return Err(Problem::BodyTooLarge(limits.bytes));
    }
    match actix_web::rt::time::timeout(limits.time, collect(payload, limits.bytes)).await {
        Ok(bytes) => String::from_utf8(bytes?.into()).map_err(|_| Problem::BodyNotText),
        Err(_) => Err(Problem::BodyTimeout(limits.time.as_secs())),
    }
}

async fn collect(mut payload: Payload, limit: usize) -> Result<BytesMut, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Problem::Body(error.to_string()))?;
        if body.len() + chunk.len() > limit {
            return Err(Problem::BodyTooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
