//! What clients say over HTTP: WHIP, WHEP, the pages, the API, and the probes of operators.
//!
//! `routes` has the map of addresses, `guard` what every public request passes, `problem` the one match from errors to
//! statuses. `sdp` is pure; handlers carry its answers to rooms and back.

mod admin;
mod api;
mod app;
mod authorization;
mod body;
mod connection;
mod endpoint;
mod entity_tag;
mod events;
mod extension;
mod forwarded;
mod guard;
mod layer;
mod listener;
mod location;
mod pages;
mod problem;
mod rate_limit;
mod room_reports;
mod routes;
pub mod sdp;
mod session;
mod tls;
mod turn;
mod view;

pub use admin::Operations;
pub use app::{App, Parts, candidates};
pub use listener::{ListenError, PublicError, serve_operators, serve_public};
pub use problem::Problem;
pub use tls::TlsError;

#[cfg(test)]
mod tests;
