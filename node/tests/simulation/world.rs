//! A whole broadcast on virtual time: one publisher, some viewers, the node between them, and the network around it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aforo_cluster::id::{SessionId, TrackId};
use aforo_node::media::codec::MediaKind;
use aforo_node::media::negotiated::{Direction, DtlsRole, IceCredentials, Negotiated};
use aforo_node::media::path::{Path, ShardId};
use aforo_node::media::ring::AUDIO_RING_CAPACITY_BYTES;
use aforo_node::media::selection::LayerWish;
use aforo_node::media::spec::{EgressTrack, IngestTrack};
use aforo_node::peer::ice;
use aforo_node::peer::message::{PeerConfig, PeerEvent, PeerInput};
use aforo_node::shard::message::PeerMedia;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::air::Air;
use crate::client::Client;
use crate::dice::Dice;
use crate::flow::{Sky, Trouble};
use crate::member::{Member, Place, Role, Way};
use crate::memory;
use crate::mischief;
use crate::network::{Class, Link, Weather};
use crate::node::Node;
use crate::oracle::{Tap, digest};
use crate::publisher::{Begins, Heard, Manner, Mood, Publisher};
use crate::room::{Claim, Room, Task};
use crate::scenario::{Act, Rival, Scenario, ViewerPlan};
use crate::session::{PlanOptions, TrackPlan, negotiated, plans};
use crate::viewer::Viewer;

const AUDIO: TrackId = TrackId(1);
const VIDEO: TrackId = TrackId(2);

/// Rounds without time passing that are still work; more is a timer that is never satisfied.
const ROUNDS_PER_INSTANT: u32 = 1_000;

/// What a ring of video has once it has grown, because its publisher may answer no requests for a keyframe.
const VIDEO_RING_BYTES_MAX: usize = 880 << 10;

/// What a shard may have beside its rings: buffers for one step, the windows and the numbering of layers.
const SHARD_BYTES_MAX: usize = 768 << 10;

/// What a peer may have.
const PEER_BYTES_MAX: usize = 64 << 10;

/// What a shard that is empty again may have more than after a rehearsal: queues keep their capacity, 8 to 19 KiB.
const LEFT_BYTES_MAX: isize = 20 << 10;

enum Event {
    ToNode { member: usize, from: SocketAddr, datagram: Vec<u8> },
    ToMember { member: usize, address: SocketAddr, datagram: Vec<u8> },
    Act(Act),
}

/// See the module.
pub struct World {
    seed: u64,
    scenario: Scenario,
    start: Instant,
    now: Instant,
    node: Node,
    room: Room,
    /// Notices that the room has seen.
    noticed: usize,
    /// Media of publishers that waits for the node to work it off.
    unheard: Vec<(Instant, usize, Vec<u8>)>,
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
    /// Frames of sound that came to viewers, or to the node, with other packets only.
    pub repeated: usize,
    pub recovered: usize,
    /// How often a publisher was taken for silent, taken over from, and given up as it showed nothing.
    pub silences: usize,
    pub takeovers: usize,
    pub given_up: usize,
    /// How often an address changed unknown to its client, and the node heard of the new one.
    pub rebindings: usize,
    /// How often pictures were held back, as the path carried none.
    pub holds: usize,
    /// How often it was judged whether viewers went down, and up again.
    pub falls: usize,
    pub returns: usize,
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
            room: Room::new(),
            noticed: 0,
            unheard: Vec::new(),
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
        let [_, video] = plans(world.publisher_options(scenario.show.manner));
        world.node.rehearse(start, &video);
        world.memory_new = world.memory();
        world.add_publisher(scenario.show.manner, Claim::Own);
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

    fn publisher_options(&mut self, manner: Manner) -> PlanOptions {
        PlanOptions {
            ssrc: self.dice.next() as u32 & !0xF,
            mids: ["0", "1"],
            payload_types: [111, 96],
            codec: manner.format.codec,
            red: manner.sound.agreed,
            sound_nack: manner.sound.repairs,
            sound_rtx: false,
            encodings: self.scenario.show.encodings.into(),
            best_first: self.scenario.show.best_first,
            descriptor: manner.format.descriptor,
            rtx: self.scenario.show.rtx,
            transport_cc: true,
            announced: self.scenario.show.announced,
        }
    }

