//! How what a leg sends follows from what it plays: numbers, timestamps and picture numbers, from one packet of a layer on.

use std::time::Duration;

use crate::media::codec::PictureShift;
use crate::media::selection::Pick;

/// Whether packets of the layer that is played go to the viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Flow {
    /// Nothing is played yet.
    Waiting,
    /// It is sent from the ring, until it has caught up.
    CatchingUp,
    /// It is sent as it comes.
    Live,
    /// What is played is far beyond what the path carries: nothing until the keyframe of a layer to go on with.
    Paused,
}

/// How a leg's packet indices and timestamps follow from those of the layer that it plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Mapping {
    /// Leg index minus the source packet's number, wrapping. The number is its index, but for parts of scalable layers,
    /// where it is what `numbering` says.
    pub(super) offset: u64,
    /// The first source index that belongs to this mapping; older packets came before the leg.
    pub(super) first_source: u64,
    /// Leg timestamp minus source timestamp, wrapping.
    pub(super) timestamp_offset: u32,
    /// Added to picture numbers.
    pub(super) picture: PictureShift,
    /// Added to frame numbers of dependency descriptors, wrapping.
    pub(super) frame_shift: u16,
    pub(super) pick: Pick,
    pub(super) flow: Flow,
}

/// The packet that a leg begins a layer with: the first one of a keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// What is played from here on.
    pub pick: Pick,
    /// Of the packet, in the layer's sequence numbers.
    pub index: u64,
    /// Its number among the packets that are played.
    pub number: u64,
    /// Of the packet.
    pub timestamp: u32,
    /// What [`Self::timestamp`] would be on the clock of the layer that was played before, by sender reports or by arrival.
    pub timestamp_before: u32,
    /// How long nothing of that layer came before it, which its timestamp may count.
    pub pause: Duration,
}

impl Mapping {
    /// Index of the layer within its track.
    #[inline]
    pub fn layer(&self) -> u8 {
        self.pick.layer
    }

    /// What is played.
    #[inline]
    pub fn pick(&self) -> Pick {
        self.pick
    }

    /// The first source index that belongs to it.
    #[inline]
    pub fn first_source(&self) -> u64 {
        self.first_source
    }

    /// The leg's index of the source packet `source`, which has this number; `None` for one from before the mapping.
    #[inline]
    pub fn out_index(&self, source: u64, number: u64) -> Option<u64> {
        (source >= self.first_source).then(|| number.wrapping_add(self.offset))
    }

    /// The leg's timestamp of a source packet.
    #[inline]
    pub fn timestamp(&self, source: u32) -> u32 {
        source.wrapping_add(self.timestamp_offset)
    }

    /// What is added to picture numbers.
    #[inline]
    pub fn picture(&self) -> PictureShift {
        self.picture
    }

    /// What is added to frame numbers of dependency descriptors.
    #[inline]
    pub fn frame_shift(&self) -> u16 {
        self.frame_shift
    }

    /// The source index of what the leg calls `out`; `None` if that is from before the mapping. `find` tells which packet has
    /// a number.
    pub fn source(&self, out: u64, find: impl Fn(Pick, u64) -> Option<u64>) -> Option<u64> {
        let source = find(self.pick, out.wrapping_sub(self.offset))?;
        (source.wrapping_sub(self.first_source).cast_signed() >= 0).then_some(source)
    }
}
