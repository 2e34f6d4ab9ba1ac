//! The node's own state: starting, ready or draining. Probes, HTTP handlers and the drain read and write it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use aforo_cluster::metric::Metrics;

/// What the node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeState {
    /// It builds its parts.
    Starting = 0,
    /// It takes sessions.
    Ready = 1,
    /// It takes no session any more and ends those it has.
    Draining = 2,
}

impl NodeState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Starting, Self::Ready, Self::Draining];

    /// The label of `node_state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The state, readable from every thread.
#[derive(Debug)]
pub struct Lifecycle {
    state: AtomicU8,
    metrics: Arc<Metrics>,
}

impl Lifecycle {
    /// A node that starts.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let lifecycle = Self { state: AtomicU8::new(0), metrics };
        lifecycle.set(NodeState::Starting);
        lifecycle
    }

    /// The state now.
    pub fn state(&self) -> NodeState {
        let number = self.state.load(Ordering::Acquire);
        NodeState::ALL.into_iter().find(|state| *state as u8 == number).unwrap_or(NodeState::Starting)
    }

    /// The node is in `state` from now on.
    pub fn set(&self, state: NodeState) {
        self.state.store(state as u8, Ordering::Release);
        for each in NodeState::ALL {
            self.metrics.node_state.with_label_values(&[each.as_str()]).set(i64::from(each == state));
        }
    }

    /// Whether the node is on its way out.
    pub fn is_draining(&self) -> bool {
        self.state() == NodeState::Draining
    }
}
