//! What every bus promises, as one suite that each implementation's tests run.
//!
//! It lives beside the trait, not in a test folder, because implementations in other crates run it too. A broken promise
//! panics with its name: that is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Bucket, Bus, BusError};

const DEADLINE: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(3);

/// Runs every check on a bus that has nothing on it yet. `pass` lets time pass by the clock that the bus counts leases
/// with: a virtual one wherever the bus is in this process.
pub async fn check(bus: Arc<dyn Bus>, pass: impl AsyncFn(Duration)) {
    requests_are_answered(&*bus).await;
    silence_is_an_error(&*bus).await;
    only_one_creates_a_key(&*bus).await;
    only_the_last_revision_changes_a_key(&*bus).await;
    a_lease_ends_unless_renewed(&*bus, pass).await;
}

async fn requests_are_answered(bus: &dyn Bus) {
    let mut requests = bus.serve("conformance.echo").await.expect("a subject can be served");
    let server = async {
        let request = requests.recv().await.expect("the request arrives");
        request.reply.send(request.payload).expect("the requester waits");
    };
    let (answer, ()) = tokio::join!(bus.request("conformance.echo", "ping".into(), DEADLINE), server);
    assert_eq!(answer.expect("an answer"), Bytes::from("ping"));
}

async fn silence_is_an_error(bus: &dyn Bus) {
    let nobody = bus.request("conformance.nobody", Bytes::new(), DEADLINE).await;
    assert_eq!(nobody, Err(BusError::NoResponder("conformance.nobody".into())));

    let _kept_waiting = bus.serve("conformance.silent").await.expect("a subject can be served");
    let silent = bus.request("conformance.silent", Bytes::new(), DEADLINE).await;
    assert_eq!(silent, Err(BusError::Timeout { subject: "conformance.silent".into(), deadline: DEADLINE }));
}

async fn only_one_creates_a_key(bus: &dyn Bus) {
    let key = Bucket::Rooms.key("conformance-create");
    let revision = bus.create(key, "first".into(), None).await.expect("the first creates");
    let second = bus.create(key, "second".into(), None).await;
    assert_eq!(second, Err(BusError::Conflict { key: key.name.into() }));
    let entry = bus.get(key).await.expect("the bus answers").expect("the key is there");
    assert_eq!((entry.value, entry.revision), (Bytes::from("first"), revision));
    assert_eq!(bus.get(Bucket::Nodes.key(key.name)).await, Ok(None), "buckets are apart");
}

async fn only_the_last_revision_changes_a_key(bus: &dyn Bus) {
    let key = Bucket::Rooms.key("conformance-update");
    let conflict = Err(BusError::Conflict { key: key.name.into() });
    let first = bus.create(key, "1".into(), None).await.expect("created");
    let second = bus.update(key, first, "2".into(), None).await.expect("updated");
    assert!(second > first, "revisions grow");
    assert_eq!(bus.update(key, first, "3".into(), None).await, conflict);
    assert_eq!(bus.delete(key, first).await, conflict.map(|_: u64| ()));
    bus.delete(key, second).await.expect("deleted");
    let left = bus.list(Bucket::Rooms).await.expect("the bus answers");
    assert!(left.iter().all(|entry| entry.key != key.name), "a deleted key is not listed");
}

async fn a_lease_ends_unless_renewed(bus: &dyn Bus, pass: impl AsyncFn(Duration)) {
    let key = Bucket::Nodes.key("conformance-lease");
    let created = bus.create(key, "1".into(), Some(LEASE)).await.expect("created");
    pass(LEASE / 2).await;
    bus.update(key, created, "2".into(), Some(LEASE)).await.expect("renewed");
    pass(LEASE * 3 / 4).await;
    let kept = bus.get(key).await.expect("the bus answers");
    assert_eq!(kept.map(|entry| entry.value), Some(Bytes::from("2")), "a renewed lease lives on");
    pass(LEASE).await;
    assert_eq!(bus.get(key).await, Ok(None), "a lease that nobody renews ends");
}
