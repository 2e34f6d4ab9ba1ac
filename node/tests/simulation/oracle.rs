//! What must be true after every step, and what must have been true in the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use aforo_node::media::codec::MediaKind;
use aforo_node::media::rtp::is_rtcp;

use crate::footage::Shape;
use crate::publisher::{NUMBERS_PER_PUBLISHER, Publisher, Record};
use crate::viewer::{Got, Viewer};

/// Gaps that a retransmission may still fill when a run ends.
const REPAIR_TIME: Duration = Duration::from_secs(2);

/// How far the pause between two publishers may be from what timestamps say of it: the delay, jitter and repair of the
/// packets on both sides of it.
const PAUSE_ERROR: Duration = Duration::from_secs(1);

/// A hash that is the same in every run.
pub fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What left the node towards one client, as the wire shows it: headers are readable, payloads are not.
#[derive(Default)]
pub struct Tap {
    streams: HashMap<u32, BTreeMap<u64, Sealed>>,
    reports: HashMap<(u32, u32), u64>,
    pub media_packets: u64,
}

struct Sealed {
    timestamp: u32,
    digest: u64,
}

impl Tap {
    /// The first sequence number on a stream.
    pub fn first_sequence(&self, ssrc: u32) -> Option<u16> {
        self.streams.get(&ssrc)?.keys().next().map(|index| *index as u16)
    }

    /// Checks one datagram of media against all before. `rtx` are the SSRCs of retransmissions, `gcm` says how the key
    /// protects.
    pub fn observe(&mut self, datagram: &[u8], rtx: &[u32], gcm: bool) -> Result<(), String> {
        let word =
            |at: usize| datagram.get(at..at + 4).map(|word| u32::from_be_bytes(word.try_into().unwrap()));
        if is_rtcp(datagram) {
            let (Some(ssrc), Some(index)) = (word(4), word(datagram.len() - if gcm { 4 } else { 14 })) else {
                return Err("rtcp of no length".to_owned());
            };
            return match self.reports.insert((ssrc, index), digest(datagram)) {
                Some(_) => Err(format!("srtcp index {index:x} of {ssrc} was used before")),
                None => Ok(()),
            };
        }
        let (Some(first), Some(timestamp), Some(ssrc)) = (word(0), word(4), word(8)) else {
            return Err("rtp of no length".to_owned());
        };
        self.media_packets += 1;
        let sequence = first as u16;
        let stream = self.streams.entry(ssrc).or_default();
        let newest = stream.last_key_value().map_or(u64::from(sequence) + (1 << 16), |(index, _)| *index);
        let index = newest.saturating_add_signed(i64::from(sequence.wrapping_sub(newest as u16) as i16));
        let digest = digest(datagram);
        if let Some(before) = stream.get(&index) {
            return if before.digest == digest {
                Ok(())
            } else {
                Err(format!("nonce {ssrc}/{index} was used for two packets"))
            };
        }
        if !rtx.contains(&ssrc) {
            let older = stream.range(..index).next_back();
            let newer = stream.range(index..).next();
            let ahead = |from: u32, to: u32| to.wrapping_sub(from) as i32 >= 0;
            let in_order = older.is_none_or(|(_, sealed)| ahead(sealed.timestamp, timestamp))
                && newer.is_none_or(|(_, sealed)| ahead(timestamp, sealed.timestamp));
            if !in_order {
                return Err(format!("the timestamp of {ssrc}/{index} goes backwards"));
            }
        }
        stream.insert(index, Sealed { timestamp, digest });
        Ok(())
    }
}

/// How well a viewer was served.
#[derive(Debug, Clone, Copy, Default)]
pub struct Service {
    pub expected: usize,
    pub missing: usize,
    pub repaired: usize,
}

