//! What receiver reports have said of a leg: what is counted, and what its path lost of what was sent.
//!
//! A report calls lost whatever did not come, so also what never came to the node: that is no fault of the viewer's path.

use super::track::Track;
use crate::media::leg::Leg;
use crate::media::rtcp::ReportBlock;
use crate::media::selection::Pick;

/// Packets that a look covers at least, as with feedback: of fewer, one or two by chance would be much.
const LOOK_PACKETS: u32 = 30;

/// How far back packets are looked for that never came: no ring remembers more.
const REMEMBERED_PACKETS: u32 = 4_096;

/// What reports say of packets that were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) packets: u32,
    pub(super) lost: u32,
}

/// See the module. As new, nothing was said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ToldLoss {
    /// The most packets that were lost in all (RFC 3550 §6.4.1).
    lost: i32,
    /// Packets that had been sent by then; wraps.
    sent: u32,
    /// The highest sequence number, with its wraps.
    highest: Option<u32>,
    /// Of how many packets reports have spoken.
    spoken: u32,
    /// What was said since there was enough to look at.
    since_look: Loss,
}

impl ToldLoss {
    /// How many packets more a report says are lost, of `sent` in all: no more than were sent since the last one.
    pub(super) fn more(&mut self, cumulative_lost: i32, sent: u32) -> u64 {
        let before = *self;
        *self = Self { lost: before.lost.max(cumulative_lost), sent, ..before };
        let lost = (self.lost - before.lost).unsigned_abs();
        lost.min(sent.wrapping_sub(before.sent)).into()
    }

    /// Of how many packets a report speaks that has this highest sequence number, of `sent` in all: of all of them, if it is the
    /// first one, and never of more than there are.
    pub(super) fn passed(&mut self, highest: u32, sent: u32) -> u32 {
        let packets = match self.highest.replace(highest) {
            None => sent,
            // Below zero where an older report came late.
            Some(before) => highest.wrapping_sub(before).cast_signed().max(0).cast_unsigned(),
        };
        let packets = packets.min(sent.wrapping_sub(self.spoken));
        self.spoken = self.spoken.wrapping_add(packets);
        packets
    }

    /// The share that was lost (0 to 1), once there was enough to tell. That nothing is lost can be told of any number.
    pub(super) fn look(&mut self, loss: Loss) -> Option<f64> {
        let before = self.since_look;
        let packets = before.packets.saturating_add(loss.packets);
        let lost = before.lost.saturating_add(loss.lost);
        if lost > 0 && packets < LOOK_PACKETS {
            self.since_look = Loss { packets, lost };
            return None;
        }
        self.since_look = Loss::default();
        Some(f64::from(lost) / f64::from(packets.max(1)))
    }
}

impl Track {
    /// What a report on the last `packets` of `leg` says that its path lost of them.
    pub(super) fn lost_on_path(&self, leg: &Leg, block: &ReportBlock, packets: u32) -> Loss {
        // The fraction is rounded down.
        let lost = (u64::from(packets) * u64::from(block.fraction_lost)).div_ceil(256) as u32;
        let never = if lost > 0 { self.never_came(leg, block.highest_sequence as u16, packets) } else { 0 };
        Loss { packets: packets.saturating_sub(never), lost: lost.saturating_sub(never) }
    }

    /// How many of the last `packets` that `leg` has numbers for, up to `highest`, have not come here.
    fn never_came(&self, leg: &Leg, highest: u16, packets: u32) -> u32 {
        let find = |pick: Pick, number| self.layers.get(usize::from(pick.layer))?.find(pick.point, number);
        let lacks = |back: &u32| {
            let found = leg.find(highest.wrapping_sub(*back as u16), find);
            found.is_some_and(|(_, mapping, source)| {
                let layer = self.layers.get(usize::from(mapping.layer()));
                layer.and_then(|layer| layer.ring.as_ref()).is_some_and(|ring| ring.lacks(source))
            })
        };
        (0..packets.min(REMEMBERED_PACKETS)).filter(lacks).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_a_handful_of_packets_says_nothing_until_there_are_more() {
        let mut told = ToldLoss::default();
        let loss = |packets, lost| Loss { packets, lost };
        assert_eq!(told.look(loss(6, 2)), None);
        assert_eq!(told.look(loss(23, 4)), None);
        assert_eq!(told.look(loss(1, 0)), Some(0.2));
        assert_eq!(told.look(loss(6, 0)), Some(0.0), "nothing is nothing of however few");
        assert_eq!(told.look(loss(30, 10)), Some(1.0 / 3.0));
    }

    #[test]
    fn reports_speak_of_what_passed_since_the_one_before() {
        let mut told = ToldLoss::default();
        assert_eq!(told.passed(0xFFFF_FFF0, 40), 40);
        assert_eq!(told.passed(0x0000_0010, 90), 32);
        assert_eq!(told.passed(0xFFFF_FFF0, 90), 0, "it came late");
        assert_eq!(told.passed(0x7000_0000, 90), 18, "of no more than were sent");
        assert_eq!(told.passed(0x7000_1000, 90), 0);
    }
}
