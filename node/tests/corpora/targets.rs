//! What is fuzzed: every parser of bytes that strangers send. A target panics if the parser does, or if what it returns is
//! not true of its input.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use aforo_node::config::{self, Layer, Origin};
use aforo_node::media::allocation::Allocation;
use aforo_node::media::canonical;
use aforo_node::media::codec::red::{self, Redundancy};
use aforo_node::media::codec::{self, CodecKind, Point, Reader};
use aforo_node::media::demux::unwrap_rtx;
use aforo_node::media::extension::{ExtensionKind, ExtensionMap};
use aforo_node::media::negotiated::{
    Codec, DtlsRole, Fingerprint, FingerprintAlgorithm, IceCredentials, SsrcPair,
};
use aforo_node::media::rtcp::{self, Packet};
use aforo_node::media::rtp::RtpHeader;
use aforo_node::peer::dtls::{Dtls, DtlsEvent, DtlsIdentity};
use aforo_node::peer::ice::stun::{Check, integrity_key};
use aforo_node::peer::ice::{ufrag_of_check, verdict_of_answer};
use aforo_node::shard::socket::tcp::frame::FrameReader;
use aforo_node::signalling::sdp::{
    self, Candidate, CandidateProtocol, Capabilities, LocalTransport, PlayTrack,
};
use aforo_node::token::KeySet;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Runs one parser.
pub type Target = fn(&[u8]);

/// Each parser by its name, which is also its corpus's folder.
pub const TARGETS: [(&str, Target); 16] = [
    ("stun", stun),
    ("dtls", dtls),
    ("handshake", handshake),
    ("sdp", sdp_offer),
    ("sdpfrag", sdpfrag),
    ("frames", frames),
    ("rtp", rtp),
    ("rtcp", rtcp_compound),
    ("payload", payload),
    ("red", redundant_sound),
    ("dependency", dependency),
    ("allocation", allocation),
    ("key", key),
    ("token", token),
    ("claims", claims),
    ("config", yaml),
];

fn stun(bytes: &[u8]) {
    let key = integrity_key("a-password-of-some-length");
    let _ = ufrag_of_check(bytes);
    let _ = verdict_of_answer(bytes);
    let Some(check) = Check::parse(bytes) else { return };
    let _ = (check.username(), check.is_signed_with(&key), check.nominates());
    if let Err(error) = check.acceptable() {
        assert!(!check.error(error, Some(&key)).is_empty());
    }
    assert!(verdict_of_answer(&check.success(SocketAddr::from(([192, 0, 2, 1], 5_000)), &key)).is_some());
}

/// The first byte is the number of datagrams, each behind its length in two bytes.
fn dtls(bytes: &[u8]) {
    static IDENTITY: LazyLock<Arc<DtlsIdentity>> =
        LazyLock::new(|| DtlsIdentity::generate().expect("a certificate"));
    let announced = vec![Fingerprint { algorithm: FingerprintAlgorithm::Sha256, digest: vec![7; 32] }];
    let mut server = Dtls::new(DtlsRole::Server, Arc::clone(&IDENTITY), announced);
    let now = Instant::now();
    if server.start(now).is_err() {
        return;
    }
    let Some((count, mut rest)) = bytes.split_first() else { return };
    for _ in 0..*count {
        let Some((length, behind)) = rest.split_first_chunk() else { return };
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (datagram, behind) = behind.split_at(length);
        rest = behind;
        if server.handle(now, datagram).is_err() {
            return;
        }
        while server.poll_transmit().is_some() {}
    }
}

/// What an attacker on the way does to one datagram of a handshake: five bytes.
struct Tampering {
    /// The datagram's number, counted over both directions; only its lower half counts, which are as many as there are.
    datagram: u8,
    deed: u8,
    place: u16,
    value: u8,
}

impl Tampering {
    /// What arrives in a datagram's place, and whether it goes back to who sent it, too.
    fn apply(&self, mut datagram: Vec<u8>) -> (Vec<Vec<u8>>, bool) {
        let place = usize::from(self.place) % datagram.len().max(1);
        match self.deed % 6 {
            0 => datagram.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= self.value),
            1 => datagram.truncate(place),
            2 => return (Vec::new(), false),
            3 => return (vec![datagram.clone(), datagram], false),
            4 => datagram.splice(place..place, [self.value; 16]).for_each(drop),
            _ => return (vec![datagram], true),
        }
        (vec![datagram], false)
    }
}

