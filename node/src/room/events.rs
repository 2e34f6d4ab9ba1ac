//! What viewers are told while they watch: whether the stream is on air, its layers, how many watch, and that they are to
//! move elsewhere (server-sent events of draft-ietf-wish-whep).
//!
//! `core` decides what a stream's state is and when it is told; this shell hands it to whoever listens. There is no queue
//! for each listener: all of a stream read one state, in which a newer value takes the place of an older one. So a
//! listener that is slow misses what did not last, and nobody ever waits for it.

pub(super) mod core;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use aforo_cluster::id::{SessionId, StreamName};
use tokio::sync::watch;

use super::error::RoomError;
pub(super) use core::Facts;
pub use core::{EventKind, EventKinds, LayerState, StreamState};
use core::{EventOutput, EventsCore};

/// Event streams of one session: one for a player, one for the page around it, and as many again whose ends are not known
/// yet. Full means that the next is refused until one is deleted.
pub(super) const STREAMS_PER_SESSION_CAPACITY: usize = 4;

/// Tells an event stream from the others of its session.
pub type StreamNumber = u32;

/// What a listener reads.
#[derive(Debug)]
pub struct EventFeed {
    /// What it asked for.
    pub kinds: EventKinds,
    /// The place of the session's video among the sections of its SDP, from 0.
    pub video_section: Option<usize>,
    /// The stream's state; its end is the end of the session.
    pub state: watch::Receiver<Arc<StreamState>>,
    /// Whether the session is sent no picture, as its path carries none beside the sound.
    pub held: watch::Receiver<bool>,
    /// Which request has the event stream now; its end is that of the event stream.
    pub holder: watch::Receiver<u32>,
    /// The holder that this feed is for.
    pub number: u32,
}

struct Subscription {
    number: StreamNumber,
    kinds: EventKinds,
    /// How often it was asked for: a client that comes again takes the place of its own broken connection.
    holder: watch::Sender<u32>,
}

struct Listener {
    stream: StreamName,
    video_section: Option<usize>,
    /// Event streams that it made so far.
    made: StreamNumber,
    subscriptions: Vec<Subscription>,
    held: watch::Sender<bool>,
}

/// The event streams of one room.
#[derive(Default)]
pub(super) struct EventStreams {
    core: EventsCore,
    listeners: HashMap<SessionId, Listener>,
    states: HashMap<StreamName, watch::Sender<Arc<StreamState>>>,
}

impl EventStreams {
    /// A session wants to hear of `kinds` of events of its stream. `held`: whether it is sent no picture now.
    pub fn subscribe(
        &mut self,
        now: Instant,
        session: SessionId,
        (stream, facts): (StreamName, Facts),
        (video_section, held): (Option<usize>, bool),
        kinds: EventKinds,
    ) -> Result<StreamNumber, RoomError> {
        let listener = self.listeners.entry(session).or_insert_with(|| Listener {
            stream: stream.clone(),
            video_section,
            made: 0,
            subscriptions: Vec::new(),
            held: watch::Sender::new(held),
        });
        if listener.subscriptions.len() >= STREAMS_PER_SESSION_CAPACITY {
            return Err(RoomError::EventStreamLimit(STREAMS_PER_SESSION_CAPACITY));
        }
        listener.made += 1;
        let number = listener.made;
        listener.subscriptions.push(Subscription { number, kinds, holder: watch::Sender::new(0) });
        self.core.subscribe(now, &stream, facts, kinds);
        self.publish();
        Ok(number)
    }

    /// A request comes for an event stream; the one that had it before ends.
    pub fn connect(&mut self, session: SessionId, number: StreamNumber) -> Result<EventFeed, RoomError> {
        let listener = self.listeners.get(&session).ok_or(RoomError::NoEventStream)?;
        let subscription = listener.subscriptions.iter().find(|known| known.number == number);
        let subscription = subscription.ok_or(RoomError::NoEventStream)?;
        let state = self.states.get(&listener.stream).ok_or(RoomError::NoEventStream)?;
        subscription.holder.send_modify(|holder| *holder += 1);
        let holder = subscription.holder.subscribe();
        let number = *holder.borrow();
        let (kinds, video_section) = (subscription.kinds, listener.video_section);
        let (state, held) = (state.subscribe(), listener.held.subscribe());
        Ok(EventFeed { kinds, video_section, state, held, holder, number })
    }

    /// A session is sent no picture from now on, or is again. Who does not listen is not told.
    pub fn hold_picture(&mut self, session: SessionId, held: bool) {
        if let Some(listener) = self.listeners.get(&session) {
            listener.held.send_replace(held);
        }
    }

    /// The client wants no more of an event stream.
    pub fn unsubscribe(&mut self, session: SessionId, number: StreamNumber) -> Result<(), RoomError> {
        let listener = self.listeners.get_mut(&session).ok_or(RoomError::NoEventStream)?;
        let place = listener.subscriptions.iter().position(|known| known.number == number);
        let gone = listener.subscriptions.swap_remove(place.ok_or(RoomError::NoEventStream)?);
        let (stream, idle) = (listener.stream.clone(), listener.subscriptions.is_empty());
        if idle {
            self.listeners.remove(&session);
        }
        self.forget(&stream, gone.kinds);
        Ok(())
    }

    /// A session is over, and its event streams with it. What was to be said to them has been: they read it to the end.
    pub fn session_ended(&mut self, session: SessionId) {
        let Some(listener) = self.listeners.remove(&session) else { return };
        for subscription in &listener.subscriptions {
            self.forget(&listener.stream, subscription.kinds);
        }
    }

    fn forget(&mut self, stream: &StreamName, kinds: EventKinds) {
        if self.core.unsubscribe(stream, kinds) {
            self.states.remove(stream);
        }
    }

    /// Something may have changed in the room; `facts` tells what is so now, and nothing of a stream that is no more.
    pub fn observe(&mut self, now: Instant, facts: impl Fn(&StreamName) -> Option<Facts>) {
        self.core.observe(now, facts);
        self.publish();
    }

    /// What comes of a stream's video; `None` if nobody can say.
    pub fn layers_reported(&mut self, now: Instant, stream: &StreamName, layers: Option<Vec<LayerState>>) {
        self.core.layers_reported(now, stream, layers);
        self.publish();
    }

    /// Everybody is to move elsewhere. Returns how many event streams say so.
    pub fn leave(&mut self) -> usize {
        self.core.leave();
        self.publish();
        let all = self.listeners.values().flat_map(|listener| &listener.subscriptions);
        let hears = |subscription: &&Subscription| {
            subscription.kinds.has(EventKind::Reconnect) && subscription.holder.receiver_count() > 0
        };
        all.filter(hears).count()
    }

    /// When [`Self::observe`] wants to be called though nothing changed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.core.poll_timeout()
    }

    /// The next stream whose layers the shard is to be asked for.
    pub fn poll_question(&mut self) -> Option<StreamName> {
        self.core.poll_question()
    }

    fn publish(&mut self) {
        while let Some(EventOutput { stream, state }) = self.core.poll_output() {
            let state = Arc::new(state);
            match self.states.get(&stream) {
                Some(known) => drop(known.send_replace(state)),
                None => drop(self.states.insert(stream, watch::Sender::new(state))),
            }
        }
    }
}
