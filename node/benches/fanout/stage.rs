//! One publisher of video and many viewers around a real plane: what benchmarks and tests of the hot path run on.

use std::net::SocketAddr;
use std::time::Instant;

use aforo_cluster::id::TrackId;
use aforo_node::media::codec::{CodecKind, MediaKind};
use aforo_node::media::extension::{ExtensionKind, ExtensionMap};
use aforo_node::media::keys::{MasterKey, SrtpKeys, SrtpProfile};
use aforo_node::media::negotiated::{Codec, Feedback, NegotiatedMedia, SsrcPair};
use aforo_node::media::outbox::{SendBatch, Transmit};
use aforo_node::media::path::{Path, PeerKey, ShardId};
use aforo_node::media::plane::Plane;
use aforo_node::media::rtcp::Writer;
use aforo_node::media::rtp::{HeaderFields, write_header};
use aforo_node::media::selection::LayerWish;
use aforo_node::media::spec::{EgressSpec, EgressTrack, IngestSpec, IngestTrack};
use aforo_node::media::srtp::{RtcpSealer, RtpSealer};

const TRACK: TrackId = TrackId(1);
const PUBLISHER: PeerKey = PeerKey { index: 0, generation: 1 };
const FIRST_VIEWER: PeerKey = PeerKey { index: 1, generation: 1 };

/// SSRC of the first viewer's video.
pub const FIRST_VIEWER_SSRC: u32 = 2;

/// SSRC of the publisher's first layer; those of further layers follow.
const PUBLISHER_SSRC: u32 = 0xA000;

/// Id of the RID in what the publisher sends.
const RID_ID: u8 = 10;

/// Bytes of the header that viewers get: fixed part, MID and transport-wide sequence number.
pub const HEADER_BYTES: usize = 24;

/// A plane with its clients.
pub struct Stage {
    /// The plane.
    pub plane: Plane,
    /// Its time; stands still.
    pub now: Instant,
    /// The space it sends from.
    pub batch: SendBatch,
    sealer: RtpSealer,
    viewer_sealer: RtcpSealer,
    payload_bytes: usize,
    /// The newest sequence number of each layer.
    sequences: Vec<u64>,
}

/// Sends nothing and counts.
#[derive(Default)]
pub struct Nowhere {
    /// Datagrams that would have been sent.
    pub datagrams: usize,
    /// Runs that they formed.
    pub runs: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Transmit for Nowhere {
    fn transmit(&mut self, batch: &SendBatch) {
        self.runs += batch.runs().len();
        for run in batch.runs() {
            self.datagrams += run.len.div_ceil(run.segment);
            self.bytes += run.len;
        }
    }
}

/// Key and salt of the peer at `index`, in one direction.
pub fn master(profile: SrtpProfile, index: u32, direction: u8) -> MasterKey {
    let bytes = |count: usize, salt: u8| {
        let mut bytes = vec![direction ^ salt; count];
        bytes.iter_mut().zip(index.to_be_bytes()).for_each(|(byte, index)| *byte ^= index);
        bytes
    };
    MasterKey { key: bytes(profile.key_bytes(), 1), salt: bytes(profile.salt_bytes(), 2) }
}

fn keys(profile: SrtpProfile, index: u32) -> SrtpKeys {
    SrtpKeys { profile, local: master(profile, index, 0x10), remote: master(profile, index, 0x60) }
}

fn path(index: u32) -> Path {
    let [_, high, middle, low] = index.to_be_bytes();
    Path::Udp(SocketAddr::from(([10, high, middle, low], 40_000)))
}

fn media(payload_type: u8, mid_id: u8, transport_id: u8) -> NegotiatedMedia {
    let mut extensions = ExtensionMap::default();
    extensions.set(ExtensionKind::Mid, mid_id);
    extensions.set(ExtensionKind::TransportWideCc, transport_id);
    NegotiatedMedia {
        kind: MediaKind::Video,
        mid: "1".to_owned(),
        codec: Codec { kind: CodecKind::Vp8, payload_type, fmtp: String::new() },
        rtx_payload_type: Some(payload_type + 1),
        red_payload_type: None,
        extensions,
        feedback: Feedback { nack: true, pli: true, transport_cc: true, ..Feedback::default() },
        rids: Vec::new(),
        remote_ssrcs: Vec::new(),
        local_ssrc: None,
    }
}

fn rid(layer: usize) -> String {
    char::from(b'a' + layer as u8).to_string()
}

impl Stage {
    /// `viewers` viewers, and packets that have `packet_bytes` when they leave, tags not counted.
    pub fn new(profile: SrtpProfile, viewers: u32, packet_bytes: usize) -> Self {
        Self::with_layers(profile, viewers, packet_bytes, 1)
    }