/// Checks all that a viewer got of `kind` against what one publisher after the other sent.
pub fn served(
    viewer: &Viewer,
    tap: &Tap,
    publishers: &[&Publisher],
    kind: MediaKind,
    until: Instant,
) -> Result<Service, String> {
    let stream = viewer.stream(kind);
    let mut total = Service {
        repaired: stream.packets.values().filter(|got| got.repaired).count(),
        ..Service::default()
    };
    let mut before: Option<Last> = None;
    for (publisher, place) in publishers.iter().zip(0..) {
        let numbers = place * NUMBERS_PER_PUBLISHER..(place + 1) * NUMBERS_PER_PUBLISHER;
        let part = stream.packets.iter().filter(|(_, got)| numbers.contains(&got.number));
        let part: Part =
            part.map(|(index, got)| (*index, Got { number: got.number - numbers.start, ..*got })).collect();
        let (Some(first), Some(last)) = (part.first(), part.last()) else {
            let came_later = before.is_none() && place as usize + 1 < publishers.len();
            if came_later {
                continue;
            }
            return Err(format!("no {kind:?} of publisher {place} arrived"));
        };
        let records = publisher.records(kind);
        agree(kind, &part, records)?;
        // What the viewer may have missed before the first packet it has, one of which must be where a decoder can begin.
        let reach = match before {
            None => {
                let sent_first = tap.first_sequence(stream.ssrc()).ok_or("the node sent nothing")?;
                let missed = (first.0 as u16).wrapping_sub(sent_first);
                let least = if place == 0 { missed } else { 0 };
                u32::from(least)..=u32::from(missed)
            }
            Some(last) if first.0 > last.index => 0..=(first.0 - last.index - 1) as u32,
            Some(last) => {
                return Err(format!("{kind:?} {} of publisher {place} came before {}", first.0, last.index));
            }
        };
        if let (Some(last), Some(record)) = (before, records.get(first.1.number as usize)) {
            paused(kind, &last, &first.1, record)?;
        }
        let mut begun = reach.filter_map(|back| records.get(first.1.number.checked_sub(back)? as usize));
        if !begun.any(|record| matches!(record.shape, Shape::KeyframeStart | Shape::Sound)) {
            return Err(format!("the pictures of publisher {place} do not begin with a keyframe"));
        }
        let sent = records.get(last.1.number as usize).map_or(until, |record| record.at);
        before = Some(Last { index: last.0, timestamp: last.1.timestamp, sent });
        // What came before the viewer had keys is not missed, and what was sent too late to be repaired is not counted.
        let arrived = part.iter().find(|(index, _)| Some(*index) == stream.first_arrived).unwrap_or(first);
        let begin = arrived.1.number as usize;
        // Nothing is repaired after a publisher has left.
        let until = records.last().map_or(until, |record| until.min(record.at));
        let end =
            records.partition_point(|record| record.at + REPAIR_TIME < until).min(last.1.number as usize + 1);
        let got: BTreeSet<usize> = part.iter().map(|(_, got)| got.number as usize).collect();
        total.expected += end.saturating_sub(begin);
        total.missing += (begin..end).filter(|number| !got.contains(number)).count();
    }
    Ok(total)
}

/// The last packet that came of a publisher.
#[derive(Clone, Copy)]
struct Last {
    index: u64,
    timestamp: u32,
    sent: Instant,
}

/// Timestamps go on by the time that passed between two publishers, and never back.
fn paused(kind: MediaKind, last: &Last, first: &Got, record: &Record) -> Result<(), String> {
    let clock_rate_hz = if kind == MediaKind::Video { 90_000.0 } else { 48_000.0 };
    let moved = f64::from(first.timestamp.wrapping_sub(last.timestamp) as i32) / clock_rate_hz;
    let passed = record.at.saturating_duration_since(last.sent).as_secs_f64();
    if moved <= 0.0 || (moved - passed).abs() > PAUSE_ERROR.as_secs_f64() {
        return Err(format!("{kind:?} moved by {moved} s over a pause of {passed} s"));
    }
    Ok(())
}

