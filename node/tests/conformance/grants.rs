//! Point 11, access tokens: a server with a key file, which is changed while it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::client::{Client, FRAGMENT, Reply, SDP};
use crate::offers;
use crate::report::Report;
use crate::server::Server;

/// What the binary prints for these arguments.
fn aforo(arguments: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_aforo")).args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// An EdDSA key: its private file, and its public half.
struct Key {
    private: PathBuf,
    public: String,
}

impl Key {
    fn new(kid: &str) -> Result<Self> {
        let name = format!("conformance-{}-{kid}.json", std::process::id());
        let private = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_file(&private);
        let path = private.to_str().context("a path")?;
        let public = aforo(&["token", "keygen", "--key", path, "--kid", kid])?;
        Ok(Self { private, public })
    }

    fn token(&self, more: &[&str]) -> Result<String> {
        let path = self.private.to_str().context("a path")?;
        let create = ["token", "create", "--key", path, "--ttl", "1h"];
        aforo(&[&create, more].concat())
    }
}

async fn with(client: &Client, method: &str, target: &str, token: &str) -> Result<Reply> {
    let value = format!("Bearer {token}");
    let (content_type, body) = match method {
        "POST" if target.starts_with("/whep") => (SDP, offers::play()),
        "POST" => (SDP, offers::publish()),
        _ => (FRAGMENT, String::new()),
    };
    client.send(method, target, &[("content-type", content_type), ("authorization", &value)], body).await
}

/// A token that anybody can make: its header, these claims, and an HMAC with a key that is public.
fn forged(header: &str, key: &str) -> String {
    let claims = r#"{"exp":9999999999,"room":"*","publish":true,"subscribe":true,"admin":true}"#;
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// Tokens that must not let anybody in, and one that has a byte changed.
async fn forgeries(report: &mut Report, client: &Client, key: &Key, good: &str) -> Result<()> {
    let x = key.public.split("\"x\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let mut changed = good.to_owned();
    let place = good.len() - 3..good.len() - 2;
    let other = if good.get(place.clone()) == Some("A") { "B" } else { "A" };
    changed.replace_range(place, other);
    let none = forged(r#"{"alg":"none"}"#, "");
    for (what, token) in [
        ("alg none", none.rsplit_once('.').map(|(message, _)| format!("{message}.")).unwrap_or_default()),
        ("HS256 with the public key", forged(r#"{"alg":"HS256","kid":"first"}"#, x)),
        ("HS256 with the public key's text", forged(r#"{"alg":"HS256","kid":"first"}"#, &key.public)),
        ("a kid that is a path", forged(r#"{"alg":"HS256","kid":"/dev/null"}"#, "")),
        ("a byte changed", changed),
        ("5,000 bytes", format!("{good}{}", "A".repeat(5_000))),
        ("no token", "north".to_owned()),
    ] {
        for target in ["/whip/mine", "/whep/mine"] {
            let reply = with(client, "POST", target, &token).await?;
            let met =
                reply.status == 401 && reply.header("www-authenticate").contains("error=\"invalid_token\"");
            report.line("11.12", &format!("POST {target} with {what} is 401, invalid_token"), met, &reply);
        }
    }
    Ok(())
}

/// All of them.
pub async fn run(report: &mut Report) -> Result<()> {
    let (first, second) = (Key::new("first")?, Key::new("second")?);
    let name = format!("conformance-{}-keys.json", std::process::id());
    let keys = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&keys, &first.public)?;
    let path = keys.to_str().context("a path")?;
    let server = Server::start_with("", &[("AFORO__AUTH__KEY_FILES", path)])?;
    let client = Client::new(server.base())?;
    let publish = first.token(&["--room", "mine", "--stream", "main", "--publish"])?;
    let watch = first.token(&["--room", "mine", "--subscribe"])?;
    let every = first.token(&["--room", "*", "--publish", "--subscribe"])?;
    forgeries(report, &client, &first, &publish).await?;
    let created = with(&client, "POST", "/whip/mine", &publish).await?;
    report.line("11.13", "POST /whip with a publish grant is 201", created.status == 201, &created);
    let session = created.session();
    for (method, target, token, expected) in [
        ("POST", "/whep/mine", &watch, 409),
        ("POST", "/whep/mine", &publish, 403),
        ("POST", "/whip/mine", &watch, 403),
        ("POST", "/whip/other", &publish, 403),
        ("POST", "/whip/mine/side", &publish, 403),
        ("POST", "/whep/other", &watch, 403),
        ("POST", "/whip/other", &every, 201),
        ("PATCH", session.as_str(), &watch, 403),
        ("DELETE", session.as_str(), &watch, 403),
        ("GET", "/v1/rooms/mine", &watch, 200),
        ("GET", "/v1/rooms/other", &watch, 403),
    ] {
        let reply = with(&client, method, target, token).await?;
        let shown = target.trim_start_matches(client.base());
        let requirement = format!("{method} {shown} with a grant of its kind or another: {expected}");
        report.line("11.14", &requirement, reply.status == expected, &reply);
    }
    let rooms = with(&client, "GET", "/v1/rooms", &watch).await?;
    let met = rooms.status == 200 && rooms.body.contains("\"mine\"") && !rooms.body.contains("\"other\"");
    report.line("11.15", "GET /v1/rooms shows the rooms of the token", met, &rooms);
    takeover(report, &client, &first).await?;
    same_person(report, &client, &first).await?;
    one_stream(report, &client, &first).await?;
    rotation(report, &client, &keys, [&first, &second]).await?;
    outlived(report, &client, &first, &session, &publish).await?;
    let gone = with(&client, "DELETE", &session, &second.token(&["--room", "mine", "--publish"])?).await?;
    report.line("11.16", "a session ends by a token of the new key", gone.status == 200, &gone);
    let secrets = [publish.as_str(), &watch, &every];
    server.check_log(report, Some(("11.24", "no access token is in the log", &secrets)))
}

/// A publisher of higher priority takes a stream over from another, and nobody else does.
async fn takeover(report: &mut Report, client: &Client, key: &Key) -> Result<()> {
    let token = |more: &[&str]| key.token(&[&["--room", "contested", "--publish"], more].concat());
    let (plain, same, higher) = (token(&[])?, token(&["--stream", "main"])?, token(&["--priority", "5"])?);
    let held = with(client, "POST", "/whip/contested", &plain).await?;
    ensure!(held.status == 201, "a publisher of a new stream got {held}");
    let refused = with(client, "POST", "/whip/contested", &same).await?;
    report.line(
        "11.18",
        "POST /whip of a live stream with another token of its priority is 409",
        refused.status == 409,
        &refused,
    );
    let taken = with(client, "POST", "/whip/contested", &higher).await?;
    report.line(
        "11.19",
        "POST /whip of a live stream with a higher priority is 201",
        taken.status == 201,
        &taken,
    );
    let back = with(client, "POST", "/whip/contested", &plain).await?;
    report.line("11.20", "POST /whip of who is about to be taken over is 409", back.status == 409, &back);
    // The first one is on air until the second is connected, which this client never is.
    for (session, token) in [(taken.session(), &higher), (held.session(), &plain)] {
        let side = session.replace("/main/", "/side/");
        let reply = with(client, "DELETE", &side, &plain).await?;
        report.line(
            "11.21",
            "DELETE of a session at another stream's address is 404",
            reply.status == 404,
            &reply,
        );
        let reply = with(client, "DELETE", &session, token).await?;
        report.line("11.28", "DELETE of either is 200", reply.status == 200, &reply);
    }
    Ok(())
}

/// A page that is loaded anew has a new token, and is the same publisher still.
async fn same_person(report: &mut Report, client: &Client, key: &Key) -> Result<()> {
    let token = |subject: &str, more: &[&str]| {
        key.token(&[&["--room", "reloaded", "--publish", "--subject", subject], more].concat())
    };
    let held = with(client, "POST", "/whip/reloaded", &token("ada", &[])?).await?;
    let again = with(client, "POST", "/whip/reloaded", &token("ada", &["--stream", "main"])?).await?;
    let met = held.status == 201 && again.status == 201;
    report.line("11.33", "POST /whip of a live stream by its publisher's subject is 201", met, &again);
    let other = with(client, "POST", "/whip/reloaded", &token("bob", &[])?).await?;
    report.line("11.34", "and by another subject 409", other.status == 409, &other);
    Ok(())
}

/// A token for one stream shows nothing of the others.
async fn one_stream(report: &mut Report, client: &Client, key: &Key) -> Result<()> {
    let token = key.token(&["--room", "shared", "--publish"])?;
    for target in ["/whip/shared", "/whip/shared/side"] {
        let published = with(client, "POST", target, &token).await?;
        ensure!(published.status == 201, "{target} got {published}");
    }
    let side = key.token(&["--room", "shared", "--stream", "side", "--subscribe"])?;
    for target in ["/v1/rooms", "/v1/rooms/shared"] {
        // The list may be a second old. The suite's own deadline ends this if the stream never shows.
        let mut reply = with(client, "GET", target, &side).await?;
        while reply.status == 200 && !reply.body.contains("\"side\"") {
            reply = with(client, "GET", target, &side).await?;
        }
        let met = reply.status == 200 && !reply.body.contains("\"main\"");
        report.line("11.35", &format!("GET {target} shows the stream of the token alone"), met, &reply);
    }
    Ok(())
}

/// A session that was let in by a key that is gone by now goes on, and is its client's still.
async fn outlived(report: &mut Report, client: &Client, gone: &Key, session: &str, own: &str) -> Result<()> {
    let other = gone.token(&["--room", "mine", "--publish"])?;
    for (token, expected) in [(own, 400), (&other, 401)] {
        let reply = with(client, "PATCH", session, token).await?;
        let requirement = "PATCH of a session takes its own token when the key is gone (400: the body is empty), and no other";
        report.line("11.36", requirement, reply.status == expected, &reply);
    }
    Ok(())
}

/// The key file gets the second key instead of the first, by a rename.
async fn rotation(report: &mut Report, client: &Client, keys: &Path, [old, new]: [&Key; 2]) -> Result<()> {
    let token = |key: &Key| key.token(&["--room", "mine", "--admin"]);
    let (old, new_token) = (token(old)?, token(new)?);
    let before = with(client, "GET", "/v1/rooms", &new_token).await?;
    report.line("11.26", "a key that is not in the file yet lets nobody in", before.status == 401, &before);
    let beside = keys.with_extension("new");
    std::fs::write(&beside, &new.public)?;
    std::fs::rename(&beside, keys)?;
    // The suite's own deadline ends this if the server never takes note.
    while with(client, "GET", "/v1/rooms", &new_token).await?.status != 200 {
        tokio::task::yield_now().await;
    }
    let reply = with(client, "GET", "/v1/rooms", &old).await?;
    report.line(
        "11.27",
        "a key that left the file lets nobody in, without a restart",
        reply.status == 401,
        &reply,
    );
    Ok(())
}
