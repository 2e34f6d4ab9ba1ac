//! Decides which node takes which session.
//!
//! It has no state of its own: nodes say on the bus that they live, and every answer is computed from what they say. So
//! any number of coordinators can run, and any of them can die at any time.

pub mod placement;
pub mod service;
