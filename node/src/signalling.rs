//! What clients say over HTTP.

pub mod sdp;
