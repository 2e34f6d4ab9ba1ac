//! Waiting for a socket to become readable, in the runtime of the calling thread.
#![allow(unsafe_code)]

use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::UdpSocket;

impl UdpSocket {
    /// Gives the socket to the runtime to watch, for reading only: that it can be written again is never waited for there,
    /// and each such event would wake the shard for nothing.
    ///
    /// # Errors
    ///
    /// The kernel cannot watch it.
    pub fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is owned by the socket inside, which is neither changed nor closed before it is dropped,
        // and the `AsyncFd` owns that from here on; `as_raw_fd` always names this one descriptor.
        unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }.map_err(io::Error::from)
    }
}
