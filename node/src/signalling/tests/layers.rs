use super::*;
use crate::media::selection::{LayerLimit, LayerWish};

const SIMULCAST: &str = include_str!("../sdp/fixtures/chromium-publish-simulcast.sdp");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A viewer of a stream with simulcast whose peer its room does not know yet: the path of its session.
async fn viewer(server: &Server) -> String {
    let created = server.ask("POST", "/whip/demo", &[SDP], SIMULCAST).await;
    assert_eq!(created.status, 201, "{}", created.body);
    server.rig.last_peer_says(PeerEvent::Connected).await;
    server.rig.last_peer_says(PeerEvent::FirstMedia).await;
    let created = server.ask("POST", "/whep/demo", &[SDP], PLAY_OFFER).await;
    let links = created.headers.get_all("link").filter_map(|link| link.to_str().ok());
    let wanted =
        format!("<{}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\"", created.header("location"));
    assert_eq!(links.filter(|link| **link == wanted).count(), 1);
    session(&created)
}

/// The index of a layer among the publisher's, best first.
fn layer(index: u8) -> LayerWish {
    LayerWish::AtMost(LayerLimit { layer: Some(index), ..LayerLimit::default() })
}

#[test]
fn a_viewer_gets_the_layer_that_it_asks_for() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let path = format!("{}/layer", viewer(&server).await);
        let rids: Vec<_> = SIMULCAST.lines().filter_map(|line| line.strip_prefix("a=rid:")).collect();
        let second = rids[1].split(' ').next().unwrap();
        let wishes = || std::mem::take(&mut server.rig.notes.lock().unwrap().wishes);
        let early = server.ask("POST", &path, &[JSON], format!(r#"{{"rid":"{second}"}}"#)).await;
        assert_eq!((early.status, early.body.as_str()), (200, ""));
        assert!(wishes().is_empty(), "its peer is not known");
        server.rig.shard_notifies().await;
        tokio::task::yield_now().await;
        assert_eq!(wishes(), [(1, layer(1))], "it is told when it is");
        let limit = LayerLimit { max_height: Some(360), ..LayerLimit::default() };
        for (body, expected) in [
            (format!(r#"{{"mediaId":"1","encodingId":"{second}"}}"#), layer(1)),
            (r#"{"maxHeight":360}"#.to_owned(), LayerWish::AtMost(limit)),
            (r#"{"mediaId":"1"}"#.to_owned(), LayerWish::Best),
            ("{}".to_owned(), LayerWish::Best),
        ] {
            let answer = server.ask("POST", &path, &[JSON], body.clone()).await;
            assert_eq!(answer.status, 200, "{body}: {}", answer.body);
            tokio::task::yield_now().await;
            assert_eq!(wishes(), [(1, expected)], "{body}");
        }
    });
}

#[test]
fn wishes_that_cannot_be_granted_are_refused() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let session = viewer(&server).await;
        let path = format!("{session}/layer");
        for (body, status) in [
            (r#"{"rid":"nothing"}"#, 400),
            (r#"{"mediaId":"0"}"#, 400),
            (r#"{"mediaId":"video"}"#, 400),
            (r#"{"maxWidth":0}"#, 400),
            ("", 400),
        ] {
            let refused = server.ask("POST", &path, &[JSON], body).await;
            assert_eq!(refused.status, status, "{body}");
            assert_eq!(refused.header("content-type"), "application/problem+json");
        }
        assert_eq!(server.ask("POST", &path, &[SDP], "{}").await.status, 415);
        assert_eq!(server.ask("PUT", &path, &[JSON], "{}").await.header("allow"), "POST, OPTIONS");
        assert_eq!(server.ask("DELETE", &session, &[], "").await.status, 200);
        assert_eq!(server.ask("POST", &path, &[JSON], "{}").await.status, 404);
        assert!(server.rig.notes.lock().unwrap().wishes.is_empty());
    });
}