    /// The same with `layers` simulcast layers. Only the first one flows unless [`Self::forward_layer`] is called.
    pub fn with_layers(profile: SrtpProfile, viewers: u32, packet_bytes: usize, layers: usize) -> Self {
        let now = Instant::now();
        let mut plane = Plane::new(ShardId(0), 1, now);
        let mut ingest = media(96, 9, 3);
        if layers > 1 {
            ingest.extensions.set(ExtensionKind::Rid, RID_ID);
            ingest.rids = (0..layers).map(rid).collect();
        } else {
            ingest.remote_ssrcs = vec![SsrcPair { primary: PUBLISHER_SSRC, rtx: None }];
        }
        let spec = IngestSpec {
            peer: PUBLISHER,
            path: path(0),
            keys: keys(profile, 0),
            tracks: vec![IngestTrack { id: TRACK, media: ingest }],
        };
        plane.add_ingest(now, spec).unwrap();
        // Viewers join in another order than their places have, as they do after an hour of coming and going.
        for index in (0..viewers).map(|step| (step * 7_919) % viewers + 1) {
            let mut egress = media(101, 4, 5);
            egress.local_ssrc = Some(SsrcPair { primary: index * 2, rtx: Some(index * 2 + 1) });
            let spec = EgressSpec {
                peer: PeerKey { index, generation: 1 },
                path: path(index),
                keys: keys(profile, index),
                tracks: vec![EgressTrack { id: TRACK, origin: ShardId(0), media: egress }],
                wish: LayerWish::Best,
            };
            plane.add_egress(now, spec).unwrap();
        }
        let sealer = RtpSealer::new(profile, &master(profile, 0, 0x60)).unwrap();
        let viewer_sealer = RtcpSealer::new(profile, &master(profile, FIRST_VIEWER.index, 0x60)).unwrap();
        let payload_bytes = packet_bytes - HEADER_BYTES;
        let batch = SendBatch::new();
        let sequences = vec![0; layers];
        let mut stage = Self { plane, now, batch, sealer, viewer_sealer, payload_bytes, sequences };
        // The keyframe that all legs begin with.
        stage.forward(1, &mut Nowhere::default());
        stage
    }

    /// The publisher's next `count` datagrams. Every packet is a keyframe of its own.
    pub fn publish(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.datagram(0)).collect()
    }

    fn datagram(&mut self, layer: usize) -> Vec<u8> {
        self.sequences[layer] += 1;
        let (sequence, ssrc) = (self.sequences[layer], PUBLISHER_SSRC + layer as u32);
        let fields = HeaderFields {
            marker: false,
            padding: false,
            payload_type: 96,
            sequence: sequence as u16,
            timestamp: sequence as u32 * 300,
            ssrc,
        };
        let (transport_sequence, rid) = ((sequence as u16).to_be_bytes(), rid(layer));
        let mut extensions = vec![(9, b"1".as_slice()), (3, &transport_sequence)];
        if self.sequences.len() > 1 {
            extensions.push((RID_ID, rid.as_bytes()));
        }
        let mut packet = vec![0; 64];
        let header = write_header(&mut packet, &fields, &extensions).unwrap().len;
        packet.truncate(header);
        let mut payload = vec![0x10, 0, 0, 0, 0x9D, 0x01, 0x2A];
        payload.resize(self.payload_bytes, sequence as u8);
        packet.resize(header + payload.len() + self.sealer.overhead_bytes(), 0);
        self.sealer.seal((ssrc, sequence), &mut packet, header, &payload).unwrap();
        packet
    }

    /// Hands `datagrams` to the plane as one window and flushes when it is over.
    pub fn run(&mut self, datagrams: &mut [Vec<u8>], transmit: &mut impl Transmit) {
        for datagram in datagrams {
            self.plane.receive(self.now, self.now, PUBLISHER, datagram);
        }
        self.now = self.plane.next_departure().map_or(self.now, |due| due.max(self.now));
        self.plane.flush(self.now, &mut self.batch, transmit);
    }

    /// Publishes and forwards `count` packets as one window.
    pub fn forward(&mut self, count: usize, transmit: &mut impl Transmit) {
        let mut datagrams = self.publish(count);
        self.run(&mut datagrams, transmit);
    }

    /// Publishes one packet of `layer` and forwards it.
    pub fn forward_layer(&mut self, layer: usize, transmit: &mut impl Transmit) {
        let mut datagram = [self.datagram(layer)];
        self.run(&mut datagram, transmit);
    }

    /// The first viewer asks for `sequences` again; nothing is allocated for it.
    pub fn nack_by_first_viewer(&mut self, sequences: &[u16]) {
        let mut packet = [0; 200];
        let mut writer = Writer::new(&mut packet);
        writer.receiver_report(1, &[]).unwrap();
        writer.nack(1, FIRST_VIEWER_SSRC, sequences).unwrap();
        let len = writer.len() + self.viewer_sealer.overhead_bytes();
        self.viewer_sealer.seal(&mut packet[..len]).unwrap();
        self.plane.receive(self.now, self.now, FIRST_VIEWER, &mut packet[..len]);
    }
}
