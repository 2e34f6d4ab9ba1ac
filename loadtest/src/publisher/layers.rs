//! The encodings of a publisher's video: one, or the three that browsers send by simulcast (RFC 8853).

use crate::clip::ClipSize;

/// Most encodings of one video.
pub const LAYERS_MAX: usize = 3;

/// One encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoLayer {
    /// Its name on the wire (RFC 8852).
    pub rid: &'static str,
    /// Size of its pictures.
    pub size: ClipSize,
    /// Its bitrate as a share of the best layer's.
    pub share: f64,
}

/// Best first, as an offer lists them. Chromium sends 1.5 or more, 0.5 and 0.15 Mbit/s.
pub const SIMULCAST: [VideoLayer; LAYERS_MAX] = [
    VideoLayer { rid: "f", size: ClipSize::Full, share: 1.0 },
    VideoLayer { rid: "h", size: ClipSize::Half, share: 1.0 / 3.0 },
    VideoLayer { rid: "q", size: ClipSize::Quarter, share: 0.1 },
];

/// The layers of which a keyframe is wanted, by their place in [`SIMULCAST`]; a video without simulcast is layer 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyframesWanted(pub(super) u8);

impl KeyframesWanted {
    /// Of one layer.
    pub fn of(layer: usize) -> Self {
        Self(1_u8.checked_shl(layer as u32).unwrap_or(0))
    }

    /// Whether none is wanted.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether one of `layer` is wanted.
    pub fn contains(self, layer: usize) -> bool {
        self.0 & Self::of(layer).0 != 0
    }

    /// That of `layer` is under way.
    pub(super) fn remove(&mut self, layer: usize) {
        self.0 &= !Self::of(layer).0;
    }
}
