//! The coordinator on the bus: takes placement requests and answers them from the leases that stand at that moment.

use std::sync::Arc;

use aforo_cluster::bus::{Bucket, Bus, BusError, Request};
use aforo_cluster::control::{NodeLease, PLACEMENT_SUBJECT, PlacementRequest};
use tracing::warn;

use crate::placement;

/// Serves placements until the bus closes the subject. Ends at once with an error if the subject cannot be served.
pub async fn serve(bus: Arc<dyn Bus>) -> Result<(), BusError> {
    let mut requests = bus.serve(PLACEMENT_SUBJECT).await?;
    while let Some(request) = requests.recv().await {
        answer(&*bus, request).await;
    }
    Ok(())
}

/// Answers one request. A request that cannot be read, or a bus that fails, is left without an answer: the requester's
/// deadline tells it, and it asks again.
async fn answer(bus: &dyn Bus, request: Request) {
    if let Err(error) = serde_json::from_slice::<PlacementRequest>(&request.payload) {
        warn!(%error, "placement request cannot be read");
        return;
    }
    let leases = match bus.list(Bucket::Nodes).await {
        Ok(leases) => leases,
        Err(error) => {
            warn!(%error, "leases cannot be read");
            return;
        }
    };
    let nodes: Vec<NodeLease> =
        leases.iter().filter_map(|lease| serde_json::from_slice(&lease.value).ok()).collect();
    match serde_json::to_vec(&placement::place(&nodes)) {
        // The requester may have stopped waiting; then there is nobody to tell.
        Ok(text) => drop(request.reply.send(text.into())),
        Err(error) => warn!(%error, "placement answer cannot be written"),
    }
}
