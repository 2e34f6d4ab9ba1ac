//! Real connections on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::accept::{self, Accepted, Identified};
use super::connections::{PROVE_TIMEOUT, TcpConnections, TcpSink, WRITE_CAPACITY_BYTES, run};
use super::frame::{FRAME_MAX_BYTES, FrameReader, length};
use super::places::PlaceLimits;
use crate::media::path::{ShardId, TcpConnection};
use crate::peer::ice;
use crate::peer::test_client::{ClientOptions, Session};

#[derive(Debug, PartialEq)]
enum Heard {
    Frame(TcpConnection, Vec<u8>),
    Closed(TcpConnection),
}

struct Sink {
    connections: TcpConnections,
    heard: mpsc::UnboundedSender<Heard>,
    welcomes: bool,
    proves: bool,
}

impl TcpSink for Sink {
    fn connections(&mut self) -> &mut TcpConnections {
        &mut self.connections
    }

    fn welcomes(&self, _: &[u8]) -> bool {
        self.welcomes
    }

    fn is_proved(&self, _: TcpConnection) -> bool {
        self.proves
    }

    fn frame(&mut self, from: TcpConnection, frame: &mut [u8]) {
        self.heard.send(Heard::Frame(from, frame.to_vec())).unwrap();
    }

    fn closed(&mut self, connection: TcpConnection) {
        self.heard.send(Heard::Closed(connection)).unwrap();
    }
}

fn sink() -> (Rc<RefCell<Sink>>, mpsc::UnboundedReceiver<Heard>) {
    let (heard, hears) = mpsc::unbounded_channel();
    (
        Rc::new(RefCell::new(Sink {
            connections: TcpConnections::default(),
            heard,
            welcomes: true,
            proves: true,
        })),
        hears,
    )
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&length(frame.len()).unwrap()[..], frame].concat()
}

/// A connection that a sink runs, and the client's end of it.
async fn connected(sink: &Rc<RefCell<Sink>>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, remote) = listener.accept().await.unwrap();
    actix_rt::spawn(run(Rc::clone(sink), stream, remote, FrameReader::new()));
    client
}

async fn first_frame(hears: &mut mpsc::UnboundedReceiver<Heard>) -> (TcpConnection, Vec<u8>) {
    match hears.recv().await.unwrap() {
        Heard::Frame(from, frame) => (from, frame),
        other => panic!("{other:?}"),
    }
}

#[actix_rt::test]
async fn frames_go_both_ways() {
    let (sink, mut hears) = sink();
    let mut client = connected(&sink).await;
    client.write_all(&[framed(b"one"), framed(b"two")].concat()).await.unwrap();
    let (connection, frame) = first_frame(&mut hears).await;
    assert_eq!((connection.remote, &frame[..]), (client.local_addr().unwrap(), &b"one"[..]));
    assert_eq!(first_frame(&mut hears).await.1, b"two");
    sink.borrow_mut().connections.send(connection, b"answer");
    let mut answer = [0; 8];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer[..], framed(b"answer"));
    drop(client);
    assert_eq!(hears.recv().await, Some(Heard::Closed(connection)));
    assert!(sink.borrow().connections.is_empty());
    sink.borrow_mut().connections.send(connection, b"late");
    assert_eq!(sink.borrow().connections.counters().dropped_closed, 1);
}

#[actix_rt::test]
async fn a_slow_reader_loses_the_newest_whole_frames_and_holds_nobody_up() {
    let (sink, mut hears) = sink();
    let (mut slow, mut quick) = (connected(&sink).await, connected(&sink).await);
    slow.write_all(&framed(b"slow")).await.unwrap();
    let slow_connection = first_frame(&mut hears).await.0;
    quick.write_all(&framed(b"quick")).await.unwrap();
    let quick_connection = first_frame(&mut hears).await.0;

    let frame = |n: u32| [&n.to_be_bytes()[..], &[7; 1_196]].concat();
    let mut total = 0;
    while sink.borrow().connections.counters().dropped_full < 100 {
        sink.borrow_mut().connections.send(slow_connection, &frame(total));
        total += 1;
    }
    let sent = sink.borrow().connections.counters().sent as u32;
    assert_eq!(sent, total - 100, "once full, it stays full");
    assert!(sent > (WRITE_CAPACITY_BYTES / 1_300) as u32);

    sink.borrow_mut().connections.send(quick_connection, b"at once");
    let mut answer = [0; 9];
    quick.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer[..], framed(b"at once"));

    for n in 0..sent {
        let mut bytes = [0; 1_202];
        slow.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..], framed(&frame(n)), "frame {n} of {sent}");
    }
    sink.borrow_mut().connections.send(slow_connection, b"goes on");
    let mut bytes = [0; 9];
    slow.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes[..], framed(b"goes on"));
}

#[actix_rt::test]
async fn a_bad_frame_ends_the_connection() {
    for bad in [vec![0, 0], (FRAME_MAX_BYTES as u16 + 1).to_be_bytes().to_vec()] {
        let (sink, mut hears) = sink();
        let mut client = connected(&sink).await;
        client.write_all(&[framed(b"good"), bad].concat()).await.unwrap();
        let connection = first_frame(&mut hears).await.0;
        assert_eq!(hears.recv().await, Some(Heard::Closed(connection)));
        assert_eq!(sink.borrow().connections.counters().bad_frames, 1);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}

#[actix_rt::test]
async fn the_shard_can_end_a_connection() {
    let (sink, mut hears) = sink();
    let mut client = connected(&sink).await;
    client.write_all(&framed(b"hello")).await.unwrap();
    let connection = first_frame(&mut hears).await.0;
    sink.borrow_mut().connections.close(connection);
    assert_eq!(hears.recv().await, Some(Heard::Closed(connection)));
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
}

/// An acceptor with room for all, and what becomes of its connections.
async fn acceptor() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Accepted>) {
    acceptor_of(PlaceLimits { total: 1_000, per_address: 1_000 }).await
}

