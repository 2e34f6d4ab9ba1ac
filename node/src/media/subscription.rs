//! What one shard asks another for of a track: which layers, and which points of them.

use crate::media::codec::Point;
use crate::media::spec::Layers;

/// Spatial and temporal layers that are told apart: WebRTC's scalability modes have three at most.
pub const LAYERS_APART: usize = 4;

/// Layers of a track at most.
const LAYERS_MAX: usize = 8;

/// Points that are told apart.
pub const POINTS_APART: usize = LAYERS_APART * LAYERS_APART;

/// Where `point` stands among all that are told apart, row by row: the highest of each kind of layer has no bound.
pub fn place_of(point: Point) -> usize {
    let place = |bound: Option<u8>| bound.map_or(LAYERS_APART, usize::from).min(LAYERS_APART - 1);
    place(point.spatial()) * LAYERS_APART + place(point.temporal())
}

/// Every point that is told apart, in the order of [`place_of`].
pub fn all_points() -> impl Iterator<Item = Point> {
    let bound = |place: usize| Some(place as u8).filter(|_| place < LAYERS_APART - 1);
    (0..POINTS_APART).map(move |place| Point::new(bound(place / LAYERS_APART), bound(place % LAYERS_APART)))
}

/// A set of points of one layer, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PointSet(u16);

impl PointSet {
    /// Every packet, whatever it belongs to.
    pub const ALL: Self = Self(u16::MAX);

    /// Whether `point` is one of them.
    pub fn contains(self, point: Point) -> bool {
        self.0 >> place_of(point) & 1 == 1
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Point> {
        all_points().filter(move |point| self.contains(*point))
    }

    /// Puts the point at this place of [`place_of`] into it.
    pub fn insert_place(&mut self, place: usize) {
        self.0 |= 1_u16.checked_shl(place as u32).unwrap_or(0);
    }
}

/// See the module: a set of points of each layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Subscription([PointSet; LAYERS_MAX]);

impl Subscription {
    /// All of every layer.
    pub const ALL: Self = Self([PointSet::ALL; LAYERS_MAX]);

    /// What is wanted of each layer, in their order.
    pub fn new(points: impl Iterator<Item = PointSet>) -> Self {
        let mut all = Self::default();
        all.0.iter_mut().zip(points).for_each(|(known, points)| *known = points);
        all
    }

    /// What is wanted of `layer`.
    pub fn points(&self, layer: u8) -> PointSet {
        self.0.get(usize::from(layer)).copied().unwrap_or_default()
    }

    /// The layers of which something is wanted.
    pub fn layers(&self) -> Layers {
        let wanted = self.0.iter().zip(0_u8..).filter(|(points, _)| **points != PointSet::default());
        wanted.fold(Layers::NONE, |all, (_, layer)| all | Layers::of(layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_its_place() {
        let places: Vec<_> = all_points().map(place_of).collect();
        assert_eq!(places, (0..POINTS_APART).collect::<Vec<_>>());
        assert_eq!(place_of(Point::WHOLE), POINTS_APART - 1);
        let mut set = PointSet::default();
        set.insert_place(place_of(Point::new(Some(0), None)));
        assert!(set.contains(Point::new(Some(0), None)) && !set.contains(Point::WHOLE));
        let wanted = Subscription::new([PointSet::default(), set].into_iter());
        assert_eq!(
            (wanted.layers(), wanted.points(1), wanted.points(9)),
            (Layers::of(1), set, PointSet::default())
        );
        assert_eq!(Subscription::ALL.layers(), Layers::ALL);
    }
}
