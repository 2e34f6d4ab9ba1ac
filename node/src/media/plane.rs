//! One shard's media plane: packets of publishers in, sealed datagrams for all who watch out.
//!
//! In: datagrams of known peers (`receive`), packets and wishes of other shards (`receive_shard`), time (`handle_timeout`).
//! Out: sealed datagrams (`flush`), events (`poll_event`), messages for other shards (`poll_shard`), the next deadline
//! (`poll_timeout`). After any input, call `flush`: nothing leaves by itself.
//!
//! ```text
//! publisher -> open -> ring of its track's layer -+-> leg -> seal -> viewer      (fan_out)
//!                                                 +-> one Arc batch per shard    (mirror)
//! ring of a joining viewer's layer -> leg, paced                             (catch_up)
//! viewer: NACK -> ring -> RTX (retransmit)        PLI -> one request per layer (keyframe)
//! estimate, wish -> which layer each leg plays (choice)
//! ```

mod catch_up;
mod choice;
mod clock;
mod departure;
mod error;
mod estimate;
mod fan_out;
mod forwarded;
mod hold;
mod keyframe;
mod membership;
mod mirror;
mod publisher;
pub mod quality;
mod redundancy;
mod report;
mod resend_budget;
mod retransmit;
mod schedule;
mod sender_report;
mod table;
mod told_loss;
mod track;
mod transport;
mod viewer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;
use slab::Slab;

pub use clock::SenderClock;
pub use error::PlaneError;
pub use forwarded::Forwarded;
pub use report::{LayerReport, PartReport, TrackReport};

use crate::media::counters::Counters;
use crate::media::gather;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::{Path, PeerKey, ShardId};
use crate::media::rate::RateMeter;
use crate::media::rtp;
use crate::media::spec::{PlaneEvent, ShardMessage};
use catch_up::CatchUps;
use departure::{Departure, Departures};
use fan_out::{Exit, Outlet, fan_out};
use publisher::Publisher;
use schedule::{Schedule, Task};
use table::Table;
use track::Track;
use transport::{SendTime, Transport};
use viewer::{RESEND_QUEUE_CAPACITY, Resend, Viewer};

/// Room for one datagram while it is put together: an RTP packet of the largest size that UDP carries unfragmented on any
/// link we know, or a compound packet.
const SCRATCH_BYTES: usize = 16 * 1024;

/// What a peer does here.
enum Role {
    Publisher(Box<Publisher>),
    Viewer(Box<Viewer>),
}

/// See the module.
pub struct Plane {
    shard: ShardId,
    epoch: Instant,
    random: StdRng,
    /// The hot half of each peer, by its index.
    transports: Table<Transport>,
    /// The other half, by the same index.
    roles: Table<Role>,
    tracks: Slab<Track>,
    places: FxHashMap<TrackId, usize>,
    departures: Departures,
    /// Those that leave with the flush that runs; empty otherwise.
    leaving: Vec<Departure>,
    resends: Vec<Resend>,
    /// Viewers with some that wait for their pace, and when more of them are sent.
    resends_waiting: Vec<PeerKey>,
    resends_due: Option<Instant>,
    /// See [`retransmit::PACE_PERCENT`].
    resend_pace_percent: u64,
    /// When the first of them was asked for.
    resends_since: Option<Instant>,
    /// Legs that began with what a ring had.
    catch_ups: CatchUps,
    /// Viewers whose sender reports are due.
    reports: Vec<PeerKey>,
    /// Viewers whose probes are to go on.
    probes: Vec<PeerKey>,
    /// Viewers whose picture is held back since the window that leaves.
    held: Vec<PeerKey>,
    /// Publishers with feedback to send.
    feedback: Vec<PeerKey>,
    schedule: Schedule,
    events: VecDeque<PlaneEvent>,
    shard_messages: VecDeque<(ShardId, ShardMessage)>,
    counters: Counters,
    /// How long a publisher may send no media before that is told.
    silence_limit: Option<Duration>,
    sent_rate: RateMeter,
    scratch: Box<[u8; SCRATCH_BYTES]>,
}

impl Plane {
    /// An empty plane. `seed` decides everything that is random in it.
    pub fn new(shard: ShardId, seed: u64, now: Instant) -> Self {
        Self {
            shard,
            epoch: now,
            random: StdRng::seed_from_u64(seed),
            transports: Table::new(),
            roles: Table::new(),
            tracks: Slab::new(),
            places: FxHashMap::default(),
            departures: Departures::new(),
            leaving: Vec::with_capacity(64),
            resends: Vec::with_capacity(RESEND_QUEUE_CAPACITY),
            resends_waiting: Vec::new(),
            resends_due: None,
            resend_pace_percent: retransmit::PACE_PERCENT,
            resends_since: None,
            catch_ups: CatchUps::default(),
            reports: Vec::with_capacity(64),
            probes: Vec::with_capacity(64),
            held: Vec::new(),
            feedback: Vec::with_capacity(64),
            schedule: Schedule::new(now),
            events: VecDeque::with_capacity(64),
            shard_messages: VecDeque::with_capacity(64),
            counters: Counters::default(),
            silence_limit: None,
            sent_rate: RateMeter::new(now),
            scratch: Box::new([0; SCRATCH_BYTES]),
        }
    }

