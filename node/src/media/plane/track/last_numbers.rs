//! Picture and frame numbers of the last packets of a numbering that has ended: what a leg that was cut off goes on from.
//!
//! The next publisher's packets take the places of these in the ring one by one, and a leg waits for a keyframe among them: by
//! then what it was sent last may be gone.

use std::time::Instant;

use smallvec::SmallVec;

use super::{Layer, Track};
use crate::media::canonical::canonical_id;
use crate::media::codec::{CodecKind, PictureNumbers, dependency, picture_numbers};
use crate::media::extension::ExtensionKind;
use crate::media::rtp::RtpHeader;
use crate::media::selection::Pick;

/// How far back the last picture numbers that a leg was sent are looked for: padding has none.
pub(in super::super) const LOOK_BACK_PACKETS: u64 = 32;

/// What a packet calls its picture.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Numbers {
    /// Of the payload descriptor.
    pub(in super::super) picture: Option<PictureNumbers>,
    /// Of the dependency descriptor.
    pub(in super::super) frame: Option<u16>,
}

/// See the module: by index.
#[derive(Debug, Default)]
pub(super) struct LastNumbers {
    kept: Vec<(u64, Numbers)>,
    /// The last packet before padding, which may go on for longer than anything else is kept.
    before_padding: Option<(u64, Numbers)>,
}

impl Track {
    /// The numberings of all layers end: see [`Layer::keep_last_numbers`]. What a leg was sent last may be of one that ended before.
    pub(super) fn keep_last_numbers(&mut self) {
        let Some(codec) = self.codec else { return };
        let layers = &self.layers;
        let find = |pick: Pick, number| layers.get(usize::from(pick.layer))?.find(pick.point, number);
        let mut sent: SmallVec<[(u8, u64); 4]> = SmallVec::new();
        // Those that are paused know it themselves.
        let playing = self.legs.iter().filter(|leg| !leg.is_paused());
        for (_, mapping, newest) in playing.filter_map(|leg| leg.find(leg.highest_out() as u16, find)) {
            if !sent.contains(&(mapping.layer(), newest)) {
                sent.push((mapping.layer(), newest));
            }
        }
        for (layer, place) in self.layers.iter_mut().zip(0_u8..) {
            let of_layer = sent.iter().filter(|(layer, _)| *layer == place).map(|(_, newest)| *newest);
            layer.keep_last_numbers(codec, &of_layer.collect::<SmallVec<[u64; 4]>>());
        }
    }
}

impl Layer {
    /// The numbering ends: what its last packets call their pictures, and those that legs were sent last, whose indices are `sent`.
    pub(super) fn keep_last_numbers(&mut self, codec: CodecKind, sent: &[u64]) {
        let Some(highest) = self.highest() else { return };
        if self.last_numbers.kept.first().is_some_and(|(known, _)| *known == highest) {
            // Nothing came since: it was all said when the publisher changed.
            return;
        }
        let mut kept: Vec<(u64, Numbers)> = Vec::new();
        for (end, of_layer) in [(highest, true)].into_iter().chain(sent.iter().map(|end| (*end, false))) {
            let mut is_known = false;
            for index in (0..LOOK_BACK_PACKETS).filter_map(|back| end.checked_sub(back)) {
                if kept.iter().any(|(known, _)| *known == index) {
                    break;
                }
                let Some(numbers) = self.numbers(codec, index) else { continue };
                kept.push((index, numbers));
                is_known |= numbers.picture.is_some();
                if !of_layer && is_known {
                    break;
                }
            }
            kept.extend(self.known_before(end).filter(|_| !is_known));
        }
        self.last_numbers.kept = kept;
    }

    /// A packet of `index` came in its turn.
    pub(super) fn note_newest(&mut self, now: Instant, codec: CodecKind, index: u64, header: &RtpHeader) {
        // Padding only keeps numbers going; the encoder may be off.
        if header.padding_len == 0 {
            (self.newest, self.newest_index) = (Some((now, header.timestamp)), Some(index));
        } else if let Some(last) = self.newest_index.take() {
            self.last_numbers.before_padding = self.in_ring(codec, last).map(|numbers| (last, numbers));
        }
    }

    /// The last packet at or before `index` that was noted though it may be gone.
    pub(in super::super) fn known_before(&self, index: u64) -> Option<(u64, Numbers)> {
        let LastNumbers { kept, before_padding } = &self.last_numbers;
        let known = kept.iter().chain(before_padding).copied();
        let says = |numbers: &Numbers| numbers.picture.is_some() || numbers.frame.is_some();
        known.filter(|(known, numbers)| *known <= index && says(numbers)).max_by_key(|(known, _)| *known)
    }

    /// What the packet of `index` calls its picture, if that is known (still).
    pub(in super::super) fn numbers(&self, codec: CodecKind, index: u64) -> Option<Numbers> {
        let kept =
            self.last_numbers.kept.iter().find(|(known, _)| *known == index).map(|(_, numbers)| *numbers);
        kept.or_else(|| self.in_ring(codec, index))
    }

    fn in_ring(&self, codec: CodecKind, index: u64) -> Option<Numbers> {
        let packet = self.ring.as_ref()?.get(index)?;
        let header = RtpHeader::parse(packet).ok()?;
        let descriptor = header.extension(packet, canonical_id(ExtensionKind::DependencyDescriptor));
        Some(Numbers {
            picture: picture_numbers(codec, packet.get(header.header_len()..)?),
            frame: descriptor.and_then(dependency::frame_number),
        })
    }
}
