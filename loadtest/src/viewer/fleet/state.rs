//! All viewers and what they wait for; sockets and thread are outside.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rtc_dtls::config::HandshakeConfig;

use super::{Addressing, FIRST_ADDRESS};
use crate::socket::{Received, SendBatch, WildcardSocket};
use crate::viewer::core::{Outbox, Phase, Viewer, ViewerSpec};
use crate::viewer::dtls::Identity;
use crate::viewer::totals::Totals;

/// Every viewer is ticked this often; they take turns, so that the server's load is even.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// A viewer not connected by then has failed: the server itself gives up on sessions after 15 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A viewer without media for so long at the window's end has lost its session: silent sound (DTX) still sends a packet
/// each 400 ms. Looked at when repairs are through, so that a late look at the sockets is no loss.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// How many reasons for failed joins are shown to the person.
const SHOWN_FAILURES: u64 = 5;

struct Place {
    viewer: Viewer,
    source: Option<Ipv4Addr>,
    remote: SocketAddrV4,
    configuration: Arc<HandshakeConfig>,
    added_at: Instant,
    media_at: Option<Instant>,
    waits_for_repair: bool,
}

/// See the module.
pub(super) struct FleetState {
    addressing: Addressing,
    identity: Identity,
    places: Vec<Option<Box<Place>>>,
    batches: Vec<SendBatch>,
    totals: Totals,
    connecting: Vec<usize>,
    repairing: Vec<usize>,
    tick_cursor: usize,
    tick_debt: f64,
    ticked_at: Option<Instant>,
    loss: f64,
    random: u64,
    window_ended_at: Option<Instant>,
}

/// Puts a viewer's datagrams into its socket's batch.
struct BatchOutbox<'a> {
    batch: &'a mut SendBatch,
    source: Option<Ipv4Addr>,
    remote: SocketAddrV4,
}

impl Outbox for BatchOutbox<'_> {
    fn send(&mut self, datagram: &[u8]) {
        self.batch.push(self.source, self.remote, datagram);
    }
}

impl FleetState {
    pub(super) fn new(addressing: Addressing, identity: Identity, sockets: usize, loss: f64) -> Result<Self> {
        Ok(Self {
            addressing,
            identity,
            places: Vec::new(),
            batches: std::iter::repeat_with(SendBatch::default).take(sockets).collect(),
            totals: Totals::new()?,
            connecting: Vec::new(),
            repairing: Vec::new(),
            tick_cursor: 0,
            tick_debt: 0.0,
            ticked_at: None,
            loss,
            random: 0x9e37_79b9_7f4a_7c15,
            window_ended_at: None,
        })
    }

    pub(super) fn add(&mut self, now: Instant, index: usize, spec: ViewerSpec) {
        let configuration = match self.identity.configuration(spec.answer.fingerprint) {
            Ok(configuration) => configuration,
            Err(error) => return self.note_failure(index, &error),
        };
        let Some(remote) = spec.answer.candidates.first().copied() else { return };
        let source = match self.addressing {
            Addressing::Loopback => Some(Ipv4Addr::from(FIRST_ADDRESS + index as u32)),
            Addressing::OwnSockets => None,
        };
        let viewer = Viewer::new(now, spec);
        let place = Place {
            viewer,
            source,
            remote,
            configuration,
            added_at: now,
            media_at: None,
            waits_for_repair: false,
        };
        while self.places.len() <= index {
            self.places.push(None);
        }
        if let Some(slot) = self.places.get_mut(index) {
            *slot = Some(Box::new(place));
        }
        self.connecting.push(index);
    }

    /// Takes a run of datagrams from socket `socket`.
    pub(super) fn receive(&mut self, now: Instant, socket: usize, received: Received<'_>) {
        let index = match self.addressing {
            Addressing::Loopback => u32::from(received.destination).wrapping_sub(FIRST_ADDRESS) as usize,
            Addressing::OwnSockets => socket,
        };
        for datagram in received.payload.chunks_mut(received.segment_bytes) {
            self.receive_datagram(now, index, received.arrival_ns, datagram);
        }
    }

    fn receive_datagram(&mut self, now: Instant, index: usize, arrival_ns: u64, datagram: &mut [u8]) {
        let socket = if self.addressing == Addressing::Loopback { 0 } else { index };
        let (Some(Some(place)), Some(batch)) = (self.places.get_mut(index), self.batches.get_mut(socket))
        else {
            self.totals.unreadable += 1;
            return;
        };
        let mut outbox = BatchOutbox { batch, source: place.source, remote: place.remote };
        // RFC 7983 §7: the first byte tells the protocols apart; RFC 5761 §4 the second one RTP from RTCP.
        let result = match (datagram.first().copied(), datagram.get(1).copied()) {
            (Some(0..=3), _) => {
                let identity = (&**self.identity.provider(), &place.configuration);
                place.viewer.receive_stun(now, datagram, identity, &mut outbox)
            }
            (Some(20..=63), _) => place.viewer.receive_dtls(now, datagram, &mut outbox),
            (Some(128..=191), Some(192..=223)) => {
                place.viewer.receive_rtcp(now, datagram, &mut self.totals);
                Ok(())
            }
            (Some(128..=191), _) => {
                place.media_at = Some(now);
                self.random = next_random(self.random);
                let unlucky = (self.random >> 40) as f64 / (1u64 << 24) as f64 <= self.loss;
                if self.loss > 0.0 && unlucky && place.viewer.is_repairable(datagram) {
                    self.totals.dropped += 1;
                } else {
                    place.viewer.receive_rtp(now, arrival_ns, datagram, &mut self.totals);
                    if !place.waits_for_repair && place.viewer.has_missing() {
                        place.waits_for_repair = true;
                        self.repairing.push(index);
                    }
                }
                Ok(())
            }
            _ => {
                self.totals.unreadable += 1;
                Ok(())
            }
        };
        if let Err(error) = result {
            let was_playing = place.viewer.phase() == Phase::Playing;
            place.viewer.give_up();
            if was_playing {
                tracing::warn!(viewer = index, error = format!("{error:#}"), "session ended");
            } else {
                self.note_failure(index, &error);
            }
        }
    }

