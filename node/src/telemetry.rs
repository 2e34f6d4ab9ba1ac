//! What a node tells of itself beside metrics: log lines, and one trace for each join.
//!
//! `log` starts the log, `export` sends finished spans to a collector from a thread of its own, `join` is the trace of one
//! join on its way through HTTP worker, room and peer, `request` the part of it in which the request is answered. Without
//! a collector there is no tracer, and a join carries `None`.

mod export;
mod join;
#[cfg(test)]
mod labels;
mod log;
mod request;
#[cfg(test)]
pub(crate) mod spans;
#[cfg(test)]
mod tests;

pub(crate) use export::Export;
pub use export::ExportError;
pub use join::{JoinTrace, JoinTracer};
pub(crate) use log::start;
pub(crate) use request::RequestTrace;
