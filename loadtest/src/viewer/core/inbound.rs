//! What a viewer does with one incoming media packet.

use std::time::Instant;

use super::Viewer;
use crate::clock;
use crate::publisher::PublisherCounters;
use crate::publisher::schedule::TrackKind;
use crate::viewer::first_picture::PicturePacket;
use crate::viewer::header::RtpHeader;
use crate::viewer::sdp::VideoCodec;
use crate::viewer::totals::Totals;

/// Opened and verified from the start of a session, so that every key is proved.
const OPENED_AT_START: u64 = 128;

/// After that one packet of so many is opened; a power of two.
const OPENED_OF: u64 = 64;

impl Viewer {
    /// Whether losing `packet` can be made good: sound is repaired by nobody unless there is nothing else.
    pub fn is_repairable(&self, packet: &[u8]) -> bool {
        let media = self.answer.media;
        let payload_type = packet.get(1).map_or(0, |byte| byte & 0x7f);
        !media.has_video() || media.video_codec(payload_type).is_some() || media.is_repair(payload_type)
    }

    /// Takes an SRTP packet that arrived at `arrival_ns` (Unix time).
    pub fn receive_rtp(&mut self, now: Instant, arrival_ns: u64, packet: &mut [u8], totals: &mut Totals) {
        let Some(header) = RtpHeader::parse(packet) else {
            totals.unreadable += 1;
            return;
        };
        totals.packets += 1;
        totals.bytes += packet.len() as u64;
        self.packets += 1;
        let media = self.answer.media;
        let mut captured_ns = None;
        header.extensions(packet, |id, value| {
            if Some(id) == media.transport_cc_id
                && let [high, low] = *value
            {
                self.transport.arrived(u16::from_be_bytes([high, low]), arrival_ns);
            } else if Some(id) == media.capture_time_id
                && let Some(ntp) = value.first_chunk::<8>()
            {
                captured_ns = Some(clock::unix_ns_of_ntp(u64::from_be_bytes(*ntp)));
            }
        });
        // That of a repair counts if it brings what was missing.
        if let Some(captured_ns) = captured_ns.filter(|_| !media.is_repair(header.payload_type)) {
            totals.note_latency(captured_ns, arrival_ns);
        }
        let was_complete = self.is_complete();
        if !self.has_media {
            self.has_media = true;
            totals.first_media(now.duration_since(self.posted_at));
        }
        let publisher = self.publisher.as_deref();
        if let Some(codec) = media.video_codec(header.payload_type) {
            self.video.ssrc = header.ssrc;
            let number = self.video.receive(header.sequence, || sent_by(publisher, TrackKind::Video));
            if !self.first_picture.is_whole() || self.is_sampled() {
                let payload = self.open(number, header, packet, totals);
                let starts_keyframe = payload.is_some_and(|payload| is_keyframe(codec, payload));
                self.note_picture(now, (number, starts_keyframe), header, totals);
            }
        } else if media.audio == Some(header.payload_type) {
            self.audio.ssrc = header.ssrc;
            let number = self.audio.receive(header.sequence, || sent_by(publisher, TrackKind::Audio));
            if self.is_sampled() {
                let _ = self.open(number, header, packet, totals);
            }
        } else if media.is_repair(header.payload_type) {
            let missed = self.receive_repair(now, header, packet, totals);
            if let Some(captured_ns) = captured_ns.filter(|_| missed) {
                totals.note_latency(captured_ns, arrival_ns);
            }
        } else {
            totals.unreadable += 1;
        }
        if !was_complete && self.is_complete() {
            totals.completed_at = Some(now);
        }
    }

    /// Takes a repair (RFC 4588 §4). Returns whether it filled a gap.
    fn receive_repair(
        &mut self,
        now: Instant,
        header: RtpHeader,
        packet: &mut [u8],
        totals: &mut Totals,
    ) -> bool {
        totals.repairs += 1;
        let number = self.repair_sequence.receive(header.sequence);
        let opened = self.open(number, header, packet, totals).and_then(|p| p.split_first_chunk::<2>());
        let missed = opened.is_some_and(|(original, payload)| {
            let sequence = u16::from_be_bytes(*original);
            let number = self.video.tracker.extend(sequence);
            let codec = self.answer.media.repaired_codec();
            let starts_keyframe = codec.is_some_and(|codec| is_keyframe(codec, payload));
            let missed = self.video.tracker.repair(sequence);
            self.note_picture(now, (number, starts_keyframe), header, totals);
            missed
        });
        totals.repairs_needless += u64::from(!missed);
        missed
    }

