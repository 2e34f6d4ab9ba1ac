//! The room of the broadcast: the node's own rules, and what they must say by what reached the node of its publishers.

use std::time::{Duration, Instant};

use aforo_cluster::id::{SessionId, StreamName, TrackId};
use aforo_node::media::negotiated::Negotiated;
use aforo_node::media::path::{PeerKey, ShardId};
use aforo_node::peer::message::{EndReason, PeerInput, PeerNotice};
use aforo_node::room::{Claimant, Entrant, Published, RoomCore, RoomOutput, StreamTrack, TokenDigest};

use crate::air::Reign;
use crate::publisher::Heard;

/// How long a publisher may be silent, how often the node looks, and how exactly things happen: packets are gathered for so long.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const EXACTLY: Duration = Duration::from_millis(20);

/// How long one who takes over may be connected before its first keyframe.
const PICTURE_LIMIT: Duration = Duration::from_secs(15);

/// How long viewers wait for a publisher that left.
const GRACE: Duration = Duration::from_secs(60);

/// With what right somebody comes to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The token of the first publisher.
    Own,
    /// A higher priority than all before.
    Higher,
    /// Nothing but the right to publish.
    Stranger,
}

/// What the room wants done.
pub enum Task {
    Tell(ShardId, PeerKey, PeerInput),
    /// This session is over.
    Ended(SessionId),
}

/// See the module.
pub struct Room {
    core: RoomCore,
    stream: StreamName,
    /// Sessions of publishers, by their place.
    publishers: Vec<SessionId>,
    holder: Option<usize>,
    successor: Option<usize>,
    pub reigns: Vec<Reign>,
    /// How often publishers were taken for silent, and were given up because they showed nothing.
    pub silences: usize,
    pub given_up: usize,
    pub takeovers: usize,
    /// When the last one that had the stream left it to nobody.
    left_at: Option<Instant>,
}

impl Room {
    pub fn new() -> Self {
        Self {
            core: RoomCore::new(GRACE),
            stream: "main".parse().unwrap(),
            publishers: Vec::new(),
            holder: None,
            successor: None,
            reigns: Vec::new(),
            silences: 0,
            given_up: 0,
            takeovers: 0,
            left_at: None,
        }
    }

    /// Place of the publisher that has the stream.
    pub fn holder(&self) -> Option<usize> {
        self.holder
    }

    fn claimant(&self, claim: Claim) -> Claimant {
        let place = self.publishers.len() as u32;
        match claim {
            Claim::Own => Claimant { token: Some(TokenDigest::new([1; 32])), subject: None, priority: 0 },
            Claim::Higher => Claimant { token: None, subject: None, priority: place + 1 },
            Claim::Stranger => Claimant {
                token: Some(TokenDigest::new([100 + place as u8; 32])),
                subject: None,
                priority: 0,
            },
        }
    }

    /// Whether somebody may publish, and on which shard.
    pub fn vacancy(&self, claim: Claim) -> Option<ShardId> {
        let vacancy = self.core.vacancy(&self.stream, &self.claimant(claim));
        vacancy.ok().map(|shard| shard.unwrap_or(ShardId(0)))
    }

    /// Whether viewers may come.
    pub fn is_live(&self) -> bool {
        self.core.find(&self.stream).is_ok()
    }

    fn entrant(&self, session: SessionId, shard: ShardId, agreed: &Negotiated) -> Entrant {
        Entrant {
            session,
            stream: self.stream.clone(),
            shard,
            ufrag: agreed.remote_ice.ufrag.clone(),
            etag: 1,
            media: agreed.media.clone(),
            video_section: None,
            token: None,
        }
    }

    /// A publisher comes, who may.
    pub fn publish(
        &mut self,
        now: Instant,
        session: SessionId,
        (shard, key): (ShardId, PeerKey),
        claim: Claim,
        agreed: &Negotiated,
        tracks: [TrackId; 2],
    ) {
        let entrant = self.entrant(session, shard, agreed);
        let tracks = tracks.into_iter().zip(&agreed.media).map(|(id, media)| StreamTrack {
            id,
            codec: media.codec.clone(),
            rids: media.rids.clone(),
        });
        let published = self.core.publish(now, entrant, self.claimant(claim), tracks.collect()).unwrap();
        self.core.claim_answered(now, session, true);
        self.core.peer_added(session, shard, key);
        let place = self.publishers.len();
        self.publishers.push(session);
        match published {
            Published::First => self.reign(now, place),
            Published::Successor => self.successor = Some(place),
        }
    }

    fn reign(&mut self, now: Instant, place: usize) {
        self.reigns.last_mut().into_iter().for_each(|reign| reign.until = reign.until.or(Some(now)));
        self.reigns.push(Reign { publisher: place, from: now, until: None });
        self.holder = Some(place);
    }

    /// A viewer comes, who may.
    pub fn play(
        &mut self,
        now: Instant,
        session: SessionId,
        (shard, key): (ShardId, PeerKey),
        agreed: &Negotiated,
    ) {
        let entrant = self.entrant(session, shard, agreed);
        let publisher = self.core.find(&self.stream).unwrap().publisher;
        self.core.play(now, entrant, publisher).unwrap();
        self.core.peer_added(session, shard, key);
    }

    pub fn delete(&mut self, now: Instant, session: SessionId) {
        // It may have ended by itself.
        let _ = self.core.delete(now, session);
    }

    pub fn close_all(&mut self, now: Instant) {
        self.core.close_all(now, EndReason::StreamEnded);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.core.poll_timeout()
    }

    /// A peer says something.
    pub fn handle_notice(&mut self, notice: &PeerNotice) {
        self.core.handle_notice(notice.clone());
    }