/// What came of one publisher, by index, with the publisher's own numbers.
type Part = Vec<(u64, Got)>;

/// How far timestamps may be ahead at the keyframe that a viewer begins with, in units of video's clock: it may be a second old,
/// and is played as if it had been filmed when the viewer joined.
const LEAD_MAX: i32 = 99_000;

/// How long it takes a viewer to catch up, in the same units: as old as the keyframe is, and what comes meanwhile.
const CATCH_UP_MAX: i32 = 117_000;

/// Each packet is what was sent, numbers go with indexes, and all timestamps are moved by the same, but for what a viewer
/// catches up with: there they are ahead by less and less.
fn agree(kind: MediaKind, part: &Part, records: &[Record]) -> Result<(), String> {
    let Some((first_index, first)) = part.first() else { return Ok(()) };
    let sent = |got: &Got| records.get(got.number as usize);
    let shift = part.last().and_then(|(_, last)| Some(last.timestamp.wrapping_sub(sent(last)?.timestamp)));
    let mut lead_before = if kind == MediaKind::Video { LEAD_MAX } else { 0 };
    for (index, got) in part {
        let Some(record) = sent(got) else {
            return Err(format!("{kind:?} {} was never sent", got.number));
        };
        if index - first_index != u64::from(got.number.wrapping_sub(first.number)) {
            return Err(format!("{kind:?} {} came as {index}: gaps must stay gaps", got.number));
        }
        if (got.shape, got.len) != (record.shape, record.len) {
            return Err(format!("{kind:?} {} changed from {record:?} to {got:?}", got.number));
        }
        let offset = got.timestamp.wrapping_sub(record.timestamp);
        let lead = offset.wrapping_sub(shift.unwrap_or(offset)).cast_signed();
        let since_first =
            sent(first).map_or(0, |first| record.timestamp.wrapping_sub(first.timestamp)).cast_signed();
        if !(0..=lead_before).contains(&lead) || (lead > 0 && since_first > CATCH_UP_MAX) {
            return Err(format!(
                "the timestamp of {kind:?} {} moved by {lead}, {lead_before} before",
                got.number
            ));
        }
        lead_before = lead;
    }
    Ok(())
}

mod tests {
    use super::*;

    fn rtp(sequence: u16, timestamp: u32, payload: u8) -> Vec<u8> {
        let mut packet = vec![0x80, 96];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0, 9, payload]);
        packet
    }

    #[test]
    fn the_tap_sees_a_nonce_that_is_used_twice() {
        let mut tap = Tap::default();
        assert!(tap.observe(&rtp(65_535, 5, 1), &[], true).is_ok());
        assert!(tap.observe(&rtp(0, 5, 1), &[], true).is_ok());
        assert!(tap.observe(&rtp(65_535, 5, 1), &[], true).is_ok(), "the same bytes may come again");
        assert!(tap.observe(&rtp(65_535, 5, 2), &[], true).is_err());
        let report = [[0x80, 200, 0, 0, 0, 0, 0, 1].as_slice(), &[7; 16], &[0x80, 0, 0, 1]].concat();
        assert!(tap.observe(&report, &[], true).is_ok());
        assert!(tap.observe(&report, &[], true).is_err(), "an srtcp index never comes again");
    }

    #[test]
    fn the_tap_sees_time_go_backwards() {
        let mut tap = Tap::default();
        assert!(tap.observe(&rtp(10, u32::MAX, 1), &[], true).is_ok());
        assert!(tap.observe(&rtp(12, 3, 1), &[], true).is_ok());
        assert!(tap.observe(&rtp(11, 1, 1), &[], true).is_ok(), "it fills the gap");
        assert!(tap.observe(&rtp(13, 2, 1), &[], true).is_err());
        assert!(tap.observe(&rtp(13, 2, 1), &[9], true).is_ok(), "retransmissions are of any time");
    }
}
