//! One viewer: joins by ICE and DTLS, counts and checks what arrives, and tells the server as a browser would.
//!
//! Inputs: datagrams with their arrival times, ticks. Outputs: datagrams pushed into the caller's `Outbox`, and counts.
//! No socket and no clock in here.

mod inbound;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rtc_dtls::config::HandshakeConfig;
use rtc_dtls::crypto_provider::RTCCryptoProvider;

use super::dtls::{Handshake, HandshakeStep};
use super::feedback::{self, ReportBlock, TransportFeedback};
use super::first_picture::FirstPicture;
use super::ice::{self, Incoming};
use super::sdp::{Answer, IceCredentials};
use super::sequence::{SequenceCounts, SequenceTracker};
use super::shortfall::Shortfall;
use super::srtp::ViewerKeys;
use super::totals::Totals;
use crate::publisher::PublisherCounters;
use crate::publisher::schedule::TrackKind;

/// First retransmission of a check (RFC 8445 §14.3 allows no faster without congestion control knowledge).
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Ticks (100 ms each, the rate at which libwebrtc reports at these bitrates) between receiver reports.
const TICKS_PER_REPORT: u32 = 10;

/// Ticks between consent checks (RFC 7675 §5.1: about every 5 s).
const TICKS_PER_CONSENT: u32 = 50;

/// A viewer without a picture asks for a keyframe this often.
const TICKS_PER_PICTURE_REQUEST: u32 = 10;

/// What a viewer sends, by whatever socket.
pub trait Outbox {
    /// Sends `datagram` to the viewer's server.
    fn send(&mut self, datagram: &[u8]);
}

/// How far a viewer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waits for the answer to its first check.
    Checking,
    /// Makes keys.
    Handshaking,
    /// Receives media.
    Playing,
    /// Ended by the server while it received media.
    Closed,
    /// Never received media; the reason was counted.
    Failed,
}

/// What a viewer starts from.
#[derive(Debug)]
pub struct ViewerSpec {
    /// Our ICE credentials, as offered.
    pub local: IceCredentials,
    /// The server's answer.
    pub answer: Answer,
    /// When the POST was sent.
    pub posted_at: Instant,
    /// Makes transaction ids and SSRCs differ.
    pub seed: u64,
    /// What the stream's publisher sends, if it is one of ours.
    pub publisher: Option<Arc<PublisherCounters>>,
}

/// One incoming stream with what a report about it needs.
#[derive(Debug, Default)]
struct Stream {
    ssrc: u32,
    tracker: SequenceTracker,
    shortfall: Shortfall,
    reported: SequenceCounts,
    last_report: Option<(u32, Instant)>,
}

impl Stream {
    /// Takes a packet that came by itself; `sent` tells what the publisher has sent of this stream so far.
    fn receive(&mut self, sequence: u16, sent: impl FnOnce() -> u64) -> u64 {
        let number = self.tracker.receive(sequence);
        self.shortfall.receive(sent, self.tracker.counts().expected);
        number
    }

    fn counts(&self) -> SequenceCounts {
        let counts = self.tracker.counts();
        SequenceCounts { untold: self.shortfall.packets(counts.expected), ..counts }
    }

    fn report_block(&mut self, now: Instant) -> ReportBlock {
        let counts = self.tracker.counts();
        let expected = counts.expected.saturating_sub(self.reported.expected);
        let received = counts.received.saturating_sub(self.reported.received);
        let lost = expected.saturating_sub(received);
        self.reported = counts;
        let (last_report, delay) = match self.last_report {
            Some((middle, at)) => (middle, (now.duration_since(at).as_secs_f64() * 65_536.0) as u32),
            None => (0, 0),
        };
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8,
            lost: counts.expected.saturating_sub(counts.received) as u32,
            highest: self.tracker.highest() as u32,
            jitter: 0,
            last_report,
            delay,
        }
    }
}