    fn note_failure(&mut self, index: usize, error: &anyhow::Error) {
        self.totals.failed += 1;
        if self.totals.failed <= SHOWN_FAILURES {
            tracing::warn!(viewer = index, error = format!("{error:#}"), "viewer failed");
        }
    }

    /// Does what is due: joins, repairs, feedback.
    pub(super) fn run_timers(&mut self, now: Instant) {
        self.drive_joins(now);
        for index in std::mem::take(&mut self.repairing) {
            let missing = self.with_viewer(index, |viewer, _, totals, outbox| {
                viewer.request_missing(now, totals, outbox);
                viewer.has_missing()
            });
            if missing == Some(true) {
                self.repairing.push(index);
            } else if let Some(Some(place)) = self.places.get_mut(index) {
                place.waits_for_repair = false;
            }
        }
        let since = self.ticked_at.replace(now).map_or(Duration::ZERO, |at| now.duration_since(at));
        let count = self.places.len();
        self.tick_debt += since.as_secs_f64() / TICK_INTERVAL.as_secs_f64() * count as f64;
        self.tick_debt = self.tick_debt.min(count as f64);
        while self.tick_debt >= 1.0 {
            self.tick_debt -= 1.0;
            self.tick_cursor = (self.tick_cursor + 1) % count.max(1);
            self.with_viewer(self.tick_cursor, |viewer, identity, totals, outbox| {
                viewer.tick(now, &**identity.provider(), totals, outbox);
            });
        }
    }

    fn drive_joins(&mut self, now: Instant) {
        for index in std::mem::take(&mut self.connecting) {
            let phase = self.with_viewer(index, |viewer, identity, _, outbox| {
                viewer.connect(now, &**identity.provider(), outbox);
                viewer.phase()
            });
            if !matches!(phase, Some(Phase::Checking | Phase::Handshaking)) {
                continue;
            }
            let late = match self.places.get_mut(index) {
                Some(Some(place)) if now.duration_since(place.added_at) > CONNECT_TIMEOUT => {
                    place.viewer.give_up();
                    true
                }
                _ => false,
            };
            if late {
                self.note_failure(
                    index,
                    &anyhow::anyhow!("not connected after {CONNECT_TIMEOUT:?} ({phase:?})"),
                );
            } else {
                self.connecting.push(index);
            }
        }
    }

    fn with_viewer<T>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Viewer, &Identity, &mut Totals, &mut BatchOutbox<'_>) -> T,
    ) -> Option<T> {
        let socket = if self.addressing == Addressing::Loopback { 0 } else { index };
        let place = self.places.get_mut(index)?.as_mut()?;
        let batch = self.batches.get_mut(socket)?;
        let mut outbox = BatchOutbox { batch, source: place.source, remote: place.remote };
        Some(act(&mut place.viewer, &self.identity, &mut self.totals, &mut outbox))
    }

    /// Sends what viewers have to say.
    pub(super) fn flush(&mut self, sockets: &[WildcardSocket]) {
        for (socket, batch) in sockets.iter().zip(&mut self.batches) {
            if !batch.is_empty() {
                socket.send(batch);
            }
        }
    }

    pub(super) fn begin_window(&mut self) {
        self.totals.latency_us.reset();
        self.window_ended_at = None;
        for place in self.places.iter_mut().flatten() {
            place.viewer.begin_window();
        }
    }

    pub(super) fn end_window(&mut self, now: Instant) {
        self.window_ended_at = Some(now);
        for place in self.places.iter_mut().flatten() {
            place.viewer.end_window();
        }
    }

    fn has_lost_session(&self, place: &Place) -> bool {
        let silent = match (self.window_ended_at, place.media_at) {
            (Some(end), Some(last)) => end.saturating_duration_since(last) > LONGEST_SILENCE,
            _ => false,
        };
        place.viewer.has_media() && (silent || place.viewer.phase() == Phase::Closed)
    }

    /// All counts; those that each viewer keeps are of the first `viewers`.
    pub(super) fn snapshot(&self, viewers: usize) -> Totals {
        let mut totals = self.totals.clone();
        for place in self.places.iter().take(viewers).flatten() {
            for counts in place.viewer.counts() {
                totals.sequences.expected += counts.expected;
                totals.sequences.received += counts.received;
                totals.sequences.repaired += counts.repaired;
                totals.sequences.duplicates += counts.duplicates;
                totals.sequences.pending += counts.pending;
                totals.sequences.untold += counts.untold;
            }
            totals.lost += u64::from(self.has_lost_session(place));
            totals.playing += u64::from(place.viewer.phase() == Phase::Playing);
            totals.complete += u64::from(place.viewer.is_complete());
        }
        totals
    }
}

/// xorshift64*: which packets are lost need only look random.
fn next_random(state: u64) -> u64 {
    let mut state = state;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    state
}
