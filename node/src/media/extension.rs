//! RTP header extensions we know (RFC 8285): their URIs, and the ids that one session gave them.

/// A header extension that the node reads, writes or passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExtensionKind {
    /// RFC 9143: which m-section a packet belongs to.
    Mid,
    /// RFC 8852: which simulcast layer a packet belongs to.
    Rid,
    /// RFC 8852: which simulcast layer an RTX packet repairs.
    RepairedRid,
    /// draft-holmer-rmcat-transport-wide-cc-extensions-01.
    TransportWideCc,
    /// abs-send-time.
    AbsSendTime,
    /// abs-capture-time: when the picture was taken.
    AbsCaptureTime,
    /// RFC 6464: how loud the packet is.
    AudioLevel,
    /// 3GPP TS 26.114: how the camera is held.
    VideoOrientation,
    /// playout-delay.
    PlayoutDelay,
    /// AV1 dependency descriptor.
    DependencyDescriptor,
    /// video-layers-allocation00.
    VideoLayersAllocation,
}

impl ExtensionKind {
    /// How many kinds there are.
    pub const COUNT: usize = 11;

    /// Every kind, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::TransportWideCc,
        Self::AbsSendTime,
        Self::AbsCaptureTime,
        Self::AudioLevel,
        Self::VideoOrientation,
        Self::PlayoutDelay,
        Self::DependencyDescriptor,
        Self::VideoLayersAllocation,
    ];

    /// The URI of `a=extmap`.
    pub fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::TransportWideCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Self::VideoLayersAllocation => {
                "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"
            }
        }
    }

    /// The kind that a URI names.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.uri() == uri)
    }
}

/// The id (1 to 255, RFC 8285 §4.2) that one session gave each kind; 0 where it gave none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ExtensionMap {
    ids: [u8; ExtensionKind::COUNT],
}

impl ExtensionMap {
    /// Gives `kind` the id `id`.
    pub fn set(&mut self, kind: ExtensionKind, id: u8) {
        if let Some(slot) = self.ids.get_mut(kind as usize) {
            *slot = id;
        }
    }

    /// The id of `kind`, if the session has it.
    pub fn id(&self, kind: ExtensionKind) -> Option<u8> {
        self.ids.get(kind as usize).copied().filter(|id| *id != 0)
    }

    /// The kind that `id` stands for.
    pub fn kind(&self, id: u8) -> Option<ExtensionKind> {
        ExtensionKind::ALL.into_iter().find(|kind| id != 0 && self.id(*kind) == Some(id))
    }
}
