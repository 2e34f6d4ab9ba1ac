//! Points 1, 2 and 4 for WHEP: they need a stream, which a publisher of another implementation sends.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use aforo_loadtest::clip::ClipCodec;
use aforo_loadtest::publisher::schedule::StreamShape;
use aforo_loadtest::publisher::{PublishTarget, Publisher, PublisherCounters};
use aforo_loadtest::signalling::Signaller;
use anyhow::{Context, Result};
use serde_json::Value;

use crate::client::Client;
use crate::endpoint;
use crate::extensions;
use crate::offers;
use crate::refusals;
use crate::report::Report;
use crate::wire::Wire;

/// A stream of H264 and Opus that is live.
pub struct LiveStream {
    publisher: Publisher,
    room: String,
}

impl LiveStream {
    /// Where it is.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// Publishes, and waits until the stream can be watched.
    pub async fn start(client: &Client) -> Result<Self> {
        let room = client.new_room();
        let target = PublishTarget {
            endpoint: format!("{}/whip/{room}", client.base()),
            local_ip: Ipv4Addr::LOCALHOST.into(),
            signaller: Signaller::new()?,
        };
        let shape = StreamShape {
            codec: ClipCodec::H264,
            bitrate_bps: 300_000,
            frames_per_second: 30,
            keyframe_interval: Duration::from_secs(1),
            silent: false,
            simulcast: false,
            deaf: false,
        };
        let publisher = Publisher::start(target, shape, Arc::new(PublisherCounters::default())).await?;
        wait(client, &room, |room| room["live"] == true).await?;
        Ok(Self { publisher, room })
    }
}

