#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use actix::Handler;
use aforo_cluster::control::{LEASE_RENEWAL, PlacementRefusal, Role};
use aforo_cluster::id::{RoomName, SessionId, StreamName};

use super::rig::Rig;
use super::*;
use crate::actor::supervise::Exit;
use crate::actor::{fault, virtual_time};
use crate::cluster_agent::SetLoad;
use crate::config::Limits;
use crate::media::negotiated::IceCredentials;
use crate::peer::message::{EndReason, PeerConfig, PeerEvent, PeerInput, PeerNotice, PeerNotices};
use crate::signalling::sdp::{self, Capabilities, LocalTransport};

fn room() -> RoomName {
    "demo".parse().unwrap()
}

fn config(offer: &str) -> PeerConfig {
    let local_ice = IceCredentials { ufrag: "A1234567".to_owned(), password: "p".repeat(24) };
    let digest = vec![0; 32];
    let algorithm = crate::media::negotiated::FingerprintAlgorithm::Sha256;
    let local = LocalTransport {
        ice: local_ice.clone(),
        fingerprint: crate::media::negotiated::Fingerprint { algorithm, digest },
        candidates: Vec::new(),
        session_id: 1,
        session_version: 1,
        cname: "test".to_owned(),
    };
    let (_, negotiated) = sdp::answer(offer, &Capabilities::publish(local)).unwrap();
    PeerConfig { local_ice, negotiated }
}

fn published(rig: &Rig, session: SessionId) -> InRoom<Publish> {
    published_at(rig.directory.reserve().unwrap(), session)
}

fn published_at(place: Reservation, session: SessionId) -> InRoom<Publish> {
    let config = config(include_str!("../signalling/sdp/fixtures/chromium-publish.sdp"));
    let publish = Publish {
        session,
        stream: StreamName::default(),
        claimant: Claimant::default(),
        place,
        etag: 1,
        config,
        trace: None,
    };
    InRoom { room: room(), message: publish }
}

fn place() -> Place {
    Place { room: room(), stream: StreamName::default(), claimant: Claimant::default() }
}

async fn live(rig: &Rig) -> SessionId {
    let session = SessionId::random();
    let placed = rig.rooms.send(place()).await.unwrap().unwrap();
    rig.rooms.send(published_at(placed, session)).await.unwrap().unwrap();
    rig.last_peer_says(PeerEvent::PathFound).await;
    rig.last_peer_says(PeerEvent::Connected).await;
    rig.last_peer_says(PeerEvent::FirstMedia).await;
    session
}

#[test]
fn a_viewer_gets_the_tracks_of_a_live_stream() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let missing = rig.directory.find(&room(), &StreamName::default());
        assert!(matches!(missing, Err(RoomError::NotLive)));
        let publisher = live(&rig).await;
        let stream = rig.directory.find(&room(), &StreamName::default()).unwrap();
        assert_eq!((stream.publisher, stream.tracks.len()), (publisher, 2));
        assert_eq!(rig.metrics.streams.get(), 1);
        assert_eq!(rig.metrics.placement_duration_seconds.get_sample_count(), 1);
        let text = rig.metrics.render().unwrap();
        for stage in ["ice", "dtls", "first_rtp"] {
            let line = format!("join_duration_seconds_count{{protocol=\"whip\",stage=\"{stage}\"}} 1");
            assert!(text.contains(&line), "{stage} in {text}");
        }
    });
}

#[test]
fn a_room_closes_with_its_last_session_and_opens_again() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        for _ in 0..2 {
            let session = live(&rig).await;
            assert_eq!(rig.rooms.send(GetRooms).await.unwrap().len(), 1);
            assert_eq!(rig.metrics.rooms.get(), 1);
            let end = InRoom {
                room: room(),
                message: EndSession { session, stream: StreamName::default(), role: Role::Publisher },
            };
            rig.rooms.send(end.clone()).await.unwrap().unwrap();
            let again = rig.rooms.send(end).await.unwrap();
            assert!(matches!(again, Err(RoomError::NoSession | RoomError::Closed)), "{again:?}");
            assert_eq!(rig.rooms.send(GetRooms).await.unwrap().len(), 0);
            tokio::task::yield_now().await;
            assert_eq!(rig.metrics.rooms.get(), 0);
        }
    });
}

#[test]
fn a_shard_that_refuses_leaves_no_trace() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        rig.notes.lock().unwrap().full = true;
        let refused = rig.rooms.send(published(&rig, SessionId::random())).await.unwrap();
        assert!(matches!(refused, Err(RoomError::Shard(_))), "{refused:?}");
        assert_eq!(rig.rooms.send(GetRooms).await.unwrap().len(), 0);
        rig.notes.lock().unwrap().full = false;
        live(&rig).await;
    });
}

