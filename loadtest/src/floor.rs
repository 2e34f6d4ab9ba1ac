//! The floor under any server's cost: seal and send the same packets to as many receivers, and do nothing else.
//!
//! One thread, one AES-128-GCM key per receiver, the packets of five milliseconds gathered, each receiver's in one
//! segmentation-offload run per packet size, many receivers per `sendmmsg`. No routing, no feedback, no repair, no
//! session. A server's CPU per delivered packet divided by this one's says what its work costs beyond the unavoidable.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey as VerificationKey,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::process;
use crate::publisher::layers::KeyframesWanted;
use crate::publisher::schedule::{DuePacket, Schedule, StreamShape};
use crate::socket::{ReceiveBuffers, SendBatch, WildcardSocket};

/// How long packets are gathered, the longest that a busy shard may hold them.
const GATHER: Duration = Duration::from_millis(5);

/// RTP header with the extensions that a server writes per viewer: sequence for feedback, capture time, mid.
const HEADER_BYTES: usize = 12 + 4 + 16;

/// Bytes of a GCM tag.
const TAG_BYTES: usize = 16;

/// Sealed bytes after which a batch is handed to the kernel: it then still is in the second-level cache.
const BATCH_BYTES: usize = 512 << 10;

/// A run may hold no more than the kernel's limit of segments, and no more than a UDP datagram's bytes.
const MOST_SEGMENTS: usize = 64;

/// First receiver's address, 127.64.0.0.
const FIRST_ADDRESS: u32 = 0x7f40_0000;

/// Time between two looks of the receiver, as the viewers' thread has it.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);

/// What the sender measured of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FloorReport {
    /// Packets sent.
    pub packets: u64,
    /// Runs they were sent in.
    pub runs: u64,
    /// Runs that the kernel refused.
    pub refused: u64,
    /// Mean bytes per packet.
    pub bytes_per_packet: f64,
    /// CPU microseconds per packet.
    pub cpu_us_per_packet: f64,
}

/// The receivers' addresses: `count` of them, all at one port.
fn receivers(count: usize, port: u16) -> Vec<SocketAddrV4> {
    (0..count as u32).map(|i| SocketAddrV4::new(Ipv4Addr::from(FIRST_ADDRESS + i), port)).collect()
}

/// One receiver's key and counter.
struct Sealer {
    key: LessSafeKey,
    sequence: u64,
    address: SocketAddrV4,
}

impl Sealer {
    fn new(address: SocketAddrV4) -> Result<Self> {
        let key: [u8; 16] = rand::random();
        let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| anyhow!("AES-128-GCM refuses a key"))?;
        Ok(Self { key: LessSafeKey::new(key), sequence: 0, address })
    }

    /// Appends the sealed packet to `out`.
    #[inline]
    fn seal(&mut self, payload: &[u8], timestamp: u32, out: &mut Vec<u8>) -> Result<()> {
        self.sequence += 1;
        let mut header = [0u8; HEADER_BYTES];
        let sequence = self.sequence.to_be_bytes();
        let fields =
            [0x90, 0x66].into_iter().chain(sequence.into_iter().skip(6)).chain(timestamp.to_be_bytes());
        header.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        let mut nonce = [0u8; 12];
        nonce.iter_mut().skip(4).zip(sequence).for_each(|(to, from)| *to = from);
        let start = out.len();
        out.extend_from_slice(&header);
        out.resize(start + HEADER_BYTES + payload.len() + TAG_BYTES, 0);
        let body = out.get_mut(start + HEADER_BYTES..).unwrap_or_default();
        let (sealed, tag) =
            body.split_at_mut_checked(payload.len()).ok_or_else(|| anyhow!("no room for a tag"))?;
        self.key
            .seal_out_of_place_scatter(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(header),
                payload,
                sealed,
                &[],
                tag,
            )
            .map_err(|_| anyhow!("sealing failed"))
    }
}