/// Asks for the room until it is as wanted; the suite's deadline ends it otherwise.
async fn wait(client: &Client, room: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    loop {
        let reply = client.ask("GET", &format!("/v1/rooms/{room}")).await?;
        let found = serde_json::from_str(&reply.body).unwrap_or(Value::Null);
        if wanted(&found) {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

/// What a viewer of a live stream gets.
pub async fn whep(report: &mut Report, client: &Client, stream: &LiveStream) -> Result<()> {
    let path = format!("/whep/{}", stream.room);
    let offer = offers::play();
    let reply = client.post(&path, &offer).await?;
    endpoint::created(report, "1", "WHEP", client, &reply);
    let sent = reply.body.lines().filter(|line| *line == "a=sendonly").count();
    report.line("2.4", "WHEP: every section of the answer is sendonly", sent == 2, &reply);
    let rtx = reply.count("a=ssrc-group:FID ") == 1 && reply.count("a=msid:") == 2;
    report.line("2.5", "WHEP: the answer names its tracks, SSRCs and retransmissions", rtx, &reply);
    for direction in ["sendonly", "inactive"] {
        let offer = offers::play().replace("a=recvonly", &format!("a={direction}"));
        let refused = client.post(&path, &offer).await?;
        report.line(
            "2.6",
            &format!("WHEP: an offer that is {direction} is 400 and says so"),
            refused.status == 400 && refused.body.contains(direction),
            &refused,
        );
    }
    let mdns = client.post(&path, &offers::play_mdns()).await?;
    report.line("2.7", "WHEP: an offer with mDNS candidates alone is 201", mdns.status == 201, &mdns);
    let codecs = client.post(&path, &offers::play_without_h264()).await?;
    let named = codecs.status == 406 && codecs.body.contains("H264");
    report.line("7.6", "WHEP: a viewer without the stream's codec gets 406 that names it", named, &codecs);
    for (shown, offer) in refusals::misshapen(&offers::play()) {
        let refused = client.post(&path, &offer).await?;
        report.line("7.8", &format!("WHEP: {shown} is 422"), refused.status == 422, &refused);
    }
    let audio_only =
        client.post(&path, &offers::first_section(&offers::play()).replace("BUNDLE 0 1", "BUNDLE 0")).await?;
    let met = audio_only.status == 201 && audio_only.count("m=") == 1;
    report.line("7.7", "WHEP: what the viewer does not offer is not sent", met, &audio_only);
    let wire = Wire::connect(&offer, &reply).await?;
    for session in [reply.session(), mdns.session(), audio_only.session()] {
        let gone = client.ask("DELETE", &session).await?;
        report.line("4.7", "WHEP: DELETE is 200", gone.status == 200, &gone);
    }
    wire.ended().await;
    report.line("4.12", "WHEP: DELETE ends the media's connection too", true, "");
    let again = client.ask("DELETE", &reply.session()).await?;
    report.line("4.8", "WHEP: a second DELETE is 404", again.status == 404, &again);
    let room = client.ask("GET", &format!("/v1/rooms/{}", stream.room)).await?;
    let viewers = serde_json::from_str::<Value>(&room.body).context("the room is JSON")?["viewers"] == 0;
    report.line("4.9", "WHEP: after DELETE the viewers are gone from the API", viewers, &room);
    Ok(())
}

/// Point 5 for a viewer: the same rules as for a publisher.
pub async fn patch(report: &mut Report, client: &Client, stream: &LiveStream) -> Result<()> {
    let offer = offers::play();
    let viewer = client.post(&format!("/whep/{}", stream.room), &offer).await?;
    let (session, tag) = (viewer.session(), viewer.tag());
    let lines = ["a=candidate:1 1 udp 2130706431 192.0.2.9 5000 typ host"];
    let fragment = offers::fragment(offers::credentials(&offer), &lines);
    let reply = client.patch(&session, None, &fragment).await?;
    report.line("5.22", "WHEP: PATCH without If-Match is 428", reply.status == 428, &reply);
    let reply = client.patch(&session, Some(&tag), &fragment).await?;
    report.line("5.23", "WHEP: a candidate is 204", reply.status == 204, &reply);
    let restart = offers::fragment(("viewersNewUfrag", "viewersNewPasswordOf24Char"), &[]);
    let reply = client.patch(&session, Some("*"), &restart).await?;
    let met = reply.status == 200 && !reply.tag().is_empty() && reply.tag() != tag;
    report.line("5.24", "WHEP: a restart is 200 with a new ETag", met, &reply);
    let reply = client.patch(&session, Some(&tag), &fragment).await?;
    report.line("5.25", "WHEP: the ETag of before the restart is 412", reply.status == 412, &reply);
    client.ask("DELETE", &session).await?;
    Ok(())
}

/// What becomes of viewers when the publisher ends its session: who is there waits for its return, nobody else comes in.
pub async fn end(report: &mut Report, client: &Client, stream: LiveStream) -> Result<()> {
    let path = format!("/whep/{}", stream.room);
    let viewer = client.post(&path, &offers::play()).await?;
    anyhow::ensure!(viewer.status == 201, "a viewer of a live stream got {viewer}");
    let mut events = extensions::listen(client, &viewer).await?;
    stream.publisher.stop().await;
    extensions::off_air(report, &mut events).await?;
    wait(client, &stream.room, |room| room["live"] == false).await?;
    let room = client.ask("GET", &format!("/v1/rooms/{}", stream.room)).await?;
    let report_of_room: Value = serde_json::from_str(&room.body).context("the room is JSON")?;
    let met = report_of_room["streams"][0]["paused"] == true && report_of_room["viewers"] == 1;
    report.line("9.6", "WHEP: viewers of a stream whose publisher left are kept", met, &room);
    let reply = client.post(&path, &offers::play()).await?;
    let met = reply.status == 409 && !reply.header("retry-after").is_empty();
    report.line("9.5", "WHEP: a stream without a publisher is 409 with Retry-After", met, &reply);
    let again = client.post(&format!("/whip/{}", stream.room), &offers::publish()).await?;
    report.line("9.7", "WHIP: whoever may publish can go on with it: 201", again.status == 201, &again);
    let second = client.post(&format!("/whip/{}", stream.room), &offers::publish()).await?;
    report.line("9.8", "WHIP: a second one without a token is 409", second.status == 409, &second);
    for session in [again.session(), viewer.session()] {
        let gone = client.ask("DELETE", &session).await?;
        report.line("4.10", "DELETE of who waits for a stream is 200", gone.status == 200, &gone);
    }
    Ok(())
}
