//! What is due when. Work is in proportion to what is due, never to how many peers there are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;

use crate::media::path::PeerKey;

/// Due times are rounded up to this grid, so that thousands of viewers' reports wake the shard 100 times a second at most.
const GRID: Duration = Duration::from_millis(10);

/// Something to do at a time. What it is about may be gone by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// A viewer's sender reports.
    SenderReports(PeerKey),
    /// A publisher's receiver reports.
    ReceiverReports(PeerKey),
    /// A publisher's transport-wide feedback.
    TransportFeedback(PeerKey),
    /// A viewer's probe goes on.
    Probe(PeerKey),
    /// A viewer whose picture is held back is looked at.
    Held(PeerKey),
    /// What a publisher has to send again.
    Nack(PeerKey),
    /// A keyframe of a track's layer that was asked for and may not have come.
    Keyframe(TrackId, u8),
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    /// Keeps the order of tasks that are due together.
    number: u64,
    task: Task,
}

impl Ord for Entry {
    /// The earliest is the greatest: the heap's top.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// See the module.
#[derive(Debug)]
pub(super) struct Schedule {
    epoch: Instant,
    heap: BinaryHeap<Entry>,
    count: u64,
}

impl Schedule {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch, heap: BinaryHeap::with_capacity(64), count: 0 }
    }

    /// Adds `task` at the first grid point not before `at`.
    pub(super) fn add(&mut self, at: Instant, task: Task) {
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        let points = since.div_ceil(GRID.as_nanos());
        let at = self.epoch + Duration::from_nanos((points * GRID.as_nanos()) as u64);
        self.count += 1;
        self.heap.push(Entry { at, number: self.count, task });
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The next task that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Task> {
        self.heap.peek().filter(|entry| entry.at <= now)?;
        self.heap.pop().map(|entry| entry.task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_come_in_order_on_the_grid_and_only_when_due() {
        let epoch = Instant::now();
        let mut schedule = Schedule::new(epoch);
        let at = |ms| epoch + Duration::from_millis(ms);
        schedule.add(at(41), Task::Keyframe(TrackId(1), 0));
        schedule.add(at(12), Task::Keyframe(TrackId(2), 0));
        schedule.add(at(20), Task::Keyframe(TrackId(3), 0));
        assert_eq!(schedule.next_due(), Some(at(20)));
        assert_eq!(schedule.pop_due(at(19)), None);
        assert_eq!(schedule.pop_due(at(20)), Some(Task::Keyframe(TrackId(2), 0)));
        assert_eq!(schedule.pop_due(at(20)), Some(Task::Keyframe(TrackId(3), 0)));
        assert_eq!(schedule.pop_due(at(20)), None);
        assert_eq!(schedule.next_due(), Some(at(50)));
    }
}
