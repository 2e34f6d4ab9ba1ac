//! Lets PLI and FIR through the `webrtc` crate's chain to the publisher, and notes when any feedback came; all other
//! feedback stays in the chain.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

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

/// The interceptor. The crate delivers to the application only what something in the chain has marked.
pub struct KeyframeRequests {
    heard: Arc<LastWord>,
    incoming: VecDeque<TaggedPacket>,
    outgoing: VecDeque<TaggedPacket>,
}

impl KeyframeRequests {
    /// An interceptor that tells `heard` of all feedback.
    pub fn new(heard: Arc<LastWord>) -> Self {
        Self { heard, incoming: VecDeque::new(), outgoing: VecDeque::new() }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyframeRequests {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtcp(packets) = &mut message.message.packet {
            self.heard.note();
            packets.retain(|packet| {
                let packet = packet.as_any();
                packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>()
            });
            if packets.is_empty() {
                return Ok(());
            }
            message.message.add(Attribute::DeliverToApplication);
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
