//! Taking ICE-TCP connections and finding out which shard each is for, before any of them costs much.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, sleep, timeout};

use super::frame::FrameReader;
use crate::media::path::ShardId;
use crate::peer::ice::{shard_of_ufrag, ufrag_of_check};

/// Connections that have not yet said whom they are for. Full means that a new one is closed at once.
const UNIDENTIFIED_CAPACITY: usize = 256;

/// Of these, connections from one address; one host that says nothing leaves room for others. Generous, because behind one
/// address there may be a company, a proxy or a load test on this very host.
const UNIDENTIFIED_PER_ADDRESS: usize = 64;

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
    /// Closed, because [`UNIDENTIFIED_CAPACITY`] others, or [`UNIDENTIFIED_PER_ADDRESS`] of the same address, had not said
    /// whom they are for.
    Crowded,
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

/// Accepts connections for as long as the runtime lives and tells `accepted` what became of each.
pub async fn serve(listener: TcpListener, accepted: impl Fn(Accepted) + Clone + 'static) {
    let places = Arc::new(Mutex::new(Places::default()));
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(_) => {
                sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        let Some(place) = Place::take(&places, block_of(remote)) else {
            accepted(Accepted::Crowded);
            continue;
        };
        let accepted = accepted.clone();
        actix_rt::spawn(async move {
            let identified = timeout(IDENTIFY_TIMEOUT, identify(stream, remote)).await;
            accepted(identified.ok().flatten().map_or(Accepted::Unidentified, Accepted::Identified));
            drop(place);
        });
    }
}

/// Connections that have not yet said whom they are for.
#[derive(Default)]
struct Places {
    taken: usize,
    by_address: FxHashMap<IpAddr, usize>,
}

/// A connection's place among them, free again when it is dropped.
struct Place {
    places: Arc<Mutex<Places>>,
    address: IpAddr,
}

impl Place {
    fn take(places: &Arc<Mutex<Places>>, address: IpAddr) -> Option<Self> {
        let mut all = lock(places);
        let of_address = all.by_address.get(&address).copied().unwrap_or(0);
        if all.taken >= UNIDENTIFIED_CAPACITY || of_address >= UNIDENTIFIED_PER_ADDRESS {
            return None;
        }
        all.taken += 1;
        all.by_address.insert(address, of_address + 1);
        Some(Self { places: Arc::clone(places), address })
    }
}

/// Never contended: everything that takes a place runs on one thread, but is started from another.
fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = lock(&self.places);
        all.taken = all.taken.saturating_sub(1);
        let left = all.by_address.remove(&self.address).unwrap_or(0);
        if left > 1 {
            all.by_address.insert(self.address, left - 1);
        }
    }
}

/// Whoever counts as one remote address: for IPv6 the /64 that one host may choose its addresses from.
pub fn block_of(remote: SocketAddr) -> IpAddr {
    match remote.ip().to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
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
async fn identify(stream: TcpStream, remote: SocketAddr) -> Option<Identified> {
    let mut reader = FrameReader::new();
    loop {
        if let Some(frame) = reader.peek().ok()? {
            let shard = shard_of_ufrag(ufrag_of_check(frame)?)?;
            let stream = stream.into_std().ok()?;
            return Some(Identified { shard, stream, remote: canonical(remote), first: reader });
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