/// One viewer.
#[derive(Debug)]
pub struct Viewer {
    local: IceCredentials,
    answer: Answer,
    posted_at: Instant,
    random: u64,
    ssrc: u32,
    phase: Phase,
    next_check: Instant,
    handshake: Option<Handshake>,
    keys: Option<ViewerKeys>,
    video: Stream,
    audio: Stream,
    repair_sequence: SequenceTracker,
    transport: TransportFeedback,
    ticks: u32,
    packets: u64,
    publisher: Option<Arc<PublisherCounters>>,
    has_media: bool,
    has_keyframe: bool,
    first_picture: FirstPicture,
}

impl Viewer {
    /// A viewer that has its answer; the first check leaves with the first call of `connect`.
    pub fn new(now: Instant, spec: ViewerSpec) -> Self {
        Self {
            local: spec.local,
            answer: spec.answer,
            posted_at: spec.posted_at,
            random: spec.seed | 1,
            ssrc: (spec.seed >> 16) as u32 | 1,
            phase: Phase::Checking,
            next_check: now,
            handshake: None,
            keys: None,
            video: Stream { tracker: SequenceTracker::asking(), ..Stream::default() },
            audio: Stream::default(),
            repair_sequence: SequenceTracker::default(),
            transport: TransportFeedback::default(),
            ticks: (spec.seed % u64::from(TICKS_PER_CONSENT)) as u32,
            packets: 0,
            publisher: spec.publisher,
            has_media: false,
            has_keyframe: false,
            first_picture: FirstPicture::default(),
        }
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it has all that the answer promised: media, and a whole keyframe if there is video.
    pub fn is_complete(&self) -> bool {
        self.has_media && (self.first_picture.is_whole() || !self.answer.media.has_video())
    }

    /// Counts of both its streams.
    pub fn counts(&self) -> [SequenceCounts; 2] {
        [self.video.counts(), self.audio.counts()]
    }

    /// Whether any media has come.
    pub fn has_media(&self) -> bool {
        self.has_media
    }

    /// The measured window begins: from here on the publisher's packets are due.
    pub fn begin_window(&mut self) {
        let Some(publisher) = &self.publisher else { return };
        for (stream, kind) in [(&mut self.video, TrackKind::Video), (&mut self.audio, TrackKind::Audio)] {
            stream.shortfall.begin(publisher.sent(kind), stream.tracker.counts().expected);
        }
    }

    /// The measured window ends: what is sent from here on is no longer due.
    pub fn end_window(&mut self) {
        let Some(publisher) = &self.publisher else { return };
        self.video.shortfall.end(publisher.sent(TrackKind::Video));
        self.audio.shortfall.end(publisher.sent(TrackKind::Audio));
    }

    /// Whether it lacks packets that may be asked for again.
    pub fn has_missing(&self) -> bool {
        self.video.tracker.has_missing()
    }

    /// Drives joining: sends checks and handshake messages that are due.
    pub fn connect(&mut self, now: Instant, provider: &dyn RTCCryptoProvider, outbox: &mut impl Outbox) {
        match self.phase {
            Phase::Checking if self.next_check <= now => {
                self.next_check = now + CHECK_INTERVAL;
                self.send_check(provider, outbox);
            }
            Phase::Handshaking => {
                if let Some(handshake) = &mut self.handshake {
                    handshake.handle_timeout(now);
                }
                self.flush_handshake(outbox);
            }
            _ => {}
        }
    }

    /// Takes a STUN message.
    ///
    /// # Errors
    ///
    /// DTLS cannot start.
    pub fn receive_stun(
        &mut self,
        now: Instant,
        datagram: &[u8],
        identity: (&dyn RTCCryptoProvider, &Arc<HandshakeConfig>),
        outbox: &mut impl Outbox,
    ) -> Result<()> {
        let (provider, configuration) = identity;
        let Some(remote) = self.answer.candidates.first().copied() else { return Ok(()) };
        match ice::receive(datagram, remote, &self.local, &self.answer.ice, provider) {
            Incoming::Success if self.phase == Phase::Checking => {
                self.handshake = Some(Handshake::start(now, remote, configuration.clone())?);
                self.phase = Phase::Handshaking;
                self.flush_handshake(outbox);
            }
            Incoming::Respond(response) => outbox.send(&response),
            Incoming::Success | Incoming::Nothing => {}
        }
        Ok(())
    }

    /// Takes a DTLS record.
    ///
    /// # Errors
    ///
    /// The handshake failed.
    pub fn receive_dtls(&mut self, now: Instant, datagram: &[u8], outbox: &mut impl Outbox) -> Result<()> {
        let Some(handshake) = &mut self.handshake else { return Ok(()) };
        let step = handshake.receive(now, datagram);
        self.flush_handshake(outbox);
        match step? {
            HandshakeStep::Keys(keys) => {
                self.keys = Some(keys);
                self.phase = Phase::Playing;
            }
            HandshakeStep::Closed => self.give_up(),
            HandshakeStep::Nothing => {}
        }
        Ok(())
    }

    /// It is over: failed before media could flow, closed afterwards.
    pub fn give_up(&mut self) {
        self.phase = if self.keys.is_some() { Phase::Closed } else { Phase::Failed };
        self.handshake = None;
    }

    /// Asks again for what is missing.
    pub fn request_missing(&mut self, now: Instant, totals: &mut Totals, outbox: &mut impl Outbox) {
        let wanted = self.video.tracker.requests(now);
        if wanted.is_empty() {
            return;
        }
        let mut packet = Vec::with_capacity(64);
        feedback::nack(&mut packet, self.ssrc, self.video.ssrc, &wanted);
        totals.nacks += 1;
        self.send_rtcp(&packet, outbox);
    }

    /// What is due every 100 ms: transport-wide feedback, and less often a report, a consent check, a keyframe request.
    pub fn tick(
        &mut self,
        now: Instant,
        provider: &dyn RTCCryptoProvider,
        totals: &mut Totals,
        outbox: &mut impl Outbox,
    ) {
        if self.phase != Phase::Playing {
            return;
        }
        self.ticks = self.ticks.wrapping_add(1);
        let mut packet = Vec::with_capacity(256);
        if self.ticks.is_multiple_of(TICKS_PER_REPORT) {
            let streams = [&mut self.video, &mut self.audio];
            let blocks: Vec<ReportBlock> =
                streams.into_iter().filter(|s| s.ssrc != 0).map(|s| s.report_block(now)).collect();
            feedback::receiver_report(&mut packet, self.ssrc, &blocks);
        }
        let media = if self.video.ssrc != 0 { self.video.ssrc } else { self.audio.ssrc };
        self.transport.write(&mut packet, self.ssrc, media);
        let lacks_picture = self.video.ssrc != 0 && !self.first_picture.is_whole();
        if lacks_picture && self.ticks.is_multiple_of(TICKS_PER_PICTURE_REQUEST) {
            feedback::picture_loss(&mut packet, self.ssrc, self.video.ssrc);
            totals.keyframe_requests += 1;
        }
        if !packet.is_empty() {
            self.send_rtcp(&packet, outbox);
        }
        if self.ticks.is_multiple_of(TICKS_PER_CONSENT) {
            self.send_check(provider, outbox);
        }
    }

    fn send_check(&mut self, provider: &dyn RTCCryptoProvider, outbox: &mut impl Outbox) {
        let mut transaction = [0; 12];
        for chunk in transaction.chunks_mut(4) {
            chunk.copy_from_slice(&(self.next_random() as u32).to_be_bytes());
        }
        if let Ok(check) = ice::check(&self.local, &self.answer.ice, transaction, provider) {
            outbox.send(&check);
        }
    }

    fn flush_handshake(&mut self, outbox: &mut impl Outbox) {
        while let Some(datagram) = self.handshake.as_mut().and_then(Handshake::poll_transmit) {
            outbox.send(&datagram);
        }
    }

    fn send_rtcp(&mut self, packet: &[u8], outbox: &mut impl Outbox) {
        if let Some(sealed) = self.keys.as_mut().and_then(|keys| keys.seal_rtcp(packet)) {
            outbox.send(&sealed);
        }
    }

    /// xorshift64*: spreads transaction ids; nothing depends on their secrecy.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}