#[test]
fn limits_are_refused_with_their_number() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits { sessions: 1, ..Limits::default() });
        live(&rig).await;
        let refused = rig.directory.reserve();
        assert!(matches!(refused, Err(RoomError::SessionLimit(1))), "{refused:?}");
        let other = Place { room: "other".parse().unwrap(), ..place() };
        assert!(matches!(rig.rooms.send(other).await.unwrap(), Err(RoomError::SessionLimit(1))));
        let taken = rig.rooms.send(place()).await.unwrap();
        assert!(matches!(taken, Err(RoomError::Taken)), "a name that is taken stays so: {taken:?}");
    });
}

#[test]
fn a_publisher_has_its_place_from_the_answer_on_and_loses_it_when_it_stays_out() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits { sessions: 1, ..Limits::default() });
        let placed = rig.rooms.send(place()).await.unwrap().unwrap();
        assert!(matches!(rig.rooms.send(place()).await.unwrap(), Err(RoomError::SessionLimit(1))));
        drop(placed);
        rig.notes.lock().unwrap().full = true;
        let refused = rig.rooms.send(published(&rig, SessionId::random())).await.unwrap();
        assert!(matches!(refused, Err(RoomError::Shard(_))), "{refused:?}");
        assert_eq!(rig.directory.sessions(), 0);
        rig.notes.lock().unwrap().full = false;
        live(&rig).await;
        assert_eq!(rig.directory.sessions(), 1);
        rig.last_peer_says(PeerEvent::Ended(EndReason::ClosedByPeer)).await;
        assert_eq!(rig.directory.sessions(), 0);
    });
}

#[test]
fn a_full_node_takes_no_publisher_but_viewers_of_what_is_live() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let publisher = live(&rig).await;
        rig.agent.send(SetLoad(0.99)).await.unwrap();
        virtual_time::pass(LEASE_RENEWAL * 2).await;
        let elsewhere = Place {
            room: "other".parse().unwrap(),
            stream: StreamName::default(),
            claimant: Claimant::default(),
        };
        let refused = rig.rooms.send(elsewhere).await.unwrap();
        assert!(matches!(refused, Err(RoomError::Refused(PlacementRefusal::Full))), "{refused:?}");
        let place = rig.directory.reserve().unwrap();
        let (session, stream) = (SessionId::random(), StreamName::default());
        let config = published(&rig, publisher).message.config;
        let play = Play {
            session,
            stream,
            publisher,
            video_section: Some(1),
            place,
            token: None,
            etag: 1,
            config,
            trace: None,
        };
        rig.play(room(), play).await.expect("a viewer comes in");
    });
}

#[test]
fn a_publisher_returns_to_its_stream_and_what_the_node_says_of_it_stays_right() {
    const GRACE: std::time::Duration = std::time::Duration::from_secs(60);
    virtual_time::run(async {
        let rig = Rig::with_grace(&Limits::default(), GRACE);
        let tracks = |kind| rig.metrics.tracks.with_label_values(&[kind]).get();
        let publisher = live(&rig).await;
        rig.play(room(), viewer(&rig, publisher)).await.expect("a viewer comes in");
        rig.shard_notifies().await;
        let before = rig.directory.find(&room(), &StreamName::default()).unwrap();
        rig.peer_says(0, PeerEvent::Ended(EndReason::ConsentExpired)).await;
        assert!(rig.directory.find(&room(), &StreamName::default()).is_err(), "nobody new comes in");
        assert_eq!((rig.metrics.streams.get(), rig.directory.sessions()), (1, 2), "its place is kept");
        virtual_time::pass(GRACE / 2).await;
        live(&rig).await;
        let after = rig.directory.find(&room(), &StreamName::default()).unwrap();
        assert_eq!(before, after, "the same tracks, so the same publication");
        assert_eq!((rig.metrics.streams.get(), tracks("audio"), tracks("video")), (1, 1, 1));
        rig.last_peer_says(PeerEvent::Ended(EndReason::ClosedByPeer)).await;
        virtual_time::pass(GRACE * 2).await;
        assert_eq!(told(&rig), [(1, "Close(StreamEn".to_owned())]);
        assert_eq!((rig.metrics.streams.get(), tracks("audio"), tracks("video")), (0, 0, 0));
        // The claim was given back, so the cluster lets the next one have it.
        live(&rig).await;
    });
}

