//! A place in the `webrtc` crate's chain from which packets can be watched: all pass, in their order.

use std::collections::VecDeque;
use std::time::Instant;

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// What somebody does who watches packets pass.
pub trait Watch: Send + Sync + 'static {
    /// A packet came in, at this moment.
    fn came(&mut self, _packet: &Packet, _at: Instant) {}

    /// A packet goes out; it may be changed.
    ///
    /// # Errors
    ///
    /// What the crate says of the change.
    fn goes(&mut self, _packet: &mut Packet) -> Result<(), Error> {
        Ok(())
    }

    /// A stream of ours begins.
    fn begins(&mut self, _stream: &StreamInfo) {}

    /// A stream of ours ends.
    fn ends(&mut self, _stream: &StreamInfo) {}
}

/// The interceptor.
pub struct Pass<W> {
    watch: W,
    incoming: VecDeque<TaggedPacket>,
    outgoing: VecDeque<TaggedPacket>,
}

impl<W> Pass<W> {
    /// Shows `watch` all that passes.
    pub fn new(watch: W) -> Self {
        Self { watch, incoming: VecDeque::new(), outgoing: VecDeque::new() }
    }
}

impl<W: Watch> Protocol<TaggedPacket, TaggedPacket, ()> for Pass<W> {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        self.watch.came(&message.message.packet, message.now);
        self.incoming.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<Self::Rout> {
        self.incoming.pop_front()
    }

    fn handle_write(&mut self, mut message: TaggedPacket) -> Result<(), Self::Error> {
        self.watch.goes(&mut message.message.packet)?;
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<Self::Wout> {
        self.outgoing.pop_front()
    }
}

impl<W: Watch> Interceptor for Pass<W> {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        self.watch.begins(info);
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.watch.ends(info);
    }

    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
