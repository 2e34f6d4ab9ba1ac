//! What a publisher says of its layers: which of them its encoders send at the moment.
//!
//! An allocation is believed from the packet on that carries it, until the next one or until the layer's next picture.
//! Where none comes, silence alone tells that a layer is off.

use super::Track;
use super::layer::Layer;
use crate::media::allocation::Allocation;
use crate::media::canonical::canonical_id;
use crate::media::extension::ExtensionKind;
use crate::media::rtp::RtpHeader;

/// What is known of one layer by allocations.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    /// Whether the last allocation left it out, and no new picture has come since.
    off: bool,
    /// Its newest packet when an allocation was last believed. One in an earlier packet, which was only sent again, may be
    /// older than that.
    known_to: Option<u64>,
}

impl Layer {
    /// Whether its publisher says that it does not send it.
    pub(in super::super) fn is_told_off(&self) -> bool {
        self.told.off
    }

    /// A new picture has come. Whether that was not to be expected.
    pub(super) fn shows_again(&mut self) -> bool {
        std::mem::take(&mut self.told.off)
    }
}

impl Track {
    /// Reads the allocation that a packet of `layer` carries, if it does. One that leaves out the layer that it comes on, or
    /// calls it another stream's, is of no use. A mirror goes by the ladder, as it does not get all layers.
    pub(super) fn read_allocation(&mut self, layer: u8, index: u64, header: &RtpHeader, packet: &[u8]) {
        if self.rids.len() < 2 {
            return;
        }
        let value = header.extension(packet, canonical_id(ExtensionKind::VideoLayersAllocation));
        let Some(allocation) = value.and_then(|value| Allocation::parse(value).ok()) else { return };
        let known_to = self.layers.get(usize::from(layer)).and_then(|layer| layer.told.known_to);
        let is_old = known_to.is_some_and(|known_to| index <= known_to);
        if is_old || allocation.stream != layer || !allocation.sends(layer) {
            return;
        }
        for (layer, stream) in self.layers.iter_mut().zip(0_u8..) {
            let told = Told { off: !allocation.sends(stream), known_to: layer.highest() };
            let before = std::mem::replace(&mut layer.told, told);
            self.has_news |= before.off != told.off;
            if before.off && !told.off {
                // Its silence counts from now on: viewers may want the keyframe that it begins with.
                layer.behind_frames = 0;
                layer.measures_anew();
            }
        }
    }
}
