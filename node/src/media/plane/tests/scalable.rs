use std::collections::HashSet;
use std::iter::once;

use proptest::prelude::*;

use super::*;
use crate::media::codec::{CodecKind, Point, dependency, picture_numbers};
use crate::media::rtcp::ReportBlock;
use crate::media::rtp::RtpHeader;
use crate::media::selection::{Cause, Direction, LayerLimit, LayerWish, Switch, Switches};

/// A descriptor's structure: two decode targets; templates of a keyframe, a lower frame (two frames after its reference) and an
/// upper one that nobody needs; no chains, no sizes. By bits:
/// `1000 0` structure and nothing of its own; `000000` first template; `00001` two targets; `00 01 11` layers of templates;
/// `1010 1010 0001` indications; `0`, `1 0001 0`, `1 0000 0` differences; `0 0` chains (of three counts), `0` sizes.
const L1T2_STRUCTURE: [u8; 7] =
    [0b1000_0000, 0b0000_0001, 0b0001_1110, 0b1010_1000, 0b0101_0001, 0b0100_0000, 0b0000_0000];

/// A publisher that sends one packet per frame, with the packets' own numbering.
pub(super) struct Source {
    pub(super) publisher: Publisher,
    sequence: u16,
    picture: u16,
    /// Of the stream in two sizes.
    structure: &'static str,
    /// Whether descriptors say of VP9 what its layers are to each other.
    described: bool,
}

impl Source {
    pub(super) fn new(rig: &mut Rig, setup: &Setup) -> Self {
        Self {
            publisher: rig.publisher(0, setup),
            sequence: 0x7FF0,
            picture: 0,
            structure: L2T2_KEY_STRUCTURE,
            described: false,
        }
    }

    /// Whether nothing was published yet.
    pub(super) fn begins(&self) -> bool {
        self.picture == 0
    }

    /// Whether the next picture is of the lower temporal layer.
    pub(super) fn is_even(&self) -> bool {
        self.picture.is_multiple_of(2)
    }

    /// From now on the larger picture needs all of the smaller one.
    pub(super) fn all_needed(&mut self) {
        self.structure = L2T2_STRUCTURE;
    }

