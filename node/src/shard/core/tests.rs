#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::media::keys::{MasterKey, SrtpKeys, SrtpProfile};
use crate::media::negotiated::IceCredentials;
use crate::media::outbox::collected::Collected;
use crate::media::path::TcpConnection;

struct Fixture {
    core: ShardCore,
    now: Instant,
}

impl Fixture {
    fn new(peers_max: usize) -> Self {
        let now = Instant::now();
        let config = ShardCoreConfig { id: ShardId(0), seed: 1, peers_max, silence_limit: None };
        Self { core: ShardCore::new(config, now), now }
    }

    fn add(&mut self, ufrag: &str) -> PeerKey {
        let media = PeerMedia::Egress(Vec::new());
        self.core.add_peer(SessionId::random(), &credentials(ufrag), media).unwrap()
    }

    fn datagram(&mut self, path: Path, bytes: &[u8]) {
        self.core.handle_datagram(self.now, self.now, path, &mut bytes.to_vec());
    }

    fn said(&mut self, peer: PeerKey, output: PeerOutput) {
        self.core.handle_peer(self.now, peer, output);
    }

    fn outputs(&mut self) -> Vec<ShardOutput> {
        std::iter::from_fn(|| self.core.poll_output()).collect()
    }

    /// The peers that datagrams were given to.
    fn told(&mut self) -> Vec<PeerKey> {
        let told = |output| match output {
            ShardOutput::ToPeer(peer, PeerInput::Datagram { .. }) => Some(peer),
            _ => None,
        };
        self.outputs().into_iter().filter_map(told).collect()
    }

    fn flush(&mut self) -> Vec<(Path, Vec<u8>)> {
        let mut collected = Collected::default();
        self.core.flush(self.now, &mut SendBatch::new(), &mut collected);
        collected.0
    }
}

fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials { ufrag: ufrag.to_owned(), password: format!("password of {ufrag}") }
}

fn udp(port: u16) -> Path {
    Path::Udp(SocketAddr::from(([192, 0, 2, 1], port)))
}

fn tcp(id: u32) -> Path {
    Path::Tcp(TcpConnection { id, remote: SocketAddr::from(([192, 0, 2, 1], 9)) })
}

/// A Binding request with nothing but a USERNAME (RFC 8489 §14.3): enough to be routed.
fn check(ufrag: &str) -> Vec<u8> {
    let name = format!("{ufrag}:them");
    let mut value = name.clone().into_bytes();
    value.resize(name.len().next_multiple_of(4), 0);
    let mut bytes = vec![0, 1, 0, value.len() as u8 + 4, 0x21, 0x12, 0xa4, 0x42];
    bytes.extend([7; 12]);
    bytes.extend([0, 6, 0, name.len() as u8]);
    bytes.extend(value);
    bytes
}

fn keys() -> SrtpKeys {
    let key = || MasterKey { key: vec![1; 16], salt: vec![2; 12] };
    SrtpKeys { profile: SrtpProfile::AeadAes128Gcm, local: key(), remote: key() }
}

/// Receiver reports of the client that has these keys, each another one.
fn reports() -> impl FnMut() -> Vec<u8> {
    use crate::media::rtcp::Writer;
    let mut sealer = crate::media::srtp::RtcpSealer::new(keys().profile, &keys().remote).unwrap();
    move || {
        let mut packet = [0; 64];
        let mut writer = Writer::new(&mut packet);
        writer.receiver_report(1, &[]).unwrap();
        let len = writer.len() + sealer.overhead_bytes();
        sealer.seal(&mut packet[..len]).unwrap();
        packet[..len].to_vec()
    }
}

/// A record of a handshake (RFC 6347 §4.1).
const DTLS: &[u8] = &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
const RTP: &[u8] = &[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9];