/// A handshake of our two roles, with somebody on the way who does what the bytes say. Whoever is connected in the end has the
/// keys of the other; if nothing was done, both are.
fn handshake(bytes: &[u8]) {
    static IDENTITIES: LazyLock<[Arc<DtlsIdentity>; 2]> =
        LazyLock::new(|| [(); 2].map(|()| DtlsIdentity::generate().expect("a certificate")));
    let tampering = bytes.chunks_exact(5).map(|five| match *five {
        [datagram, deed, high, low, value] => {
            Tampering { datagram, deed, place: u16::from_be_bytes([high, low]), value }
        }
        _ => unreachable!("chunks of five"),
    });
    let tampering: Vec<Tampering> = tampering.take(8).collect();
    let [client, server] = &*IDENTITIES;
    let ends = [(DtlsRole::Client, client, server), (DtlsRole::Server, server, client)];
    let mut ends = ends.map(|(role, own, other)| Dtls::new(role, Arc::clone(own), vec![other.fingerprint()]));
    let mut keys = [None, None];
    let mut now = Instant::now();
    ends[0].start(now).expect("a hello");
    let mut count = 0;
    'steps: for _ in 0..64 {
        for from in [0, 1] {
            while let Some(datagram) = ends[from].poll_transmit() {
                let (mut arrive, mut back) = (vec![datagram.to_vec()], false);
                for deed in tampering.iter().filter(|deed| deed.datagram % 16 == count) {
                    let done = arrive.into_iter().map(|datagram| deed.apply(datagram));
                    let done: Vec<_> = done.collect();
                    back |= done.iter().any(|(_, back)| *back);
                    arrive = done.into_iter().flat_map(|(datagrams, _)| datagrams).collect();
                }
                count = count.saturating_add(1);
                let to = arrive.iter().map(|datagram| (1 - from, datagram));
                let reflected = arrive.iter().filter(|_| back).map(|datagram| (from, datagram));
                for (to, datagram) in to.chain(reflected) {
                    match ends[to].handle(now, datagram) {
                        Ok(Some(DtlsEvent::Connected(its))) => keys[to] = Some(its),
                        Ok(Some(DtlsEvent::Closed)) | Err(_) => break 'steps,
                        Ok(None) => {}
                    }
                }
            }
        }
        if keys.iter().all(Option::is_some) {
            break;
        }
        let Some(next) = ends.iter().filter_map(Dtls::poll_timeout).min() else { break };
        now = now.max(next);
        ends.iter_mut().for_each(|end| end.handle_timeout(now));
    }
    match &keys {
        [Some(client), Some(server)] => assert!(
            client.profile == server.profile
                && client.local == server.remote
                && client.remote == server.local,
            "one handshake, two sets of keys"
        ),
        _ => assert!(!tampering.is_empty(), "nothing was done to it"),
    }
}

fn local() -> LocalTransport {
    LocalTransport {
        ice: IceCredentials { ufrag: "ufrag".into(), password: "a-password-of-some-length".into() },
        fingerprint: Fingerprint { algorithm: FingerprintAlgorithm::Sha256, digest: vec![0xAB; 32] },
        candidates: vec![Candidate {
            protocol: CandidateProtocol::Udp,
            address: SocketAddr::from(([192, 0, 2, 1], 7_800)),
        }],
        session_id: 1,
        session_version: 1,
        cname: "fuzz".into(),
    }
}

fn sdp_offer(bytes: &[u8]) {
    let Ok(offer) = std::str::from_utf8(bytes) else { return };
    let track = |kind, fmtp: &str| PlayTrack {
        codec: Codec { kind, payload_type: 96, fmtp: fmtp.into() },
        ssrcs: SsrcPair { primary: 1, rtx: Some(2) },
    };
    let tracks =
        [track(CodecKind::Opus, ""), track(CodecKind::H264, "packetization-mode=1;profile-level-id=42e01f")];
    for capabilities in [Capabilities::publish(local()), Capabilities::play(local(), &tracks)] {
        if let Err(refusal) = sdp::answer(offer, &capabilities) {
            assert!(!refusal.to_string().is_empty());
        }
    }
}

fn sdpfrag(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = sdp::fragment::parse(text);
    }
}