    /// The next packet, sealed.
    fn packet(&mut self, payload: &[u8], marker: bool) -> Vec<u8> {
        self.publisher.marker = marker;
        let sent = Sent {
            sequence: self.sequence,
            timestamp: u32::from(self.picture) * 3_000,
            keyframe: false,
            layer: 0,
            size: 0,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let packet = self.publisher.video_payload(&sent, payload);
        self.publisher.client.seal(&packet)
    }

    /// The packets of the next picture: VP9 of two spatial and two temporal layers, 200 and 1,000 bytes.
    fn vp9(&mut self, keyframe: bool) -> Vec<Vec<u8>> {
        let temporal = (self.picture % 2) as u8;
        let packets = [(0_u8, 200), (1, 1_000)].map(|(spatial, size)| {
            let predicted = if keyframe { 0 } else { 0x40 };
            let id = (self.picture | 0x8000).to_be_bytes();
            let indices = temporal << 5 | 0x10 | spatial << 1 | u8::from(spatial > 0);
            let mut payload = vec![0x80 | predicted | 0x20 | 0x08 | 0x04, id[0], id[1], indices, 3];
            if keyframe && spatial == 0 {
                // The structure: two spatial layers of 640 x 360 and 1,280 x 720 pixels.
                payload[0] |= 0x02;
                payload.extend([0x30, 2, 0x80, 1, 0x68, 5, 0, 2, 0xD0]);
            }
            payload.resize(size, self.picture as u8);
            self.publisher.descriptor =
                if self.described { self.descriptor(spatial, keyframe) } else { Vec::new() };
            self.packet(&payload, spatial == 1)
        });
        self.picture += 1;
        packets.into()
    }

    /// The packet of the next picture: VP8 of two temporal layers.
    fn vp8(&mut self, keyframe: bool) -> Vec<Vec<u8>> {
        let temporal = (self.picture % 2) as u8;
        let id = (self.picture | 0x8000).to_be_bytes();
        let mut payload =
            vec![0x90, 0xE0, id[0], id[1], (self.picture / 2) as u8, temporal << 6 | temporal << 5];
        payload.extend([u8::from(!keyframe), 0, 0, 0x9D, 0x01, 0x2A, 0, 5, 0xD0, 2]);
        payload.resize(500, self.picture as u8);
        let packet = self.packet(&payload, true);
        self.picture += 1;
        vec![packet]
    }

    /// The packet of the next picture: AV1 of two temporal layers, as descriptors say; the payload says nothing of them.
    fn av1(&mut self, keyframe: bool) -> Vec<Vec<u8>> {
        let template = if keyframe { 0 } else { 1 + self.picture % 2 };
        let [high, low] = self.picture.to_be_bytes();
        self.publisher.descriptor = vec![0xC0 | template as u8, high, low];
        if keyframe {
            self.publisher.descriptor.extend(L1T2_STRUCTURE);
        }
        let mut payload = vec![if keyframe { 0x18 } else { 0x10 }, 0x30];
        payload.resize(400, self.picture as u8);
        let packet = self.packet(&payload, true);
        self.picture += 1;
        vec![packet]
    }

    fn show(&mut self, rig: &mut Rig, viewers: &mut [&mut Viewer], packets: Vec<Vec<u8>>) {
        for packet in packets {
            rig.receive(&self.publisher.client, packet);
            rig.flush(&mut [&mut self.publisher], viewers);
        }
        rig.wait(Duration::from_millis(33), &mut [&mut self.publisher], viewers);
    }
}

/// A publisher of this codec, and what it takes for viewers to join it.
fn on_air(codec: CodecKind) -> (Setup, Rig, Source) {
    let setup = Setup { codec, ..Setup::default() };
    let mut rig = Rig::new();
    let source = Source::new(&mut rig, &setup);
    (setup, rig, source)
}

pub(super) type Packets = Vec<(RtpHeader, Vec<u8>)>;

pub(super) fn dense(packets: &Packets) -> bool {
    packets.windows(2).all(|pair| pair[1].0.sequence == pair[0].0.sequence.wrapping_add(1))
}

pub(super) fn sizes(packets: &Packets) -> Vec<usize> {
    let mut sizes: Vec<_> = packets.iter().map(|(header, _)| header.payload().len()).collect();
    sizes.dedup();
    sizes
}

fn played(rig: &mut Rig, peer: PeerKey) -> Vec<Point> {
    let points = rig.events().into_iter().filter_map(|event| match event {
        PlaneEvent::LayerPlayed { peer: of, point, layer: 0, .. } if of == peer => Some(point),
        _ => None,
    });
    points.collect()
}

/// Every packet is found again by its number and is what it was.
pub(super) fn repairs_match(rig: &mut Rig, viewer: &mut Viewer, packets: &Packets) {
    for (header, packet) in packets {
        let nack = viewer.nack(&[header.sequence]);
        rig.receive(&viewer.client, nack);
        rig.flush(&mut [], &mut [viewer]);
        rig.now += Duration::from_millis(200);
        let repair = viewer.client.packets().pop().expect("still in the ring");
        assert_eq!(repair.1[repair.0.payload()][2..], packet[header.payload()]);
        assert_eq!(repair.0.marker, header.marker);
    }
}

#[test]
fn a_viewer_on_a_thin_line_gets_the_lower_spatial_layer_without_gaps() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Vp9);
    let (mut rich, mut poor) = (rig.viewer(1, &setup), rig.viewer(2, &setup));
    let mut run = |rig: &mut Rig, rich: &mut Viewer, poor: &mut Viewer, keyframe_at: u16| {
        for step in 0..60 {
            let packets = source.vp9(step == keyframe_at);
            source.show(rig, &mut [rich, poor], packets);
        }
        (rich.client.packets(), poor.client.packets())
    };
    let (mut all, mut part) = run(&mut rig, &mut rich, &mut poor, 0);
    assert_eq!((all.len(), part.len()), (120, 120));
    rig.plane.limit_bitrate(rig.now, poor.client.peer, Some(150_000));
    let (more, low) = run(&mut rig, &mut rich, &mut poor, 99);
    assert_eq!((sizes(&low), low.len()), (vec![200], 60), "at once, without a keyframe");
    assert!(low.iter().all(|(header, _)| header.marker), "each picture ends where it ends for this viewer");
    repairs_match(&mut rig, &mut poor, &low[30..].to_vec());
    all.extend(more);
    part.extend(low);
    rig.plane.limit_bitrate(rig.now, poor.client.peer, Some(5_000_000));
    let (more, high) = run(&mut rig, &mut rich, &mut poor, 50);
    assert_eq!(sizes(&high)[..2], [200, 1_000]);
    assert_eq!(high.len(), 60 + 10, "the larger picture from the keyframe on");
    all.extend(more);
    part.extend(high);
    assert!(dense(&all) && dense(&part));
    let lower = Point::new(Some(0), None);
    assert_eq!(played(&mut rig, poor.client.peer), [Point::WHOLE, lower, Point::WHOLE]);
    assert_eq!(poor.client.refused + rich.client.refused, 0);
}

#[test]
fn repairs_wait_for_their_pace_where_the_path_carries_the_part_but_not_the_layer() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Vp9);
    let mut viewer = rig.viewer(1, &setup);
    let mut show = |rig: &mut Rig, viewer: &mut Viewer| {
        for _ in 0..30 {
            let packets = source.vp9(source.begins());
            source.show(rig, &mut [viewer], packets);
        }
        viewer.client.packets()
    };
    for fraction_lost in [0, 0, 0, 100] {
        let shown = show(&mut rig, &mut viewer);
        let highest_sequence = shown.last().unwrap().0.sequence.into();
        let block =
            ReportBlock { ssrc: viewer.ssrc, fraction_lost, highest_sequence, ..ReportBlock::default() };
        let report = viewer.client.rtcp(|writer| writer.receiver_report(1, &[block]).unwrap());
        rig.receive(&viewer.client, report);
    }
    let low = show(&mut rig, &mut viewer);
    assert_eq!(sizes(&low), [200], "it has what fits");
    let sequences: Vec<_> = low[..10].iter().map(|(header, _)| header.sequence).collect();
    let nack = viewer.nack(&sequences);
    rig.receive(&viewer.client, nack);
    rig.flush(&mut [], &mut [&mut viewer]);
    rig.wait(Duration::from_secs(1), &mut [], &mut [&mut viewer]);
    let repairs = viewer.client.packets().iter().filter(|(header, _)| header.ssrc == viewer.rtx_ssrc).count();
    assert_eq!((repairs, rig.plane.counters().rtx_refused), (10, 0));
}

