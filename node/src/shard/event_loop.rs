//! The one task that waits for the shard's socket, its lane and its deadline, and then runs a round.

use std::rc::Rc;
use std::time::Instant;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Duration, sleep, sleep_until};

use crate::media::spec::ShardMessage;
use crate::shard::gather;
use crate::shard::pump::{Pump, SharedPump};
use crate::shard::socket::udp::UdpSocket;

/// How long the loop waits when nothing has a deadline.
const NO_DEADLINE: Duration = Duration::from_secs(3_600);

/// What the loop waits for.
pub(super) struct Sources {
    pub(super) udp: Rc<AsyncFd<UdpSocket>>,
    pub(super) packets: mpsc::Receiver<ShardMessage>,
    pub(super) wake: Rc<Notify>,
}

/// What ended a wait.
enum Cause {
    /// The socket or another shard has packets: worth waiting for more.
    Packets,
    /// A deadline or an actor's wish: to be done at once.
    Now,
}

/// Runs rounds until the socket fails for good.
pub(super) async fn run(pump: SharedPump, mut sources: Sources) {
    let mut timer = Box::pin(sleep(NO_DEADLINE));
    let mut armed: Option<Instant> = None;
    let mut first: Option<ShardMessage> = None;
    loop {
        let deadline = pump.borrow().poll_timeout();
        if deadline != armed {
            let at = deadline.unwrap_or_else(|| Instant::now() + NO_DEADLINE);
            timer.as_mut().reset(at.into());
            armed = deadline;
        }
        let cause = tokio::select! {
            readable = sources.udp.readable() => match readable {
                Ok(_) => Cause::Packets,
                Err(_) => return,
            },
            Some(message) = sources.packets.recv() => {
                first = Some(message);
                Cause::Packets
            }
            () = timer.as_mut() => {
                armed = None;
                timer.as_mut().reset((Instant::now() + NO_DEADLINE).into());
                Cause::Now
            }
            () = sources.wake.notified() => Cause::Now,
        };
        if matches!(cause, Cause::Packets) {
            let load = pump.borrow().core.plane().fan_out_per_second();
            if let Some(wait) = gather::timer(gather::window(load)) {
                sleep_until(tokio::time::Instant::now() + wait).await;
            }
        }
        round(&pump, &mut sources, first.take());
        // Actors of this thread have their turn, however much there is to read.
        tokio::task::yield_now().await;
    }
}

/// Reads everything that is there, and sends what follows.
fn round(pump: &SharedPump, sources: &mut Sources, first: Option<ShardMessage>) {
    let mut pump = pump.borrow_mut();
    if let Some(message) = first {
        pump.read_shard(message);
    }
    while let Ok(message) = sources.packets.try_recv() {
        pump.read_shard(message);
    }
    read_socket(&mut pump, &sources.udp);
    pump.flush();
}

/// Reads the socket if it is readable. The runtime's mark is looked at anew, so that what came during the gather window
/// does not wake the loop a second time; it is taken down only once the kernel had nothing more.
fn read_socket(pump: &mut Pump, udp: &AsyncFd<UdpSocket>) {
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    if let std::task::Poll::Ready(Ok(mut guard)) = udp.poll_read_ready(&mut context) {
        if pump.read() {
            guard.clear_ready();
        } else {
            guard.retain_ready();
        }
    }
}
