//! Clients of a plane: what a browser would send and understand.

use std::net::SocketAddr;

use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

use super::{AUDIO, VIDEO};
use crate::media::codec::{CodecKind, MediaKind};
use crate::media::extension::{ExtensionKind, ExtensionMap};
use crate::media::keys::{MasterKey, SrtpKeys, SrtpProfile};
use crate::media::negotiated::{Codec, Feedback, NegotiatedMedia, SsrcPair};
use crate::media::path::{Path, PeerKey, ShardId};
use crate::media::rtcp::Writer;
use crate::media::rtp::{self, HeaderFields, RtpHeader, write_header};
use crate::media::selection::LayerWish;
use crate::media::spec::{EgressSpec, EgressTrack, IngestSpec, IngestTrack};

/// What a test's clients agree on.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) profile: SrtpProfile,
    pub(super) rtx: bool,
    /// Whether pictures may be asked for again.
    pub(super) video_nack: bool,
    pub(super) rids: Vec<String>,
    /// The shard where the tracks enter.
    pub(super) origin: u8,
    pub(super) audio: bool,
    /// Whether redundant sound is agreed on, with payload type [`RED`].
    pub(super) red: bool,
    /// Whether sound may be asked for again.
    pub(super) audio_nack: bool,
    /// Whether sound has transport-wide numbers.
    pub(super) audio_counted: bool,
    /// Of a viewer's sound.
    pub(super) audio_type: u8,
    /// Of the video.
    pub(super) codec: CodecKind,
    /// Whether viewers take dependency descriptors.
    pub(super) descriptors: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            profile: SrtpProfile::AeadAes128Gcm,
            rtx: true,
            video_nack: true,
            rids: Vec::new(),
            origin: 0,
            audio: false,
            red: false,
            audio_nack: false,
            audio_counted: true,
            audio_type: 109,
            codec: CodecKind::Vp8,
            descriptors: true,
        }
    }
}

/// Payload type of redundant sound, in both directions.
pub(super) const RED: u8 = 63;

/// Payload type of a publisher's sound.
pub(super) const OPUS: u8 = 111;

/// Ids that the publisher gave to its extensions.
pub(super) const PUBLISHER_IDS: [(ExtensionKind, u8); 8] = [
    (ExtensionKind::VideoLayersAllocation, 14),
    (ExtensionKind::DependencyDescriptor, 12),
    (ExtensionKind::Mid, 9),
    (ExtensionKind::Rid, 10),
    (ExtensionKind::RepairedRid, 11),
    (ExtensionKind::TransportWideCc, 3),
    (ExtensionKind::VideoOrientation, 13),
    (ExtensionKind::AudioLevel, 1),
];

/// Ids that viewers gave to theirs.
pub(super) const VIEWER_IDS: [(ExtensionKind, u8); 5] = [
    (ExtensionKind::DependencyDescriptor, 6),
    (ExtensionKind::Mid, 4),
    (ExtensionKind::TransportWideCc, 5),
    (ExtensionKind::VideoOrientation, 2),
    (ExtensionKind::AudioLevel, 8),
];

fn extensions(ids: &[(ExtensionKind, u8)]) -> ExtensionMap {
    let mut map = ExtensionMap::default();
    ids.iter().for_each(|(kind, id)| map.set(*kind, *id));
    map
}

fn media(
    setup: &Setup,
    kind: MediaKind,
    ids: &[(ExtensionKind, u8)],
    payload_types: (u8, u8),
) -> NegotiatedMedia {
    let video = kind == MediaKind::Video;
    let codec = if video { setup.codec } else { CodecKind::Opus };
    NegotiatedMedia {
        kind,
        mid: if video { "1" } else { "0" }.to_owned(),
        codec: Codec { kind: codec, payload_type: payload_types.0, fmtp: String::new() },
        rtx_payload_type: (video && setup.rtx).then_some(payload_types.1),
        red_payload_type: (!video && setup.red).then_some(RED),
        extensions: extensions(ids),
        feedback: Feedback {
            nack: if video { setup.video_nack } else { setup.audio_nack },
            pli: video,
            transport_cc: true,
            ..Default::default()
        },
        rids: Vec::new(),
        remote_ssrcs: Vec::new(),
        local_ssrc: None,
    }
}

fn keys(profile: SrtpProfile, index: u32) -> SrtpKeys {
    let bytes = |count: usize, salt: u8| {
        (0..count as u8).map(|byte| byte ^ salt ^ (index as u8).wrapping_mul(3)).collect()
    };
    let master =
        |salt| MasterKey { key: bytes(profile.key_bytes(), salt), salt: bytes(profile.salt_bytes(), salt) };
    SrtpKeys { profile, local: master(0x11), remote: master(0x77) }
}