    /// What is to be done by now. `heard` of each publisher.
    pub fn work(&mut self, now: Instant, heard: &[&Heard]) -> Result<Vec<Task>, String> {
        if self.core.poll_timeout().is_some_and(|at| at <= now) {
            self.core.handle_timeout(now);
        }
        let mut tasks = Vec::new();
        while let Some(output) = self.core.poll_output() {
            match output {
                RoomOutput::TellPeer { shard, peer, input } => tasks.push(Task::Tell(shard, peer, input)),
                RoomOutput::ClosePeers { shard, peers, reason } => {
                    let close = |peer| Task::Tell(shard, peer, PeerInput::Close(reason));
                    tasks.extend(peers.into_iter().map(close));
                }
                RoomOutput::SessionEnded { session, reason, .. } => {
                    self.ended(now, session, reason, heard)?;
                    tasks.push(Task::Ended(session));
                }
                RoomOutput::PublisherChanged { .. } => self.change(now, heard)?,
                RoomOutput::StreamPaused { left: false, .. } => self.silences += 1,
                RoomOutput::WishLayer { .. }
                | RoomOutput::PictureHeld { .. }
                | RoomOutput::Stage { .. }
                | RoomOutput::StreamPaused { .. }
                | RoomOutput::StreamClaimed { .. }
                | RoomOutput::StreamResumed { .. }
                | RoomOutput::StreamEnded { .. } => {}
            }
        }
        Ok(tasks)
    }

    fn ended(
        &mut self,
        now: Instant,
        session: SessionId,
        reason: EndReason,
        heard: &[&Heard],
    ) -> Result<(), String> {
        let Some(place) = self.publishers.iter().position(|known| *known == session) else { return Ok(()) };
        if self.holder.take_if(|holder| *holder == place).is_some() {
            self.left_at = Some(now);
            self.reigns.last_mut().into_iter().for_each(|reign| reign.until = Some(now));
        }
        self.successor.take_if(|next| *next == place);
        if reason == EndReason::NoKeyframe {
            self.given_up += 1;
            if heard[place].connected_at.is_none_or(|at| now < at + PICTURE_LIMIT) {
                return Err(format!("publisher {place} was given up too soon"));
            }
        }
        Ok(())
    }

    /// The stream is the successor's.
    fn change(&mut self, now: Instant, heard: &[&Heard]) -> Result<(), String> {
        let next = self.successor.take().ok_or("the stream goes on with nobody")?;
        if self.holder.is_some_and(|holder| heard[holder].sends_at(now)) {
            self.takeovers += 1;
            if heard[next].shows_since.is_none_or(|since| since > now) {
                return Err(format!("publisher {next} took over with nothing to show"));
            }
        }
        self.reign(now, next);
        Ok(())
    }

    /// What the room says must be what follows from what reached the node.
    pub fn check(&self, now: Instant, heard: &[&Heard]) -> Result<(), String> {
        let admits = self.vacancy(Claim::Stranger).is_some();
        if admits && self.successor.is_some() {
            return Err("a stranger may replace one who was let in".to_owned());
        }
        let Some(holder) = self.holder else {
            let waits = self.successor.is_some();
            return if admits || waits {
                self.check_successor(now, heard)
            } else {
                Err("nobody may publish".to_owned())
            };
        };
        let holds = heard[holder];
        if admits && (holds.connected_at.is_none() || holds.sends_at(now)) {
            return Err(format!("a stranger may have the stream of publisher {holder}, which sends media"));
        }
        if !admits && self.successor.is_none() && holds.is_silent_at(now) {
            return Err(format!("publisher {holder} is silent and nobody may have its stream"));
        }
        self.check_successor(now, heard)
    }

    fn check_successor(&self, now: Instant, heard: &[&Heard]) -> Result<(), String> {
        let Some(next) = self.successor else { return Ok(()) };
        let Some(connected_at) = heard[next].connected_at else { return Ok(()) };
        let known = |at: Instant| at + EXACTLY < now;
        if self.holder.is_some() && heard[next].shows_since.is_some_and(known) {
            return Err(format!("publisher {next} has something to show and does not have the stream"));
        }
        let free_since = match self.holder {
            None => self.left_at,
            Some(holder) if heard[holder].is_silent_at(now) => heard[holder].silent_by(),
            Some(_) => None,
        };
        let last = heard[next].packets.last().map(|(at, _)| *at).filter(|at| known(*at));
        if let (Some(since), Some(last)) = (free_since, last)
            && last > since.max(connected_at) + EXACTLY
        {
            return Err(format!("publisher {next} sends and nobody else has the stream"));
        }
        let on_air = self.holder.is_some_and(|holder| heard[holder].sends_at(now));
        if on_air && known(connected_at + PICTURE_LIMIT) {
            return Err(format!("publisher {next} has shown nothing and was not given up"));
        }
        Ok(())
    }
}

impl Heard {
    /// Whether it certainly has sent media within the limit.
    fn sends_at(&self, now: Instant) -> bool {
        let last = self.packets.last().map(|(at, _)| *at).max(self.connected_at);
        last.is_some_and(|last| now < last + SILENCE_LIMIT)
    }

    /// When it must be known at the latest that it is silent, if it sends nothing more.
    fn silent_by(&self) -> Option<Instant> {
        Some(self.any_at.max(self.connected_at)? + SILENCE_LIMIT + LOOK_EVERY)
    }

    fn is_silent_at(&self, now: Instant) -> bool {
        self.connected_at.is_some() && self.silent_by().is_some_and(|at| at + EXACTLY < now)
    }
}