    /// Takes an SRTCP packet.
    pub fn receive_rtcp(&mut self, now: Instant, packet: &mut [u8], totals: &mut Totals) {
        const SENDER_REPORT: u8 = 200;
        let kind = packet.get(1).copied();
        let ssrc =
            packet.get(4..).and_then(|rest| rest.first_chunk::<4>()).map(|ssrc| u32::from_be_bytes(*ssrc));
        let Some(keys) = &self.keys else { return };
        let Some(body) = keys.open_rtcp(packet) else {
            totals.unopened += 1;
            return;
        };
        totals.reports += 1;
        // RFC 3550 §6.4.1: a report quotes the middle 32 bits of the sender's 64-bit time.
        let middle =
            body.get(2..).and_then(|rest| rest.first_chunk::<4>()).map(|middle| u32::from_be_bytes(*middle));
        if let (Some(SENDER_REPORT), Some(ssrc), Some(middle)) = (kind, ssrc, middle) {
            for stream in [&mut self.video, &mut self.audio] {
                if stream.ssrc == ssrc {
                    stream.last_report = Some((middle, now));
                }
            }
        }
    }

    fn is_sampled(&self) -> bool {
        self.packets <= OPENED_AT_START || self.packets.is_multiple_of(OPENED_OF)
    }

    /// A video packet was opened that is not known to be needless: the first keyframe may begin or end with it.
    fn note_picture(
        &mut self,
        now: Instant,
        (number, starts_keyframe): (u64, bool),
        header: RtpHeader,
        totals: &mut Totals,
    ) {
        let since_post = now.duration_since(self.posted_at);
        if starts_keyframe && !self.has_keyframe {
            self.has_keyframe = true;
            totals.first_keyframe(since_post);
        }
        let RtpHeader { timestamp, marker, .. } = header;
        if self.first_picture.take(PicturePacket { number, timestamp, marker, starts_keyframe }) {
            totals.first_picture(since_post);
        }
    }

    fn open<'a>(
        &self,
        number: u64,
        header: RtpHeader,
        packet: &'a mut [u8],
        totals: &mut Totals,
    ) -> Option<&'a [u8]> {
        let keys = self.keys.as_ref()?;
        let place = (header.ssrc, (number >> 16) as u32, header.sequence);
        let opened = keys.open_rtp(packet, header.payload_start, place);
        match opened {
            Some(_) => totals.opened += 1,
            None => totals.unopened += 1,
        }
        opened
    }
}

fn sent_by(publisher: Option<&PublisherCounters>, kind: TrackKind) -> u64 {
    publisher.map_or(0, |publisher| publisher.sent(kind))
}

/// Whether an RTP payload starts a keyframe.
fn is_keyframe(codec: VideoCodec, payload: &[u8]) -> bool {
    match codec {
        VideoCodec::H264 => h264_starts_keyframe(payload),
        VideoCodec::Vp8 => vp8_starts_keyframe(payload),
    }
}

/// IDR slices are NAL type 5; parameter sets (7) come right before them (RFC 6184 §5.2).
fn h264_starts_keyframe(payload: &[u8]) -> bool {
    let key = |byte: u8| matches!(byte & 0x1f, 5 | 7);
    match payload.split_first() {
        Some((first, rest)) => match first & 0x1f {
            24 => rest.get(2).is_some_and(|byte| key(*byte)),
            28 => rest.first().is_some_and(|byte| byte & 0x80 != 0 && key(*byte)),
            _ => key(*first),
        },
        None => false,
    }
}

/// The start of partition 0, then a frame whose lowest bit says keyframe (RFC 7741 §4.2, RFC 6386 §9.1).
fn vp8_starts_keyframe(payload: &[u8]) -> bool {
    let Some((first, mut rest)) = payload.split_first() else { return false };
    if first & 0x10 == 0 || first & 0x07 != 0 {
        return false;
    }
    if first & 0x80 != 0 {
        let Some((extended, after)) = rest.split_first() else { return false };
        let long_id = extended & 0x80 != 0 && after.first().is_some_and(|id| id & 0x80 != 0);
        let picture_id = match (extended & 0x80 != 0, long_id) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        let layers = usize::from(extended & 0x40 != 0) + usize::from(extended & 0x30 != 0);
        rest = after.get(picture_id + layers..).unwrap_or_default();
    }
    rest.first().is_some_and(|byte| byte & 1 == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::clip::{ClipSize, h264_pictures, vp8_pictures};
    use crate::publisher::packetise;

    #[test]
    fn keyframes_of_both_clips_are_seen_and_only_those() {
        for (index, picture) in h264_pictures(ClipSize::Full).unwrap().iter().enumerate() {
            let payloads = packetise::h264(picture, 6_000);
            let key = payloads.iter().any(|payload| is_keyframe(VideoCodec::H264, payload));
            assert_eq!(key, index == 0, "picture {index}");
        }
        for (index, picture) in vp8_pictures(ClipSize::Full).unwrap().iter().enumerate() {
            let payloads = packetise::vp8(picture, 6_000, index as u16);
            let key = payloads.iter().any(|payload| is_keyframe(VideoCodec::Vp8, payload));
            assert_eq!(key, index == 0, "picture {index}");
        }
    }
}