#[test]
fn checks_go_by_ufrag_and_the_rest_by_the_path_they_proved() {
    let mut shard = Fixture::new(8);
    let (a, b) = (shard.add("aaaa"), shard.add("bbbb"));
    shard.datagram(udp(1), &check("bbbb"));
    shard.datagram(udp(1), &check("aaaa"));
    assert_eq!(shard.told(), [b, a], "before any path is known");
    shard.datagram(udp(1), DTLS);
    shard.datagram(udp(1), RTP);
    shard.datagram(udp(1), &check("cccc"));
    assert!(shard.told().is_empty());
    let counters = shard.core.counters();
    assert_eq!((counters.path_unknown, counters.stun_unknown, counters.stun_routed), (2, 1, 2));
    shard.said(a, PeerOutput::PathValidated(udp(1)));
    shard.datagram(udp(1), DTLS);
    shard.datagram(udp(2), DTLS);
    assert_eq!(shard.told(), [a]);
    shard.datagram(udp(1), RTP);
    assert_eq!(shard.core.counters().path_unknown, 3, "media of a known path goes to the plane");
}

#[test]
fn noise_is_dropped_and_counted() {
    let mut shard = Fixture::new(8);
    let peer = shard.add("aaaa");
    shard.said(peer, PeerOutput::PathValidated(udp(1)));
    for first in 0..=255u8 {
        for len in [0, 1, 3, 12, 40] {
            shard.datagram(udp(1), &vec![first; len]);
            shard.datagram(udp(2), &vec![first; len]);
        }
    }
    shard.flush();
    let counters = shard.core.counters();
    let unknown = 256 - 4 - 44 - 64;
    assert_eq!(counters.protocol_unknown, 2 * (unknown * 4 + 256));
    assert_eq!(counters.path_unknown, 4 * (44 + 64));
}

#[test]
fn a_move_takes_media_along_and_forgotten_paths_lead_nowhere() {
    let mut shard = Fixture::new(8);
    let peer = shard.add("aaaa");
    shard.said(peer, PeerOutput::PathValidated(udp(1)));
    shard.said(peer, PeerOutput::PathSelected(udp(1)));
    shard.said(peer, PeerOutput::PathSelected(udp(2)));
    shard.datagram(udp(1), DTLS);
    shard.datagram(udp(2), DTLS);
    assert_eq!(shard.told(), [peer, peer]);
    shard.said(peer, PeerOutput::PathForgotten(udp(1)));
    shard.datagram(udp(1), DTLS);
    assert!(shard.outputs().is_empty());
    assert_eq!(shard.core.counters().path_unknown, 1);
}

#[test]
fn an_ice_restart_adds_the_new_ufrag_and_keeps_the_old() {
    let mut shard = Fixture::new(8);
    let peer = shard.add("aaaa");
    let ice = |ufrag: &str| IceCredentials { ufrag: ufrag.into(), password: "p".repeat(22) };
    shard.core.tell(peer, PeerInput::RestartIce { local: ice("bbbb"), remote: ice("them") });
    assert!(
        matches!(shard.outputs()[..], [ShardOutput::ToPeer(told, PeerInput::RestartIce { .. })] if told == peer)
    );
    shard.datagram(udp(1), &check("aaaa"));
    shard.datagram(udp(1), &check("bbbb"));
    assert_eq!(shard.told(), [peer, peer]);
}

#[test]
fn what_a_peer_sends_leaves_with_the_next_flush_in_order() {
    let mut shard = Fixture::new(8);
    let peer = shard.add("aaaa");
    for n in 0..3u8 {
        let bytes = Bytes::from(vec![n; 20]);
        shard.said(peer, PeerOutput::Transmit { path: udp(n.into()), bytes });
    }
    let sent: Vec<_> = (0..3u8).map(|n| (udp(n.into()), vec![n; 20])).collect();
    assert_eq!(shard.flush(), sent);
    assert!(shard.flush().is_empty());
}

