#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
//! What forwarding a packet costs per viewer, beside the bare seal of the same bytes under as many keys.
//!
//! `cargo bench -p aforo-node --bench fanout`. Ours is the whole plane: receiving (once per packet), rewriting the header
//! with a transport-wide sequence number, sealing into the send batch; only the system calls are left out. The reference
//! seals in place, in one buffer, with one prepared nonce per packet. Both run in turns, medians are compared, and time is
//! this thread's own, so that what else runs on the machine counts for as little as can be.
//! Exits with 1 if the ratio is above the limit anywhere.

#[path = "fanout/stage.rs"]
#[allow(dead_code, reason = "the allocation test shares it and uses more of it")]
mod stage;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use aforo_node::media::keys::SrtpProfile;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use stage::{HEADER_BYTES, Nowhere, Stage, master};

/// The limit of a forwarded packet over the bare seal.
const RATIO_MAX: f64 = 1.3;

const PACKET_BYTES: usize = 1_200;

/// Turns of each side; the median of so many does not move when something else runs for a moment.
const TURNS: usize = 41;

/// Packets times keys in one turn: some 8 ms.
const SEALS_PER_TURN: usize = 30_000;

fn main() -> ExitCode {
    println!("{PACKET_BYTES}-byte packets, ns per packet and leg, medians of {TURNS} turns of each side");
    let before = resident_bytes();
    let stage = Stage::new(SrtpProfile::AeadAes128Gcm, 5_000, PACKET_BYTES);
    let grown = resident_bytes() - before;
    println!("resident memory of a viewer in the plane: {} bytes (ring and batch included)", grown / 5_000);
    drop(stage);
    println!("profile       legs  packets/flush  bare seal  one hot key  plane   ratio");
    let mut pass = true;
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm] {
        for legs in [500, 5_000] {
            for window in [1, 2, 4, 6] {
                pass &= row(profile, legs, window);
            }
        }
    }
    println!("{}: at most {RATIO_MAX} times the bare seal", if pass { "PASS" } else { "FAIL" });
    if pass { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(profile: SrtpProfile, legs: usize, window: usize) -> bool {
    let mut stage = Stage::new(profile, legs as u32, PACKET_BYTES);
    let keys: Vec<_> = (1..=legs as u32).map(|index| bare_key(profile, index)).collect();
    let flushes = (SEALS_PER_TURN / (legs * window)).max(1);
    let mut buffer = vec![7; PACKET_BYTES];
    let (mut bare, mut hot, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let mut nonce = 0;
    for _ in 0..TURNS {
        ours.push(time_plane(&mut stage, legs, flushes, window));
        bare.push(time_seals(&keys, flushes, window, &mut nonce, &mut buffer));
        hot.push(time_seals(&keys[..1], flushes, window * legs, &mut nonce, &mut buffer));
    }
    let seals = (legs * window * flushes) as f64;
    let [bare, hot, ours] = [bare, hot, ours].map(|mut turns| {
        turns.sort_unstable();
        turns[turns.len() / 2].as_nanos() as f64 / seals
    });
    let ratio = ours / bare;
    let verdict = if ratio <= RATIO_MAX { "pass" } else { "FAIL" };
    let name = format!("{profile:?}");
    println!(
        "{name:<13} {legs:>4}  {window:>13}  {bare:>9.0}  {hot:>11.0}  {ours:>5.0}  {ratio:>5.2}x {verdict}"
    );
    ratio <= RATIO_MAX
}

/// Time of `flushes` windows through the plane. What the publisher sealed beforehand does not count.
fn time_plane(stage: &mut Stage, legs: usize, flushes: usize, window: usize) -> Duration {
    let mut windows: Vec<_> = (0..flushes).map(|_| stage.publish(window)).collect();
    let mut nowhere = Nowhere::default();
    let before = *stage.plane.counters();
    let start = thread_time();
    for datagrams in &mut windows {
        stage.run(datagrams, &mut nowhere);
    }
    let elapsed = thread_time() - start;
    let after = stage.plane.counters();
    let sent = after.rtp_sent_packets - before.rtp_sent_packets;
    assert_eq!(sent as usize, flushes * window * legs, "every packet went to every leg");
    assert_eq!(after.rtp_sent_bytes - before.rtp_sent_bytes, sent * (PACKET_BYTES as u64 + 16));
    assert!(nowhere.datagrams >= sent as usize && after.seal_failed == 0);
    elapsed
}

/// Time of `rounds` times `window` seals under each key, each as the plane's legs do it: all packets of a window, then the
/// next key.
fn time_seals(
    keys: &[LessSafeKey],
    rounds: usize,
    window: usize,
    nonce: &mut u64,
    buffer: &mut [u8],
) -> Duration {
    let (header, payload) = buffer.split_at_mut(HEADER_BYTES);
    let start = thread_time();
    for _ in 0..rounds {
        for key in keys {
            for _ in 0..window {
                *nonce += 1;
                let mut bytes = [0; 12];
                bytes[4..].copy_from_slice(&nonce.to_be_bytes());
                let unique = Nonce::assume_unique_for_key(bytes);
                let tag = key.seal_in_place_separate_tag(unique, Aad::from(&*header), payload).unwrap();
                black_box(&tag);
            }
        }
    }
    thread_time() - start
}

fn bare_key(profile: SrtpProfile, index: u32) -> LessSafeKey {
    let algorithm = if profile == SrtpProfile::AeadAes256Gcm { &AES_256_GCM } else { &AES_128_GCM };
    LessSafeKey::new(UnboundKey::new(algorithm, &master(profile, index, 0x10).key).unwrap())
}

/// Resident memory of this process.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// CPU time that this thread has used.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `time` is valid for the write.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "the thread's clock can be read");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
