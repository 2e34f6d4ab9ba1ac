//! The shell under paused time: messages in, `PeerSaid` out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use actix::{Addr, Handler, Message};

use super::*;
use crate::actor::fault::{Panic, can_panic};
use crate::actor::virtual_time;
use crate::peer::core::JOIN_TIMEOUT;
use crate::peer::message::EndReason;
use crate::peer::test_client::{ClientOptions, Session, udp};

/// Stands in for the shard and keeps what it hears.
#[derive(Default)]
struct Ear {
    heard: Vec<PeerOutput>,
}

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<PeerSaid> for Ear {
    type Result = ();

    fn handle(&mut self, said: PeerSaid, _: &mut Context<Self>) {
        assert_eq!(said.peer, KEY);
        self.heard.push(said.output);
    }
}

#[derive(Message)]
#[rtype(result = "Vec<PeerOutput>")]
struct GetHeard;

impl Handler<GetHeard> for Ear {
    type Result = Vec<PeerOutput>;

    fn handle(&mut self, _: GetHeard, _: &mut Context<Self>) -> Vec<PeerOutput> {
        self.heard.clone()
    }
}

const KEY: PeerKey = PeerKey { index: 7, generation: 2 };

fn start() -> (Session, Addr<Ear>, Addr<Peer>) {
    let session = Session::new(ClientOptions::default());
    let ear = Ear::default().start();
    let core = session.fresh_core(now());
    let peer = Peer::new(KEY, core, ear.clone().recipient(), &Metrics::new().unwrap()).start();
    (session, ear, peer)
}

#[test]
fn what_the_core_says_reaches_the_shard_in_order() {
    virtual_time::run(async {
        let (session, ear, peer) = start();
        let bytes = session.check(true);
        peer.send(PeerInput::Datagram { path: udp(1), bytes }).await.unwrap();
        let heard = ear.send(GetHeard).await.unwrap();
        assert!(matches!(
            heard[..],
            [PeerOutput::PathValidated(_), PeerOutput::PathSelected(_), PeerOutput::Transmit { .. }]
        ));
    });
}

#[test]
fn the_timer_ends_a_peer_that_nobody_checks_and_the_actor_with_it() {
    virtual_time::run(async {
        let (_session, ear, peer) = start();
        virtual_time::pass(JOIN_TIMEOUT - Duration::from_millis(5)).await;
        assert!(peer.connected());
        virtual_time::pass(Duration::from_millis(10)).await;
        let heard = ear.send(GetHeard).await.unwrap();
        assert!(matches!(heard[..], [PeerOutput::Ended(EndReason::IceTimeout)]));
        assert!(!peer.connected());
    });
}

#[test]
fn closing_ends_the_actor() {
    virtual_time::run(async {
        let (_session, ear, peer) = start();
        peer.send(PeerInput::Close(EndReason::Deleted)).await.unwrap();
        let heard = ear.send(GetHeard).await.unwrap();
        assert!(matches!(heard[..], [PeerOutput::Ended(EndReason::Deleted)]));
        tokio::task::yield_now().await;
        assert!(!peer.connected());
    });
}

can_panic!(Peer);

#[test]
fn alerts_that_anyone_could_have_sent_are_counted_as_dropped() {
    virtual_time::run(async {
        let session = Session::new(ClientOptions::default());
        let (ear, metrics) = (Ear::default().start(), Metrics::new().unwrap());
        let core = session.fresh_core(now());
        let peer = Peer::new(KEY, core, ear.recipient(), &metrics).start();
        peer.send(PeerInput::Datagram { path: udp(1), bytes: session.check(true) }).await.unwrap();
        // A fatal alert of epoch 0, which nothing protects.
        let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];
        for _ in 0..3 {
            let bytes = bytes::Bytes::copy_from_slice(&alert);
            peer.send(PeerInput::Datagram { path: udp(1), bytes }).await.unwrap();
        }
        let dropped = metrics.datagrams_dropped_total.with_label_values(&["dtls_ignored"]);
        assert_eq!(dropped.get(), 3);
        assert!(peer.connected());
    });
}

#[test]
fn a_peer_that_panics_says_that_it_died() {
    virtual_time::run(async {
        let (_session, ear, peer) = start();
        peer.send(Panic).await.unwrap_err();
        let heard = ear.send(GetHeard).await.unwrap();
        assert!(matches!(heard[..], [PeerOutput::Died]), "{heard:?}");
    });
}
