//! A part of what a viewer got: packets of one stream, from where the viewer began with it to where it went on to another.

use crate::footage::Tag;
use crate::judgement::{Packet, Pauses};
use crate::publisher::Publisher;
use crate::stream::Record;

/// How far timestamps may be ahead at the keyframe that a viewer begins with, in units of video's clock: it may be ten seconds
/// old, as the node sees it, if no other was to be had, and is played as if it had been filmed when the viewer joined.
const LEAD_MAX: u32 = 909_000;

/// How many times faster than it was filmed a group is played: at the least on a path that is known to be slow, at the least on
/// any other, and at the most.
const FACTORS: (u32, u64, u64) = (2, 4, 6);

/// See the module. Not empty.
pub struct Part<'a>(pub &'a [Packet<'a>]);

impl Part<'_> {
    pub fn first(&self) -> &Packet<'_> {
        &self.0[0]
    }

    pub fn last(&self) -> &Packet<'_> {
        &self.0[self.0.len() - 1]
    }

    fn is_sound(&self) -> bool {
        self.first().sent.tag.references == [None; 2] && self.first().stream().is_multiple_of(4)
    }

    pub fn clock_rate_hz(&self) -> f64 {
        if self.is_sound() { 48_000.0 } else { 90_000.0 }
    }

    /// By how many units the last timestamp is ahead of the first one's publisher: 0 unless the viewer was still catching up.
    pub fn lead(&self) -> u32 {
        let first = self.first();
        let ahead = first.offset().wrapping_sub(self.last().offset()).cast_signed();
        if ahead == 0 { 0 } else { LEAD_MAX }
    }

    /// By how many units the first timestamp is ahead of the last one's: 0 unless it began with a group.
    pub fn begins_ahead(&self) -> u32 {
        let ahead = self.first().offset().wrapping_sub(self.last().offset());
        ahead.cast_signed().max(0).cast_unsigned()
    }

    /// The part begins with a keyframe, though `reach` packets before the first one may have been missed.
    pub fn begins_where_a_decoder_can(&self, publisher: &Publisher, reach: u64) -> Result<(), String> {
        if self.is_sound() || self.keyframes(publisher, reach).next().is_some() {
            return Ok(());
        }
        let first = self.first();
        Err(format!("{} does not begin with a keyframe: {:?}", first.index, first.got.tag))
    }

    /// The keyframes that the part may have begun with, if up to `reach` packets before the first one were missed. Where viewers may
    /// get a stream without some of its packets those have no numbers, so only those are counted that every viewer gets: what a
    /// viewer missed may have been all that it got of hundreds.
    fn keyframes<'b>(&self, publisher: &'b Publisher, reach: u64) -> impl Iterator<Item = &'b Record> {
        let first = self.first().sent;
        let format = publisher.manner().format;
        let (scalable, top) = (publisher.is_scalable(), format.spatial_layers - 1);
        let certain = move |record: &Record| {
            let Tag { spatial, temporal, key, place, .. } = record.tag;
            if !scalable {
                return true;
            }
            if !key && top > 0 && format.layers_meet_at_keyframes {
                // One of its frames, though not that of the lowest layer: any of the picture's packets stands for it.
                return (spatial, temporal, place) == (0, 0, 0) && record.timestamp != first.timestamp;
            }
            (spatial, temporal) == (0, 0)
        };
        let sent = (0..).map_while(move |back| publisher.record(first.tag.number.checked_sub(back)?));
        let counted = sent.scan(0, move |missed, record| {
            *missed += u64::from(record.tag.number != first.tag.number && certain(record));
            (*missed <= reach).then_some(record)
        });
        counted.filter(|record| record.tag.begins_keyframe())
    }

    /// Gaps are gaps in the publisher's numbers too, unless parts of the stream are left out: then nothing else is.
    pub fn keeps_its_numbers(&self, publisher: &Publisher) -> Result<(), String> {
        for pair in self.0.windows(2) {
            let indices = pair[1].index - pair[0].index;
            // Padding has numbers, too.
            let numbers = pair[1].sent.sequence.cast_signed() - pair[0].sent.sequence.cast_signed();
            let [from, to] = [pair[0], pair[1]].map(|packet| (packet.index, packet.got.tag.number));
            let partly = publisher.is_scalable() && !self.is_sound();
            let follows = if partly { numbers >= indices as i64 } else { numbers == indices as i64 };
            if !follows {
                return Err(format!("{from:?} is followed by {to:?}: gaps must stay gaps"));
            }
            let mut between = (from.1 + 1..to.1).filter_map(|number| publisher.record(number));
            let upper = pair.iter().any(|packet| packet.got.tag.spatial > 0);
            let needed = |tag: &Tag| tag.key || !upper || !publisher.manner().format.layers_meet_at_keyframes;
            if indices == 1 && between.any(|record| !record.may_be_left_out && needed(&record.tag)) {
                return Err(format!("{from:?} is followed by {to:?}: others were left out that may not be"));
            }
        }
        Ok(())
    }

    /// All timestamps are moved by the same, unless it began with a group and caught up. `joined`: the viewer joined with this part;
    /// `unmoved`: with the first publisher's clock, which nothing moves. `reach`: packets that may have been missed before it.
    pub fn keeps_its_time(
        &self,
        publisher: &Publisher,
        reach: u64,
        joined: bool,
        unmoved: bool,
    ) -> Result<(), String> {
        let shift = if joined && unmoved { 0 } else { self.last().offset() };
        let lead = |packet: &Packet| packet.offset().wrapping_sub(shift);
        let Some(wrong) = self.0.iter().find(|packet| lead(packet) != 0) else { return Ok(()) };
        let first = self.first();
        let begins: Vec<u32> = self.keyframes(publisher, reach).map(|record| record.timestamp).collect();
        if !self.is_sound() && wrong.index == first.index && self.catches_up(&begins, lead(first), lead) {
            return Ok(());
        }
        let moves: Vec<_> = self.0.iter().take(60).map(|packet| lead(packet).cast_signed()).collect();
        Err(format!("the timestamp of {} moved by {}: {moves:?}", wrong.index, lead(wrong).cast_signed()))
    }

    /// Whether the part begins as one that is played faster than it was filmed, up to one moment: what is `d` units before that
    /// is shown `d / factor` before it. How much faster follows from what there was of the group, whatever came of that: from one of
    /// `begins`.
    fn catches_up(&self, begins: &[u32], first_lead: u32, lead: impl Fn(&Packet) -> u32) -> bool {
        if first_lead > LEAD_MAX {
            return false;
        }
        let (begin, last) = (self.first().sent.timestamp, self.last().sent.timestamp);
        let (slowest, usual, fastest) = FACTORS;
        (slowest..=fastest as u32).any(|factor| {
            // lead = d - d / factor, which rounding makes ambiguous by a unit or two.
            let near = first_lead * factor / (factor - 1);
            (near.saturating_sub(2)..=near + 2).any(|distance| {
                let until = begin.wrapping_add(distance);
                // No faster than it takes to have caught up after 200 ms, or than decoders bear.
                let fitting = begins.iter().map(|begin| until.wrapping_sub(*begin)).any(|distance| {
                    let span = u64::from(distance) * u64::from(factor - 1) / u64::from(factor);
                    let needed = (span / 90 + 1) / 200 + 2;
                    span <= LEAD_MAX.into() && u64::from(factor) <= needed.clamp(usual, fastest)
                });
                // Of a group that ended before the viewer had caught up nobody knows how much more there was.
                let cut_short = last.wrapping_sub(until).cast_signed() <= 0;
                (fitting || cut_short)
                    && self.0.iter().all(|packet| {
                        let before =
                            until.wrapping_sub(packet.sent.timestamp).cast_signed().max(0).cast_unsigned();
                        lead(packet) == before - before / factor
                    })
            })
        })
    }
}

