//! Point 11, bearer tokens: a server whose environment lists some for each side.

use anyhow::Result;

use crate::client::{Client, FRAGMENT, Reply, SDP};
use crate::offers;
use crate::report::Report;
use crate::server::Server;

const PUBLISH: &str = "publish-0123456789";
const PLAY: &str = "play-0123456789";
const WRONG: &str = "wrong-0123456789";

/// A request with a token, or without.
async fn with(client: &Client, method: &str, target: &str, token: Option<&str>) -> Result<Reply> {
    let value = token.map(|token| format!("Bearer {token}"));
    let (content_type, body) = match method {
        "POST" if target.starts_with("/whep") => (SDP, offers::play()),
        "POST" => (SDP, offers::publish()),
        _ => (FRAGMENT, String::new()),
    };
    let mut headers = vec![("content-type", content_type)];
    headers.extend(value.as_deref().map(|value| ("authorization", value)));
    client.send(method, target, &headers, body).await
}

/// What a request without a token, with a wrong one and with one for the other side is answered.
async fn refusals(
    report: &mut Report,
    client: &Client,
    method: &str,
    target: &str,
    other: &str,
) -> Result<()> {
    let shown = target.trim_start_matches(client.base()).get(..5).unwrap_or_default();
    let reply = with(client, method, target, None).await?;
    let challenge = reply.header("www-authenticate");
    let met = reply.status == 401 && challenge.starts_with("Bearer realm=") && !challenge.contains("error=");
    report.line(
        "11.4",
        &format!("{method} {shown} without a token is 401, WWW-Authenticate: Bearer"),
        met,
        &reply,
    );
    let reply = with(client, method, target, Some(WRONG)).await?;
    let challenge = reply.header("www-authenticate");
    let met = reply.status == 401
        && challenge.starts_with("Bearer realm=")
        && challenge.contains("error=\"invalid_token\"");
    report.line(
        "11.5",
        &format!("{method} {shown} with an unknown token is 401, invalid_token"),
        met,
        &reply,
    );
    let silent = !reply.to_string().contains(WRONG);
    report.line("11.6", "a token is not echoed", silent, &reply);
    let reply = with(client, method, target, Some(other)).await?;
    report.line(
        "11.7",
        &format!("{method} {shown} with the other side's token is 403"),
        reply.status == 403,
        &reply,
    );
    Ok(())
}

/// Names of rooms are for those who may play or publish.
async fn rooms(report: &mut Report, client: &Client) -> Result<()> {
    for target in ["/v1/rooms", "/v1/rooms/guarded"] {
        for token in [None, Some(WRONG)] {
            let reply = with(client, "GET", target, token).await?;
            let met = reply.status == 401 && reply.header("www-authenticate").starts_with("Bearer realm=");
            report.line("11.11", &format!("GET {target} without a good token is 401"), met, &reply);
        }
        for token in [PUBLISH, PLAY] {
            let reply = with(client, "GET", target, Some(token)).await?;
            report.line(
                "11.25",
                &format!("GET {target} with a token of either side is 200"),
                reply.status == 200,
                &reply,
            );
        }
    }
    Ok(())
}

/// A node for strangers: whatever its configuration leaves out is shut.
async fn strangers(report: &mut Report) -> Result<()> {
    let server = Server::start_as("node", "", &[("AFORO__AUTH__PUBLISH_TOKENS", PUBLISH)])?;
    let client = Client::new(server.base())?;
    for (method, target) in
        [("POST", "/whip/door"), ("POST", "/whep/door"), ("GET", "/v1/rooms"), ("GET", "/v1/rooms/door")]
    {
        let reply = with(&client, method, target, None).await?;
        let requirement = format!("{method} {target} of a node for strangers is 401 without a token");
        report.line("11.29", &requirement, reply.status == 401, &reply);
    }
    let publisher = with(&client, "POST", "/whip/door", Some(PUBLISH)).await?;
    report.line("11.30", "and 201 with a listed one", publisher.status == 201, &publisher);
    let viewer = with(&client, "POST", "/whep/door", Some(PUBLISH)).await?;
    report.line("11.31", "a side without a list lets nobody in", viewer.status == 403, &viewer);
    let open = Server::start_as("node", "auth:\n  required: false\n", &[])?;
    let reply = Client::new(open.base())?.post("/whip/door", &offers::publish()).await?;
    report.line("11.32", "a node that is told to be open is", reply.status == 201, &reply);
    server.check_no_panic(report)
}

/// All of them.
pub async fn run(report: &mut Report) -> Result<()> {
    let variables = [("AFORO__AUTH__PUBLISH_TOKENS", PUBLISH), ("AFORO__AUTH__PLAY_TOKENS", PLAY)];
    let server = Server::start_with("", &variables)?;
    let client = Client::new(server.base())?;
    refusals(report, &client, "POST", "/whip/guarded", PLAY).await?;
    refusals(report, &client, "POST", "/whep/guarded", PUBLISH).await?;
    let created = with(&client, "POST", "/whip/guarded", Some(PUBLISH)).await?;
    report.line("11.8", "POST /whip with a publish token is 201", created.status == 201, &created);
    let again = with(&client, "POST", "/whip/guarded", Some(PUBLISH)).await?;
    let requirement = "POST /whip of a taken stream with its publisher's own token is 201";
    report.line("11.17", requirement, again.status == 201, &again);
    with(&client, "DELETE", &again.session(), Some(PUBLISH)).await?;
    rooms(report, &client).await?;
    let waits = with(&client, "POST", "/whep/guarded", Some(PLAY)).await?;
    let requirement = "POST /whep with a play token comes to the stream, which is not live: 409";
    report.line("11.22", requirement, waits.status == 409, &waits);
    for method in ["PATCH", "DELETE"] {
        refusals(report, &client, method, &created.session(), PLAY).await?;
    }
    for target in ["/whip/guarded", "/whep/guarded", &created.session()] {
        let reply = client.ask("OPTIONS", target).await?;
        report.line("11.9", "OPTIONS needs no token", reply.is_success(), &reply);
    }
    let gone = with(&client, "DELETE", &created.session(), Some(PUBLISH)).await?;
    report.line("11.23", "DELETE with a publish token is 200", gone.status == 200, &gone);
    strangers(report).await?;
    server.check_log(report, Some(("11.10", "no token is in the log", &[PUBLISH, PLAY, WRONG])))
}