#[test]
fn a_flood_of_answers_is_bounded() {
    let mut shard = Fixture::new(8);
    let peer = shard.add("aaaa");
    for _ in 0..TRANSMIT_CAPACITY + 5 {
        shard.said(peer, PeerOutput::Transmit { path: udp(1), bytes: Bytes::from_static(&[1]) });
    }
    assert_eq!(shard.core.counters().transmit_full, 5);
    assert_eq!(shard.flush().len(), TRANSMIT_CAPACITY);
}

#[test]
fn the_room_hears_of_connection_and_end_and_routes_go() {
    let mut shard = Fixture::new(1);
    let peer = shard.add("aaaa");
    shard.said(peer, PeerOutput::PathValidated(tcp(1)));
    let found = shard.now;
    shard.said(peer, PeerOutput::PathSelected(udp(2)));
    shard.now += Duration::from_millis(5);
    shard.said(peer, PeerOutput::PathSelected(udp(1)));
    let connected = PeerOutput::Connected { path: udp(1), keys: keys() };
    shard.said(peer, connected.clone());
    let outputs = shard.outputs();
    let [ShardOutput::Notice(_, first), ShardOutput::Notice(key, notice)] = &outputs[..] else {
        panic!("two notices, not {outputs:?}");
    };
    assert_eq!((first.event, first.at), (PeerEvent::PathFound, found), "said of the first path alone");
    assert_eq!((*key, notice.event, notice.at), (peer, PeerEvent::Connected, shard.now));
    shard.said(peer, connected);
    assert!(shard.outputs().is_empty(), "it connects once");
    let again = shard.core.add_peer(SessionId::random(), &credentials("bbbb"), PeerMedia::Egress(Vec::new()));
    assert_eq!(again, Err(AddPeerError::Full));

    shard.said(peer, PeerOutput::Ended(EndReason::ClosedByPeer));
    let outputs = shard.outputs();
    assert!(
        matches!(
            &outputs[..],
            [ShardOutput::Notice(_, notice), ShardOutput::ClosePath(path), ShardOutput::Removed(gone)]
                if notice.event == PeerEvent::Ended(EndReason::ClosedByPeer) && *path == tcp(1) && *gone == peer
        ),
        "{outputs:?}"
    );
    shard.datagram(udp(1), DTLS);
    shard.datagram(tcp(1), &check("aaaa"));
    shard.said(peer, PeerOutput::Transmit { path: udp(1), bytes: Bytes::from_static(&[1]) });
    assert!(shard.outputs().is_empty() && shard.flush().is_empty());
    assert_eq!(shard.core.peers(), 0);
    assert_ne!(shard.add("aaaa"), peer);
}

#[test]
fn a_closed_tcp_connection_is_no_path_any_more() {
    let mut shard = Fixture::new(8);
    let peer = shard.add("aaaa");
    shard.said(peer, PeerOutput::PathValidated(tcp(3)));
    shard.core.handle_closed(tcp(3));
    shard.datagram(tcp(3), DTLS);
    assert!(shard.outputs().is_empty());
    shard.said(peer, PeerOutput::PathValidated(tcp(4)));
    shard.said(peer, PeerOutput::PathForgotten(tcp(4)));
    assert!(matches!(shard.outputs()[..], [ShardOutput::ClosePath(path)] if path == tcp(4)));
}

#[test]
fn stopping_closes_every_peer_and_takes_none() {
    let mut shard = Fixture::new(8);
    let peers = [shard.add("aaaa"), shard.add("bbbb")];
    shard.core.stop();
    let closing = |output: ShardOutput| match output {
        ShardOutput::ToPeer(peer, PeerInput::Close(EndReason::Shutdown)) => peer,
        other => panic!("{other:?}"),
    };
    let closed: Vec<_> = shard.outputs().into_iter().map(closing).collect();
    assert_eq!(closed, peers);
    let late = shard.core.add_peer(SessionId::random(), &credentials("cccc"), PeerMedia::Egress(Vec::new()));
    assert_eq!(late, Err(AddPeerError::Stopping));
}

