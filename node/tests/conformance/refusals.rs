//! Points 7 and 9: offers that cannot be met, and streams that are not there.

use anyhow::Result;

use crate::client::{Client, Reply};
use crate::offers;
use crate::report::Report;

/// Offers whose sections and BUNDLE group are not as they must be, for WHIP and WHEP alike.
pub fn misshapen(offer: &str) -> Vec<(&'static str, String)> {
    let (audio, video) = (offers::audio_section(offer), offers::last_section(offer));
    let with_third = |section: &str, mid: &str| {
        let third = section.replace(&format!("a=mid:{mid}\r\n"), "a=mid:2\r\n");
        format!("{}{third}", offer.replace("BUNDLE 0 1", "BUNDLE 0 1 2"))
    };
    vec![
        ("a section without rtcp-mux", offer.replacen("a=rtcp-mux\r\n", "", 1)),
        ("a section outside of the BUNDLE", offer.replace("BUNDLE 0 1", "BUNDLE 0")),
        ("no BUNDLE", offer.replace("a=group:BUNDLE 0 1\r\n", "")),
        ("two audio sections", with_third(&audio, "0")),
        ("two video sections", with_third(&video, "1")),
    ]
}

/// Point 7.
pub async fn shapes(report: &mut Report, client: &Client) -> Result<()> {
    let offer = offers::publish();
    let streams = ("tracks of two MediaStreams", offer.replacen("a=msid:278eca26", "a=msid:00000000", 1));
    for (shown, offer) in misshapen(&offer).into_iter().chain([streams]) {
        let reply = client.post(&format!("/whip/{}", client.new_room()), &offer).await?;
        report.line("7.2", &format!("WHIP: {shown} is 422"), reply.status == 422, &reply);
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
    let reply = client.publish(&offers::h265()).await?;
    let met = reply.has_line("a=rtpmap:100 H265/90000") && !reply.body.contains("H264/");
    report.line(
        "7.9",
        "the codec that a publisher likes best is the one that is answered: H265",
        met,
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
    for path in ["/whip/a/", "/whep/a/b/", "/whip//a", "/whip", "/whep/"] {
        let reply = client.post(path, &offers::publish()).await?;
        let met = matches!(reply.status, 400 | 404);
        report.line("9.14", &format!("POST {path}, which is no endpoint, is 400 or 404"), met, &reply);
    }
    Ok(())
}

/// Point 9 at the end: one node has nowhere to send anybody to, so that every answer of all points counts.
pub fn redirects(report: &mut Report, client: &Client) {
    let (answers, seen) = client.redirects();
    let requirement = format!("none of {answers} answers is a 301, 302, 303 or 308");
    report.line("9.4", &requirement, answers > 0 && seen.is_empty(), seen.join(", "));
}
