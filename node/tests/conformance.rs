//! WHIP and WHEP, requirement by requirement: drives the built server over HTTP and prints one line for each.
//!
//! Numbers are those of thirteen points that RFC 9725 and draft-ietf-wish-whep come down to: 1 endpoint, 2 direction,
//! 3 methods and CORS, 4 end of a session, 5 PATCH, 6 candidates, 7 shape of offers, 8 DTLS roles, 9 refusals, 10 TURN,
//! 11 secrets and limits, 12 simulcast, 13 extensions of WHEP; and 0 for what any server owes. It has no harness, so that the lines are
//! always seen. That the DTLS roles of 8 also work is proved by other clients: FFmpeg wants to be the server, aiortc and browsers the
//! client (`node/tests/clients`, `client-js/e2e`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "conformance/client.rs"]
mod client;
#[path = "conformance/endpoint.rs"]
mod endpoint;
#[path = "conformance/extensions.rs"]
mod extensions;
#[path = "conformance/grants.rs"]
mod grants;
#[path = "conformance/limits.rs"]
mod limits;
#[path = "conformance/live.rs"]
mod live;
#[path = "conformance/offers.rs"]
mod offers;
#[path = "conformance/refusals.rs"]
mod refusals;
#[path = "conformance/report.rs"]
mod report;
#[path = "conformance/robustness.rs"]
mod robustness;
#[path = "conformance/server.rs"]
mod server;
#[path = "conformance/session.rs"]
mod session;
#[path = "conformance/tokens.rs"]
mod tokens;
#[path = "conformance/wire.rs"]
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use client::Client;
use live::LiveStream;
use report::Report;
use server::Server;

/// Far longer than the suite takes on a busy machine; a server that hangs fails the suite instead of holding it.
const DEADLINE: Duration = Duration::from_secs(120);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    // Test runners ask for a list of tests first.
    if std::env::args().any(|argument| argument == "--list") {
        println!("conformance: test");
        return ExitCode::SUCCESS;
    }
    let mut report = Report::default();
    match tokio::time::timeout(DEADLINE, run(&mut report)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => report.broken(&error),
        Err(_) => report.broken(&anyhow::anyhow!("the suite did not end within {DEADLINE:?}")),
    }
    report.finish()
}

async fn run(report: &mut Report) -> anyhow::Result<()> {
    let server = Server::start("")?;
    let client = Client::new(server.base())?;
    endpoint::whip(report, &client).await?;
    endpoint::methods(report, &client).await?;
    endpoint::directions(report, &client).await?;
    endpoint::roles_and_layers(report, &client).await?;
    session::end(report, &client).await?;
    session::trickle(report, &client).await?;
    session::restart(report, &client).await?;
    session::late_and_overlapping(report, &client).await?;
    refusals::shapes(report, &client).await?;
    refusals::not_live(report, &client).await?;
    robustness::names(report, &client).await?;
    robustness::bodies(report, &client).await?;
    robustness::requests(report, &client).await?;
    let stream = LiveStream::start(&client).await?;
    live::whep(report, &client, &stream).await?;
    live::patch(report, &client, &stream).await?;
    extensions::events(report, &client, &stream).await?;
    extensions::layers(report, &client, &stream).await?;
    live::end(report, &client, stream).await?;
    refusals::redirects(report, &client);
    server.check_no_panic(report)?;
    extensions::reconnect(report).await?;
    limits::run(report).await?;
    tokens::run(report).await?;
    grants::run(report).await
}
