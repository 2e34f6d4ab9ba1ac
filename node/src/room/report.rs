//! Rooms as the HTTP API shows them.

use std::collections::BTreeMap;
use std::time::Instant;

use aforo_cluster::id::{RoomName, StreamName, TrackId};
use serde::Serialize;

use super::core::{RoomCore, Stream, StreamTrack};
use super::events::LayerState;
use crate::media::path::ShardId;
use crate::media::plane;
use crate::shard::message::ShardReport;

/// One room of `/v1/rooms`, or all of `/v1/rooms/{room}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoomReport {
    /// Its name.
    pub name: RoomName,
    /// Whether a stream of it can be watched now.
    pub live: bool,
    /// Its streams, by name.
    pub streams: Vec<StreamReport>,
    /// Viewers of all its streams.
    pub viewers: usize,
}

impl RoomReport {
    /// A room that nobody is in.
    pub fn idle(name: RoomName) -> Self {
        Self { name, live: false, streams: Vec::new(), viewers: 0 }
    }
}

/// One stream of a room.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamReport {
    /// Its name.
    pub name: StreamName,
    /// Whether it can be watched now: its publisher is connected and media has come.
    pub live: bool,
    /// Whether it was live and its publisher left or fell silent, so that its viewers wait.
    pub paused: bool,
    /// Seconds since it went live, pauses included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_seconds: Option<f64>,
    /// Who watches it.
    pub viewers: usize,
    /// At most one audio and one video track.
    pub tracks: Vec<TrackReport>,
    /// Media that comes from the publisher, bits per second; absent in the list of all rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate_bps: Option<u64>,
}

/// One track of a stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackReport {
    /// Its id on this node, by which its shard knows it; not shown.
    #[serde(skip)]
    pub id: TrackId,
    /// `audio` or `video`.
    pub kind: &'static str,
    /// Its codec, in lower case.
    pub codec: &'static str,
    /// Its layers, best first; one without simulcast.
    pub layers: Vec<LayerReport>,
    /// Media that comes from the publisher, bits per second; absent in the list of all rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate_bps: Option<u64>,
    /// Packets that came; absent in the list of all rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Packets that never came, repairs included; absent in the list of all rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Keyframes that came; absent in the list of all rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyframes: Option<u64>,
}

/// One layer of a track.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LayerReport {
    /// Its simulcast name; absent without simulcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// Media of it that comes from the publisher, bits per second; absent in the list of all rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate_bps: Option<u64>,
    /// Whether its encoder sends; absent in the list of all rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// In pixels; absent while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    /// In pixels; absent while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
    /// What a viewer can get of it, best first, if it has several spatial or temporal layers; absent in the list of all rooms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartReport>,
}

/// A part of a scalable layer: its spatial and temporal layers up to these.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartReport {
    /// Highest spatial layer, as viewers ask for it.
    pub spatial_layer: u8,
    /// Highest temporal layer, as viewers ask for it.
    pub temporal_layer: u8,
    /// All of the part, bits per second.
    pub bitrate_bps: u64,
    /// Whether its encoder sends these two layers.
    pub active: bool,
    /// In pixels; absent while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    /// In pixels; absent while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
}

/// What the core knows of a room.
pub(super) fn of_room(name: &RoomName, core: &RoomCore, now: Instant) -> RoomReport {
    let streams: Vec<StreamReport> =
        core.streams().map(|(name, stream)| of_stream(name, stream, now)).collect();
    RoomReport {
        name: name.clone(),
        live: streams.iter().any(|stream| stream.live),
        viewers: streams.iter().map(|stream| stream.viewers).sum(),
        streams,
    }
}

fn of_stream(name: &StreamName, stream: &Stream, now: Instant) -> StreamReport {
    StreamReport {
        name: name.clone(),
        live: stream.flows,
        paused: stream.paused.is_some() && stream.live_since.is_some(),
        live_seconds: stream.live_since.map(|since| now.saturating_duration_since(since).as_secs_f64()),
        viewers: stream.viewers,
        tracks: stream.live.tracks.iter().map(of_track).collect(),
        bitrate_bps: None,
    }
}

fn of_track(track: &StreamTrack) -> TrackReport {
    let layer = |rid: Option<String>| LayerReport { rid, ..Default::default() };
    let mut layers: Vec<LayerReport> = track.rids.iter().map(|rid| layer(Some(rid.clone()))).collect();
    if layers.is_empty() {
        layers.push(layer(None));
    }
    TrackReport {
        id: track.id,
        kind: track.kind().as_str(),
        codec: track.codec.kind.as_str(),
        layers,
        bitrate_bps: None,
        packets: None,
        lost: None,
        keyframes: None,
    }
}

/// The layers of `track` as its shard reports them, for listeners.
pub(super) fn layers_of(track: &StreamTrack, answer: &ShardReport) -> Vec<LayerState> {
    let Some((_, figures)) = answer.tracks.iter().find(|(id, _)| *id == track.id) else { return Vec::new() };
    let rids = track.rids.iter().map(Some).chain(std::iter::repeat(None));
    figures.layers.iter().zip(rids).flat_map(|(layer, rid)| states_of(layer, rid.cloned())).collect()
}

