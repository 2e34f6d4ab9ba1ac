//! What all viewers of a fleet have counted together.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::sequence::SequenceCounts;

/// Longest latency and join time told apart: a minute, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// A histogram of microseconds, exact to 0.1 %.
///
/// # Errors
///
/// The bounds are refused; not with these.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST_US, 3)?)
}

/// Counters since the fleet's start, and latencies since the last reset.
#[derive(Debug, Clone)]
pub struct Totals {
    /// RTP packets that arrived, repairs included.
    pub packets: u64,
    /// Their bytes, headers and tags included, IP and UDP headers not.
    pub bytes: u64,
    /// Repairs (RTX) among them.
    pub repairs: u64,
    /// Repairs that filled no gap: the packet had come by itself after all, or was given up, or the repair is padding.
    pub repairs_needless: u64,
    /// Packets that the viewers threw away to simulate loss.
    pub dropped: u64,
    /// Packets that were opened and verified.
    pub opened: u64,
    /// Packets that did not verify.
    pub unopened: u64,
    /// Packets that made no sense.
    pub unreadable: u64,
    /// RTCP packets from the server.
    pub reports: u64,
    /// NACK packets sent.
    pub nacks: u64,
    /// Keyframe requests sent.
    pub keyframe_requests: u64,
    /// Viewers that gave up before they had media.
    pub failed: u64,
    /// From the publisher's stamp to the kernel's arrival time, in microseconds.
    pub latency_us: Histogram<u64>,
    /// From POST to the first media packet, in microseconds.
    pub first_media_us: Histogram<u64>,
    /// From POST to the first keyframe packet, in microseconds.
    pub first_keyframe_us: Histogram<u64>,
    /// From POST to the last packet of the first whole keyframe, in microseconds.
    pub first_picture_us: Histogram<u64>,
    /// When the last viewer so far had all that was promised.
    pub completed_at: Option<Instant>,
    /// Viewers that had media and whose session the server closed, or who got none for a while when the window ended;
    /// filled in when a snapshot is taken.
    pub lost: u64,
    /// Sequence counts of all viewers, filled in when a snapshot is taken.
    pub sequences: SequenceCounts,
    /// Viewers with media, filled in when a snapshot is taken.
    pub playing: u64,
    /// Viewers that have all that was promised, filled in when a snapshot is taken.
    pub complete: u64,
}

impl Totals {
    /// All zero.
    ///
    /// # Errors
    ///
    /// As for [`histogram`].
    pub fn new() -> Result<Self> {
        Ok(Self {
            packets: 0,
            bytes: 0,
            repairs: 0,
            repairs_needless: 0,
            dropped: 0,
            opened: 0,
            unopened: 0,
            unreadable: 0,
            reports: 0,
            nacks: 0,
            keyframe_requests: 0,
            failed: 0,
            lost: 0,
            latency_us: histogram()?,
            first_media_us: histogram()?,
            first_keyframe_us: histogram()?,
            first_picture_us: histogram()?,
            completed_at: None,
            sequences: SequenceCounts::default(),
            playing: 0,
            complete: 0,
        })
    }

    pub(super) fn note_latency(&mut self, sent_ns: u64, arrival_ns: u64) {
        let latency_us = arrival_ns.saturating_sub(sent_ns) / 1_000;
        self.latency_us.saturating_record(latency_us);
    }

    pub(super) fn first_media(&mut self, after: Duration) {
        self.first_media_us.saturating_record(after.as_micros() as u64);
    }

    pub(super) fn first_keyframe(&mut self, after: Duration) {
        self.first_keyframe_us.saturating_record(after.as_micros() as u64);
    }

    pub(super) fn first_picture(&mut self, after: Duration) {
        self.first_picture_us.saturating_record(after.as_micros() as u64);
    }
}
