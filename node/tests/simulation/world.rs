//! A whole broadcast on virtual time: one publisher, some viewers, the node between them, and the network around it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aforo_cluster::id::{SessionId, TrackId};
use aforo_node::media::codec::MediaKind;
use aforo_node::media::negotiated::{Direction, DtlsRole, IceCredentials};
use aforo_node::media::path::{Path, ShardId};
use aforo_node::media::ring::{AUDIO_RING_CAPACITY_BYTES, VIDEO_RING_CAPACITY_BYTES};
use aforo_node::media::selection::LayerWish;
use aforo_node::media::spec::{EgressTrack, IngestTrack};
use aforo_node::peer::ice;
use aforo_node::peer::message::{EndReason, PeerConfig, PeerInput};
use aforo_node::shard::message::PeerMedia;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::client::Client;
use crate::dice::Dice;
use crate::flow::Sky;
use crate::member::{Member, Place, Role};
use crate::memory;
use crate::mischief;
use crate::network::{Class, Link, Weather};
use crate::node::Node;
use crate::oracle::{Tap, digest};
use crate::publisher::Publisher;
use crate::scenario::{Act, Scenario, ViewerPlan};
use crate::session::{PlanOptions, TrackPlan, negotiated, plans};
use crate::viewer::Viewer;

const AUDIO: TrackId = TrackId(1);
const VIDEO: TrackId = TrackId(2);

/// Rounds without time passing that are still work; more is a timer that is never satisfied.
const ROUNDS_PER_INSTANT: u32 = 1_000;

/// What a shard may have beside its rings: buffers for one step, the windows and the numbering of layers.
const SHARD_BYTES_MAX: usize = 768 << 10;

/// What a peer may have.
const PEER_BYTES_MAX: usize = 64 << 10;

/// What a shard that is empty again may have more than when it was new: tables and queues keep their capacity, 60 to 65 KiB.
/// The least ring that were left would be more than what this adds to that.
const LEFT_BYTES_MAX: isize = 80 << 10;

enum Event {
    ToNode { shard: ShardId, from: SocketAddr, datagram: Vec<u8> },
    ToMember { member: usize, address: SocketAddr, datagram: Vec<u8> },
    Act(Act),
    Publish,
}

/// See the module.
pub struct World {
    seed: u64,
    scenario: Scenario,
    start: Instant,
    now: Instant,
    node: Node,
    members: Vec<Member>,
    addresses: HashMap<SocketAddr, usize>,
    events: BinaryHeap<Reverse<(Instant, u64)>>,
    pending: HashMap<u64, Event>,
    order: u64,
    dice: Dice,
    trace: u64,
    steps: u64,
    stop_at: Instant,
    /// Bytes that nodes of this thread had before this one, that this one had when it was new, and its most.
    memory_before: isize,
    memory_new: isize,
    memory_most: isize,
}

/// On what terms a client joins.
struct Terms {
    shard: ShardId,
    /// The client's own.
    role: DtlsRole,
    profile: SrtpProtectionProfile,
}

/// What a run leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Of everything that media did, when and to whom.
    pub trace: u64,
    pub steps: u64,
    pub media_packets: u64,
    pub expected: usize,
    pub missing: usize,
    pub repaired: usize,
    pub switches: usize,
    pub frames: usize,
    pub keyframe_requests: u32,
}

