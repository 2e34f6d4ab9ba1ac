//! Names, bodies and requests that nobody should send: always a clear 4xx.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, SDP};
use crate::offers;
use crate::report::Report;

/// Names that are none.
pub async fn names(report: &mut Report, client: &Client) -> Result<()> {
    let long = "n".repeat(65);
    for name in ["a%20b", ".hidden", "%C3%A9", "a%00b", "a%2Fb", &long, "a:b"] {
        for (method, path) in [("POST", format!("/whip/{name}")), ("POST", format!("/whep/room/{name}"))] {
            let reply = client.send(method, &path, &[("content-type", SDP)], offers::publish()).await?;
            let shown: String = path.chars().take(24).collect();
            let met = reply.status == 400 && reply.body.contains("name");
            report.line("0.1", &format!("{method} {shown} is 400 and says which name is wrong"), met, &reply);
        }
    }
    let longest = "n".repeat(64);
    let reply = client.post(&format!("/whip/{longest}/A-b_c.9"), &offers::publish()).await?;
    report.line("0.2", "a name of 64 allowed characters is good", reply.status == 201, &reply);
    Ok(())
}

/// Bodies that are no offer.
pub async fn bodies(report: &mut Report, client: &Client) -> Result<()> {
    let offer = offers::publish();
    let path = format!("/whip/{}", client.new_room());
    let whole = offer.as_bytes();
    let bodies: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("no body", Vec::new(), &[400]),
        ("bytes that are no text", vec![0xFF, 0xFE, 0x00, 0x80], &[400]),
        ("JSON", b"{\"type\":\"offer\"}".to_vec(), &[400]),
        ("an offer that was cut off", whole[..whole.len() / 3].to_vec(), &[400]),
        ("an offer without ICE credentials", offer.replace("a=ice-pwd", "a=x-pwd").into_bytes(), &[400, 422]),
        ("an offer without a fingerprint", offer.replace("a=fingerprint", "a=x").into_bytes(), &[400, 422]),
        ("control characters in a line", offer.replace("a=mid:0", "a=mid:0\rx").into_bytes(), &[400]),
        ("a megabyte", vec![b'a'; 1 << 20], &[413]),
        (
            "an offer of one long line",
            format!("{offer}a=x:{}\r\n", "y".repeat(60_000)).into_bytes(),
            &[201, 413],
        ),
    ];
    for (shown, body, expected) in bodies {
        let reply = client.send("POST", &path, &[("content-type", SDP)], body).await?;
        report.line("0.3", &format!("{shown} is {expected:?}"), expected.contains(&reply.status), &reply);
        if reply.status == 201 {
            client.ask("DELETE", &reply.session()).await?;
        }
    }
    let mut wrong = Vec::new();
    for cut in (0..whole.len()).step_by(97) {
        let reply = client.send("POST", &path, &[("content-type", SDP)], whole[..cut].to_vec()).await?;
        match reply.status {
            201 => drop(client.ask("DELETE", &reply.session()).await?),
            status if status >= 500 => wrong.push(format!("{cut} bytes: {status}")),
            _ => {}
        }
    }
    report.line("0.4", "an offer cut anywhere is never a 5xx", wrong.is_empty(), wrong.join(", "));
    let reply = client.post(&path, &offer).await?;
    report.line("0.5", "after all of them a good offer is 201", reply.status == 201, &reply);
    Ok(())
}

/// What the server says to these bytes until it ends the connection.
async fn answer_to(client: &Client, request: &[u8]) -> Result<String> {
    let address = client.base().strip_prefix("http://").context("plain HTTP")?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Requests that are no HTTP, or none that everybody between us would read alike (RFC 9112 §6.3, §3.2): request smuggling needs
/// a server that takes them.
pub async fn requests(report: &mut Report, client: &Client) -> Result<()> {
    let post = |headers: &str| format!("POST /whip/a HTTP/1.1\r\nHost: a\r\n{headers}\r\nabcd").into_bytes();
    let many: String = (0..200).map(|index| format!("x-{index}: y\r\n")).collect();
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("bytes that are no HTTP", b"\x00\x01\x02\r\n\r\n".to_vec(), 400),
        ("a TLS handshake on a plain port", [&b"\x16\x03\x01\x02\x00"[..], &[1; 64]].concat(), 400),
        ("a request of an unknown version", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_vec(), 400),
        ("a header name with a space", b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n".to_vec(), 400),
        ("a request with two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(), 400),
        ("a body with two lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n"), 400),
        ("a body with a negative length", post("Content-Length: -3\r\n"), 400),
        ("a chunked body with a length", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"), 400),
        ("200 headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").into_bytes(), 431),
    ];
    for (shown, request, status) in cases {
        let answer = answer_to(client, &request).await?;
        let met = answer.starts_with(&format!("HTTP/1.1 {status} "));
        let requirement = format!("{shown}: {status}, and the connection ends");
        report.line("0.6", &requirement, met, &answer);
    }
    Ok(())
}
