#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use super::core::{BITRATES_INTERVAL, COUNT_INTERVAL, LAYERS_INTERVAL};
use super::*;

fn name(text: &str) -> StreamName {
    text.parse().unwrap()
}

fn facts(active: bool, viewers: usize) -> Facts {
    Facts { active, viewers }
}

fn layer(rid: &str, bitrate_bps: u64) -> LayerState {
    LayerState { rid: Some(rid.to_owned()), bitrate_bps, ..LayerState::default() }
}

/// The event streams of a room whose stream `main` is on air, with one listener.
struct It {
    streams: EventStreams,
    start: Instant,
    session: SessionId,
    feed: EventFeed,
}

impl It {
    fn new(kinds: EventKinds) -> Self {
        let (mut streams, start, session) = (EventStreams::default(), Instant::now(), SessionId::random());
        let subject = (name("main"), facts(true, 1));
        let number = streams.subscribe(start, session, subject, (Some(1), false), kinds).unwrap();
        let feed = streams.connect(session, number).unwrap();
        Self { streams, start, session, feed }
    }

    fn state(&mut self) -> StreamState {
        StreamState::clone(&self.feed.state.borrow_and_update())
    }

    fn observe(&mut self, after: Duration, seen: Facts) {
        self.streams.observe(self.start + after, |_| Some(seen));
    }
}

#[test]
fn viewers_are_counted_once_a_second_however_many_come() {
    let mut it = It::new(EventKinds::every());
    assert_eq!((it.state().active, it.state().viewers), (true, 1));
    let mut told = 0;
    for viewers in 2..1_000 {
        it.observe(Duration::from_micros(viewers as u64 * 500), facts(true, viewers));
        told += usize::from(it.feed.state.has_changed().unwrap());
    }
    assert_eq!(told, 0, "within the second of the first count");
    let due = it.start + COUNT_INTERVAL;
    it.streams.observe(due, |_| Some(facts(true, 999)));
    assert_eq!(it.state().viewers, 999);
    it.streams.observe(due + COUNT_INTERVAL / 2, |_| Some(facts(true, 3)));
    assert_eq!(it.state().viewers, 999);
    assert!(it.streams.poll_timeout().is_some_and(|at| at <= due + COUNT_INTERVAL));
    it.streams.observe(due + COUNT_INTERVAL, |_| Some(facts(true, 3)));
    assert_eq!(it.state().viewers, 3);
}

#[test]
fn going_off_air_is_told_at_once_and_so_is_the_return() {
    let mut it = It::new(EventKinds::every());
    it.observe(Duration::ZERO, facts(false, 1));
    assert!(!it.state().active);
    it.observe(Duration::ZERO, facts(true, 1));
    assert!(it.state().active);
    it.streams.layers_reported(it.start, &name("main"), Some(vec![layer("h", 1_000_000)]));
    assert!(it.state().layers[0].bitrate_bps > 0);
    it.streams.observe(it.start, |_| None);
    let state = it.state();
    assert!(!state.active, "a stream that is no more");
    assert_eq!(state.layers[0].bitrate_bps, 0, "its layers are not sent");
}

#[test]
fn layers_are_asked_for_while_somebody_wants_them_and_told_when_they_change() {
    let mut it = It::new(EventKinds::every());
    assert_eq!(it.streams.poll_question(), Some(name("main")), "at once");
    it.observe(LAYERS_INTERVAL, facts(true, 1));
    assert_eq!(it.streams.poll_question(), None, "a shard that has not answered is not asked again");
    it.state();
    let both = |bitrate| Some(vec![layer("h", bitrate), layer("l", 100_000)]);
    it.streams.layers_reported(it.start, &name("main"), both(1_000_000));
    assert_eq!(it.state().layers.len(), 2);
    let mut told = it.start;
    for (bitrate, news) in [(1_100_000, false), (800_001, false), (700_000, true), (0, true), (10, true)] {
        told += BITRATES_INTERVAL;
        it.streams.layers_reported(told, &name("main"), both(bitrate));
        assert_eq!(it.feed.state.has_changed().unwrap(), news, "{bitrate}");
        it.state();
    }
    // Soon again, only what is more than a bitrate is news.
    for (after, bitrate, news) in
        [(1, 700_000, false), (2, 0, true), (3, 700_000, true), (7, 10, false), (8, 10, true)]
    {
        let now = told + Duration::from_secs(after);
        it.streams.layers_reported(now, &name("main"), both(bitrate));
        assert_eq!(it.feed.state.has_changed().unwrap(), news, "{after}");
        it.state();
    }
    it.observe(2 * LAYERS_INTERVAL, facts(true, 1));
    assert_eq!(it.streams.poll_question(), Some(name("main")), "again");
    it.streams.layers_reported(told, &name("main"), None);
    assert_eq!(it.state().layers.len(), 2, "no answer says nothing");
    it.streams.layers_reported(told, &name("main"), Some(Vec::new()));
    assert!(it.state().layers.is_empty(), "there is no video any more");
}

