//! One WHIP session of the `webrtc` crate: offer, answer, tracks, close.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rtc::interceptor::{Registry, Slot};
use rtc::peer_connection::configuration::interceptor_registry::{
    configure_nack, configure_rtcp_reports, configure_twcc_sender_only,
};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::sync::watch;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCPeerConnectionState,
};

use super::PublisherCounters;
use super::codecs::{media_engine, opus_codec, video_codec};
use super::keyframe_requests::{KeyframeRequests, LAST_SLOT, LastWord};
use super::pass::Pass;
use super::repair_names::{REPAIR_SLOT, RepairNames};
use super::schedule::{DuePacket, StreamShape, TrackKind};
use super::track::{AddedTrack, SendTrack, Stream};
use crate::signalling::{SessionUrl, Signaller};

/// A publisher that is not connected by then counts as refused; browsers give up later, people earlier.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A server reports on what it gets once a second (RFC 3550 §6.2 at our bitrates), or ten times with transport-wide
/// feedback; the crate itself takes 30 s to see that nobody is there.
const SILENCE_LIMIT: Duration = Duration::from_secs(3);

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
    /// Publishes a stream of this shape to `target` and waits until media can flow.
    ///
    /// # Errors
    ///
    /// The server refuses, or refuses simulcast, answers what the crate cannot read, or does not connect within 15 s.
    pub async fn connect(
        target: PublishTarget,
        shape: StreamShape,
        counters: Arc<PublisherCounters>,
    ) -> Result<Self> {
        let (gathered, mut on_gathered) = watch::channel(false);
        let (state, mut on_state) = watch::channel(RTCPeerConnectionState::New);
        let heard = LastWord::now();
        let layers = shape.layers();
        let streams: Vec<Stream> =
            layers.iter().map(|layer| Stream::new((layers.len() > 1).then_some(layer.rid))).collect();
        let ssrcs = streams.iter().map(|stream| stream.ssrc).collect();
        let requests = KeyframeRequests::new(heard.clone(), ssrcs, counters);
        let connection = build_connection(&target, Events { gathered, state }, &streams, requests).await?;
        let video = match video_codec(shape.codec) {
            Some((codec, _)) => {
                Some(AddedTrack::add(&*connection, RtpCodecKind::Video, &codec, streams).await?)
            }
            None => None,
        };
        let sound = vec![Stream::new(None)];
        let audio = AddedTrack::add(&*connection, RtpCodecKind::Audio, &opus_codec(), sound).await?;

        let offer = connection.create_offer(None).await?;
        connection.set_local_description(offer).await?;
        tokio::time::timeout(CONNECT_TIMEOUT, on_gathered.wait_for(|done| *done))
            .await
            .context("gathering candidates took too long")??;
        let offer = connection.local_description().await.context("no local description after gathering")?;
        let posted = target.signaller.post(&target.endpoint, &offer.sdp).await?;
        if layers.len() > 1 && !posted.answer.contains("a=simulcast:") {
            bail!("the server does not take simulcast");
        }
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

async fn build_connection(
    target: &PublishTarget,
    events: Events,
    streams: &[Stream],
    requests: KeyframeRequests,
) -> Result<Arc<dyn PeerConnection>> {
    let names: Vec<(u32, &'static str)> =
        streams.iter().filter_map(|stream| Some((stream.ssrc, stream.rid?))).collect();
    let mut engine = media_engine(!names.is_empty())?;
    let registry = configure_nack(Registry::new(), &mut engine);
    let registry = configure_twcc_sender_only(registry, &mut engine)?;
    let registry = configure_rtcp_reports(registry)
        .with(Slot::from(REPAIR_SLOT), Pass::new(RepairNames::new(names)))
        .with(Slot::from(LAST_SLOT), Pass::new(requests));
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
