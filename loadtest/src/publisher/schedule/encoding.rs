//! One encoding's pictures in their order, at its bitrate; pure.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;

use super::StreamShape;
use crate::clip::{self, ClipCodec, Picture};
use crate::publisher::layers::VideoLayer;
use crate::publisher::packetise;

/// How much of the bitrate's debt from a large keyframe a picture may pay back by going unpadded, in pictures.
const LONGEST_DEBT_PICTURES: f64 = 15.0;

/// What an encoder would be asked for its next picture.
#[derive(Debug)]
pub(super) struct Encoding {
    codec: ClipCodec,
    pictures: Arc<[Picture]>,
    /// Bytes per picture that make the bitrate.
    share_bytes: f64,
    /// Pictures from keyframe to keyframe.
    interval: u64,
    next_picture: usize,
    sent: u64,
    since_keyframe: u64,
    credit_bytes: f64,
}

impl Encoding {
    /// The encoding at its first picture; none for sound alone.
    pub(super) fn new(shape: &StreamShape, layer: &VideoLayer) -> Result<Option<Self>> {
        let pictures = match shape.codec {
            ClipCodec::H264 => clip::h264_pictures(layer.size)?,
            ClipCodec::Vp8 => clip::vp8_pictures(layer.size)?,
            ClipCodec::Opus => return Ok(None),
        };
        let frames_per_second = f64::from(shape.frames_per_second.max(1));
        let interval = (shape.keyframe_interval.as_secs_f64() * frames_per_second).round().max(1.0) as u64;
        Ok(Some(Self {
            codec: shape.codec,
            pictures: pictures.into(),
            share_bytes: shape.bitrate_bps as f64 * layer.share / 8.0 / frames_per_second,
            interval,
            next_picture: 0,
            sent: 0,
            since_keyframe: 0,
            credit_bytes: 0.0,
        }))
    }

    /// Payloads of the next picture, and whether it answers a wish for a keyframe.
    pub(super) fn next(&mut self, keyframe_wanted: bool) -> (Vec<Bytes>, bool) {
        // Two keyframes in a row would have one idr_pic_id, which ITU-T H.264 §7.4.3 forbids; a request that comes
        // right after one has been answered by it.
        let may_repeat = self.since_keyframe >= 2;
        let is_answered = may_repeat || self.since_keyframe == 1;
        if (keyframe_wanted && may_repeat) || self.since_keyframe >= self.interval {
            self.next_picture = 0;
        }
        let Some(picture) = self.pictures.get(self.next_picture).or(self.pictures.first()) else {
            return (Vec::new(), is_answered);
        };
        self.since_keyframe = if picture.keyframe { 1 } else { self.since_keyframe + 1 };
        self.next_picture = (self.next_picture + 1) % self.pictures.len().max(1);

        let share = self.share_bytes;
        self.credit_bytes = (self.credit_bytes + share).max(-share * LONGEST_DEBT_PICTURES);
        let wanted = self.credit_bytes.clamp(0.0, share * 2.0) as usize;
        let payloads = match self.codec {
            ClipCodec::Vp8 => packetise::vp8(picture, wanted, (self.sent & 0x7fff) as u16),
            _ => packetise::h264(picture, wanted),
        };
        self.credit_bytes -= payloads.iter().map(Bytes::len).sum::<usize>() as f64;
        self.sent += 1;
        (payloads, is_answered)
    }
}
