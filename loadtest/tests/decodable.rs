//! What publishers send must play: FFmpeg decodes a few seconds of it without an error, and the picture moves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use aforo_loadtest::clip::ClipCodec;
use aforo_loadtest::publisher::layers::KeyframesWanted;
use aforo_loadtest::publisher::schedule::{DuePacket, Schedule, StreamShape, TrackKind};

const SECONDS: u64 = 4;

/// Best first: 320 x 180, 160 x 90, 80 x 44.
const SIZES: [(u16, u16); 3] = [(320, 180), (160, 90), (80, 44)];

fn packets(codec: ClipCodec, layer: usize) -> Vec<DuePacket> {
    let shape = StreamShape {
        codec,
        bitrate_bps: 1_500_000,
        frames_per_second: 30,
        keyframe_interval: Duration::from_secs(1),
        silent: false,
        simulcast: true,
        deaf: false,
    };
    let mut schedule = Schedule::new(shape).unwrap();
    std::iter::from_fn(|| schedule.next(&mut KeyframesWanted::default()))
        .take_while(|packet| packet.due < Duration::from_secs(SECONDS))
        .filter(|packet| packet.kind == TrackKind::Video && packet.layer == layer)
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
    for layer in 0..SIZES.len() {
        let (complaints, hashes) = decode("stream.h264", &h264_stream(layer));
        check(&complaints, &hashes);
    }
}

fn h264_stream(layer: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut unit = |bytes: &[u8]| {
        stream.extend_from_slice(&[0, 0, 0, 1]);
        stream.extend_from_slice(bytes);
    };
    let mut fragmented = Vec::new();
    for packet in packets(ClipCodec::H264, layer) {
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
    stream
}

#[test]
fn padded_vp8_decodes_without_complaint() {
    for (layer, size) in SIZES.into_iter().enumerate() {
        let (complaints, hashes) = decode("stream.ivf", &vp8_stream(layer, size));
        check(&complaints, &hashes);
    }
}

fn vp8_stream(layer: usize, (width, height): (u16, u16)) -> Vec<u8> {
    let mut frames: Vec<Vec<u8>> = vec![Vec::new()];
    for packet in packets(ClipCodec::Vp8, layer) {
        frames.last_mut().unwrap().extend_from_slice(&packet.payload[4..]);
        if packet.marker {
            frames.push(Vec::new());
        }
    }
    frames.retain(|frame| !frame.is_empty());
    let mut stream = b"DKIF\0\0\x20\0VP80".to_vec();
    for field in [width, height] {
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
    stream
}
