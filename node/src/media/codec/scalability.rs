//! Where a packet stands in a scalable stream, whichever way its codec says it.

mod frames;

use super::dependency::{self, Structure, Targets};
use super::{CodecKind, vp8, vp9};
use frames::Frames;

/// How much of a layer a viewer gets: its spatial and temporal layers up to these. An ordinary layer is played whole.
///
/// Ordered by spatial layers, then temporal ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point(u8);

impl Point {
    /// All of it.
    pub const WHOLE: Self = Self(u8::MAX);

    /// Layers up to these; `None` and everything from 15 on means all.
    pub fn new(spatial: Option<u8>, temporal: Option<u8>) -> Self {
        Self(spatial.unwrap_or(15).min(15) << 4 | temporal.unwrap_or(15).min(15))
    }

    /// The highest spatial layer; `None` without a bound.
    pub fn spatial(self) -> Option<u8> {
        Some(self.0 >> 4).filter(|spatial| *spatial < 15)
    }

    /// The highest temporal layer; `None` without a bound.
    pub fn temporal(self) -> Option<u8> {
        Some(self.0 & 15).filter(|temporal| *temporal < 15)
    }

    /// Both bounds as numbers, for comparison.
    fn bounds(self) -> (u8, u8) {
        (self.0 >> 4, self.0 & 15)
    }

    /// Whether it has spatial layers that `other` has not.
    pub fn is_larger_than(self, other: Self) -> bool {
        self.bounds().0 > other.bounds().0
    }

    /// The same of a stream whose highest spatial and temporal layer are `highest`: bounds that bound nothing are none.
    pub fn of_stream(self, highest: (u8, u8)) -> Self {
        let bound = |bound: Option<u8>, highest| bound.filter(|bound| *bound < highest);
        Self::new(bound(self.spatial(), highest.0), bound(self.temporal(), highest.1))
    }

    /// The lower of both, for each kind of layer.
    pub fn within(self, other: Self) -> Self {
        let ((spatial, temporal), (others_spatial, others_temporal)) = (self.bounds(), other.bounds());
        Self(spatial.min(others_spatial) << 4 | temporal.min(others_temporal))
    }
}

/// How a viewer gets to more of the temporal layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rise {
    /// Not here.
    Never,
    /// What follows depends on nothing above this frame's layer that came before it (VP9's U).
    After,
    /// This frame depends on the lowest layer only, so a viewer can begin its layer here (VP8's Y).
    Into,
    /// As decode targets say, one bit each.
    Targets {
        /// Those that are sent the frame.
        present: Targets,
        /// Those that can be gone over to with it, by viewers who have what it depends on.
        switch: Targets,
        /// Those that were sent all frames that it depends on.
        held: Targets,
        /// How many packets back the first of these begins.
        back: u16,
    },
}

/// From what to what a viewer goes over: points, and which decode targets those are, if descriptors tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The point that is played.
    pub from: Point,
    /// The point to be played.
    pub to: Point,
    /// Their decode targets.
    pub targets: Option<(u8, u8)>,
    /// Whether the first of these is sent all that the second needs.
    pub covers: bool,
}

/// What one packet's frame is to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Its spatial layer.
    pub spatial: u8,
    /// Its temporal layer.
    pub temporal: u8,
    /// Whether the packet is the first of its frame within its spatial layer, as far as that is said.
    pub begins_layer: bool,
    /// Whether the packet is the last of its frame within its spatial layer.
    pub ends_layer: bool,
    /// Whether pictures are numbered without gaps, so that numbers close up over those that are left out.
    pub closes_up: bool,
    rise: Rise,
}

impl Position {
    /// Whether a viewer at `point`, which is decode target `target`, gets it. Frames that a larger picture does without are
    /// no part of it, though they are of lower layers.
    pub fn is_part_of(&self, point: Point, target: Option<u8>) -> bool {
        if let (Rise::Targets { present, .. }, Some(target)) = (self.rise, target) {
            return present >> target & 1 == 1;
        }
        let (spatial, temporal) = point.bounds();
        self.spatial <= spatial && self.temporal <= temporal
    }

    /// Whether a viewer may go this way with this packet. `begins_picture`: whether the packet does. Not asked at keyframes,
    /// where every viewer may go anywhere.
    pub fn lets_over(&self, way: &Way, begins_picture: bool) -> bool {
        if let (Rise::Targets { switch, held, .. }, Some((from, to))) = (self.rise, way.targets) {
            // Often the frame of the target's own spatial layer says that a viewer can go over, and not the first of its
            // picture. It says what can be decoded after it, not that a viewer of another target can decode the frame itself.
            return match way.covers {
                true => begins_picture,
                false => self.begins_layer && switch >> to & 1 == 1 && held >> from & 1 == 1,
            };
        }
        let ((from_spatial, from_temporal), (to_spatial, to_temporal)) = (way.from.bounds(), way.to.bounds());
        if to_spatial <= from_spatial && to_temporal <= from_temporal {
            return begins_picture;
        }
        match self.rise {
            Rise::After if to_spatial <= from_spatial => begins_picture && self.temporal <= from_temporal,
            Rise::Into if to_spatial <= from_spatial => begins_picture && self.temporal > from_temporal,
            _ => false,
        }
    }