#[test]
fn what_is_missing_keeps_its_number_and_fills_it_late() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Vp9);
    let mut viewer = rig.viewer(1, &setup);
    for step in 0..60 {
        let packets = source.vp9(step == 0);
        source.show(&mut rig, &mut [&mut viewer], packets);
    }
    rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(150_000));
    for _ in 0..4 {
        let packets = source.vp9(false);
        source.show(&mut rig, &mut [&mut viewer], packets);
    }
    viewer.client.packets();
    // Of three pictures, the upper layer of the first and the lower of the second come late.
    let pictures: Vec<_> = (0..3).map(|_| source.vp9(false)).collect();
    let order = [(0, 0), (1, 1), (2, 0), (2, 1), (0, 1), (1, 0)];
    for (picture, layer) in order {
        let packet = pictures[picture][layer].clone();
        rig.receive(&source.publisher.client, packet);
        rig.flush(&mut [&mut source.publisher], &mut [&mut viewer]);
    }
    let packets = viewer.client.packets();
    let first = packets[0].0.sequence;
    let seen: Vec<_> = packets
        .iter()
        .map(|(header, packet)| (header.sequence.wrapping_sub(first), packet[header.payload()].len()))
        .collect();
    // The one that might have been for this viewer has its number and goes out, so that nothing stays missing.
    assert_eq!(seen, [(0, 200), (3, 200), (1, 1_000), (2, 200)]);
    // A small picture ends where it ends, in its turn or late.
    assert!(packets.iter().all(|(header, packet)| header.marker || packet[header.payload()].len() == 1_000));
    repairs_match(&mut rig, &mut viewer, &packets);
}

/// What a viewer gets, and how many packets in each part: sixty pictures whole, sixty of the lowest temporal layer, sixty whole.
fn temporal_layers_go_and_return(
    rig: &mut Rig,
    source: &mut Source,
    viewer: &mut Viewer,
    picture: fn(&mut Source, bool) -> Vec<Vec<u8>>,
) -> (Vec<(RtpHeader, Vec<u8>)>, Vec<usize>) {
    let (mut packets, mut counts) = (Vec::new(), Vec::new());
    for limit in [None, Some(0), None] {
        let wish = LayerWish::AtMost(LayerLimit { temporal: limit, ..LayerLimit::default() });
        rig.plane.wish_layer(rig.now, viewer.client.peer, wish);
        for _ in 0..60 {
            let shown = picture(source, source.picture == 0);
            source.show(rig, &mut [&mut *viewer], shown);
        }
        let came = viewer.client.packets();
        counts.push(came.len());
        packets.extend(came);
    }
    (packets, counts)
}

#[test]
fn temporal_layers_come_and_go_without_keyframes_and_picture_ids_close_up() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut source = Source::new(&mut rig, &setup);
    let mut viewer = rig.viewer(1, &setup);
    let (packets, counts) = temporal_layers_go_and_return(&mut rig, &mut source, &mut viewer, Source::vp8);
    assert_eq!(counts, [60, 30, 60], "half of the pictures");
    assert!(dense(&packets));
    let ids: Vec<_> = packets
        .iter()
        .map(|(header, packet)| picture_numbers(CodecKind::Vp8, &packet[header.payload()]).unwrap())
        .collect();
    assert!(ids.windows(2).all(|pair| pair[1].id == pair[0].id + 1));
    assert!(ids.windows(2).all(|pair| pair[1].base.wrapping_sub(pair[0].base) <= 1));
    repairs_match(&mut rig, &mut viewer, &packets[70..].to_vec());
    let keyframes = rig.plane.track_report(rig.now, VIDEO).unwrap().keyframes;
    assert_eq!(keyframes, 1);
}

#[test]
fn a_dependency_descriptor_is_enough() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Av1);
    let mut viewer = rig.viewer(1, &setup);
    let (packets, counts) = temporal_layers_go_and_return(&mut rig, &mut source, &mut viewer, Source::av1);
    // The first picture of each part is of the lower layer, with which a viewer may go over either way.
    assert_eq!(counts, [60, 30, 60]);
    assert!(dense(&packets));
    let frame = |(header, packet): &(RtpHeader, Vec<u8>)| {
        let value = header.extension(packet, 6).unwrap();
        u16::from_be_bytes([value[1], value[2]])
    };
    let frames: Vec<_> = packets[60..90].iter().map(frame).collect();
    assert!(frames.windows(2).all(|pair| pair[1] == pair[0] + 2), "{frames:?}");
    assert!(packets.iter().all(|(header, _)| header.marker));
    repairs_match(&mut rig, &mut viewer, &packets[100..].to_vec());
}

