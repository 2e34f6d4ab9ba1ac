//! Point 13: what a viewer may be told of while it watches, and which layer it asks for.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::client::{Client, Reply};
use crate::live::LiveStream;
use crate::offers;
use crate::report::Report;

const JSON: (&str, &str) = ("content-type", "application/json");
const LAYER: &str = "urn:ietf:params:whep:ext:core:layer";
const EVENTS: &str = "urn:ietf:params:whep:ext:core:server-sent-events";

/// The address of the `Link` header with this relation, and its parameters.
fn link(reply: &Reply, relation: &str) -> Option<(String, String)> {
    let values = reply.headers.get_all("link").iter().filter_map(|value| value.to_str().ok());
    let mut links = values.filter_map(|value| value.strip_prefix('<')?.split_once('>'));
    let (address, parameters) =
        links.find(|(_, parameters)| parameters.contains(&format!("rel=\"{relation}\"")))?;
    Some((address.to_owned(), parameters.to_owned()))
}

/// One event: its name and its data.
pub struct Event {
    pub name: String,
    pub data: Value,
}

/// An open event stream.
pub struct Listener {
    response: reqwest::Response,
    unread: String,
}

impl Listener {
    async fn start(address: &str) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { response: http.get(address).send().await?, unread: String::new() })
    }

    /// The next event; `None` at the end of the stream. The suite's own deadline ends this otherwise.
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let found = field("event: ").map(str::to_owned).zip(field("data: "));
                let found = found.map(|(name, data)| (name, serde_json::from_str(data)));
                self.unread = rest.to_owned();
                // What has no name is a comment.
                let Some((name, data)) = found else { continue };
                return Ok(Some(Event { name, data: data.context("the data is JSON")? }));
            }
            match self.response.chunk().await? {
                Some(chunk) => self.unread.push_str(std::str::from_utf8(&chunk)?),
                None => return Ok(None),
            }
        }
    }

    /// Reads on to the event of this name.
    async fn wait_for(&mut self, name: &str) -> Result<Value> {
        while let Some(event) = self.next().await? {
            if event.name == name {
                return Ok(event.data);
            }
        }
        anyhow::bail!("the event stream ended without {name}")
    }
}

