//! When the node's lease is written and what with, pure: one write at a time, and nothing of it forgotten that still holds.
//!
//! Inputs: the node's state and load, what became of a write, the wish to leave. Outputs: writes of the lease, and its end.

use std::time::Instant;

use aforo_cluster::control::{LEASE_RENEWAL, NodeLease, NodeState};
use aforo_cluster::id::NodeId;

/// What the lease is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Input {
    /// The node takes sessions, or does not any more: the bus hears of it at once.
    State(NodeState),
    /// Load over limit: the bus hears of it with the next renewal.
    Load(f64),
    /// The bus has answered the last [`Output::Write`].
    Written(Written),
    /// The node leaves: the lease goes, and is not written again.
    Leave,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It stands, with this revision.
    Stands(u64),
    /// The bus has another revision, or none: the one that was named is worth nothing any more.
    Conflict,
    /// The bus did not answer. Most likely nothing was written, so the last known revision stays the best guess.
    Unanswered,
}

/// What the bus is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Output {
    /// Replace the lease of this revision; create it if there is none. Answered by [`Input::Written`].
    Write(NodeLease, Option<u64>),
    /// Remove the lease of this revision; without one there is nothing to remove. It is the last output.
    Remove(Option<u64>),
}

/// Where the lease stands between bus and node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Due at this moment.
    Due(Instant),
    /// A write is on its way; `again` if it is out of date already.
    Writing { again: bool },
    /// Nothing is written any more.
    Left,
}

/// The node's lease.
#[derive(Debug)]
pub(super) struct Lease {
    lease: NodeLease,
    revision: Option<u64>,
    phase: Phase,
    leaving: bool,
}

impl Lease {
    /// The lease of a node that takes sessions from `now` on, due at once.
    pub fn new(node: NodeId, now: Instant) -> Self {
        let lease = NodeLease { node, state: NodeState::Ready, load_ratio: 0.0 };
        Self { lease, revision: None, phase: Phase::Due(now), leaving: false }
    }

    /// Whose it is.
    pub fn node(&self) -> &NodeId {
        &self.lease.node
    }

    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::State(state) => {
                self.lease.state = state;
                self.soon(now);
            }
            Input::Load(ratio) => self.lease.load_ratio = ratio,
            Input::Written(written) => self.written(now, written),
            Input::Leave => {
                self.leaving = true;
                self.soon(now);
            }
        }
    }

    /// Due now, or as soon as the write that is on its way is answered.
    fn soon(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Due(at) => *at = now,
            Phase::Writing { again } => *again = true,
            Phase::Left => {}
        }
    }

    fn written(&mut self, now: Instant, written: Written) {
        let Phase::Writing { again } = self.phase else { return };
        // What ran out meanwhile is created anew at once; what somebody else holds under our name is tried for again later.
        let lost = written == Written::Conflict && self.revision.is_some();
        self.phase = Phase::Due(if again || lost { now } else { now + LEASE_RENEWAL });
        match written {
            Written::Stands(revision) => self.revision = Some(revision),
            Written::Conflict => self.revision = None,
            Written::Unanswered => {}
        }
    }

    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        match self.phase {
            Phase::Due(at) if at <= now && self.leaving => {
                self.phase = Phase::Left;
                Some(Output::Remove(self.revision.take()))
            }
            Phase::Due(at) if at <= now => {
                self.phase = Phase::Writing { again: false };
                Some(Output::Write(self.lease.clone(), self.revision))
            }
            _ => None,
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Due(at) => Some(at),
            Phase::Writing { .. } | Phase::Left => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn lease() -> (Lease, Instant) {
        let now = Instant::now();
        (Lease::new("one".parse().unwrap(), now), now)
    }

    /// State and revision of the write that is due.
    fn due(lease: &mut Lease, now: Instant) -> (NodeState, Option<u64>) {
        match lease.poll_output(now) {
            Some(Output::Write(lease, revision)) => (lease.state, revision),
            output => panic!("{output:?}"),
        }
    }

    fn written(lease: &mut Lease, now: Instant, written: Written) {
        lease.handle(now, Input::Written(written));
    }

    #[test]
    fn it_is_created_then_renewed_with_the_revision_of_the_last_write() {
        let (mut lease, now) = lease();
        assert_eq!(due(&mut lease, now), (NodeState::Ready, None));
        written(&mut lease, now, Written::Stands(7));
        assert_eq!(lease.poll_output(now), None, "it is fresh");
        assert_eq!(lease.poll_timeout(), Some(now + LEASE_RENEWAL));
        lease.handle(now, Input::Load(0.5));
        match lease.poll_output(now + LEASE_RENEWAL) {
            Some(Output::Write(lease, Some(7))) => assert_eq!(lease.load_ratio, 0.5),
            output => panic!("{output:?}"),
        }
    }

    #[test]
    fn a_state_that_changes_while_it_is_written_is_written_after_it_and_once() {
        let (mut lease, now) = lease();
        due(&mut lease, now);
        for state in [NodeState::Draining, NodeState::Ready, NodeState::Draining] {
            lease.handle(now, Input::State(state));
            assert_eq!((lease.poll_output(now), lease.poll_timeout()), (None, None), "one write at a time");
        }
        written(&mut lease, now, Written::Stands(1));
        assert_eq!(due(&mut lease, now), (NodeState::Draining, Some(1)));
        written(&mut lease, now, Written::Stands(2));
        assert_eq!(lease.poll_output(now), None);
    }

    #[test]
    fn a_bus_that_does_not_answer_costs_no_revision() {
        let (mut lease, mut now) = lease();
        due(&mut lease, now);
        written(&mut lease, now, Written::Stands(4));
        for _ in 0..3 {
            now += LEASE_RENEWAL;
            assert_eq!(due(&mut lease, now).1, Some(4));
            written(&mut lease, now, Written::Unanswered);
            assert_eq!(lease.poll_output(now), None, "a bus that is down is not pressed");
        }
    }

    #[test]
    fn a_lease_that_ran_out_is_created_at_once_and_one_that_another_holds_later() {
        let (mut lease, now) = lease();
        due(&mut lease, now);
        written(&mut lease, now, Written::Stands(4));
        let later = now + LEASE_RENEWAL;
        assert_eq!(due(&mut lease, later).1, Some(4));
        written(&mut lease, later, Written::Conflict);
        assert_eq!(due(&mut lease, later).1, None);
        written(&mut lease, later, Written::Conflict);
        assert_eq!(lease.poll_output(later), None);
        assert_eq!(due(&mut lease, later + LEASE_RENEWAL).1, None);
    }

    #[test]
    fn a_node_that_leaves_removes_what_its_last_write_left() {
        let (mut lease, now) = lease();
        due(&mut lease, now);
        lease.handle(now, Input::Leave);
        assert_eq!(lease.poll_output(now), None, "the write that is on its way decides the revision");
        written(&mut lease, now, Written::Stands(9));
        assert_eq!(lease.poll_output(now), Some(Output::Remove(Some(9))));
        lease.handle(now, Input::State(NodeState::Ready));
        assert_eq!((lease.poll_output(now + LEASE_RENEWAL), lease.poll_timeout()), (None, None));
    }
}
