//! What is configured of rooms.

use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Serialize};

/// What holds for all rooms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// How long viewers stay connected for a publisher that left: its page is back in seconds, its router in a minute.
    /// 0 ends them with it.
    #[garde(range(max = 3_600))]
    pub republish_grace_seconds: u16,
    /// How long a connected publisher may send no media before its stream is paused and another may go on with it; it is
    /// noticed up to a second later. 0 means as long as it is connected.
    #[garde(range(max = 3_600))]
    pub publisher_silence_seconds: u16,
}

impl Default for Rooms {
    fn default() -> Self {
        // Encoders that have nothing to say still say so: black pictures, comfort noise each 400 ms (RFC 6716 §2.1.9), a still
        // screen once a second.
        Self { republish_grace_seconds: 60, publisher_silence_seconds: 5 }
    }
}

impl Rooms {
    /// How long a publisher may send no media, if there is a limit.
    pub fn silence_limit(&self) -> Option<Duration> {
        let limit = Duration::from_secs(self.publisher_silence_seconds.into());
        (!limit.is_zero()).then_some(limit)
    }
}
