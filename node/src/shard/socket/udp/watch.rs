//! Waiting for a socket to become readable, in the runtime of the calling thread, once per round and not per datagram.
//!
//! A socket in the runtime's own epoll set wakes the thread for each datagram, also while the shard gathers and does not
//! want to know: at 100 viewers that was six wakes a round, half of all its CPU. So the socket sits in an epoll set of its
//! own, which names it once and then keeps still until [`WatchedSocket::rearm`] (`EPOLLONESHOT`), and the runtime watches
//! that set.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::UdpSocket;

/// A socket and what says when it is readable.
#[derive(Debug)]
pub struct WatchedSocket {
    // Dropped before the socket that it watches.
    gate: AsyncFd<Gate>,
    socket: UdpSocket,
    /// Whether the gate will open for the next datagram.
    armed: Cell<bool>,
}

/// An epoll set with one socket in it.
#[derive(Debug)]
struct Gate {
    epoll: OwnedFd,
    socket: RawFd,
}

impl UdpSocket {
    /// Gives the socket to the runtime to watch, for reading only: that it can be written again is never waited for there,
    /// and each such event would wake the shard for nothing.
    ///
    /// # Errors
    ///
    /// The kernel cannot watch it.
    pub fn watch(self) -> io::Result<WatchedSocket> {
        let gate = Gate::new(self.as_raw_fd())?;
        // SAFETY: the descriptor is owned by the gate inside, which is neither changed nor closed before it is dropped, and
        // the `AsyncFd` owns that from here on; `as_raw_fd` always names this one descriptor.
        let gate = unsafe { AsyncFd::register_with_interest(gate, Interest::READABLE) }?;
        Ok(WatchedSocket { gate, socket: self, armed: Cell::new(true) })
    }
}

impl WatchedSocket {
    /// The socket.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Waits until there is something to read. Further datagrams wake nobody until [`Self::rearm`].
    ///
    /// # Errors
    ///
    /// The runtime is ending, or the kernel cannot watch the socket any more.
    pub async fn readable(&self) -> io::Result<()> {
        loop {
            let mut guard = self.gate.readable().await?;
            let opened = self.gate.get_ref().take()?;
            guard.clear_ready();
            if opened {
                self.armed.set(false);
                return Ok(());
            }
        }
    }

    /// To be called after reading: [`Self::readable`] will tell of the next datagram, or of those that were left.
    ///
    /// # Errors
    ///
    /// The kernel cannot watch the socket any more.
    pub fn rearm(&self) -> io::Result<()> {
        let gate = self.gate.get_ref();
        if self.armed.get() {
            // What it would tell of has just been read.
            gate.take()?;
        }
        self.armed.set(true);
        gate.control(libc::EPOLL_CTL_MOD)
    }
}

impl Gate {
    fn new(socket: RawFd) -> io::Result<Self> {
        // SAFETY: takes no pointer; the result is checked before it is used as a descriptor.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let gate = Self { epoll, socket };
        gate.control(libc::EPOLL_CTL_ADD)?;
        Ok(gate)
    }

    /// Arms the gate, with the socket in it for the first time or again.
    fn control(&self, operation: libc::c_int) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLONESHOT) as u32;
        let mut event = libc::epoll_event { events, u64: 0 };
        // SAFETY: both descriptors are open: the set is ours, and the socket outlives the gate in `WatchedSocket`. The
        // kernel reads one event from this stack frame.
        let result =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, self.socket, &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Takes the event, if there is one: the gate is closed then. Returns whether there was.
    fn take(&self) -> io::Result<bool> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: the kernel writes at most one event, to this stack frame; it does not wait.
        let result = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &raw mut event, 1, 0) };
        match result {
            0.. => Ok(result > 0),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
                error => Err(error),
            },
        }
    }
}

impl AsRawFd for Gate {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::future::Future;
    use std::net::UdpSocket as StdSocket;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use tokio::time::{Duration, timeout};

    use super::*;
    use crate::shard::socket::udp::receive::UdpReceiver;
    use crate::shard::socket::udp::send::UdpSender;

    fn sockets() -> (WatchedSocket, StdSocket) {
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = StdSocket::bind("127.0.0.1:0").unwrap();
        client.connect(socket.local()).unwrap();
        (socket.watch().unwrap(), client)
    }

    fn read(watched: &WatchedSocket) -> usize {
        let mut sender = UdpSender::new(watched.socket());
        UdpReceiver::new().receive(watched.socket(), &mut sender, |_, _, _| {}).unwrap().datagrams
    }

    async fn readable(watched: &WatchedSocket) {
        timeout(Duration::from_secs(5), watched.readable()).await.expect("readable").unwrap();
    }

    /// Turns of the runtime within which it looks at its descriptors some times.
    const TURNS: usize = 512;

    /// Lets the runtime look at its descriptors, then asks.
    async fn is_quiet(watched: &WatchedSocket) -> bool {
        // The runtime looks at them after some dozens of turns; loopback has delivered before `send` returns.
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        pin!(watched.readable()).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[actix_rt::test]
    async fn a_round_hears_once_of_any_number_of_datagrams() {
        let (watched, client) = sockets();
        for round in 1..20 {
            assert!(is_quiet(&watched).await);
            client.send(b"first").unwrap();
            readable(&watched).await;
            for _ in 0..round {
                client.send(b"more").unwrap();
            }
            assert!(is_quiet(&watched).await, "gathering is not disturbed");
            assert_eq!(read(&watched), 1 + round);
            watched.rearm().unwrap();
        }
    }

    #[actix_rt::test]
    async fn what_comes_between_reading_and_arming_is_heard_of() {
        let (watched, client) = sockets();
        for _ in 0..20 {
            client.send(b"first").unwrap();
            readable(&watched).await;
            assert_eq!(read(&watched), 1);
            client.send(b"between").unwrap();
            watched.rearm().unwrap();
            readable(&watched).await;
            assert_eq!(read(&watched), 1);
            watched.rearm().unwrap();
        }
    }

    #[actix_rt::test]
    async fn a_round_that_something_else_began_takes_the_event_along() {
        let (watched, client) = sockets();
        for _ in 0..20 {
            client.send(b"unheard").unwrap();
            assert_eq!(read(&watched), 1);
            watched.rearm().unwrap();
            assert!(is_quiet(&watched).await);
        }
        client.send(b"heard").unwrap();
        readable(&watched).await;
    }
}
