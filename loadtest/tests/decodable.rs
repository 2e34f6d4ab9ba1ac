//! What publishers send must play: FFmpeg decodes a few seconds of it without an error, and the picture moves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use aforo_loadtest::clip::ClipCodec;
use aforo_loadtest::publisher::schedule::{DuePacket, Schedule, StreamShape, TrackKind};

const SECONDS: u64 = 4;

fn packets(codec: ClipCodec) -> Vec<DuePacket> {
    let shape = StreamShape {
        codec,
        bitrate_bps: 1_500_000,
        frames_per_second: 30,
        keyframe_interval: Duration::from_secs(1),
        silent: false,
    };
    let mut schedule = Schedule::new(shape).unwrap();
    std::iter::from_fn(|| schedule.next(&mut false))
        .take_while(|packet| packet.due < Duration::from_secs(SECONDS))
        .filter(|packet| packet.kind == TrackKind::Video)
        .collect()
}

/// Decodes with FFmpeg; returns its complaints and one hash per picture.
fn decode(name: &str, stream: &[u8]) -> (String, Vec<String>) {
    let directory = tempfile_directory();
    let path = directory.join(name);
    std::fs::write(&path, stream).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-i"])
        .arg(&path)
        .args(["-f", "framemd5", "-"])
        .output()
        .expect("the test needs ffmpeg");
    std::fs::remove_dir_all(&directory).unwrap();
    let hashes = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit(',').next().unwrap().trim().to_owned())
        .collect();
    (String::from_utf8(output.stderr).unwrap(), hashes)
}

fn tempfile_directory() -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("aforo-decodable-{:016x}", rand::random::<u64>()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn check(complaints: &str, hashes: &[String]) {
    assert!(complaints.trim().is_empty(), "{complaints}");
    assert_eq!(hashes.len() as u64, 30 * SECONDS);
    // One picture of the clip in 30 is its first, again and again.
    let different: HashSet<&String> = hashes.iter().collect();
    assert!(different.len() >= 28, "only {} different pictures", different.len());
}

#[test]
fn padded_h264_decodes_without_complaint() {
    let mut stream = Vec::new();
    let mut unit = |bytes: &[u8]| {
        stream.extend_from_slice(&[0, 0, 0, 1]);
        stream.extend_from_slice(bytes);
    };
    let mut fragmented = Vec::new();
    for packet in packets(ClipCodec::H264) {
        let payload = packet.payload;
        match payload[0] & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                while rest.len() > 2 {
                    let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                    unit(&rest[2..2 + length]);
                    rest = &rest[2 + length..];
                }
            }
            28 => {
                if payload[1] & 0x80 != 0 {
                    fragmented = vec![(payload[0] & 0xe0) | (payload[1] & 0x1f)];
                }
                fragmented.extend_from_slice(&payload[2..]);
                if payload[1] & 0x40 != 0 {
                    unit(&fragmented);
                }
            }
            _ => unit(&payload),
        }
    }
    let (complaints, hashes) = decode("stream.h264", &stream);
    check(&complaints, &hashes);
}

#[test]
fn padded_vp8_decodes_without_complaint() {
    let mut frames: Vec<Vec<u8>> = vec![Vec::new()];
    for packet in packets(ClipCodec::Vp8) {
        frames.last_mut().unwrap().extend_from_slice(&packet.payload[4..]);
        if packet.marker {
            frames.push(Vec::new());
        }
    }
    frames.retain(|frame| !frame.is_empty());
    let mut stream = b"DKIF\0\0\x20\0VP80".to_vec();
    for field in [320u16, 180] {
        stream.extend_from_slice(&field.to_le_bytes());
    }
    for field in [30u32, 1, frames.len() as u32, 0] {
        stream.extend_from_slice(&field.to_le_bytes());
    }
    for (index, frame) in frames.iter().enumerate() {
        stream.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        stream.extend_from_slice(&(index as u64).to_le_bytes());
        stream.extend_from_slice(frame);
    }
    let (complaints, hashes) = decode("stream.ivf", &stream);
    check(&complaints, &hashes);
}
