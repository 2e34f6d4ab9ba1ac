//! The round that moves packets: read all there is, let the core think, send all that follows, hand out the rest.
//!
//! One `Pump` is shared by the shard's tasks on one thread: the event loop, the actor's handlers and the ICE-TCP tasks.
//! Each borrows it for as long as it computes and never while it waits.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aforo_cluster::metric::Metrics;
use prometheus::Histogram;
use tokio::sync::Notify;

use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::{Path, TcpConnection};
use crate::media::plane::Forwarded;
use crate::media::rate::RateMeter;
use crate::media::spec::ShardMessage;
use crate::peer::message::{EndReason, PeerInput, PeerOutput};
use crate::shard::core::{ShardCore, ShardOutput};
use crate::shard::lanes::{Lanes, PeerLanes};
use crate::shard::pace::{self, Look};
use crate::shard::socket::tcp::connections::{TcpConnections, TcpSink};
use crate::shard::socket::udp::receive::UdpReceiver;
use crate::shard::socket::udp::send::UdpSender;
use crate::shard::socket::udp::watch::WatchedSocket;

/// System calls that read in one round. Full means that the rest waits for the next round, after other tasks of the thread
/// had their turn: a flood neither starves them nor grows the batch without end.
const READS_PER_ROUND: usize = 8;

/// How long the rate of received datagrams is measured over: a storm of joins is noticed at once.
const RECEIVED_RATE_WINDOW: Duration = Duration::from_millis(100);

/// Everything of a shard that outlives a round.
pub(super) struct Pump {
    pub(super) core: ShardCore,
    pub(super) wire: Wire,
    pub(super) lanes: Lanes,
    receiver: UdpReceiver,
    batch: SendBatch,
    instruments: Instruments,
    /// Wakes the event loop: something is to be sent, or a deadline has changed.
    wake: Rc<Notify>,
    read_errors: u64,
    /// Datagrams.
    received_rate: RateMeter,
}

/// Histograms that every round feeds, looked up once.
struct Instruments {
    received: Histogram,
    sent: Histogram,
    forwarded_audio: Histogram,
    forwarded_video: Histogram,
    forwarded_rtx: Histogram,
    keyframe_wait: Histogram,
}

impl Instruments {
    fn new(metrics: &Metrics) -> Self {
        Self {
            received: metrics.udp_batch_size.with_label_values(&["receive"]),
            sent: metrics.udp_batch_size.with_label_values(&["send"]),
            forwarded_audio: metrics.forward_duration_seconds.with_label_values(&["audio"]),
            forwarded_video: metrics.forward_duration_seconds.with_label_values(&["video"]),
            forwarded_rtx: metrics.forward_duration_seconds.with_label_values(&["rtx"]),
            keyframe_wait: metrics.keyframe_wait_seconds.clone(),
        }
    }

    /// A flush is done.
    fn forwarded(&self, forwarded: Forwarded) {
        let kinds = [
            (forwarded.audio, &self.forwarded_audio),
            (forwarded.video, &self.forwarded_video),
            (forwarded.rtx, &self.forwarded_rtx),
        ];
        if forwarded == Forwarded::default() {
            return;
        }
        let now = Instant::now();
        for (arrival, histogram) in kinds {
            if let Some(arrival) = arrival {
                histogram.observe(now.saturating_duration_since(arrival).as_secs_f64());
            }
        }
    }
}

/// Where packets leave: the UDP socket and the ICE-TCP connections.
pub(super) struct Wire {
    pub(super) udp: Rc<WatchedSocket>,
    pub(super) sender: UdpSender,
    pub(super) tcp: TcpConnections,
}

impl Transmit for Wire {
    fn transmit(&mut self, batch: &SendBatch) {
        let runs = batch.runs().iter().filter_map(|run| match run.path {
            Path::Udp(to) => Some((to, batch.bytes(run), run.segment)),
            Path::Tcp(_) => None,
        });
        self.sender.send(self.udp.socket(), runs);
        if self.tcp.is_empty() {
            return;
        }
        for run in batch.runs() {
            if let Path::Tcp(to) = run.path {
                for datagram in batch.datagrams(run) {
                    self.tcp.send(to, datagram);
                }
            }
        }
    }
}

impl Pump {
    pub(super) fn new(
        core: ShardCore,
        udp: Rc<WatchedSocket>,
        lanes: Lanes,
        metrics: &Metrics,
        wake: Rc<Notify>,
    ) -> Self {
        let sender = UdpSender::new(udp.socket());
        Self {
            core,
            wire: Wire { udp, sender, tcp: TcpConnections::default() },
            lanes,
            receiver: UdpReceiver::new(),
            batch: SendBatch::new(),
            instruments: Instruments::new(metrics),
            wake,
            read_errors: 0,
            received_rate: RateMeter::over(RECEIVED_RATE_WINDOW, Instant::now()),
        }
    }

    /// What was read so far.
    pub(super) fn receiver(&self) -> &UdpReceiver {
        &self.receiver
    }

    /// Reads of the socket that failed.
    pub(super) fn read_errors(&self) -> u64 {
        self.read_errors
    }

