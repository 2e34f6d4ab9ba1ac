//! What crosses a process boundary: names, ids, units, messages, error codes, metric names and the bus.
//!
//! No actor lives here and no socket but the bus's own, so every other crate can depend on it.

pub mod bus;
pub mod control;
pub mod id;
pub mod metric;
