//! A media server in the fewest lines: the `webrtc` crate on both sides, an HTTP reader in between.

use std::sync::{Arc, Mutex};

use rtc::interceptor::Registry;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::{configure_nack, configure_rtcp_reports};
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters,
    RtpCodecKind,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
};
use webrtc::rtp_transceiver::RtpSender;

use aforo_loadtest::signalling::ABS_CAPTURE_TIME_URI;

struct Out {
    track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
    kind: RtpCodecKind,
    ssrc: u32,
}

/// What becomes of the relay in the middle of a run.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// It works to the end.
    #[default]
    Lasts,
    /// It passes nothing on any more.
    FallsSilent,
    /// It closes its viewers' connections.
    ClosesSessions,
    /// It closes its publisher's connection; there need be no viewer.
    LosesPublisher,
}

/// Sound since the first viewer came, or the publisher where it is lost, after which [`Fate`] strikes, in packets of 20 ms: joins and the time in which they
/// settle are over by then, and a window of some seconds is not.
const FATEFUL_SOUNDS: u32 = 250;

#[derive(Default)]
struct Relay {
    fate: Fate,
    codec: watch::Sender<Option<MediaEngineCodec>>,
    outs: tokio::sync::Mutex<Vec<Out>>,
    publishers: Mutex<Vec<Arc<dyn PeerConnection>>>,
    viewers: Mutex<Vec<Arc<dyn PeerConnection>>>,
}

impl Relay {
    /// The middle of the run has come.
    async fn meet_fate(&self) {
        if self.fate != Fate::Lasts {
            self.outs.lock().await.clear();
        }
        if self.fate == Fate::ClosesSessions {
            let viewers = std::mem::take(&mut *self.viewers.lock().unwrap());
            for viewer in viewers {
                viewer.close().await.unwrap();
            }
        }
        if self.fate == Fate::LosesPublisher {
            let publishers = std::mem::take(&mut *self.publishers.lock().unwrap());
            for publisher in publishers {
                publisher.close().await.unwrap();
            }
        }
    }
}

type MediaEngineCodec = rtc::rtp_transceiver::rtp_sender::RTCRtpCodec;

struct Events {
    relay: Arc<Relay>,
    gathered: watch::Sender<bool>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        tokio::spawn(forward(self.relay.clone(), track));
    }
}

async fn forward(relay: Arc<Relay>, track: Arc<dyn TrackRemote>) {
    let kind = track.kind().await;
    let ssrc = *track.ssrcs().await.first().unwrap();
    let codec = track.codec(ssrc).await.unwrap();
    let mime_type = codec.mime_type.clone();
    if kind == RtpCodecKind::Video {
        relay.codec.send_replace(Some(codec));
    }
    let mut sounds = 0;
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        let counts = relay.fate == Fate::LosesPublisher || !relay.outs.lock().await.is_empty();
        if kind == RtpCodecKind::Audio && counts {
            sounds += 1;
            if sounds == FATEFUL_SOUNDS {
                relay.meet_fate().await;
            }
        }
        let stamp = packet.header.extensions.iter().find(|extension| extension.payload.len() == 8).cloned();
        for out in relay.outs.lock().await.iter().filter(|out| out.kind == kind) {
            let Ok(parameters) = out.sender.get_parameters().await else { continue };
            let parameters = parameters.rtp_parameters;
            let mut packet = packet.clone();
            packet.header.extensions.clear();
            packet.header.extension = false;
            packet.header.extensions_padding = 0;
            packet.header.ssrc = out.ssrc;
            let codec = parameters.codecs.iter().find(|codec| codec.rtp_codec.mime_type == mime_type);
            let id =
                parameters.header_extensions.iter().find(|extension| extension.uri == ABS_CAPTURE_TIME_URI);
            if let (Some(stamp), Some(id)) = (&stamp, id) {
                packet.header.set_extension(id.id as u8, stamp.payload.clone()).unwrap();
            }
            if let Some(codec) = codec {
                packet.header.payload_type = codec.payload_type;
                let _ = out.track.write_rtp(packet).await;
            }
        }
    }
}

/// Starts the relay on a free port and returns its address.
pub async fn start(fate: Fate) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let relay = Arc::new(Relay { fate, ..Relay::default() });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(relay.clone(), stream));
        }
    });
    format!("http://{address}")
}

async fn serve(relay: Arc<Relay>, stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut request, mut length) = (String::new(), 0);
        if stream.read_line(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let response = if request.starts_with("POST") {
            let answer = answer(&relay, request.contains("/whep/"), String::from_utf8(body).unwrap()).await;
            format!(
                "HTTP/1.1 201 Created\r\nLocation: /session/1\r\nContent-Type: application/sdp\r\n\
                 Content-Length: {}\r\n\r\n{answer}",
                answer.len()
            )
        } else {
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()
        };
        stream.write_all(response.as_bytes()).await.unwrap();
    }
}

async fn answer(relay: &Arc<Relay>, plays: bool, offer: String) -> String {
    let mut engine = MediaEngine::default();
    engine.register_default_codecs().unwrap();
    for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
        let extension = RTCRtpHeaderExtensionCapability { uri: ABS_CAPTURE_TIME_URI.to_owned() };
        engine.register_header_extension(extension, kind, None).unwrap();
    }
    let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut engine));
    // The crate would answer an offer of setup:active with the same.
    let role = if plays { RTCDtlsRole::Server } else { RTCDtlsRole::Client };
    let settings = SettingEngineBuilder::new()
        .with_include_loopback_candidate(true)
        .with_answering_dtls_role(role)
        .build();
    let (gathered, mut on_gathered) = watch::channel(false);
    let connection: Arc<dyn PeerConnection> = Arc::new(
        PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_setting_engine(settings)
            .with_handler(Arc::new(Events { relay: relay.clone(), gathered }))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await
            .unwrap(),
    );
    if plays {
        // The publisher's answer is out before its first packet is in: only that tells the codec.
        let mut published = relay.codec.subscribe();
        let video = published.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        let audio = MediaEngineCodec {
            mime_type: "audio/opus".to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: vec![],
        };
        for (kind, codec) in [(RtpCodecKind::Video, video), (RtpCodecKind::Audio, audio)] {
            let ssrc = rand::random::<u32>() | 1;
            let rtx = (kind == RtpCodecKind::Video).then_some(RTCRtpRtxParameters { ssrc: ssrc ^ 0x100 });
            let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), rtx, ..Default::default() };
            let encoding = RTCRtpEncodingParameters {
                rtp_coding_parameters: coding,
                codec,
                active: true,
                ..Default::default()
            };
            let media = MediaStreamTrack::new("s".into(), kind.to_string(), "l".into(), kind, vec![encoding]);
            let track = Arc::new(TrackLocalStaticRTP::new(media));
            let sender = connection.add_track(track.clone()).await.unwrap();
            relay.outs.lock().await.push(Out { track, sender, kind, ssrc });
        }
    }
    connection.set_remote_description(RTCSessionDescription::offer(offer).unwrap()).await.unwrap();
    let answer = connection.create_answer(None).await.unwrap();
    connection.set_local_description(answer).await.unwrap();
    on_gathered.wait_for(|done| *done).await.unwrap();
    let sdp = connection.local_description().await.unwrap().sdp;
    let connections = if plays { &relay.viewers } else { &relay.publishers };
    connections.lock().unwrap().push(connection);
    sdp
}
