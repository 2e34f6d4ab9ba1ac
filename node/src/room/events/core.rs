//! What listeners of a stream are told, and when: pure.
//!
//! Inputs: who listens, what is so in the room, what the shard reports of layers, time. Outputs: the whole state of a stream
//! whenever it changed, and streams whose layers are to be asked for.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use aforo_cluster::id::StreamName;

/// Least time between two counts of viewers: a crowd that joins would else make a message of each of its members for
/// all the others.
pub(in crate::room) const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// How often the shard is asked for layers while somebody listens: bitrates are means of about a second, and a menu that
/// shows a new layer a second late is on time.
pub(in crate::room) const LAYERS_INTERVAL: Duration = Duration::from_secs(1);

/// A bitrate is told again when it moved by this share: less is what an encoder does between two pictures.
const BITRATE_STEP: f64 = 0.2;

/// Least time between two lists of layers that differ in their bitrates alone: each keyframe moves the mean of a small layer, and
/// every listener would hear of it.
pub(in crate::room) const BITRATES_INTERVAL: Duration = Duration::from_secs(5);

/// The events of draft-ietf-wish-whep that there are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The stream is on air.
    Active,
    /// It is not any more.
    Inactive,
    /// Which layers its video has.
    Layers,
    /// How many watch.
    ViewerCount,
    /// The viewer is to move to another address.
    Reconnect,
}

impl EventKind {
    /// All of them, in the order in which they are announced.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Inactive, Self::Layers, Self::ViewerCount, Self::Reconnect];

    /// The event's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::ViewerCount => "viewercount",
            Self::Reconnect => "reconnect",
        }
    }
}

/// Some of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventKinds(u8);

impl EventKinds {
    /// Every kind.
    pub fn every() -> Self {
        EventKind::ALL.into_iter().collect()
    }

    /// Whether `kind` is one of them.
    pub fn has(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

impl FromIterator<EventKind> for EventKinds {
    fn from_iter<T: IntoIterator<Item = EventKind>>(kinds: T) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | (1 << kind as u8)))
    }
}

/// One layer of a stream's video.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerState {
    /// Its simulcast name; `None` without simulcast.
    pub rid: Option<String>,
    /// Its spatial layer, with all below it.
    pub spatial: u8,
    /// Its temporal layer, with all below it.
    pub temporal: u8,
    /// Pixels, once a picture told.
    pub width: Option<u16>,
    /// Pixels, once a picture told.
    pub height: Option<u16>,
    /// What a viewer of it gets, from what comes from the publisher; 0 if nothing does.
    pub bitrate_bps: u64,
}

impl LayerState {
    /// Whether it is the same layer, and flows if the other does.
    fn is_same(&self, other: &Self) -> bool {
        let with_rate = Self { bitrate_bps: other.bitrate_bps, ..self.clone() };
        (self.bitrate_bps > 0) == (other.bitrate_bps > 0) && with_rate == *other
    }

    /// Whether a person who looks at the bitrates would see no difference.
    fn costs_the_same(&self, other: &Self) -> bool {
        let change = self.bitrate_bps.abs_diff(other.bitrate_bps) as f64;
        change <= BITRATE_STEP * self.bitrate_bps.max(other.bitrate_bps) as f64
    }
}

/// What is so of a stream, as its listeners are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Whether its publisher is here and media comes.
    pub active: bool,
    /// Who watches it; at most a second old.
    pub viewers: usize,
    /// Of its video, as the publisher offered them; empty until they are known.
    pub layers: Vec<LayerState>,
    /// Whether its viewers are to move elsewhere.
    pub leaving: bool,
}

/// What is so in the room at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::room) struct Facts {
    pub active: bool,
    pub viewers: usize,
}

/// A stream's state is another now.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::room) struct EventOutput {
    pub stream: StreamName,
    pub state: StreamState,
}

#[derive(Debug)]
struct Topic {
    state: StreamState,
    facts: Facts,
    listeners: usize,
    /// Of those, who wants to know of layers.
    layer_listeners: usize,
    ask_at: Option<Instant>,
    /// When layers were told last.
    layers_told: Option<Instant>,
    /// Whether a question for its layers has no answer yet.
    asked: bool,
}

/// The streams of one room that somebody listens to.
#[derive(Debug, Default)]
pub(in crate::room) struct EventsCore {
    topics: BTreeMap<StreamName, Topic>,
    outputs: VecDeque<EventOutput>,
    questions: VecDeque<StreamName>,
    /// When viewers were last counted.
    counted: Option<Instant>,
    leaving: bool,
}

