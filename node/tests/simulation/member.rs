//! The members of a broadcast: its publisher and its viewers, each with a network of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aforo_cluster::id::SessionId;
use aforo_node::media::codec::MediaKind;
use aforo_node::media::path::{PeerKey, ShardId};
use aforo_node::peer::message::{EndReason, PeerEvent};

use crate::client::Client;
use crate::network::Link;
use crate::oracle::{self, Service, Tap};
use crate::publisher::Publisher;
use crate::viewer::Viewer;

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
    pub moved_at: Option<Instant>,
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

    /// Whether a viewer was served as it must be. `clear`: nothing was lost on its way from the publisher.
    pub fn judge(
        &self,
        publishers: &[&Publisher],
        clear: bool,
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
        let flowing = viewer.last_media.is_some_and(|at| at + Duration::from_millis(1_500) > until);
        if !flowing {
            return Err(format!("media stopped; moved at {:?}", self.moved_at.map(|at| end - at)));
        }
        let mut total = Service::default();
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let served = oracle::served(viewer, &self.tap, publishers, kind, until)?;
            // Repair fails for one packet in some thousands; a lossless path loses nothing.
            let allowed = if clear && self.moved_at.is_none() { 0.0 } else { 0.01 };
            if served.missing as f64 > served.expected as f64 * allowed {
                return Err(format!("{kind:?}: {served:?}"));
            }
            total.expected += served.expected;
            total.missing += served.missing;
            total.repaired += served.repaired;
        }
        Ok(total)
    }
}