fn context(profile: SrtpProfile, key: &MasterKey) -> Context {
    let profile = match profile {
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let crypto = rtc_srtp::crypto::default_provider().unwrap();
    let (rtp, rtcp) = (srtp_replay_protection(128), srtcp_replay_protection(128));
    Context::new(&key.key, &key.salt, profile, Some(rtp), Some(rtcp), crypto.crypto()).unwrap()
}

/// One connection as its client has it.
pub(super) struct Client {
    pub(super) peer: PeerKey,
    pub(super) path: Path,
    keys: SrtpKeys,
    sealing: Context,
    opening: Context,
    /// RTP packets that arrived and were opened.
    pub(super) rtp: Vec<Vec<u8>>,
    /// RTCP compounds that arrived and were opened.
    pub(super) rtcp: Vec<Vec<u8>>,
    /// Datagrams that were refused: replays.
    pub(super) refused: usize,
}

impl Client {
    fn new(index: u32, setup: &Setup) -> Self {
        let keys = keys(setup.profile, index);
        Self {
            peer: PeerKey { index, generation: 1 },
            path: Path::Udp(SocketAddr::from(([127, 0, 0, 1], 9_000 + index as u16))),
            sealing: context(setup.profile, &keys.remote),
            opening: context(setup.profile, &keys.local),
            keys,
            rtp: Vec::new(),
            rtcp: Vec::new(),
            refused: 0,
        }
    }

    pub(super) fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        if rtp::is_rtcp(packet) {
            self.sealing.encrypt_rtcp(packet)
        } else {
            self.sealing.encrypt_rtp(packet)
        }
        .unwrap()
        .to_vec()
    }

    pub(super) fn take(&mut self, datagram: &[u8]) {
        if rtp::is_rtcp(datagram) {
            self.rtcp.push(self.opening.decrypt_rtcp(datagram).expect("authentic rtcp").to_vec());
        } else {
            match self.opening.decrypt_rtp(datagram) {
                Ok(packet) => self.rtp.push(packet.to_vec()),
                Err(_) => self.refused += 1,
            }
        }
    }

    /// Headers of the RTP packets that arrived since the last call, with the packets.
    pub(super) fn packets(&mut self) -> Vec<(RtpHeader, Vec<u8>)> {
        self.rtp.drain(..).map(|packet| (RtpHeader::parse(&packet).unwrap(), packet)).collect()
    }

    /// Writes a compound and seals it.
    pub(super) fn rtcp(&mut self, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = vec![0; 1_400];
        let mut writer = Writer::new(&mut buffer);
        writer.receiver_report(1, &[]).unwrap();
        write(&mut writer);
        let len = writer.len();
        self.seal(&buffer[..len])
    }
}

/// A publisher of one video track, or of sound too.
pub(super) struct Publisher {
    pub(super) client: Client,
    pub(super) transport_sequence: u16,
    /// Whether its packets say that they end a frame.
    pub(super) marker: bool,
    /// The dependency descriptor of its packets.
    pub(super) descriptor: Vec<u8>,
    /// What its packets say of all layers.
    pub(super) allocation: Vec<u8>,
}

pub(super) const PUBLISHER_VIDEO_SSRC: u32 = 0xA000;
pub(super) const PUBLISHER_RTX_SSRC: u32 = 0xA001;
pub(super) const PUBLISHER_AUDIO_SSRC: u32 = 0xA00A;

/// What a publisher sends.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) keyframe: bool,
    /// Index of the RID, for simulcast.
    pub(super) layer: usize,
    pub(super) size: usize,
}

impl Sent {
    pub(super) fn frame(sequence: u16, keyframe: bool) -> Self {
        Self { sequence, timestamp: u32::from(sequence) * 3_000, keyframe, layer: 0, size: 900 }
    }
}

/// One packet that is a whole VP8 frame.
pub(super) fn vp8(sent: &Sent) -> Vec<u8> {
    let mut payload = vec![0x10, u8::from(!sent.keyframe), 0, 0, 0x9D, 0x01, 0x2A, 0, 5, 0xD0, 2];
    payload.resize(sent.size, sent.sequence as u8);
    payload
}

impl Publisher {
    pub(super) fn new(index: u32, setup: &Setup) -> Self {
        Self {
            client: Client::new(index, setup),
            transport_sequence: 100,
            marker: true,
            descriptor: Vec::new(),
            allocation: Vec::new(),
        }
    }

    pub(super) fn spec(&self, setup: &Setup) -> IngestSpec {
        let mut video = media(setup, MediaKind::Video, &PUBLISHER_IDS, (96, 97));
        video.rids.clone_from(&setup.rids);
        let rtx = setup.rtx.then_some(PUBLISHER_RTX_SSRC);
        video.remote_ssrcs = vec![SsrcPair { primary: PUBLISHER_VIDEO_SSRC, rtx }];
        let mut tracks = vec![IngestTrack { id: VIDEO, media: video }];
        if setup.audio {
            let mut audio = media(setup, MediaKind::Audio, &PUBLISHER_IDS, (OPUS, 0));
            audio.remote_ssrcs = vec![SsrcPair { primary: PUBLISHER_AUDIO_SSRC, rtx: None }];
            tracks.push(IngestTrack { id: AUDIO, media: audio });
        }
        IngestSpec { peer: self.client.peer, path: self.client.path, keys: self.client.keys.clone(), tracks }
    }

