//! What a publisher sent and no sequence number tells of: a stream that simply stops leaves no gap behind; pure.
//!
//! Sent packets are counted before they leave. So at the begin of a window a viewer can only be behind its publisher, and
//! what was sent by its end must have come a repair time later: what is short then was never passed on, or lost at the
//! very end. A window begins for a viewer at its first packet if that comes later, so that nobody is held against what
//! was sent before. How often a publisher sends is of no matter: silent sound is due as seldom as it is sent.

/// One incoming stream, held against what its publisher sends.
#[derive(Debug, Default)]
pub(super) struct Shortfall {
    begin: Option<Position>,
    due: u64,
}

/// How far both sides were at one moment.
#[derive(Debug, Clone, Copy)]
struct Position {
    sent: u64,
    numbered: u64,
}

impl Shortfall {
    /// The window begins: `sent` packets by the publisher so far, `numbered` of them known to the viewer. A stream of
    /// which nothing has come begins with its first packet.
    pub(super) fn begin(&mut self, sent: u64, numbered: u64) {
        self.due = 0;
        self.begin = (numbered > 0).then_some(Position { sent, numbered });
    }

    /// A packet came: the first one begins the window if it has not begun.
    pub(super) fn receive(&mut self, sent: impl FnOnce() -> u64, numbered: u64) {
        if self.begin.is_none() {
            self.begin = Some(Position { sent: sent(), numbered });
        }
    }

    /// The window ends: what was sent by now must come.
    pub(super) fn end(&mut self, sent: u64) {
        self.due = self.begin.map_or(0, |begin| sent.saturating_sub(begin.sent));
    }

    /// Packets that were due in the window that ended, less what the viewer has learnt of since it began.
    pub(super) fn packets(&self, numbered: u64) -> u64 {
        self.begin.map_or(0, |begin| self.due.saturating_sub(numbered.saturating_sub(begin.numbered)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_stops_is_short_of_all_that_was_sent_since() {
        let mut shortfall = Shortfall::default();
        shortfall.begin(1_000, 400);
        shortfall.end(1_300);
        assert_eq!(shortfall.packets(400 + 100), 200);
    }

    #[test]
    fn packets_on_their_way_at_either_end_are_no_shortfall() {
        let mut shortfall = Shortfall::default();
        // 20 sent before the begin come in the window, those of the end come after it.
        shortfall.begin(1_000, 380);
        shortfall.end(1_300);
        assert_eq!(shortfall.packets(400 + 300), 0);
        assert_eq!(shortfall.packets(400 + 390), 0);
    }

    #[test]
    fn a_viewer_that_comes_late_is_held_against_what_is_sent_from_then_on() {
        let mut shortfall = Shortfall::default();
        shortfall.begin(1_000, 0);
        assert_eq!(shortfall.packets(0), 0);
        // Starts with a keyframe of 30 packets ago.
        shortfall.receive(|| 1_200, 1);
        shortfall.receive(|| 1_201, 2);
        shortfall.end(1_300);
        assert_eq!(shortfall.packets(131), 0);
        assert_eq!(shortfall.packets(31), 70);
    }

    #[test]
    fn who_never_got_a_packet_is_a_failed_join_and_no_shortfall() {
        let mut shortfall = Shortfall::default();
        shortfall.begin(1_000, 0);
        shortfall.end(1_300);
        assert_eq!(shortfall.packets(0), 0);
    }

    #[test]
    fn a_run_that_goes_on_owes_nothing_yet() {
        let mut shortfall = Shortfall::default();
        shortfall.receive(|| 1_000, 1);
        assert_eq!(shortfall.packets(1), 0);
    }
}
