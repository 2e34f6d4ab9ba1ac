//! Where a session goes: a pure function of what the nodes say of themselves.

use aforo_cluster::control::{NodeLease, NodeState, PlacementAnswer, PlacementRefusal};

/// Load at which a node takes nothing new: what is left serves the sessions it has when their streams get busier.
const FULL_LOAD_RATIO: f64 = 0.95;

/// The ready node with the least load; of equals the first by name, so that every coordinator answers alike.
pub fn place(nodes: &[NodeLease]) -> PlacementAnswer {
    let ready = nodes.iter().filter(|lease| lease.state == NodeState::Ready);
    let candidates = ready.clone().filter(|lease| lease.load_ratio < FULL_LOAD_RATIO);
    let best =
        candidates.min_by(|a, b| a.load_ratio.total_cmp(&b.load_ratio).then_with(|| a.node.cmp(&b.node)));
    match best {
        Some(lease) => PlacementAnswer::Node(lease.node.clone()),
        None if nodes.is_empty() => PlacementAnswer::Refused(PlacementRefusal::NoNode),
        None if ready.count() == 0 => PlacementAnswer::Refused(PlacementRefusal::Draining),
        None => PlacementAnswer::Refused(PlacementRefusal::Full),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn lease(node: &str, state: NodeState, load_ratio: f64) -> NodeLease {
        NodeLease { node: node.parse().unwrap(), state, load_ratio }
    }

    fn refused(reason: PlacementRefusal) -> PlacementAnswer {
        PlacementAnswer::Refused(reason)
    }

    #[test]
    fn the_least_loaded_ready_node_takes_it() {
        let nodes = [
            lease("a", NodeState::Ready, 0.5),
            lease("b", NodeState::Draining, 0.0),
            lease("d", NodeState::Ready, 0.2),
            lease("c", NodeState::Ready, 0.2),
        ];
        assert_eq!(place(&nodes), PlacementAnswer::Node("c".parse().unwrap()));
    }

    #[test]
    fn a_refusal_says_why() {
        assert_eq!(place(&[]), refused(PlacementRefusal::NoNode));
        assert_eq!(place(&[lease("a", NodeState::Draining, 0.0)]), refused(PlacementRefusal::Draining));
        assert_eq!(place(&[lease("a", NodeState::Ready, 1.0)]), refused(PlacementRefusal::Full));
    }
}
