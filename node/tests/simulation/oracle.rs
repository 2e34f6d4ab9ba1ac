//! What must be true of every datagram that leaves the node.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use aforo_node::media::rtp::is_rtcp;

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
    /// The index of the first packet on a stream, as who counts wraps from the first one on has it.
    pub fn first_index(&self, ssrc: u32) -> Option<u64> {
        self.streams.get(&ssrc)?.keys().next().copied()
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