/// Pictures follow on each other as their numbers, markers and times say, over all parts. `late`: some came to the node too late
/// to be left out for who does not get their layer; those have numbers and go out, but no picture ends with them.
pub fn pictures_follow(
    packets: &[Packet],
    publishers: &[&Publisher],
    late: bool,
    pauses: &Pauses,
) -> Result<(), String> {
    let picture = |packet: &Packet| (packet.stream(), packet.sent.timestamp);
    let pictures: Vec<&[Packet]> = packets.chunk_by(|a, b| picture(a) == picture(b)).collect();
    for shown in &pictures {
        let (first, last) = (shown[0], shown[shown.len() - 1]);
        if shown.iter().any(|packet| packet.got.timestamp != first.got.timestamp) {
            return Err(format!("the picture of {} has two timestamps", first.index));
        }
        let early = shown.iter().find(|packet| packet.got.marker && packet.index != last.index);
        if let Some(early) = early.filter(|_| !late) {
            return Err(format!("{} ends the picture that {} is of", early.index, last.index));
        }
        let numbers = |packet: &Packet| packet.got.numbers;
        if shown.iter().any(|packet| numbers(packet) != numbers(&first)) {
            return Err(format!("the picture of {} has two numbers", first.index));
        }
    }
    for pair in pictures.windows(2) {
        let (last, next) = (pair[0][pair[0].len() - 1], pair[1][0]);
        let ahead = next.got.timestamp.wrapping_sub(last.got.timestamp).cast_signed();
        if ahead <= 0 {
            return Err(format!("the picture of {} is {ahead} units after the one before", next.index));
        }
        let whole = next.index == last.index + 1;
        // The last picture before a switch may be cut off by the keyframe that follows.
        let resumed = pauses.is_between(&last, &next);
        if whole && !last.got.marker && last.stream() == next.stream() && !late && !resumed {
            return Err(format!("the picture of {} does not end", last.index));
        }
        numbers_follow(&last, &next, publishers, whole, pauses)?;
    }
    Ok(())
}

