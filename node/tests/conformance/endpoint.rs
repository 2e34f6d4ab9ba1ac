//! Points 1, 2, 3, 6, 8 and 12: what an endpoint answers.

use anyhow::Result;

use crate::client::{Client, FRAGMENT, Reply, SDP};
use crate::offers;
use crate::report::Report;

/// Point 1 for WHIP; `live` has it for WHEP.
pub async fn whip(report: &mut Report, client: &Client) -> Result<()> {
    let room = client.new_room();
    let reply = client.post(&format!("/whip/{room}"), &offers::publish()).await?;
    created(report, "1", "WHIP", client, &reply);
    let named = client.post(&format!("/whip/{room}/second"), &offers::publish()).await?;
    report.line("1.4", "WHIP: a stream name may follow the room", named.status == 201, &named);
    let path = format!("/whip/{}", client.new_room());
    for (content_type, shown) in [("text/plain", "a wrong"), ("application/json", "another wrong")] {
        let reply = client.send("POST", &path, &[("content-type", content_type)], offers::publish()).await?;
        report.line("1.5", &format!("{shown} content type is 415"), reply.status == 415, &reply);
    }
    let reply = client.send("POST", &path, &[], offers::publish()).await?;
    report.line("1.6", "a missing content type is 415", reply.status == 415, &reply);
    let parameters = [("content-type", "Application/SDP; charset=utf-8")];
    let reply = client.send("POST", &path, &parameters, offers::publish()).await?;
    let requirement = "a content type is taken with parameters and in any case";
    report.line("1.7", requirement, reply.status == 201, &reply);
    Ok(())
}

/// What every 201 has, for WHIP and WHEP alike.
pub fn created(report: &mut Report, point: &str, name: &str, client: &Client, reply: &Reply) {
    report.line(&format!("{point}.1"), &format!("{name}: a good offer is 201"), reply.status == 201, reply);
    let is_sdp = reply.header("content-type") == SDP && reply.body.starts_with("v=0\r\n");
    report.line(
        &format!("{point}.2"),
        &format!("{name}: the body is the answer, application/sdp"),
        is_sdp,
        reply,
    );
    let absolute = reply.session().starts_with(client.base()) && reply.session().len() > client.base().len();
    report.line(
        &format!("{point}.3"),
        &format!("{name}: Location is absolute, on this node"),
        absolute,
        reply,
    );
    let candidates = reply.count("a=candidate:");
    let complete =
        candidates >= 2 && reply.body.contains(" tcptype passive") && reply.has_line("a=end-of-candidates");
    let requirement = format!("{name}: the answer has all candidates, UDP and TCP, and their end");
    report.line("6.1", &requirement, complete && reply.has_line("a=ice-lite"), reply);
    let sections = reply.count("m=");
    let multiplexed =
        [reply.count("a=rtcp-mux-only"), reply.body.lines().filter(|line| *line == "a=rtcp-mux").count()];
    let requirement = format!("{name}: every section has rtcp-mux and rtcp-mux-only, and one BUNDLE has all");
    let bundled = reply.has_line("a=group:BUNDLE 0 1");
    report.line("7.1", &requirement, bundled && multiplexed == [sections, sections], reply);
}

/// Point 3.
pub async fn methods(report: &mut Report, client: &Client) -> Result<()> {
    for endpoint in ["/whip/some", "/whep/some/main"] {
        for method in ["GET", "HEAD"] {
            let reply = client.ask(method, endpoint).await?;
            let met = reply.is_success() && reply.body.is_empty();
            report.line("3.1", &format!("{method} {endpoint} is 2xx without a body"), met, &reply);
        }
        let origin = [("origin", "https://page.example"), ("access-control-request-method", "POST")];
        let reply = client.send("OPTIONS", endpoint, &origin, "").await?;
        preflight(report, endpoint, &reply);
    }
    let reply = client.ask("HEAD", "/whep/some").await?;
    report.line(
        "3.2",
        "HEAD of a WHEP endpoint has Content-Type application/sdp",
        reply.header("content-type") == SDP,
        &reply,
    );
    for (method, path) in [("PUT", "/whip/some"), ("DELETE", "/whep/some"), ("PATCH", "/whip/some")] {
        let reply = client.ask(method, path).await?;
        let met = reply.status == 405 && reply.lists("allow", "POST");
        report.line("3.6", &format!("{method} {path} is 405 with Allow"), met, &reply);
    }
    let session = client.publish(&offers::publish()).await?.session();
    let reply = client.ask("OPTIONS", &session).await?;
    let met = reply.is_success()
        && ["PATCH", "DELETE"].iter().all(|method| reply.lists("access-control-allow-methods", method));
    report.line("3.7", "OPTIONS of a session allows PATCH and DELETE across origins", met, &reply);
    let reply = client.ask("GET", &session).await?;
    report.line(
        "3.8",
        "GET of a session is 2xx without a body or 405, never an answer again",
        (reply.is_success() && reply.body.is_empty()) || reply.status == 405,
        &reply,
    );
    let page = [("content-type", SDP), ("origin", "https://page.example")];
    let reply = client.send("POST", "/whip/from-a-page", &page, offers::publish()).await?;
    exposed(report, 201, &reply);
    let restart = [page[1], ("content-type", FRAGMENT), ("if-match", "*")];
    let fragment = offers::fragment(("pagesNewUfrag", "pagesNewPasswordOf24Chars"), &[]);
    let reply = client.send("PATCH", &reply.session(), &restart, fragment).await?;
    exposed(report, 200, &reply);
    let reply = client.send("POST", "/whep/nobody-is-here", &page, offers::play()).await?;
    exposed(report, 409, &reply);
    Ok(())
}

