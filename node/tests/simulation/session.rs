//! What an offer and its answer would have agreed on, without SDP.

use aforo_node::media::codec::{CodecKind, MediaKind};
use aforo_node::media::extension::{ExtensionKind, ExtensionMap};
use aforo_node::media::negotiated::{
    Codec, Direction, DtlsRole, Feedback, Fingerprint, IceCredentials, Negotiated, NegotiatedMedia, SsrcPair,
};

/// Ids that every client of the simulation gives its header extensions.
pub const MID_EXTENSION: u8 = 4;
pub const TWCC_EXTENSION: u8 = 7;

/// Retransmissions on a stream of their own.
#[derive(Debug, Clone, Copy)]
pub struct Rtx {
    pub ssrc: u32,
    pub payload_type: u8,
}

/// One track of one client.
#[derive(Debug, Clone)]
pub struct TrackPlan {
    pub kind: MediaKind,
    pub mid: &'static str,
    pub payload_type: u8,
    pub ssrc: u32,
    pub rtx: Option<Rtx>,
    pub nack: bool,
    pub transport_cc: bool,
    /// Whether the SSRCs stand in the offer.
    pub announced: bool,
}

/// What one client's tracks have in common.
#[derive(Debug, Clone, Copy)]
pub struct PlanOptions {
    /// The lowest of its SSRCs.
    pub ssrc: u32,
    /// Of audio and video, here and below.
    pub mids: [&'static str; 2],
    pub payload_types: [u8; 2],
    /// Whether video has RTX; audio never has.
    pub rtx: bool,
    pub transport_cc: bool,
    pub announced: bool,
}

/// Audio and video of one client.
pub fn plans(options: PlanOptions) -> [TrackPlan; 2] {
    [(MediaKind::Audio, 0, false), (MediaKind::Video, 2, options.rtx)].map(|(kind, offset, rtx)| {
        let (ssrc, payload_type) = (options.ssrc + offset, options.payload_types[kind as usize]);
        TrackPlan {
            kind,
            mid: options.mids[kind as usize],
            payload_type,
            ssrc,
            rtx: rtx.then_some(Rtx { ssrc: ssrc + 1, payload_type: payload_type + 1 }),
            nack: true,
            transport_cc: options.transport_cc,
            announced: options.announced,
        }
    })
}

impl TrackPlan {
    pub fn clock_rate_hz(&self) -> u32 {
        self.codec().clock_rate_hz()
    }

    fn codec(&self) -> CodecKind {
        match self.kind {
            MediaKind::Audio => CodecKind::Opus,
            MediaKind::Video => CodecKind::H264,
        }
    }

    /// As the answerer would say it.
    pub fn negotiated(&self, direction: Direction) -> NegotiatedMedia {
        let mut extensions = ExtensionMap::default();
        extensions.set(ExtensionKind::Mid, MID_EXTENSION);
        if self.transport_cc {
            extensions.set(ExtensionKind::TransportWideCc, TWCC_EXTENSION);
        }
        let video = self.kind == MediaKind::Video;
        let pair = SsrcPair { primary: self.ssrc, rtx: self.rtx.map(|rtx| rtx.ssrc) };
        let publish = direction == Direction::Publish;
        NegotiatedMedia {
            kind: self.kind,
            mid: self.mid.to_owned(),
            codec: Codec { kind: self.codec(), payload_type: self.payload_type, fmtp: String::new() },
            rtx_payload_type: self.rtx.map(|rtx| rtx.payload_type),
            extensions,
            feedback: Feedback {
                nack: self.nack,
                pli: video,
                fir: video,
                transport_cc: self.transport_cc,
                remb: false,
            },
            rids: Vec::new(),
            remote_ssrcs: if publish && self.announced { vec![pair] } else { Vec::new() },
            local_ssrc: (!publish).then_some(pair),
        }
    }
}

/// The agreement of one session. `role` is the client's own.
pub fn negotiated(
    direction: Direction,
    client_ice: IceCredentials,
    role: DtlsRole,
    fingerprint: Fingerprint,
    plans: &[TrackPlan; 2],
) -> Negotiated {
    Negotiated {
        direction,
        remote_ice: client_ice,
        dtls_role: match role {
            DtlsRole::Client => DtlsRole::Server,
            DtlsRole::Server => DtlsRole::Client,
        },
        remote_fingerprints: vec![fingerprint],
        media: plans.iter().map(|plan| plan.negotiated(direction)).collect(),
    }
}
