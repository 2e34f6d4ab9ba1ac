//! The members of a broadcast: its publisher and its viewers, each with a network of its own.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aforo_cluster::id::SessionId;
use aforo_node::media::codec::MediaKind;
use aforo_node::media::path::{PeerKey, ShardId};
use aforo_node::peer::message::{EndReason, PeerEvent, PeerNotice};

use crate::air::Air;
use crate::client::Client;
use crate::flow::{Judged, Sky, Step, Trouble, WIDE_BPS, Watch};
use crate::hold::{self, Grounds};
use crate::judgement::{self, Pauses, Service};
use crate::network::{Link, Weather};
use crate::oracle::Tap;
use crate::publisher::{NUMBERS_PER_PUBLISHER, Publisher};
use crate::viewer::Viewer;

/// Missing packets that say nothing of a share: those of two outages of 300 ms, which are not sent again to a viewer that leaves
/// their layer for a lower one.
const A_FEW_PACKETS: f64 = 100.0;

/// What became of datagrams on the way from the publishers.
pub struct Way {
    pub sky: Sky,
    pub troubles: Vec<Trouble>,
    pub rebindings: Vec<Trouble>,
    pub round_trip: Duration,
    /// Whether there was nothing else.
    pub is_fair: bool,
    /// Whether publishers send sound again.
    pub repairs_sound: bool,
}

/// Loss at which sound is repeated, whatever chance makes of it; and after how many packets of sound at the latest: 6 s. Where only
/// reports tell of it, what they tell counts: sound that was sent again in time is none that listeners lack.
const LOSES_MUCH: std::ops::RangeInclusive<f64> = 0.05..=0.10;
const MUCH_SOUND: usize = 300;

/// How long the node gathers what it sends, at most.
const SENT_WITHIN: Duration = Duration::from_millis(20);

/// What a member does.
pub enum Role {
    Publisher(Box<Publisher>),
    Viewer(Box<Viewer>),
}

/// Where the node keeps a client.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub shard: ShardId,
    pub key: PeerKey,
    pub session: SessionId,
    /// Whether its key protects by AES-GCM.
    pub gcm: bool,
}

/// One client, its connection's two directions, and what was seen of it.
pub struct Member {
    pub address: SocketAddr,
    pub place: Place,
    pub up: Link,
    pub down: Link,
    pub role: Role,
    pub tap: Tap,
    pub rtx_ssrcs: Vec<u32>,
    pub left_at: Option<Instant>,
    pub vanished: bool,
    pub joined: Instant,
    /// Addresses that it has checked from, as far as the node knows.
    pub proved: HashSet<SocketAddr>,
    /// When nothing came through, or went to an address that it had left.
    pub troubles: Vec<Trouble>,
    /// Those of them in which it had an address that the node could not know.
    pub rebindings: Vec<Trouble>,
    /// How wide the link was by which its media went, when that changed.
    pub steps: Vec<Step>,
    pub wished: bool,
}

impl Member {
    pub fn publisher(&self) -> Option<&Publisher> {
        match &self.role {
            Role::Publisher(publisher) => Some(publisher),
            Role::Viewer(_) => None,
        }
    }

