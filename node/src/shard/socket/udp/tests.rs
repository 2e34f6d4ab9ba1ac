//! Real sockets on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};
use std::time::{Duration, Instant};

use super::receive::UdpReceiver;
use super::send::UdpSender;
use super::*;
use crate::shard::socket::counters::SendErrorKind;

/// A datagram as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    from: SocketAddr,
    arrival: Instant,
    bytes: Vec<u8>,
}

struct End {
    socket: UdpSocket,
    sender: UdpSender,
    receiver: UdpReceiver,
}

impl End {
    fn bind(address: &str) -> Self {
        let socket = UdpSocket::bind(address.parse().unwrap()).unwrap();
        let sender = UdpSender::new(&socket);
        Self { socket, sender, receiver: UdpReceiver::new() }
    }

    /// Reads until `count` datagrams are there; fails after five seconds without any.
    fn read(&mut self, count: usize) -> Vec<Got> {
        let mut got = Vec::new();
        while got.len() < count {
            wait_readable(&self.socket);
            let sink = |from, arrival, bytes: &mut [u8]| {
                got.push(Got { from, arrival, bytes: bytes.to_vec() });
            };
            self.receiver.receive(&self.socket, &mut self.sender, sink).unwrap();
        }
        got
    }

    fn send(&mut self, runs: &[(SocketAddr, Vec<u8>, usize)]) {
        let runs = runs.iter().map(|(to, bytes, segment)| (*to, bytes.as_slice(), *segment));
        self.sender.send(&self.socket, runs);
    }
}

#[allow(unsafe_code)]
fn wait_readable(socket: &UdpSocket) {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one `pollfd` on this stack frame, and the count says so.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 5_000) };
    assert_eq!(ready, 1, "nothing came within five seconds");
}

fn reader(address: &str) -> StdSocket {
    let socket = StdSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn read_one(socket: &StdSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 65_536];
    let (len, from) = socket.recv_from(&mut buffer).expect("a datagram within five seconds");
    (buffer[..len].to_vec(), from)
}

/// `count` datagrams of `size` bytes, each filled with its number, and a last one of `last` bytes.
fn run_of(count: u8, size: usize, last: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..count).flat_map(|n| vec![n; size]).collect();
    bytes.extend(vec![0xff; last]);
    bytes
}

#[test]
fn a_run_leaves_as_separate_datagrams() {
    for (ours, theirs) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
        let mut end = End::bind(ours);
        let reader = reader(theirs);
        end.send(&[(reader.local_addr().unwrap(), run_of(5, 1200, 700), 1200)]);
        for n in 0..5 {
            assert_eq!(read_one(&reader), (vec![n; 1200], end.socket.local()));
        }
        assert_eq!(read_one(&reader).0, vec![0xff; 700]);
        let counters = end.sender.counters();
        assert_eq!((counters.datagrams, counters.bytes, counters.calls), (6, 6700, 1));
        assert_eq!(counters.dropped_total(), 0);
    }
}

#[test]
fn one_call_serves_many_receivers() {
    let mut end = End::bind("127.0.0.1:0");
    let readers: Vec<_> = (0..300).map(|_| reader("127.0.0.1:0")).collect();
    let runs: Vec<_> = readers
        .iter()
        .enumerate()
        .map(|(n, reader)| (reader.local_addr().unwrap(), run_of(n as u8 % 4, 100, 10), 100))
        .collect();
    end.send(&runs);
    for (n, reader) in readers.iter().enumerate() {
        for _ in 0..n % 4 {
            assert_eq!(read_one(reader).0.len(), 100);
        }
        assert_eq!(read_one(reader).0, vec![0xff; 10]);
    }
    assert!(end.sender.counters().calls <= 3, "{:?}", end.sender.counters());
}

#[test]
fn what_the_kernel_coalesced_comes_out_as_it_was_sent() {
    let mut sender = End::bind("127.0.0.1:0");
    let mut receiver = End::bind("127.0.0.1:0");
    let start = Instant::now();
    let mut run = run_of(40, 1000, 1);
    run.truncate(40 * 1000 + 1);
    sender.send(&[(receiver.socket.local(), run, 1000)]);
    let got = receiver.read(41);
    for (n, datagram) in got.iter().take(40).enumerate() {
        assert_eq!(datagram.bytes, vec![n as u8; 1000]);
        assert_eq!(datagram.from, sender.socket.local());
    }
    assert_eq!(got[40].bytes, [0xff]);
    let counters = receiver.receiver.counters();
    assert_eq!((counters.datagrams, counters.bytes), (41, 40_001));
    assert_eq!((counters.overflowed, counters.malformed), (0, 0));
    let now = Instant::now();
    let slack = Duration::from_millis(1);
    assert!(got.iter().all(|got| got.arrival + slack >= start && got.arrival <= now));
}

/// Lets time pass, busily.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn arrival_is_when_the_kernel_got_it_not_when_it_was_read() {
    let mut end = End::bind("127.0.0.1:0");
    let client = StdSocket::bind("127.0.0.1:0").unwrap();
    // The kernel starts to take timestamps some time after the first socket asks for them.
    loop {
        client.send_to(b"probe", end.socket.local()).unwrap();
        wait_readable(&end.socket);
        let there = Instant::now();
        spin(Duration::from_millis(1));
        if end.read(1)[0].arrival <= there {
            break;
        }
    }
    client.send_to(b"early", end.socket.local()).unwrap();
    wait_readable(&end.socket);
    let there = Instant::now();
    spin(Duration::from_millis(3));
    client.send_to(b"late", end.socket.local()).unwrap();
    let got = end.read(2);
    assert!(got[0].arrival <= there + Duration::from_millis(1));
    assert!(got[1].arrival >= got[0].arrival + Duration::from_millis(3));
}

