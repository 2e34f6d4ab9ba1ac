//! What a bearer sees of rooms: those that its token names, and in them the streams that it names.

use aforo_cluster::id::{RoomName, StreamName};

use crate::room::RoomReport;
use crate::token::{Grants, Names};

/// See the module.
#[derive(Debug, Clone)]
pub struct View {
    rooms: Names<RoomName>,
    streams: Names<StreamName>,
}

impl View {
    /// Everything, as everybody sees it where nobody is asked for a token.
    pub fn of_all() -> Self {
        Self { rooms: Names::Every, streams: Names::Every }
    }

    /// What these grants show; `None` if they let nothing be done.
    pub fn of(grants: Grants) -> Option<Self> {
        grants.lets_anything().then_some(Self { rooms: grants.room, streams: grants.stream })
    }

    /// Whether it has the room.
    pub fn has(&self, room: &RoomName) -> bool {
        self.rooms.cover(room)
    }

    /// The streams of the room that are in it, and the figures of those alone. `None` if nothing is left of a room that has
    /// any, or if the room is not in it.
    pub fn show(&self, report: &RoomReport) -> Option<RoomReport> {
        if !self.has(&report.name) {
            return None;
        }
        let streams = report.streams.iter().filter(|stream| self.streams.cover(&stream.name));
        let streams: Vec<_> = streams.cloned().collect();
        let live = streams.iter().any(|stream| stream.live);
        let viewers = streams.iter().map(|stream| stream.viewers).sum();
        let hidden = streams.is_empty() && !report.streams.is_empty();
        (!hidden).then(|| RoomReport { name: report.name.clone(), live, streams, viewers })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use crate::room::StreamReport;

    fn stream(name: &str, viewers: usize, live: bool) -> StreamReport {
        let name = name.parse().unwrap();
        StreamReport {
            name,
            live,
            paused: false,
            live_seconds: None,
            viewers,
            tracks: Vec::new(),
            bitrate_bps: None,
        }
    }

    #[test]
    fn a_token_of_one_stream_sees_nothing_of_the_others() {
        let name: RoomName = "demo".parse().unwrap();
        let streams = vec![stream("main", 5, true), stream("side", 2, false)];
        let report = RoomReport { name: name.clone(), live: true, streams, viewers: 7 };
        let seen = |room: &str, stream: &str| {
            View { rooms: room.parse().unwrap(), streams: stream.parse().unwrap() }.show(&report)
        };
        assert_eq!(seen("*", "*").as_ref(), Some(&report));
        let side = seen("demo", "side").unwrap();
        assert_eq!((side.live, side.viewers, side.streams.len()), (false, 2, 1));
        assert_eq!(seen("demo", "third"), None, "others are there, and none of its own");
        assert_eq!(seen("other", "*"), None);
        let idle = RoomReport::idle(name);
        assert_eq!(
            View { rooms: Names::Every, streams: "side".parse().unwrap() }.show(&idle),
            Some(idle.clone())
        );
    }
}