/// Seals and sends the stream of one publisher to `count` receivers at `port` for `duration`.
///
/// # Errors
///
/// No socket, or the clips are damaged.
pub fn send(shape: StreamShape, count: usize, port: u16, duration: Duration) -> Result<FloorReport> {
    let socket = WildcardSocket::bind(0)?;
    let mut sealers = receivers(count, port).into_iter().map(Sealer::new).collect::<Result<Vec<_>>>()?;
    let mut schedule = Schedule::new(shape)?;
    let mut next = schedule.next(&mut KeyframesWanted::default());
    let mut batch = SendBatch::default();
    let mut report = FloorReport::default();
    let mut bytes = 0;
    let started = Instant::now();
    let cpu_before = process::thread_cpu()?;
    let mut window_end = GATHER;
    while window_end <= duration {
        let mut window: Vec<DuePacket> = Vec::new();
        while let Some(packet) = next.take_if(|packet| packet.due < window_end) {
            window.push(packet);
            next = schedule.next(&mut KeyframesWanted::default());
        }
        if let Some(rest) = window_end.checked_sub(started.elapsed()) {
            std::thread::sleep(rest);
        }
        let runs = runs(&window);
        for sealer in &mut sealers {
            for run in &runs {
                let start = batch.data_mut().len();
                for packet in *run {
                    sealer.seal(&packet.payload, packet.timestamp, batch.data_mut())?;
                }
                let first_bytes = run.first().map_or(0, |packet| packet.payload.len());
                batch.push_run(start, HEADER_BYTES + first_bytes + TAG_BYTES, sealer.address);
                bytes += batch.data_mut().len() - start;
                report.packets += run.len() as u64;
                report.runs += 1;
            }
            if batch.data_mut().len() >= BATCH_BYTES {
                report.refused += socket.send(&mut batch) as u64;
            }
        }
        report.refused += socket.send(&mut batch) as u64;
        window_end += GATHER;
    }
    let cpu = process::thread_cpu()?.saturating_sub(cpu_before);
    report.cpu_us_per_packet = cpu.as_secs_f64() * 1e6 / report.packets.max(1) as f64;
    report.bytes_per_packet = bytes as f64 / report.packets.max(1) as f64;
    Ok(report)
}

/// Cuts a window into runs: equal sizes, but for a shorter last one.
fn runs(window: &[DuePacket]) -> Vec<&[DuePacket]> {
    let mut runs = Vec::new();
    let mut rest = window;
    while let Some(first) = rest.first() {
        let size = first.payload.len();
        let equal =
            rest.iter().take(MOST_SEGMENTS - 1).take_while(|packet| packet.payload.len() == size).count();
        let shorter = rest.get(equal).is_some_and(|packet| packet.payload.len() < size);
        let (run, after) = rest.split_at_checked(equal + usize::from(shorter)).unwrap_or((rest, &[]));
        runs.push(run);
        rest = after;
    }
    runs
}