    pub fn client(&mut self) -> &mut Client {
        match &mut self.role {
            Role::Publisher(publisher) => &mut publisher.client,
            Role::Viewer(viewer) => &mut viewer.client,
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.left_at.is_some() {
            return None;
        }
        match &self.role {
            Role::Publisher(publisher) => publisher.poll_timeout(),
            Role::Viewer(viewer) => viewer.poll_timeout(),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.role {
            Role::Publisher(publisher) => publisher.handle_timeout(now),
            Role::Viewer(viewer) => viewer.handle_timeout(now),
        }
    }

    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Option<String> {
        match &mut self.role {
            Role::Publisher(publisher) => publisher.handle(now, datagram),
            Role::Viewer(viewer) => viewer.handle(now, datagram),
        }
    }

    /// The link by which its media goes carries so much from now on.
    pub fn throttle(&mut self, now: Instant, bandwidth_bps: u64) {
        let link = if self.publisher().is_some() { &mut self.up } else { &mut self.down };
        link.weather.bandwidth_bps = bandwidth_bps;
        self.steps.push(Step { at: now, bandwidth_bps });
    }

    /// Nothing comes through its links until then: to the node and from it.
    pub fn cut(&mut self, now: Instant, until: Instant, [up, down]: [bool; 2]) {
        if up {
            self.up.cut(until);
        }
        if down {
            self.down.cut(until);
        }
        self.troubles.push(Trouble { from: now, until });
    }

    /// A NAT gave it another address. It does not know, so the node cannot before its next check: not until then, or `end`.
    pub fn rebound(&mut self, now: Instant, end: Instant) {
        let trouble = Trouble { from: now, until: end };
        self.troubles.push(trouble);
        self.rebindings.push(trouble);
    }

    /// A check from where it is has reached the node.
    pub fn found(&mut self, now: Instant, end: Instant) {
        let Some(open) = self.rebindings.last_mut().filter(|rebinding| rebinding.until == end) else {
            return;
        };
        open.until = now;
        let known =
            self.troubles.iter_mut().filter(|trouble| trouble.from == open.from && trouble.until == end);
        known.for_each(|trouble| trouble.until = now);
    }

    /// Whether its paths take their time and nothing else, but for its troubles.
    pub fn is_fair(&self) -> bool {
        !self.is_narrow() && ![self.up.weather, self.down.weather].iter().any(Weather::loses)
    }

    /// The longest time there and back.
    pub fn round_trip(&self) -> Duration {
        [self.up.weather, self.down.weather].iter().map(|weather| weather.delay + weather.jitter).sum()
    }

    /// Whether that link was too narrow for some video.
    fn is_narrow(&self) -> bool {
        self.steps.iter().any(|step| step.bandwidth_bps < WIDE_BPS)
    }

    /// What became of datagrams on its way.
    pub fn sky(&self) -> Sky {
        let weathers = [self.up.weather, self.down.weather];
        if weathers.iter().any(Weather::is_heavy) {
            Sky::Heavy
        } else if !self.troubles.is_empty() || self.is_narrow() || weathers.iter().any(Weather::breaks) {
            Sky::Broken
        } else if weathers.iter().any(Weather::loses) {
            Sky::Rough
        } else {
            Sky::Clear
        }
    }

    /// Whether a viewer was served as it must be. `way`: from the publishers.
    pub fn judge(
        &self,
        air: &Air,
        way: &Way,
        end: Instant,
        notices: &[&PeerNotice],
    ) -> Result<Service, String> {
        let events: Vec<PeerEvent> = notices.iter().map(|notice| notice.event).collect();
        let Role::Viewer(viewer) = &self.role else { return Err("a second publisher".to_owned()) };
        if self.vanished {
            let expired = PeerEvent::Ended(EndReason::ConsentExpired);
            let told = events.contains(&expired);
            return if told { Ok(Service::default()) } else { Err(format!("vanished, but {events:?}")) };
        }
        if let Some(complaint) = viewer.complaints.first().or(viewer.client.refused.first()) {
            return Err(complaint.clone());
        }
        let steps =
            [PeerEvent::PathFound, PeerEvent::Connected, PeerEvent::FirstMedia, PeerEvent::FirstKeyframe];
        for event in steps {
            let count = events.iter().filter(|seen| **seen == event).count();
            // Whether there was anything to be shown is looked at below.
            let unseen = event == PeerEvent::FirstKeyframe && viewer.decoder.shown.is_empty();
            if count != 1 && !(count == 0 && unseen) {
                return Err(format!("{event:?} was said {count} times"));
            }
        }
        if viewer.sender_reports == 0 && self.sky() < Sky::Heavy {
            return Err("no sender report came".to_owned());
        }
        let until = self.left_at.unwrap_or(end);
        let sky = way.sky.max(self.sky());
        let troubles = way.troubles.iter().chain(&self.troubles).copied().collect();
        let rebindings: Vec<Trouble> = way.rebindings.iter().chain(&self.rebindings).copied().collect();
        let round_trip = way.round_trip + self.round_trip();
        let fair = (way.is_fair && self.is_fair()).then_some(round_trip);
        let held = hold::times(notices, until);
        let probed = viewer.says_what_arrives();
        let grounds = Grounds { link: &self.down, steps: &self.steps, troubles: &self.troubles, probed };
        grounds.judge(&held, self.joined)?;
        let watch = Watch {
            viewer,
            air,
            sky,
            joined: self.joined,
            until,
            held: held.clone(),
            troubles,
            rebindings: rebindings.clone(),
            fair,
        };
        watch.flows()?;
        if sky == Sky::Clear {
            watch.wastes_nothing()?;
        }
        let only_narrow = way.sky == Sky::Clear
            && self.troubles.is_empty()
            && ![self.up.weather, self.down.weather].iter().any(Weather::loses);
        let mut judged = Judged::default();
        if only_narrow && !self.wished && air.is_steady() && viewer.says_what_arrives() {
            judged = watch.obeys(&self.steps)?;
        }
        let Judged { falls, returns } = judged;
        let mut total = Service { holds: held.len(), falls, returns, ..Service::default() };
        let pauses = Pauses { held: &held, rebindings: &rebindings, anytime: sky >= Sky::Broken };
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let served = judgement::served(viewer, &self.tap, air, kind, way.sky, until, &pauses)?;
            let share = match sky {
                Sky::Clear => 0.0,
                // There is no room for repair either; what can be shown is judged all the same.
                _ if self.is_narrow() => 1.0,
                // Nor is there any; what redundant sound makes up for is judged by itself.
                _ if kind == MediaKind::Audio && !(way.repairs_sound && viewer.can_repair(kind)) => 1.0,
                // Repair fails now and then, and more often where there is no way but the first.
                Sky::Rough | Sky::Broken if viewer.can_repair(kind) => 0.03,
                Sky::Rough | Sky::Broken => 0.15,
                // So much loss is taken for a path that carries little, and repairs may take half of that.
                Sky::Heavy => 0.5,
            };
            let left_behind = sky >= Sky::Broken && kind == MediaKind::Video;
            let allowed = served.expected as f64 * share + if left_behind { A_FEW_PACKETS } else { 0.0 };
            if served.missing as f64 > allowed {
                return Err(format!("{kind:?}: {served:?}"));
            }
            total.expected += served.expected;
            total.missing += served.missing;
            total.repaired += served.repaired;
            total.switches += served.switches;
            total.frames = served.frames;
        }
        self.judge_sound(viewer, air, way, until)?;
        total.repeated = viewer.streams[0].only_repeated();
        total.recovered = self.recovered(viewer, air, until);
        Ok(total)
    }

    /// Numbers of the sound that the node must have of one publisher while what it sends still reaches the viewer before `until`, and
    /// that it has by other packets only.
    fn known_sound(&self, viewer: &Viewer, air: &Air, place: usize, until: Instant) -> Option<[Vec<u32>; 2]> {
        let reign = air.reign(place)?;
        let numbers = viewer.streams[0].packets.values().map(|got| got.tag.number);
        let numbers: Vec<u32> =
            numbers.filter(|number| (number / NUMBERS_PER_PUBLISHER) as usize == place).collect();
        let (first, last) = (*numbers.first()?, *numbers.last()?);
        let sent_by = until - self.down.weather.transit_max() - SENT_WITHIN;
        // What is repaired after another publisher has the stream comes too late to be sent on.
        let sent_by = reign.until.map_or(sent_by, |end| sent_by.min(end));
        let (known, recovered) = air.publishers[place].known_sound(reign.from, sent_by);
        let between = |mut numbers: Vec<u32>| {
            numbers.retain(|number| (first..=last).contains(number));
            numbers
        };
        Some([between(known), between(recovered)])
    }

    /// How much of the sound it got that no packet brought to the node but another.
    fn recovered(&self, viewer: &Viewer, air: &Air, until: Instant) -> usize {
        let places = 0..air.publishers.len();
        places
            .filter_map(|place| self.known_sound(viewer, air, place, until))
            .map(|[_, recovered]| recovered.len())
            .sum()
    }

    /// Where nothing is lost on a viewer's way, it has all sound that the node has; and sound is repeated by the node only for who
    /// loses much of it.
    fn judge_sound(&self, viewer: &Viewer, air: &Air, way: &Way, until: Instant) -> Result<(), String> {
        let sound = &viewer.streams[0];
        if self.sky() == Sky::Clear {
            let got: HashSet<u32> = sound.packets.values().map(|got| got.tag.number).collect();
            for place in 0..air.publishers.len() {
                let Some([known, _]) = self.known_sound(viewer, air, place, until) else { continue };
                if let Some(lacking) = known.iter().find(|number| !got.contains(number)) {
                    return Err(format!("sound {lacking} is known and was not sent on"));
                }
            }
        }
        let plain = air.publishers.iter().all(|publisher| publisher.manner().sound.older_frames == 0);
        if !plain || !viewer.takes_redundancy() || way.sky > Sky::Rough {
            return Ok(());
        }
        let added = !sound.repeated.is_empty();
        let loss = viewer.told_loss().unwrap_or(self.down.weather.loss);
        let long = self.left_at.is_none() && sound.packets.len() > MUCH_SOUND;
        if added && self.sky() == Sky::Clear {
            return Err("sound is repeated for one who loses nothing".to_owned());
        }
        if !added && LOSES_MUCH.contains(&loss) && long && self.sky() <= Sky::Rough {
            return Err("sound is not repeated for one who loses much of it".to_owned());
        }
        Ok(())
    }
}
