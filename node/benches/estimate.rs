#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
//! What the estimate costs: a viewer's feedback and a delivered packet, with one layer (no estimate) and with two.
//!
//! `cargo bench --workspace --bench estimate`. A feedback reports 100 ms of 2 Mbit/s, as Chromium sends it; opening the sealed
//! RTCP is part of either side. Both run in turns and medians are compared. Exits with 1 above the limit.

#[path = "fanout/stage.rs"]
#[allow(dead_code, reason = "the benchmark of the fan-out uses more of it")]
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use aforo_node::media::keys::SrtpProfile;
use aforo_node::media::outbox::{SendBatch, Transmit};
use aforo_node::media::path::PeerKey;
use aforo_node::media::plane::quality::Quality;
use aforo_node::media::rtcp::Writer;
use aforo_node::media::srtp::RtcpSealer;
use aforo_node::media::twcc::{ArrivalRecorder, MAX_FEEDBACK_BYTES};
use stage::{Stage, master};

const PROFILE: SrtpProfile = SrtpProfile::AeadAes128Gcm;
const VIEWERS: usize = 1_000;
const PACKET_BYTES: usize = 1_200;

/// Packets in 100 ms of 2 Mbit/s, and in one flush: a frame of 30 in a second has seven.
const FEEDBACK_PACKETS: usize = 21;
const WINDOW: usize = 7;

/// Turns of each side.
const TURNS: usize = 41;

/// The limit of a delivered packet with estimate over one without.
const RATIO_MAX: f64 = 1.25;

/// Offset of the transport-wide sequence number in what viewers get: after the fixed header, the extensions' and the MID.
const TRANSPORT_SEQUENCE_AT: usize = 19;

/// One plane whose viewers answer.
struct Side {
    stage: Stage,
    answers: Answers,
    packet: Vec<f64>,
    feedback: Vec<f64>,
}

/// What viewers have got, and their feedback on it.
struct Answers {
    recorders: Vec<ArrivalRecorder>,
    /// The newest transport-wide sequence number of each.
    newest: Vec<u16>,
    sealers: Vec<RtcpSealer>,
    now: std::time::Instant,
}

impl Transmit for Answers {
    fn transmit(&mut self, batch: &SendBatch) {
        for datagram in batch.runs().iter().flat_map(|run| batch.datagrams(run)) {
            let ssrc = u32::from_be_bytes(datagram[8..12].try_into().unwrap());
            let at = TRANSPORT_SEQUENCE_AT;
            let sequence = u16::from_be_bytes([datagram[at], datagram[at + 1]]);
            // Sender reports have a length in this place, and no odd SSRC is media.
            if datagram[1] & 0x7F == 101 {
                let viewer = ssrc as usize / 2 - 1;
                self.recorders[viewer].record(sequence, self.now + Duration::from_millis(20));
                self.newest[viewer] = sequence;
            }
        }
    }
}

/// Sends nothing and notes nothing.
struct Nothing;

impl Transmit for Nothing {
    fn transmit(&mut self, _: &SendBatch) {}
}

