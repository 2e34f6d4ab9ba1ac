//! Everything that a request can fail with, and the one place where it becomes an HTTP status and a text.
//!
//! Bodies are problem details (RFC 9457), as RFC 9725 §4.2 suggests: what failed, and what to do about it.

use std::error::Error;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use aforo_cluster::control::{PlacementRefusal, Role};
use aforo_cluster::id::NameError;
use serde_json::json;

use super::sdp::Refusal;
use super::sdp::fragment::FragmentError;
use crate::room::RoomError;
use crate::token::TokenError;

/// After this many seconds a viewer asks again for a stream that is not live: often enough that nobody misses the
/// start, seldom enough that a thousand who wait are a thousand requests in two seconds.
const NOT_LIVE_RETRY_SECONDS: u32 = 2;

/// After this many seconds a publisher asks again for a name that is taken. Often it is its own: a session that ended
/// without a word holds the name until its consent expires, and viewers wait for each second beyond that.
const TAKEN_RETRY_SECONDS: u32 = 2;

/// After this many seconds a client asks again when the node is full, draining or out of order: long enough to let it
/// recover or be replaced.
const UNAVAILABLE_RETRY_SECONDS: u32 = 5;

/// Everything that a request can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A room or stream name in the path.
    #[error("the {0} of the address is not good: {1}")]
    Name(&'static str, NameError),
    /// No `Content-Type`, or another than the resource takes.
    #[error("the content type is {found}, this resource takes {wanted}")]
    ContentType {
        /// What the request has.
        found: String,
        /// What it should have.
        wanted: &'static str,
    },
    /// The body is longer than configured.
    #[error("the body has more than {0} bytes, the limit of this server")]
    BodyTooLarge(usize),
    /// The headers are longer than configured.
    #[error("the headers have more than {0} bytes together, the limit of this server")]
    HeadersTooLarge(u32),
    /// The body did not arrive in time.
    #[error("the body did not arrive within {0} seconds, send it at once")]
    BodyTimeout(u64),
    /// The body broke off, or its encoding is broken.
    #[error("the body cannot be read: {0}")]
    Body(String),
    /// The body is no UTF-8.
    #[error("the body is not UTF-8 text")]
    BodyNotText,
    /// The offer gets no answer.
    #[error(transparent)]
    Offer(#[from] Refusal),
    /// The body of a PATCH is no fragment.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// `If-Match` is neither `*` nor a list of entity tags.
    #[error("If-Match is neither * nor a list of quoted entity tags")]
    IfMatch,
    /// The body names an event that does not exist.
    #[error("the event {0:?} is none of this server's")]
    UnknownEvent(String),
    /// The body is no list of events.
    #[error("the body is not a JSON array with names of events")]
    EventList,
    /// The body is no wish for a layer.
    #[error("the body is not a JSON object that asks for a layer: {0}")]
    Layer(String),
    /// The node has as many open event streams as it may have.
    #[error("the node has {0} event streams open, its limit")]
    EventStreamsFull(u32),
    /// A token is needed, and the request has none.
    #[error("a bearer token is needed here, send it in the Authorization header")]
    NoToken,
    /// The request has a token that is not one of ours.
    #[error("the bearer token is not known here")]
    UnknownToken,
    /// The request has an access token that is not good.
    #[error("the bearer token is not good: {0}")]
    InvalidToken(TokenError),
    /// The request has a token of ours that is good for something else.
    #[error("the bearer token is not good for this: it does not let a {role} in here", role = .0.as_str())]
    NoGrant(Role),
    /// The request has a token of ours that is good for other rooms, or for none.
    #[error("the bearer token is not good for this room")]
    OtherRoom,
    /// A room refused.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// Too many requests of one address.
    #[error("too many requests from this address, wait {0} s")]
    RateLimited(u32),
    /// The node is stopping.
    #[error("this node is stopping and takes no new session, try again or use another node")]
    Draining,
    /// Nothing is at this address.
    #[error("nothing is at this address, `/` lists what there is")]
    NotFound,
    /// The method is not one of the resource's.
    #[error("this resource takes {0}")]
    Method(&'static str),
    /// The request names no host that a session's address could be built from.
    #[error("the Host header is not a host name, fix it or configure http.public_url")]
    Host,
}

/// By hand, as a derived one would make the error a cause too, whose text then stood twice in the body.
impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::InvalidToken(error)
    }
}