/// A byte stream of ICE-TCP that comes in pieces: how long each is says the first byte.
fn frames(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else { return };
    let [whole, pieces] = [usize::MAX, usize::from(*piece).max(1)].map(|piece| frames_of(stream, piece));
    assert_eq!(whole, pieces, "where a piece ends is no part of the stream");
}

/// The frames of a stream that comes so many bytes at a time, and whether it can be read to its end.
fn frames_of(mut stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut reader, mut frames) = (FrameReader::new(), Vec::new());
    loop {
        match reader.next_frame() {
            Err(_) => return (frames, false),
            Ok(Some(frame)) => frames.push(frame.to_vec()),
            Ok(None) if stream.is_empty() => return (frames, true),
            Ok(None) => {
                let space = reader.space();
                let count = space.len().min(stream.len()).min(piece);
                assert!(count > 0, "there is room for what is missing of a frame");
                let (now, later) = stream.split_at(count);
                space.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
                reader.filled(count);
                stream = later;
            }
        }
    }
}

fn rtp(bytes: &[u8]) {
    let _ = RtpHeader::parse_protected(bytes);
    let Ok(header) = RtpHeader::parse(bytes) else { return };
    assert!(header.payload().end <= bytes.len() && header.header_len() <= bytes.len());
    let found: usize = header.extensions(bytes).map(|(_, value)| value.len()).sum();
    assert!(found <= bytes.len());
    let mut ids = ExtensionMap::default();
    for (id, kind) in (1..).zip(ExtensionKind::ALL) {
        ids.set(kind, id);
    }
    let mut packet = bytes.to_vec();
    canonical::renumber(&mut packet, &header, &ids);
    assert_eq!(RtpHeader::parse(&packet).as_ref().map(RtpHeader::header_len), Ok(header.header_len()));
    let mut packet = bytes.to_vec();
    if let Some(original) = unwrap_rtx(&mut packet, &header, 96, 7) {
        assert!(RtpHeader::parse(original).is_ok_and(|original| original.ssrc == 7));
    }
}

fn rtcp_compound(bytes: &[u8]) {
    let mut listed = 0;
    for packet in rtcp::packets(bytes).flatten() {
        listed += match packet {
            Packet::SenderReport(report) => report.blocks().count(),
            Packet::ReceiverReport(report) => report.blocks().count(),
            Packet::Nack(nack) => nack.sequences().count() / 17,
            Packet::FullIntra(request) => request.entries().count(),
            Packet::ReceiverEstimate(estimate) => estimate.ssrcs().count(),
            Packet::Goodbye(goodbye) => goodbye.ssrcs().count(),
            // A run length says thousands of packets in two bytes; only those that are asked for are looked at.
            Packet::TransportCc(feedback) => {
                assert!(feedback.lost() <= usize::from(feedback.status_count));
                feedback.packets_within(feedback.base_sequence, 32).count() / 32
            }
            _ => 0,
        };
    }
    assert!(listed <= bytes.len(), "{listed} entries in {} bytes", bytes.len());
}

/// The first byte chooses the codec.
fn payload(bytes: &[u8]) {
    let Some((choice, payload)) = bytes.split_first() else { return };
    let Some(kind) = CodecKind::ALL.get(usize::from(*choice) % CodecKind::ALL.len()).copied() else { return };
    let _ = (codec::starts_keyframe(kind, payload), codec::dimensions(kind, payload));
    for spatial in 0..4 {
        let _ = codec::spatial_size(kind, payload, spatial);
    }
    if let Some(position) = Reader::default().read(kind, 0, payload, None) {
        assert!(position.spatial < 8 && position.temporal < 8, "{position:?}");
        assert!(position.is_part_of(Point::WHOLE, None), "{position:?}");
    }
    let Some(numbers) = codec::picture_numbers(kind, payload) else { return };
    let shift = codec::PictureShift { id: 1, base: 1 };
    let mut shifted = payload.to_vec();
    numbers.rewrite(shift, &mut shifted);
    assert_eq!(codec::picture_numbers(kind, &shifted), Some(numbers.shifted(shift)));
}