    fn add_publisher(&mut self, manner: Manner, claim: Claim) {
        let scenario = self.scenario.clone();
        let place = self.publishers().count() as u32;
        let plans = plans(self.publisher_options(manner));
        let tracks = [AUDIO, VIDEO].into_iter().zip(&plans);
        let tracks = tracks.map(|(id, plan)| IngestTrack { id, media: plan.negotiated(Direction::Publish) });
        let media = PeerMedia::Ingest(tracks.collect());
        let Some(shard) = self.room.vacancy(claim) else { return };
        let terms = Terms { shard, role: scenario.publisher_role, profile: scenario.profile };
        let (client, home, agreed) = self.join(terms, Direction::Publish, &plans, media);
        self.room.publish(self.now, home.session, (shard, home.key), claim, &agreed, [AUDIO, VIDEO]);
        // It stops early enough for repair to end before the run does.
        let stop_at = self.stop_at - Duration::from_millis(500);
        let publisher = Publisher::new(
            client,
            plans,
            manner,
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
            red: plan.red,
            sound_nack: plan.sound_nack,
            sound_rtx: plan.sound_rtx,
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
        let (client, place, agreed) = self.join(terms, Direction::Play, &plans, media);
        self.room.play(self.now, place.session, (place.shard, place.key), &agreed);
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
    ) -> (Client, Place, Negotiated) {
        let Terms { shard, role, profile } = terms;
        let ours = ice::credentials(shard).unwrap();
        let theirs = self.credentials();
        let client = Client::new(theirs.clone(), ours.clone(), role, profile, self.now);
        let agreed = negotiated(direction, theirs, role, client.fingerprint(), plans);
        let session = SessionId::random();
        let config = PeerConfig { local_ice: ours, negotiated: agreed.clone() };
        let key = self.node.add_peer(self.now, shard, session, config, media);
        let gcm = profile != SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;
        (client, Place { shard, key, session, gcm }, agreed)
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
            proved: HashSet::new(),
            troubles: Vec::new(),
            rebindings: Vec::new(),
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
            let next =
                members.chain(event).chain(self.node.poll_timeout()).chain(self.room.poll_timeout()).min();
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
        self.step()?;
        self.converse()?;
        self.look_at_memory()
    }

    /// The node does what is due.
    fn step(&mut self) -> Result<(), String> {
        for (shard, path, datagram) in self.node.step(self.now) {
            self.carry_down(shard, path, datagram)?;
        }
        let now = self.now;
        for (_, member, datagram) in self.unheard.extract_if(.., |(at, ..)| *at <= now) {
            if let Role::Publisher(publisher) = &mut self.members[member].role
                && publisher.heard.connected_at.is_some()
            {
                publisher.arrived(now, &datagram);
            }
        }
        Ok(())
    }

    /// The room hears what peers say and says what is to be done, until nobody has anything to say.
    fn converse(&mut self) -> Result<(), String> {
        loop {
            for notice in &self.node.notices[self.noticed..] {
                self.room.handle_notice(notice);
                let member = self.members.iter_mut().find(|member| member.place.session == notice.session);
                if let (PeerEvent::Connected, Some(Role::Publisher(publisher))) =
                    (notice.event, member.map(|member| &mut member.role))
                {
                    publisher.heard.connected_at = Some(self.now);
                }
            }
            self.noticed = self.node.notices.len();
            let heard: Vec<&Heard> =
                self.members.iter().filter_map(Member::publisher).map(|publisher| &publisher.heard).collect();
            let tasks = self.room.work(self.now, &heard)?;
            if tasks.is_empty() {
                return self.room.check(self.now, &heard);
            }
            for task in tasks {
                match task {
                    Task::Tell(shard, key, input) => self.node.tell(shard, key, input),
                    Task::Ended(session) => {
                        let member = self.members.iter_mut().find(|member| member.place.session == session);
                        member
                            .into_iter()
                            .for_each(|member| member.left_at = member.left_at.or(Some(self.now)));
                    }
                }
            }
            self.step()?;
        }
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
            Event::ToNode { member, from, datagram } => {
                let known = &mut self.members[member];
                let shard = known.place.shard;
                if Class::of(&datagram) == Class::Check {
                    known.proved.insert(from);
                    if from == known.address {
                        known.found(self.now, self.stop_at);
                    }
                }
                let copy =
                    (known.publisher().is_some() && known.proved.contains(&from)).then(|| datagram.clone());
                let heard_at = self.node.receive(self.now, shard, Path::Udp(from), datagram);
                self.unheard.extend(copy.map(|datagram| (heard_at, member, datagram)));
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
        }
    }

    /// Bytes that the node has.
    fn memory(&self) -> isize {
        memory::node_bytes() - self.memory_before
    }

    fn memory_bound(&self) -> isize {
        // Each shard with viewers has all rings.
        let rings =
            usize::from(self.scenario.show.encodings) * VIDEO_RING_BYTES_MAX + AUDIO_RING_CAPACITY_BYTES;
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
            None => {
                let mut publishers = members.filter(|(_, member)| member.publisher().is_some());
                match self.room.holder() {
                    Some(place) => publishers.nth(place),
                    None => publishers.last(),
                }
            }
            Some(place) => members.filter(|(_, member)| member.publisher().is_none()).nth(place),
        }
        .filter(|(_, member)| member.left_at.is_none())
    }