#[test]
fn a_publisher_that_returns_to_a_node_that_has_filled_up_finds_its_place() {
    const GRACE: std::time::Duration = std::time::Duration::from_secs(60);
    virtual_time::run(async {
        let limits = Limits { sessions: 3, ..Limits::default() };
        let rig = Rig::with_grace(&limits, GRACE);
        let publisher = live(&rig).await;
        rig.play(room(), viewer(&rig, publisher)).await.expect("a viewer comes in");
        rig.shard_notifies().await;
        rig.peer_says(0, PeerEvent::Ended(EndReason::ConsentExpired)).await;
        let last = rig.directory.reserve().expect("one place is left");
        rig.directory.set_room_for_viewers(0);
        rig.agent.send(SetLoad(2.0)).await.unwrap();
        virtual_time::pass(LEASE_RENEWAL * 2).await;
        let stranger = Place { room: "other".parse().unwrap(), ..place() };
        assert!(rig.rooms.send(stranger).await.unwrap().is_err(), "the node is full");

        // One that goes away again before it is connected leaves the place as it was.
        let tried = SessionId::random();
        let seat = rig.rooms.send(place()).await.unwrap().expect("the place was kept");
        rig.rooms.send(published_at(seat, tried)).await.unwrap().unwrap();
        rig.last_peer_says(PeerEvent::Ended(EndReason::IceTimeout)).await;
        assert_eq!(rig.directory.sessions(), 3);

        let seat = rig.rooms.send(place()).await.unwrap().expect("the place is kept still");
        rig.rooms.send(published_at(seat, SessionId::random())).await.unwrap().unwrap();
        rig.last_peer_says(PeerEvent::Connected).await;
        rig.last_peer_says(PeerEvent::FirstMedia).await;
        assert_eq!(rig.directory.sessions(), 3, "it has its own place, and none is kept beside it");
        drop(last);
        rig.last_peer_says(PeerEvent::Ended(EndReason::ClosedByPeer)).await;
        assert_eq!(rig.directory.sessions(), 2, "kept once more");
        virtual_time::pass(GRACE * 2).await;
        assert_eq!(rig.directory.sessions(), 0, "and given back with the stream's end");
    });
}

#[test]
fn a_room_that_empties_while_its_root_is_busy_is_forgotten_all_the_same() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let session = live(&rig).await;
        let (_, room) = rig.notes.lock().unwrap().added[0].clone();
        let event = PeerEvent::Ended(EndReason::ClosedByPeer);
        let notice = PeerNotice { session, event, at: crate::actor::now() };
        // The room is awake before its root, and finds the root's mailbox full.
        room.try_send(PeerNotices(vec![notice])).unwrap();
        while rig.rooms.try_send(Ping).is_ok() {}
        virtual_time::pass(crate::actor::lane::NOTICE_RETRY * 4).await;
        assert_eq!((rig.metrics.rooms.get(), rig.rooms.send(GetRooms).await.unwrap().len()), (0, 0));
    });
}

#[test]
fn a_publisher_that_never_sends_gives_the_name_back() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let session = SessionId::random();
        rig.rooms.send(published(&rig, session)).await.unwrap().unwrap();
        rig.last_peer_says(PeerEvent::Connected).await;
        virtual_time::pass(std::time::Duration::from_millis(29_900)).await;
        assert!(matches!(rig.rooms.send(place()).await.unwrap(), Err(RoomError::Taken)));
        virtual_time::pass(std::time::Duration::from_millis(200)).await;
        assert_eq!(told(&rig), [(0, "Close(NoMedia)".to_owned())]);
        live(&rig).await;
        virtual_time::pass(std::time::Duration::from_secs(60)).await;
        assert_eq!(told(&rig).len(), 1, "one that sends stays");
    });
}

#[test]
fn a_stream_whose_publisher_fell_silent_is_paused_and_open_to_others() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let publisher = live(&rig).await;
        let report = async || {
            let reports = rig.rooms.send(GetRooms).await.unwrap();
            let stream = &reports[0].streams[0];
            (reports[0].live, stream.live, stream.paused)
        };
        assert_eq!(report().await, (true, true, false));
        rig.last_peer_says(PeerEvent::MediaPaused { since: std::time::Instant::now() }).await;
        assert_eq!(report().await, (false, false, true));
        let found = || rig.directory.find(&room(), &StreamName::default());
        assert!(matches!(found(), Err(RoomError::NotLive)), "viewers are told to wait");
        assert!(matches!(rig.play(room(), viewer(&rig, publisher)).await, Err(RoomError::NotLive)));
        rig.rooms.send(place()).await.unwrap().expect("an encoder that was started anew comes in");
        rig.last_peer_says(PeerEvent::MediaResumed).await;
        assert_eq!(report().await, (true, true, false));
        found().unwrap();
        assert!(matches!(rig.rooms.send(place()).await.unwrap(), Err(RoomError::Taken)));
    });
}