async fn acceptor_of(limits: PlaceLimits) -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Accepted>) {
    let listener = accept::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, accepts) = mpsc::unbounded_channel();
    let listener = TcpListener::from_std(listener).unwrap();
    actix_rt::spawn(accept::serve(listener, limits, move |connection| accepted.send(connection).unwrap()));
    (address, accepts)
}

#[actix_rt::test]
async fn the_first_check_says_which_shard_a_connection_is_for() {
    let (address, mut accepts) = acceptor().await;
    let session = Session::new(ClientOptions::default());
    let check = session.check(true);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.set_nodelay(true).unwrap();
    for part in [&framed(&check)[..1], &framed(&check)[1..30], &framed(&check)[30..], &framed(b"more")] {
        client.write_all(part).await.unwrap();
        tokio::task::yield_now().await;
    }
    let Some(Accepted::Identified(Identified { shard, stream, remote, first, .. })) = accepts.recv().await
    else {
        panic!("not identified");
    };
    assert_eq!(Some(shard), ice::shard_of_ufrag(&session.local.ufrag));
    assert_eq!((shard, remote), (ShardId(3), client.local_addr().unwrap()));
    let (sink, mut hears) = sink();
    actix_rt::spawn(run(Rc::clone(&sink), TcpStream::from_std(stream).unwrap(), remote, first));
    let (connection, frame) = first_frame(&mut hears).await;
    assert_eq!(&frame[..], &check[..], "the check itself is not lost");
    assert_eq!(first_frame(&mut hears).await, (connection, b"more".to_vec()));
}

#[actix_rt::test]
async fn what_is_no_check_of_ours_is_turned_away() {
    let (address, mut accepts) = acceptor().await;
    let starts: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", &[0, 0], &[0xff, 0xff, 1], &framed(&[0; 20])];
    for start in starts {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(start).await.unwrap();
        client.shutdown().await.unwrap();
        assert!(matches!(accepts.recv().await, Some(Accepted::Unidentified)), "{start:?}");
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}

#[actix_rt::test]
async fn those_who_say_nothing_are_few() {
    let (address, mut accepts) = acceptor().await;
    let mut silent = Vec::new();
    while accepts.try_recv().is_err() {
        silent.push(TcpStream::connect(address).await.unwrap());
        tokio::task::yield_now().await;
        assert!(silent.len() < 600, "nobody was turned away");
    }
    assert!((64..128).contains(&silent.len()), "one address takes {} places", silent.len());
}

#[actix_rt::test]
async fn a_check_for_nobody_here_closes_its_connection_at_once() {
    let (address, mut accepts) = acceptor().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&framed(&Session::new(ClientOptions::default()).check(true))).await.unwrap();
    let Some(Accepted::Identified(Identified { stream, remote, first, .. })) = accepts.recv().await else {
        panic!("not identified");
    };
    let (sink, _hears) = sink();
    sink.borrow_mut().welcomes = false;
    run(Rc::clone(&sink), TcpStream::from_std(stream).unwrap(), remote, first).await;
    assert_eq!(sink.borrow().connections.counters().strangers, 1);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[actix_rt::test]
async fn a_connection_that_proves_nothing_is_closed_whatever_it_sends() {
    for proves in [false, true] {
        let (sink, mut hears) = sink();
        sink.borrow_mut().proves = proves;
        let mut client = connected(&sink).await;
        client.write_all(&framed(b"first")).await.unwrap();
        let connection = first_frame(&mut hears).await.0;
        tokio::time::pause();
        tokio::time::advance(PROVE_TIMEOUT / 2).await;
        client.write_all(&framed(b"still here")).await.unwrap();
        assert_eq!(first_frame(&mut hears).await.1, b"still here");
        tokio::time::advance(PROVE_TIMEOUT).await;
        let _ = client.write_all(&framed(b"late")).await;
        let last = loop {
            match hears.recv().await.unwrap() {
                Heard::Frame(_, frame) if frame == b"late" && !proves => {}
                last => break last,
            }
        };
        let goes_on = Heard::Frame(connection, b"late".to_vec());
        assert_eq!(last, if proves { goes_on } else { Heard::Closed(connection) });
        assert_eq!(sink.borrow().connections.counters().unproved, u64::from(!proves));
        tokio::time::resume();
    }
}

#[actix_rt::test]
async fn no_more_connections_are_taken_than_there_may_be() {
    let (address, mut accepts) = acceptor_of(PlaceLimits { total: 2, per_address: 2 }).await;
    let check = framed(&Session::new(ClientOptions::default()).check(true));
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&check).await.unwrap();
        let Some(Accepted::Identified(identified)) = accepts.recv().await else { panic!("not identified") };
        open.push((client, identified));
    }
    let mut refused = TcpStream::connect(address).await.unwrap();
    refused.write_all(&check).await.unwrap();
    assert!(matches!(accepts.recv().await, Some(Accepted::Full)));
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed at once");
    drop(open.pop());
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(&check).await.unwrap();
    assert!(matches!(accepts.recv().await, Some(Accepted::Identified(_))), "an end makes room");
}
