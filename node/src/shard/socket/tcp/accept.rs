//! Taking ICE-TCP connections and finding out which shard each is for, before any of them costs much.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, sleep, timeout};

use super::frame::FrameReader;
use super::places::{Place, PlaceLimits, Places};
use crate::media::path::ShardId;
use crate::peer::ice::{shard_of_ufrag, ufrag_of_check};

/// Connections that have not yet said whom they are for, in all and from one address. Full means that a new one is closed at
/// once: one host that says nothing leaves room for others. Generous, because behind one address there may be a company, a
/// proxy or a load test on this very host; each is unidentified for a round trip only.
const UNIDENTIFIED: PlaceLimits = PlaceLimits { total: 256, per_address: 64 };

/// How long a connection may take to send its first frame: a few round trips around the world.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that the kernel holds before they are accepted.
const BACKLOG: i32 = 256;

/// Pause after the process has run out of descriptors: some come back when connections end.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What became of a connection.
#[derive(Debug)]
pub enum Accepted {
    /// It is for this shard.
    Identified(Identified),
    /// Closed, because too many others had not said whom they are for.
    Crowded,
    /// Closed, because there are as many connections as there may be, in all or of the same address.
    Full,
    /// Closed, because its first frame was late, too long, or no check of ours.
    Unidentified,
}

/// A connection that has said which shard it is for.
#[derive(Debug)]
pub struct Identified {
    /// Which shard.
    pub shard: ShardId,
    /// The connection, non-blocking.
    pub stream: std::net::TcpStream,
    /// Its other end.
    pub remote: SocketAddr,
    /// What was read of it: the whole first frame at least.
    pub first: FrameReader,
    /// Kept for as long as the connection is open.
    pub place: Place,
}

/// Listens on `address` for ICE-TCP.
///
/// # Errors
///
/// What the kernel says; [`io::ErrorKind::AddrInUse`] if another process listens there.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // For TCP this only means that connections of a server that has ended do not keep its port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts connections for as long as the runtime lives, of which no more than `limits` says may be open, and tells `accepted`
/// what became of each.
pub async fn serve(
    listener: TcpListener,
    limits: PlaceLimits,
    accepted: impl Fn(Accepted) + Clone + 'static,
) {
    let (unidentified, connections) = (Places::new(UNIDENTIFIED), Places::new(limits));
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(_) => {
                sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        let Some(waiting) = unidentified.take(remote) else {
            accepted(Accepted::Crowded);
            continue;
        };
        let (accepted, connections) = (accepted.clone(), connections.clone());
        actix_rt::spawn(async move {
            let identified = timeout(IDENTIFY_TIMEOUT, identify(stream, remote, &connections)).await;
            accepted(identified.ok().flatten().unwrap_or(Accepted::Unidentified));
            drop(waiting);
        });
    }
}

/// Whether accepting failed because of the connection and not because of us.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Reads the first frame; `None` unless it is a check for a ufrag of ours.
async fn identify(stream: TcpStream, remote: SocketAddr, connections: &Places) -> Option<Accepted> {
    let mut reader = FrameReader::new();
    loop {
        if let Some(frame) = reader.peek().ok()? {
            let shard = shard_of_ufrag(ufrag_of_check(frame)?)?;
            let Some(place) = connections.take(remote) else { return Some(Accepted::Full) };
            let stream = stream.into_std().ok()?;
            let remote = canonical(remote);
            return Some(Accepted::Identified(Identified { shard, stream, remote, first: reader, place }));
        }
        stream.readable().await.ok()?;
        match stream.try_read(reader.space()) {
            Ok(0) => return None,
            Ok(count) => reader.filled(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

/// An IPv4 address as such, also if the socket wrote it as IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
