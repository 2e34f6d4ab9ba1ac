#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Whole planes on virtual time, with clients whose SRTP is `rtc-srtp`, written by others.

mod allocation;
mod bottleneck;
mod client;
mod clocks;
mod codecs;
mod cut;
mod deaf;
mod estimate;
mod fast_start;
mod feedback;
mod forwarding;
mod gathering;
mod ladder;
mod narrow;
mod next_publisher;
mod redundancy;
mod republish;
mod retransmission;
mod scalable;
mod scalable_shards;
mod screen;
mod shards;
mod simulcast;
mod takeover;
mod unanswered;

use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;

use super::{Forwarded, Plane, PlaneError};
use crate::media::outbox::collected::Collected;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::{Path, PeerKey, ShardId};
use crate::media::rtp;
use crate::media::spec::PlaneEvent;
use client::*;

/// A plane, its clock and the clients around it.
struct Rig {
    plane: Plane,
    now: Instant,
    batch: SendBatch,
    sent: Collected,
}

const VIDEO: TrackId = TrackId(1);
const AUDIO: TrackId = TrackId(2);

impl Rig {
    fn new() -> Self {
        Self::on_shard(0)
    }

    fn on_shard(shard: u8) -> Self {
        let now = Instant::now();
        Self {
            plane: Plane::new(ShardId(shard), 7, now),
            now,
            batch: SendBatch::new(),
            sent: Collected::default(),
        }
    }

    fn publisher(&mut self, index: u32, setup: &Setup) -> Publisher {
        let publisher = Publisher::new(index, setup);
        self.plane.add_ingest(self.now, publisher.spec(setup)).unwrap();
        publisher
    }

    fn viewer(&mut self, index: u32, setup: &Setup) -> Viewer {
        let viewer = Viewer::new(index, setup);
        self.plane.add_egress(self.now, viewer.spec(setup)).unwrap();
        viewer
    }

    /// Hands the plane a datagram of `client`.
    fn receive(&mut self, client: &Client, mut datagram: Vec<u8>) {
        self.plane.receive(self.now, self.now, client.peer, &mut datagram);
    }

    /// Sends a packet of `publisher` and hands its fan-out to the viewers.
    fn publish(
        &mut self,
        publisher: &mut Publisher,
        packet: &[u8],
        viewers: &mut [&mut Viewer],
    ) -> Forwarded {
        let sealed = publisher.client.seal(packet);
        self.receive(&publisher.client, sealed);
        self.flush(&mut [publisher], viewers)
    }

    /// Flushes, and hands what was sent to whom it belongs.
    fn flush(&mut self, publishers: &mut [&mut Publisher], viewers: &mut [&mut Viewer]) -> Forwarded {
        let forwarded = self.plane.flush(self.now, &mut self.batch, &mut self.sent);
        for (path, datagram) in self.sent.0.drain(..) {
            let viewer = viewers.iter_mut().map(|viewer| &mut viewer.client);
            let publisher = publishers.iter_mut().map(|publisher| &mut publisher.client);
            if let Some(client) = viewer.chain(publisher).find(|client| client.path == path) {
                client.take(&datagram);
            }
        }
        forwarded
    }

    /// Lets `time` pass, doing what is due when it is due.
    fn wait(&mut self, time: Duration, publishers: &mut [&mut Publisher], viewers: &mut [&mut Viewer]) {
        let end = self.now + time;
        while let Some(at) = self.plane.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.plane.handle_timeout(self.now);
            self.flush(publishers, viewers);
        }
        self.now = end;
    }

    fn events(&mut self) -> Vec<PlaneEvent> {
        std::iter::from_fn(|| self.plane.poll_event()).collect()
    }
}
