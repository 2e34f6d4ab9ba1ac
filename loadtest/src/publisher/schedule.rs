//! Which packet leaves when: pictures at the frame rate, each spread over some 13 ms, and an Opus packet every 20 ms.

mod encoding;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;

use super::layers::{KeyframesWanted, SIMULCAST, VideoLayer};
use crate::clip::{self, ClipCodec, OPUS_PACKET_SAMPLES};
use encoding::Encoding;

/// libwebrtc's pacer sends at 2.5 times the target rate, so a frame of 1/30 s leaves within 13.3 ms.
const PACING_FACTOR: f64 = 2.5;

/// The settings that make a publisher's stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamShape {
    /// What to send.
    pub codec: ClipCodec,
    /// Video bitrate, bits per second; with simulcast that of the best layer.
    pub bitrate_bps: u64,
    /// Pictures per second.
    pub frames_per_second: u32,
    /// Time from keyframe to keyframe; at most the 300 pictures of a clip.
    pub keyframe_interval: Duration,
    /// Whether the microphone is silent: Opus then sends a packet every 400 ms only (DTX, RFC 6716 §2.1.9).
    pub silent: bool,
    /// Whether the video is sent in three layers ([`SIMULCAST`]).
    pub simulcast: bool,
    /// Whether requests for a keyframe are counted only, as FFmpeg and OBS leave them.
    pub deaf: bool,
}

impl StreamShape {
    /// The layers of its video, best first.
    pub fn layers(&self) -> &'static [VideoLayer] {
        match (self.codec, self.simulcast) {
            (ClipCodec::Opus, _) => &[],
            (_, true) => &SIMULCAST,
            (_, false) => SIMULCAST.get(..1).unwrap_or_default(),
        }
    }

    /// Opus packets of 20 ms from one that is sent to the next.
    fn sound_step(&self) -> u64 {
        if self.silent { 20 } else { 1 }
    }
}

/// Which of the two tracks a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// A packet to send at `due` after the start.
#[derive(Debug, Clone)]
pub struct DuePacket {
    /// When, counted from the start of the stream.
    pub due: Duration,
    /// Which track.
    pub kind: TrackKind,
    /// Which of the shape's layers, for video; else 0.
    pub layer: usize,
    /// RTP payload.
    pub payload: Bytes,
    /// RTP timestamp in the track's clock, counted from 0.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
}

/// The endless stream of one publisher; pure.
#[derive(Debug)]
pub struct Schedule {
    shape: StreamShape,
    encodings: Vec<Encoding>,
    sounds: Arc<[Bytes]>,
    pictures_sent: u64,
    sounds_sent: u64,
    waiting: VecDeque<DuePacket>,
}

impl Schedule {
    /// A schedule at its start.
    ///
    /// # Errors
    ///
    /// The embedded clips are damaged.
    pub fn new(shape: StreamShape) -> Result<Self> {
        let encodings = shape.layers().iter().map(|layer| Encoding::new(&shape, layer));
        Ok(Self {
            shape,
            encodings: encodings.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect(),
            sounds: clip::opus_packets()?.into(),
            pictures_sent: 0,
            sounds_sent: 0,
            waiting: VecDeque::new(),
        })
    }

    /// The next packet; of layers in `wanted` the next picture is a keyframe, and they are taken out.
    pub fn next(&mut self, wanted: &mut KeyframesWanted) -> Option<DuePacket> {
        let sound_due = Duration::from_millis(20 * self.sounds_sent * self.shape.sound_step());
        if self.waiting.is_empty() && !self.encodings.is_empty() {
            self.queue_picture(wanted);
        }
        match self.waiting.front() {
            Some(packet) if packet.due <= sound_due => self.waiting.pop_front(),
            _ => self.next_sound(sound_due),
        }
    }

    fn next_sound(&mut self, due: Duration) -> Option<DuePacket> {
        let count = self.sounds.len().max(1) as u64;
        let payload = self.sounds.get((self.sounds_sent % count) as usize)?.clone();
        let played = self.sounds_sent * self.shape.sound_step();
        let timestamp = (played as u32).wrapping_mul(OPUS_PACKET_SAMPLES);
        self.sounds_sent += 1;
        Some(DuePacket { due, kind: TrackKind::Audio, layer: 0, payload, timestamp, marker: false })
    }