/// Two spatial layers that depend on each other at keyframes only, of two temporal ones each: targets S0T0, S0T1, S1T0, S1T1.
/// By bits: `1000 0` structure; `000000` first template; `00011` four targets; `00 01 10 00 01 11` layers of templates (each layer's
/// keyframe and its frames of T0, then those of T1); indications of S0 key, S0T0, S0T1, S1 key, S1T0 and S1T1; what they depend on
/// (with two frames a picture: four frames back is the last picture of T0, two back the last picture); `000` no chains; `0` no sizes.
const L2T2_KEY_STRUCTURE: &str = "10000 000000 00011 00 01 10 00 01 11 \
    10101010 10100000 00010000 00001010 00001010 00000001 \
    0 100110 100010 100000 100110 100010 000 0";

/// The same where the larger picture depends on the smaller one always: who is sent it is sent all.
const L2T2_STRUCTURE: &str = "10000 000000 00011 00 01 10 00 01 11 \
    10101010 10101111 00010011 00001010 00001010 00000001 \
    0 100110 100010 100000 10011100000 10001100000 000 0";

impl Source {
    /// What the frame of this size of the next picture is.
    fn descriptor(&self, spatial: u8, keyframe: bool) -> Vec<u8> {
        let of_layer = if keyframe { 0 } else { 1 + (self.picture % 2) as u8 };
        let template = if spatial == 0 { of_layer } else { 3 + of_layer };
        let number = (self.picture * 2 + u16::from(spatial)).to_be_bytes();
        let mut descriptor = vec![0xC0 | template, number[0], number[1]];
        if keyframe && spatial == 0 {
            let bits = self.structure.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0');
            let bits = bits.collect::<Vec<u8>>();
            let byte = |bits: &[u8]| -> u8 { bits.iter().zip((0..8).rev()).map(|(bit, at)| bit << at).sum() };
            descriptor.extend(bits.chunks(8).map(byte));
        }
        descriptor
    }

    /// The packets of the next picture: AV1 of two spatial and two temporal layers, as descriptors say.
    pub(super) fn av1_in_two_sizes(&mut self, keyframe: bool) -> Vec<Vec<u8>> {
        let packets = [0, 1_u8].map(|spatial| {
            self.publisher.descriptor = self.descriptor(spatial, keyframe);
            let begins = keyframe && spatial == 0;
            let mut payload = vec![if begins { 0x18 } else { 0x10 }, 0x30, spatial];
            payload.resize(if spatial == 0 { 200 } else { 1_000 }, self.picture as u8);
            self.packet(&payload, spatial == 1)
        });
        self.picture += 1;
        packets.into()
    }

    /// The same once the encoder has ended the larger size without saying so: it is encoded, and not sent.
    pub(super) fn av1_in_the_smaller_size(&mut self, keyframe: bool) -> Vec<Vec<u8>> {
        let mut packets = self.av1_in_two_sizes(keyframe);
        packets.truncate(1);
        self.sequence = self.sequence.wrapping_sub(1);
        packets
    }
}

#[test]
fn a_switch_may_be_said_by_the_upper_frame_alone() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Av1);
    let mut viewer = rig.viewer(1, &setup);
    let (_, counts) =
        temporal_layers_go_and_return(&mut rig, &mut source, &mut viewer, Source::av1_in_two_sizes);
    let report = rig.plane.track_report(rig.now, VIDEO).unwrap();
    assert_eq!((report.keyframes, viewer.client.refused), (1, 0));
    // Of the lower frames the keyframe's comes along: the larger picture needs no other.
    assert_eq!(counts, [61, 30, 60]);
}

/// A switch indication says what can be decoded after a frame. The frames of the larger picture say it of their own target,
/// and depend on one that a viewer of the smaller picture never had.
#[test]
fn a_larger_picture_begins_with_a_keyframe_whatever_its_frames_say() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Av1);
    let mut viewer = rig.viewer(1, &setup);
    let (mut parts, mut asked) = (Vec::new(), Vec::new());
    for (limit, keyframe_at) in [(None, 0), (Some(0), 20), (None, 41)] {
        asked.push(rig.plane.counters().keyframe_requests_sent);
        let wish = LayerWish::AtMost(LayerLimit { spatial: limit, ..LayerLimit::default() });
        rig.plane.wish_layer(rig.now, viewer.client.peer, wish);
        for step in 0..60 {
            let shown = source.av1_in_two_sizes(step == keyframe_at);
            source.show(&mut rig, &mut [&mut viewer], shown);
        }
        parts.push(viewer.client.packets());
    }
    let larger = |part: &Packets| part.iter().filter(|(header, _)| header.payload().len() == 1_000).count();
    assert_eq!(parts.iter().map(larger).collect::<Vec<_>>(), [60, 20, 60 - 41]);
    assert_eq!(
        parts.iter().map(Vec::len).collect::<Vec<_>>(),
        [61, 60, 61],
        "of the smaller one what it is alone, and at keyframes"
    );
    let all: Packets = parts.into_iter().flatten().collect();
    assert!(dense(&all));
    asked.push(rig.plane.counters().keyframe_requests_sent);
    assert!(asked[1] < asked[2] && asked[2] < asked[3], "one was asked for, on the way down too: {asked:?}");
}

