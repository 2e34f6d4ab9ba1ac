//! One track of a publisher: what was asked for, what was negotiated, and its packets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_RTX;
use rtc::rtp::header::Header;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::PeerConnection;
use webrtc::rtp_transceiver::RtpTransceiver;

use super::codecs::{MID_URI, RID_URI};
use super::repair_names::VIDEO_MID;
use super::schedule::DuePacket;
use crate::clock;
use crate::signalling::ABS_CAPTURE_TIME_URI;

/// Packets of a layer that say their MID and RID: browsers go on until the server has reported on the layer, which takes
/// a second, and the lowest layer has some 30 packets in one.
const NAMED_PACKETS: u32 = 60;

/// One encoding of a track: the stream that it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Of its packets; that of its retransmissions is one more.
    pub ssrc: u32,
    /// Its name; none without simulcast.
    pub rid: Option<&'static str>,
}

impl Stream {
    /// A stream with an SSRC of its own.
    pub fn new(rid: Option<&'static str>) -> Self {
        Self { ssrc: rand::random::<u32>() | 1, rid }
    }
}

/// How far a stream is.
struct Sender {
    stream: Stream,
    sequence: AtomicU16,
    named: AtomicU32,
}

/// A track to send on, with what was negotiated for it.
pub struct SendTrack {
    track: Arc<TrackLocalStaticRTP>,
    senders: Vec<Sender>,
    payload_type: u8,
    capture_time_id: Option<u8>,
    mid_id: Option<u8>,
    rid_id: Option<u8>,
}

impl SendTrack {
    /// Sends one packet of its layer.
    ///
    /// # Errors
    ///
    /// The connection is gone, or there is no such layer.
    pub async fn send(&self, packet: DuePacket) -> Result<()> {
        let sender = self.senders.get(packet.layer).context("a packet of a layer that was not offered")?;
        let mut header = Header {
            version: 2,
            marker: packet.marker,
            payload_type: self.payload_type,
            sequence_number: sender.sequence.fetch_add(1, Ordering::Relaxed),
            timestamp: packet.timestamp,
            ssrc: sender.stream.ssrc,
            ..Header::default()
        };
        if let Some(id) = self.capture_time_id {
            let now = clock::ntp_of_unix_ns(clock::unix_ns());
            header.set_extension(id, Bytes::copy_from_slice(&now.to_be_bytes()))?;
        }
        if let (Some(rid), Some(mid_id), Some(rid_id)) = (sender.stream.rid, self.mid_id, self.rid_id)
            && sender.named.load(Ordering::Relaxed) < NAMED_PACKETS
        {
            sender.named.fetch_add(1, Ordering::Relaxed);
            header.set_extension(mid_id, Bytes::from_static(VIDEO_MID.as_bytes()))?;
            header.set_extension(rid_id, Bytes::from_static(rid.as_bytes()))?;
        }
        self.track.write_rtp(rtc::rtp::Packet { header, payload: packet.payload }).await?;
        Ok(())
    }
}

/// A track before the answer is known.
pub struct AddedTrack {
    track: Arc<TrackLocalStaticRTP>,
    transceiver: Arc<dyn RtpTransceiver>,
    streams: Vec<Stream>,
}

impl AddedTrack {
    /// Adds a track of `streams` to the offer that is to be made; video has retransmissions.
    ///
    /// # Errors
    ///
    /// The crate refuses it.
    pub async fn add(
        connection: &dyn PeerConnection,
        kind: RtpCodecKind,
        codec: &RTCRtpCodec,
        streams: Vec<Stream>,
    ) -> Result<Self> {
        let encodings: Vec<RTCRtpEncodingParameters> =
            streams.iter().map(|stream| encoding(kind, codec, *stream)).collect();
        let media = MediaStreamTrack::new(
            "loadtest".to_owned(),
            format!("loadtest-{kind}"),
            format!("loadtest-{kind}"),
            kind,
            encodings.clone(),
        );
        let track = Arc::new(TrackLocalStaticRTP::new(media));
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            streams: vec!["loadtest".to_owned()],
            send_encodings: encodings,
        };
        let as_local: Arc<dyn TrackLocal> = track.clone();
        let transceiver = connection.add_transceiver_from_track(as_local, Some(init)).await?;
        Ok(Self { track, transceiver, streams })
    }

    /// The track as the answer has it.
    ///
    /// # Errors
    ///
    /// The answer has none of its codecs, or no way to name its layers.
    pub async fn negotiated(self) -> Result<SendTrack> {
        let sender = self.transceiver.sender().await?.context("the transceiver has no sender")?;
        let parameters = sender.get_parameters().await?.rtp_parameters;
        let codec = parameters
            .codecs
            .iter()
            .find(|codec| !codec.rtp_codec.mime_type.eq_ignore_ascii_case(MIME_TYPE_RTX))
            .ok_or_else(|| anyhow!("the answer has no codec of the offer"))?;
        let id_of = |uri: &str| {
            let found = parameters.header_extensions.iter().find(|extension| extension.uri == uri);
            found.and_then(|extension| u8::try_from(extension.id).ok())
        };
        let (mid_id, rid_id) = (id_of(MID_URI), id_of(RID_URI));
        if self.streams.iter().any(|stream| stream.rid.is_some()) && mid_id.and(rid_id).is_none() {
            anyhow::bail!("the answer has no header extension for the names of simulcast layers");
        }
        let senders = self.streams.iter().map(|stream| Sender {
            stream: *stream,
            sequence: AtomicU16::new(rand::random::<u16>() & 0x7fff),
            named: AtomicU32::new(0),
        });
        Ok(SendTrack {
            track: self.track,
            senders: senders.collect(),
            payload_type: codec.payload_type,
            capture_time_id: id_of(ABS_CAPTURE_TIME_URI),
            mid_id,
            rid_id,
        })
    }
}

fn encoding(kind: RtpCodecKind, codec: &RTCRtpCodec, stream: Stream) -> RTCRtpEncodingParameters {
    let repair = RTCRtpRtxParameters { ssrc: stream.ssrc.wrapping_add(1) };
    RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            rid: stream.rid.unwrap_or_default().to_owned(),
            ssrc: Some(stream.ssrc),
            rtx: (kind == RtpCodecKind::Video).then_some(repair),
            ..Default::default()
        },
        codec: codec.clone(),
        active: true,
        ..Default::default()
    }
}
