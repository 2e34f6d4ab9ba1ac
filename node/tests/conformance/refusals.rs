//! Points 7 and 9: offers that cannot be met, and streams that are not there.

use anyhow::Result;

use crate::client::{Client, Reply};
use crate::offers;
use crate::report::Report;

/// Point 7.
pub async fn shapes(report: &mut Report, client: &Client) -> Result<()> {
    let offer = offers::publish();
    let video = offers::last_section(&offer);
    let second_video =
        format!("{}{}", offer.replace("BUNDLE 0 1", "BUNDLE 0 1 2"), video.replace("a=mid:1", "a=mid:2"));
    for (shown, offer) in [
        ("a section without rtcp-mux", offer.replacen("a=rtcp-mux\r\n", "", 1)),
        ("a section outside of the BUNDLE", offer.replace("BUNDLE 0 1", "BUNDLE 0")),
        ("no BUNDLE", offer.replace("a=group:BUNDLE 0 1\r\n", "")),
        ("two video sections", second_video),
        ("tracks of two MediaStreams", offer.replacen("a=msid:278eca26", "a=msid:00000000", 1)),
    ] {
        let reply = client.post(&format!("/whip/{}", client.new_room()), &offer).await?;
        report.line("7.2", &format!("{shown} is 422"), reply.status == 422, &reply);
    }
    let path = format!("/whip/{}", client.new_room());
    let half = offers::passive().replace("opus/48000/2", "PCMU/8000");
    let reply = client.post(&path, &half).await?;
    let named = reply.status == 406 && reply.body.contains("opus") && reply.body.contains("PCMU");
    report.line(
        "7.3",
        "one codec of two that is unknown is 406 for all, and names both sides",
        named,
        &reply,
    );
    let reply = client.post(&path, &offers::passive()).await?;
    report.line(
        "7.4",
        "a refused offer leaves nothing behind: the stream is free",
        reply.status == 201,
        &reply,
    );
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=sctp-port:5000\r\n";
    let reply = client.publish(&format!("{}{data}", offer.replace("BUNDLE 0 1", "BUNDLE 0 1 2"))).await?;
    let met = reply.has_line("m=application 0 UDP/DTLS/SCTP webrtc-datachannel")
        && reply.has_line("a=group:BUNDLE 0 1");
    report.line("7.5", "a data channel is rejected inside of a complete answer", met, &reply);
    Ok(())
}

fn same(one: &Reply, other: &Reply) -> bool {
    let names = |reply: &Reply| {
        let mut names: Vec<String> = reply.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    one.status == other.status && one.body == other.body && names(one) == names(other)
}

/// Point 9, as far as one node goes.
pub async fn not_live(report: &mut Report, client: &Client) -> Result<()> {
    let room = client.new_room();
    client.post(&format!("/whip/{room}"), &offers::publish()).await?;
    let unpublished = client.post(&format!("/whep/{room}"), &offers::play()).await?;
    let seconds: Option<u32> = unpublished.header("retry-after").parse().ok();
    let met = unpublished.status == 409 && seconds.is_some_and(|seconds| seconds > 0);
    report.line("9.1", "WHEP: a stream whose media has not come is 409 with Retry-After", met, &unpublished);
    let other = client.post(&format!("/whep/{room}/other"), &offers::play()).await?;
    report.line(
        "9.2",
        "WHEP: an unknown stream of a room is the same 409",
        same(&other, &unpublished),
        &other,
    );
    let unknown = client.post("/whep/nobody-ever-came-here", &offers::play()).await?;
    report.line("9.3", "WHEP: an unknown room is the same 409", same(&unknown, &unpublished), &unknown);
    let mut redirects = Vec::new();
    for path in ["/whip/a/", "/whep/a/b/", "/whip//a", "/whip", "/whep/"] {
        let reply = client.post(path, &offers::publish()).await?;
        if matches!(reply.status, 301 | 302 | 303 | 308) || reply.status >= 500 {
            redirects.push(format!("{path}: {}", reply.status));
        }
    }
    report.line(
        "9.4",
        "nothing is redirected by 301, 302, 303 or 308",
        redirects.is_empty(),
        redirects.join(", "),
    );
    Ok(())
}
