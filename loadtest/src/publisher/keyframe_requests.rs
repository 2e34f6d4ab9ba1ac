//! Takes PLI and FIR out of the `webrtc` crate's chain, and notes when any feedback came; all other feedback stays in the
//! chain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtc::interceptor::Packet;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;

use super::PublisherCounters;
use super::layers::KeyframesWanted;
use super::pass::Watch;

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

/// Takes them out.
pub struct KeyframeRequests {
    heard: Arc<LastWord>,
    /// Of the video's layers, in their order.
    ssrcs: Vec<u32>,
    counters: Arc<PublisherCounters>,
}

impl KeyframeRequests {
    /// Tells `heard` of all feedback, and `counters` of requests for the layers with these SSRCs.
    pub fn new(heard: Arc<LastWord>, ssrcs: Vec<u32>, counters: Arc<PublisherCounters>) -> Self {
        Self { heard, ssrcs, counters }
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

impl Watch for KeyframeRequests {
    fn came(&mut self, packet: &Packet, at: Instant) {
        let Packet::Rtcp(packets) = packet else { return };
        self.heard.note();
        let wanted = self.asked_for(packets);
        if !wanted.is_empty() {
            self.counters.request_keyframes(at, wanted);
        }
    }
}
