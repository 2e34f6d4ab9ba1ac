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
    /// Whether its publisher left and its viewers wait for one to return.
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
        paused: stream.paused.is_some(),
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
    let layers = figures.layers.iter().enumerate().map(|(index, layer)| LayerState {
        rid: track.rids.get(index).cloned(),
        bitrate_bps: if layer.active { layer.bitrate_bps } else { 0 },
        width: layer.size.map(|(width, _)| width),
        height: layer.size.map(|(_, height)| height),
        ..LayerState::default()
    });
    layers.collect()
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
        }
    }
}