#[test]
fn viewers_that_a_room_cannot_take_wait_up_to_a_bound() {
    const CROWD: usize = 20_000;
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let publisher = live(&rig).await;
        let play = viewer(&rig, publisher);
        let asked =
            (0..CROWD).map(|_| rig.play(room(), Play { session: SessionId::random(), ..play.clone() }));
        let answers = futures_util::future::join_all(asked).await;
        let refused = |why: fn(&RoomError) -> bool| {
            answers.iter().filter(|answer| answer.as_ref().is_err_and(why)).count()
        };
        let crowded = refused(|error| matches!(error, RoomError::Crowded));
        // The shard behind the room has a bound of its own.
        let behind = refused(|error| matches!(error, RoomError::Unanswered(_)));
        let good = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!(good > 2_048 && crowded > 2_048, "{good} came in, {crowded} were too many");
        assert_eq!(good + crowded + behind, CROWD, "all are answered");
    });
}

fn viewer(rig: &Rig, publisher: SessionId) -> Play {
    let config = config(include_str!("../signalling/sdp/fixtures/chromium-publish.sdp"));
    let (session, place) = (SessionId::random(), rig.directory.reserve().unwrap());
    Play {
        session,
        stream: StreamName::default(),
        publisher,
        video_section: Some(1),
        place,
        token: None,
        etag: 1,
        config,
        trace: None,
    }
}

fn told(rig: &Rig) -> Vec<(u32, String)> {
    let notes = rig.notes.lock().unwrap();
    notes.told.iter().map(|(peer, input)| (*peer, format!("{input:?}").chars().take(14).collect())).collect()
}

#[test]
fn a_viewer_that_leaves_before_its_room_knows_its_peer_leaves_no_peer() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let play = viewer(&rig, live(&rig).await);
        let session = play.session;
        rig.play(room(), play).await.unwrap();
        let end = EndSession { session, stream: StreamName::default(), role: Role::Viewer };
        rig.rooms.send(InRoom { room: room(), message: end }).await.unwrap().expect("it is known");
        assert_eq!((told(&rig).len(), rig.directory.sessions()), (0, 1));
        rig.shard_notifies().await;
        tokio::task::yield_now().await;
        assert_eq!(told(&rig), [(1, "Close(Deleted)".to_owned())]);
    });
}

#[test]
fn a_restart_waits_until_the_room_knows_the_peer() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let play = viewer(&rig, live(&rig).await);
        let (session, role, if_match) = (play.session, Role::Viewer, IfMatch::Any);
        rig.play(room(), play).await.unwrap();
        let remote = Some(IceCredentials { ufrag: "moved".to_owned(), password: "p".repeat(22) });
        let patch = PatchSession { session, stream: StreamName::default(), role, if_match, remote };
        let patched = rig.rooms.send(InRoom { room: room(), message: patch }).await.unwrap();
        assert!(matches!(patched, Ok(Patched::Restarted { .. })), "{patched:?}");
        assert_eq!(told(&rig).len(), 0);
        rig.shard_notifies().await;
        tokio::task::yield_now().await;
        assert_eq!(told(&rig), [(1, "RestartIce { l".to_owned())]);
    });
}

#[test]
fn a_viewer_that_the_shard_refuses_leaves_no_trace() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let publisher = live(&rig).await;
        rig.notes.lock().unwrap().full = true;
        let refused = rig.play(room(), viewer(&rig, publisher)).await;
        assert!(matches!(refused, Err(RoomError::Shard(_))), "{refused:?}");
        assert_eq!(rig.directory.sessions(), 2, "until the room hears of it");
        rig.shard_notifies().await;
        assert_eq!(rig.directory.sessions(), 1);
        let viewers = rig.metrics.sessions.with_label_values(&["viewer", "whep"]);
        assert_eq!(viewers.get(), 0);
        rig.notes.lock().unwrap().full = false;
        rig.play(room(), viewer(&rig, publisher)).await.expect("the next one comes in");
        assert_eq!((rig.directory.sessions(), viewers.get()), (2, 1));
    });
}