/// Reads and drops what the sender sends, as viewers would, until nothing has come for `idle`; returns how many
/// packets came. `ready` is told the port.
///
/// # Errors
///
/// No socket.
pub fn receive(idle: Duration, ready: impl FnOnce(u16)) -> Result<u64> {
    let socket = WildcardSocket::bind(0)?;
    ready(socket.port()?);
    let mut buffers = ReceiveBuffers::default();
    let mut packets = 0;
    let mut last = Instant::now();
    // The sender needs a moment to start; after that silence means that it is done.
    while packets == 0 && last.elapsed() < Duration::from_secs(30) || last.elapsed() < idle {
        loop {
            let got = socket.receive(&mut buffers, |received| {
                packets += received.payload.len().div_ceil(received.segment_bytes.max(1)) as u64;
            })?;
            if got == 0 {
                break;
            }
            last = Instant::now();
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(packets)
}

/// Sends stamped datagrams through a plain UDP relay and returns the latencies in microseconds, as a reference for
/// what a server adds: the same hops, the same two wake-ups, nothing in between.
///
/// # Errors
///
/// No socket, or no datagram came back.
pub fn relay_latency(count: u32, interval: Duration) -> Result<hdrhistogram::Histogram<u64>> {
    let relay = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let receiver = WildcardSocket::bind(0)?;
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, receiver.port()?);
    let relay_address = relay.local_addr()?;
    let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((length, _)) = relay.recv_from(&mut buffer) {
            if length <= 1 || relay.send_to(buffer.get(..length).unwrap_or_default(), to).is_err() {
                return;
            }
        }
    })?;
    let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut latencies = crate::viewer::totals::histogram()?;
    let mut buffers = ReceiveBuffers::default();
    let payload = Bytes::from(vec![0; 1_000]);
    for _ in 0..count {
        let mut datagram = payload.to_vec();
        let stamp = crate::clock::unix_ns().to_be_bytes();
        datagram.iter_mut().zip(stamp).for_each(|(to, from)| *to = from);
        sender.send_to(&datagram, relay_address)?;
        std::thread::sleep(interval);
        receiver.receive(&mut buffers, |received| {
            if let Some(stamp) = received.payload.first_chunk::<8>() {
                let latency_ns = received.arrival_ns.saturating_sub(u64::from_be_bytes(*stamp));
                latencies.saturating_record(latency_ns / 1_000);
            }
        })?;
    }
    sender.send_to(&[0], relay_address)?;
    let _ = thread.join();
    if latencies.is_empty() { Err(anyhow!("no datagram came through the relay")) } else { Ok(latencies) }
}

/// CPU microseconds of the curve operations that no DTLS server with ECDSA and P-256 can do without, per handshake: a key
/// pair, an agreement, a signature, and the check of the client's.
///
/// # Errors
///
/// The crypto library refuses.
pub fn handshake_crypto_us(handshakes: u32) -> Result<f64> {
    let failed = |what: &'static str| move |_| anyhow!("{what} failed");
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed("making a key"))?;
    let client = EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(failed("making a key"))?;
    let client = client.compute_public_key().map_err(failed("making a key"))?;
    let message = [7; 256];
    let before = process::thread_cpu()?;
    for _ in 0..handshakes {
        let own = EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(failed("making a key"))?;
        own.compute_public_key().map_err(failed("making a key"))?;
        let peer = UnparsedPublicKey::new(&ECDH_P256, client.as_ref());
        agree_ephemeral(own, peer, anyhow!("agreement failed"), |_| Ok(()))?;
        let signature = pair.sign(&random, &message).map_err(failed("signing"))?;
        VerificationKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref())
            .verify(&message, signature.as_ref())
            .map_err(failed("checking a signature"))?;
    }
    let spent = process::thread_cpu()?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / f64::from(handshakes.max(1)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::clip::ClipCodec;

    #[test]
    fn what_is_sent_arrives() {
        let shape = StreamShape {
            codec: ClipCodec::H264,
            bitrate_bps: 1_500_000,
            frames_per_second: 30,
            keyframe_interval: Duration::from_secs(2),
            silent: false,
            simulcast: false,
            deaf: false,
        };
        let (to_test, from_thread) = std::sync::mpsc::channel();
        let receiver = std::thread::spawn(move || {
            receive(Duration::from_millis(500), |port| to_test.send(port).unwrap()).unwrap()
        });
        let report = send(shape, 3, from_thread.recv().unwrap(), Duration::from_secs(1)).unwrap();
        assert_eq!(report.refused, 0);
        assert!(report.packets > 3 * 200, "{report:?}");
        assert!(report.runs < report.packets);
        assert_eq!(receiver.join().unwrap(), report.packets);
    }

    #[test]
    fn a_handshake_costs_something() {
        assert!(handshake_crypto_us(20).unwrap() > 10.0);
    }

    #[test]
    fn a_plain_relay_has_a_latency() {
        let latencies = relay_latency(20, Duration::from_millis(2)).unwrap();
        assert!(latencies.len() >= 15);
    }
}
