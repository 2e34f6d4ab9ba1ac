use bytes::Bytes;
use rtc_rtp::codec::av1::Av1Payloader;
use rtc_rtp::codec::h264::H264Payloader;
use rtc_rtp::codec::h265::HevcPayloader;
use rtc_rtp::codec::vp8::Vp8Payloader;
use rtc_rtp::packetizer::Payloader;

use super::*;
use crate::media::codec::CodecKind;

const VIDEO_CODECS: [CodecKind; 5] =
    [CodecKind::H264, CodecKind::Vp8, CodecKind::Vp9, CodecKind::Av1, CodecKind::H265];

/// Long enough that a frame of [`FRAME_BYTES`] is several packets.
const MTU: usize = 400;
const FRAME_BYTES: usize = 1_800;

/// One encoder's frames, cut into RTP payloads by another implementation's packetizers.
struct Encoder {
    codec: CodecKind,
    frame: u8,
    vp8: Vp8Payloader,
    h264: H264Payloader,
}

impl Encoder {
    fn new(codec: CodecKind) -> Self {
        let mut vp8 = Vp8Payloader::default();
        vp8.enable_picture_id = true;
        Self { codec, frame: 0, vp8, h264: H264Payloader::default() }
    }

    fn frame(&mut self, keyframe: bool) -> Vec<Vec<u8>> {
        self.frame += 1;
        let body = vec![self.frame; FRAME_BYTES];
        let payloads = match self.codec {
            CodecKind::Vp9 => return vp9(self.frame, keyframe, &body),
            CodecKind::Vp8 => {
                let frame = [&[0x10 | u8::from(!keyframe), 0, 0], &body[..]].concat();
                self.vp8.payload(MTU, &Bytes::from(frame))
            }
            CodecKind::Av1 => Av1Payloader {}.payload(MTU, &Bytes::from(av1(keyframe, &body))),
            CodecKind::H265 => HevcPayloader.payload(MTU, &Bytes::from(h265(keyframe, &body))),
            _ => self.h264.payload(MTU, &Bytes::from(h264(keyframe, &body))),
        };
        payloads.unwrap().iter().map(|payload| payload.to_vec()).collect()
    }
}

/// Units with start codes in front.
fn annex_b(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&[0, 0, 0, 1], *unit].concat()).collect()
}

fn h264(keyframe: bool, body: &[u8]) -> Vec<u8> {
    if !keyframe {
        return annex_b(&[&[&[0x41, 0x88], body].concat()]);
    }
    annex_b(&[&[0x67, 0x42, 0xC0, 0x1F], &[0x68, 0xCE], &[&[0x65, 0x88], body].concat()])
}

fn h265(keyframe: bool, body: &[u8]) -> Vec<u8> {
    let slice = |kind: u8| [&[kind << 1, 1, 0x88], body].concat();
    if !keyframe {
        return annex_b(&[&slice(1)]);
    }
    annex_b(&[&[32 << 1, 1, 2], &[33 << 1, 1, 2], &[34 << 1, 1, 2], &slice(19)])
}

/// A frame, behind a sequence header when it is a keyframe; each OBU with its size in two bytes.
fn av1(keyframe: bool, body: &[u8]) -> Vec<u8> {
    let obu = |kind: u8, body: &[u8]| {
        let size = [(body.len() % 128) as u8 | 0x80, (body.len() / 128) as u8];
        [&[kind << 3 | 0x02], &size[..], body].concat()
    };
    let sequence_header = if keyframe { obu(1, &[0x0A; 11]) } else { Vec::new() };
    [sequence_header, obu(6, body)].concat()
}

/// As Chromium describes a stream of one layer (RFC 9628 §4.2): picture id of 15 bits, layer indices, TL0PICIDX.
fn vp9(picture: u8, keyframe: bool, body: &[u8]) -> Vec<Vec<u8>> {
    let parts = body.chunks(MTU - 5);
    let last = parts.len() - 1;
    let packet = |(index, part): (usize, &[u8])| {
        let begins = if index == 0 { 0x08 } else { 0 };
        let ends = if index == last { 0x04 } else { 0 };
        let predicted = if keyframe { 0 } else { 0x40 };
        [&[0xA0 | predicted | begins | ends, 0x80, picture, 0, picture], part].concat()
    };
    parts.enumerate().map(packet).collect()
}

/// Publishes a frame, or a part of one, that has this timestamp.
fn publish(
    rig: &mut Rig,
    publisher: &mut Publisher,
    next: &mut u16,
    (timestamp, payloads): (u32, &[Vec<u8>]),
    viewers: &mut [&mut Viewer],
) {
    for payload in payloads {
        let sent = Sent { timestamp, ..Sent::frame(*next, false) };
        *next = next.wrapping_add(1);
        let packet = publisher.video_payload(&sent, payload);
        rig.publish(publisher, &packet, viewers);
    }
}

