//! A shard on real sockets: clients with their own ICE, DTLS and SRTP connect, publish and watch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, Message, Recipient};
use aforo_cluster::id::{SessionId, TrackId};
use aforo_cluster::metric::Metrics;
use bytes::BytesMut;
use rtc_dtls::endpoint::EndpointEvent;
use rtc_srtp::context::Context as Srtp;
use rtc_srtp::protection_profile::ProtectionProfile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Shard;
use crate::actor::fault::{Panic, can_panic};
use crate::actor::lane::ask;
use crate::actor::supervise::Exit;
use crate::media::codec::CodecKind;
use crate::media::extension::ExtensionMap;
use crate::media::negotiated::{
    Codec, Direction, DtlsRole, Feedback, FingerprintAlgorithm, Negotiated, NegotiatedMedia, SsrcPair,
};
use crate::media::path::{PeerKey, ShardId};
use crate::media::spec::{EgressTrack, IngestTrack};
use crate::peer::actor::Peer;
use crate::peer::core::PeerCore;
use crate::peer::dtls::DtlsIdentity;
use crate::peer::ice;
use crate::peer::message::{EndReason, PeerConfig, PeerEvent, PeerNotice, PeerNotices};
use crate::peer::test_client::{ClientCertificate, ClientOptions, REMOTE, Session, answer_to};
use crate::shard::actor::PeerStart;
use crate::shard::message::{
    AddPeer, AddPeerError, AdmitPeer, ClosePeers, GetLoad, GetReport, PeerMedia, Stop,
};
use crate::shard::socket::tcp::places::PlaceLimits;
use crate::shard::socket::udp::BindError;
use crate::shard::start::{ShardHandle, ShardsConfig, StartError, start_shards, webrtc_peers};

/// Longer than anything here takes, short enough that a failure does not hang.
const PATIENCE: Duration = Duration::from_secs(10);

const TRACK: TrackId = TrackId(7);
const PUBLISHED_SSRC: u32 = 0x1111;
const PLAYED_SSRC: u32 = 0x2222;

/// Stands in for a room.
struct Room(mpsc::UnboundedSender<PeerNotice>);

impl Actor for Room {
    type Context = Context<Self>;
}

impl Handler<PeerNotices> for Room {
    type Result = ();

    fn handle(&mut self, PeerNotices(notices): PeerNotices, _: &mut Context<Self>) {
        notices.into_iter().for_each(|notice| self.0.send(notice).unwrap());
    }
}

/// A client's way to the node.
enum Way {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Way {
    async fn send(&mut self, datagram: &[u8]) {
        match self {
            Self::Udp(socket) => {
                socket.send(datagram).await.unwrap();
            }
            Self::Tcp(stream) => {
                let length = u16::try_from(datagram.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length, datagram].concat()).await.unwrap();
            }
        }
    }

    async fn receive(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 2_048];
        match self {
            Self::Udp(socket) => {
                let len = timeout(PATIENCE, socket.recv(&mut bytes)).await.expect("a datagram").unwrap();
                bytes.truncate(len);
            }
            Self::Tcp(stream) => {
                let len = timeout(PATIENCE, stream.read_u16()).await.expect("a frame").unwrap();
                bytes.truncate(len.into());
                stream.read_exact(&mut bytes).await.unwrap();
            }
        }
        bytes
    }
}

struct Node {
    shards: Vec<ShardHandle>,
    room: Recipient<PeerNotices>,
    notices: mpsc::UnboundedReceiver<PeerNotice>,
}

fn config(identity: Arc<DtlsIdentity>, count: u8) -> ShardsConfig {
    let metrics = Arc::new(Metrics::new().unwrap());
    ShardsConfig {
        udp: "127.0.0.1:0".parse().unwrap(),
        count,
        tcp: true,
        tcp_places: PlaceLimits { total: 100, per_address: 100 },
        peers_max: 100,
        silence_limit: None,
        seed: 1,
        peers: webrtc_peers(identity, Arc::clone(&metrics)),
        metrics,
    }
}

