//! Points 4 and 5: the session resource.

use anyhow::Result;
use futures_util::future::join_all;

use crate::client::{Client, FRAGMENT, Reply};
use crate::offers;
use crate::report::Report;
use crate::wire::Wire;

/// Credentials of a client that restarts ICE.
const NEW: (&str, &str) = ("newUfrag", "newPasswordOf24Characters");

/// Point 4.
pub async fn end(report: &mut Report, client: &Client) -> Result<()> {
    let room = client.new_room();
    let path = format!("/whip/{room}");
    let offer = offers::publish();
    let created = client.post(&path, &offer).await?;
    let session = created.session();
    let wire = Wire::connect(&offer, &created).await?;
    let taken = client.post(&path, &offers::publish()).await?;
    report.line("4.1", "a stream has one publisher: a second is 409", taken.status == 409, &taken);
    let reply = client.send("DELETE", &session, &[("if-match", "\"stale\"")], "").await?;
    report.line("4.2", "DELETE is 200, whatever the entity tag", reply.status == 200, &reply);
    wire.ended().await;
    report.line("4.11", "WHIP: DELETE ends the media's connection too", true, "");
    let reply = client.ask("DELETE", &session).await?;
    report.line("4.3", "a second DELETE is 404", reply.status == 404, &reply);
    let fragment = offers::fragment(NEW, &["a=end-of-candidates"]);
    let reply = client.patch(&session, Some("*"), &fragment).await?;
    report.line("4.4", "PATCH of an ended session is 404", reply.status == 404, &reply);
    let again = client.post(&path, &offers::publish()).await?;
    report.line("4.5", "the stream is free again at once", again.status == 201, &again);
    let unknown = format!("{}{}", &session[..session.len() - 8], "AAAAAAAA");
    let reply = client.ask("DELETE", &unknown).await?;
    report.line("4.6", "a session that never was is 404", reply.status == 404, &reply);
    Ok(())
}

fn is_strong(tag: &str) -> bool {
    tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"') && !tag[1..tag.len() - 1].contains('"')
}

/// Point 5: entity tags and candidates.
pub async fn trickle(report: &mut Report, client: &Client) -> Result<()> {
    let offer = offers::publish();
    let created = client.publish(&offer).await?;
    let (session, tag) = (created.session(), created.tag());
    report.line("5.1", "the 201 has a strong, quoted ETag", is_strong(&tag), &created);
    let other = client.publish(&offer).await?.tag();
    report.line("5.2", "entity tags are unique to their session", other != tag, &other);
    let fragment = offers::fragment(
        offers::credentials(&offer),
        &["a=candidate:1 1 udp 2130706431 192.0.2.9 5000 typ host"],
    );
    let reply = client.patch(&session, None, &fragment).await?;
    report.line("5.3", "PATCH without If-Match is 428", reply.status == 428, &reply);
    let reply = client.patch(&session, Some(&other), &fragment).await?;
    report.line("5.4", "PATCH with another's entity tag is 412", reply.status == 412, &reply);
    let weak = client.patch(&session, Some(&format!("W/{tag}")), &fragment).await?;
    report.line("5.5", "PATCH with a weak entity tag is 412", weak.status == 412, &weak);
    let headers = [("content-type", "application/sdp"), ("if-match", tag.as_str())];
    let reply = client.send("PATCH", &session, &headers, fragment.clone()).await?;
    report.line("5.6", "PATCH with a wrong content type is 415", reply.status == 415, &reply);
    for (shown, body) in malformed(&offer) {
        let reply = client.patch(&session, Some(&tag), &body).await?;
        report.line("5.7", &format!("PATCH with {shown} is 400"), reply.status == 400, &reply);
    }
    let reply = client.patch(&session, Some(&tag), &fragment).await?;
    trickled(report, "5.8", "a candidate is 204 without body and ETag", &reply);
    let strange = [
        "a=candidate:2 1 sctp 1 192.0.2.9 5000 typ host",
        "a=candidate:3 1 udp 1 7d1a5f0e-5c0e-4d3c-9b9e-1f2a3b4c5d6e.local 5000 typ host",
        "a=candidate:4 1 tcp 1 2001:db8::9 9 typ host tcptype active",
        "a=candidate:5 1 udp 1 no-such-host.invalid 5000 typ srflx raddr 0.0.0.0 rport 9",
        "a=x-unheard-of:line",
        "a=end-of-candidates",
    ];
    let reply =
        client.patch(&session, Some(&tag), &offers::fragment(offers::credentials(&offer), &strange)).await?;
    trickled(report, "5.9", "unknown transports and names that do not resolve are dropped silently", &reply);
    Ok(())
}

fn trickled(report: &mut Report, number: &str, requirement: &str, reply: &Reply) {
    let met = reply.status == 204 && reply.body.is_empty() && !reply.headers.contains_key("etag");
    report.line(number, requirement, met, reply);
}