#[test]
fn viewers_are_refused_by_whoever_knows_first() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let nowhere = rig.play(room(), viewer(&rig, SessionId::random())).await;
        assert!(matches!(nowhere, Err(RoomError::NotLive)), "{nowhere:?}");
        live(&rig).await;
        let former = rig.play(room(), viewer(&rig, SessionId::random())).await;
        assert!(matches!(former, Err(RoomError::NotLive)), "{former:?}");
        rig.rooms.send(CloseAll(EndReason::Shutdown)).await.unwrap();
        let late = rig.play(room(), viewer(&rig, SessionId::random())).await;
        assert!(matches!(late, Err(RoomError::Refused(PlacementRefusal::Draining))), "{late:?}");
        assert_eq!((rig.directory.sessions(), rig.notes.lock().unwrap().added.len()), (0, 1));
    });
}

#[test]
fn draining_ends_every_session_and_lets_nobody_in() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        live(&rig).await;
        rig.rooms.send(CloseAll(EndReason::Shutdown)).await.unwrap();
        tokio::task::yield_now().await;
        let told =
            rig.notes.lock().unwrap().told.iter().map(|(_, input)| format!("{input:?}")).collect::<Vec<_>>();
        assert_eq!(told, ["Close(Shutdown)"]);
        let refused = rig.rooms.send(place()).await.unwrap();
        assert!(matches!(refused, Err(RoomError::Refused(_))), "{refused:?}");
        let late = rig.rooms.send(published(&rig, SessionId::random())).await.unwrap();
        assert!(matches!(late, Err(RoomError::Refused(_))), "{late:?}");
    });
}

#[test]
fn every_viewer_of_a_crowd_is_told_that_the_stream_ended() {
    const VIEWERS: usize = 10_000;
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        let publisher = live(&rig).await;
        let config = published(&rig, publisher).message.config;
        for _ in 0..VIEWERS {
            let (session, stream) = (SessionId::random(), StreamName::default());
            let place = rig.directory.reserve().unwrap();
            let play = Play {
                session,
                stream,
                publisher,
                video_section: None,
                place,
                token: None,
                etag: 1,
                config: config.clone(),
                trace: None,
            };
            rig.play(room(), play).await.unwrap();
        }
        rig.shard_notifies().await;
        rig.peer_says(0, PeerEvent::Ended(EndReason::ClosedByPeer)).await;
        let patience = crate::actor::now() + std::time::Duration::from_secs(60);
        let told = || rig.notes.lock().unwrap().told.len();
        while told() < VIEWERS && crate::actor::now() < patience {
            virtual_time::pass(crate::actor::lane::NOTICE_RETRY).await;
        }
        assert_eq!(told(), VIEWERS);
        assert_eq!(rig.rooms.send(GetRooms).await.unwrap().len(), 0);
    });
}

/// A fault for the test below.
#[derive(Debug, Clone, actix::Message)]
#[rtype(result = "Result<(), RoomError>")]
struct Panic;

impl RoomMessage for Panic {
    fn refused(error: RoomError) -> Self::Result {
        Err(error)
    }

    fn missing() -> RoomError {
        RoomError::NotLive
    }
}

impl Handler<Panic> for Room {
    type Result = Result<(), RoomError>;

    fn handle(&mut self, _: Panic, _: &mut actix::Context<Self>) -> Self::Result {
        panic!("a fault for the test");
    }
}

#[test]
fn the_peers_of_a_room_that_dies_are_ended_and_its_name_is_free_again() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        live(&rig).await;
        let died = rig.rooms.send(InRoom { room: room(), message: Panic }).await.unwrap();
        assert!(matches!(died, Err(RoomError::Closed)), "{died:?}");
        virtual_time::pass(std::time::Duration::from_millis(1)).await;
        let told = rig.notes.lock().unwrap().told.clone();
        assert!(matches!(told[..], [(0, PeerInput::Close(EndReason::Internal))]), "{told:?}");
        assert!(rig.directory.find(&room(), &StreamName::default()).is_err());
        assert_eq!(rig.directory.sessions(), 0);
        assert_eq!((rig.metrics.rooms.get(), rig.metrics.streams.get()), (0, 0));
        assert_eq!(rig.metrics.actor_restarts_total.with_label_values(&["room", "panic"]).get(), 1);
        assert_eq!(rig.rooms.send(GetRooms).await.unwrap().len(), 0);
        live(&rig).await;
    });
}

fault::can_panic!(Rooms);

#[test]
fn the_root_of_rooms_that_panics_has_died() {
    virtual_time::run(async {
        let rig = Rig::new(&Limits::default());
        live(&rig).await;
        let minute = std::time::Duration::from_secs(60);
        assert!(tokio::time::timeout(minute, rig.watch.clone().exit()).await.is_err(), "it lives");
        rig.rooms.send(fault::Panic).await.unwrap_err();
        assert_eq!(rig.watch.exit().await, Exit::Died);
    });
}
