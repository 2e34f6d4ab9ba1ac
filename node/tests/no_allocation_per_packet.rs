#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Forwarding allocates nothing: not for a packet, not for a leg, not for a retransmission, not for redundancy, not for reports.
//!
//! Counts every call of Rust's allocator while thousands of packets go through a warm plane. (The one thing that may allocate
//! is a batch for another shard, once per window; there is none here.)

#[path = "../benches/fanout/stage.rs"]
#[allow(dead_code, reason = "the benchmark shares it and uses more of it")]
mod stage;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;
use aforo_node::media::codec::{CodecKind, MediaKind};
use aforo_node::media::extension::{ExtensionKind, ExtensionMap};
use aforo_node::media::keys::{SrtpKeys, SrtpProfile};
use aforo_node::media::negotiated::{Codec, Feedback, NegotiatedMedia, SsrcPair};
use aforo_node::media::outbox::{SendBatch, Transmit};
use aforo_node::media::path::{Path, PeerKey, ShardId};
use aforo_node::media::plane::Plane;
use aforo_node::media::rtcp::{ReportBlock, Writer};
use aforo_node::media::rtp::{HeaderFields, write_header};
use aforo_node::media::selection::LayerWish;
use aforo_node::media::spec::{EgressSpec, EgressTrack, IngestSpec, IngestTrack};
use aforo_node::media::srtp::{RtcpSealer, RtpSealer};
use stage::{FIRST_VIEWER_SSRC, Stage, master};

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

/// Publishes sound to viewers of which some know redundant sound. The first half loses much of it.
struct Sound {
    plane: Plane,
    now: Instant,
    batch: SendBatch,
    sealer: RtpSealer,
    sequence: u64,
    /// Whether the publisher sends redundant sound.
    redundant: bool,
    /// What the first half of the viewers reports with.
    reporters: Vec<RtcpSealer>,
    reported: u32,
}

/// Bytes of one frame.
const FRAME: usize = 160;

const SOUND: TrackId = TrackId(1);
const SOUND_SSRC: u32 = 7;
const SOUND_VIEWERS: u32 = 20;

impl Sound {
    fn media(ssrc: u32, payload_type: u8, redundant: bool) -> NegotiatedMedia {
        let mut extensions = ExtensionMap::default();
        extensions.set(ExtensionKind::TransportWideCc, 3);
        let pair = SsrcPair { primary: ssrc, rtx: None };
        NegotiatedMedia {
            kind: MediaKind::Audio,
            mid: "0".to_owned(),
            codec: Codec { kind: CodecKind::Opus, payload_type, fmtp: String::new() },
            rtx_payload_type: None,
            red_payload_type: redundant.then_some(63),
            extensions,
            feedback: Feedback { transport_cc: true, ..Feedback::default() },
            rids: Vec::new(),
            remote_ssrcs: vec![pair],
            local_ssrc: Some(pair),
        }
    }

    fn new(profile: SrtpProfile, redundant: bool) -> Self {
        let now = Instant::now();
        let mut plane = Plane::new(ShardId(0), 1, now);
        let peer = |index| PeerKey { index, generation: 1 };
        let path = |index: u32| Path::Udp(SocketAddr::from(([10, 0, 0, 1], 40_000 + index as u16)));
        let keys = |index| SrtpKeys {
            profile,
            local: master(profile, index, 0x10),
            remote: master(profile, index, 0x60),
        };
        let tracks = vec![IngestTrack { id: SOUND, media: Self::media(SOUND_SSRC, 111, redundant) }];
        plane.add_ingest(now, IngestSpec { peer: peer(0), path: path(0), keys: keys(0), tracks }).unwrap();
        for index in 1..=SOUND_VIEWERS {
            // Some number Opus otherwise, and their frames are numbered anew. Some have a publisher's redundancy taken off.
            let knows = !redundant || index % 2 == 0;
            let media = Self::media(SOUND_SSRC + index, if index % 3 == 0 { 96 } else { 111 }, knows);
            let tracks = vec![EgressTrack { id: SOUND, origin: ShardId(0), media }];
            let (path, keys, wish) = (path(index), keys(index), LayerWish::Best);
            plane.add_egress(now, EgressSpec { peer: peer(index), path, keys, tracks, wish }).unwrap();
        }
        let sealer = |index| RtcpSealer::new(profile, &master(profile, index, 0x60)).unwrap();
        let reporters = (1..=SOUND_VIEWERS / 2).map(sealer).collect();
        let sealer = RtpSealer::new(profile, &master(profile, 0, 0x60)).unwrap();
        let batch = SendBatch::new();
        Self { plane, now, batch, sealer, sequence: 0, redundant, reporters, reported: 1 }
    }

    /// The first half reports this loss, in 256ths, of as much as is looked at.
    fn report(&mut self, fraction_lost: u8) {
        self.reported += 500;
        let highest_sequence = self.reported;
        for (sealer, index) in self.reporters.iter_mut().zip(1..) {
            let mut packet = [0; 200];
            let mut writer = Writer::new(&mut packet);
            let ssrc = SOUND_SSRC + index;
            let block = ReportBlock { ssrc, fraction_lost, highest_sequence, ..ReportBlock::default() };
            writer.receiver_report(1, &[block]).unwrap();
            let len = writer.len() + sealer.overhead_bytes();
            sealer.seal(&mut packet[..len]).unwrap();
            self.plane.receive(self.now, self.now, PeerKey { index, generation: 1 }, &mut packet[..len]);
        }
    }

