//! The ICE-TCP connections of one shard: what is still to be written to each, and the task that reads it.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout};

use super::frame::{FrameReader, length};
use crate::media::path::TcpConnection;

/// Bytes that wait for one slow reader: over a second of a viewer's video. Full means that the newest frame is dropped and
/// counted, as a full queue on the way would drop it.
pub const WRITE_CAPACITY_BYTES: usize = 256 * 1024;

/// A connection that is by then not a path that a peer has proved to be its own is closed, whatever it sends: as long as
/// a join may take.
pub const PROVE_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection that brings no frame for this long is closed: its client sends a check each few seconds, and consent
/// would end before (RFC 7675 §5.1).
const IDLE_TIMEOUT: Duration = Duration::from_secs(40);

/// Bytes read from one connection before others have their turn.
const READ_TURN_BYTES: usize = 64 * 1024;

/// What connections did, as numbers that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// Frames handed to the kernel or its queue.
    pub sent: u64,
    /// Frames dropped because their reader is too slow.
    pub dropped_full: u64,
    /// Frames dropped because their connection has ended.
    pub dropped_closed: u64,
    /// Connections closed because one of their frames was too long or empty.
    pub bad_frames: u64,
    /// Connections closed because their first check was for no peer of this shard.
    pub strangers: u64,
    /// Connections closed because no check on them was good within [`PROVE_TIMEOUT`].
    pub unproved: u64,
}

/// All connections of a shard.
#[derive(Debug, Default)]
pub struct TcpConnections {
    next_id: u32,
    by_id: FxHashMap<u32, Connection>,
    counters: TcpCounters,
}

#[derive(Debug)]
struct Connection {
    stream: Rc<TcpStream>,
    /// Whole frames, the first perhaps written in part.
    unwritten: Vec<u8>,
    /// Wakes the connection's task: there is something to write, or the connection is to end.
    wake: Rc<Notify>,
}

/// Who gets what a connection brings.
pub trait TcpSink {
    /// The connections.
    fn connections(&mut self) -> &mut TcpConnections;
    /// Whether the first frame of a connection is for a peer that is here.
    fn welcomes(&self, first: &[u8]) -> bool;
    /// Whether a peer has proved that the connection is its own.
    fn is_proved(&self, connection: TcpConnection) -> bool;
    /// A frame came.
    fn frame(&mut self, from: TcpConnection, frame: &mut [u8]);
    /// The connection is closed and forgotten.
    fn closed(&mut self, connection: TcpConnection);
}

