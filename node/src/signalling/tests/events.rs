use std::pin::Pin;

use actix_web::body::MessageBody as _;

use super::*;
use crate::peer::message::EndReason;
use crate::room::{CloseAll, TellToLeave};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A viewer of a live stream: the path of its session.
async fn viewer(server: &Server) -> String {
    server.publish("/whip/demo").await;
    let created = server.ask("POST", "/whep/demo", &[SDP], PLAY_OFFER).await;
    assert_eq!(created.status, 201, "{}", created.body);
    server.rig.shard_notifies().await;
    session(&created)
}

/// An open event stream, of which events are read one after the other.
struct Listening(Pin<Box<BoxBody>>);

impl Listening {
    async fn start(server: &Server, path: &str) -> Self {
        let request = TestRequest::get().uri(path).insert_header(("host", "live.example"));
        let response = (server.service)(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store");
        Self(Box::pin(response.into_body()))
    }

    /// What comes next; nothing at the end.
    async fn next(&mut self) -> Option<String> {
        let chunk = std::future::poll_fn(|context| self.0.as_mut().poll_next(context)).await?;
        Some(String::from_utf8(chunk.ok().unwrap().to_vec()).unwrap())
    }
}

#[test]
fn a_viewer_is_told_of_the_extensions_and_a_publisher_is_not() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        assert_eq!(server.publish("/whip/demo").await.header("link"), "");
        let created = server.ask("POST", "/whep/demo", &[SDP], PLAY_OFFER).await;
        let links: Vec<_> =
            created.headers.get_all("link").map(|link| link.to_str().unwrap().to_owned()).collect();
        let location = created.header("location");
        let events = format!(
            "<{location}/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; \
             events=\"active,inactive,layers,viewercount,reconnect\""
        );
        assert!(links.contains(&events), "{links:?}");
    });
}

#[test]
fn events_come_as_they_happen_until_the_session_ends() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let session = viewer(&server).await;
        let body = r#"["active","inactive","viewercount"]"#;
        let made = server.ask("POST", &format!("{session}/sse"), &[JSON], body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert_eq!(made.header("location"), format!("http://live.example{session}/sse/1"));
        let mut events = Listening::start(&server, &format!("{session}/sse/1")).await;
        let first = events.next().await.unwrap();
        assert_eq!(first, "event: active\ndata: {}\n\nevent: viewercount\ndata: {\"viewercount\":1}\n\n");
        assert_eq!(events.next().await.unwrap(), ":\n\n", "nothing happens for a while");
        let second = server.ask("POST", "/whep/demo", &[SDP], PLAY_OFFER).await;
        assert_eq!(second.status, 201);
        assert_eq!(events.next().await.unwrap(), "event: viewercount\ndata: {\"viewercount\":2}\n\n");
        assert_eq!(server.ask("DELETE", &session, &[], "").await.status, 200);
        assert_eq!(events.next().await, None);
        assert_eq!(server.ask("GET", &format!("{session}/sse/1"), &[], "").await.status, 404);
    });
}

#[test]
fn who_is_to_move_hears_it_before_the_end() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let session = viewer(&server).await;
        assert_eq!(server.ask("POST", &format!("{session}/sse"), &[], "").await.status, 201, "of everything");
        let mut events = Listening::start(&server, &format!("{session}/sse/1")).await;
        assert!(events.next().await.unwrap().starts_with("event: active\n"));
        assert_eq!(server.rig.rooms.send(TellToLeave).await.unwrap(), 1);
        server.rig.rooms.send(CloseAll(EndReason::Shutdown)).await.unwrap();
        let last = events.next().await.unwrap();
        let reconnect = "event: reconnect\ndata: {\"url\":\"http://live.example/whep/demo/main\"}\n\n";
        assert!(last.contains(reconnect), "{last}");
        assert_eq!(events.next().await, None);
    });
}

#[test]
fn lists_of_events_that_are_none_are_refused() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let entry = format!("{}/sse", viewer(&server).await);
        let unknown = server.ask("POST", &entry, &[JSON], r#"["active","scte35"]"#).await;
        assert_eq!((unknown.status, unknown.header("content-type")), (400, "application/problem+json"));
        assert!(unknown.body.contains("scte35"), "{}", unknown.body);
        for body in ["[]", "{}", "active", "[1]", r#""active""#, "[\"active\""] {
            assert_eq!(server.ask("POST", &entry, &[JSON], body).await.status, 400, "{body}");
        }
        let text = [("content-type", "text/plain")];
        assert_eq!(server.ask("POST", &entry, &text, r#"["active"]"#).await.status, 415);
        assert_eq!(server.ask("GET", &entry, &[], "").await.header("allow"), "POST, OPTIONS");
        for number in ["1", "0", "x"] {
            assert_eq!(
                server.ask("GET", &format!("{entry}/{number}"), &[], "").await.status,
                404,
                "{number}"
            );
        }
        for _ in 0..4 {
            assert_eq!(server.ask("POST", &entry, &[JSON], r#"["active"]"#).await.status, 201);
        }
        assert_eq!(server.ask("POST", &entry, &[JSON], r#"["active"]"#).await.status, 409);
        assert_eq!(server.ask("DELETE", &format!("{entry}/2"), &[], "").await.status, 200);
        assert_eq!(server.ask("DELETE", &format!("{entry}/2"), &[], "").await.status, 404);
        assert_eq!(server.ask("POST", &entry, &[JSON], r#"["active"]"#).await.status, 201);
    });
}

#[test]
fn a_node_has_so_many_event_streams_open_and_no_more() {
    virtual_time::run(async {
        let mut config = Config::default();
        config.limits.event_streams = 1;
        let server = server(config).await;
        let entry = format!("{}/sse", viewer(&server).await);
        for _ in 0..2 {
            assert_eq!(server.ask("POST", &entry, &[], "").await.status, 201);
        }
        let first = Listening::start(&server, &format!("{entry}/1")).await;
        let again = server.ask("GET", &format!("{entry}/1"), &[], "").await;
        assert_eq!(
            again.status, 503,
            "the listener that is there stays, as there is no room for the one who takes over"
        );
        let refused = server.ask("GET", &format!("{entry}/2"), &[], "").await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, "5"));
        assert_eq!(server.rig.metrics.event_streams.get(), 1);
        drop(first);
        assert_eq!(server.ask("GET", &format!("{entry}/7"), &[], "").await.status, 404);
        drop(Listening::start(&server, &format!("{entry}/2")).await);
        assert_eq!(server.rig.metrics.event_streams.get(), 0);
    });
}

#[test]
fn the_address_of_one_stream_reaches_no_session_of_another() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let session = viewer(&server).await;
        let other = session.replace("/main/", "/side/");
        for (method, path, body) in [
            ("DELETE", other.clone(), ""),
            ("POST", format!("{other}/sse"), "[\"active\"]"),
            ("GET", format!("{other}/sse/1"), ""),
        ] {
            assert_eq!(server.ask(method, &path, &[JSON], body).await.status, 404, "{method} {path}");
        }
        assert_eq!(server.ask("DELETE", &session, &[], "").await.status, 200);
    });
}
