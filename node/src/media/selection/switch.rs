//! Changes from one layer to another, by their direction and why they came about: what a metric counts.

/// Which way a viewer's picture changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To a better layer, or more of it.
    Up,
    /// To a lower layer, or less of it.
    Down,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Why a viewer plays what it plays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cause {
    /// It began with what was there first, and goes over to what it should have had.
    #[default]
    Start,
    /// What its path carries.
    Network,
    /// What it asked for.
    Viewer,
    /// What the publisher sends.
    Publisher,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Start, Self::Network, Self::Viewer, Self::Publisher];

    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Network => "network",
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
        }
    }
}

/// One change of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// Which way it went.
    pub direction: Direction,
    /// Why.
    pub cause: Cause,
}

/// How many changes of each sort there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Switches([[u64; Cause::ALL.len()]; Direction::ALL.len()]);

impl Switches {
    /// Counts one.
    pub fn count(&mut self, Switch { direction, cause }: Switch) {
        let count = self.0.get_mut(direction as usize).and_then(|causes| causes.get_mut(cause as usize));
        count.into_iter().for_each(|count| *count += 1);
    }

    /// Every sort with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Switch, u64)> {
        let sorts = Direction::ALL.into_iter().zip(&self.0);
        sorts.flat_map(|(direction, causes)| {
            Cause::ALL
                .into_iter()
                .zip(causes)
                .map(move |(cause, count)| (Switch { direction, cause }, *count))
        })
    }
}
