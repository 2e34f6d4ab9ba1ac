//! What is configured of rooms.

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
}

impl Default for Rooms {
    fn default() -> Self {
        Self { republish_grace_seconds: 60 }
    }
}
