//! One WHIP session of the `webrtc` crate: offer, answer, tracks, close.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use rtc::interceptor::{Registry, Slot};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::{
    configure_nack, configure_rtcp_reports, configure_twcc_sender_only,
};
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MediaEngine,
};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::rtp::header::Header;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::watch;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCPeerConnectionState,
};
use webrtc::rtp_transceiver::RtpTransceiver;

use super::keyframe_requests::{KeyframeRequests, LAST_SLOT, LastWord};
use super::schedule::{DuePacket, TrackKind};
use crate::clip::ClipCodec;
use crate::clock;
use crate::signalling::{ABS_CAPTURE_TIME_URI, SessionUrl, Signaller};

/// A publisher that is not connected by then counts as refused; browsers give up later, people earlier.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A server reports on what it gets once a second (RFC 3550 §6.2 at our bitrates), or ten times with transport-wide
/// feedback; the crate itself takes 30 s to see that nobody is there.
const SILENCE_LIMIT: Duration = Duration::from_secs(3);

const H264_PAYLOAD_TYPE: u8 = 102;
const VP8_PAYLOAD_TYPE: u8 = 96;
const OPUS_PAYLOAD_TYPE: u8 = 111;

/// Where and from where to publish.
#[derive(Debug, Clone)]
pub struct PublishTarget {
    /// The WHIP endpoint.
    pub endpoint: String,
    /// The address to send from.
    pub local_ip: IpAddr,
    /// HTTP.
    pub signaller: Signaller,
}

/// A track to send on, with what was negotiated for it.
#[derive(Clone)]
pub struct SendTrack {
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    payload_type: u8,
    capture_time_id: Option<u8>,
    sequence: Arc<AtomicU16>,
}

impl SendTrack {
    /// Waits for the next PLI or FIR; false when the connection is gone.
    pub async fn keyframe_requested(&self) -> bool {
        matches!(self.track.poll().await, Some(TrackLocalEvent::OnRtcpPacket(_)))
    }

    async fn send(&self, packet: DuePacket) -> Result<()> {
        let mut header = Header {
            version: 2,
            marker: packet.marker,
            payload_type: self.payload_type,
            sequence_number: self.sequence.fetch_add(1, Ordering::Relaxed),
            timestamp: packet.timestamp,
            ssrc: self.ssrc,
            ..Header::default()
        };
        if let Some(id) = self.capture_time_id {
            let now = clock::ntp_of_unix_ns(clock::unix_ns());
            header.set_extension(id, Bytes::copy_from_slice(&now.to_be_bytes()))?;
        }
        self.track.write_rtp(rtc::rtp::Packet { header, payload: packet.payload }).await?;
        Ok(())
    }
}

/// A connected publisher.
pub struct Session {
    connection: Arc<dyn PeerConnection>,
    state: watch::Receiver<RTCPeerConnectionState>,
    heard: Arc<LastWord>,
    video: Option<SendTrack>,
    audio: SendTrack,
    url: SessionUrl,
    signaller: Signaller,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Tells the session what the crate's driver reports.
struct Events {
    gathered: watch::Sender<bool>,
    state: watch::Sender<RTCPeerConnectionState>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }
}

impl Session {
    /// Publishes to `target` and waits until media can flow.
    ///
    /// # Errors
    ///
    /// The server refuses, answers what the crate cannot read, or does not connect within 15 s.
    pub async fn connect(target: PublishTarget, codec: ClipCodec) -> Result<Self> {
        let (gathered, mut on_gathered) = watch::channel(false);
        let (state, mut on_state) = watch::channel(RTCPeerConnectionState::New);
        let heard = LastWord::now();
        let connection = build_connection(&target, Events { gathered, state }, heard.clone()).await?;
        let video = match video_codec(codec) {
            Some((codec, _)) => Some(add_track(&*connection, RtpCodecKind::Video, codec).await?),
            None => None,
        };
        let audio = add_track(&*connection, RtpCodecKind::Audio, opus_codec()).await?;

        let offer = connection.create_offer(None).await?;
        connection.set_local_description(offer).await?;
        tokio::time::timeout(CONNECT_TIMEOUT, on_gathered.wait_for(|done| *done))
            .await
            .context("gathering candidates took too long")??;
        let offer = connection.local_description().await.context("no local description after gathering")?;
        let posted = target.signaller.post(&target.endpoint, &offer.sdp).await?;
        connection.set_remote_description(RTCSessionDescription::answer(posted.answer)?).await?;
        let connected = on_state.wait_for(|state| {
            matches!(state, RTCPeerConnectionState::Connected | RTCPeerConnectionState::Failed)
        });
        let state = *tokio::time::timeout(CONNECT_TIMEOUT, connected)
            .await
            .context("the publisher's connection did not come up in time")??;
        if state != RTCPeerConnectionState::Connected {
            bail!("the publisher's connection failed");
        }
        let video = match video {
            Some(track) => Some(track.negotiated().await?),
            None => None,
        };
        let audio = audio.negotiated().await?;
        let (url, signaller) = (posted.session, target.signaller);
        Ok(Self { connection, state: on_state, heard, video, audio, url, signaller })
    }

    /// Whether the connection has neither failed nor been closed.
    pub fn is_up(&self) -> bool {
        !matches!(*self.state.borrow(), RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed)
    }

    /// Whether the server was heard lately.
    pub fn is_heard(&self) -> bool {
        self.heard.age() < SILENCE_LIMIT
    }