    /// Makes the event loop run a round soon.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// When the next round must run even if nothing comes.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.core.poll_timeout(), self.lanes.poll_timeout()].into_iter().flatten().min()
    }

    /// How long the socket may be left alone after a look.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        pace::pause(self.received_rate.per_second(now)).max(self.core.plane().gather_window(now))
    }

    /// Reads what has come; at most a round's worth.
    ///
    /// # Errors
    ///
    /// The socket is of no use any more.
    pub(super) fn read(&mut self) -> io::Result<Look> {
        let now = Instant::now();
        let (core, wire) = (&mut self.core, &mut self.wire);
        let mut datagrams = 0;
        let (mut drained, mut failures) = (false, 0);
        for _ in 0..READS_PER_ROUND {
            let sink = |from, arrival, datagram: &mut [u8]| {
                core.handle_datagram(now, arrival, Path::Udp(from), datagram);
            };
            match self.receiver.receive(wire.udp.socket(), &mut wire.sender, sink) {
                Ok(progress) => {
                    datagrams += progress.datagrams;
                    drained = progress.drained;
                }
                Err(error) if is_fatal(&error) => return Err(error),
                // An ICMP error of some earlier datagram, which reading has cleared, or something that may pass.
                Err(_) => {
                    self.read_errors += 1;
                    failures += 1;
                }
            }
            if drained {
                break;
            }
        }
        if datagrams > 0 {
            self.instruments.received.observe(datagrams as f64);
        }
        self.received_rate.add(now, datagrams as u64);
        Ok(Look { at: now, found: datagrams > 0, drained, failed: failures == READS_PER_ROUND })
    }

    /// Takes packets of another shard.
    pub(super) fn read_shard(&mut self, message: ShardMessage) {
        self.core.handle_shard(Instant::now(), message);
    }

    /// Does what is due, sends what is ready and hands out what follows.
    pub(super) fn flush(&mut self) {
        let now = Instant::now();
        self.core.handle_timeout(now);
        self.lanes.handle_timeout(now);
        if self.lanes.take_closed_room() {
            self.close_orphans(now);
        }
        let before = self.wire.sender.counters().datagrams;
        let forwarded = self.core.flush(now, &mut self.batch, &mut self.wire);
        let sent = self.wire.sender.counters().datagrams - before;
        if sent > 0 {
            self.instruments.sent.observe(sent as f64);
        }
        self.instruments.forwarded(forwarded);
        self.hand_out(now);
    }

    /// Hands out what the core has for others.
    pub(super) fn hand_out(&mut self, now: Instant) {
        while let Some(output) = self.core.poll_output() {
            match output {
                ShardOutput::ToPeer(peer, input) => self.lanes.tell_peer(now, peer, input),
                ShardOutput::Notice(peer, notice) => self.lanes.tell_room(now, peer, notice),
                ShardOutput::Removed(peer) => self.lanes.remove(peer),
                ShardOutput::ClosePath(Path::Tcp(connection)) => self.wire.tcp.close(connection),
                ShardOutput::ClosePath(Path::Udp(_)) => {}
                ShardOutput::KeyframeWaited(time) => {
                    self.instruments.keyframe_wait.observe(time.as_secs_f64());
                }
                ShardOutput::ToShard(shard, message) => {
                    if let Some(lost) = self.lanes.tell_shard(now, shard, message) {
                        self.core.lost_between_shards(now, &lost);
                        self.wake();
                    }
                }
            }
        }
    }

    /// Ends the peers whose actor has died without a word, and closes those whose room has.
    pub(super) fn bury_the_dead(&mut self, now: Instant) {
        let dead: Vec<_> = self.lanes.dead().collect();
        for peer in dead {
            self.core.handle_peer(now, peer, PeerOutput::Died);
        }
        self.close_orphans(now);
    }

    /// Closes the peers whose room is no more: it may have ended before it knew of them, and nobody else would ever do it.
    fn close_orphans(&mut self, now: Instant) {
        self.lanes.forget_closed_rooms();
        let orphans: Vec<_> = self.lanes.orphans().collect();
        for peer in orphans {
            self.core.tell(peer, PeerInput::Close(EndReason::Internal));
        }
        self.hand_out(now);
    }

    /// Lanes of a peer that the core has just taken in.
    pub(super) fn adopt(&mut self, peer: crate::media::path::PeerKey, lanes: PeerLanes) {
        self.lanes.add(peer, lanes);
    }
}

/// Whether reading again can never succeed.
fn is_fatal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EFAULT))
}

impl TcpSink for Pump {
    fn connections(&mut self) -> &mut TcpConnections {
        &mut self.wire.tcp
    }

    fn welcomes(&self, first: &[u8]) -> bool {
        self.core.knows_check(first)
    }

    fn is_proved(&self, connection: TcpConnection) -> bool {
        self.core.knows_path(&Path::Tcp(connection))
    }

    fn frame(&mut self, from: TcpConnection, frame: &mut [u8]) {
        let now = Instant::now();
        self.core.handle_datagram(now, now, Path::Tcp(from), frame);
        self.wake();
    }

    fn closed(&mut self, connection: TcpConnection) {
        self.core.handle_closed(Path::Tcp(connection));
    }
}

/// A pump in the hands of several tasks of one thread.
pub(super) type SharedPump = Rc<RefCell<Pump>>;