impl Problem {
    /// The HTTP status: one error, one status.
    fn status(&self) -> StatusCode {
        match self {
            Self::Name(..)
            | Self::Body(_)
            | Self::BodyNotText
            | Self::Fragment(_)
            | Self::IfMatch
            | Self::UnknownEvent(_)
            | Self::EventList
            | Self::Layer(_)
            | Self::Host => StatusCode::BAD_REQUEST,
            Self::ContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Offer(refusal) => offer_status(refusal),
            // Not the token's fault, and it passes: 401 would send clients away for good.
            Self::InvalidToken(TokenError::KeysAwaited) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoToken | Self::UnknownToken | Self::InvalidToken(_) => StatusCode::UNAUTHORIZED,
            Self::NoGrant(_) | Self::OtherRoom => StatusCode::FORBIDDEN,
            Self::Room(error) => room_status(error),
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Draining | Self::EventStreamsFull(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// What the client can do, where the text of the error does not say it already.
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Room(error) => match error {
                RoomError::NotLive => Some("wait for a publisher and try again"),
                RoomError::Taken => Some("publish under another stream name, or end the other session first"),
                RoomError::NoSession => Some("start a new one by POST"),
                RoomError::NoEventStream => {
                    Some("make a new one by POST to the address that the session's Link header names")
                }
                RoomError::UnknownMedia(_) => Some("leave it out to mean the session's video"),
                RoomError::UnknownLayer(_) => Some("the layers event lists those that there are"),
                RoomError::EventStreamLimit(_) => Some("end one of them by DELETE first"),
                RoomError::TakenOver => Some("publish again only to take it back"),
                RoomError::PreconditionMissing => {
                    Some("send the entity tag of the last answer, or * to restart ICE")
                }
                RoomError::PreconditionFailed => {
                    Some("send the entity tag of the last answer; this request is late or belongs to another")
                }
                RoomError::Elsewhere(_) => Some("ask there"),
                _ => Some("try again later"),
            },
            Self::UnknownEvent(_) => Some("the session's Link header lists those that there are"),
            Self::InvalidToken(TokenError::KeysAwaited) => Some("try again later"),
            _ => None,
        }
    }

    /// Seconds after which it makes sense to ask again.
    fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Room(RoomError::NotLive) => Some(NOT_LIVE_RETRY_SECONDS),
            Self::Room(RoomError::Taken) => Some(TAKEN_RETRY_SECONDS),
            Self::RateLimited(seconds) => Some(*seconds),
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Some(UNAVAILABLE_RETRY_SECONDS),
            _ => None,
        }
    }

    /// What credentials are wanted (RFC 6750 §3).
    fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::NoToken => Some("Bearer realm=\"aforo\""),
            Self::UnknownToken => Some("Bearer realm=\"aforo\", error=\"invalid_token\""),
            // What went wrong in words is for people, and stands in the body; of this one a program knows what to do.
            Self::InvalidToken(TokenError::Expired) => Some(
                "Bearer realm=\"aforo\", error=\"invalid_token\", error_description=\"the token has expired\"",
            ),
            Self::InvalidToken(TokenError::KeysAwaited) => None,
            Self::InvalidToken(_) => Some("Bearer realm=\"aforo\", error=\"invalid_token\""),
            Self::OtherRoom => Some("Bearer realm=\"aforo\", error=\"insufficient_scope\""),
            Self::NoGrant(Role::Publisher) => {
                Some("Bearer realm=\"aforo\", error=\"insufficient_scope\", scope=\"publish\"")
            }
            Self::NoGrant(Role::Viewer) => {
                Some("Bearer realm=\"aforo\", error=\"insufficient_scope\", scope=\"subscribe\"")
            }
            _ => None,
        }
    }

    /// Whether a part of the node or the cluster failed, in contrast to limits and drains that work as they should.
    fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Room(
                RoomError::Cluster(_)
                    | RoomError::Unanswered(_)
                    | RoomError::Shard(_)
                    | RoomError::Randomness
            )
        )
    }

    /// The label `result` of session attempts.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Room(RoomError::NotLive) => "not_live",
            Self::Room(RoomError::Taken) => "taken",
            Self::Offer(Refusal::NoCommonCodec { .. }) => "no_common_codec",
            // The node waits for keys, and not for this client's.
            Self::InvalidToken(TokenError::KeysAwaited) => "unavailable",
            Self::NoToken
            | Self::UnknownToken
            | Self::InvalidToken(_)
            | Self::NoGrant(_)
            | Self::OtherRoom => "unauthorized",
            Self::Draining | Self::Room(RoomError::Refused(PlacementRefusal::Draining)) => "draining",
            Self::Room(
                RoomError::SessionLimit(_)
                | RoomError::RoomLimit(_)
                | RoomError::OutputLimit
                | RoomError::Crowded
                | RoomError::Refused(PlacementRefusal::Full),
            ) => "limited",
            _ if self.status().is_server_error() => "unavailable",
            _ => "bad_request",
        }
    }
}