can_panic!(Room);

impl Node {
    fn start(count: u8) -> Self {
        Self::with(&config(DtlsIdentity::generate().unwrap(), count))
    }

    fn with(config: &ShardsConfig) -> Self {
        let shards = start_shards(config).unwrap();
        let (sender, notices) = mpsc::unbounded_channel();
        Self { shards, room: Room(sender).start().recipient(), notices }
    }

    async fn notice(&mut self) -> (SessionId, PeerEvent) {
        let notice = timeout(PATIENCE, self.notices.recv()).await.expect("a notice").unwrap();
        (notice.session, notice.event)
    }

    async fn stop(self) {
        for shard in &self.shards {
            ask(&shard.addr, Stop, PATIENCE).await.unwrap();
            shard.end_thread();
        }
    }
}

/// A client that is connected.
struct Client {
    session: SessionId,
    peer: PeerKey,
    dtls: Session,
    way: Way,
    seals: Srtp,
    opens: Srtp,
}

fn opus(ssrc: u32, publishes: bool) -> NegotiatedMedia {
    let pair = SsrcPair { primary: ssrc, rtx: None };
    NegotiatedMedia {
        kind: CodecKind::Opus.kind(),
        mid: "0".to_owned(),
        codec: Codec { kind: CodecKind::Opus, payload_type: 111, fmtp: String::new() },
        rtx_payload_type: None,
        red_payload_type: None,
        extensions: ExtensionMap::default(),
        feedback: Feedback::default(),
        rids: Vec::new(),
        remote_ssrcs: if publishes { vec![pair] } else { Vec::new() },
        local_ssrc: (!publishes).then_some(pair),
    }
}

fn publishes() -> PeerMedia {
    PeerMedia::Ingest(vec![IngestTrack { id: TRACK, media: opus(PUBLISHED_SSRC, true) }])
}

fn watches(origin: ShardId) -> PeerMedia {
    PeerMedia::Egress(vec![EgressTrack { id: TRACK, origin, media: opus(PLAYED_SSRC, false) }])
}

fn srtp(key: &[u8], salt: &[u8]) -> Srtp {
    let crypto = rtc_srtp::crypto::default_provider().unwrap();
    Srtp::new(key, salt, ProtectionProfile::AeadAes128Gcm, None, None, crypto.crypto()).unwrap()
}

impl Client {
    /// Adds a peer to shard `on` of `node` and connects to it.
    async fn join(node: &mut Node, on: usize, media: PeerMedia, tcp: bool) -> Self {
        let shard = node.shards[on].clone();
        let certificate = ClientCertificate::ecdsa();
        let mut dtls =
            Session::new(ClientOptions { certificate: certificate.clone(), ..ClientOptions::default() });
        dtls.local = ice::credentials(shard.id).unwrap();
        let session = SessionId::random();
        let negotiated = Negotiated {
            direction: if matches!(media, PeerMedia::Ingest(_)) {
                Direction::Publish
            } else {
                Direction::Play
            },
            remote_ice: dtls.remote.clone(),
            dtls_role: DtlsRole::Server,
            remote_fingerprints: vec![certificate.fingerprint(FingerprintAlgorithm::Sha256)],
            media: Vec::new(),
        };
        let config = PeerConfig { local_ice: dtls.local.clone(), negotiated };
        let add = AddPeer { session, config, media, notices: node.room.clone(), trace_id: None };
        let peer = ask(&shard.addr, add, PATIENCE).await.unwrap().unwrap();
        let mut way = way(&shard, tcp).await;
        way.send(&dtls.check(true)).await;
        assert_eq!(way.receive().await[..2], [1, 1], "a success response");
        handshake(&mut dtls, &mut way).await;
        assert_eq!(node.notice().await, (session, PeerEvent::PathFound));
        assert_eq!(node.notice().await, (session, PeerEvent::Connected));
        let state = dtls.dtls.get_connection_state(REMOTE).unwrap();
        let secret = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 56).unwrap();
        let secret: &[u8] = secret.as_ref();
        let (seals, opens) = (srtp(&secret[..16], &secret[32..44]), srtp(&secret[16..32], &secret[44..]));
        Self { session, peer, dtls, way, seals, opens }
    }

    async fn publish(&mut self, sequence: u16) {
        let mut packet = vec![0x80, 111];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 960).to_be_bytes());
        packet.extend(PUBLISHED_SSRC.to_be_bytes());
        packet.extend(payload(sequence));
        let sealed = self.seals.encrypt_rtp(&packet).unwrap();
        self.way.send(&sealed).await;
    }

    /// The payload of the next RTP packet.
    async fn watch(&mut self) -> Vec<u8> {
        loop {
            let datagram = self.way.receive().await;
            let is_rtp = (128..192).contains(&datagram[0]) && !(192..=223).contains(&datagram[1]);
            if is_rtp {
                let packet = self.opens.decrypt_rtp(&datagram).unwrap();
                assert_eq!(packet[8..12], PLAYED_SSRC.to_be_bytes());
                return packet[12..].to_vec();
            }
        }
    }
}

