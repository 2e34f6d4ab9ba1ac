//! What we know of one stream that we receive: order, loss, jitter, and which packets to ask for again.
//!
//! - Inputs: sequence number and arrival of each packet, sender reports, where keyframes start, time.
//! - Outputs: where each packet belongs, report blocks (RFC 3550 §6.4), sequence numbers for NACK (RFC 4585 §6.2.1), and
//!   whether only a keyframe can help.

mod missing;
mod sequence;

use std::ops::Range;
use std::time::{Duration, Instant};

use missing::MissingList;
pub use sequence::Freshness;
use sequence::{Placed, Sequences};

use crate::media::codec::MediaKind;
use crate::media::negotiated::NegotiatedMedia;
use crate::media::rtcp::{ReportBlock, SenderInfo};

/// A change of transit time above this is a clock that was set and not jitter.
const MAX_TRANSIT_CHANGE: Duration = Duration::from_secs(5);

/// A burst: nothing came for so long, and so many packets are missing. By the time that they could be here again, the picture
/// has stood still for longer than a keyframe takes; they are asked for all the same, and what comes first is shown. The
/// time is longer than reordering and the pacing of a frame take; the number leaves out streams of a few frames a second,
/// of which a single packet is that far from the next.
const BURST_TIME: Duration = Duration::from_millis(250);
/// See [`BURST_TIME`].
const BURST_PACKETS: u64 = 8;

/// What was agreed for a stream, as far as its reception depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceptionConfig {
    /// RTP timestamp units per second.
    pub clock_rate_hz: u32,
    /// Whether the sender answers NACK.
    pub nack: bool,
    /// Whether it answers on a stream of its own (RFC 4588).
    pub rtx: bool,
    /// Whether a loss that cannot be repaired needs a keyframe.
    pub keyframes: bool,
}

impl ReceptionConfig {
    /// That of one agreed m-section.
    pub fn of(media: &NegotiatedMedia) -> Self {
        Self {
            clock_rate_hz: media.codec.kind.clock_rate_hz(),
            nack: media.feedback.nack,
            rtx: media.rtx_payload_type.is_some(),
            keyframes: media.kind == MediaKind::Video,
        }
    }
}

/// What a packet is to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The sequence number without wraps: grows by one per packet sent, for as long as the reception lives.
    pub index: u64,
    /// Whether it is new.
    pub freshness: Freshness,
    /// The sender began anew with this packet: sequence numbers and timestamps before it are of another numbering.
    pub restarted: bool,
}

/// Totals of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceptionTotals {
    /// Packets that came on the stream itself, duplicates included.
    pub received_packets: u64,
    /// Packets that only a retransmission brought.
    pub repaired_packets: u64,
    /// Packets that did not come in their turn, those included that came later as a repair.
    pub missed_packets: u64,
    /// Packets that were missed and never came.
    pub lost_packets: u64,
    /// Packets that were missing when the sender stopped: it sends them no more.
    pub abandoned_packets: u64,
    /// Sequence numbers asked for, repetitions included.
    pub nacked_packets: u64,
}

/// The reception of one stream: one SSRC at a time.
#[derive(Debug)]
pub struct Reception {
    config: ReceptionConfig,
    epoch: Instant,
    ssrc: Option<u32>,
    sequences: Option<Sequences>,
    missing: MissingList,
    sending: Sending,
    keyframe_index: u64,
    /// The newest packet that only a keyframe makes up for.
    beyond_repair: Option<u64>,
    newest_at: Option<Instant>,
    totals: ReceptionTotals,
    reported: Reported,
    transit: Option<u32>,
    /// In 16ths of a timestamp unit.
    jitter_scaled: u32,
    last_sender_report: Option<(u32, Instant)>,
}

/// Whether the sender sends, as far as it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Goes,
    /// Not since this packet.
    Stopped(u64),
    /// Again, after a stop since this packet; no keyframe has come yet.
    Resumed(u64),
}

/// What the report before this one was made from.
#[derive(Debug, Clone, Copy, Default)]
struct Reported {
    /// Received since the SSRC began.
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// When the last report was made that something was to come for, and what was lost of that, in 256ths.
    loss: Option<(Instant, u8)>,
}

impl Reception {
    /// A stream of which nothing came yet. `now` only fixes the origin of its clock.
    pub fn new(config: ReceptionConfig, now: Instant) -> Self {
        Self {
            config,
            epoch: now,
            ssrc: None,
            sequences: None,
            missing: MissingList::new(config.nack, config.rtx),
            sending: Sending::Goes,
            keyframe_index: 0,
            beyond_repair: None,
            newest_at: None,
            totals: ReceptionTotals::default(),
            reported: Reported::default(),
            transit: None,
            jitter_scaled: 0,
            last_sender_report: None,
        }
    }

