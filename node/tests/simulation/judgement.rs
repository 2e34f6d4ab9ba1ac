//! What must have been true of all that a viewer got, when the run is over.

use std::time::{Duration, Instant};

use aforo_node::media::codec::MediaKind;

use crate::air::Air;
use crate::flow::{Sky, Trouble};
use crate::footage::Tag;
use crate::oracle::Tap;
use crate::part::{self, Part};
use crate::publisher::{NUMBERS_PER_PUBLISHER, Publisher};
use crate::stream::{NUMBERS_PER_STREAM, Record};
use crate::viewer::{Got, Repeated, Stream, Viewer};

/// Gaps that a retransmission may still fill when a run ends.
const REPAIR_TIME: Duration = Duration::from_secs(2);

/// How far the pause between two publishers may be from what timestamps say of it: the delay, jitter and repair of the
/// packets on both sides of it.
const PAUSE_ERROR: Duration = Duration::from_secs(1);

/// How much later than another encoding one may be shown for ever after a switch, at most: the most that its packets came later.
const SWITCH_ERROR: Duration = Duration::from_millis(150);

/// The same when only sender reports tell how their clocks are related: packets of both were delayed and repaired on the way.
const CLOCK_ERROR: Duration = Duration::from_millis(400);

/// With it in the environment, everything that viewers got is printed.
const PRINT_PACKETS: &str = "AFORO_SIM_PACKETS";

/// How well a viewer was served.
#[derive(Debug, Clone, Copy, Default)]
pub struct Service {
    pub expected: usize,
    pub missing: usize,
    pub repaired: usize,
    pub switches: usize,
    pub frames: usize,
    /// Sound that came to the viewer, or to the node, with another packet only.
    pub repeated: usize,
    pub recovered: usize,
    /// How often pictures were held back.
    pub holds: usize,
    /// How often it was judged whether less was shown on a narrow link, and all on one that was wide again.
    pub falls: usize,
    pub returns: usize,
}

/// When a viewer may be sent no pictures for a while though there are some.
#[derive(Debug, Clone, Copy)]
pub struct Pauses<'a> {
    pub held: &'a [Trouble],
    /// When the node could not know where it, or its publisher, was.
    pub rebindings: &'a [Trouble],
    /// Its path was narrow or broken at times.
    pub anytime: bool,
}

impl Pauses<'_> {
    /// Whether there was a hold between two packets.
    fn hold_between(&self, last: &Packet, next: &Packet) -> bool {
        self.held.iter().any(|held| held.from <= next.got.at && held.until >= last.got.at)
    }

    /// Whether there was one between two packets: the second follows on the first without a gap, though others lay between, with a keyframe.
    pub fn is_between(&self, last: &Packet, next: &Packet) -> bool {
        next.resumes_after(last) && (self.anytime || self.hold_between(last, next))
    }
}

/// One packet: its index at the viewer, what came, and what was sent.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    pub index: u64,
    pub got: Got,
    pub sent: &'a Record,
}

impl Packet<'_> {
    fn describe(&self) -> String {
        let Self { index, got, sent } = self;
        let Tag { number, frame, place, count, spatial, temporal, key, .. } = got.tag;
        format!(
            "{index}: stream {} packet {} frame {frame} {place}/{count} S{spatial}T{temporal} key {key} timestamp {} moved {} \
             marker {} {:?} {:?} of {:?} {:?} repaired {} sent {:?} came after {:?}",
            self.stream(),
            number % NUMBERS_PER_STREAM,
            got.timestamp,
            self.offset().cast_signed(),
            got.marker,
            got.numbers,
            got.frame_number,
            sent.numbers,
            sent.frame_number,
            got.repaired,
            sent.at,
            got.at - sent.at
        )
    }

    /// Units by which the viewer's timestamp is above the publisher's.
    pub fn offset(&self) -> u32 {
        self.got.timestamp.wrapping_sub(self.sent.timestamp)
    }

    /// Which of all streams of a broadcast it is of.
    pub fn stream(&self) -> u32 {
        self.got.tag.number / NUMBERS_PER_STREAM
    }

    /// Whether its pictures keep their numbers when others are left out.
    pub fn keeps_picture_numbers(&self) -> bool {
        self.sent.keeps_picture_numbers
    }

    /// Whether it follows on `last` without a gap, though others lay between, with a keyframe; or with one that was sent before `last`, as
    /// the group of pictures is shown once more.
    fn resumes_after(&self, last: &Self) -> bool {
        let between = self.sent.sequence.cast_signed() - last.sent.sequence.cast_signed();
        self.stream() == last.stream()
            && (between <= 0 || between.cast_unsigned() > self.index - last.index)
            && self.got.tag.key
            && self.got.tag.spatial == 0
    }

    pub fn publisher(&self) -> u32 {
        self.got.tag.number / NUMBERS_PER_PUBLISHER
    }
}

