//! The members of a broadcast: its publisher and its viewers, each with a network of its own.

use std::net::SocketAddr;
use std::time::Instant;

use aforo_cluster::id::SessionId;
use aforo_node::media::codec::MediaKind;
use aforo_node::media::path::{PeerKey, ShardId};
use aforo_node::peer::message::{EndReason, PeerEvent};

use crate::client::Client;
use crate::flow::{Sky, Step, Watch};
use crate::judgement::{self, Service};
use crate::network::{Link, Weather};
use crate::oracle::Tap;
use crate::publisher::Publisher;
use crate::viewer::Viewer;

/// What any video of a run fits through.
const WIDE_BPS: u64 = 3_000_000;

/// Missing packets that say nothing of a share: those of two outages of 300 ms, which are not sent again to a viewer that leaves
/// their layer for a lower one.
const A_FEW_PACKETS: f64 = 100.0;

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
    pub moved: bool,
    /// How wide its link to it was, when that changed.
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

    /// The link to it carries so much from now on.
    pub fn throttle(&mut self, now: Instant, bandwidth_bps: u64) {
        self.down.weather.bandwidth_bps = bandwidth_bps;
        self.steps.push(Step { at: now, bandwidth_bps });
    }

    /// Whether the link to it was too narrow for some video.
    fn is_narrow(&self) -> bool {
        self.steps.iter().any(|step| step.bandwidth_bps < WIDE_BPS)
    }

    /// What became of datagrams on its way.
    pub fn sky(&self) -> Sky {
        let weathers = [self.up.weather, self.down.weather];
        if weathers.iter().any(Weather::is_heavy) {
            Sky::Heavy
        } else if self.moved || self.is_narrow() || weathers.iter().any(Weather::breaks) {
            Sky::Broken
        } else if weathers.iter().any(Weather::loses) {
            Sky::Rough
        } else {
            Sky::Clear
        }
    }

    /// Whether a viewer was served as it must be. `sky`: of the way from the publishers.
    pub fn judge(
        &self,
        publishers: &[&Publisher],
        sky: Sky,
        end: Instant,
        events: Vec<PeerEvent>,
    ) -> Result<Service, String> {
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
            if count != 1 {
                return Err(format!("{event:?} was said {count} times"));
            }
        }
        if viewer.sender_reports == 0 {
            return Err("no sender report came".to_owned());
        }
        let until = self.left_at.unwrap_or(end);
        let way = sky;
        let sky = sky.max(self.sky());
        let watch = Watch { viewer, publishers, sky, joined: self.joined, until };
        watch.flows()?;
        if sky == Sky::Clear {
            watch.wastes_nothing()?;
        }
        let only_narrow = way == Sky::Clear
            && !self.moved
            && ![self.up.weather, self.down.weather].iter().any(Weather::loses);
        if only_narrow && !self.wished && publishers.len() == 1 && viewer.says_what_arrives() {
            watch.obeys(&self.steps)?;
        }
        let mut total = Service::default();
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let served = judgement::served(viewer, &self.tap, publishers, kind, way, until)?;
            let share = match sky {
                Sky::Clear => 0.0,
                // There is no room for repair either; what can be shown is judged all the same.
                _ if self.is_narrow() => 1.0,
                // Repair fails now and then, and more often where there is no way but the first.
                Sky::Rough | Sky::Broken if viewer.can_repair(kind) => 0.02,
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
        Ok(total)
    }
}