/// What a decoder makes of what a viewer was sent: it can decode a frame if it has all that this depends on.
#[derive(Default)]
pub(super) struct Decoder {
    structure: Option<Box<dependency::Structure>>,
    frames: HashSet<u16>,
    pub(super) stuck: usize,
}

impl Decoder {
    pub(super) fn take(&mut self, packets: &Packets) {
        for (header, packet) in packets {
            let frame = dependency::read(header.extension(packet, 6).unwrap(), &mut self.structure).unwrap();
            if frame.has_structure {
                self.frames.clear();
            }
            let mut distances = frame.references.distances().unwrap();
            let decodes =
                distances.all(|distance| self.frames.contains(&frame.frame_number.wrapping_sub(distance)));
            self.stuck += usize::from(!decodes);
            self.frames.insert(frame.frame_number);
        }
    }
}

#[test]
fn a_viewer_whose_path_collapses_is_sent_nothing_beyond_it_and_soon_what_fits() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Av1);
    let mut viewer = rig.viewer(1, &setup);
    let (mut decoder, mut keyframe_in) = (Decoder::default(), Some(0));
    // A publisher answers a request for a keyframe two pictures later.
    let mut show = |rig: &mut Rig, viewer: &mut Viewer| {
        let asked = rig.plane.counters().keyframe_requests_sent;
        let packets = source.av1_in_two_sizes(keyframe_in == Some(0));
        source.show(rig, &mut [viewer], packets);
        keyframe_in = keyframe_in.and_then(|pictures: u32| pictures.checked_sub(1));
        if rig.plane.counters().keyframe_requests_sent > asked {
            keyframe_in.get_or_insert(1);
        }
        let packets = viewer.client.packets();
        decoder.take(&packets);
        sizes(&packets)
    };
    for _ in 0..60 {
        show(&mut rig, &mut viewer);
    }
    rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(150_000));
    let sent: Vec<_> = (0..8).map(|_| show(&mut rig, &mut viewer)).collect();
    let fits = sent.iter().position(|sizes| *sizes == [200]).expect("it goes on");
    assert!(fits <= 4, "{sent:?}");
    assert!(sent[..fits].iter().all(Vec::is_empty) && sent[fits..].iter().all(|sizes| *sizes == [200]));
    assert_eq!(decoder.stuck, 0);
    let event = rig.events().into_iter().rev().find(|event| matches!(event, PlaneEvent::LayerPlayed { .. }));
    let Some(PlaneEvent::LayerPlayed { switch, .. }) = event else { panic!("it was told") };
    assert_eq!(switch, Some(Switch { direction: Direction::Down, cause: Cause::Network }));
}

/// The encoder gives the larger picture up, with a word or without: those who had it ask for a keyframe of the smaller one.
#[test]
fn a_picture_that_ends_is_followed_by_the_next_smaller_one() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Av1);
    let mut viewer = rig.viewer(1, &setup);
    let mut decoder = Decoder::default();
    for step in 0..60 {
        let packets = source.av1_in_two_sizes(step == 0);
        source.show(&mut rig, &mut [&mut viewer], packets);
    }
    let asked = rig.plane.counters().keyframe_requests_sent;
    let mut run = |rig: &mut Rig, source: &mut Source, viewer: &mut Viewer, keyframe| {
        for step in 0..60 {
            let packets = source.av1_in_the_smaller_size(keyframe && step == 0);
            source.show(rig, &mut [&mut *viewer], packets);
        }
        let packets = viewer.client.packets();
        decoder.take(&packets);
        packets.len()
    };
    viewer.client.packets();
    assert_eq!(run(&mut rig, &mut source, &mut viewer, false), 0);
    assert!(rig.plane.counters().keyframe_requests_sent > asked);
    assert_eq!(run(&mut rig, &mut source, &mut viewer, true), 60);
    assert_eq!(decoder.stuck, 0);
}

#[test]
fn a_picture_that_ends_unwatched_costs_no_keyframe() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Av1);
    let mut viewer = rig.viewer(1, &setup);
    let limit = LayerLimit { spatial: Some(0), ..LayerLimit::default() };
    rig.plane.wish_layer(rig.now, viewer.client.peer, LayerWish::AtMost(limit));
    for step in 0..90 {
        let packets = source.av1_in_two_sizes(step % 40 == 0);
        source.show(&mut rig, &mut [&mut viewer], packets);
    }
    viewer.client.packets();
    let asked = rig.plane.counters().keyframe_requests_sent;
    for _ in 0..90 {
        let packets = source.av1_in_the_smaller_size(false);
        source.show(&mut rig, &mut [&mut viewer], packets);
    }
    assert_eq!(viewer.client.packets().len(), 90);
    assert_eq!(rig.plane.counters().keyframe_requests_sent, asked);
}

