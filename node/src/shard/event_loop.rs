//! The one task that waits for the shard's socket, its lane and its deadline, and then runs a round.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::{Notify, mpsc};

use crate::media::spec::ShardMessage;
use crate::shard::pace::{Look, Wait};
use crate::shard::pump::{Pump, SharedPump};
use crate::shard::socket::udp::watch::WatchedSocket;
use crate::shard::timer::ExactTimer;

/// What the loop waits for.
pub(super) struct Sources {
    pub(super) udp: Rc<WatchedSocket>,
    pub(super) packets: mpsc::Receiver<ShardMessage>,
    pub(super) wake: Rc<Notify>,
}

/// Why the loop goes on.
enum Woken {
    /// There may be something to read.
    Look,
    /// Another shard sent something, gathered already.
    Packets(ShardMessage),
    /// A deadline, or a peer has something to send.
    Due,
}

/// Runs rounds until the socket fails for good; says how it did.
pub(super) async fn run(pump: SharedPump, sources: Sources) -> io::Result<()> {
    let look = Look { at: Instant::now(), found: false, drained: true, failed: false };
    let mut event_loop = EventLoop { sources, timer: ExactTimer::new()?, look, armed: false };
    loop {
        let wait = {
            let pump = pump.borrow();
            let (departure, deadline) = (pump.core.plane().next_departure(), pump.poll_timeout());
            let now = Instant::now();
            event_loop.look.next(now, pump.pause(now), departure, deadline)
        };
        let woken = event_loop.sleep(wait).await?;
        event_loop.round(woken, &mut pump.borrow_mut())?;
    }
}

struct EventLoop {
    sources: Sources,
    timer: ExactTimer,
    look: Look,
    /// Whether the socket tells of datagrams that came since the last look.
    armed: bool,
}

impl EventLoop {
    async fn sleep(&mut self, wait: Wait) -> io::Result<Woken> {
        let sources = &mut self.sources;
        match wait {
            Wait::Not => {
                // Actors of this thread have their turn, however much there is to read.
                tokio::task::yield_now().await;
                Ok(Woken::Look)
            }
            Wait::Until(at) => tokio::select! {
                fired = self.timer.until(Some(at)) => fired.map(|()| Woken::Look),
                Some(message) = sources.packets.recv() => Ok(Woken::Packets(message)),
            },
            Wait::Readable(at) => {
                if !std::mem::replace(&mut self.armed, true) {
                    sources.udp.rearm()?;
                }
                tokio::select! {
                    readable = sources.udp.readable() => readable.map(|()| Woken::Look),
                    Some(message) = sources.packets.recv() => Ok(Woken::Packets(message)),
                    fired = self.timer.until(at) => fired.map(|()| Woken::Due),
                    () = sources.wake.notified() => Ok(Woken::Due),
                }
            }
        }
    }

    /// Takes in what came, and sends what follows.
    fn round(&mut self, woken: Woken, pump: &mut Pump) -> io::Result<()> {
        match woken {
            Woken::Look => {
                self.look = pump.read()?;
                self.armed = false;
            }
            Woken::Packets(message) => pump.read_shard(message),
            Woken::Due => {}
        }
        while let Ok(message) = self.sources.packets.try_recv() {
            pump.read_shard(message);
        }
        pump.flush();
        Ok(())
    }
}
