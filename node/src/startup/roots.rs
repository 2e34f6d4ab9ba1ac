//! Tasks that the node cannot do without: each says when it has died, and what can be rebuilt is.

use std::io;
use std::sync::Arc;

use actix_rt::ArbiterHandle;
use aforo_cluster::bus::Bus;
use aforo_cluster::metric::Metrics;
use tracing::error;

use crate::actor::supervise::{Lifeline, Root, keep_alive_on, lifeline};
use crate::token::KeyRing;

/// The coordinator beside the node. It has no state of its own, so it is rebuilt whenever it ends.
pub(super) fn coordinator(bus: Arc<dyn Bus>, metrics: &Arc<Metrics>, control: &ArbiterHandle) -> Root {
    let build = move |line: Lifeline| {
        let bus = Arc::clone(&bus);
        actix_rt::spawn(async move {
            // In one process nobody else serves: an end without an error is as bad.
            let ended = aforo_coordinator::service::serve(bus).await;
            error!(?ended, "the coordinator does not serve any more");
            drop(line);
        });
    };
    let watch = keep_alive_on(control, "coordinator", Arc::clone(metrics), build);
    Root { name: "the coordinator".to_owned(), actor: "coordinator", watch }
}

/// Runs an HTTP server until it is stopped.
pub(super) fn serve(name: &str, server: impl Future<Output = io::Result<()>> + 'static) -> Root {
    let (line, watch) = lifeline();
    actix_rt::spawn(async move {
        match server.await {
            Ok(()) => line.finish(),
            Err(error) => error!(%error, "an HTTP server ended"),
        }
    });
    Root { name: name.to_owned(), actor: "listener", watch }
}

/// What fetches the keys of `auth.jwks_url`, if that is configured: without it they would never change again.
pub(super) fn key_server(keys: &KeyRing, control: &ArbiterHandle, metrics: &Arc<Metrics>) -> Option<Root> {
    let server = keys.server()?.clone();
    let run = move || server.clone().run();
    Some(keep_running("the fetcher of keys", "key_server", control, metrics, run))
}

/// A task that keeps nothing which matters is rebuilt when it dies. It has finished when `run` has.
pub(super) fn keep_running<F>(
    name: &str,
    actor: &'static str,
    control: &ArbiterHandle,
    metrics: &Arc<Metrics>,
    run: impl Fn() -> F + Send + 'static,
) -> Root
where
    F: Future<Output = ()> + 'static,
{
    let watch = keep_alive_on(control, actor, Arc::clone(metrics), move |line| {
        let running = run();
        actix_rt::spawn(async move {
            running.await;
            line.finish();
        });
    });
    Root { name: name.to_owned(), actor, watch }
}
