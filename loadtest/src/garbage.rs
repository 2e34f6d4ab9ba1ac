//! Datagrams that nobody asked for, at a server's media port: noise, forged checks, DTLS and RTP of strangers.
//!
//! They come from several sockets and, on this machine, from thousands of addresses of the loopback network, so that no
//! list of senders helps the server. Its answers are read and thrown away.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rtc_dtls::crypto_provider::RTCCryptoProvider;

use crate::socket::{ReceiveBuffers, SendBatch, WildcardSocket};
use crate::viewer::dtls::Identity;
use crate::viewer::ice;
use crate::viewer::sdp::IceCredentials;

/// Sockets to send from.
const SOCKETS: usize = 8;

/// First of the senders' addresses, 127.48.0.0, and how many there are.
const FIRST_ADDRESS: u32 = 0x7f30_0000;
const ADDRESSES: u32 = 4_096;

/// Different datagrams; a server that remembered them all would be worse off than one that drops them.
const DATAGRAMS: usize = 1_024;

/// Time between two bursts: short, as garbage of many senders is spread.
const BURST_INTERVAL: Duration = Duration::from_millis(1);

/// How a viewer finds the server: what a stranger could have overheard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// The server's ICE user fragment for this viewer.
    pub ufrag: String,
    /// The viewer's own.
    pub client_ufrag: String,
    /// Where its checks go.
    pub address: SocketAddrV4,
}

/// A thread that sends garbage until it is stopped.
#[derive(Debug)]
pub struct GarbageSource {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl GarbageSource {
    /// Begins to send `per_second` datagrams to the addresses of `doors`; some are checks in their name.
    ///
    /// # Errors
    ///
    /// No door, no socket, no thread.
    pub fn start(doors: &[Door], per_second: u32) -> Result<Self> {
        let datagrams = datagrams(doors)?;
        let sockets = (0..SOCKETS)
            .map(|_| WildcardSocket::bind(0))
            .collect::<std::io::Result<Vec<WildcardSocket>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("garbage".to_owned())
            .spawn(move || send(&sockets, &datagrams, f64::from(per_second), &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Ends it; how many datagrams the kernel took.
    ///
    /// # Errors
    ///
    /// The thread panicked.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the garbage's thread panicked"))
    }
}

fn send(
    sockets: &[WildcardSocket],
    datagrams: &[(SocketAddrV4, Vec<u8>)],
    per_second: f64,
    stop: &AtomicBool,
) -> u64 {
    let mut batches: Vec<SendBatch> =
        std::iter::repeat_with(SendBatch::default).take(sockets.len()).collect();
    let mut buffers = ReceiveBuffers::default();
    let started = Instant::now();
    let (mut made, mut refused) = (0_usize, 0);
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * per_second) as usize;
        while made < due {
            let Some((address, datagram)) = datagrams.get(made % datagrams.len().max(1)) else { return 0 };
            let from = Ipv4Addr::from(FIRST_ADDRESS + rand::random::<u32>() % ADDRESSES);
            let source = address.ip().is_loopback().then_some(from);
            if let Some(batch) = batches.get_mut(made % SOCKETS) {
                batch.push(source, *address, datagram);
            }
            made += 1;
        }
        for (socket, batch) in sockets.iter().zip(&mut batches) {
            refused += socket.send(batch);
            while socket.receive(&mut buffers, |_| {}).is_ok_and(|got| got > 0) {}
        }
        std::thread::sleep(BURST_INTERVAL);
    }
    (made - refused) as u64
}

/// What is sent, in turn, with where to.
fn datagrams(doors: &[Door]) -> Result<Vec<(SocketAddrV4, Vec<u8>)>> {
    let identity = Identity::generate()?;
    let turns = doors.iter().cycle().take(DATAGRAMS).enumerate();
    let made: Vec<(SocketAddrV4, Vec<u8>)> = turns
        .map(|(turn, door)| {
            let datagram = match turn % 5 {
                0 => noise(20 + rand::random::<u32>() as usize % 1_180),
                1 => forged_check((&door.ufrag, &door.client_ufrag), &**identity.provider()),
                2 => {
                    forged_check((&format!("{:08x}", rand::random::<u32>()), "guess"), &**identity.provider())
                }
                3 => client_hello(),
                _ => media(),
            };
            (door.address, datagram)
        })
        .collect();
    if made.is_empty() { Err(anyhow!("garbage for nobody: no viewer has joined")) } else { Ok(made) }
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rand::random()).collect()
}

/// A whole check (RFC 8445 §7.2.2) whose MESSAGE-INTEGRITY is by a password of our own.
fn forged_check((ufrag, client_ufrag): (&str, &str), provider: &dyn RTCCryptoProvider) -> Vec<u8> {
    let credentials = |ufrag: &str| IceCredentials {
        ufrag: ufrag.to_owned(),
        password: format!("{:032x}", rand::random::<u128>()),
    };
    let transaction: [u8; 12] = rand::random();
    ice::check(&credentials(client_ufrag), &credentials(ufrag), transaction, provider)
        .unwrap_or_else(|_| noise(100))
}

/// A DTLS record that says to be a ClientHello (RFC 6347 §4.1, §4.2.2), of noise.
fn client_hello() -> Vec<u8> {
    const BODY_BYTES: u8 = 200;
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, BODY_BYTES + 12];
    record.extend_from_slice(&[1, 0, 0, BODY_BYTES, 0, 0, 0, 0, 0, 0, 0, BODY_BYTES]);
    record.extend(noise(usize::from(BODY_BYTES)));
    record
}

/// An RTP packet with a payload type that streams have, of noise.
fn media() -> Vec<u8> {
    let mut packet = vec![0x80, 102];
    packet.extend(noise(1_000));
    packet
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn garbage_comes_at_its_rate_from_many_addresses() {
        let victim = WildcardSocket::bind(0).unwrap();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, victim.port().unwrap());
        let door = Door { ufrag: "known".to_owned(), client_ufrag: "own".to_owned(), address };
        let started = Instant::now();
        let source = GarbageSource::start(&[door], 2_000).unwrap();
        let mut buffers = ReceiveBuffers::default();
        let (mut came, mut senders, mut kinds) = (0_u64, std::collections::HashSet::new(), [0; 4]);
        while came < 600 {
            assert!(started.elapsed() < Duration::from_secs(20), "only {came} came");
            victim
                .receive(&mut buffers, |received| {
                    came += 1;
                    senders.insert(*received.source.ip());
                    match received.payload.first() {
                        Some(0..=3) => kinds[0] += 1,
                        Some(20..=63) => kinds[1] += 1,
                        Some(128..=191) => kinds[2] += 1,
                        _ => kinds[3] += 1,
                    }
                })
                .unwrap();
        }
        // At most as fast as asked for, give or take a burst.
        assert!(started.elapsed() > Duration::from_millis(250), "{:?}", started.elapsed());
        assert!(source.stop().unwrap() >= came);
        assert!(senders.len() > 300, "{} senders", senders.len());
        assert!(kinds.iter().all(|count| *count > 50), "{kinds:?}");
    }

    #[test]
    fn there_is_no_garbage_for_nobody() {
        assert!(GarbageSource::start(&[], 1).is_err());
    }
}