/// Hands the shard's words to the peer and the peer's to the shard until both are silent.
fn talk(shard: &mut Fixture, key: PeerKey, peer: &mut crate::peer::core::PeerCore) {
    loop {
        let mut quiet = true;
        for output in shard.outputs() {
            if let ShardOutput::ToPeer(_, input) = output {
                peer.handle(shard.now, input);
                quiet = false;
            }
        }
        while let Some(output) = peer.poll_output() {
            shard.said(key, output);
        }
        if quiet {
            return;
        }
    }
}

#[test]
fn a_client_that_a_nat_gave_another_port_gets_its_media_there_at_its_first_check() {
    use crate::peer::test_client::{ClientOptions, Session, answer_to};
    // Whether the check nominates, for how long nothing came from the old port, and whether the session moves.
    for (nominates, unheard_ms, moves) in [(true, 0, true), (false, 499, false), (false, 500, true)] {
        let mut shard = Fixture::new(8);
        let mut client = Session::new(ClientOptions::default());
        let key = shard.add(&client.local.ufrag);
        let mut peer = client.fresh_core(shard.now);
        shard.datagram(udp(1), &client.check(true));
        talk(&mut shard, key, &mut peer);
        shard.said(key, PeerOutput::Connected { path: udp(1), keys: keys() });
        shard.now += Duration::from_secs(2);
        shard.datagram(udp(1), &reports()());
        shard.now += Duration::from_millis(unheard_ms);
        client.now = shard.now;
        shard.datagram(udp(2), &client.check(nominates));
        talk(&mut shard, key, &mut peer);
        for (path, question) in shard.flush() {
            if question.starts_with(&[0, 1]) {
                shard.datagram(path, &answer_to(&question, &client.remote.password));
            }
        }
        talk(&mut shard, key, &mut peer);
        let used = shard.core.routes.get(key).unwrap().connected_by;
        assert_eq!(used, Some(udp(if moves { 2 } else { 1 })), "{nominates} {unheard_ms}");
        shard.flush();
        shard.datagram(udp(2), RTP);
        assert_eq!(shard.core.counters().path_unknown, 0, "what it sends from there is its own");
    }
}

#[test]
fn a_peer_gets_its_path_back_from_one_whose_check_came_meanwhile() {
    use crate::peer::test_client::{ClientOptions, Session};
    for thief_ends in [true, false] {
        let mut shard = Fixture::new(8);
        let client = Session::new(ClientOptions::default());
        let thief = Session::new(ClientOptions::default());
        let (a, b) = (shard.add(&client.local.ufrag), shard.add(&thief.local.ufrag));
        let (mut peer, mut other) = (client.fresh_core(shard.now), thief.fresh_core(shard.now));
        shard.datagram(udp(1), &client.check(true));
        talk(&mut shard, a, &mut peer);
        assert_eq!(shard.core.routes.by_path(&udp(1)), Some(a));
        shard.datagram(udp(1), &thief.check(true));
        talk(&mut shard, b, &mut other);
        assert_eq!(shard.core.routes.by_path(&udp(1)), Some(b), "nobody has proved it");
        if thief_ends {
            shard.said(b, PeerOutput::Ended(EndReason::Deleted));
            shard.outputs();
        }
        shard.datagram(udp(1), &client.check(false));
        talk(&mut shard, a, &mut peer);
        assert_eq!(shard.core.routes.by_path(&udp(1)), Some(a), "the next check is as good");
        shard.said(a, PeerOutput::Connected { path: udp(1), keys: keys() });
        shard.said(a, PeerOutput::PathProved(udp(1)));
        shard.outputs();
        shard.datagram(udp(1), RTP);
        shard.datagram(udp(1), DTLS);
        assert_eq!((shard.told(), shard.core.counters().path_unknown), (vec![a], 0));
    }
}

