//! The ICE-lite side of a connection (RFC 8445 §2.5): it answers connectivity checks and follows the client's choice.
//!
//! `stun` reads checks and writes answers, `core` decides which paths belong to the client, which one is in use and
//! when consent ends, `credentials` makes ufrags that name their shard. Checks are the client's; ours (`question`) only ask
//! whether it is where its own came from.

pub mod core;
pub mod credentials;
mod known_path;
mod question;
pub mod stun;

pub use core::IceLite;
pub use credentials::{credentials, shard_of_ufrag};
pub use stun::{
    Verdict, is_signed_by, transaction_of_request, transaction_of_success, ufrag_of_check, verdict_of_answer,
};

#[cfg(test)]
mod tests;