    /// Takes a packet that came on the stream itself.
    pub fn receive(&mut self, arrival: Instant, ssrc: u32, sequence: u16, timestamp: u32) -> Received {
        let changed = self.ssrc.replace(ssrc).is_some_and(|before| before != ssrc);
        let before = self.sequences.as_ref().map(Sequences::highest);
        let placed = match &mut self.sequences {
            Some(sequences) if changed => sequences.restart(sequence),
            Some(sequences) => sequences.place(sequence, false),
            None => {
                let begun = Sequences::begin(sequence);
                let index = begun.highest();
                self.sequences = Some(begun);
                Placed { index, freshness: Freshness::Fresh, restarted: false }
            }
        };
        if placed.restarted {
            self.forget_numbering();
        }
        if placed.freshness != Freshness::TooOld {
            self.totals.received_packets += 1;
            self.reported.received += 1;
        }
        self.settle(arrival, placed, before, false);
        if placed.freshness == Freshness::Fresh {
            self.measure_jitter(arrival, timestamp);
        }
        Received { index: placed.index, freshness: placed.freshness, restarted: placed.restarted }
    }

    /// Takes a packet that a retransmission brought. `None` before the stream's first packet, when it has no place.
    pub fn receive_repaired(&mut self, arrival: Instant, sequence: u16) -> Option<Received> {
        let sequences = self.sequences.as_mut()?;
        let before = Some(sequences.highest());
        let placed = sequences.place(sequence, true);
        if matches!(placed.freshness, Freshness::Fresh | Freshness::Late) {
            self.totals.repaired_packets += 1;
        }
        self.settle(arrival, placed, before, true);
        Some(Received { index: placed.index, freshness: placed.freshness, restarted: false })
    }

    /// Notes that a keyframe starts at `index`: what is lost before it does not need another.
    pub fn keyframe_started(&mut self, index: u64) {
        self.keyframe_index = self.keyframe_index.max(index);
        if let (Sending::Resumed(stopped_at), Some(sequences)) = (self.sending, &self.sequences)
            && index > stopped_at
        {
            // An encoder that begins again does so with this: what is missing before it is from before the stop.
            self.missing.abandon(0..index, sequences.highest());
            self.sending = Sending::Goes;
        }
    }

    /// The sender says that it does not send the stream any more. What is missing of it is not sent again either, and no
    /// keyframe comes of it.
    pub fn stop(&mut self) {
        let Some(sequences) = &self.sequences else { return };
        self.sending = Sending::Stopped(sequences.highest());
        self.missing.abandon(0..u64::MAX, sequences.highest());
        self.beyond_repair = None;
    }

    /// The sender sends the stream again. `has_come`: whether it is a new packet that says so, so that what is missing just
    /// before it may be of what it sends now.
    pub fn resume(&mut self, has_come: bool) {
        let (Sending::Stopped(at), Some(sequences)) = (self.sending, &self.sequences) else { return };
        self.sending = Sending::Resumed(at);
        let until = if has_come { 0 } else { u64::MAX };
        self.missing.abandon(0..until, sequences.highest());
    }

    /// Whether nothing is asked for, as the sender has stopped.
    pub fn is_stopped(&self) -> bool {
        matches!(self.sending, Sending::Stopped(_))
    }

    /// Notes a sender report of this stream.
    pub fn sender_report(&mut self, arrival: Instant, info: &SenderInfo) {
        self.last_sender_report = Some((info.middle_ntp(), arrival));
    }

