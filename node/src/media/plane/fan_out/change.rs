//! How a leg goes on with another layer, or with more or less of the one that it plays.

use std::time::Duration;

use aforo_cluster::id::TrackId;

use super::super::track::{Class, LOOK_BACK_PACKETS, Layer};
use super::super::transport::Transport;
use super::{Outlet, Passage};
use crate::media::codec::{CodecKind, PictureNumbers, PictureShift, Point};
use crate::media::fast_start::units;
use crate::media::leg::{Leg, SentNumbers, Start};
use crate::media::outbox::Transmit;
use crate::media::selection::{Cause, Direction, Ladder, Pick, Switch};
use crate::media::spec::PlaneEvent;

/// The least time between what a leg was sent of one publisher and of the next: frames of two encoders that come in one
/// instant are still two frames. As far apart as frames of sound are.
const FRAME_MIN: Duration = Duration::from_millis(20);

/// The longest time for which a picture may be held back and go on at its own time after it.
pub(in super::super) const HELD_MAX: Duration = Duration::from_secs(6 * 3_600);

/// A keyframe that came late, as it was lost and sent again, is not begun with by who was shown something that is newer by more than
/// this: it would get nothing of what came since but by asking, and be shown all that follows so much later.
const GOES_BACK_MAX: Duration = Duration::from_millis(150);

/// The parts of a track that sending to a leg needs beside the leg.
pub(in super::super) struct Material<'a> {
    pub(in super::super) id: TrackId,
    pub(in super::super) layers: &'a [Layer],
    pub(in super::super) classes: &'a [Class],
    pub(in super::super) ladder: &'a Ladder,
}

impl Passage {
    /// Lets a leg go on with what it shall play, if it can in this window. `cut_off`: what it plays is of a numbering that has
    /// ended.
    #[cold]
    pub(super) fn change<T: Transmit>(
        &mut self,
        leg: &mut Leg,
        cut_off: bool,
        material: &Material<'_>,
        outlet: &mut Outlet<'_, T>,
    ) {
        self.tell_of_held_picture(leg, material, outlet);
        if leg.selection.holds_picture() {
            return;
        }
        let before = leg.is_live().then(|| leg.mapping().pick());
        let goes_on =
            before.is_some_and(|before| before.layer == leg.wanted.layer && !leg.is_paused() && !cut_off);
        if goes_on && leg.is_catching_up() {
            // Until then it plays all of the layer.
            return;
        }
        let changed = if goes_on {
            self.go_over(leg, material, outlet)
        } else {
            self.begin(leg, cut_off, material, outlet)
        };
        let after = leg.mapping().pick();
        let Some(transport) = outlet.transports.get_mut(leg.peer).filter(|_| changed.is_some()) else {
            return;
        };
        tell(transport, self.video, outlet.events);
        if self.video && before != Some(after) {
            let (peer, track, Pick { layer, point }) = (transport.key, material.id, after);
            let switch = before.map(|before| {
                let up = material.ladder.is_better(after, before);
                let direction = if up { Direction::Up } else { Direction::Down };
                // Whatever was chosen, it goes by what a publisher that began anew sends first.
                let cause = if cut_off { Cause::Publisher } else { leg.selection.cause() };
                Switch { direction, cause }
            });
            outlet.events.push_back(PlaneEvent::LayerPlayed { peer, track, layer, point, switch });
        }
    }

    /// Says that the picture is held back, or not any more.
    fn tell_of_held_picture<T>(&self, leg: &mut Leg, material: &Material<'_>, outlet: &mut Outlet<'_, T>) {
        let held = self.video && leg.selection.holds_picture();
        let told = std::mem::replace(&mut leg.held_told, held);
        if !held && !told {
            return;
        }
        let Some(transport) = outlet.transports.get_mut(leg.peer) else { return };
        let (peer, track) = (transport.key, material.id);
        if told != held {
            outlet.events.push_back(PlaneEvent::PictureHeld { peer, track, held });
        }
        // Also where it was told before: it may have come back since, and gone again before there was anything to send.
        outlet.held.extend(held.then_some(peer));
    }

    /// Goes on with more or less of the same layer.
    fn go_over<T: Transmit>(
        &mut self,
        leg: &mut Leg,
        material: &Material<'_>,
        outlet: &mut Outlet<'_, T>,
    ) -> Option<()> {
        let (from, to) = (leg.mapping().pick().point, leg.wanted.point);
        let layer = material.layers.get(usize::from(leg.wanted.layer))?;
        let at = layer.crossing(leg, to)?;
        let index = layer.window.get(at)?.index;
        let (before, after) = (layer.place(from, index)?, layer.place(to, index)?);
        let transport = outlet.transports.get_mut(leg.peer)?;
        self.send_window(leg, material, transport, &mut outlet.exit, |packet| packet.index < index);
        leg.go_over(to, index, before, after);
        Some(())
    }