#[test]
fn what_descriptors_said_ends_with_the_publisher_that_sent_them() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Vp9);
    source.described = true;
    let mut viewer = rig.viewer(1, &setup);
    let run = |rig: &mut Rig, source: &mut Source, viewer: &mut Viewer, keyframe: bool| {
        for step in 0..60 {
            let packets = source.vp9(keyframe && step == 0);
            source.show(rig, &mut [&mut *viewer], packets);
        }
        viewer.client.packets().len()
    };
    assert_eq!(run(&mut rig, &mut source, &mut viewer, true), 61, "the larger picture needs no smaller one");
    rig.plane.remove_peer(rig.now, source.publisher.client.peer);
    source.publisher = rig.publisher(9, &setup);
    source.described = false;
    assert_eq!(run(&mut rig, &mut source, &mut viewer, true), 120, "it may need it");
    let asked = rig.plane.counters().keyframe_requests_sent;
    let limit = LayerLimit { spatial: Some(0), ..LayerLimit::default() };
    rig.plane.wish_layer(rig.now, viewer.client.peer, LayerWish::AtMost(limit));
    assert_eq!(run(&mut rig, &mut source, &mut viewer, false), 60, "down at once");
    assert_eq!(rig.plane.counters().keyframe_requests_sent, asked, "nobody needs a keyframe for it");
}

#[test]
fn a_group_counts_as_what_a_viewer_is_sent_of_it() {
    let (_, mut rig, mut source) = on_air(CodecKind::Av1);
    for step in 0..40 {
        let packets = source.av1_in_two_sizes(step == 0);
        source.show(&mut rig, &mut [], packets);
    }
    let track = &rig.plane.tracks[rig.plane.places[&VIDEO]];
    let (group, _) = track.group(rig.now, &track.layers[0]).expect("it is all there");
    assert_eq!(group.packets, 41, "of the smaller size the keyframe alone");
    assert!((40_200..44_200).contains(&group.bytes), "{}", group.bytes);
    assert!((240_000..275_000).contains(&group.layer_bps), "{}", group.layer_bps);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whoever joins whenever and changes over to whatever is sent only frames of which it has all that they depend on, and
    /// nothing is missing between their numbers.
    #[test]
    fn whatever_a_viewer_wants_it_can_decode(
        course in prop::collection::vec(happening(), 1..40), joins in 0_usize..8, whole in any::<bool>()
    ) {
        whatever_happens_it_decodes(course, joins, whole)?;
    }
}

/// Two viewers, the second of whom joins after so many of the `course`, to whom it happens in turn.
fn whatever_happens_it_decodes(
    course: Vec<Happening>,
    joins: usize,
    whole: bool,
) -> Result<(), TestCaseError> {
    let (setup, mut rig, mut source) = on_air(CodecKind::Av1);
    source.structure = if whole { L2T2_STRUCTURE } else { L2T2_KEY_STRUCTURE };
    let mut viewers = vec![(rig.viewer(1, &setup), Decoder::default(), Vec::new())];
    let first = source.av1_in_two_sizes(true);
    source.show(&mut rig, &mut [&mut viewers[0].0], first);
    for (step, happening) in course.into_iter().enumerate() {
        if step == joins {
            viewers.push((rig.viewer(2, &setup), Decoder::default(), Vec::new()));
        }
        let peer = viewers[step % viewers.len()].0.client.peer;
        match happening {
            Happening::Pictures(count, keyframe) => {
                for step in 0..count + 2 {
                    // What follows on a keyframe is counted from it.
                    let packets = source.av1_in_two_sizes(keyframe && step < 2 && source.picture % 2 == 0);
                    let mut playing: Vec<_> = viewers.iter_mut().map(|(viewer, ..)| viewer).collect();
                    source.show(&mut rig, &mut playing, packets);
                }
            }
            Happening::Wish(spatial, temporal) => {
                let limit = LayerLimit { spatial, temporal, ..LayerLimit::default() };
                rig.plane.wish_layer(rig.now, peer, LayerWish::AtMost(limit));
            }
            Happening::Budget(bps) => rig.plane.limit_bitrate(rig.now, peer, bps),
            Happening::Lost(_) | Happening::Nack(_) => {}
        }
        for (viewer, _, sent) in &mut viewers {
            sent.extend(viewer.client.packets());
        }
    }
    for (viewer, decoder, sent) in &mut viewers {
        decoder.take(sent);
        prop_assert!(dense(sent));
        prop_assert_eq!((decoder.stuck, viewer.client.refused), (0, 0));
    }
    Ok(())
}

/// What a layer sends is measured too low while it is young: the pace of who catches up may not leave a gap.
#[test]
fn who_catches_up_with_more_than_its_path_carries_is_done_in_time() {
    let lost = [Happening::Lost(false), Happening::Lost(false), Happening::Budget(Some(74_044))];
    let course = once(Happening::Pictures(2, false)).chain(lost);
    let course = course.chain([7, 12, 21].map(|pictures| Happening::Pictures(pictures, false)));
    whatever_happens_it_decodes(course.collect(), 1, true).unwrap();
}

