//! Which packet leaves when: pictures at the frame rate, each spread over some 13 ms, and an Opus packet every 20 ms.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;

use super::packetise;
use crate::clip::{self, ClipCodec, OPUS_PACKET_SAMPLES, Picture};

/// libwebrtc's pacer sends at 2.5 times the target rate, so a frame of 1/30 s leaves within 13.3 ms.
const PACING_FACTOR: f64 = 2.5;

/// How much of the bitrate's debt from a large keyframe a picture may pay back by going unpadded, in pictures.
const LONGEST_DEBT_PICTURES: f64 = 15.0;

/// The settings that make a publisher's stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamShape {
    /// What to send.
    pub codec: ClipCodec,
    /// Video bitrate, bits per second.
    pub bitrate_bps: u64,
    /// Pictures per second.
    pub frames_per_second: u32,
    /// Time from keyframe to keyframe; at most the 300 pictures of a clip.
    pub keyframe_interval: Duration,
    /// Whether the microphone is silent: Opus then sends a packet every 400 ms only (DTX, RFC 6716 §2.1.9).
    pub silent: bool,
}

impl StreamShape {
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
    pictures: Arc<[Picture]>,
    sounds: Arc<[Bytes]>,
    next_picture: usize,
    pictures_sent: u64,
    since_keyframe: u64,
    sounds_sent: u64,
    credit_bytes: f64,
    waiting: VecDeque<DuePacket>,
}

impl Schedule {
    /// A schedule at its start.
    ///
    /// # Errors
    ///
    /// The embedded clips are damaged.
    pub fn new(shape: StreamShape) -> Result<Self> {
        let pictures = match shape.codec {
            ClipCodec::H264 => clip::h264_pictures()?,
            ClipCodec::Vp8 => clip::vp8_pictures()?,
            ClipCodec::Opus => Vec::new(),
        };
        Ok(Self {
            shape,
            pictures: pictures.into(),
            sounds: clip::opus_packets()?.into(),
            next_picture: 0,
            pictures_sent: 0,
            since_keyframe: 0,
            sounds_sent: 0,
            credit_bytes: 0.0,
            waiting: VecDeque::new(),
        })
    }

    /// The next packet; with `keyframe_wanted` the next picture is a keyframe, and the flag is cleared.
    pub fn next(&mut self, keyframe_wanted: &mut bool) -> Option<DuePacket> {
        let sound_due = Duration::from_millis(20 * self.sounds_sent * self.shape.sound_step());
        if self.waiting.is_empty() && !self.pictures.is_empty() {
            self.queue_picture(keyframe_wanted);
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
        Some(DuePacket { due, kind: TrackKind::Audio, payload, timestamp, marker: false })
    }

    fn queue_picture(&mut self, keyframe_wanted: &mut bool) {
        let frames_per_second = f64::from(self.shape.frames_per_second.max(1));
        let interval =
            (self.shape.keyframe_interval.as_secs_f64() * frames_per_second).round().max(1.0) as u64;
        // Two keyframes in a row would have one idr_pic_id, which ITU-T H.264 §7.4.3 forbids; a request that comes
        // right after one has been answered by it.
        let may_repeat = self.since_keyframe >= 2;
        if (*keyframe_wanted && may_repeat) || self.since_keyframe >= interval {
            self.next_picture = 0;
        }
        *keyframe_wanted = *keyframe_wanted && !may_repeat && self.since_keyframe != 1;
        let Some(picture) = self.pictures.get(self.next_picture).or(self.pictures.first()) else { return };
        self.since_keyframe = if picture.keyframe { 1 } else { self.since_keyframe + 1 };
        self.next_picture = (self.next_picture + 1) % self.pictures.len().max(1);

        let share = self.shape.bitrate_bps as f64 / 8.0 / frames_per_second;
        self.credit_bytes = (self.credit_bytes + share).max(-share * LONGEST_DEBT_PICTURES);
        let wanted = self.credit_bytes.clamp(0.0, share * 2.0) as usize;
        let payloads = match self.shape.codec {
            ClipCodec::Vp8 => packetise::vp8(picture, wanted, (self.pictures_sent & 0x7fff) as u16),
            _ => packetise::h264(picture, wanted),
        };
        self.credit_bytes -= payloads.iter().map(Bytes::len).sum::<usize>() as f64;

        let start = self.pictures_sent as f64 / frames_per_second;
        let spread = 1.0 / frames_per_second / PACING_FACTOR;
        let timestamp = (self.pictures_sent as f64 * 90_000.0 / frames_per_second) as u64 as u32;
        let count = payloads.len();
        for (index, payload) in payloads.into_iter().enumerate() {
            let due = Duration::from_secs_f64(start + spread * index as f64 / count as f64);
            let marker = index + 1 == count;
            self.waiting.push_back(DuePacket { due, kind: TrackKind::Video, payload, timestamp, marker });
        }
        self.pictures_sent += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn shape(codec: ClipCodec) -> StreamShape {
        StreamShape {
            codec,
            bitrate_bps: 1_500_000,
            frames_per_second: 30,
            keyframe_interval: Duration::from_secs(2),
            silent: false,
        }
    }

    fn is_keyframe(codec: ClipCodec, packet: &DuePacket) -> bool {
        let byte = |at: usize| packet.payload.get(at).copied().unwrap_or(0);
        packet.kind == TrackKind::Video
            && match codec {
                ClipCodec::Vp8 => byte(0) & 0x10 != 0 && byte(4) & 1 == 0,
                _ => byte(0) & 0x1f == 28 && byte(1) == 0x85,
            }
    }

    #[test]
    fn bitrate_frame_rate_and_keyframe_interval_are_honoured() {
        for codec in [ClipCodec::H264, ClipCodec::Vp8] {
            let mut schedule = Schedule::new(shape(codec)).unwrap();
            let (mut bytes, mut pictures, mut sounds, mut keyframes) = (0, 0, 0, Vec::new());
            let mut last = Duration::ZERO;
            loop {
                let packet = schedule.next(&mut false).unwrap();
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
        while schedule.next(&mut false).unwrap().due < Duration::from_millis(500) {}
        let mut wanted = true;
        let packet = loop {
            let packet = schedule.next(&mut wanted).unwrap();
            if is_keyframe(ClipCodec::Vp8, &packet) {
                break packet;
            }
        };
        assert!(packet.due < Duration::from_millis(600), "{:?}", packet.due);
        assert!(!wanted);
    }

    #[test]
    fn sound_alone() {
        let mut schedule = Schedule::new(shape(ClipCodec::Opus)).unwrap();
        let packets: Vec<DuePacket> = (0..50).map(|_| schedule.next(&mut false).unwrap()).collect();
        assert!(packets.iter().all(|packet| packet.kind == TrackKind::Audio));
        assert_eq!(packets.last().unwrap().due, Duration::from_millis(980));
    }

    #[test]
    fn a_silent_microphone_sends_little() {
        let mut schedule = Schedule::new(StreamShape { silent: true, ..shape(ClipCodec::Opus) }).unwrap();
        let last = (0..6).map(|_| schedule.next(&mut false).unwrap()).last().unwrap();
        assert_eq!((last.due, last.timestamp), (Duration::from_secs(2), 96_000));
    }
}