/// Who has a session of its own can write any address on its checks.
#[test]
fn a_path_that_a_client_has_proved_is_nobody_elses_while_it_is_heard() {
    use crate::peer::test_client::{ClientOptions, Session, answer_to};
    for answers in [false, true] {
        let mut shard = Fixture::new(8);
        let client = Session::new(ClientOptions::default());
        let thief = Session::new(ClientOptions::default());
        let (a, b) = (shard.add(&client.local.ufrag), shard.add(&thief.local.ufrag));
        let (mut peer, mut other) = (client.fresh_core(shard.now), thief.fresh_core(shard.now));
        shard.datagram(udp(1), &client.check(true));
        talk(&mut shard, a, &mut peer);
        shard.said(a, PeerOutput::Connected { path: udp(1), keys: keys() });
        shard.said(a, PeerOutput::PathProved(udp(1)));
        shard.datagram(udp(2), &thief.check(true));
        talk(&mut shard, b, &mut other);
        shard.said(b, PeerOutput::Connected { path: udp(2), keys: keys() });
        shard.said(b, PeerOutput::PathProved(udp(2)));
        let used = |shard: &Fixture| shard.core.routes.get(b).unwrap().connected_by;
        let mut report = reports();
        for _ in 0..3 {
            shard.datagram(udp(1), &thief.check(true));
            talk(&mut shard, b, &mut other);
            shard.datagram(udp(1), &report());
            assert_eq!((shard.core.routes.by_path(&udp(1)), used(&shard)), (Some(a), Some(udp(2))));
            shard.now += Duration::from_millis(3_600);
        }
        // The client is not heard any more, for 7.1 s in all. Perhaps its NAT gave its port to another, whose media the
        // session that has the path cannot read.
        shard.now += Duration::from_millis(2_000);
        shard.datagram(udp(1), RTP);
        shard.now += Duration::from_millis(1_500);
        shard.flush();
        shard.datagram(udp(1), &thief.check(true));
        talk(&mut shard, b, &mut other);
        assert_eq!((shard.core.routes.by_path(&udp(1)), used(&shard)), (Some(b), Some(udp(1))));
        if answers {
            let mut asked = 0;
            other.handle_timeout(shard.now + Duration::from_millis(200));
            for output in std::iter::from_fn(|| other.poll_output()).collect::<Vec<_>>() {
                shard.said(b, output);
            }
            for (path, question) in shard.flush() {
                if path == udp(1) && question.starts_with(&[0, 1]) {
                    asked += 1;
                    shard.datagram(path, &answer_to(&question, &thief.remote.password));
                }
            }
            talk(&mut shard, b, &mut other);
            assert_eq!(asked, 1);
        }
        shard.datagram(udp(1), &client.check(false));
        talk(&mut shard, a, &mut peer);
        let owner = if answers { b } else { a };
        assert_eq!(shard.core.routes.by_path(&udp(1)), Some(owner), "answered: {answers}");
    }
}

#[test]
fn who_moves_within_its_handshake_to_a_path_that_another_has_is_sent_nothing_there() {
    for has_own in [true, false] {
        let mut shard = Fixture::new(8);
        let (held, moved) = (shard.add("held"), shard.add("moved"));
        shard.said(held, PeerOutput::PathSelected(udp(1)));
        shard.said(held, PeerOutput::Connected { path: udp(1), keys: keys() });
        shard.said(held, PeerOutput::PathProved(udp(1)));
        if has_own {
            shard.said(moved, PeerOutput::PathSelected(udp(2)));
        }
        shard.said(moved, PeerOutput::PathSelected(udp(1)));
        shard.outputs();
        shard.said(moved, PeerOutput::Connected { path: udp(1), keys: keys() });
        let connected_by = shard.core.routes.get(moved).unwrap().connected_by;
        assert_eq!(connected_by, has_own.then(|| udp(2)));
        assert_eq!(shard.core.routes.by_path(&udp(1)), Some(held));
        let closed = shard.outputs().into_iter().find_map(|output| match output {
            ShardOutput::ToPeer(peer, PeerInput::Close(reason)) => Some((peer, reason)),
            _ => None,
        });
        assert_eq!(closed, (!has_own).then_some((moved, EndReason::PathTaken)), "no fault of the node");
    }
}

