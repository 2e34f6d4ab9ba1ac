//! What an offer and its answer would have agreed on, without SDP.

use aforo_node::media::codec::{CodecKind, MediaKind};
use aforo_node::media::extension::{ExtensionKind, ExtensionMap};
use aforo_node::media::negotiated::{
    Codec, Direction, DtlsRole, Feedback, Fingerprint, IceCredentials, Negotiated, NegotiatedMedia, SsrcPair,
};

/// Ids that every client of the simulation gives its header extensions.
pub const MID_EXTENSION: u8 = 4;
pub const TWCC_EXTENSION: u8 = 7;
pub const RID_EXTENSION: u8 = 10;
pub const REPAIRED_RID_EXTENSION: u8 = 11;
pub const DESCRIPTOR_EXTENSION: u8 = 3;

/// What every client calls redundant sound, as Chromium does.
const RED_PAYLOAD_TYPE: u8 = 63;

/// Level 3.1 of the constrained baseline profile (RFC 6184 §8.1).
const H264_FMTP: &str = "packetization-mode=1;profile-level-id=42e01f";

/// Names of simulcast layers, worst first.
const RIDS: [&str; 3] = ["q", "h", "f"];

/// One encoding of a track, with the stream of its retransmissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    /// With simulcast.
    pub rid: Option<&'static str>,
}

/// One track of one client.
#[derive(Debug, Clone)]
pub struct TrackPlan {
    pub codec: CodecKind,
    pub mid: &'static str,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    /// Of redundant sound.
    pub red_payload_type: Option<u8>,
    /// Worst first; a viewer has one.
    pub encodings: Vec<Encoding>,
    pub nack: bool,
    pub transport_cc: bool,
    /// Whether dependency descriptors were agreed on.
    pub descriptor: bool,
    /// Whether the SSRCs stand in the offer.
    pub announced: bool,
    /// Whether RIDs stand in the offer best first.
    pub best_first: bool,
}

/// What one client's tracks have in common.
#[derive(Debug, Clone, Copy)]
pub struct PlanOptions {
    /// The lowest of its SSRCs.
    pub ssrc: u32,
    /// Of audio and video, here and below.
    pub mids: [&'static str; 2],
    pub payload_types: [u8; 2],
    /// Of video.
    pub codec: CodecKind,
    /// Of video; more than one is simulcast.
    pub encodings: usize,
    pub best_first: bool,
    pub descriptor: bool,
    /// Whether sound may be redundant, is sent again and has RTX; publishers' has none.
    pub red: bool,
    pub sound_nack: bool,
    pub sound_rtx: bool,
    /// Whether video has RTX.
    pub rtx: bool,
    pub transport_cc: bool,
    pub announced: bool,
}

/// Audio and video of one client.
pub fn plans(options: PlanOptions) -> [TrackPlan; 2] {
    [MediaKind::Audio, MediaKind::Video].map(|kind| {
        let video = kind == MediaKind::Video;
        let (count, rtx) = if video { (options.encodings, options.rtx) } else { (1, options.sound_rtx) };
        let encodings = (0..count).map(|place| {
            let ssrc = options.ssrc + if video { 2 + 2 * place as u32 } else { 0 };
            Encoding { ssrc, rtx_ssrc: rtx.then_some(ssrc + 1), rid: (count > 1).then(|| RIDS[place]) }
        });
        let payload_type = options.payload_types[kind as usize];
        TrackPlan {
            codec: if video { options.codec } else { CodecKind::Opus },
            mid: options.mids[kind as usize],
            payload_type,
            rtx_payload_type: rtx.then_some(payload_type + 1),
            red_payload_type: (options.red && !video).then_some(RED_PAYLOAD_TYPE),
            encodings: encodings.collect(),
            nack: video || options.sound_nack,
            transport_cc: options.transport_cc,
            descriptor: video && options.descriptor,
            announced: options.announced,
            best_first: options.best_first,
        }
    })
}

impl TrackPlan {
    pub fn kind(&self) -> MediaKind {
        self.codec.kind()
    }

    pub fn clock_rate_hz(&self) -> u32 {
        self.codec.clock_rate_hz()
    }

    pub fn codec(&self) -> Codec {
        let fmtp = if self.codec == CodecKind::H264 { H264_FMTP } else { "" };
        Codec { kind: self.codec, payload_type: self.payload_type, fmtp: fmtp.to_owned() }
    }

    /// As the answerer would say it.
    pub fn negotiated(&self, direction: Direction) -> NegotiatedMedia {
        let mut extensions = ExtensionMap::default();
        extensions.set(ExtensionKind::Mid, MID_EXTENSION);
        if self.transport_cc {
            extensions.set(ExtensionKind::TransportWideCc, TWCC_EXTENSION);
        }
        if self.descriptor {
            extensions.set(ExtensionKind::DependencyDescriptor, DESCRIPTOR_EXTENSION);
        }
        let mut rids: Vec<String> =
            self.encodings.iter().filter_map(|encoding| encoding.rid.map(str::to_owned)).collect();
        if !rids.is_empty() {
            extensions.set(ExtensionKind::Rid, RID_EXTENSION);
            extensions.set(ExtensionKind::RepairedRid, REPAIRED_RID_EXTENSION);
        }
        if self.best_first {
            rids.reverse();
        }
        let video = self.kind() == MediaKind::Video;
        let pairs: Vec<SsrcPair> = self
            .encodings
            .iter()
            .map(|encoding| SsrcPair { primary: encoding.ssrc, rtx: encoding.rtx_ssrc })
            .collect();
        let publish = direction == Direction::Publish;
        NegotiatedMedia {
            kind: self.kind(),
            mid: self.mid.to_owned(),
            codec: self.codec(),
            rtx_payload_type: self.rtx_payload_type,
            red_payload_type: self.red_payload_type,
            extensions,
            feedback: Feedback {
                nack: self.nack,
                pli: video,
                fir: video,
                transport_cc: self.transport_cc,
                remb: false,
            },
            local_ssrc: pairs.first().copied().filter(|_| !publish),
            remote_ssrcs: if publish && self.announced && rids.is_empty() { pairs } else { Vec::new() },
            rids,
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