fn payload(sequence: u16) -> Vec<u8> {
    [&sequence.to_be_bytes()[..], &[9; 60]].concat()
}

async fn way(shard: &ShardHandle, tcp: bool) -> Way {
    if tcp {
        return Way::Tcp(TcpStream::connect(shard.tcp.unwrap()).await.unwrap());
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(shard.udp).await.unwrap();
    Way::Udp(socket)
}

async fn handshake(client: &mut Session, way: &mut Way) {
    client.connect();
    let mut complete = false;
    while !complete {
        while let Some(bytes) = client.to_node.pop_front() {
            way.send(&bytes).await;
        }
        let bytes = way.receive().await;
        if bytes[0] < 4 {
            continue;
        }
        let events = client.dtls.read(Instant::now(), REMOTE, None, BytesMut::from(&bytes[..])).unwrap();
        complete |= events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete));
        client.drain_client();
    }
    while let Some(bytes) = client.to_node.pop_front() {
        way.send(&bytes).await;
    }
}

#[actix_rt::test]
async fn what_a_publisher_sends_reaches_viewers_on_every_shard_by_udp_and_tcp() {
    let mut node = Node::start(2);
    let mut publisher = Client::join(&mut node, 0, publishes(), false).await;
    let mut viewers = Vec::new();
    for (on, tcp) in [(0, false), (0, true), (1, false), (1, true)] {
        viewers.push(Client::join(&mut node, on, watches(ShardId(0)), tcp).await);
    }
    // Another shard's subscription is on its way while the first packets come: go on until everyone has media.
    let mut heard = 0;
    let mut sequence = 0;
    while heard < 1 + viewers.len() {
        publisher.publish(sequence).await;
        sequence += 1;
        if let Ok(Some(notice)) = timeout(Duration::from_millis(20), node.notices.recv()).await {
            assert_eq!(notice.event, PeerEvent::FirstMedia);
            heard += 1;
        }
    }
    let first_common = sequence;
    for sequence in first_common..first_common + 100 {
        publisher.publish(sequence).await;
    }
    for viewer in &mut viewers {
        let mut expected = first_common;
        while expected < first_common + 100 {
            let got = viewer.watch().await;
            let number = u16::from_be_bytes([got[0], got[1]]);
            if number >= first_common {
                assert_eq!(got, payload(expected), "none is missing, none comes twice");
                expected += 1;
            }
        }
    }
    let report = ask(&node.shards[0].addr, GetReport { tracks: vec![TRACK] }, PATIENCE).await.unwrap();
    assert!(report.tracks[0].1.packets >= 100);
    let load = ask(&node.shards[1].addr, GetLoad, PATIENCE).await.unwrap();
    assert_eq!(load.peers, 2);
    assert!(load.sent_bytes >= 100 * 60, "one of them takes UDP: {load:?}");
    assert!(node.shards[0].heartbeat.age(Instant::now()) < PATIENCE);
    node.stop().await;
}