    /// A packet of video that is a whole VP8 frame.
    pub(super) fn video(&mut self, sent: &Sent) -> Vec<u8> {
        self.video_payload(sent, &vp8(sent))
    }

    /// A packet of video with this payload, whose codec is the setup's.
    pub(super) fn video_payload(&mut self, sent: &Sent, payload: &[u8]) -> Vec<u8> {
        let ssrc = PUBLISHER_VIDEO_SSRC + 0x100 * sent.layer as u32;
        let rid = [b'a' + sent.layer as u8];
        self.packet((96, ssrc), sent, &[(9, b"1"), (10, &rid), (13, &[2])], payload)
    }

    /// The same packet by retransmission.
    pub(super) fn video_rtx(&mut self, sent: &Sent, rtx_sequence: u16) -> Vec<u8> {
        let mut payload = sent.sequence.to_be_bytes().to_vec();
        payload.extend(vp8(sent));
        let sent = Sent { sequence: rtx_sequence, ..*sent };
        let rid = [b'a' + sent.layer as u8];
        self.packet((97, PUBLISHER_RTX_SSRC), &sent, &[(9, b"1"), (11, &rid), (13, &[2])], &payload)
    }

    pub(super) fn audio(&mut self, sequence: u16, payload: &[u8]) -> Vec<u8> {
        self.sound(OPUS, sequence, payload)
    }

    /// A packet of sound with this payload type.
    pub(super) fn sound(&mut self, payload_type: u8, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let sent = Sent { timestamp: u32::from(sequence) * 960, ..Sent::frame(sequence, false) };
        self.packet((payload_type, PUBLISHER_AUDIO_SSRC), &sent, &[(9, b"0"), (1, &[0x85])], payload)
    }

    fn packet(
        &mut self,
        (payload_type, ssrc): (u8, u32),
        sent: &Sent,
        list: &[(u8, &[u8])],
        payload: &[u8],
    ) -> Vec<u8> {
        let fields = HeaderFields {
            marker: self.marker,
            padding: false,
            payload_type,
            sequence: sent.sequence,
            timestamp: sent.timestamp,
            ssrc,
        };
        let transport_sequence = self.transport_sequence.to_be_bytes();
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let mut list = list.to_vec();
        list.push((3, &transport_sequence));
        if !self.descriptor.is_empty() {
            list.push((12, &self.descriptor));
        }
        if !self.allocation.is_empty() {
            list.push((14, &self.allocation));
        }
        let mut packet = vec![0; 100];
        let len = write_header(&mut packet, &fields, &list).unwrap().len;
        packet.truncate(len);
        packet.extend(payload);
        packet
    }
}

/// A viewer of the publisher's tracks.
pub(super) struct Viewer {
    pub(super) client: Client,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
    pub(super) audio_ssrc: u32,
    /// The highest sequence number of sound that it has reported.
    pub(super) reported: u32,
}

impl Viewer {
    pub(super) fn new(index: u32, setup: &Setup) -> Self {
        let ssrc = 0xB000_0000 + index * 16;
        Self {
            client: Client::new(index, setup),
            ssrc,
            rtx_ssrc: ssrc + 1,
            audio_ssrc: ssrc + 2,
            reported: 1,
        }
    }

    pub(super) fn spec(&self, setup: &Setup) -> EgressSpec {
        let mut video = media(setup, MediaKind::Video, &VIEWER_IDS, (101, 102));
        if !setup.descriptors {
            video.extensions.set(ExtensionKind::DependencyDescriptor, 0);
        }
        video.local_ssrc = Some(SsrcPair { primary: self.ssrc, rtx: setup.rtx.then_some(self.rtx_ssrc) });
        let origin = ShardId(setup.origin);
        let mut tracks = vec![EgressTrack { id: VIDEO, origin, media: video }];
        if setup.audio {
            let mut audio = media(setup, MediaKind::Audio, &VIEWER_IDS, (setup.audio_type, 0));
            audio.local_ssrc = Some(SsrcPair { primary: self.audio_ssrc, rtx: None });
            if !setup.audio_counted {
                audio.extensions.set(ExtensionKind::TransportWideCc, 0);
            }
            tracks.push(EgressTrack { id: AUDIO, origin, media: audio });
        }
        let (peer, path, keys) = (self.client.peer, self.client.path, self.client.keys.clone());
        EgressSpec { peer, path, keys, tracks, wish: LayerWish::Best }
    }

    /// Asks for `sequences` again.
    pub(super) fn nack(&mut self, sequences: &[u16]) -> Vec<u8> {
        let ssrc = self.ssrc;
        self.client.rtcp(|writer| writer.nack(1, ssrc, sequences).unwrap())
    }

    /// Asks for a keyframe.
    pub(super) fn pli(&mut self) -> Vec<u8> {
        let ssrc = self.ssrc;
        self.client.rtcp(|writer| writer.picture_loss(1, ssrc).unwrap())
    }
}