    /// Media of `peer` goes to `path` from now on. What is known of a path is not known of another.
    pub fn move_peer(&mut self, now: Instant, peer: PeerKey, path: Path) {
        let Some(transport) = self.transport_mut(peer) else { return };
        if std::mem::replace(&mut transport.path, path) != path {
            self.forget_path(now, peer);
        }
    }

    /// A datagram of RTP or RTCP (RFC 5761) from `peer`, which is opened in place. `arrival`: when the kernel had it.
    pub fn receive(&mut self, now: Instant, arrival: Instant, peer: PeerKey, datagram: &mut [u8]) {
        let role = self.is_known(peer).then(|| self.roles.get(peer.index)).flatten();
        match role {
            Some(Role::Publisher(_)) if rtp::is_rtcp(datagram) => {
                self.receive_rtcp_from_publisher(now, arrival, peer, datagram);
            }
            Some(Role::Publisher(_)) => self.receive_rtp(now, arrival, peer, datagram),
            Some(Role::Viewer(_)) if rtp::is_rtcp(datagram) => {
                self.receive_from_viewer(now, arrival, peer, datagram);
            }
            // A viewer sends no media.
            Some(Role::Viewer(_)) => self.counters.rtp_malformed += 1,
            None => self.counters.peer_unknown += 1,
        }
    }

    /// Sends what is due: first the windows that are over, then to who catches up, all retransmissions, probes, feedback to publishers and
    /// sender reports. `batch` is empty afterwards. Returns how old what it sent is.
    pub fn flush(&mut self, now: Instant, batch: &mut SendBatch, transmit: &mut impl Transmit) -> Forwarded {
        let mut forwarded = Forwarded::default();
        let sent_before = self.counters.rtp_sent_packets;
        let send_time = self.send_time(now);
        self.depart(now, send_time, &mut forwarded, batch, transmit);
        self.send_catch_ups(now, send_time, batch, transmit);
        self.send_waiting_resends(now, send_time, batch, transmit);
        if !self.resends.is_empty() {
            forwarded.rtx = self.send_resends(now, send_time, batch, transmit);
        }
        if !self.probes.is_empty() {
            self.send_probes(now, send_time, batch, transmit);
        }
        if !self.feedback.is_empty() {
            self.send_feedback(now, batch, transmit);
        }
        if !self.reports.is_empty() {
            self.send_sender_reports(now, batch, transmit);
        }
        batch.flush(transmit);
        self.sent_rate.add(now, self.counters.rtp_sent_packets - sent_before);
        forwarded
    }

    /// What happened since the last call.
    pub fn poll_event(&mut self) -> Option<PlaneEvent> {
        self.events.pop_front()
    }

    /// The next message for another shard.
    pub fn poll_shard(&mut self) -> Option<(ShardId, ShardMessage)> {
        self.shard_messages.pop_front()
    }

