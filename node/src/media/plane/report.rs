//! What a plane says of a track when asked: figures for the API and the studio page, not for control.

use std::time::Instant;

use aforo_cluster::id::TrackId;

use super::Plane;

/// One track on this shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackReport {
    /// Packets taken in, repaired ones included.
    pub packets: u64,
    /// Their bytes, RTP headers included.
    pub bytes: u64,
    /// Packets that never came, as far as is known; 0 on a shard that mirrors the track.
    pub lost: u64,
    /// Keyframes taken in, over all layers.
    pub keyframes: u64,
    /// Viewers on this shard.
    pub legs: usize,
    /// Bits per second that are taken in, over all layers.
    pub bitrate_bps: u64,
    /// One entry per layer, in the order of the offer's RIDs; one without simulcast.
    pub layers: Vec<LayerReport>,
}

/// One layer of a track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerReport {
    /// Its simulcast name; empty without simulcast.
    pub rid: String,
    /// Whether its encoder sends.
    pub active: bool,
    /// Bits per second that are taken in.
    pub bitrate_bps: u64,
    /// In pixels, once known.
    pub size: Option<(u16, u16)>,
    /// Keyframes taken in.
    pub keyframes: u64,
    /// Viewers on this shard that play it.
    pub viewers: u32,
    /// What can be played of it alone, best first: one for each of its spatial and temporal layers; empty if it has one of each.
    pub parts: Vec<PartReport>,
}

/// A part of a scalable layer: its spatial and temporal layers up to these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartReport {
    /// Highest spatial layer.
    pub spatial: u8,
    /// Highest temporal layer.
    pub temporal: u8,
    /// Whether the encoder sends these two layers.
    pub active: bool,
    /// Bits per second of the whole part, as it is taken in.
    pub bitrate_bps: u64,
    /// In pixels, once known.
    pub size: Option<(u16, u16)>,
}

impl Plane {
    /// What is known of `track`; `None` if it is not on this shard.
    pub fn track_report(&self, now: Instant, track: TrackId) -> Option<TrackReport> {
        let track = self.tracks.get(self.places.get(&track).copied()?)?;
        let mut report =
            TrackReport { keyframes: track.keyframes, legs: track.legs.len(), ..Default::default() };
        for (layer, index) in track.layers.iter().zip(0_u8..) {
            let (bitrate_bps, active) = (layer.bitrate_bps(now), layer.is_active(now));
            report.packets += layer.packets;
            report.bytes += layer.bytes;
            report.lost += layer.lost;
            report.bitrate_bps += bitrate_bps;
            report.layers.push(LayerReport {
                rid: track.rids.get(usize::from(index)).cloned().unwrap_or_default(),
                active,
                bitrate_bps,
                size: (layer.width > 0 && layer.height > 0).then_some((layer.width, layer.height)),
                keyframes: layer.keyframes,
                viewers: track.audience.players(index),
                parts: layer.parts(now, active),
            });
        }
        Some(report)
    }
}
