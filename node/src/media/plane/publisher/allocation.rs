//! What is asked of a publisher follows what it says of its layers.

use super::PublisherTrack;
use crate::media::counters::Counters;
use crate::media::plane::track::Track;

impl PublisherTrack {
    /// A packet of `layer` came, which may have told of all layers. What is missing of those that are off is not asked for.
    pub(super) fn follow_allocation(&mut self, layer: u8, track: &mut Track, counters: &mut Counters) {
        for ((from, to), index) in self.layers.iter_mut().zip(&mut track.layers).zip(0_u8..) {
            match (from.reception.is_stopped(), to.is_told_off()) {
                (false, true) => from.reception.stop(),
                (true, false) => from.reception.resume(index == layer),
                _ => continue,
            }
            from.note_lost(to, counters);
        }
    }
}