/// Picture numbers and frame numbers go on from `last` to `next`, of the next picture; `whole`: nothing is missing between them.
fn numbers_follow(
    last: &Packet,
    next: &Packet,
    publishers: &[&Publisher],
    whole: bool,
    pauses: &Pauses,
) -> Result<(), String> {
    let same_stream = last.stream() == next.stream();
    // Where something is missing, it may have gone on with a keyframe that is, too: at the latest with the last one before `next`.
    let missed = (last.got.tag.number + 1..next.got.tag.number).rev().filter(|_| same_stream && !whole);
    let mut missed = missed.filter_map(|number| publishers.iter().find_map(|known| known.record(number)));
    let missed = missed.find(|record| record.tag.begins_keyframe());
    // It may have been begun anew, or be of a stream of which parts are left out.
    let may_begin = pauses.is_between(last, next);
    if let (Some(before), Some(after)) = (last.got.numbers, next.got.numbers) {
        let step = after.picture.wrapping_sub(before.picture) & 0x7FFF;
        let closes_up = !next.keeps_picture_numbers();
        let sent = |packet: &Packet| packet.sent.numbers.map_or(0, |numbers| numbers.picture);
        let wanted = if closes_up || !same_stream { 1 } else { sent(next).wrapping_sub(sent(last)) & 0x7FFF };
        if step == 0 || step > 0x4000 || (whole && step != wanted && !may_begin) {
            return Err(format!(
                "picture {before:?} is followed by {after:?} at {}, by {wanted}",
                next.index
            ));
        }
        let base = after.base.wrapping_sub(before.base);
        let wanted = match (last.sent.numbers, next.sent.numbers) {
            (Some(before), Some(after)) if same_stream => after.base.wrapping_sub(before.base),
            _ => 1,
        };
        let since = |record: &Record| Some(next.sent.numbers?.base.wrapping_sub(record.numbers?.base));
        let resumed = missed.and_then(since).is_some_and(|since| since < base && base < wanted);
        if base != wanted && (whole || same_stream) && !may_begin && !resumed {
            return Err(format!("picture {before:?} is followed by {after:?} at {}", next.index));
        }
    }
    if let (Some(before), Some(after)) = (last.got.frame_number, next.got.frame_number) {
        let step = after.wrapping_sub(before);
        let sent = |packet: &Packet| packet.sent.frame_number.unwrap_or(0);
        let wanted = if same_stream { sent(next).wrapping_sub(sent(last)) } else { step };
        let since = |record: &Record| Some(sent(next).wrapping_sub(record.frame_number?));
        let resumed = missed.and_then(since).is_some_and(|since| since < step && step < wanted);
        if step == 0 || step > 0x8000 || (step != wanted && !may_begin && !resumed) {
            return Err(format!("frame {before} is followed by {after} at {}", next.index));
        }
    }
    Ok(())
}