fn offer_status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Malformed(_)
        | Refusal::NoIceCredentials
        | Refusal::NoFingerprint
        | Refusal::Setup(_)
        | Refusal::Protocol { .. }
        | Refusal::Direction { .. }
        | Refusal::IceLite
        | Refusal::NoMedia => StatusCode::BAD_REQUEST,
        Refusal::OtherMedia { .. }
        | Refusal::TooManyTracks(_)
        | Refusal::TooManyMediaStreams(_)
        | Refusal::NotBundled { .. }
        | Refusal::NoRtcpMux { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::NoCommonCodec { .. } => StatusCode::NOT_ACCEPTABLE,
    }
}

fn room_status(error: &RoomError) -> StatusCode {
    match error {
        RoomError::NotLive | RoomError::Taken | RoomError::EventStreamLimit(_) => StatusCode::CONFLICT,
        RoomError::NoSession | RoomError::NoEventStream => StatusCode::NOT_FOUND,
        RoomError::UnknownMedia(_) | RoomError::UnknownLayer(_) => StatusCode::BAD_REQUEST,
        RoomError::TakenOver => StatusCode::GONE,
        RoomError::PreconditionMissing => StatusCode::PRECONDITION_REQUIRED,
        RoomError::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        RoomError::SessionLimit(_)
        | RoomError::RoomLimit(_)
        | RoomError::OutputLimit
        | RoomError::Crowded
        | RoomError::Elsewhere(_)
        | RoomError::Refused(_)
        | RoomError::Cluster(_)
        | RoomError::Shard(_)
        | RoomError::Unanswered(_)
        | RoomError::Closed
        | RoomError::Randomness => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status();
        let mut detail = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            detail.push_str(": ");
            detail.push_str(&error.to_string());
            cause = error.source();
        }
        if let Some(advice) = self.advice() {
            detail.push_str("; ");
            detail.push_str(advice);
        }
        if self.is_fault() {
            tracing::warn!(%detail, status = status.as_u16(), "request failed");
        }
        let title = status.canonical_reason().unwrap_or("Error");
        let body =
            json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        let mut response = HttpResponse::build(status);
        response.content_type("application/problem+json");
        if let Some(seconds) = self.retry_after() {
            response.insert_header((RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Self::Method(methods) = self {
            response.insert_header((ALLOW, HeaderValue::from_static(methods)));
        }
        if let Some(challenge) = self.challenge() {
            response.insert_header((WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        }
        response.body(body.to_string())
    }
}
