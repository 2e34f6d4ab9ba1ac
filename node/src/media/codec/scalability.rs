//! Where a packet stands in a scalable stream, whichever way its codec says it.

use super::dependency::{self, Descriptor, References, Structure};
use super::{CodecKind, vp8, vp9};

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
    /// To these decode targets, for viewers who have the frames that this one depends on: these are of spatial and temporal
    /// layers up to `needs`, if all of them are known.
    Targets { switch: u32, needs: Option<(u8, u8)> },
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
    /// Whether a viewer at `point` gets it: also the lower spatial layers that the larger picture does not need between
    /// keyframes, so that a viewer who has to can go down to them at any picture.
    pub fn is_part_of(&self, point: Point) -> bool {
        let (spatial, temporal) = point.bounds();
        self.spatial <= spatial && self.temporal <= temporal
    }

    /// Whether a viewer may go from one point over to another with this packet, where the new one is decode target `target`.
    /// `begins_picture`: whether the packet does. Not asked at keyframes, where every viewer may go anywhere.
    pub fn lets_over(&self, from: Point, to: Point, target: Option<u8>, begins_picture: bool) -> bool {
        let ((from_spatial, from_temporal), (to_spatial, to_temporal)) = (from.bounds(), to.bounds());
        if to_spatial <= from_spatial && to_temporal <= from_temporal {
            return begins_picture;
        }
        match (self.rise, target) {
            // Often the frame of the target's own spatial layer says so, and not the first of its picture. It says what can be
            // decoded after it, not that a viewer of the lower point can decode the frame itself.
            (Rise::Targets { switch, needs }, Some(target)) => {
                let decodes = needs.is_some_and(|needs| needs.0 <= from_spatial && needs.1 <= from_temporal);
                self.begins_layer && switch >> target & 1 == 1 && decodes
            }
            (Rise::After, _) if to_spatial <= from_spatial => {
                begins_picture && self.temporal <= from_temporal
            }
            (Rise::Into, _) if to_spatial <= from_spatial => begins_picture && self.temporal > from_temporal,
            _ => false,
        }
    }
}

/// Frames whose layers are remembered: what later ones depend on lies a few pictures of all layers back.
const RECENT_FRAMES: usize = 64;

/// The layers of the frames that came last.
#[derive(Debug)]
struct RecentFrames([Option<(u16, u8, u8)>; RECENT_FRAMES]);

impl RecentFrames {
    /// Highest spatial and temporal layer of the frames that frame `number` depends on; `None` if one is not known.
    fn needs(&self, number: u16, references: References) -> Option<(u8, u8)> {
        references.distances()?.try_fold((0, 0), |(spatial, temporal), distance| {
            let wanted = number.wrapping_sub(distance);
            let known = self.0.get(usize::from(wanted) % RECENT_FRAMES).copied().flatten();
            let (_, others_spatial, others_temporal) = known.filter(|known| known.0 == wanted)?;
            Some((others_spatial.max(spatial), others_temporal.max(temporal)))
        })
    }

    fn note(&mut self, frame: &Descriptor) {
        if frame.has_structure {
            self.0 = [None; RECENT_FRAMES];
        }
        if let Some(place) = self.0.get_mut(usize::from(frame.frame_number) % RECENT_FRAMES) {
            *place = Some((frame.frame_number, frame.spatial, frame.temporal));
        }
    }
}

/// What is known of one layer's stream, and reads its packets.
#[derive(Debug, Default)]
pub struct Reader {
    structure: Option<Box<Structure>>,
    frames: Option<Box<RecentFrames>>,
}

impl Reader {
    /// The position of a packet with this payload (header and padding taken off) and dependency descriptor; `None` if it says
    /// nothing of layers.
    pub fn read(&mut self, kind: CodecKind, payload: &[u8], descriptor: Option<&[u8]>) -> Option<Position> {
        let read = descriptor.and_then(|value| dependency::read(value, &mut self.structure).ok());
        let closes_up = kind == CodecKind::Vp8;
        if let Some(read) = read {
            let frames = self.frames.get_or_insert_with(|| Box::new(RecentFrames([None; RECENT_FRAMES])));
            let needs = frames.needs(read.frame_number, read.references);
            frames.note(&read);
            return Some(Position {
                spatial: read.spatial,
                temporal: read.temporal,
                begins_layer: read.starts_frame,
                ends_layer: read.ends_frame,
                closes_up,
                rise: Rise::Targets { switch: read.switch, needs },
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

    /// The decode target of `point`, if descriptors tell.
    pub fn target(&self, point: Point) -> Option<u8> {
        let (spatial, temporal) = point.bounds();
        self.structure.as_deref()?.target(spatial, temporal)
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