impl EventsCore {
    /// One more listens to `stream`. The first one's state is an output, whatever it is.
    pub fn subscribe(&mut self, now: Instant, stream: &StreamName, facts: Facts, kinds: EventKinds) {
        let Facts { active, viewers } = facts;
        let leaving = self.leaving;
        if !self.topics.contains_key(stream) {
            let state = StreamState { active, viewers, leaving, layers: Vec::new() };
            let output = EventOutput { stream: stream.clone(), state: state.clone() };
            self.outputs.push_back(output);
            let (ask_at, layers_told) = (None, None);
            let (listeners, layer_listeners, asked) = (0, 0, false);
            let topic = Topic { state, facts, listeners, layer_listeners, ask_at, layers_told, asked };
            self.topics.insert(stream.clone(), topic);
        }
        let Some(topic) = self.topics.get_mut(stream) else { return };
        topic.listeners += 1;
        if kinds.has(EventKind::Layers) {
            topic.layer_listeners += 1;
            if topic.layer_listeners == 1 {
                topic.ask_at = Some(now);
            }
        }
        // What the first listener is told is a count, too.
        self.counted.get_or_insert(now);
        self.handle_timeout(now);
    }

    /// One less listens. Returns whether it was the last.
    pub fn unsubscribe(&mut self, stream: &StreamName, kinds: EventKinds) -> bool {
        let Some(topic) = self.topics.get_mut(stream) else { return false };
        topic.listeners = topic.listeners.saturating_sub(1);
        if kinds.has(EventKind::Layers) {
            topic.layer_listeners = topic.layer_listeners.saturating_sub(1);
        }
        let last = topic.listeners == 0;
        if last {
            self.topics.remove(stream);
        }
        last
    }

    /// Looks at what is so now. A stream that is no more is off air and has nobody.
    pub fn observe(&mut self, now: Instant, facts: impl Fn(&StreamName) -> Option<Facts>) {
        for (stream, topic) in &mut self.topics {
            topic.facts = facts(stream).unwrap_or(Facts { active: false, viewers: 0 });
            if topic.state.active != topic.facts.active {
                topic.state.active = topic.facts.active;
                if !topic.state.active {
                    // Nobody is asked off air, and nothing comes of them.
                    topic.state.layers.iter_mut().for_each(|layer| layer.bitrate_bps = 0);
                }
                // Who returns may bring other layers, and nobody waits a second to hear of them.
                topic.ask_at = topic.ask_at.map(|_| now);
                self.outputs.push_back(EventOutput { stream: stream.clone(), state: topic.state.clone() });
            }
        }
        self.handle_timeout(now);
    }

    /// What layers a stream has, as far as somebody could say: there are none where there is no video.
    pub fn layers_reported(&mut self, now: Instant, stream: &StreamName, layers: Option<Vec<LayerState>>) {
        let Some(topic) = self.topics.get_mut(stream) else { return };
        topic.asked = false;
        let (Some(layers), known) = (layers, &topic.state.layers) else { return };
        let pairs = || known.iter().zip(&layers);
        let others = known.len() != layers.len() || pairs().any(|(known, layer)| !known.is_same(layer));
        let moved = pairs().any(|(known, layer)| !known.costs_the_same(layer));
        let rested = topic.layers_told.is_none_or(|told| now >= told + BITRATES_INTERVAL);
        if others || (moved && rested) {
            topic.layers_told = Some(now);
            topic.state.layers = layers;
            self.outputs.push_back(EventOutput { stream: stream.clone(), state: topic.state.clone() });
        }
    }

    /// All viewers are to move elsewhere, those who come to listen too.
    pub fn leave(&mut self) {
        self.leaving = true;
        for (stream, topic) in &mut self.topics {
            if !std::mem::replace(&mut topic.state.leaving, true) {
                self.outputs.push_back(EventOutput { stream: stream.clone(), state: topic.state.clone() });
            }
        }
    }

    /// Does what is due: counts viewers, and asks for layers.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.count_at().is_some_and(|at| at <= now) {
            self.counted = Some(now);
            for (stream, topic) in &mut self.topics {
                if std::mem::replace(&mut topic.state.viewers, topic.facts.viewers) != topic.facts.viewers {
                    let state = topic.state.clone();
                    self.outputs.push_back(EventOutput { stream: stream.clone(), state });
                }
            }
        }
        for (stream, topic) in &mut self.topics {
            if topic.ask_at.is_none_or(|at| at > now) {
                continue;
            }
            topic.ask_at = (topic.layer_listeners > 0).then_some(now + LAYERS_INTERVAL);
            // A shard that is too busy to answer is not asked twice, and off air there is nothing to ask for.
            if topic.layer_listeners > 0 && topic.facts.active && !topic.asked {
                topic.asked = true;
                self.questions.push_back(stream.clone());
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.topics.values().filter_map(|topic| topic.ask_at).chain(self.count_at()).min()
    }

    /// When viewers are to be counted: not before somebody came or left.
    fn count_at(&self) -> Option<Instant> {
        let changed = self.topics.values().any(|topic| topic.facts.viewers != topic.state.viewers);
        self.counted.filter(|_| changed).map(|counted| counted + COUNT_INTERVAL)
    }

    /// The next state that is to be told.
    pub fn poll_output(&mut self) -> Option<EventOutput> {
        self.outputs.pop_front()
    }

    /// The next stream whose layers the shard is to be asked for.
    pub fn poll_question(&mut self) -> Option<StreamName> {
        self.questions.pop_front()
    }
}