#[test]
fn who_answers_at_a_path_that_another_had_has_it_at_once() {
    use crate::peer::test_client::{ClientOptions, Session, answer_to};
    let mut shard = Fixture::new(8);
    let gone = shard.add("gone");
    shard.said(gone, PeerOutput::PathSelected(udp(1)));
    shard.said(gone, PeerOutput::Connected { path: udp(1), keys: keys() });
    shard.said(gone, PeerOutput::PathProved(udp(1)));
    let client = Session::new(ClientOptions::default());
    let key = shard.add(&client.local.ufrag);
    let mut peer = client.fresh_core(shard.now);
    shard.datagram(udp(2), &client.check(true));
    talk(&mut shard, key, &mut peer);
    shard.said(key, PeerOutput::Connected { path: udp(2), keys: keys() });
    shard.said(key, PeerOutput::PathProved(udp(2)));
    shard.flush();
    shard.datagram(udp(1), &client.check(true));
    talk(&mut shard, key, &mut peer);
    assert_eq!(shard.core.routes.by_path(&udp(1)), Some(gone), "one check may come from anywhere");
    let sent = shard.flush();
    let question = sent.iter().find(|(path, bytes)| *path == udp(1) && bytes.starts_with(&[0, 1]));
    let answer = answer_to(&question.unwrap().1, &client.remote.password);
    shard.datagram(udp(1), &answer);
    talk(&mut shard, key, &mut peer);
    assert_eq!(shard.core.routes.by_path(&udp(1)), Some(key));
    assert_eq!(shard.core.routes.get(key).unwrap().connected_by, Some(udp(1)), "and its media goes there");
}

#[test]
fn the_answer_to_a_question_gets_through_a_flood_and_what_names_nobody_does_not() {
    use crate::peer::test_client::{ClientOptions, Session, answer_to};
    let mut shard = Fixture::new(8);
    let client = Session::new(ClientOptions::default());
    let key = shard.add(&client.local.ufrag);
    let mut peer = client.fresh_core(shard.now);
    shard.datagram(udp(1), &client.check(true));
    talk(&mut shard, key, &mut peer);
    shard.said(key, PeerOutput::Connected { path: udp(1), keys: keys() });
    shard.datagram(udp(2), &client.check(true));
    talk(&mut shard, key, &mut peer);
    let sent = shard.flush();
    let (path, question) = sent.iter().find(|(_, bytes)| bytes.starts_with(&[0, 1])).unwrap();
    let answer = answer_to(question, &client.remote.password);
    let (mut of_another, mut junk) = (answer.to_vec(), check("nobody"));
    of_another[19] ^= 1;
    junk[1] = 0x11;
    for _ in 0..1_000 {
        shard.datagram(udp(2), &check(&client.local.ufrag));
        shard.datagram(udp(2), &of_another);
        shard.datagram(udp(2), &junk);
    }
    let passed = shard.told().len();
    assert_eq!(shard.core.counters().stun_unknown, 2_000);
    shard.datagram(*path, &answer);
    let [ShardOutput::ToPeer(_, PeerInput::Datagram { bytes, .. })] = &shard.outputs()[..] else {
        panic!("{passed} before it");
    };
    assert_eq!(bytes, &answer);
}

