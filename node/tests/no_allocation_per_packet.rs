#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Forwarding allocates nothing: not for a packet, not for a leg, not for a retransmission, not for reports.
//!
//! Counts every call of Rust's allocator while thousands of packets go through a warm plane. (The one thing that may allocate
//! is a batch for another shard, once per window; there is none here.)

#[path = "../benches/fanout/stage.rs"]
#[allow(dead_code, reason = "the benchmark shares it and uses more of it")]
mod stage;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use aforo_node::media::keys::SrtpProfile;
use aforo_node::media::outbox::{SendBatch, Transmit};
use stage::{FIRST_VIEWER_SSRC, Stage};

struct Counting;

thread_local! {
    /// Per thread, so that the test harness does not count.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's own promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's own promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's own promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sees what the first viewer gets.
#[derive(Default)]
struct Watching {
    newest: u16,
}

impl Transmit for Watching {
    fn transmit(&mut self, batch: &SendBatch) {
        for datagram in batch.runs().iter().flat_map(|run| batch.datagrams(run)) {
            if datagram[8..12] == FIRST_VIEWER_SSRC.to_be_bytes() {
                self.newest = u16::from_be_bytes([datagram[2], datagram[3]]);
            }
        }
    }
}

const VIEWERS: u32 = 60;
const WINDOWS: usize = 700;
const WINDOW: usize = 5;

fn allocations_of(profile: SrtpProfile) -> u64 {
    let mut stage = Stage::new(profile, VIEWERS, 1_200);
    let mut round = |windows: usize| {
        let mut packets: Vec<_> = (0..windows).map(|_| stage.publish(WINDOW)).collect();
        let sent_before = *stage.plane.counters();
        let before = ALLOCATIONS.with(Cell::get);
        let mut watching = Watching::default();
        for datagrams in &mut packets {
            stage.now += Duration::from_millis(10);
            stage.plane.handle_timeout(stage.now);
            stage.run(datagrams, &mut watching);
            stage.nack_by_first_viewer(&[watching.newest.wrapping_sub(2), watching.newest]);
        }
        let allocations = ALLOCATIONS.with(Cell::get) - before;
        (allocations, sent_before, *stage.plane.counters())
    };
    round(50);
    let (allocations, before, after) = round(WINDOWS);
    let forwarded = (WINDOWS * WINDOW) as u64 * u64::from(VIEWERS);
    let resent = after.rtx_sent_packets - before.rtx_sent_packets;
    assert_eq!(after.rtp_sent_packets - before.rtp_sent_packets, forwarded + resent);
    assert!(resent > 1_000, "{resent} retransmissions flowed");
    assert!(after.rtcp_sent_packets - before.rtcp_sent_packets > 50, "feedback flowed");
    assert_eq!(after.seal_failed, 0);
    allocations
}

#[test]
fn forwarding_allocates_nothing() {
    for profile in SrtpProfile::PREFERRED {
        assert_eq!(allocations_of(profile), 0, "{profile:?}");
    }
}