    /// Begins another layer with a keyframe.
    fn begin<T: Transmit>(
        &mut self,
        leg: &mut Leg,
        cut_off: bool,
        material: &Material<'_>,
        outlet: &mut Outlet<'_, T>,
    ) -> Option<()> {
        let start = self.start_for(leg, cut_off, material)?;
        let transport = outlet.transports.get_mut(leg.peer)?;
        if leg.is_live() && !leg.is_paused() && !cut_off {
            // What the old layer shows before the new one's keyframe still goes out; numbers follow on it.
            self.send_window(leg, material, transport, &mut outlet.exit, |packet| {
                start.timestamp_before.wrapping_sub(packet.header.timestamp).cast_signed() > 0
            });
        }
        let (picture, frames) = match self.codec {
            Some(codec) if leg.is_live() => material.shifts(codec, leg, &start),
            _ => (None, None),
        };
        leg.play_from(start, self.clock_rate_hz);
        picture.into_iter().for_each(|shift| leg.shift_pictures(shift));
        frames.into_iter().for_each(|shift| leg.shift_frames(shift));
        Some(())
    }

    /// Where a leg that shall play another layer begins with one, if it can in this window. One to which nothing flows
    /// takes a lower layer than it shall have rather than wait, or even a better one if that is not far beyond its path.
    fn start_for(&self, leg: &Leg, cut_off: bool, material: &Material<'_>) -> Option<Start> {
        let waits = !leg.is_live() || cut_off;
        let pick = if self.starts.contains(leg.wanted.layer) {
            leg.wanted
        } else if (waits || leg.is_paused()) && !self.starts.is_empty() {
            let lower = self.lower_layer(leg.wanted.layer, material.ladder);
            let better = || waits.then(|| self.better_layer(leg, material.ladder)).flatten();
            Pick::whole(lower.or_else(better)?)
        } else {
            return None;
        };
        let known = material.layers.get(usize::from(pick.layer))?;
        let packet = known.start().filter(|packet| known.has_point(pick.point, packet.index))?;
        let before = material.layers.get(usize::from(leg.mapping().layer()));
        let timestamp = packet.header.timestamp;
        let newest = before.and_then(|before| before.newest_beside(leg.mapping().first_source()));
        let by_arrival = newest.zip(self.opened).map(|(newest, now)| {
            let pause = newest.pause(now);
            let apart = if cut_off { pause.max(FRAME_MIN) } else { pause };
            (newest.timestamp_after(apart, self.clock_rate_hz), pause)
        });
        let shared = before
            .filter(|_| !waits)
            .and_then(|before| known.timestamp_on_clock_of(before, timestamp, self.clock_rate_hz));
        let a_frame_later = || (leg.a_frame_later(self.clock_rate_hz), Duration::ZERO);
        let (by_arrival, pause) = by_arrival.unwrap_or_else(a_frame_later);
        // Nothing was sent, but the layer went on: its time is not that of its newest packet.
        let pause = if leg.is_paused() { pause.max(HELD_MAX) } else { pause };
        let number = known.place(pick.point, packet.index)?.number;
        let timestamp_before = shared.unwrap_or(by_arrival);
        let start = Start { pick, index: packet.index, number, timestamp, timestamp_before, pause };
        let stale = packet.late && !waits && self.goes_back(leg, &start);
        (!stale).then_some(start)
    }

    /// Whether `leg` was sent what is newer than the keyframe of `start`: much newer, or of the same layer. One that catches up is
    /// ahead of its time.
    fn goes_back(&self, leg: &Leg, start: &Start) -> bool {
        let most = units(GOES_BACK_MAX, self.clock_rate_hz).cast_signed();
        let least = if start.pick.layer == leg.mapping().layer() { 1 } else { -most };
        !leg.is_catching_up() && leg.ahead(start.timestamp_before) < least
    }

    /// The best layer below `wanted` that can begin in this window.
    fn lower_layer(&self, wanted: u8, ladder: &Ladder) -> Option<u8> {
        let rungs = ladder.rungs();
        let rank = rungs.iter().position(|rung| rung.layer == wanted);
        let lower = rungs.get(..rank.unwrap_or(0)).unwrap_or_default();
        let lower = lower.iter().rev().map(|rung| rung.layer);
        // While nothing is known of the layers, any will do.
        let any = self.starts.iter().filter(|_| rank.is_none());
        lower.chain(any).find(|layer| self.starts.contains(*layer))
    }

