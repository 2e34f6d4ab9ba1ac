//! The one task that waits for the shard's socket, its lane and its deadline, and then runs a round.

use std::rc::Rc;
use std::time::Instant;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Duration, sleep};

use crate::media::spec::ShardMessage;
use crate::shard::gather::{self, Wait};
use crate::shard::pump::SharedPump;
use crate::shard::socket::udp::watch::WatchedSocket;

/// How long the loop waits when nothing has a deadline.
const NO_DEADLINE: Duration = Duration::from_secs(3_600);

/// What the loop waits for.
pub(super) struct Sources {
    pub(super) udp: Rc<WatchedSocket>,
    pub(super) packets: mpsc::Receiver<ShardMessage>,
    pub(super) wake: Rc<Notify>,
}

/// Runs rounds until the socket fails for good.
pub(super) async fn run(pump: SharedPump, mut sources: Sources) {
    let mut timer = Box::pin(sleep(NO_DEADLINE));
    let mut armed: Option<Instant> = None;
    let mut first: Option<ShardMessage> = None;
    let mut drained = true;
    let mut last_read = Instant::now();
    loop {
        let deadline = pump.borrow().poll_timeout();
        if deadline != armed || (armed.is_none() && timer.is_elapsed()) {
            let at = deadline.unwrap_or_else(|| Instant::now() + NO_DEADLINE);
            timer.as_mut().reset(at.into());
            armed = deadline;
        }
        let since = Instant::now();
        tokio::select! {
            readable = sources.udp.readable() => if readable.is_err() {
                return;
            },
            Some(message) = sources.packets.recv() => first = Some(message),
            () = timer.as_mut() => armed = None,
            () = sources.wake.notified() => {}
        }
        // Whatever it was: under load there is at most one round per window, so that a deadline of one peer does not cut
        // the others' runs short.
        let window = gather::window(pump.borrow().core.plane().fan_out_per_second());
        let wait = Wait { last_read, since, until: Instant::now() };
        if let Some(rest) = wait.gather(window).filter(|_| drained) {
            sleep(rest).await;
        }
        last_read = Instant::now();
        drained = round(&pump, &mut sources, first.take());
        if sources.udp.rearm().is_err() {
            return;
        }
        if !drained {
            // Actors of this thread have their turn, however much there is to read. Otherwise they have it while the loop
            // waits: giving way here costs a system call and another turn of the runtime.
            tokio::task::yield_now().await;
        }
    }
}

/// Reads everything that is there, and sends what follows. Returns whether the socket has nothing more.
fn round(pump: &SharedPump, sources: &mut Sources, first: Option<ShardMessage>) -> bool {
    let mut pump = pump.borrow_mut();
    if let Some(message) = first {
        pump.read_shard(message);
    }
    while let Ok(message) = sources.packets.try_recv() {
        pump.read_shard(message);
    }
    let drained = pump.read();
    pump.flush();
    drained
}
