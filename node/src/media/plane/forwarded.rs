//! How old what leaves with one flush is: for each kind, when the oldest datagram came that it follows from.

use std::time::Instant;

use crate::media::codec::MediaKind;

/// What one flush sent, by kind. A few numbers per flush, so that a packet costs nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// When the oldest packet of sound came that was sent on.
    pub audio: Option<Instant>,
    /// When the oldest packet of pictures came that was sent on.
    pub video: Option<Instant>,
    /// When the oldest NACK came that was answered.
    pub rtx: Option<Instant>,
}

impl Forwarded {
    /// A track of `kind` was sent on; the oldest of its packets came at `arrival`.
    pub(super) fn note(&mut self, kind: MediaKind, arrival: Instant) {
        let oldest = match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        };
        *oldest = Some(oldest.map_or(arrival, |oldest| oldest.min(arrival)));
    }
}
