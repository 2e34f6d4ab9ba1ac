//! What the frames of a scalable stream said that came last: who was sent them, and which layers the encoder goes on with.

use super::super::dependency::{Descriptor, SPATIAL_LAYERS_MAX, Structure, Targets};

/// Frames that are remembered: what later ones depend on lies a few pictures of all layers back.
const RECENT_FRAMES: usize = 64;

/// Packets within which those of one number are of one frame: numbers come again after 65,536 frames.
const FRAME_REACH: u64 = 4_096;

/// An encoder that sends so many frames of smaller pictures and none of a larger one has ended that one, though it does not say
/// so: half a second of two smaller ones, and more than rate control leaves out.
const QUIET_FRAMES: u8 = 30;

/// One frame.
#[derive(Debug, Clone, Copy)]
struct Frame {
    number: u16,
    /// Decode targets that are sent it.
    present: Targets,
    /// The first of its packets that came.
    first: u64,
}

impl Frame {
    /// Whether the packet of `index`, whose frame has this number, is of it.
    fn has(&self, number: u16, index: u64) -> bool {
        self.number == number && self.first.abs_diff(index) < FRAME_REACH
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Frames {
    recent: [Option<Frame>; RECENT_FRAMES],
    /// The frame that brought the structure.
    structure_in: Option<Frame>,
    /// Targets that the encoder said it sends, and with which packet.
    active: Option<(u64, Targets)>,
    /// Frames of smaller pictures since the last one of each spatial layer.
    quiet: [u8; SPATIAL_LAYERS_MAX],
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            recent: [None; RECENT_FRAMES],
            structure_in: None,
            active: None,
            quiet: [0; SPATIAL_LAYERS_MAX],
        }
    }
}

impl Frames {
    /// The targets that were sent all frames that `frame` depends on, and how many packets before the one of `index` the
    /// first of those begins; none if one is not known.
    pub(super) fn held(&self, frame: &Descriptor, index: u64) -> (Targets, u16) {
        let mut distances = frame.references.distances();
        let all = distances.as_mut().and_then(|distances| {
            distances.try_fold((Targets::MAX, 0), |(held, back), distance| {
                let number = frame.frame_number.wrapping_sub(distance);
                let known = self.recent.get(usize::from(number) % RECENT_FRAMES).copied().flatten();
                let known = known.filter(|known| known.number == number)?;
                let packets = u16::try_from(index.saturating_sub(known.first)).ok()?;
                Some((held & known.present, packets.max(back)))
            })
        });
        all.unwrap_or((0, 0))
    }

    /// Notes a packet's frame. Returns the targets that are sent it: all of them if it is what tells of them.
    pub(super) fn note(&mut self, frame: &Descriptor, index: u64) -> Targets {
        let number = frame.frame_number;
        if frame.has_structure {
            let brings = Frame { number, present: Targets::MAX, first: index };
            // What an encoder sends is said again, but not what it does not.
            *self = Self { structure_in: Some(brings), quiet: self.quiet, ..Self::default() };
        }
        let tells = self.structure_in.is_some_and(|known| known.has(number, index));
        let present = if tells { Targets::MAX } else { frame.present };
        // Packets overtake each other, and frame numbers come again.
        let is_news = self.active.is_none_or(|(known, _)| known <= index);
        if let Some(active) = frame.active.filter(|_| is_news) {
            self.active = Some((index, active));
        }
        if frame.starts_frame {
            let upper = self.quiet.iter_mut().skip(frame.spatial.into());
            upper.for_each(|quiet| *quiet = quiet.saturating_add(1));
            self.quiet.get_mut(usize::from(frame.spatial)).into_iter().for_each(|quiet| *quiet = 0);
        }
        if let Some(place) = self.recent.get_mut(usize::from(number) % RECENT_FRAMES) {
            let first =
                place.filter(|known| known.has(number, index)).map_or(index, |known| known.first.min(index));
            *place = Some(Frame { number, present, first });
        }
        present
    }

    /// The targets that the encoder sends.
    pub(super) fn active(&self, structure: &Structure) -> Targets {
        let said = self.active.map_or(Targets::MAX, |(_, active)| active);
        let ended = self.quiet.iter().zip(0_u8..).filter(|(quiet, _)| **quiet >= QUIET_FRAMES);
        let ended = ended.fold(0_u8, |all, (_, spatial)| all | 1 << spatial);
        said & structure.targets_without(ended)
    }
}