#[actix_rt::test]
async fn a_deleted_session_is_told_goodbye_and_gone() {
    let mut node = Node::start(1);
    let mut client = Client::join(&mut node, 0, publishes(), false).await;
    let shard = node.shards[0].addr.clone();
    let close = ClosePeers { peers: vec![client.peer], reason: EndReason::Deleted };
    ask(&shard, close, PATIENCE).await.unwrap();
    assert_eq!(node.notice().await, (client.session, PeerEvent::Ended(EndReason::Deleted)));
    let goodbye = client.way.receive().await;
    let events = client.dtls.dtls.read(Instant::now(), REMOTE, None, BytesMut::from(&goodbye[..])).unwrap();
    assert!(events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)));
    assert_eq!(ask(&shard, GetLoad, PATIENCE).await.unwrap().peers, 0);
    node.stop().await;
}

#[actix_rt::test]
async fn a_client_that_moves_keeps_its_session() {
    let mut node = Node::start(1);
    let mut publisher = Client::join(&mut node, 0, publishes(), false).await;
    let mut viewer = Client::join(&mut node, 0, watches(ShardId(0)), false).await;
    publisher.publish(1).await;
    assert_eq!(viewer.watch().await, payload(1));
    viewer.way = way(&node.shards[0], false).await;
    let check = viewer.dtls.check(true);
    viewer.way.send(&check).await;
    assert_eq!(viewer.way.receive().await[..2], [1, 1]);
    let question = viewer.way.receive().await;
    let answer = answer_to(&question, &viewer.dtls.remote.password);
    viewer.way.send(&answer).await;
    let check = viewer.dtls.check(true);
    viewer.way.send(&check).await;
    assert_eq!(viewer.way.receive().await[..2], [1, 1]);
    // The answer has left, so the peer has said where it is now; the next round knows.
    ask(&node.shards[0].addr, GetLoad, PATIENCE).await.unwrap();
    publisher.publish(2).await;
    assert_eq!(viewer.watch().await, payload(2));
    publisher.way = way(&node.shards[0], true).await;
    let check = publisher.dtls.check(true);
    publisher.way.send(&check).await;
    assert_eq!(publisher.way.receive().await[..2], [1, 1]);
    publisher.publish(3).await;
    assert_eq!(viewer.watch().await, payload(3), "from UDP to TCP");
    node.stop().await;
}

#[actix_rt::test]
async fn a_stopping_shard_says_goodbye_to_everyone() {
    let mut node = Node::start(1);
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::join(&mut node, 0, watches(ShardId(0)), false).await);
    }
    let shard = node.shards[0].clone();
    // As a drain does it: the last peer says goodbye in the very turn in which the shard is asked to stop.
    let peers = clients.iter().map(|client| client.peer).collect();
    shard.addr.try_send(ClosePeers { peers, reason: EndReason::Shutdown }).unwrap();
    let asked = Instant::now();
    ask(&shard.addr, Stop, PATIENCE).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "it waited for peers that had gone");
    shard.end_thread();
    for client in &mut clients {
        let goodbye = client.way.receive().await;
        let events =
            client.dtls.dtls.read(Instant::now(), REMOTE, None, BytesMut::from(&goodbye[..])).unwrap();
        assert!(events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)));
        assert!(matches!(node.notice().await.1, PeerEvent::Ended(EndReason::Shutdown)));
    }
}

