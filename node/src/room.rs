//! Rooms: who publishes, who watches, and what happens to the others when somebody leaves.
//!
//! `core` has the rules of one room (pure), `actor` its shell, `rooms` the root that finds rooms, opens them and cleans
//! up after one that died, `ledger` knows every session's place, `silence` who has sent nothing yet, `traces` the joins that
//! are traced, `directory` is what HTTP may do without asking, `events` what viewers are told while they watch.
//!
//! - In: sessions that HTTP answered, notices of peers.
//! - Out: peers added, told and closed; log lines and metrics of every step of a session.

mod actor;
mod claimant;
mod core;
mod directory;
mod error;
mod events;
mod journal;
mod ledger;
mod message;
mod report;
#[cfg(test)]
pub(crate) mod rig;
mod rooms;
mod seats;
mod silence;
#[cfg(test)]
mod tests;
mod traces;

pub use actor::{Room, ShardLink};
pub use claimant::{Claimant, TokenDigest};
pub use core::{Entrant, IfMatch, LayerRequest, LiveStream, Published, RoomCore, RoomOutput, StreamTrack};
pub use directory::{Directory, Reservation};
pub use error::RoomError;
pub use events::{EventFeed, EventKind, EventKinds, LayerState, StreamNumber, StreamState};
pub(crate) use journal::protocol;
pub use message::{
    Admit, CloseAll, CloseEvents, EndSession, GetReport, IsBearer, ListenToEvents, OpenEvents, PatchSession,
    Patched, Place, Play, Publish, SelectLayer, TellToLeave,
};
pub use report::{LayerReport, RoomReport, StreamReport, TrackReport};
pub use rooms::{GetRooms, InRoom, Ping, RoomMessage, RoomRules, Rooms};