fn main() -> ExitCode {
    let mut sides = [1, 2].map(Side::new);
    for _ in 0..TURNS {
        sides.iter_mut().for_each(Side::turn);
    }
    let [one, two] = sides.map(Side::medians);
    let ratio = two.0 / one.0;
    println!(
        "medians of {TURNS} turns, {VIEWERS} viewers, {PACKET_BYTES}-byte packets, {FEEDBACK_PACKETS} packets in a feedback"
    );
    println!("                     no estimate  estimate");
    println!("delivered packet     {:>8.0} ns  {:>5.0} ns  {ratio:.2}x, at most {RATIO_MAX}", one.0, two.0);
    println!(
        "feedback message     {:>8.0} ns  {:>5.0} ns  {:+.0} ns per packet reported",
        one.1,
        two.1,
        (two.1 - one.1) / FEEDBACK_PACKETS as f64
    );
    let delivered = (two.0 * FEEDBACK_PACKETS as f64 + two.1) / (one.0 * FEEDBACK_PACKETS as f64 + one.1);
    println!("both, per packet     {delivered:.2}x of the plane alone, without system calls");
    if ratio <= RATIO_MAX { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Side {
    fn new(layers: usize) -> Self {
        let mut stage = Stage::with_layers(PROFILE, VIEWERS as u32, PACKET_BYTES, layers);
        let now = stage.now;
        let recorders = (0..VIEWERS).map(|_| ArrivalRecorder::new(now - Duration::from_secs(1))).collect();
        let sealers = (1..=VIEWERS as u32)
            .map(|index| RtcpSealer::new(PROFILE, &master(PROFILE, index, 0x60)).unwrap());
        let mut answers = Answers { recorders, newest: vec![0; VIEWERS], sealers: sealers.collect(), now };
        // Layers are known after some measurements, the estimate after some feedback.
        for _ in 0..30 {
            stage.now += Duration::from_millis(50);
            (1..layers).for_each(|layer| stage.forward_layer(layer, &mut Nothing));
            answers.now = stage.now;
            stage.forward(WINDOW, &mut answers);
            answers.hand(&mut stage);
        }
        let mut estimated = 0;
        stage.plane.sample_quality(now..now, |quality| {
            estimated += usize::from(matches!(quality, Quality::Estimate(_)))
        });
        assert_eq!(estimated, if layers > 1 { VIEWERS } else { 0 });
        Self { stage, answers, packet: Vec::new(), feedback: Vec::new() }
    }

    /// 100 ms: some windows to all viewers, then the feedback of all.
    fn turn(&mut self) {
        for _ in 1..FEEDBACK_PACKETS / WINDOW {
            self.stage.now += Duration::from_millis(33);
            self.answers.now = self.stage.now;
            let mut datagrams = self.stage.publish(WINDOW);
            self.stage.run(&mut datagrams, &mut self.answers);
        }
        self.stage.now += Duration::from_millis(33);
        let mut datagrams = self.stage.publish(WINDOW);
        let start = thread_time();
        self.stage.run(&mut datagrams, &mut Nothing);
        self.packet.push((thread_time() - start).as_nanos() as f64 / (WINDOW * VIEWERS) as f64);
        // What viewers note is not the plane's cost, so they note it afterwards.
        self.answers.now = self.stage.now;
        self.answers.note_unseen(WINDOW as u16);
        let elapsed = self.answers.hand(&mut self.stage);
        self.feedback.push(elapsed.as_nanos() as f64 / VIEWERS as f64);
    }

    fn medians(mut self) -> (f64, f64) {
        self.packet.sort_unstable_by(f64::total_cmp);
        self.feedback.sort_unstable_by(f64::total_cmp);
        (self.packet[TURNS / 2], self.feedback[TURNS / 2])
    }
}

impl Answers {
    /// All viewers got the next `count` packets.
    fn note_unseen(&mut self, count: u16) {
        for (recorder, newest) in self.recorders.iter_mut().zip(&mut self.newest) {
            for _ in 0..count {
                *newest = newest.wrapping_add(1);
                recorder.record(*newest, self.now + Duration::from_millis(20));
            }
        }
    }

    /// All viewers' feedback goes to the plane. How long it took the plane.
    fn hand(&mut self, stage: &mut Stage) -> Duration {
        let mut messages = Vec::new();
        for (recorder, sealer) in self.recorders.iter_mut().zip(&mut self.sealers) {
            let mut buffer = vec![0; MAX_FEEDBACK_BYTES + 100];
            let mut writer = Writer::new(&mut buffer);
            writer.receiver_report(1, &[]).unwrap();
            recorder.write_feedback(&mut writer, 1, 2).unwrap();
            let len = writer.len() + sealer.overhead_bytes();
            buffer.truncate(len);
            sealer.seal(&mut buffer).unwrap();
            messages.push(buffer);
        }
        let now = stage.now + Duration::from_millis(40);
        let start = thread_time();
        for (index, message) in (1_u32..).zip(&mut messages) {
            stage.plane.receive(now, now, PeerKey { index, generation: 1 }, message);
        }
        let elapsed = thread_time() - start;
        let counters = stage.plane.counters();
        assert_eq!((counters.rtcp_unauthentic, counters.rtcp_malformed, counters.seal_failed), (0, 0, 0));
        elapsed
    }
}

/// CPU time that this thread has used.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `time` is valid for the write.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "the thread's clock can be read");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
