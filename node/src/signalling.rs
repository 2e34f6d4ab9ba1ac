//! What clients say over HTTP.