#[test]
fn every_codec_starts_at_the_first_packet_of_a_keyframe_and_arrives_byte_by_byte() {
    for codec in VIDEO_CODECS {
        let setup = Setup { codec, ..Setup::default() };
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, &setup);
        let mut viewer = rig.viewer(1, &setup);
        let mut encoder = Encoder::new(codec);
        let mut next = 65_533;
        let mut expected = Vec::new();
        for (number, keyframe) in (1_u32..).zip([false, false, true, false, false, true, false]) {
            let payloads = encoder.frame(keyframe);
            assert!(payloads.len() > 3, "{codec:?}: a frame of several packets");
            let timestamp = number * 3_000;
            publish(&mut rig, &mut publisher, &mut next, (timestamp, &payloads), &mut [&mut viewer]);
            if number >= 3 {
                expected.extend(payloads.into_iter().map(|payload| (timestamp, payload)));
            }
        }
        let packets = viewer.client.packets();
        let arrived: Vec<_> = packets
            .iter()
            .map(|(header, packet)| (header.timestamp, packet[header.payload()].to_vec()))
            .collect();
        assert_eq!(arrived, expected, "{codec:?}");
        let first = packets[0].0.sequence;
        assert!((0..).zip(&packets).all(|(step, (header, _))| header.sequence == first + step), "{codec:?}");
        assert_eq!(rig.plane.track_report(rig.now, VIDEO).unwrap().keyframes, 2, "{codec:?}");
        let (publisher, viewer) = (publisher.client.peer, viewer.client.peer);
        let firsts = [PlaneEvent::FirstKeyframe(publisher), PlaneEvent::FirstKeyframe(viewer)];
        let events = rig.events();
        assert!(firsts.iter().all(|event| events.contains(event)), "{codec:?}: {events:?}");
    }
}

#[test]
fn who_joins_inside_a_keyframe_gets_all_of_it() {
    for codec in VIDEO_CODECS {
        let setup = Setup { codec, ..Setup::default() };
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, &setup);
        let mut encoder = Encoder::new(codec);
        let mut next = 1;
        let keyframe = encoder.frame(true);
        let (begun, rest) = keyframe.split_at(keyframe.len() - 2);
        publish(&mut rig, &mut publisher, &mut next, (3_000, begun), &mut []);
        let mut viewer = rig.viewer(1, &setup);
        publish(&mut rig, &mut publisher, &mut next, (3_000, rest), &mut [&mut viewer]);
        let delta = encoder.frame(false);
        publish(&mut rig, &mut publisher, &mut next, (6_000, &delta), &mut [&mut viewer]);
        rig.wait(Duration::from_millis(30), &mut [&mut publisher], &mut [&mut viewer]);
        let packets = viewer.client.packets();
        let payloads: Vec<_> = packets.iter().map(|(header, packet)| &packet[header.payload()]).collect();
        let published: Vec<_> = keyframe.iter().chain(&delta).map(|payload| &payload[..]).collect();
        assert_eq!(payloads, published, "{codec:?}");
    }
}

#[test]
fn a_keyframe_whose_parameter_sets_are_lost_begins_once_they_are_there() {
    for (codec, apart) in [(CodecKind::H264, false), (CodecKind::H264, true), (CodecKind::H265, false)] {
        let setup = Setup { codec, ..Setup::default() };
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, &setup);
        let mut viewer = rig.viewer(1, &setup);
        let mut encoder = Encoder::new(codec);
        let mut next = 100;
        publish(&mut rig, &mut publisher, &mut next, (3_000, &encoder.frame(false)), &mut [&mut viewer]);
        let mut keyframe = encoder.frame(true);
        if apart {
            // As OBS sends them.
            keyframe.splice(..1, [vec![0x67, 0x42, 0xC0, 0x1F], vec![0x68, 0xCE]]);
        }
        let mut sets = next;
        next += 1;
        publish(&mut rig, &mut publisher, &mut next, (6_000, &keyframe[1..]), &mut [&mut viewer]);
        publish(&mut rig, &mut publisher, &mut next, (9_000, &encoder.frame(false)), &mut [&mut viewer]);
        assert!(viewer.client.packets().is_empty(), "{codec:?}: no decoder makes a picture of it");
        publish(&mut rig, &mut publisher, &mut sets, (6_000, &keyframe[..1]), &mut [&mut viewer]);
        let packets = viewer.client.packets();
        let (first, bytes) = &packets[0];
        assert_eq!(&bytes[first.payload()], &keyframe[0][..], "{codec:?}: with the parameter sets");
        publish(&mut rig, &mut publisher, &mut next, (12_000, &encoder.frame(false)), &mut [&mut viewer]);
        let last = viewer.client.packets().last().unwrap().0.sequence;
        assert_eq!(usize::from(last - first.sequence), usize::from(next - 1 - (sets - 1)), "{codec:?}");
        let asked = viewer.nack(&[first.sequence.wrapping_add(1)]);
        rig.receive(&viewer.client, asked);
        rig.flush(&mut [&mut publisher], &mut [&mut viewer]);
        assert_eq!(viewer.client.packets().len(), 1, "{codec:?}: what had come before them is asked for");
    }
}

#[test]
fn a_keyframe_without_parameter_sets_begins_where_nothing_is_missing_before_it() {
    let setup = Setup { codec: CodecKind::H264, ..Setup::default() };
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    let mut encoder = Encoder::new(CodecKind::H264);
    let mut next = 100;
    publish(&mut rig, &mut publisher, &mut next, (3_000, &encoder.frame(false)), &mut [&mut viewer]);
    let keyframe = encoder.frame(true);
    publish(&mut rig, &mut publisher, &mut next, (6_000, &keyframe[1..]), &mut [&mut viewer]);
    assert_eq!(viewer.client.packets().len(), keyframe.len() - 1, "its sets were agreed otherwise");
}
