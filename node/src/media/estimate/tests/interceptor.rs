//! The estimator of `rtc-interceptor` on the same paths, to compare with.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtc_interceptor::{BandwidthEstimator, Gcc, PacketReport};
use rtc_rtcp::transport_feedbacks::cc_feedback_report::Ecn;

use super::link::Subject;
use crate::media::rtcp::{Packet, packets};
use crate::media::twcc::Arrival;

pub(super) struct Interceptor {
    gcc: Gcc,
    base: Instant,
    next: u64,
    sent: VecDeque<PacketReport>,
}

impl Interceptor {
    pub(super) fn new() -> Self {
        Self { gcc: Gcc::default(), base: Instant::now(), next: 0, sent: VecDeque::new() }
    }
}

impl Subject for Interceptor {
    fn sent(&mut self, now: i64, bytes: usize) {
        self.sent.push_back(PacketReport {
            ssrc: 1,
            id: self.next,
            rtp_sequence_number: self.next as u16,
            is_twcc: true,
            twcc_sequence_number: self.next as u16,
            size: bytes,
            arrived: false,
            departure: self.base + Duration::from_micros(now as u64),
            arrival: None,
            ecn: Ecn::NotEct,
        });
        self.next += 1;
    }

    fn feedback(&mut self, now: i64, message: &[u8], _: Duration) {
        let Some(Ok(Packet::TransportCc(feedback))) = packets(message).next() else { panic!("no feedback") };
        let mut reports = Vec::new();
        for (sequence, arrival) in feedback.packets() {
            while self.sent.front().is_some_and(|packet| packet.twcc_sequence_number != sequence) {
                self.sent.pop_front();
            }
            let Some(mut packet) = self.sent.pop_front() else { continue };
            if let Arrival::Received { at_micros } = arrival {
                packet.arrived = true;
                packet.arrival = Some(Duration::from_micros(at_micros as u64));
            }
            reports.push(packet);
        }
        self.gcc.on_reports(self.base + Duration::from_micros(now as u64), &reports);
    }

    fn bps(&self) -> Option<f64> {
        Some(self.gcc.target_bitrate())
    }
}