    /// Each layer's packets are spread over the same time, so that the best layer leaves as it would alone.
    fn queue_picture(&mut self, wanted: &mut KeyframesWanted) {
        let frames_per_second = f64::from(self.shape.frames_per_second.max(1));
        let start = self.pictures_sent as f64 / frames_per_second;
        let spread = 1.0 / frames_per_second / PACING_FACTOR;
        let timestamp = (self.pictures_sent as f64 * 90_000.0 / frames_per_second) as u64 as u32;
        let mut packets = Vec::new();
        for (layer, encoding) in self.encodings.iter_mut().enumerate() {
            let (payloads, is_answered) = encoding.next(wanted.contains(layer));
            if is_answered {
                wanted.remove(layer);
            }
            let count = payloads.len();
            for (index, payload) in payloads.into_iter().enumerate() {
                let due = Duration::from_secs_f64(start + spread * index as f64 / count as f64);
                let marker = index + 1 == count;
                packets.push(DuePacket { due, kind: TrackKind::Video, layer, payload, timestamp, marker });
            }
        }
        packets.sort_by_key(|packet| packet.due);
        self.waiting.extend(packets);
        self.pictures_sent += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn shape(codec: ClipCodec) -> StreamShape {
        StreamShape {
            codec,
            bitrate_bps: 1_500_000,
            frames_per_second: 30,
            keyframe_interval: Duration::from_secs(2),
            silent: false,
            simulcast: false,
            deaf: false,
        }
    }

    fn is_keyframe(codec: ClipCodec, packet: &DuePacket) -> bool {
        let byte = |at: usize| packet.payload.get(at).copied().unwrap_or(0);
        packet.kind == TrackKind::Video
            && match codec {
                ClipCodec::Vp8 => byte(0) & 0x10 != 0 && byte(4) & 1 == 0,
                // Parameter sets come first of all, aggregated.
                _ => byte(0) & 0x1f == 24 && byte(3) & 0x1f == 7,
            }
    }

    #[test]
    fn bitrate_frame_rate_and_keyframe_interval_are_honoured() {
        for codec in [ClipCodec::H264, ClipCodec::Vp8] {
            let mut schedule = Schedule::new(shape(codec)).unwrap();
            let (mut bytes, mut pictures, mut sounds, mut keyframes) = (0, 0, 0, Vec::new());
            let mut last = Duration::ZERO;
            loop {
                let packet = schedule.next(&mut KeyframesWanted::default()).unwrap();
                if packet.due >= Duration::from_secs(10) {
                    break;
                }
                assert!(packet.due >= last);
                last = packet.due;
                if is_keyframe(codec, &packet) {
                    keyframes.push(packet.due.as_secs());
                }
                match packet.kind {
                    TrackKind::Audio => sounds += 1,
                    TrackKind::Video => {
                        bytes += packet.payload.len();
                        pictures += u32::from(packet.marker);
                    }
                }
            }
            assert!((299..=301).contains(&pictures), "{pictures}");
            assert_eq!(sounds, 500);
            let bps = bytes as f64 * 8.0 / 10.0;
            assert!((1_420_000.0..1_560_000.0).contains(&bps), "{codec:?}: {bps}");
            assert_eq!(keyframes, [0, 2, 4, 6, 8], "{codec:?}");
        }
    }

    #[test]
    fn a_request_brings_a_keyframe_at_once() {
        let mut schedule = Schedule::new(shape(ClipCodec::Vp8)).unwrap();
        while schedule.next(&mut KeyframesWanted::default()).unwrap().due < Duration::from_millis(500) {}
        let mut wanted = KeyframesWanted::of(0);
        let packet = loop {
            let packet = schedule.next(&mut wanted).unwrap();
            if is_keyframe(ClipCodec::Vp8, &packet) {
                break packet;
            }
        };
        assert!(packet.due < Duration::from_millis(600), "{:?}", packet.due);
        assert!(wanted.is_empty());
    }

    #[test]
    fn layers_have_their_bitrates_and_answer_requests_by_themselves() {
        for codec in [ClipCodec::H264, ClipCodec::Vp8] {
            let mut schedule = Schedule::new(StreamShape { simulcast: true, ..shape(codec) }).unwrap();
            let (mut bytes, mut pictures, mut keyframes) = ([0; 3], [0; 3], [0; 3]);
            let mut last = Duration::ZERO;
            loop {
                let mut wanted = KeyframesWanted::default();
                if (Duration::from_millis(1_000)..Duration::from_millis(1_030)).contains(&last) {
                    wanted = KeyframesWanted::of(1);
                }
                let packet = schedule.next(&mut wanted).unwrap();
                if packet.due >= Duration::from_secs(2) {
                    break;
                }
                assert!(packet.due >= last);
                last = packet.due;
                keyframes[packet.layer] += u32::from(is_keyframe(codec, &packet));
                if packet.kind == TrackKind::Video {
                    bytes[packet.layer] += packet.payload.len();
                    pictures[packet.layer] += u32::from(packet.marker);
                }
            }
            assert_eq!(pictures, [60; 3], "{codec:?}");
            assert_eq!(keyframes, [1, 2, 1], "{codec:?}");
            for (bytes, wanted_bps) in bytes.into_iter().zip([1_500_000.0, 500_000.0, 150_000.0]) {
                let bps = bytes as f64 * 8.0 / 2.0;
                assert!((wanted_bps * 0.85..wanted_bps * 1.15).contains(&bps), "{codec:?}: {bps}");
            }
        }
    }

    #[test]
    fn sound_alone() {
        let mut schedule = Schedule::new(shape(ClipCodec::Opus)).unwrap();
        let packets: Vec<DuePacket> =
            (0..50).map(|_| schedule.next(&mut KeyframesWanted::default()).unwrap()).collect();
        assert!(packets.iter().all(|packet| packet.kind == TrackKind::Audio));
        assert_eq!(packets.last().unwrap().due, Duration::from_millis(980));
    }

    #[test]
    fn a_silent_microphone_sends_little() {
        let mut schedule = Schedule::new(StreamShape { silent: true, ..shape(ClipCodec::Opus) }).unwrap();
        let last = (0..6).map(|_| schedule.next(&mut KeyframesWanted::default()).unwrap()).last().unwrap();
        assert_eq!((last.due, last.timestamp), (Duration::from_secs(2), 96_000));
    }
}