impl TcpConnections {
    /// What was counted so far.
    pub fn counters(&self) -> TcpCounters {
        self.counters
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Takes a connection in. How many there may be is known to who accepts them.
    fn add(&mut self, stream: Rc<TcpStream>, wake: Rc<Notify>, remote: SocketAddr) -> TcpConnection {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.by_id.insert(id, Connection { stream, unwritten: Vec::new(), wake });
        TcpConnection { id, remote }
    }

    /// Sends one datagram as a frame, without waiting.
    pub fn send(&mut self, to: TcpConnection, datagram: &[u8]) {
        let Some(connection) = self.by_id.get_mut(&to.id) else {
            self.counters.dropped_closed += 1;
            return;
        };
        match connection.send(datagram) {
            Sent::Taken => self.counters.sent += 1,
            Sent::Full => self.counters.dropped_full += 1,
            Sent::Failed => {
                self.counters.dropped_closed += 1;
                self.close(to);
            }
        }
    }

    /// Ends a connection: its task sees that it is gone, and lets go.
    pub fn close(&mut self, connection: TcpConnection) {
        if let Some(gone) = self.by_id.remove(&connection.id) {
            gone.wake.notify_one();
        }
    }

    /// What the connection's task should wait for; `None` once it has ended.
    fn interest(&self, connection: TcpConnection) -> Option<Interest> {
        let waiting = !self.by_id.get(&connection.id)?.unwritten.is_empty();
        Some(if waiting { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE })
    }

    /// Writes what waits.
    fn write(&mut self, connection: TcpConnection) -> io::Result<()> {
        self.by_id.get_mut(&connection.id).map_or(Ok(()), Connection::write)
    }
}

enum Sent {
    Taken,
    Full,
    Failed,
}

impl Connection {
    fn send(&mut self, datagram: &[u8]) -> Sent {
        let Some(header) = length(datagram.len()) else {
            return Sent::Full;
        };
        if !self.unwritten.is_empty() {
            if self.unwritten.len() + header.len() + datagram.len() > WRITE_CAPACITY_BYTES {
                return Sent::Full;
            }
            self.unwritten.extend_from_slice(&header);
            self.unwritten.extend_from_slice(datagram);
            return Sent::Taken;
        }
        let written = match self.stream.try_write_vectored(&[IoSlice::new(&header), IoSlice::new(datagram)]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Sent::Failed,
        };
        let rest = [&header[..], datagram].into_iter();
        let mut skip = written;
        for part in rest {
            self.unwritten.extend_from_slice(part.get(skip.min(part.len())..).unwrap_or_default());
            skip = skip.saturating_sub(part.len());
        }
        if !self.unwritten.is_empty() {
            self.wake.notify_one();
        }
        Sent::Taken
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.unwritten.is_empty() {
            match self.stream.try_write(&self.unwritten) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.unwritten.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads and writes one connection until it ends. `first` is what the acceptor has read of it already.
pub async fn run<S: TcpSink>(
    sink: Rc<RefCell<S>>,
    stream: TcpStream,
    remote: SocketAddr,
    first: FrameReader,
) {
    // Nagle's algorithm would hold packets back for an acknowledgement; without it they are only more.
    let _ = stream.set_nodelay(true);
    if let Ok(Some(frame)) = first.peek() {
        let mut sink = sink.borrow_mut();
        if !sink.welcomes(frame) {
            sink.connections().counters.strangers += 1;
            return;
        }
    }
    let (stream, wake) = (Rc::new(stream), Rc::new(Notify::new()));
    let connection = sink.borrow_mut().connections().add(Rc::clone(&stream), Rc::clone(&wake), remote);
    let mut reader = first;
    if take_frames(&sink, connection, &mut reader) {
        let mut prove_by = Some(Instant::now() + PROVE_TIMEOUT);
        while is_trusted(&sink, connection, &mut prove_by)
            && serve(&sink, connection, &stream, &wake, &mut reader, prove_by).await
        {}
    }
    let mut sink = sink.borrow_mut();
    sink.connections().close(connection);
    sink.closed(connection);
}

/// Whether the connection may go on: it is proved, or still has time for that.
fn is_trusted<S: TcpSink>(
    sink: &Rc<RefCell<S>>,
    connection: TcpConnection,
    prove_by: &mut Option<Instant>,
) -> bool {
    if prove_by.is_none_or(|at| Instant::now() < at) {
        return true;
    }
    *prove_by = None;
    let mut sink = sink.borrow_mut();
    let proved = sink.is_proved(connection);
    sink.connections().counters.unproved += u64::from(!proved);
    proved
}

/// One turn, which ends at `until` at the latest. Returns whether the connection goes on.
async fn serve<S: TcpSink>(
    sink: &Rc<RefCell<S>>,
    connection: TcpConnection,
    stream: &TcpStream,
    wake: &Notify,
    reader: &mut FrameReader,
    until: Option<Instant>,
) -> bool {
    let Some(interest) = sink.borrow_mut().connections().interest(connection) else {
        return false;
    };
    let patience = until.map_or(IDLE_TIMEOUT, |at| at.saturating_duration_since(Instant::now()));
    let ready = tokio::select! {
        ready = timeout(patience, stream.ready(interest)) => ready,
        () = wake.notified() => return true,
    };
    let Ok(ready) = ready else {
        // The time that ended was that to prove itself, and the next turn looks whether it has.
        return until.is_some();
    };
    let Ok(ready) = ready else {
        return false;
    };
    if ready.is_writable() && sink.borrow_mut().connections().write(connection).is_err() {
        return false;
    }
    if ready.is_readable() && !read(sink, connection, stream, reader) {
        return false;
    }
    tokio::task::yield_now().await;
    true
}

/// Reads what is there, a turn's worth at most. Returns whether the connection goes on.
fn read<S: TcpSink>(
    sink: &Rc<RefCell<S>>,
    connection: TcpConnection,
    stream: &TcpStream,
    reader: &mut FrameReader,
) -> bool {
    let mut total = 0;
    while total < READ_TURN_BYTES {
        match stream.try_read(reader.space()) {
            Ok(0) => return false,
            Ok(count) => {
                total += count;
                reader.filled(count);
                if !take_frames(sink, connection, reader) {
                    return false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => return false,
        }
    }
    true
}

/// Hands all whole frames on. Returns whether the connection goes on.
fn take_frames<S: TcpSink>(
    sink: &Rc<RefCell<S>>,
    connection: TcpConnection,
    reader: &mut FrameReader,
) -> bool {
    let mut sink = sink.borrow_mut();
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => sink.frame(connection, frame),
            Ok(None) => return true,
            Err(_) => {
                sink.connections().counters.bad_frames += 1;
                return false;
            }
        }
    }
}