/// Lists of events that a server must refuse.
async fn refusals(report: &mut Report, client: &Client, entry: &str) -> Result<()> {
    let reply = client.send("POST", entry, &[JSON], r#"["active","weather"]"#).await?;
    report.line("13.3", "POST of an unknown event is 400", reply.status == 400, &reply);
    for body in ["[]", "{}", "active"] {
        let reply = client.send("POST", entry, &[JSON], body).await?;
        report.line(
            "13.4",
            &format!("POST of {body}, which is no list of events, is 400"),
            reply.status == 400,
            &reply,
        );
    }
    let reply = client.send("POST", entry, &[("content-type", "text/plain")], r#"["active"]"#).await?;
    report.line("13.5", "POST of another content type is 415", reply.status == 415, &reply);
    let reply = client.ask("OPTIONS", entry).await?;
    let met = reply.is_success() && reply.lists("access-control-allow-methods", "POST");
    report.line("13.6", "OPTIONS of the extension is 2xx with CORS", met, &reply);
    Ok(())
}

/// All of the point that needs a stream which is live.
pub async fn events(report: &mut Report, client: &Client, stream: &LiveStream) -> Result<()> {
    let path = format!("/whep/{}", stream.room());
    let viewer = client.post(&path, &offers::play()).await?;
    ensure!(viewer.status == 201, "a viewer of a live stream got {viewer}");
    let (entry, parameters) = link(&viewer, EVENTS).unwrap_or_default();
    let met = entry.starts_with(client.base())
        && parameters.contains("events=\"active,inactive,layers,viewercount,reconnect\"");
    report.line("13.1", "the 201 of a viewer has a Link with the events that there are", met, &viewer);
    let met = viewer.lists("access-control-expose-headers", "link");
    report.line("13.20", "which pages of other origins may read", met, &viewer);
    refusals(report, client, &entry).await?;
    let list = r#"["active","inactive","layers","viewercount","reconnect"]"#;
    let made = client.send("POST", &entry, &[JSON], list).await?;
    let address = made.session();
    report.line(
        "13.2",
        "POST of a list of events is 201 with Location",
        made.status == 201 && address.starts_with(client.base()),
        &made,
    );
    let mut events = Listener::start(&address).await?;
    let content_type = events.response.headers().get("content-type").cloned();
    let met = content_type.is_some_and(|value| value == "text/event-stream");
    report.line("13.7", "GET of the Location is text/event-stream, without a token", met, "its content type");
    let active = events.wait_for("active").await?;
    report.line(
        "13.8",
        "active comes at once where the stream is live, with an object",
        active.is_object(),
        &active,
    );
    let count = events.wait_for("viewercount").await?;
    report.line("13.9", "viewercount has the number of viewers", count["viewercount"] == 1, &count);
    let layers = events.wait_for("layers").await?;
    let met = layers["1"].as_array().is_some_and(|layers| layers.len() == 1 && layers[0]["bitrate"].is_u64());
    report.line("13.10", "layers has those of the video by the place of its section", met, &layers);
    let second = client.post(&path, &offers::play()).await?;
    let count = events.wait_for("viewercount").await?;
    report.line("13.21", "and is told when it changes", count["viewercount"] == 2, &count);
    client.ask("DELETE", &second.session()).await?;
    let gone = client.ask("DELETE", &address).await?;
    report.line("13.11", "DELETE of an event stream is 200", gone.status == 200, &gone);
    while events.next().await?.is_some() {}
    report.line("13.22", "after which it ends", true, "");
    let again = client.ask("GET", &address).await?;
    report.line("13.23", "and is 404", again.status == 404, &again);
    let other = client.send("POST", &entry, &[JSON], list).await?.session();
    let mut events = Listener::start(&other).await?;
    events.wait_for("active").await?;
    client.ask("DELETE", &viewer.session()).await?;
    while events.next().await?.is_some() {}
    report.line("13.12", "an event stream ends with its session", true, "");
    Ok(())
}

/// Wishes for layers of a stream which is live and has one.
pub async fn layers(report: &mut Report, client: &Client, stream: &LiveStream) -> Result<()> {
    let path = format!("/whep/{}", stream.room());
    let viewer = client.post(&path, &offers::play()).await?;
    let (address, _) = link(&viewer, LAYER).unwrap_or_default();
    report.line(
        "13.15",
        "the 201 of a viewer has a Link for layers",
        address.starts_with(client.base()),
        &viewer,
    );
    for wish in
        ["{}", r#"{"mediaId":"1"}"#, r#"{"mediaId":"1","maxHeight":360}"#, r#"{"maxTemporalLayerId":0}"#]
    {
        let reply = client.send("POST", &address, &[JSON], wish).await?;
        report.line("13.16", &format!("POST of the wish {wish} is 200"), reply.status == 200, &reply);
    }
    for wish in [
        r#"{"rid":"unknown"}"#,
        r#"{"mediaId":"0"}"#,
        r#"{"mediaId":"7"}"#,
        r#"{"spatialLayerId":-1}"#,
        r#"{"maxWidth":"wide"}"#,
        "[]",
        "north",
    ] {
        let reply = client.send("POST", &address, &[JSON], wish).await?;
        report.line("13.17", &format!("POST of the wish {wish} is 400"), reply.status == 400, &reply);
    }
    let reply = client.send("POST", &address, &[("content-type", "text/plain")], "{}").await?;
    report.line("13.18", "POST of a wish of another content type is 415", reply.status == 415, &reply);
    client.ask("DELETE", &viewer.session()).await?;
    let reply = client.send("POST", &address, &[JSON], "{}").await?;
    report.line("13.19", "POST of a wish after the end of the session is 404", reply.status == 404, &reply);
    Ok(())
}

/// Listens to the events of a viewer's stream, which is live.
pub async fn listen(client: &Client, viewer: &Reply) -> Result<Listener> {
    let (entry, _) = link(viewer, EVENTS).context("a viewer is told of events")?;
    let made = client.send("POST", &entry, &[JSON], r#"["active","inactive","reconnect"]"#).await?;
    let mut events = Listener::start(&made.session()).await?;
    events.wait_for("active").await?;
    Ok(events)
}

/// The publisher has left: who listens hears it.
pub async fn off_air(report: &mut Report, events: &mut Listener) -> Result<()> {
    let inactive = events.wait_for("inactive").await?;
    report.line("13.13", "inactive comes when the publisher leaves", inactive.is_object(), &inactive);
    Ok(())
}

/// A server that is told to stop says so to who listens, and where to go.
pub async fn reconnect(report: &mut Report) -> Result<()> {
    let server = crate::server::Server::start("")?;
    let client = Client::new(server.base())?;
    let stream = LiveStream::start(&client).await?;
    let viewer = client.post(&format!("/whep/{}", stream.room()), &offers::play()).await?;
    let mut events = listen(&client, &viewer).await?;
    server.terminate()?;
    let reconnect = events.wait_for("reconnect").await?;
    let endpoint = format!("{}/whep/{}/main", client.base(), stream.room());
    report.line(
        "13.14",
        "reconnect comes when the node drains, with an address",
        reconnect["url"] == endpoint,
        &reconnect,
    );
    for (protocol, offer) in [("whip", offers::publish()), ("whep", offers::play())] {
        let late = client.post(&format!("/{protocol}/{}", stream.room()), &offer).await?;
        let seconds = late.header("retry-after").parse::<u32>();
        let met = late.status == 503 && seconds.is_ok_and(|seconds| seconds > 0);
        let requirement = format!("POST /{protocol} of a node that drains is 503 with Retry-After");
        report.line("9.15", &requirement, met, &late);
    }
    let left = client.ask("DELETE", &viewer.session()).await?;
    report.line("4.13", "DELETE at a node that drains is 200", left.status == 200, &left);
    Ok(())
}