#[actix_rt::test]
async fn noise_harms_nobody_and_is_counted() {
    let mut node = Node::start(1);
    let mut client = Client::join(&mut node, 0, publishes(), false).await;
    let noise = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to: SocketAddr = node.shards[0].udp;
    for n in 0..2_000_u32 {
        let len = n as usize % 1_300;
        let datagram: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(n) >> 3) as u8 ^ n as u8).collect();
        noise.send_to(&datagram, to).await.unwrap();
        if let (Way::Udp(way), true) = (&client.way, n % 2 == 0) {
            way.send(&datagram).await.unwrap();
        }
    }
    client.publish(1).await;
    loop {
        if node.notice().await == (client.session, PeerEvent::FirstMedia) {
            break;
        }
    }
    node.stop().await;
}

#[actix_rt::test]
async fn a_port_that_is_taken_is_named() {
    let node = Node::start(1);
    let mut config = config(DtlsIdentity::generate().unwrap(), 1);
    config.udp = node.shards[0].udp;
    let error = start_shards(&config).err().unwrap();
    assert!(matches!(error, StartError::Udp(BindError::InUse(address)) if address == node.shards[0].udp));
    let listener = TcpStream::connect(node.shards[0].tcp.unwrap()).await;
    assert!(listener.is_ok(), "the first server still runs");
    node.stop().await;
}

can_panic!(Shard);

/// Makes the event loop panic at its next turn: the pump stays borrowed for good.
#[derive(Message)]
#[rtype(result = "()")]
struct BreakEventLoop;

impl Handler<BreakEventLoop> for Shard {
    type Result = ();

    fn handle(&mut self, _: BreakEventLoop, _: &mut Context<Self>) {
        std::mem::forget(self.pump.borrow_mut());
        self.wake.notify_one();
    }
}

async fn exit(shard: &ShardHandle) -> Exit {
    timeout(PATIENCE, shard.watch().exit()).await.expect("the shard ends")
}

#[actix_rt::test]
async fn a_shard_that_is_stopped_has_finished() {
    let node = Node::start(2);
    let shards = node.shards.clone();
    node.stop().await;
    for shard in &shards {
        assert_eq!(exit(shard).await, Exit::Finished);
    }
}

#[actix_rt::test]
async fn a_shard_whose_handler_panics_has_died_and_the_others_live() {
    let node = Node::start(2);
    node.shards[0].addr.send(Panic).await.unwrap_err();
    assert_eq!(exit(&node.shards[0]).await, Exit::Died);
    ask(&node.shards[1].addr, GetLoad, PATIENCE).await.expect("the other lives");
    node.shards[1].addr.send(Stop).await.unwrap();
    node.shards.iter().for_each(ShardHandle::end_thread);
}

#[actix_rt::test]
async fn a_shard_whose_event_loop_panics_has_died() {
    let node = Node::start(1);
    node.shards[0].addr.send(BreakEventLoop).await.unwrap();
    assert_eq!(exit(&node.shards[0]).await, Exit::Died);
    node.shards[0].end_thread();
}

#[actix_rt::test]
async fn a_shard_whose_thread_ends_has_died() {
    let node = Node::start(1);
    node.shards[0].end_thread();
    assert_eq!(exit(&node.shards[0]).await, Exit::Died);
}

