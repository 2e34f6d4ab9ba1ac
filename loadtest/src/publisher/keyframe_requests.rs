//! Takes PLI and FIR out of the `webrtc` crate's chain, and notes when any feedback came; all other feedback stays in the
//! chain.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use super::PublisherCounters;
use super::layers::KeyframesWanted;

/// Position in the chain: after every interceptor that reads feedback itself.
pub const LAST_SLOT: usize = 1_000_000;

/// When the server was heard last.
#[derive(Debug)]
pub struct LastWord {
    epoch: Instant,
    since_epoch_ms: AtomicU64,
}

impl LastWord {
    /// Heard at this moment.
    pub fn now() -> Arc<Self> {
        Arc::new(Self { epoch: Instant::now(), since_epoch_ms: AtomicU64::new(0) })
    }

    /// How long ago that was, to the millisecond.
    pub fn age(&self) -> Duration {
        let heard = Duration::from_millis(self.since_epoch_ms.load(Ordering::Relaxed));
        self.epoch.elapsed().saturating_sub(heard)
    }

    fn note(&self) {
        let since_epoch_ms = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_epoch_ms.store(since_epoch_ms, Ordering::Relaxed);
    }
}

/// The interceptor.
pub struct KeyframeRequests {
    heard: Arc<LastWord>,
    /// Of the video's layers, in their order.
    ssrcs: Vec<u32>,
    counters: Arc<PublisherCounters>,
    incoming: VecDeque<TaggedPacket>,
    outgoing: VecDeque<TaggedPacket>,
}

impl KeyframeRequests {
    /// An interceptor that tells `heard` of all feedback, and `counters` of requests for the layers with these SSRCs.
    pub fn new(heard: Arc<LastWord>, ssrcs: Vec<u32>, counters: Arc<PublisherCounters>) -> Self {
        Self { heard, ssrcs, counters, incoming: VecDeque::new(), outgoing: VecDeque::new() }
    }

    /// The layers of which these packets ask for a keyframe; a PLI and an FIR that come together are one request.
    fn asked_for(&self, packets: &[Box<dyn rtc::rtcp::Packet>]) -> KeyframesWanted {
        let mut layers = KeyframesWanted::default();
        let mut ask = |ssrc: u32| {
            if let Some(layer) = self.ssrcs.iter().position(|known| *known == ssrc) {
                layers.0 |= KeyframesWanted::of(layer).0;
            }
        };
        for packet in packets {
            if let Some(loss) = packet.as_any().downcast_ref::<PictureLossIndication>() {
                ask(loss.media_ssrc);
            } else if let Some(request) = packet.as_any().downcast_ref::<FullIntraRequest>() {
                request.fir.iter().for_each(|entry| ask(entry.ssrc));
            }
        }
        layers
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyframeRequests {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtcp(packets) = &message.message.packet {
            self.heard.note();
            let wanted = self.asked_for(packets);
            if !wanted.is_empty() {
                self.counters.request_keyframes(message.now, wanted);
            }
        }
        self.incoming.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<Self::Rout> {
        self.incoming.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<Self::Wout> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for KeyframeRequests {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