/// Checks all that a viewer got of `kind` against what one publisher after the other sent. `way`: of the path from them.
pub fn served(
    viewer: &Viewer,
    tap: &Tap,
    air: &Air,
    kind: MediaKind,
    way: Sky,
    until: Instant,
    pauses: &Pauses,
) -> Result<Service, String> {
    let (stream, publishers) = (viewer.stream(kind), &air.publishers);
    let mut packets = Vec::new();
    for (index, got) in &stream.packets {
        let number = got.tag.number;
        let sent = publishers.iter().find_map(|publisher| publisher.record(number));
        let sent = sent.ok_or_else(|| format!("{kind:?} {number} was never sent"))?;
        if (got.tag, got.len) != (sent.tag, sent.len) {
            return Err(format!("{kind:?} {number} changed from {sent:?} to {got:?}"));
        }
        packets.push(Packet { index: *index, got: *got, sent });
    }
    if std::env::var_os(PRINT_PACKETS).is_some() {
        packets.iter().for_each(|packet| println!("{}", packet.describe()));
    }
    // Whether there was anything to be shown was looked at before.
    if kind == MediaKind::Video && viewer.decoder.shown.is_empty() && tap.first_index(stream.ssrc()).is_none()
    {
        return Ok(Service::default());
    }
    let first_sent = tap.first_index(stream.ssrc()).ok_or("the node sent nothing")?;
    let parts: Vec<Part> =
        packets.chunk_by(|a, b| a.stream() == b.stream() && !pauses.is_between(a, b)).map(Part).collect();
    let mut before: Option<&Part> = None;
    for part in &parts {
        let place = part.first().publisher() as usize;
        let publisher = publishers[place];
        if air.reign(place).is_none() {
            return Err(format!("{kind:?} of publisher {place} arrived, which never had the stream"));
        }
        let reach = match before {
            None => part.first().index - first_sent,
            Some(before) => part.first().index - before.last().index - 1,
        };
        part.begins_where_a_decoder_can(publisher, reach)?;
        part.keeps_its_numbers(publisher)?;
        let joined = before.is_none() && kind == MediaKind::Video;
        // What was missed may have been of another encoding, with a clock of its own or shown a moment before.
        let unmoved = part.first().publisher() == 0 && reach == 0;
        part.keeps_its_time(publisher, reach, joined, unmoved)?;
        if let Some(before) = before {
            follows(before, part, publisher)?;
        }
        before = Some(part);
    }
    let came = parts.first().map_or(0, |part| part.first().publisher());
    let mut publishers_left_out = (came..publishers.len() as u32)
        .filter(|place| !parts.iter().any(|part| part.first().publisher() == *place));
    let held = if kind == MediaKind::Video { pauses.held } else { &[] };
    if let Some(place) = publishers_left_out.find(|place| air.plays_before(*place as usize, until, held)) {
        return Err(format!("no {kind:?} of publisher {place} arrived"));
    }
    let (expected, missing) = gaps(&packets, air, stream, until, pauses.rebindings);
    let repaired = stream.packets.values().filter(|got| got.repaired).count();
    let (switches, frames) = (parts.len().saturating_sub(1), viewer.decoder.shown.len());
    if kind == MediaKind::Audio {
        repeats_are_true(stream, &packets, publishers)?;
    }
    if kind == MediaKind::Video {
        // A packet that came to the node too late to be left out goes out whatever it is, and makes no frame.
        let makes_frame =
            |packet: &Packet| !packet.sent.may_be_left_out || viewer.decoder.has(&packet.got.tag);
        packets.retain(makes_frame);
        let late = way > Sky::Clear && publishers.iter().any(|publisher| publisher.is_scalable());
        part::pictures_follow(&packets, publishers, late, pauses)?;
    }
    Ok(Service { expected, missing, repaired, switches, frames, ..Service::default() })
}

