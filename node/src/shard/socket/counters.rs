//! What the sockets did, as plain numbers that only grow; the shard actor turns them into metrics once a second.

/// Why the kernel did not take a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum SendErrorKind {
    /// The socket's send buffer stayed full for longer than we wait.
    BufferFull,
    /// No route, or the interface is down.
    Unreachable,
    /// The other host said that nobody listens.
    Refused,
    /// Larger than the path takes.
    TooLarge,
    /// A firewall rule of this host.
    Denied,
    /// Anything else.
    Other,
}

impl SendErrorKind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 6] =
        [Self::BufferFull, Self::Unreachable, Self::Refused, Self::TooLarge, Self::Denied, Self::Other];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Denied => "denied",
            Self::Other => "other",
        }
    }

    /// The kind of an `errno`.
    pub fn from_errno(errno: i32) -> Self {
        match errno {
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => Self::BufferFull,
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EADDRNOTAVAIL => {
                Self::Unreachable
            }
            libc::ECONNREFUSED => Self::Refused,
            libc::EMSGSIZE => Self::TooLarge,
            libc::EPERM | libc::EACCES => Self::Denied,
            _ => Self::Other,
        }
    }
}

/// What was sent, and what was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendCounters {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// System calls that took them.
    pub calls: u64,
    /// Runs that the kernel refused to segment and that left as plain datagrams.
    pub unsegmented_runs: u64,
    /// Datagrams that were dropped, by [`SendErrorKind`].
    pub errors: [u64; SendErrorKind::ALL.len()],
}

impl SendCounters {
    /// Counts `datagrams` dropped for `kind`.
    pub fn dropped(&mut self, kind: SendErrorKind, datagrams: u64) {
        if let Some(count) = self.errors.get_mut(kind as usize) {
            *count += datagrams;
        }
    }

    /// Datagrams dropped for any reason.
    #[cfg(test)]
    pub fn dropped_total(&self) -> u64 {
        self.errors.iter().sum()
    }
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiveCounters {
    /// Datagrams, counted after the kernel's coalescing was undone.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// System calls that brought them.
    pub calls: u64,
    /// Datagrams that the kernel dropped because we did not read in time.
    pub overflowed: u64,
    /// Datagrams that were cut off or whose sender could not be read.
    pub malformed: u64,
}