    /// How many packets back the frames begin that it depends on, and whether viewers of `target` were sent all of them; `None`
    /// where that is not said.
    pub fn depends_on(&self, target: u8) -> Option<(u16, bool)> {
        match self.rise {
            Rise::Targets { held, back, .. } => Some((back, held >> target & 1 == 1)),
            _ => None,
        }
    }
}

/// What is known of one layer's stream, and reads its packets.
#[derive(Debug, Default)]
pub struct Reader {
    structure: Option<Box<Structure>>,
    frames: Option<Box<Frames>>,
    /// Structures so far.
    structures: u32,
    /// What the encoder sends, as one knows who reads all of it.
    told: Option<Targets>,
}

impl Reader {
    /// Not every packet is read here: who reads all of them says which targets the encoder sends.
    pub fn tell(&mut self, active: Targets) {
        self.told = Some(active);
    }

    /// What comes is another encoder's. Who reads all of it goes on to do so.
    pub fn begin_anew(&mut self) {
        *self = Self { told: self.told, ..Self::default() };
    }

    /// The position of the packet of `index` with this payload (header and padding taken off) and dependency descriptor;
    /// `None` if it says nothing of layers.
    pub fn read(
        &mut self,
        kind: CodecKind,
        index: u64,
        payload: &[u8],
        descriptor: Option<&[u8]>,
    ) -> Option<Position> {
        let read = descriptor.and_then(|value| dependency::read(value, &mut self.structure).ok());
        let closes_up = kind == CodecKind::Vp8;
        if let Some(read) = read {
            self.structures = self.structures.wrapping_add(read.has_structure.into());
            let frames = self.frames.get_or_insert_default();
            let (held, back) = frames.held(&read, index);
            let present = frames.note(&read, index);
            return Some(Position {
                spatial: read.spatial,
                temporal: read.temporal,
                begins_layer: read.starts_frame,
                ends_layer: read.ends_frame,
                closes_up,
                rise: Rise::Targets { present, switch: read.switch, held, back },
            });
        }
        match kind {
            CodecKind::Vp8 => {
                let (temporal, from_lowest) = vp8::temporal_layer(payload)?;
                let rise = if from_lowest { Rise::Into } else { Rise::Never };
                Some(Position {
                    spatial: 0,
                    temporal,
                    begins_layer: false,
                    ends_layer: false,
                    closes_up,
                    rise,
                })
            }
            CodecKind::Vp9 => {
                let layer = vp9::layer(payload)?;
                let rise = if layer.switching_up { Rise::After } else { Rise::Never };
                let vp9::Layer { spatial, temporal, ends, .. } = layer;
                Some(Position { spatial, temporal, begins_layer: false, ends_layer: ends, closes_up, rise })
            }
            _ => None,
        }
    }

    /// The decode target of `point` now, if descriptors tell: the best that the encoder sends.
    pub fn target(&self, point: Point) -> Option<u8> {
        let ((spatial, temporal), structure) = (point.bounds(), self.structure.as_deref()?);
        structure
            .target(spatial, temporal, self.active())
            .or_else(|| structure.target(spatial, temporal, Targets::MAX))
    }

    /// Changes whenever [`Self::target`] may: how many structures there were, and what is sent of the last one.
    pub fn state(&self) -> (u32, Targets) {
        (self.structures, self.active())
    }

    /// The targets that the encoder sends: all, as far as nothing else is known.
    fn active(&self) -> Targets {
        let read = || Some(self.frames.as_ref()?.active(self.structure.as_deref()?));
        self.told.or_else(read).unwrap_or(Targets::MAX)
    }

    /// The way from one point with its decode target to another.
    pub fn way(&self, from: (Point, Option<u8>), to: (Point, Option<u8>)) -> Way {
        let targets = from.1.zip(to.1);
        let covers = targets.zip(self.structure.as_deref());
        let covers = covers.is_some_and(|((from, to), structure)| structure.covers(from, to));
        Way { from: from.0, to: to.0, targets, covers }
    }

    /// Whether there are frames that viewers of `target` are not sent.
    pub fn leaves_out(&self, target: u8) -> bool {
        self.structure.as_deref().is_some_and(|structure| structure.leaves_out(target))
    }

    /// The highest spatial layer of a decode target.
    pub fn highest_spatial(&self, target: u8) -> Option<u8> {
        self.structure.as_deref()?.highest_spatial(target)
    }

    /// The highest spatial and temporal layer, if descriptors tell.
    pub fn highest(&self) -> Option<(u8, u8)> {
        Some(self.structure.as_deref()?.highest())
    }

    /// Width and height of the largest picture, if descriptors tell.
    pub fn largest_size(&self) -> Option<(u16, u16)> {
        self.size(self.structure.as_deref()?.highest().0)
    }

    /// Width and height of a spatial layer, if descriptors tell.
    pub fn size(&self, spatial: u8) -> Option<(u16, u16)> {
        let size = self.structure.as_deref()?.sizes.get(usize::from(spatial)).copied()?;
        (size.0 > 0).then_some(size)
    }
}