    /// The least layer above the one that `leg` shall play that can begin in this window, if the viewer can do with it.
    fn better_layer(&self, leg: &Leg, ladder: &Ladder) -> Option<u8> {
        let rank = ladder.rungs().iter().position(|rung| rung.layer == leg.wanted.layer)?;
        let better = ladder.rungs().get(rank + 1..).unwrap_or_default().iter();
        let better = better.filter(|rung| rung.point == Point::WHOLE && self.starts.contains(rung.layer));
        better.filter(|rung| leg.selection.bears(rung)).map(|rung| rung.layer).next()
    }
}

impl Material<'_> {
    /// Whether what `leg` plays is of a numbering that has ended.
    #[inline]
    pub(super) fn is_cut_off(&self, leg: &Leg) -> bool {
        let layer = self.layers.get(usize::from(leg.mapping().layer()));
        layer.is_some_and(|layer| layer.has_ended(leg.mapping().first_source()))
    }

    /// How picture numbers and frame numbers of the layer that a leg begins follow on the last ones that it was sent.
    pub(in super::super) fn shifts(
        &self,
        codec: CodecKind,
        leg: &Leg,
        start: &Start,
    ) -> (Option<PictureShift>, Option<u16>) {
        let last = self.sent_last(codec, leg);
        let pictures = last.picture.zip(self.picture_numbers(codec, start.pick, start.index));
        let picture = pictures.map(|(last, (next, left_out))| {
            let follows = PictureShift::following(last, next);
            PictureShift { id: follows.id.wrapping_add(left_out), ..follows }
        });
        let frames = last.frame.zip(self.frame_number(codec, start.pick.layer, start.index));
        (picture, frames.map(|(last, next)| last.wrapping_add(1).wrapping_sub(next)))
    }

    /// What the last packet that `leg` was sent calls its picture.
    pub(in super::super) fn sent_last(&self, codec: CodecKind, leg: &Leg) -> SentNumbers {
        if let Some(numbers) = leg.paused_at() {
            return numbers;
        }
        let find = |pick: Pick, number| self.layers.get(usize::from(pick.layer))?.find(pick.point, number);
        // What was sent last may be of the mapping before, if nothing was since that changed.
        let Some((_, mapping, newest)) = leg.find(leg.highest_out() as u16, find) else {
            return SentNumbers::default();
        };
        let sent = (0..LOOK_BACK_PACKETS).filter_map(|back| newest.checked_sub(back));
        let picture = sent.filter_map(|index| self.picture_numbers(codec, mapping.pick(), index)).next();
        // What is older was noted, if only padding has come since.
        let layer = self.layers.get(usize::from(mapping.layer()));
        let noted = layer.and_then(|layer| layer.known_before(newest));
        let noted_picture = || {
            let (index, numbers) = noted?;
            Some((numbers.picture?, layer?.place(mapping.pick().point, index)?.pictures))
        };
        let picture = picture.or_else(noted_picture).map(|(numbers, left_out)| {
            let shift = mapping.picture();
            numbers.shifted(PictureShift { id: shift.id.wrapping_sub(left_out), ..shift })
        });
        let frame =
            self.frame_number(codec, mapping.layer(), newest).or(noted.and_then(|noted| noted.1.frame));
        SentNumbers { picture, frame: frame.map(|frame| frame.wrapping_add(mapping.frame_shift())) }
    }

    /// Picture numbers of a packet, and how many pictures were left out before it.
    fn picture_numbers(&self, codec: CodecKind, pick: Pick, index: u64) -> Option<(PictureNumbers, u16)> {
        let layer = self.layers.get(usize::from(pick.layer))?;
        Some((layer.numbers(codec, index)?.picture?, layer.place(pick.point, index)?.pictures))
    }

    /// The frame number of a packet's dependency descriptor.
    fn frame_number(&self, codec: CodecKind, layer: u8, index: u64) -> Option<u16> {
        self.layers.get(usize::from(layer))?.numbers(codec, index)?.frame
    }
}

/// Tells of a viewer's first packet and its first keyframe.
#[cold]
pub(in super::super) fn tell(
    transport: &mut Transport,
    video: bool,
    events: &mut std::collections::VecDeque<PlaneEvent>,
) {
    if !std::mem::replace(&mut transport.media_told, true) {
        events.push_back(PlaneEvent::FirstMedia(transport.key));
    }
    if video && !std::mem::replace(&mut transport.keyframe_told, true) {
        events.push_back(PlaneEvent::FirstKeyframe(transport.key));
    }
}