#[test]
fn no_wish_takes_the_points_that_others_need() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Av1);
    let (mut greedy, mut modest) = (rig.viewer(1, &setup), rig.viewer(2, &setup));
    let mut run = |rig: &mut Rig, pictures: u16, greedy: &mut Viewer, modest: &mut Viewer| {
        for _ in 0..pictures {
            let shown = source.av1_in_two_sizes(source.picture % 30 == 0);
            source.show(rig, &mut [greedy, modest], shown);
        }
    };
    run(&mut rig, 30, &mut greedy, &mut modest);
    for (spatial, temporal) in (0..8).flat_map(|spatial| (0..8).map(move |temporal| (spatial, temporal))) {
        let limit = LayerLimit { spatial: Some(spatial), temporal: Some(temporal), ..LayerLimit::default() };
        rig.plane.wish_layer(rig.now, greedy.client.peer, LayerWish::AtMost(limit));
    }
    let limit = LayerLimit { spatial: Some(0), ..LayerLimit::default() };
    rig.plane.wish_layer(rig.now, modest.client.peer, LayerWish::AtMost(limit));
    modest.client.packets();
    run(&mut rig, 30, &mut greedy, &mut modest);
    assert_eq!(modest.client.packets().len(), 30, "half of the packets");
}

#[test]
fn who_takes_no_descriptors_gets_the_picture_that_needs_none() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Av1);
    let plain = Setup { descriptors: false, ..setup.clone() };
    let (mut early, mut late) = (rig.viewer(1, &plain), rig.viewer(2, &plain));
    let mut run = |rig: &mut Rig, early: &mut Viewer, late: &mut Viewer| {
        for step in 0..30 {
            let shown = source.av1_in_two_sizes(step == 0);
            source.show(rig, &mut [early, late], shown);
        }
    };
    run(&mut rig, &mut early, &mut late);
    rig.plane.remove_peer(rig.now, late.client.peer);
    late = rig.viewer(3, &plain);
    early.client.packets();
    run(&mut rig, &mut early, &mut late);
    for viewer in [&mut early, &mut late] {
        let packets = viewer.client.packets();
        assert_eq!((sizes(&packets), packets.len()), (vec![200], 30));
        assert!(dense(&packets) && packets.iter().all(|(header, _)| header.marker));
    }
    // Temporal layers of one picture need no descriptors.
    let mut rig = Rig::new();
    let mut source = Source::new(&mut rig, &setup);
    let mut viewer = rig.viewer(1, &plain);
    let (_, counts) = temporal_layers_go_and_return(&mut rig, &mut source, &mut viewer, Source::av1);
    assert_eq!(counts, [60, 30, 60]);
}

#[test]
fn each_part_is_reported_with_what_it_takes() {
    let (_, mut rig, mut source) = on_air(CodecKind::Vp9);
    let parts = |rig: &Rig| rig.plane.track_report(rig.now, VIDEO).unwrap().layers[0].parts.clone();
    for step in 0..10 {
        let shown = source.vp9(step == 0);
        source.show(&mut rig, &mut [], shown);
    }
    assert_eq!(parts(&rig), [], "in the first second nobody knows what they take");
    for _ in 0..60 {
        let shown = source.vp9(false);
        source.show(&mut rig, &mut [], shown);
    }
    let found = parts(&rig);
    let layers: Vec<_> = found.iter().map(|part| (part.spatial, part.temporal)).collect();
    assert_eq!(layers, [(1, 1), (1, 0), (0, 1), (0, 0)]);
    let sizes: Vec<_> = found.iter().map(|part| part.size.unwrap()).collect();
    assert_eq!(sizes, [(1_280, 720), (1_280, 720), (640, 360), (640, 360)], "known since the only keyframe");
    assert!(found.iter().all(|part| part.active));
    let ratio = |one: usize, other: usize| found[one].bitrate_bps as f64 / found[other].bitrate_bps as f64;
    assert!((1.9..2.1).contains(&ratio(0, 1)) && (1.9..2.1).contains(&ratio(2, 3)), "{found:?}");
    assert!(ratio(0, 2) > 4.0, "{found:?}");
    rig.now += Duration::from_secs(3);
    assert_eq!(parts(&rig), []);
}

/// What happens to a viewer of a scalable stream.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// So many pictures, with a keyframe first or not.
    Pictures(u16, bool),
    /// A picture whose packets get lost, and come after the next ones or never.
    Lost(bool),
    Wish(Option<u8>, Option<u8>),
    Budget(Option<u64>),
    /// It asks for what it was sent this many packets ago.
    Nack(Vec<u16>),
}