    /// The video track, unless the stream is sound alone.
    pub fn video(&self) -> Option<&SendTrack> {
        self.video.as_ref()
    }

    /// Sends one packet now.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub async fn send(&self, packet: DuePacket) -> Result<()> {
        match (packet.kind, &self.video) {
            (TrackKind::Video, Some(video)) => video.send(packet).await,
            (TrackKind::Video, None) => Ok(()),
            (TrackKind::Audio, _) => self.audio.send(packet).await,
        }
    }

    /// DELETE, then closes the connection; what fails no longer matters.
    pub async fn close(&self) {
        let _ = self.signaller.delete(&self.url).await;
        let _ = self.connection.close().await;
    }
}

/// A track before the answer is known.
struct AddedTrack {
    track: Arc<TrackLocalStaticRTP>,
    transceiver: Arc<dyn RtpTransceiver>,
    ssrc: u32,
}

impl AddedTrack {
    async fn negotiated(self) -> Result<SendTrack> {
        let sender = self.transceiver.sender().await?.context("the transceiver has no sender")?;
        let parameters = sender.get_parameters().await?.rtp_parameters;
        let codec = parameters
            .codecs
            .iter()
            .find(|codec| !codec.rtp_codec.mime_type.eq_ignore_ascii_case(MIME_TYPE_RTX))
            .ok_or_else(|| anyhow!("the answer has no codec of the offer"))?;
        let capture_time_id = parameters
            .header_extensions
            .iter()
            .find(|extension| extension.uri == ABS_CAPTURE_TIME_URI)
            .and_then(|extension| u8::try_from(extension.id).ok());
        Ok(SendTrack {
            track: self.track,
            ssrc: self.ssrc,
            payload_type: codec.payload_type,
            capture_time_id,
            sequence: Arc::new(AtomicU16::new(rand::random::<u16>() & 0x7fff)),
        })
    }
}

async fn build_connection(
    target: &PublishTarget,
    events: Events,
    heard: Arc<LastWord>,
) -> Result<Arc<dyn PeerConnection>> {
    let mut engine = media_engine()?;
    let registry = configure_nack(Registry::new(), &mut engine);
    let registry = configure_twcc_sender_only(registry, &mut engine)?;
    let registry = configure_rtcp_reports(registry).with(Slot::from(LAST_SLOT), KeyframeRequests::new(heard));
    let settings = SettingEngineBuilder::new().with_include_loopback_candidate(true).build();
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(events))
        .with_udp_addrs(vec![SocketAddr::new(target.local_ip, 0)])
        .build()
        .await?;
    Ok(Arc::new(connection))
}

async fn add_track(
    connection: &dyn PeerConnection,
    kind: RtpCodecKind,
    codec: RTCRtpCodec,
) -> Result<AddedTrack> {
    let ssrc = rand::random::<u32>() | 1;
    let rtx = (kind == RtpCodecKind::Video).then(|| RTCRtpRtxParameters { ssrc: ssrc.wrapping_add(1) });
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), rtx, ..Default::default() },
        codec,
        active: true,
        ..Default::default()
    };
    let media = MediaStreamTrack::new(
        "loadtest".to_owned(),
        format!("loadtest-{kind}"),
        format!("loadtest-{kind}"),
        kind,
        vec![encoding.clone()],
    );
    let track = Arc::new(TrackLocalStaticRTP::new(media));
    let init = RTCRtpTransceiverInit {
        direction: RTCRtpTransceiverDirection::Sendonly,
        streams: vec!["loadtest".to_owned()],
        send_encodings: vec![encoding],
    };
    let as_local: Arc<dyn TrackLocal> = track.clone();
    let transceiver = connection.add_transceiver_from_track(as_local, Some(init)).await?;
    Ok(AddedTrack { track, transceiver, ssrc })
}

fn opus_codec() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: vec![],
    }
}

fn video_codec(codec: ClipCodec) -> Option<(RTCRtpCodec, u8)> {
    let (mime, fmtp, payload_type) = match codec {
        ClipCodec::H264 => (
            MIME_TYPE_H264,
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            H264_PAYLOAD_TYPE,
        ),
        ClipCodec::Vp8 => (MIME_TYPE_VP8, "", VP8_PAYLOAD_TYPE),
        ClipCodec::Opus => return None,
    };
    let codec = RTCRtpCodec {
        mime_type: mime.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: vec![],
    };
    Some((codec, payload_type))
}

/// The crate's engine with our three codecs and the extension that carries the capture time.
fn media_engine() -> Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    let opus = RTCRtpCodecParameters { rtp_codec: opus_codec(), payload_type: OPUS_PAYLOAD_TYPE };
    engine.register_codec(opus, RtpCodecKind::Audio)?;
    for (rtp_codec, payload_type) in [ClipCodec::H264, ClipCodec::Vp8].into_iter().filter_map(video_codec) {
        engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, RtpCodecKind::Video)?;
        let rtx = RTCRtpCodec {
            mime_type: MIME_TYPE_RTX.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: format!("apt={payload_type}"),
            rtcp_feedback: vec![],
        };
        let rtx = RTCRtpCodecParameters { rtp_codec: rtx, payload_type: payload_type + 1 };
        engine.register_codec(rtx, RtpCodecKind::Video)?;
    }
    for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
        let extension = RTCRtpHeaderExtensionCapability { uri: ABS_CAPTURE_TIME_URI.to_owned() };
        engine.register_header_extension(extension, kind, None)?;
    }
    Ok(engine)
}