#[test]
fn a_peer_hears_of_what_its_client_sends_by_a_path_that_is_not_in_use() {
    let mut shard = Fixture::new(8);
    let peer = shard.add("aaaa");
    shard.said(peer, PeerOutput::PathValidated(udp(1)));
    shard.said(peer, PeerOutput::PathSelected(udp(1)));
    shard.said(peer, PeerOutput::Connected { path: udp(1), keys: keys() });
    shard.said(peer, PeerOutput::PathValidated(udp(2)));
    shard.said(peer, PeerOutput::PathSelected(udp(2)));
    shard.outputs();
    let mut report = reports();
    let elsewhere = |shard: &mut Fixture, path, bytes: &[u8]| {
        shard.datagram(path, bytes);
        let heard = shard.outputs().into_iter().filter_map(|output| match output {
            ShardOutput::ToPeer(_, PeerInput::SendsElsewhere { path, at }) => Some((path, at)),
            _ => None,
        });
        heard.collect::<Vec<_>>()
    };
    let first = report();
    assert_eq!(elsewhere(&mut shard, udp(2), &report()), [], "that one is in use");
    assert_eq!(elsewhere(&mut shard, udp(1), RTP), [], "anybody may have sent it");
    let now = shard.now;
    assert_eq!(elsewhere(&mut shard, udp(1), &first), [(udp(1), now)]);
    assert_eq!(elsewhere(&mut shard, udp(1), &report()), [], "now and then");
    shard.now += Duration::from_secs(1);
    assert_eq!(elsewhere(&mut shard, udp(1), &first), [], "anybody may have repeated it");
    assert_eq!(elsewhere(&mut shard, udp(1), &report()), [(udp(1), shard.now)]);
}

#[test]
fn a_flood_by_a_peers_own_path_leaves_it_its_checks() {
    use crate::peer::test_client::{ClientOptions, Session};
    let mut shard = Fixture::new(8);
    let client = Session::new(ClientOptions::default());
    let media = PeerMedia::Egress(Vec::new());
    let peer = shard.core.add_peer(SessionId::random(), &client.local, media).unwrap();
    shard.said(peer, PeerOutput::PathValidated(udp(1)));
    shard.said(peer, PeerOutput::PathSelected(udp(1)));
    let genuine = client.check(true);
    let mut passed = 0;
    for window in 0..10 {
        for _ in 0..1_000 {
            shard.datagram(udp(1), DTLS);
            shard.datagram(udp(1), &check(&client.local.ufrag));
        }
        shard.told();
        shard.datagram(udp(1), &genuine);
        passed += shard.told().len();
        assert_eq!(passed, window + 1, "consent goes on");
        shard.now += Duration::from_millis(100);
    }
    let counters = shard.core.counters();
    assert!(counters.dtls_flood >= 9_800, "{}", counters.dtls_flood);
    assert!(counters.stun_forged >= 9_800, "{}", counters.stun_forged);
    // Whoever overheard it cannot crowd the mailbox with it either.
    shard.now += Duration::from_millis(100);
    for port in 2..1_000 {
        shard.datagram(udp(port), &genuine);
    }
    assert!(shard.told().len() < 64);
}

#[test]
fn a_connected_peer_is_not_bothered_with_dtls_that_can_mean_nothing_to_it() {
    let mut shard = Fixture::new(8);
    let peer = shard.add("aaaa");
    shard.said(peer, PeerOutput::PathValidated(udp(1)));
    let record = |kind: u8, epoch: u8| {
        let mut record = vec![kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 0, 0, 2];
        record.extend([2, 40]);
        record
    };
    let change_and_finished = [record(20, 0), record(22, 1)].concat();
    let cut_off = DTLS[..4].to_vec();
    let all = [record(20, 0), record(21, 0), record(23, 0), record(22, 0), record(21, 1), cut_off];
    for bytes in &all {
        shard.datagram(udp(1), bytes);
    }
    assert_eq!(shard.told().len(), all.len(), "of a handshake its peer decides");
    shard.now += Duration::from_secs(1);
    shard.said(peer, PeerOutput::Connected { path: udp(1), keys: keys() });
    shard.outputs();
    for bytes in all.iter().chain([&change_and_finished]) {
        shard.datagram(udp(1), bytes);
    }
    assert_eq!(shard.told().len(), 3, "a flight again, an alert under its keys");
    assert_eq!(shard.core.counters().dtls_pointless, 4);
}