/// Descriptors of one stream, each behind its length in a byte.
fn dependency(bytes: &[u8]) {
    let (mut structure, mut rest) = (None, bytes);
    let (mut reader, mut index) = (Reader::default(), 0);
    while let Some((length, behind)) = rest.split_first() {
        let (value, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        let mut known = structure.clone();
        let read = codec::dependency::read(value, &mut structure);
        assert_eq!(read, codec::dependency::read(value, &mut known), "one stream is one story");
        let position = reader.read(CodecKind::Av1, index, &[], Some(value));
        index += 1;
        let layers = position.map(|position| (position.spatial, position.temporal));
        assert_eq!(layers, read.as_ref().ok().map(|frame| (frame.spatial, frame.temporal)));
        let Ok(frame) = read else { continue };
        assert_eq!(codec::dependency::frame_number(value), Some(frame.frame_number));
        let target = reader.target(Point::WHOLE);
        assert_eq!(target.is_some(), structure.is_some());
        let way = reader.way(
            (Point::WHOLE, target),
            (Point::new(Some(0), None), reader.target(Point::new(Some(0), None))),
        );
        let _ = (reader.state(), target.map(|target| reader.leaves_out(target)), reader.largest_size());
        let _ = position.map(|position| position.lets_over(&way, true));
        assert!(structure.is_some() && frame.spatial < 8 && frame.temporal < 8);
        assert!(!frame.has_structure || value.len() > 3);
        assert!(
            frame.references.distances().is_none_or(|mut distances| distances.all(|distance| distance <= 64))
        );
    }
}

fn allocation(bytes: &[u8]) {
    let Ok(found) = Allocation::parse(bytes) else { return };
    let places: Vec<_> = found.layers.iter().map(|layer| (layer.stream, layer.spatial)).collect();
    assert!(places.is_sorted_by(|before, after| before < after), "each layer has one place");
    let streams = bytes.first().map_or(0, |first| (first >> 4 & 0b11) + 1);
    assert!(
        found
            .layers
            .iter()
            .all(|layer| layer.stream < streams && layer.spatial < 4 && found.sends(layer.stream))
    );
    assert!(!found.sends(streams), "of a stream that it does not count nothing is sent");
    assert!(found.layers.iter().all(|layer| (1..=4).contains(&layer.targets_kbps().len())));
    let sized = found.layers.iter().filter(|layer| layer.picture.is_some()).count();
    assert!(sized == 0 || sized == found.layers.len());
    let targets: usize = found.layers.iter().map(|layer| layer.targets_kbps().len()).sum();
    assert!(bytes.len() > targets + 5 * sized || found.layers.is_empty());
}

fn redundant_sound(bytes: &[u8]) {
    let Some(found) = Redundancy::parse(bytes) else { return };
    let older: usize = found.older_frames(bytes).map(|older| older.frame.len()).sum();
    assert_eq!(found.older_frames(bytes).count(), usize::from(found.older_frames));
    assert_eq!(older + 4 * usize::from(found.older_frames) + 1, usize::from(found.bytes));
    assert!(usize::from(found.bytes) <= bytes.len());
    let mut renumbered = bytes.to_vec();
    red::renumber(&mut renumbered, 96);
    let wanted = Redundancy { payload_type: 96, is_uniform: true, ..found };
    assert_eq!(Redundancy::parse(&renumbered), Some(wanted));
}

fn key(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = KeySet::parse(text, None);
    }
}

/// A secret that only the targets know, and a public key of which nobody has the other half.
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    let keys = format!(
        r#"{{"keys":[
            {{"kty":"oct","kid":"a","alg":"HS256","k":"{secret}"}},
            {{"kty":"OKP","crv":"Ed25519","kid":"b","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}}"#
    );
    KeySet::parse(&keys, Some("aforo")).expect("good keys")
});

const SECRET: &[u8] = b"sixty-four-bytes-of-secret-that-nobody-knows";

/// The time of all checks of tokens, in seconds since 1970.
const NOW: u64 = 1_700_000_000;

fn token(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(KEYS.verify(text, NOW).is_err(), "nobody has signed it");
    }
}

/// Whatever it is, it is signed as it should be.
fn claims(bytes: &[u8]) {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"a"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(bytes));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    let Ok(grants) = KEYS.verify(&token, NOW) else { return };
    assert_eq!(KEYS.verify_begun(&token).as_ref(), Ok(&grants));
    let text = std::str::from_utf8(bytes).expect("claims are text");
    for needed in ["exp", "room", "aud"] {
        // A letter of a name may be written as an escape.
        assert!(text.contains(needed) || text.contains('\\'), "{needed} is missing");
    }
    assert!(KEYS.verify(&token, u64::MAX).is_err(), "no token is for ever");
}

fn yaml(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = config::stack([Layer::yaml(text, Origin::File("fuzz.yaml".into()))]);
    }
}