    fn datagram(&mut self) -> Vec<u8> {
        self.sequence += 1;
        let fields = HeaderFields {
            marker: false,
            padding: false,
            payload_type: if self.redundant { 63 } else { 111 },
            sequence: self.sequence as u16,
            timestamp: self.sequence as u32 * 960,
            ssrc: SOUND_SSRC,
        };
        let mut packet = vec![0; 64];
        let header = write_header(&mut packet, &fields, &[]).unwrap().len;
        let mut payload = Vec::new();
        if self.redundant {
            // The frame before, 960 units ago, and the packet's own.
            let [_, age_and_length @ ..] = (960_u32 << 10 | FRAME as u32).to_be_bytes();
            payload.push(0x80 | 111);
            payload.extend([&age_and_length[..], &[111], &[8; FRAME]].concat());
        }
        payload.extend([9; FRAME]);
        packet.resize(header + payload.len() + self.sealer.overhead_bytes(), 0);
        self.sealer.seal((SOUND_SSRC, self.sequence), &mut packet, header, &payload).unwrap();
        packet
    }

    /// Forwards so many packets, of which every `lost`th does not come. How often something was allocated.
    fn forward(&mut self, packets: usize, lost: usize, bytes: &mut Bytes) -> u64 {
        let mut datagrams: Vec<_> = (0..packets).map(|_| self.datagram()).collect();
        let mut number = 0;
        datagrams.retain(|_| {
            number += 1;
            number % lost != 0
        });
        let before = ALLOCATIONS.with(Cell::get);
        for datagram in &mut datagrams {
            self.now += Duration::from_millis(20);
            self.plane.handle_timeout(self.now);
            self.plane.receive(self.now, self.now, PeerKey { index: 0, generation: 1 }, datagram);
            self.plane.flush(self.now, &mut self.batch, bytes);
        }
        ALLOCATIONS.with(Cell::get) - before
    }
}

#[derive(Default)]
struct Bytes(usize);

impl Transmit for Bytes {
    fn transmit(&mut self, batch: &SendBatch) {
        self.0 += batch.runs().iter().map(|run| run.len).sum::<usize>();
    }
}

/// Never lost.
const NONE_LOST: usize = usize::MAX;

#[test]
fn adding_redundancy_allocates_nothing() {
    for profile in SrtpProfile::PREFERRED {
        let mut sound = Sound::new(profile, false);
        let mut bytes = Bytes::default();
        sound.report(20);
        sound.report(20);
        sound.forward(100, NONE_LOST, &mut bytes);
        bytes.0 = 0;
        assert_eq!(sound.forward(1_000, NONE_LOST, &mut bytes), 0, "{profile:?}");
        let per_packet = bytes.0 / 1_000 / SOUND_VIEWERS as usize;
        assert!((320..400).contains(&per_packet), "half of them get each frame three times: {per_packet}");
        assert_eq!(sound.plane.counters().seal_failed, 0);
    }
}

#[test]
fn taking_redundancy_off_and_recovering_by_it_allocates_nothing() {
    for profile in SrtpProfile::PREFERRED {
        let mut sound = Sound::new(profile, true);
        let mut bytes = Bytes::default();
        sound.forward(101, 5, &mut bytes);
        bytes.0 = 0;
        let before = *sound.plane.counters();
        assert_eq!(sound.forward(1_001, 5, &mut bytes), 0, "{profile:?}");
        let counters = sound.plane.counters();
        let forwarded = counters.rtp_sent_packets - before.rtp_sent_packets;
        assert_eq!(forwarded, 1_001 * u64::from(SOUND_VIEWERS), "what was lost was repeated");
        let per_packet = bytes.0 / 1_001 / SOUND_VIEWERS as usize;
        assert!((220..320).contains(&per_packet), "half of them get each frame twice: {per_packet}");
        assert_eq!((counters.seal_failed, counters.rtp_unrepaired_packets), (0, 0));
    }
}

#[test]
fn beginning_and_ending_to_add_redundancy_allocates_nothing() {
    let mut sound = Sound::new(SrtpProfile::PREFERRED[0], false);
    let mut bytes = Bytes::default();
    sound.report(0);
    let mut round = |sound: &mut Sound| {
        let mut allocations = 0;
        for fraction_lost in [20, 0, 0, 0] {
            let before = ALLOCATIONS.with(Cell::get);
            sound.report(fraction_lost);
            allocations += ALLOCATIONS.with(Cell::get) - before;
            allocations += sound.forward(300, NONE_LOST, &mut bytes);
        }
        allocations
    };
    round(&mut sound);
    let changes = sound.plane.counters().redundancy_changes;
    assert_eq!((changes.on, changes.off), (10, 10), "of each that reports");
    assert_eq!((0..4).map(|_| round(&mut sound)).sum::<u64>(), 0);
    let changes = sound.plane.counters().redundancy_changes;
    assert_eq!((changes.on, changes.off), (50, 50));
}