fn malformed(offer: &str) -> Vec<(&'static str, String)> {
    let (ufrag, _) = offers::credentials(offer);
    vec![
        ("no body", String::new()),
        ("JSON", "{\"candidate\":\"candidate:1\"}".to_owned()),
        ("half a candidate", offers::fragment(offers::credentials(offer), &["a=candidate:1 1 udp"])),
        ("a user fragment alone", format!("a=ice-ufrag:{ufrag}\r\na=mid:0\r\n")),
        ("bad credentials", offers::fragment(("no", "short"), &[])),
    ]
}

/// Point 5: ICE restart.
pub async fn restart(report: &mut Report, client: &Client) -> Result<()> {
    let offer = offers::publish();
    let created = client.publish(&offer).await?;
    let (session, first) = (created.session(), created.tag());
    let fragment = offers::fragment(NEW, &[]);
    let reply = client.patch(&session, Some("*"), &fragment).await?;
    let met = reply.status == 200 && reply.header("content-type") == FRAGMENT;
    report.line("5.10", "a restart with If-Match: * is 200 with a fragment", met, &reply);
    let second = reply.tag();
    report.line("5.11", "a restart has a new ETag", is_strong(&second) && second != first, &reply);
    let (ours, before) = (offers::credentials(&reply.body), offers::credentials(&created.body));
    let fresh = !ours.0.is_empty() && !ours.1.is_empty() && ours.0 != before.0 && ours.1 != before.1;
    report.line("5.12", "a restart has new credentials of ours", fresh, &reply);
    let complete = reply.count("a=candidate:") >= 2
        && reply.has_line("a=end-of-candidates")
        && reply.has_line("a=mid:0");
    report.line("5.13", "a restart has all of our candidates", complete, &reply);
    let candidate = offers::fragment(NEW, &["a=end-of-candidates"]);
    let stale = client.patch(&session, Some(&first), &candidate).await?;
    report.line("5.14", "the ETag of before the restart is 412", stale.status == 412, &stale);
    let current = client.patch(&session, Some(&second), &candidate).await?;
    trickled(report, "5.15", "the new ETag takes candidates", &current);
    let failed = client.patch(&session, Some("*"), "a=ice-ufrag:brokenUfrag\r\n").await?;
    let after = client.patch(&session, Some(&second), &candidate).await?;
    let requirement = "a restart that fails leaves the session and its ETag alive";
    report.line(
        "5.16",
        requirement,
        failed.status == 400 && after.status == 204,
        format!("{failed}, then {after}"),
    );
    let quoted = client.patch(&session, Some("\"*\""), &offers::fragment(("thirdUfrag", NEW.1), &[])).await?;
    report.line("5.17", "a restart with If-Match: \"*\" is 200 too", quoted.status == 200, &quoted);
    let gone = client.ask("DELETE", &session).await?;
    report.line("5.18", "a session that was restarted can be deleted", gone.status == 200, &gone);
    Ok(())
}

/// Point 5: requests that come late, out of order or together.
pub async fn late_and_overlapping(report: &mut Report, client: &Client) -> Result<()> {
    let offer = offers::publish();
    let created = client.publish(&offer).await?;
    let (session, first) = (created.session(), created.tag());
    let old = offers::fragment(offers::credentials(&offer), &["a=end-of-candidates"]);
    client.patch(&session, Some("*"), &offers::fragment(NEW, &[])).await?;
    let late = client.patch(&session, Some(&first), &old).await?;
    report.line("5.19", "candidates of before a restart that come late are 412", late.status == 412, &late);
    let fragments: Vec<String> = (0..12)
        .map(|index| match index % 3 {
            0 => offers::fragment((&format!("overlap{index:02}"), NEW.1), &[]),
            _ => old.clone(),
        })
        .collect();
    let tags = [Some("*"), Some(first.as_str()), Some("*")];
    let sent =
        fragments.iter().zip(tags.iter().cycle()).map(|(body, tag)| client.patch(&session, *tag, body));
    let replies = join_all(sent).await.into_iter().collect::<Result<Vec<Reply>>>()?;
    let known = replies.iter().all(|reply| matches!(reply.status, 200 | 204 | 412));
    let seen: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    report.line("5.20", "overlapping PATCHes are each 200, 204 or 412", known, format!("{seen:?}"));
    let last = client.patch(&session, Some("*"), &offers::fragment(("finalUfrag", NEW.1), &[])).await?;
    let tag = last.tag();
    let after = client
        .patch(&session, Some(&tag), &offers::fragment(("finalUfrag", NEW.1), &["a=end-of-candidates"]))
        .await?;
    let met = last.status == 200 && after.status == 204;
    report.line(
        "5.21",
        "after them the session still restarts and takes candidates",
        met,
        format!("{last}, then {after}"),
    );
    Ok(())
}