    fn leave(&mut self, number: usize) {
        let now = self.now;
        if let Some((_, member)) = self.member(number) {
            member.left_at = Some(now);
            let session = member.place.session;
            self.room.delete(now, session);
        }
    }

    fn act(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Join(plan) => {
                if self.room.is_live() {
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
                    let hears = self.scenario.show.manner.hears;
                    let rival = Rival { claim: Claim::Own, begins: Begins::Anew, hears, mood: Mood::Plays };
                    self.schedule(now + pause, Event::Act(Act::Come(rival)));
                }
            }
            Act::Come(rival) => {
                let Rival { claim, begins, hears, mood } = rival;
                if self.room.vacancy(claim).is_some() {
                    let manner = Manner { begins, hears, mood, ..self.scenario.show.manner };
                    self.add_publisher(manner, claim);
                } else {
                    // It is answered 409, and asks again.
                    self.schedule(now + Duration::from_secs(1), Event::Act(Act::Come(rival)));
                }
            }
            Act::Mood(mood) => {
                if let Some((_, member)) = self.member(0)
                    && let Role::Publisher(publisher) = &mut member.role
                {
                    publisher.set_mood(now, mood);
                }
            }
            Act::Cut(number, ways, time) => {
                if let Some((_, member)) = self.member(number) {
                    member.cut(now, now + time, ways);
                }
            }
            Act::Move(number) => {
                if let Some(member) = self.relocate(number) {
                    member.troubles.push(Trouble { from: now, until: now });
                    member.client().moved(now);
                }
            }
            Act::Rebind(number) => {
                let end = self.stop_at;
                if let Some(member) = self.relocate(number) {
                    member.rebound(now, end);
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

    /// Gives a member another address. What still goes to the one before is looked at, and lost.
    fn relocate(&mut self, number: usize) -> Option<&mut Member> {
        let (index, member) = self.member(number)?;
        member.address.set_port(member.address.port() + 1);
        let address = member.address;
        self.addresses.insert(address, index);
        self.members.get_mut(index)
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
            let from = member.address;
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
                self.schedule(at, Event::ToNode { member: index, from, datagram });
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
        // The client has left that address, but what was sent there has numbers, and may have been the first of all.
        if member.address != address {
            return Ok(());
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
            repeated: 0,
            recovered: 0,
            silences: self.room.silences,
            takeovers: self.room.takeovers,
            given_up: self.room.given_up,
            rebindings: self.rebindings(),
            holds: 0,
            falls: 0,
            returns: 0,
        };
        let air = Air::new(self.publishers().collect(), &self.room.reigns);
        let mut way = Way {
            sky: Sky::Clear,
            troubles: Vec::new(),
            rebindings: Vec::new(),
            round_trip: Duration::ZERO,
            is_fair: true,
            repairs_sound: true,
        };
        for (source, member) in
            air.publishers.iter().zip(self.members.iter().filter(|member| member.publisher().is_some()))
        {
            way.sky = way.sky.max(member.sky());
            way.troubles.extend(&member.troubles);
            way.rebindings.extend(&member.rebindings);
            way.round_trip = way.round_trip.max(member.round_trip());
            way.is_fair &= member.is_fair();
            way.repairs_sound &= source.manner().sound.repairs;
            source.complaints.first().map_or(Ok(()), |complaint| Err(format!("publisher: {complaint}")))?;
            outcome.keyframe_requests += source.keyframe_requests;
            let least = match member.sky() {
                Sky::Clear => 0.85,
                Sky::Rough | Sky::Broken => 0.6,
                Sky::Heavy => 0.4,
            };
            if source.acknowledged() < least && source.has_played() {
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
            let served = member.judge(&air, &way, self.stop_at, &notices.collect::<Vec<_>>());
            let served = served.map_err(|complaint| format!("viewer {number}: {complaint}"))?;
            outcome.expected += served.expected;
            outcome.missing += served.missing;
            outcome.repaired += served.repaired;
            outcome.switches += served.switches;
            outcome.frames += served.frames;
            outcome.repeated += served.repeated;
            outcome.recovered += served.recovered;
            outcome.holds += served.holds;
            outcome.falls += served.falls;
            outcome.returns += served.returns;
        }
        self.end()?;
        Ok(outcome)
    }

    /// How many changes of addresses the node has heard of that were unknown to clients.
    fn rebindings(&self) -> usize {
        let rebindings = self.members.iter().flat_map(|member| &member.rebindings);
        rebindings.filter(|rebinding| rebinding.until < self.stop_at).count()
    }

    /// Ends every session; nothing may remain.
    fn end(&mut self) -> Result<(), String> {
        self.room.close_all(self.now);
        self.converse()?;
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