pub(super) fn happening() -> impl Strategy<Value = Happening> {
    let layer = || prop::option::of(Just(0_u8));
    prop_oneof![
        4 => (1_u16..25, prop::bool::weighted(0.2)).prop_map(|(count, keyframe)| Happening::Pictures(count, keyframe)),
        1 => any::<bool>().prop_map(Happening::Lost),
        3 => (layer(), layer()).prop_map(|(spatial, temporal)| Happening::Wish(spatial, temporal)),
        1 => prop::option::of(10_000_u64..600_000).prop_map(Happening::Budget),
        3 => prop::collection::vec(0_u16..150, 1..16).prop_map(Happening::Nack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Numberings come and go with what viewers want. The ledger of the sealer sees it if a number ever stands for other bytes:
    /// without RTX, repairs go out under the number of the first time.
    #[test]
    fn whatever_a_viewer_wants_a_number_stands_for_one_packet(course in prop::collection::vec(happening(), 1..40)) {
        let setup = Setup { codec: CodecKind::Vp9, rtx: false, ..Setup::default() };
        let mut rig = Rig::new();
        let mut source = Source::new(&mut rig, &setup);
        let (mut viewer, mut late) = (rig.viewer(1, &setup), None);
        let first = source.vp9(true);
        source.show(&mut rig, &mut [&mut viewer], first);
        let (mut newest, mut sent) = (viewer.client.packets().last().unwrap().0.sequence, 0);
        for happening in course {
            let peer = viewer.client.peer;
            match happening {
                Happening::Pictures(count, keyframe) => for step in 0..count {
                    let packets = source.vp9(keyframe && step == 0);
                    source.show(&mut rig, &mut [&mut viewer], packets);
                },
                Happening::Lost(comes) => {
                    let lost = source.vp9(false);
                    let packets = late.take().unwrap_or_else(|| source.vp9(false));
                    source.show(&mut rig, &mut [&mut viewer], packets);
                    late = Some(lost).filter(|_| comes);
                }
                Happening::Wish(spatial, temporal) => {
                    let limit = LayerLimit { spatial, temporal, ..LayerLimit::default() };
                    rig.plane.wish_layer(rig.now, peer, LayerWish::AtMost(limit));
                }
                Happening::Budget(bps) => rig.plane.limit_bitrate(rig.now, peer, bps),
                Happening::Nack(back) => {
                    let sequences: Vec<_> = back.iter().map(|back| newest.wrapping_sub(*back)).collect();
                    let nack = viewer.nack(&sequences);
                    rig.receive(&viewer.client, nack);
                    rig.flush(&mut [], &mut [&mut viewer]);
                }
            }
            let ahead = |sequence: u16| sequence.wrapping_sub(newest).cast_signed();
            let packets = viewer.client.packets();
            sent += packets.len();
            newest = packets.iter().map(|(header, _)| header.sequence).max_by_key(|sequence| ahead(*sequence)).filter(|sequence| ahead(*sequence) > 0).unwrap_or(newest);
        }
        let counters = rig.plane.counters();
        prop_assert_eq!(counters.seal_failed, 0);
        prop_assert!(sent as u64 + 2 + viewer.client.refused as u64 == counters.rtp_sent_packets);
    }
}

/// What a rig's viewers get, as the metrics tell it: legs at their places, and who suffers.
fn told(rig: &Rig) -> ([u32; 4], [u32; 3]) {
    let [no_picture, _, loss, bandwidth] = rig.plane.degraded(rig.now).0;
    (rig.plane.legs().video, [no_picture, loss, bandwidth])
}

#[test]
fn metrics_tell_who_gets_what_and_why() {
    let (setup, mut rig, mut source) = on_air(CodecKind::Vp9);
    let (mut one, mut other) = (rig.viewer(1, &setup), rig.viewer(2, &setup));
    assert_eq!(told(&rig), ([0, 0, 0, 2], [0, 0, 0]), "nothing is sent yet");
    let mut run = |rig: &mut Rig, keyframe_at: u16| {
        for step in 0..60 {
            let packets = source.vp9(step == keyframe_at);
            source.show(rig, &mut [&mut one, &mut other], packets);
        }
    };
    run(&mut rig, 0);
    assert_eq!(told(&rig), ([2, 0, 0, 0], [0, 0, 0]));
    let (poor, modest) = (PeerKey { index: 1, generation: 1 }, PeerKey { index: 2, generation: 1 });
    rig.plane.limit_bitrate(rig.now, poor, Some(150_000));
    let wish = LayerWish::AtMost(LayerLimit { spatial: Some(0), ..LayerLimit::default() });
    rig.plane.wish_layer(rig.now, modest, wish);
    run(&mut rig, 99);
    assert_eq!(told(&rig), ([0, 2, 0, 0], [0, 0, 1]), "who wants no more suffers nothing");
    rig.plane.limit_bitrate(rig.now, poor, Some(5_000_000));
    rig.plane.wish_layer(rig.now, modest, LayerWish::Best);
    run(&mut rig, 50);
    assert_eq!(told(&rig), ([2, 0, 0, 0], [0, 0, 0]));
    let mut switches = Switches::default();
    for event in rig.events() {
        let PlaneEvent::LayerPlayed { switch, .. } = event else { continue };
        switch.into_iter().for_each(|switch| switches.count(switch));
    }
    let counted: Vec<_> = switches.iter().filter(|(_, count)| *count > 0).collect();
    let switch = |direction, cause| (Switch { direction, cause }, 1);
    let (up, down) = (Direction::Up, Direction::Down);
    assert_eq!(
        counted,
        [
            switch(up, Cause::Network),
            switch(up, Cause::Viewer),
            switch(down, Cause::Network),
            switch(down, Cause::Viewer),
        ]
    );
}

#[test]
fn temporal_layers_are_as_large_as_the_keyframe_said_that_came_before_them() {
    let (_, mut rig, mut source) = on_air(CodecKind::Vp8);
    for step in 0..60 {
        let packets = source.vp8(step == 0);
        source.show(&mut rig, &mut [], packets);
    }
    let report = rig.plane.track_report(rig.now, VIDEO).unwrap();
    let sizes: Vec<_> = report.layers[0].parts.iter().map(|part| part.size).collect();
    assert_eq!(sizes, [Some((1_280, 720)); 2]);
}