#[test]
fn nobody_asks_for_layers_that_nobody_wants() {
    let mut it = It::new([EventKind::ViewerCount].into_iter().collect());
    it.observe(LAYERS_INTERVAL, facts(true, 1));
    assert_eq!((it.streams.poll_question(), it.streams.poll_timeout()), (None, None));
}

#[test]
fn event_streams_end_with_their_session_and_are_bounded() {
    let mut it = It::new(EventKinds::every());
    let (start, session) = (it.start, it.session);
    let subscribe = |streams: &mut EventStreams| {
        streams.subscribe(start, session, (name("main"), facts(true, 1)), (None, false), EventKinds::every())
    };
    for number in 2..=STREAMS_PER_SESSION_CAPACITY {
        assert_eq!(subscribe(&mut it.streams).unwrap() as usize, number);
    }
    assert!(matches!(subscribe(&mut it.streams), Err(RoomError::EventStreamLimit(_))));
    it.streams.unsubscribe(session, 2).unwrap();
    assert!(matches!(it.streams.unsubscribe(session, 2), Err(RoomError::NoEventStream)));
    assert!(matches!(it.streams.connect(session, 2), Err(RoomError::NoEventStream)));
    assert_eq!(subscribe(&mut it.streams).unwrap(), 5, "a number is never given again");
    it.streams.session_ended(session);
    assert!(it.feed.holder.has_changed().is_err() && it.feed.state.has_changed().is_err());
    assert!(matches!(it.streams.connect(session, 1), Err(RoomError::NoEventStream)));
    assert!(it.streams.states.is_empty() && it.streams.listeners.is_empty());
}

#[test]
fn who_begins_to_listen_while_the_picture_is_held_back_is_told_so() {
    let mut it = It::new(EventKinds::every());
    let (session, subject) = (SessionId::random(), (name("main"), facts(true, 1)));
    let number = it.streams.subscribe(it.start, session, subject, (Some(1), true), EventKinds::every());
    let feed = it.streams.connect(session, number.unwrap()).unwrap();
    assert!(*feed.held.borrow() && !*it.feed.held.borrow());
    it.streams.hold_picture(session, false);
    assert!(!*feed.held.borrow());
}

#[test]
fn a_client_that_comes_again_takes_the_place_of_its_broken_connection() {
    let mut it = It::new(EventKinds::every());
    let second = it.streams.connect(it.session, 1).unwrap();
    assert_ne!(*it.feed.holder.borrow(), it.feed.number);
    assert_eq!(*second.holder.borrow(), second.number);
}

#[test]
fn who_listens_is_told_to_leave_and_counted() {
    let mut it = It::new(EventKinds::every());
    let unread = (name("main"), facts(true, 1));
    it.streams.subscribe(it.start, SessionId::random(), unread, (None, false), EventKinds::every()).unwrap();
    assert_eq!(it.streams.leave(), 1, "nobody reads the second one");
    assert!(it.state().leaving);
    let late = (name("side"), facts(true, 1));
    let session = SessionId::random();
    it.streams.subscribe(it.start, session, late, (None, false), EventKinds::every()).unwrap();
    assert!(
        it.streams.connect(session, 1).unwrap().state.borrow().leaving,
        "who comes later is told as well"
    );
}
