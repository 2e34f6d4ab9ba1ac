//! Places of publishers that left and may return: the node may fill up meanwhile, and must not refuse them then.

use std::collections::HashMap;

use aforo_cluster::id::StreamName;

use super::core::RoomOutput;
use super::directory::Reservation;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Seats {
    /// Of the publisher that left just now: what follows from that says whether it is waited for.
    left: Option<Reservation>,
    kept: HashMap<StreamName, Reservation>,
}

impl Seats {
    /// A publisher's session ended.
    pub fn left(&mut self, place: Option<Reservation>) {
        self.left = place;
    }

    /// What became of a stream: its publisher, which left just now, is waited for; or it has one again; or it is over.
    pub fn record(&mut self, output: &RoomOutput) {
        match output {
            RoomOutput::StreamPaused { stream, left: true, .. } => {
                self.kept.extend(self.left.take().map(|place| (stream.clone(), place)));
            }
            RoomOutput::PublisherChanged { stream, .. } | RoomOutput::StreamEnded { stream, .. } => {
                self.kept.remove(stream);
            }
            _ => {}
        }
    }

    /// Nobody is waited for who left just now.
    pub fn settle(&mut self) {
        self.left = None;
    }

    /// The place for whoever goes on with the stream.
    pub fn of(&self, stream: &StreamName) -> Option<Reservation> {
        self.kept.get(stream).cloned()
    }
}
