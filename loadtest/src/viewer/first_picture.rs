//! When a viewer has the whole of its first keyframe, which is when a decoder can show something; pure.
//!
//! In: its video packets, as they come or come back. A keyframe begins with a packet that says so and ends with the marker
//! of the same timestamp (RFC 6184 §5.1, RFC 7741 §4.1). One that stays in pieces is given up for the next.

/// The state of one viewer.
#[derive(Debug, Default)]
pub(super) struct FirstPicture {
    candidate: Option<Candidate>,
    is_whole: bool,
}

#[derive(Debug)]
struct Candidate {
    first: u64,
    timestamp: u32,
    last: Option<u64>,
    /// Numbers of its packets that are there.
    got: Vec<u64>,
}

/// What of a packet matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct PicturePacket {
    /// Sequence number with the wraps counted.
    pub(super) number: u64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) starts_keyframe: bool,
}

impl FirstPicture {
    /// Whether it is there.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Takes a packet; whether the picture has become whole by it.
    pub(super) fn take(&mut self, packet: PicturePacket) -> bool {
        let PicturePacket { number, timestamp, marker, starts_keyframe } = packet;
        if self.is_whole {
            return false;
        }
        let is_another = self.candidate.as_ref().is_none_or(|known| known.timestamp != timestamp);
        if starts_keyframe && is_another {
            self.candidate = Some(Candidate { first: number, timestamp, last: None, got: Vec::new() });
        }
        let Some(candidate) = self.candidate.as_mut().filter(|known| known.timestamp == timestamp) else {
            return false;
        };
        // Of two packets that both say so, as parameter sets and the picture itself do, the first one begins it.
        if starts_keyframe {
            candidate.first = candidate.first.min(number);
        }
        if marker {
            candidate.last = Some(number);
        }
        if !candidate.got.contains(&number) {
            candidate.got.push(number);
        }
        let wanted = candidate.last.map(|last| last.saturating_sub(candidate.first) + 1);
        let there = candidate.got.iter().filter(|number| **number >= candidate.first).count() as u64;
        if wanted == Some(there) {
            self.is_whole = true;
            self.candidate = None;
        }
        self.is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u64, timestamp: u32, marker: bool, starts_keyframe: bool) -> PicturePacket {
        PicturePacket { number, timestamp, marker, starts_keyframe }
    }

    #[test]
    fn a_keyframe_is_whole_with_its_marker() {
        let mut picture = FirstPicture::default();
        assert!(!picture.take(packet(4, 1, true, false)), "what comes before it does not matter");
        assert!(!picture.take(packet(5, 2, false, true)));
        assert!(!picture.take(packet(6, 2, false, true)));
        assert!(!picture.take(packet(6, 2, false, true)), "a duplicate is nothing new");
        assert!(picture.take(packet(7, 2, true, false)));
        assert!(picture.is_whole());
        assert!(!picture.take(packet(8, 3, true, true)), "told once");
    }

    #[test]
    fn a_gap_is_waited_for_and_a_repair_fills_it() {
        let mut picture = FirstPicture::default();
        picture.take(packet(5, 2, false, true));
        assert!(!picture.take(packet(7, 2, true, false)));
        assert!(!picture.take(packet(8, 3, true, false)));
        assert!(picture.take(packet(6, 2, false, false)));
    }

    #[test]
    fn one_in_pieces_is_given_up_for_the_next() {
        let mut picture = FirstPicture::default();
        picture.take(packet(5, 2, false, true));
        picture.take(packet(7, 2, true, false));
        assert!(picture.take(packet(70, 9, true, true)), "one packet can be all of it");
    }
}
