//! Points 9, 10 and 11, which need servers with limits and with TURN.

use std::collections::HashSet;

use anyhow::Result;

use crate::client::{Client, Reply};
use crate::live::LiveStream;
use crate::offers;
use crate::report::Report;
use crate::server::Server;

const FULL: &str = "\
limits:
  sessions: 1
";

const ONE_ROOM: &str = "\
limits:
  rooms: 1
";

const TURN: &str = "\
turn:
  urls: [\"stun:relay.example:3478\", \"turn:relay.example:3478?transport=udp\", \"turns:relay.example:443?transport=tcp\"]
  secret: north
  ttl_seconds: 600
";

/// As configured there.
const CREDENTIAL_SECONDS: u64 = 600;

const SLOW: &str = "\
limits:
  requests_per_second: 1
  request_burst: 3
  loopback_exempt: false
";

/// Less than a publisher's feedback takes.
const NARROW: &str = "\
limits:
  bits_per_second: 100
";

/// More than the headers of a request may have.
const LONG_HEADER_BYTES: usize = 20_000;

/// Bytes of a session's name in URL-safe base64 that hold 128 random bits.
const UNGUESSABLE_CHARACTERS: usize = 22;

/// All of them.
pub async fn run(report: &mut Report) -> Result<()> {
    overload(report).await?;
    rooms(report).await?;
    turn(report).await?;
    rate(report).await?;
    output(report).await?;
    secrets(report).await
}

async fn overload(report: &mut Report) -> Result<()> {
    let server = Server::start(FULL)?;
    let client = Client::new(server.base())?;
    let reply = client.publish(&offers::publish()).await?;
    let full = client.post("/whip/one-too-many", &offers::publish()).await?;
    let met =
        full.status == 503 && full.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0);
    report.line("9.10", "a node that is full is 503 with Retry-After", met, &full);
    client.ask("DELETE", &reply.session()).await?;
    let free = client.post("/whip/one-too-many", &offers::publish()).await?;
    report.line("9.11", "a session that ended makes room for another", free.status == 201, &free);
    Ok(())
}

/// A room is forgotten just after its last session was answered for, so this asks for it until it is.
async fn rooms(report: &mut Report) -> Result<()> {
    let server = Server::start(ONE_ROOM)?;
    let client = Client::new(server.base())?;
    let first = client.publish(&offers::publish()).await?;
    let second = client.post("/whip/one-too-many", &offers::publish()).await?;
    let met =
        second.status == 503 && second.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0);
    report.line("9.16", "a room more than there may be is 503 with Retry-After", met, &second);
    client.ask("DELETE", &first.session()).await?;
    let free = loop {
        let reply = client.post("/whip/one-too-many", &offers::publish()).await?;
        if reply.status != 503 {
            break reply;
        }
    };
    report.line("9.17", "a room that ended makes room for another", free.status == 201, &free);
    server.check_no_panic(report)
}

async fn turn(report: &mut Report) -> Result<()> {
    let server = Server::start(TURN)?;
    let client = Client::new(server.base())?;
    let asked = unix_seconds()?;
    let reply = client.publish(&offers::publish()).await?;
    ice_servers(report, ["10.1", "10.2", "10.3", "10.4"], asked, &reply)?;
    let preflight = client.ask("OPTIONS", "/whip/some").await?;
    let silent = !preflight.headers.contains_key("link");
    report.line("10.5", "a preflight has no Link", silent, &preflight);
    let stream = LiveStream::start(&client).await?;
    let asked = unix_seconds()?;
    let reply = client.post(&format!("/whep/{}", stream.room()), &offers::play()).await?;
    let created = reply.status == 201;
    report.line("10.6", "a viewer comes in where relays are configured, too", created, &reply);
    ice_servers(report, ["10.7", "10.8", "10.9", "10.10"], asked, &reply)
}