/// Numbers and time go on from one part to the next.
fn follows(before: &Part, part: &Part, publisher: &Publisher) -> Result<(), String> {
    let (last, first) = (before.last(), part.first());
    if first.publisher() < last.publisher() {
        return Err(format!("{} of an earlier publisher came after {}", first.index, last.index));
    }
    let clock_rate_hz = part.clock_rate_hz();
    let moved = f64::from(first.got.timestamp.wrapping_sub(last.got.timestamp).cast_signed()) / clock_rate_hz;
    let passed = first.sent.filmed.saturating_duration_since(last.sent.filmed).as_secs_f64();
    if moved <= 0.0 {
        return Err(format!("time went back by {moved} s at {}", first.index));
    }
    let later = moved - passed;
    let (least, most) = if first.publisher() > last.publisher() {
        // Who was still catching up with the one before was shown what is older than its timestamps say: by as much as it came late.
        let behind = last.got.at.saturating_duration_since(last.sent.filmed);
        let behind = if before.lead() > 0 { behind } else { Duration::ZERO };
        (-(PAUSE_ERROR + behind).as_secs_f64(), PAUSE_ERROR.as_secs_f64())
    } else {
        // Until it has caught up, each is ahead by what it has to catch up with.
        let lead = f64::from(before.lead()) / clock_rate_hz;
        let begins_ahead = f64::from(part.begins_ahead()) / clock_rate_hz;
        let film = last.sent.filmed.saturating_duration_since(first.sent.filmed).as_secs_f64();
        let (earlier, later) = if publisher.manner().shared_clock {
            (0.001, SWITCH_ERROR.as_secs_f64())
        } else {
            (CLOCK_ERROR.as_secs_f64(), CLOCK_ERROR.as_secs_f64())
        };
        (-lead - earlier, film + begins_ahead + later)
    };
    if !(least..=most).contains(&later) {
        return Err(format!(
            "{}: {moved} s went by at the viewer and {passed} s before the camera",
            first.index
        ));
    }
    Ok(())
}

/// What packets repeat is what was sent, and as old as they say.
fn repeats_are_true(stream: &Stream, packets: &[Packet], publishers: &[&Publisher]) -> Result<(), String> {
    for packet in packets {
        let mut before = 0;
        for repeated in stream.repeated.get(&packet.index).into_iter().flatten() {
            let Repeated { number, age, len } = *repeated;
            let sent = publishers.iter().find_map(|publisher| publisher.record(number));
            let sent =
                sent.ok_or_else(|| format!("{} repeats {number}, which was never sent", packet.index))?;
            let older = packet.sent.timestamp.wrapping_sub(sent.timestamp);
            if (older, sent.len) != (age, len) || !(before..packet.got.tag.number).contains(&number) {
                return Err(format!("{} repeats {sent:?} as {repeated:?}", packet.index));
            }
            before = number + 1;
        }
    }
    Ok(())
}

/// How many numbers there were that must have come, and how many of them did not.
fn gaps(
    packets: &[Packet],
    air: &Air,
    stream: &Stream,
    until: Instant,
    rebindings: &[Trouble],
) -> (usize, usize) {
    // What came before the viewer had keys is not missed, what was sent too late to be repaired is not counted, and nothing is
    // repaired after a publisher has left.
    let ends: Vec<Instant> = (0..air.publishers.len())
        .map(|place| air.last_of(place).map_or(until, |last| last.min(until)))
        .collect();
    let (mut expected, mut missing) = (0, 0);
    for pair in packets.windows(2) {
        let (one, next) = (pair[0], pair[1]);
        // What went to an address that was not the viewer's any more, or came from one that was nobody's yet.
        let astray = rebindings.iter().any(|lost| one.got.at <= lost.until && lost.from <= next.sent.at);
        let counts = !astray
            && Some(one.index) >= stream.first_arrived
            && next.sent.at + REPAIR_TIME < ends[one.publisher() as usize];
        if counts && one.publisher() == next.publisher() {
            expected += (next.index - one.index) as usize;
            missing += (next.index - one.index - 1) as usize - stream.padding_between(one.index, next.index);
        }
    }
    (expected, missing)
}