/// A layer for listeners: each of its parts, or itself if it has none.
fn states_of(layer: &plane::LayerReport, rid: Option<String>) -> Vec<LayerState> {
    let state = |(spatial, temporal), active, bitrate_bps, size: Option<(u16, u16)>| {
        let ((width, height), rid) = (size.unzip(), rid.clone());
        LayerState {
            rid,
            spatial,
            temporal,
            width,
            height,
            bitrate_bps: if active { bitrate_bps } else { 0 },
        }
    };
    if layer.parts.is_empty() {
        return vec![state((0, 0), layer.active, layer.bitrate_bps, layer.size)];
    }
    let of_part = |part: &plane::PartReport| {
        state((part.spatial, part.temporal), part.active, part.bitrate_bps, part.size)
    };
    layer.parts.iter().map(of_part).collect()
}

/// The tracks of the room by the shard where they enter.
pub(super) fn origins(core: &RoomCore) -> Vec<(ShardId, Vec<TrackId>)> {
    let mut origins: BTreeMap<ShardId, Vec<TrackId>> = BTreeMap::new();
    for (_, stream) in core.streams() {
        let tracks = origins.entry(stream.live.origin).or_default();
        tracks.extend(stream.live.tracks.iter().map(|track| track.id));
    }
    origins.into_iter().collect()
}

impl RoomReport {
    /// Puts in what a shard knows of its tracks.
    pub(super) fn fill(&mut self, answer: &ShardReport) {
        for stream in &mut self.streams {
            for track in &mut stream.tracks {
                if let Some((_, figures)) = answer.tracks.iter().find(|(id, _)| *id == track.id) {
                    track.fill(figures);
                }
            }
            let bitrates: Vec<u64> = stream.tracks.iter().filter_map(|track| track.bitrate_bps).collect();
            stream.bitrate_bps = (!bitrates.is_empty()).then(|| bitrates.iter().sum());
        }
    }
}

impl TrackReport {
    fn fill(&mut self, figures: &plane::TrackReport) {
        self.bitrate_bps = Some(figures.bitrate_bps);
        self.packets = Some(figures.packets);
        self.lost = Some(figures.lost);
        self.keyframes = Some(figures.keyframes);
        for (layer, figures) in self.layers.iter_mut().zip(&figures.layers) {
            layer.bitrate_bps = Some(figures.bitrate_bps);
            layer.active = Some(figures.active);
            (layer.width, layer.height) = figures.size.unzip();
            layer.parts = figures.parts.iter().map(PartReport::of).collect();
        }
    }
}

impl PartReport {
    fn of(part: &plane::PartReport) -> Self {
        let (width, height) = part.size.unzip();
        let plane::PartReport { spatial, temporal, active, bitrate_bps, .. } = *part;
        Self { spatial_layer: spatial, temporal_layer: temporal, bitrate_bps, active, width, height }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use crate::media::codec::CodecKind;
    use crate::media::negotiated::Codec;

    fn part((spatial, temporal): (u8, u8), active: bool, bitrate_bps: u64) -> plane::PartReport {
        let size = (spatial == 1).then_some((1_280, 720));
        plane::PartReport { spatial, temporal, active, bitrate_bps, size }
    }

    #[test]
    fn a_scalable_layer_is_told_in_parts_and_another_as_it_is() {
        let codec = Codec { kind: CodecKind::Vp9, payload_type: 98, fmtp: String::new() };
        let rids = vec!["f".to_owned(), "q".to_owned()];
        let track = StreamTrack { id: TrackId(7), codec, rids };
        let parts = vec![part((1, 0), false, 900), part((0, 0), true, 300)];
        let layers = vec![
            plane::LayerReport { active: true, bitrate_bps: 950, parts, ..plane::LayerReport::default() },
            plane::LayerReport { active: true, bitrate_bps: 90, ..plane::LayerReport::default() },
        ];
        let figures = plane::TrackReport { layers, ..plane::TrackReport::default() };
        let answer = ShardReport { tracks: vec![(track.id, figures)] };
        let of_f = LayerState { rid: Some("f".to_owned()), ..LayerState::default() };
        let larger = LayerState { spatial: 1, width: Some(1_280), height: Some(720), ..of_f.clone() };
        let expected = [
            larger,
            LayerState { bitrate_bps: 300, ..of_f },
            LayerState { rid: Some("q".to_owned()), bitrate_bps: 90, ..LayerState::default() },
        ];
        assert_eq!(layers_of(&track, &answer), expected);
        let mut report = of_track(&track);
        report.fill(&answer.tracks[0].1);
        let shown = serde_json::to_value(&report.layers).unwrap();
        assert_eq!(shown[0]["bitrate_bps"], 950);
        let expected = serde_json::json!([
            { "spatial_layer": 1, "temporal_layer": 0, "bitrate_bps": 900, "active": false, "width": 1280, "height": 720 },
            { "spatial_layer": 0, "temporal_layer": 0, "bitrate_bps": 300, "active": true },
        ]);
        assert_eq!(shown[0]["parts"], expected);
        assert_eq!(shown[1].get("parts"), None);
    }
}
