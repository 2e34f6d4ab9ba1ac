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

/// Runs every check on a bus that has nothing on it yet.
pub async fn check(bus: Arc<dyn Bus>) {
    requests_are_answered(&*bus).await;
    silence_is_an_error(&*bus).await;
    only_one_creates_a_key(&*bus).await;
    only_the_last_revision_changes_a_key(&*bus).await;
    a_lease_ends_unless_renewed(&*bus).await;
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
    let key = "conformance-create";
    let revision = bus.create(Bucket::Rooms, key, "first".into(), None).await.expect("the first creates");
    let second = bus.create(Bucket::Rooms, key, "second".into(), None).await;
    assert_eq!(second, Err(BusError::Conflict { key: key.into() }));
    let entry = bus.get(Bucket::Rooms, key).await.expect("the bus answers").expect("the key is there");
    assert_eq!((entry.value, entry.revision), (Bytes::from("first"), revision));
    assert_eq!(bus.get(Bucket::Nodes, key).await, Ok(None), "buckets are apart");
}

async fn only_the_last_revision_changes_a_key(bus: &dyn Bus) {
    let key = "conformance-update";
    let conflict = Err(BusError::Conflict { key: key.into() });
    let first = bus.create(Bucket::Rooms, key, "1".into(), None).await.expect("created");
    let second = bus.update(Bucket::Rooms, key, "2".into(), first, None).await.expect("updated");
    assert!(second > first, "revisions grow");
    assert_eq!(bus.update(Bucket::Rooms, key, "3".into(), first, None).await, conflict);
    assert_eq!(bus.delete(Bucket::Rooms, key, first).await, conflict.map(|_: u64| ()));
    bus.delete(Bucket::Rooms, key, second).await.expect("deleted");
    let left = bus.list(Bucket::Rooms).await.expect("the bus answers");
    assert!(left.iter().all(|entry| entry.key != key), "a deleted key is not listed");
}

async fn a_lease_ends_unless_renewed(bus: &dyn Bus) {
    let key = "conformance-lease";
    let created = bus.create(Bucket::Nodes, key, "1".into(), Some(LEASE)).await.expect("created");
    tokio::time::sleep(LEASE / 2).await;
    bus.update(Bucket::Nodes, key, "2".into(), created, Some(LEASE)).await.expect("renewed");
    tokio::time::sleep(LEASE * 3 / 4).await;
    let kept = bus.get(Bucket::Nodes, key).await.expect("the bus answers");
    assert_eq!(kept.map(|entry| entry.value), Some(Bytes::from("2")), "a renewed lease lives on");
    tokio::time::sleep(LEASE).await;
    assert_eq!(bus.get(Bucket::Nodes, key).await, Ok(None), "a lease that nobody renews ends");
}