#[test]
fn nothing_there_is_not_an_error() {
    let mut end = End::bind("127.0.0.1:0");
    let progress = end.receiver.receive(&end.socket, &mut end.sender, |_, _, _| {}).unwrap();
    assert!(progress.drained && progress.datagrams == 0);
}

#[test]
fn a_refused_message_is_counted_and_the_rest_leaves() {
    let mut end = End::bind("127.0.0.1:0");
    let reader = reader("127.0.0.1:0");
    let good = reader.local_addr().unwrap();
    // A socket bound to loopback may not send elsewhere: the kernel refuses, one datagram and a run alike.
    let bad: SocketAddr = "192.0.2.1:9".parse().unwrap();
    end.send(&[
        (good, vec![1; 10], 10),
        (bad, vec![2; 10], 10),
        (bad, run_of(3, 10, 5), 10),
        (good, vec![3; 10], 10),
    ]);
    assert_eq!(read_one(&reader).0, vec![1; 10]);
    assert_eq!(read_one(&reader).0, vec![3; 10]);
    let counters = end.sender.counters();
    assert_eq!(counters.datagrams, 2);
    assert_eq!(counters.dropped_total(), 5, "{counters:?}");
}

#[test]
fn a_run_that_cannot_be_cut_leaves_as_plain_datagrams() {
    let mut end = End::bind("127.0.0.1:0");
    let reader = reader("127.0.0.1:0");
    let to = reader.local_addr().unwrap();
    // More datagrams than the kernel cuts one run into (128): it refuses with EINVAL.
    end.send(&[(to, run_of(200, 10, 3), 10), (to, vec![7; 4], 4)]);
    for n in 0..200 {
        assert_eq!(read_one(&reader).0, vec![n; 10]);
    }
    assert_eq!(read_one(&reader).0, vec![0xff; 3]);
    assert_eq!(read_one(&reader).0, vec![7; 4]);
    let counters = end.sender.counters();
    assert_eq!((counters.datagrams, counters.unsegmented_runs), (202, 1));
    assert_eq!(counters.dropped_total(), 0);
}

#[test]
fn a_host_that_cannot_cut_runs_gets_plain_datagrams() {
    let mut end = End::bind("127.0.0.1:0");
    end.sender.disable_segmentation();
    let reader = reader("127.0.0.1:0");
    end.send(&[(reader.local_addr().unwrap(), run_of(3, 10, 4), 10)]);
    let sizes: Vec<_> = (0..4).map(|_| read_one(&reader).0.len()).collect();
    assert_eq!(sizes, [10, 10, 10, 4]);
}

#[test]
fn the_kernels_drops_are_counted_once_the_buffer_overflowed() {
    let mut end = End::bind("127.0.0.1:0");
    control::shrink_receive_buffer(&end.socket.socket);
    let client = StdSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..200 {
        client.send_to(&[0; 1000], end.socket.local()).unwrap();
    }
    let mut total = end.read(1).len();
    // The count rides on the next datagram that fits.
    client.send_to(&[1; 10], end.socket.local()).unwrap();
    loop {
        let got = end.read(1);
        total += got.len();
        if got.iter().any(|got| got.bytes == [1; 10]) {
            break;
        }
    }
    assert!(total < 201);
    assert_eq!(end.receiver.counters().overflowed as usize, 201 - total);
}

#[test]
fn a_wildcard_socket_answers_from_the_address_it_was_asked_at() {
    for (ours, asked) in
        [("0.0.0.0:0", "127.0.0.1"), ("0.0.0.0:0", "127.1.2.3"), ("[::]:0", "127.1.2.3"), ("[::]:0", "::1")]
    {
        let mut end = End::bind(ours);
        let ip: IpAddr = asked.parse().unwrap();
        let client = reader(if ip.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" });
        let at = SocketAddr::new(ip, end.socket.local().port());
        client.send_to(b"ask", at).unwrap();
        let from = end.read(1)[0].from;
        assert_eq!(from, client.local_addr().unwrap(), "IPv4 is written as IPv4");
        end.send(&[(from, run_of(2, 8, 3), 8)]);
        for _ in 0..3 {
            assert_eq!(read_one(&client).1, at, "{ours} asked at {asked}");
        }
    }
}

#[test]
fn a_second_server_on_the_port_is_told_so() {
    let first = End::bind("127.0.0.1:0");
    let error = UdpSocket::bind(first.socket.local()).unwrap_err();
    assert!(matches!(error, BindError::InUse(address) if address == first.socket.local()));
    let text = error.to_string();
    assert!(text.contains(&first.socket.local().port().to_string()) && text.contains("--udp"));
    let elsewhere = UdpSocket::bind("192.0.2.1:0".parse().unwrap()).unwrap_err();
    assert!(matches!(elsewhere, BindError::NotOurs(_)), "{elsewhere}");
}

#[test]
fn buffers_are_large_and_reported() {
    let sizes = End::bind("127.0.0.1:0").socket.buffer_sizes();
    assert!(sizes.receive >= 200 * 1024 && sizes.send >= 200 * 1024, "{sizes:?}");
}

#[test]
fn errors_have_the_kinds_that_metrics_name() {
    assert_eq!(SendErrorKind::from_errno(libc::EAGAIN), SendErrorKind::BufferFull);
    assert_eq!(SendErrorKind::from_errno(libc::ENETUNREACH), SendErrorKind::Unreachable);
    assert_eq!(SendErrorKind::from_errno(libc::EPERM), SendErrorKind::Denied);
    assert_eq!(SendErrorKind::from_errno(libc::EMSGSIZE), SendErrorKind::TooLarge);
}