    /// When [`Self::handle_timeout`] and [`Self::flush`] want to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.schedule.next_due(), self.next_departure()].into_iter().flatten().min()
    }

    /// When the next window is over, or more is to be sent to who catches up: the deadlines that viewers notice.
    pub fn next_departure(&self) -> Option<Instant> {
        [self.departures.next_due(), self.catch_ups.next_due(), self.resends_due].into_iter().flatten().min()
    }

    /// How long a track's packets are gathered now.
    pub fn gather_window(&self, now: Instant) -> Duration {
        gather::window(self.fan_out_per_second(now))
    }

    /// Does what is due at `now`; what comes of it leaves with the next [`Self::flush`].
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(task) = self.schedule.pop_due(now) {
            match task {
                Task::SenderReports(peer) => self.sender_reports_due(now, peer),
                Task::ReceiverReports(peer) => self.receiver_reports_due(now, peer),
                Task::TransportFeedback(peer) => self.transport_feedback_due(peer),
                Task::Probe(peer) => self.probes.push(peer),
                Task::Held(peer) => self.held_due(now, peer),
                Task::Nack(peer) => self.nack_due(peer),
                Task::Keyframe(track, layer) => self.keyframe_due(now, track, layer),
            }
        }
        // An idle plane has no other moment to notice that it is.
        self.sent_rate.add(now, 0);
    }

    /// Datagrams sealed per second, over about the last second: the load figure that gathering goes by.
    pub fn fan_out_per_second(&self, now: Instant) -> f64 {
        self.sent_rate.per_second(now)
    }

    /// Totals of this plane.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Fans out the windows that are over.
    fn depart(
        &mut self,
        now: Instant,
        send_time: SendTime,
        forwarded: &mut Forwarded,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) {
        let mut leaving = std::mem::take(&mut self.leaving);
        self.departures.take(&mut leaving, |departure| departure.due <= now);
        self.take_small_along(now, &mut leaving);
        self.take_sound_along(&mut leaving);
        // A picture before its sound: the datagram that ends a run may be shorter than the others, not longer.
        leaving.sort_unstable_by_key(|departure| {
            let track = self.tracks.get(departure.place);
            track.map(|track| (track.company(), !track.is_video()))
        });
        for departure in &leaving {
            self.begin_narrow(now, departure.place);
            self.prepare(now, departure.place, send_time.fixed_point);
        }
        let mut outlet = Outlet {
            transports: &mut self.transports,
            events: &mut self.events,
            held: &mut self.held,
            forwarded,
            exit: Exit { batch, transmit, counters: &mut self.counters, at_micros: send_time.micros },
        };
        let mut rest = leaving.as_slice();
        while let Some(first) = rest.first() {
            let company = |departure: &Departure| self.tracks.get(departure.place).map(Track::company);
            let together = rest.iter().take_while(|other| company(other) == company(first)).count();
            let (group, others) = rest.split_at(together.max(1));
            fan_out(&mut self.tracks, group.iter().map(|departure| departure.place), &mut outlet);
            rest = others;
        }
        if !leaving.is_empty() {
            self.catch_ups.more_came(now);
        }
        self.watch_holds(now);
        for departure in leaving.drain(..) {
            if let Some(track) = self.tracks.get_mut(departure.place) {
                track.clear_window();
                track.grow_rings(now);
            }
        }
        self.leaving = leaving;
    }

    /// Sound whose window is still open leaves with a picture for the same viewers: that saves it a run of its own. Not so
    /// the other way round, which would cut the picture's run in two.
    fn take_sound_along(&mut self, leaving: &mut Vec<Departure>) {
        let tracks = &self.tracks;
        for number in 0..leaving.len() {
            let track = leaving.get(number).and_then(|departure| tracks.get(departure.place));
            let Some(company) = track.filter(|track| track.is_video()).map(Track::company) else { continue };
            self.departures.take(leaving, |departure| {
                let track = tracks.get(departure.place);
                track.is_some_and(|track| !track.is_video() && track.company() == company)
            });
        }
    }

    /// Tracks with few viewers leave with whatever does: a shard that serves many small rooms would run a round for each of
    /// their windows otherwise, which costs more than the longer runs save.
    fn take_small_along(&mut self, now: Instant, leaving: &mut Vec<Departure>) {
        if leaving.is_empty() {
            return;
        }
        let window = self.gather_window(now);
        let tracks = &self.tracks;
        self.departures.take(leaving, |departure| {
            let Some(track) = tracks.get(departure.place) else { return true };
            // What only other shards play is handed to them in as few batches as its own time makes.
            let elsewhere = track.legs.is_empty() && !track.subscribers.is_empty();
            !elsewhere && departure.gains_little(now, window, track.legs.len() as u32)
        });
    }

    /// Makes the window of the track at `place` ready for its legs, and hands it to the shards that mirror the track.
    fn prepare(&mut self, now: Instant, place: usize, send_time: u32) {
        self.look_at_layers(now, place);
        let Some(track) = self.tracks.get_mut(place) else { return };
        track.drop_overwritten();
        mirror::export(track, &mut self.shard_messages);
        if !track.legs.is_empty() {
            track.prepare(send_time);
        }
    }

    fn is_known(&self, peer: PeerKey) -> bool {
        self.transports.get(peer.index).is_some_and(|transport| transport.key == peer)
    }

    fn transport_mut(&mut self, peer: PeerKey) -> Option<&mut Transport> {
        self.transports.get_mut(peer.index).filter(|transport| transport.key == peer)
    }

    /// Wraps after 49 days, as everything that it is compared with does.
    fn since_epoch_ms(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_millis() as u32
    }

    fn since_epoch_micros(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.epoch).as_micros() as i64
    }

    fn send_time(&self, now: Instant) -> SendTime {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        let fixed_point = ((elapsed << 18) / Duration::from_secs(1).as_nanos()) as u32 & 0x00FF_FFFF;
        SendTime { fixed_point, micros: self.since_epoch_micros(now) as u32 }
    }
}