#[actix_rt::test]
async fn a_peer_that_panics_ends_its_session_and_is_counted() {
    let identity = DtlsIdentity::generate().unwrap();
    let (started, mut addresses) = mpsc::unbounded_channel();
    let metrics = Arc::new(Metrics::new().unwrap());
    let counted_in = Arc::clone(&metrics);
    let factory = move |start: PeerStart| {
        let core = PeerCore::new(start.config, Arc::clone(&identity), crate::actor::now());
        let peer = Peer::new(start.peer, core, start.shard, &counted_in).start();
        started.send(peer.clone()).unwrap();
        peer.recipient()
    };
    let mut config = config(DtlsIdentity::generate().unwrap(), 1);
    (config.peers, config.metrics) = (Arc::new(factory), Arc::clone(&metrics));
    let mut node = Node::with(&config);
    let publisher = Client::join(&mut node, 0, publishes(), false).await;
    Client::join(&mut node, 0, watches(ShardId(0)), false).await;
    addresses.recv().await.unwrap().send(Panic).await.unwrap_err();
    assert_eq!(node.notice().await, (publisher.session, PeerEvent::Ended(EndReason::Internal)));
    assert_eq!(ask(&node.shards[0].addr, GetLoad, PATIENCE).await.unwrap().peers, 1, "the other stays");
    let died = metrics.actor_restarts_total.with_label_values(&["peer", "panic"]);
    let counted = async {
        while died.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.expect("the next report of the shard counts it");
    assert_eq!(died.get(), 1);
    node.stop().await;
}

#[actix_rt::test]
async fn peers_whose_room_died_are_closed_also_those_that_it_never_knew_of() {
    let mut node = Node::start(1);
    let stays = Client::join(&mut node, 0, publishes(), false).await;
    let (sender, notices) = mpsc::unbounded_channel();
    let room = Room(sender).start();
    let rest = std::mem::replace(&mut node.room, room.clone().recipient());
    let rest = (rest, std::mem::replace(&mut node.notices, notices));
    let mut client = Client::join(&mut node, 0, watches(ShardId(0)), false).await;
    room.send(Panic).await.unwrap_err();
    // Its room died while this was on its way: whoever added it is not there to hear its key.
    let unknown = Session::new(ClientOptions::default());
    let negotiated = Negotiated {
        direction: Direction::Play,
        remote_ice: unknown.remote.clone(),
        dtls_role: DtlsRole::Server,
        remote_fingerprints: Vec::new(),
        media: Vec::new(),
    };
    let config = PeerConfig { local_ice: ice::credentials(ShardId(0)).unwrap(), negotiated };
    let (session, media, notices) = (SessionId::random(), watches(ShardId(0)), node.room.clone());
    let shard = node.shards[0].addr.clone();
    ask(&shard, AddPeer { session, config, media, notices, trace_id: None }, PATIENCE)
        .await
        .unwrap()
        .unwrap();
    let goodbye = client.way.receive().await;
    let events = client.dtls.dtls.read(Instant::now(), REMOTE, None, BytesMut::from(&goodbye[..])).unwrap();
    assert!(events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)));
    let gone = async { while ask(&shard, GetLoad, PATIENCE).await.unwrap().peers > 1 {} };
    timeout(PATIENCE, gone).await.expect("both are gone");
    (node.room, node.notices) = rest;
    assert!(node.notices.try_recv().is_err(), "the other room's peer stays");
    drop(stays);
    node.stop().await;
}

#[actix_rt::test]
async fn a_viewer_is_answered_at_once_and_its_room_learns_of_it_soon() {
    let mut node = Node::start(1);
    let client = Session::new(ClientOptions::default());
    let negotiated = Negotiated {
        direction: Direction::Play,
        remote_ice: client.remote.clone(),
        dtls_role: DtlsRole::Server,
        remote_fingerprints: Vec::new(),
        media: Vec::new(),
    };
    let config = PeerConfig { local_ice: ice::credentials(ShardId(0)).unwrap(), negotiated };
    let shard = node.shards[0].addr.clone();
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let (session, config, answers) = (SessionId::random(), config.clone(), answers.clone());
        let add = AddPeer {
            session,
            config,
            media: watches(ShardId(0)),
            notices: node.room.clone(),
            trace_id: None,
        };
        let answer = Box::new(move |added| answers.send(added).unwrap());
        shard.send(AdmitPeer { add, answer }).await.unwrap();
        sessions.push(session);
    }
    let both = (answered.recv().await.unwrap(), answered.recv().await.unwrap());
    assert_eq!(both, (Ok(()), Err(AddPeerError::UfragTaken)));
    // Nothing else happens on the shard: its loop must have been told of the notices.
    let (first, second) = (node.notice().await, node.notice().await);
    assert!(matches!(first, (session, PeerEvent::Added { shard: ShardId(0), .. }) if session == sessions[0]));
    assert_eq!(second, (sessions[1], PeerEvent::Ended(EndReason::Internal)));
    node.stop().await;
}