    /// What a report made now says of the stream. `None` before its first packet.
    pub fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let sequences = self.sequences.as_ref()?;
        let expected = sequences.expected();
        let reported = self.reported;
        let lost = i64::try_from(expected).unwrap_or(i64::MAX) - reported.received as i64;
        let expected_now = expected.saturating_sub(reported.expected_before);
        let received_now = reported.received - reported.received_before;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction_lost = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255);
        self.reported = Reported {
            expected_before: expected,
            received_before: reported.received,
            loss: if expected_now > 0 { Some((now, fraction_lost as u8)) } else { reported.loss },
            ..reported
        };
        let delay = |at: Instant| {
            let micros = now.saturating_duration_since(at).as_micros();
            u32::try_from(micros * 65_536 / 1_000_000).unwrap_or(u32::MAX)
        };
        Some(ReportBlock {
            ssrc: self.ssrc?,
            fraction_lost: fraction_lost as u8,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7F_FFFF) as i32,
            highest_sequence: sequences.highest_for_report(),
            jitter: self.jitter(),
            last_sender_report: self.last_sender_report.map_or(0, |(middle, _)| middle),
            delay_since_last_sender_report: self.last_sender_report.map_or(0, |(_, at)| delay(at)),
        })
    }

    /// Interarrival jitter (RFC 3550 §6.4.1), in units of the timestamp.
    pub fn jitter(&self) -> u32 {
        self.jitter_scaled / 16
    }

    /// Lost between the last two reports, in 256ths; `None` if the last was not made within `time`, or nothing was to come.
    pub fn fraction_lost_within(&self, time: &Range<Instant>) -> Option<u8> {
        self.reported.loss.filter(|(at, _)| time.contains(at)).map(|(_, lost)| lost)
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.missing.poll_timeout().filter(|_| !self.is_stopped())
    }

    /// The sequence numbers to ask for now, in ascending order; most of the time none.
    pub fn handle_timeout(&mut self, now: Instant) -> &[u16] {
        let Some(sequences) = self.sequences.as_ref().filter(|_| !self.is_stopped()) else { return &[] };
        let (due, lost) = self.missing.handle_timeout(now, sequences.highest());
        self.totals.nacked_packets += due.len() as u64;
        self.beyond_repair = self.beyond_repair.max(lost.filter(|_| self.config.keyframes));
        due
    }

    /// Whether something was lost that only a keyframe can mend; asking clears it.
    pub fn take_keyframe_wanted(&mut self) -> bool {
        self.beyond_repair.take().is_some_and(|lost| lost >= self.keyframe_index)
    }

    /// Round trip to the sender, by its answers to NACK; `None` before the first.
    pub fn round_trip(&self) -> Option<Duration> {
        self.missing.round_trip()
    }

    /// Totals since the reception began.
    pub fn totals(&self) -> ReceptionTotals {
        let (missed_packets, lost_packets) = (self.missing.missed(), self.missing.given_up());
        let abandoned_packets = self.missing.abandoned();
        ReceptionTotals { missed_packets, lost_packets, abandoned_packets, ..self.totals }
    }

    /// Brings the list of missing packets up to what just came.
    fn settle(&mut self, now: Instant, placed: Placed, before: Option<u64>, repaired: bool) {
        match (placed.freshness, before) {
            (Freshness::Fresh, Some(before)) if !placed.restarted => {
                let burst = placed.index - before > BURST_PACKETS
                    && self.newest_at.is_some_and(|at| now.saturating_duration_since(at) >= BURST_TIME);
                let given_up = self.missing.add(now, before + 1, placed.index);
                let lost = given_up.or_else(|| burst.then(|| placed.index - 1));
                self.beyond_repair = self.beyond_repair.max(lost.filter(|_| self.config.keyframes));
            }
            (Freshness::Late, Some(highest)) => {
                // Without a stream of their own, answers look like late packets.
                self.missing.remove(now, placed.index, highest, repaired || !self.config.rtx);
            }
            _ => {}
        }
        if placed.freshness == Freshness::Fresh && !repaired {
            self.newest_at = Some(now);
        }
    }

    /// Nothing measured before a restart says anything about what follows.
    fn forget_numbering(&mut self) {
        self.missing.clear();
        self.missing.forget_sender();
        (self.beyond_repair, self.newest_at) = (None, None);
        self.sending = Sending::Goes;
        self.reported = Reported::default();
        self.transit = None;
        self.jitter_scaled = 0;
        self.last_sender_report = None;
    }

    /// RFC 3550 A.8, in 16ths so that integers do.
    fn measure_jitter(&mut self, arrival: Instant, timestamp: u32) {
        let micros = arrival.saturating_duration_since(self.epoch).as_micros();
        let arrival_units = (micros * u128::from(self.config.clock_rate_hz) / 1_000_000) as u32;
        let transit = arrival_units.wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let change = (transit.wrapping_sub(before) as i32).unsigned_abs();
            let limit = u64::from(self.config.clock_rate_hz) * MAX_TRANSIT_CHANGE.as_secs();
            if u64::from(change) < limit {
                let jitter = self.jitter_scaled;
                self.jitter_scaled = jitter + change - (jitter + 8) / 16;
            }
        }
    }
}

#[cfg(test)]
mod tests;
