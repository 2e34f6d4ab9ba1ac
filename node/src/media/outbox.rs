//! What the plane has ready to send: sealed datagrams, grouped into runs that one system call can carry.
//!
//! The plane asks for space and writes into it; the shard sends whole batches. A batch is a fixed arena, so nothing is
//! allocated per packet, and small enough that the bytes are still in the L2 cache when the kernel copies them.

#[cfg(test)]
pub(crate) mod collected;

use crate::media::path::Path;

/// Bytes of one batch: small enough to stay in a core's L2 cache beside the keys, large enough for some hundred
/// datagrams. Full means: the owner transmits what is there and goes on with an empty batch.
pub const BATCH_CAPACITY_BYTES: usize = 256 * 1024;

/// Datagrams in one run: Linux's `UDP_MAX_SEGMENTS` of old kernels (64).
pub const RUN_MAX_SEGMENTS: usize = 64;

/// Bytes of one run: the kernel builds one datagram of it first, so an IPv4 payload (65,507) is the limit.
pub const RUN_MAX_BYTES: usize = 65_507;

/// Consecutive datagrams to one path, equal in size but for the last, which may be shorter (`UDP_SEGMENT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where to.
    pub path: Path,
    /// Offset of the first byte in the batch.
    pub start: usize,
    /// Bytes of all its datagrams.
    pub len: usize,
    /// Bytes of each datagram but the last.
    pub segment: usize,
}

/// A fixed arena of datagrams, and the runs they form.
#[derive(Debug)]
pub struct SendBatch {
    bytes: Box<[u8]>,
    used: usize,
    runs: Vec<Run>,
}

/// Takes full batches. The shard's sockets implement it; tests collect.
pub trait Transmit {
    /// Sends everything in `batch`. What the kernel refuses is dropped and counted by the implementer.
    fn transmit(&mut self, batch: &SendBatch);
}

impl SendBatch {
    /// An empty batch with room for [`BATCH_CAPACITY_BYTES`].
    pub fn new() -> Self {
        Self {
            bytes: vec![0; BATCH_CAPACITY_BYTES].into_boxed_slice(),
            used: 0,
            runs: Vec::with_capacity(BATCH_CAPACITY_BYTES / 512),
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The runs, in the order they were written.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The bytes of `run`.
    pub fn bytes(&self, run: &Run) -> &[u8] {
        self.bytes.get(run.start..run.start + run.len).unwrap_or_default()
    }

    /// The datagrams of `run`, one by one.
    pub fn datagrams(&self, run: &Run) -> impl Iterator<Item = &[u8]> {
        self.bytes(run).chunks(run.segment.max(1))
    }

    /// Forgets all datagrams.
    pub fn clear(&mut self) {
        self.used = 0;
        self.runs.clear();
    }

    /// Space for one datagram of exactly `len` bytes to `path`. Transmits first if the batch is full.
    ///
    /// The caller must fill it: the space holds bytes of older datagrams. `None` if `len` is 0 or can never fit.
    pub fn datagram(&mut self, path: Path, len: usize, transmit: &mut impl Transmit) -> Option<&mut [u8]> {
        if len == 0 || len > self.bytes.len() {
            return None;
        }
        if self.used + len > self.bytes.len() {
            self.flush(transmit);
        }
        let start = self.used;
        match self.runs.last_mut().filter(|run| run.takes(path, len)) {
            Some(run) => run.len += len,
            None => self.runs.push(Run { path, start, len, segment: len }),
        }
        self.used += len;
        self.bytes.get_mut(start..start + len)
    }

    /// Transmits what is there and empties the batch.
    pub fn flush(&mut self, transmit: &mut impl Transmit) {
        if !self.is_empty() {
            transmit.transmit(self);
        }
        self.clear();
    }
}

impl Default for SendBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// Whether a datagram of `len` bytes to `path` can be the next of this run.
    fn takes(&self, path: Path, len: usize) -> bool {
        let whole = self.len.is_multiple_of(self.segment);
        self.path == path
            && whole
            && len <= self.segment
            && self.len / self.segment < RUN_MAX_SEGMENTS
            && self.len + len <= RUN_MAX_BYTES
    }
}