fn preflight(report: &mut Report, endpoint: &str, reply: &Reply) {
    let allowed = ["Authorization", "Content-Type", "If-Match"];
    let met = reply.is_success()
        && !reply.header("access-control-allow-origin").is_empty()
        && reply.lists("access-control-allow-methods", "POST")
        && allowed.iter().all(|name| reply.lists("access-control-allow-headers", name));
    report.line("3.3", &format!("OPTIONS {endpoint} lets pages of other origins post"), met, reply);
    let accepts = reply.lists("accept-post", SDP);
    report.line("3.4", &format!("OPTIONS {endpoint} has Accept-Post: application/sdp"), accepts, reply);
}

fn exposed(report: &mut Report, status: u16, reply: &Reply) {
    let names = ["Location", "ETag", "Link", "Retry-After"];
    let met = reply.status == status
        && !reply.header("access-control-allow-origin").is_empty()
        && names.iter().all(|name| reply.lists("access-control-expose-headers", name));
    report.line(
        "3.9",
        &format!("a {status} exposes Location, ETag, Link and Retry-After to pages"),
        met,
        reply,
    );
}

/// Point 2 for WHIP, and for WHEP what needs no live stream.
pub async fn directions(report: &mut Report, client: &Client) -> Result<()> {
    let reply = client.publish(&offers::publish()).await?;
    let received = reply.body.lines().filter(|line| *line == "a=recvonly").count();
    report.line("2.1", "WHIP: every section of the answer is recvonly", received == 2, &reply);
    let both = offers::publish().replace("a=sendonly", "a=sendrecv");
    let reply = client.publish(&both).await?;
    let met = reply.count("a=recvonly") == 2 && reply.count("a=send") == 0;
    report.line("2.2", "WHIP: sendrecv is answered recvonly", met, &reply);
    for direction in ["recvonly", "inactive"] {
        let offer = offers::publish().replacen("a=sendonly", &format!("a={direction}"), 1);
        let reply = client.post(&format!("/whip/{}", client.new_room()), &offer).await?;
        report.line(
            "2.3",
            &format!("WHIP: a section that is {direction} is 400 and says so"),
            reply.status == 400 && reply.body.contains(direction),
            &reply,
        );
    }
    Ok(())
}

/// Points 8 and 12.
pub async fn roles_and_layers(report: &mut Report, client: &Client) -> Result<()> {
    for (offered, answered) in [("actpass", "passive"), ("active", "passive"), ("passive", "active")] {
        let offer = offers::passive().replace("setup:passive", &format!("setup:{offered}"));
        let reply = client.publish(&offer).await?;
        let met = reply.body.lines().filter(|line| *line == format!("a=setup:{answered}")).count() == 2;
        report.line("8.1", &format!("setup:{offered} is answered setup:{answered}"), met, &reply);
    }
    for (name, offer, rids) in [
        ("with RTX", offers::simulcast(), ["l", "m", "h"]),
        ("without RTX", offers::simulcast_without_rtx(), ["2", "1", "0"]),
    ] {
        let reply = client.publish(&offer).await?;
        let met = rids.iter().all(|rid| reply.has_line(&format!("a=rid:{rid} recv")))
            && reply.has_line(&format!("a=simulcast:recv {}", rids.join(";")));
        report.line("12.1", &format!("simulcast {name} is answered with every layer"), met, &reply);
    }
    Ok(())
}