impl World {
    /// Plays `scenario` to its end. An error is what the oracle saw, and when.
    pub fn run(scenario: &Scenario) -> Result<Outcome, String> {
        let start = Instant::now();
        let memory_before = memory::node_bytes();
        let mut world = Self {
            seed: scenario.seed,
            scenario: scenario.clone(),
            start,
            now: start,
            node: Node::new(scenario.shards, scenario.gather, scenario.seed, start),
            members: Vec::new(),
            addresses: HashMap::new(),
            events: BinaryHeap::new(),
            pending: HashMap::new(),
            order: 0,
            dice: Dice::new(scenario.seed, 99),
            trace: 0,
            steps: 0,
            stop_at: start + scenario.duration,
            memory_before,
            memory_new: 0,
            memory_most: 0,
        };
        world.memory_new = world.memory();
        world.add_publisher();
        for (at, act) in &scenario.acts {
            world.schedule(start + *at, Event::Act(act.clone()));
        }
        let end = world.stop_at;
        world.play(end).and_then(|()| world.judge(scenario)).map_err(|complaint| {
            format!("seed {} at {:?}: {complaint}\n{scenario:#?}", scenario.seed, world.now - world.start)
        })
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order)));
        self.pending.insert(self.order, event);
    }

    fn add_publisher(&mut self) {
        let scenario = self.scenario.clone();
        let place = self.publishers().count() as u32;
        let plans = plans(PlanOptions {
            ssrc: self.dice.next() as u32 & !0xF,
            mids: ["0", "1"],
            payload_types: [111, 96],
            codec: scenario.show.manner.format.codec,
            encodings: scenario.show.encodings.into(),
            best_first: scenario.show.best_first,
            descriptor: scenario.show.manner.format.descriptor,
            rtx: scenario.show.rtx,
            transport_cc: true,
            announced: scenario.show.announced,
        });
        let tracks = [AUDIO, VIDEO].into_iter().zip(&plans);
        let tracks = tracks.map(|(id, plan)| IngestTrack { id, media: plan.negotiated(Direction::Publish) });
        let media = PeerMedia::Ingest(tracks.collect());
        let terms = Terms { shard: ShardId(0), role: scenario.publisher_role, profile: scenario.profile };
        let (client, home) = self.join(terms, Direction::Publish, &plans, media);
        // It stops early enough for repair to end before the run does.
        let stop_at = self.stop_at - Duration::from_millis(500);
        let publisher = Publisher::new(
            client,
            plans,
            scenario.show.manner,
            place,
            Dice::new(self.seed, 50 + u64::from(place)),
            self.now,
            stop_at,
        );
        let weather = [scenario.publisher_up, scenario.publisher_down];
        self.add_member(home, weather, Role::Publisher(Box::new(publisher)), Vec::new());
    }

    fn add_viewer(&mut self, plan: &ViewerPlan) {
        let plans = plans(PlanOptions {
            ssrc: self.dice.next() as u32 & !0xF,
            mids: ["a", "v"],
            payload_types: plan.payload_types,
            codec: self.scenario.show.manner.format.codec,
            encodings: 1,
            best_first: false,
            descriptor: plan.descriptor && self.scenario.show.manner.format.descriptor,
            rtx: plan.rtx,
            transport_cc: plan.transport_cc,
            announced: true,
        });
        let tracks = [AUDIO, VIDEO].into_iter().zip(&plans).map(|(id, plan)| EgressTrack {
            id,
            origin: ShardId(0),
            media: plan.negotiated(Direction::Play),
        });
        let media = PeerMedia::Egress(tracks.collect());
        let terms = Terms { shard: ShardId(plan.shard), role: plan.role, profile: plan.profile };
        let rtx = plans.iter().filter_map(|plan| plan.encodings[0].rtx_ssrc).collect();
        let (client, place) = self.join(terms, Direction::Play, &plans, media);
        let viewer = Viewer::new(client, plans, self.dice.next() as u32, self.now);
        self.add_member(place, [plan.up, plan.down], Role::Viewer(Box::new(viewer)), rtx);
    }

    /// What signalling does for a new session.
    fn join(
        &mut self,
        terms: Terms,
        direction: Direction,
        plans: &[TrackPlan; 2],
        media: PeerMedia,
    ) -> (Client, Place) {
        let Terms { shard, role, profile } = terms;
        let ours = ice::credentials(shard).unwrap();
        let theirs = self.credentials();
        let client = Client::new(theirs.clone(), ours.clone(), role, profile, self.now);
        let agreed = negotiated(direction, theirs, role, client.fingerprint(), plans);
        let session = SessionId::random();
        let config = PeerConfig { local_ice: ours, negotiated: agreed };
        let key = self.node.add_peer(self.now, shard, session, config, media);
        let gcm = profile != SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;
        (client, Place { shard, key, session, gcm })
    }

    fn add_member(&mut self, place: Place, [up, down]: [Weather; 2], role: Role, rtx_ssrcs: Vec<u32>) {
        let index = self.members.len();
        let address = SocketAddr::from(([10, 0, 0, index as u8 + 1], 5_000));
        let link = |weather, way| Link::new(weather, self.seed, 100 + 2 * index as u64 + way, self.now);
        self.members.push(Member {
            address,
            place,
            up: link(up, 0),
            down: link(down, 1),
            role,
            tap: Tap::default(),
            rtx_ssrcs,
            left_at: None,
            vanished: false,
            joined: self.now,
            moved: false,
            steps: Vec::new(),
            wished: false,
        });
        self.addresses.insert(address, index);
    }

    fn play(&mut self, end: Instant) -> Result<(), String> {
        let mut rounds = 0;
        loop {
            let members = self.members.iter().filter_map(Member::poll_timeout);
            let event = self.events.peek().map(|Reverse((at, _))| *at);
            let next = members.chain(event).chain(self.node.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next < end) else {
                self.now = end;
                return Ok(());
            };
            rounds = if next > self.now { 0 } else { rounds + 1 };
            if rounds > ROUNDS_PER_INSTANT {
                return Err("time stands still".to_owned());
            }
            self.now = self.now.max(next);
            self.steps += 1;
            self.round()?;
        }
    }

    /// Everything that is due now.
    fn round(&mut self) -> Result<(), String> {
        while let Some(Reverse((at, order))) = self.events.peek().copied() {
            if at > self.now {
                break;
            }
            self.events.pop();
            let event = self.pending.remove(&order).unwrap();
            self.happen(event);
        }
        for member in &mut self.members {
            if member.poll_timeout().is_some_and(|at| at <= self.now) {
                member.handle_timeout(self.now);
            }
        }
        self.carry_up();
        for (shard, path, datagram) in self.node.step(self.now) {
            self.carry_down(shard, path, datagram)?;
        }
        self.look_at_memory()
    }

    /// The node has no more than what its peers and their tracks need.
    fn look_at_memory(&mut self) -> Result<(), String> {
        let bytes = self.memory();
        if bytes > self.memory_most {
            self.memory_most = bytes;
            let bound = self.memory_bound();
            if bytes > bound {
                return Err(format!("the node has {bytes} bytes, of {bound}"));
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToNode { shard, from, datagram } => {
                self.node.receive(self.now, shard, Path::Udp(from), datagram);
            }
            Event::ToMember { member, address, datagram } => {
                let now = self.now;
                let target = &mut self.members[member];
                // What was on its way to an address that the client has left is lost.
                if target.address == address
                    && let Some(seen) = target.handle(now, &datagram)
                {
                    self.trace = digest((self.trace, now - self.start, member, seen));
                }
            }
            Event::Act(act) => self.act(act),
            Event::Publish => self.add_publisher(),
        }
    }

    /// Bytes that the node has.
    fn memory(&self) -> isize {
        memory::node_bytes() - self.memory_before
    }

    fn memory_bound(&self) -> isize {
        // Each shard with viewers has all rings.
        let rings =
            usize::from(self.scenario.show.encodings) * VIDEO_RING_CAPACITY_BYTES + AUDIO_RING_CAPACITY_BYTES;
        let shards = usize::from(self.scenario.shards);
        (shards * (SHARD_BYTES_MAX + rings) + self.members.len() * PEER_BYTES_MAX) as isize
    }

    fn publishers(&self) -> impl Iterator<Item = &Publisher> {
        self.members.iter().filter_map(Member::publisher)
    }

    /// The publisher that is there, or the viewer of this number.
    fn member(&mut self, number: usize) -> Option<(usize, &mut Member)> {
        let members = self.members.iter_mut().enumerate();
        match number.checked_sub(1) {
            None => members.filter(|(_, member)| member.publisher().is_some()).last(),
            Some(place) => members.filter(|(_, member)| member.publisher().is_none()).nth(place),
        }
        .filter(|(_, member)| member.left_at.is_none())
    }

    fn leave(&mut self, number: usize) {
        let now = self.now;
        if let Some((_, member)) = self.member(number) {
            member.left_at = Some(now);
            let Place { shard, key, .. } = member.place;
            self.node.tell(shard, key, PeerInput::Close(EndReason::Deleted));
        }
    }

    fn act(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Join(plan) => {
                if self.publishers().last().is_some_and(|publisher| publisher.client.is_connected()) {
                    self.add_viewer(&plan);
                } else {
                    // Signalling answers 409 until there is a stream; the page asks again.
                    self.schedule(now + Duration::from_millis(100), Event::Act(Act::Join(plan)));
                }
            }
            Act::Leave(number) => self.leave(number),
            Act::Republish(pause) => {
                // It may still be on its way in, or only just be there.
                if self.publishers().any(|publisher| publisher.records(MediaKind::Video).len() > 200) {
                    self.leave(0);
                    self.schedule(now + pause, Event::Publish);
                }
            }
            Act::Move(number) => {
                if let Some((index, member)) = self.member(number) {
                    let before = member.address;
                    member.address.set_port(before.port() + 1);
                    member.moved = true;
                    member.client().moved(now);
                    let address = member.address;
                    self.addresses.remove(&before);
                    self.addresses.insert(address, index);
                }
            }
            Act::RestartIce(number) => self.restart_ice(number),
            Act::Throttle(number, bandwidth_bps) => {
                if let Some((_, member)) = self.member(number) {
                    member.throttle(now, bandwidth_bps);
                }
            }
            Act::Wish(number, limit) => {
                if let Some((_, member)) = self.member(number) {
                    member.wished = true;
                    let Place { shard, key, .. } = member.place;
                    self.node.wish(now, shard, key, limit.map_or(LayerWish::Best, LayerWish::AtMost));
                }
            }
            Act::Vanish(number) => {
                if let Some((_, member)) = self.member(number) {
                    member.vanished = true;
                    let address = member.address;
                    self.addresses.remove(&address);
                }
            }
            Act::Mischief(number) => {
                let mut dice = self.dice.clone();
                self.dice.next();
                if let Some((_, member)) = self.member(number) {
                    mischief::play(member.client(), &mut dice);
                }
            }
            Act::Garbage(len) => {
                // From a stranger or, spoofed, from a member; of any protocol.
                let from = self.dice.between(0, self.members.len() as u64) as u8;
                let datagram = mischief::garbage(len, &mut self.dice);
                let address = SocketAddr::from(([10, 0, 0, from], 5_000));
                self.node.receive(self.now, ShardId(0), Path::Udp(address), datagram);
            }
        }
    }

    fn restart_ice(&mut self, number: usize) {
        let (remote, now) = (self.credentials(), self.now);
        let Some((_, member)) = self.member(number) else { return };
        let Place { shard, key, .. } = member.place;
        let local = ice::credentials(shard).unwrap();
        member.client().restart_ice(remote.clone(), local.clone(), now);
        self.node.tell(shard, key, PeerInput::RestartIce { local, remote });
    }

    /// A client's.
    fn credentials(&mut self) -> IceCredentials {
        IceCredentials {
            ufrag: format!("c{:07x}", self.dice.between(0, 0xFFF_FFFF)),
            password: format!("{:024x}", self.dice.next()),
        }
    }

    fn carry_up(&mut self) {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            let (shard, from) = (member.place.shard, member.address);
            let mut arrivals = Vec::new();
            for (class, datagram) in member.client().take_outbox() {
                if member.vanished {
                    continue;
                }
                for at in member.up.carry(self.now, class, datagram.len()) {
                    arrivals.push((at, datagram.to_vec()));
                }
            }
            for (at, datagram) in arrivals {
                self.schedule(at, Event::ToNode { shard, from, datagram });
            }
        }
    }

    fn carry_down(&mut self, shard: ShardId, path: Path, datagram: Vec<u8>) -> Result<(), String> {
        let address = path.remote();
        let Some(index) = self.addresses.get(&address).copied() else { return Ok(()) };
        let member = &mut self.members[index];
        if member.place.shard != shard {
            return Err(format!("shard {shard:?} sends to {address}, which is of {:?}", member.place.shard));
        }
        let class = Class::of(&datagram);
        if class == Class::Media {
            if member.left_at.is_some_and(|at| at < self.now) {
                return Err(format!("media for {address}, which has left"));
            }
            let observed = member.tap.observe(&datagram, &member.rtx_ssrcs, member.place.gcm);
            observed.map_err(|complaint| format!("to {address}: {complaint}"))?;
        }
        let arrivals = member.down.carry(self.now, class, datagram.len());
        for at in arrivals {
            self.schedule(at, Event::ToMember { member: index, address, datagram: datagram.clone() });
        }
        Ok(())
    }

    /// What must be true of the run as a whole, and that everything is gone after it.
    fn judge(&mut self, scenario: &Scenario) -> Result<Outcome, String> {
        let mut outcome = Outcome {
            trace: self.trace,
            steps: self.steps,
            media_packets: self.members.iter().map(|member| member.tap.media_packets).sum(),
            expected: 0,
            missing: 0,
            repaired: 0,
            switches: 0,
            frames: 0,
            keyframe_requests: 0,
        };
        let publishers: Vec<&Publisher> = self.publishers().collect();
        let mut sky = Sky::Clear;
        for (source, member) in
            publishers.iter().zip(self.members.iter().filter(|member| member.publisher().is_some()))
        {
            source.complaints.first().map_or(Ok(()), |complaint| Err(format!("publisher: {complaint}")))?;
            outcome.keyframe_requests += source.keyframe_requests;
            sky = sky.max(member.sky());
            let least = match member.sky() {
                Sky::Clear => 0.85,
                Sky::Rough | Sky::Broken => 0.6,
                Sky::Heavy => 0.4,
            };
            if source.acknowledged() < least && source.plays_before(self.stop_at) {
                return Err(format!("feedback covers {} of what was published", source.acknowledged()));
            }
        }
        let viewers: Vec<&Member> =
            self.members.iter().filter(|member| member.publisher().is_none()).collect();
        if viewers.len() != scenario.viewers() {
            return Err(format!("{} viewers came", viewers.len()));
        }
        for (member, number) in viewers.iter().zip(1..) {
            let notices = self.node.notices.iter().filter(|notice| notice.session == member.place.session);
            let served =
                member.judge(&publishers, sky, self.stop_at, notices.map(|notice| notice.event).collect());
            let served = served.map_err(|complaint| format!("viewer {number}: {complaint}"))?;
            outcome.expected += served.expected;
            outcome.missing += served.missing;
            outcome.repaired += served.repaired;
            outcome.switches += served.switches;
            outcome.frames += served.frames;
        }
        self.end()?;
        Ok(outcome)
    }

    /// Ends every session; nothing may remain.
    fn end(&mut self) -> Result<(), String> {
        for member in self.members.iter().filter(|member| member.left_at.is_none()) {
            let Place { shard, key, .. } = member.place;
            self.node.tell(shard, key, PeerInput::Close(EndReason::StreamEnded));
        }
        self.node.step(self.now);
        let (known, live) = self.node.peers();
        if (known, live) != (0, 0) {
            return Err(format!("{known} peers are still known, {live} live"));
        }
        let left = self.memory() - self.memory_new;
        if left > LEFT_BYTES_MAX * isize::from(self.scenario.shards) {
            return Err(format!("{left} bytes are left of all that is gone"));
        }
        for shard in self.node.shards() {
            let plane = shard.plane();
            if [AUDIO, VIDEO].into_iter().any(|track| plane.track_report(self.now, track).is_some()) {
                return Err(format!("{:?} still has tracks", shard.id()));
            }
            if plane.counters().seal_failed > 0 || shard.counters().transmit_full > 0 {
                return Err(format!("{:?} dropped what it should have sent", shard.id()));
            }
        }
        Ok(())
    }
}