/// What a 201 says of relays: WHIP's (RFC 9725 §4.6) and WHEP's alike.
fn ice_servers(report: &mut Report, ids: [&str; 4], asked: u64, reply: &Reply) -> Result<()> {
    let now = unix_seconds()?;
    let links: Vec<&str> =
        reply.headers.get_all("link").iter().filter_map(|value| value.to_str().ok()).collect();
    let links: Vec<&str> = links.into_iter().filter(|link| link.contains("rel=\"ice-server\"")).collect();
    let told = format!("{links:?}");
    let [each, credentials, bare, limited] = ids;
    report.line(each, "one Link of rel=\"ice-server\" for each server", links.len() == 3, &told);
    let complete = links.iter().filter(|link| link.starts_with("<turn")).all(|link| {
        ["username=\"", "credential=\"", "credential-type=\"password\""]
            .iter()
            .all(|part| link.contains(part))
    });
    report.line(credentials, "TURN servers come with username, credential and their type", complete, &told);
    let without =
        links.iter().filter(|link| link.starts_with("<stun")).all(|link| !link.contains("credential"));
    report.line(bare, "STUN servers come without", without, &told);
    let ends = links
        .iter()
        .filter_map(|link| link.split("username=\"").nth(1)?.split([':', '"']).next()?.parse::<u64>().ok());
    let due = asked + CREDENTIAL_SECONDS..=now + CREDENTIAL_SECONDS + 1;
    let in_time = ends.clone().count() == 2 && ends.into_iter().all(|end| due.contains(&end));
    let met = "the username says when credentials end, which is when it is configured";
    report.line(limited, met, in_time, format!("{told}, {due:?}"));
    Ok(())
}

fn unix_seconds() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

async fn rate(report: &mut Report) -> Result<()> {
    let server = Server::start(SLOW)?;
    let client = Client::new(server.base())?;
    let session = client.publish(&offers::publish()).await?.session();
    while client.ask("POST", "/whip/a").await?.status != 429 {}
    let gone = client.ask("DELETE", &session).await?;
    report.line("11.37", "a session is ended however many requests there were", gone.status == 200, &gone);
    for method in ["POST", "PATCH", "DELETE"] {
        let server = Server::start(SLOW)?;
        let client = Client::new(server.base())?;
        let target =
            if method == "POST" { "/whip/a" } else { "/whip/a/main/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" };
        let mut last = client.ask(method, target).await?;
        for _ in 0..20 {
            if last.status == 429 {
                break;
            }
            last = client.ask(method, target).await?;
        }
        let met =
            last.status == 429 && last.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0);
        report.line(
            "11.1",
            &format!("too many {method} of one address are 429 with Retry-After"),
            met,
            &last,
        );
        let read = client.ask("GET", "/whip/a").await?;
        report.line("11.2", "GET is not counted", read.is_success(), &read);
    }
    Ok(())
}

/// A node that sends as much as it may. What it sends is measured, so this waits until it is.
async fn output(report: &mut Report) -> Result<()> {
    let server = Server::start(NARROW)?;
    let client = Client::new(server.base())?;
    let stream = LiveStream::start(&client).await?;
    let play = format!("/whep/{}", stream.room());
    // The suite's own deadline ends this if everybody is let in for ever.
    let refused = loop {
        let reply = client.post(&play, &offers::play()).await?;
        if reply.status != 201 {
            break reply;
        }
        client.ask("DELETE", &reply.session()).await?;
    };
    let met = |reply: &Reply| {
        reply.status == 503 && reply.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0)
    };
    let requirement = "a viewer of a node that sends all it may is 503 with Retry-After";
    report.line("9.12", requirement, met(&refused), &refused);
    let publisher = client.post("/whip/another", &offers::publish()).await?;
    report.line("9.13", "and so is a publisher", met(&publisher), &publisher);
    let long = "a".repeat(LONG_HEADER_BYTES);
    let reply = client.send("GET", "/", &[("x-long", &long)], "").await?;
    report.line("9.9", "a request with longer headers than it may have is 431", reply.status == 431, &reply);
    server.check_no_panic(report)
}

async fn secrets(report: &mut Report) -> Result<()> {
    let server = Server::start("")?;
    let client = Client::new(server.base())?;
    let mut names = HashSet::new();
    let mut short = Vec::new();
    for _ in 0..32 {
        let session = client.publish(&offers::passive()).await?.session();
        let name = session.rsplit('/').next().unwrap_or_default().to_owned();
        let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if name.len() < UNGUESSABLE_CHARACTERS || !good {
            short.push(name.clone());
        }
        names.insert(name);
    }
    let starts: HashSet<&str> = names.iter().map(|name| &name[..4]).collect();
    let met = names.len() == 32 && starts.len() == 32 && short.is_empty();
    report.line("11.3", "session addresses have 128 random bits or more", met, format!("{names:?}"));
    server.check_no_panic(report)
}
