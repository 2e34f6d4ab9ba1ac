//! What every actor of one kind measures: that it lives, how much waits for it, and how long each message keeps it busy.
//!
//! An actor names its messages once, in [`instrumented`](crate::actor::instruments::instrumented), and handles them by
//! [`Handler`], which looks like actix's own; the measuring lies between the two. Media passes by no mailbox, so none of
//! it is on a packet's way.

use std::pin::Pin;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use actix::dev::MessageResponse;
use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context, Message};
use aforo_cluster::metric::Metrics;
use prometheus::{Histogram, HistogramVec, IntGauge};

/// An actor that is measured.
pub trait Instrumented: Actor<Context = Context<Self>> {
    /// Its instruments.
    fn instruments(&mut self) -> &mut Instruments;
}

/// What an actor does with a message; the same as actix's trait of this name, which `instrumented` implements with it.
pub trait Handler<M: Message>: Instrumented {
    /// What the sender gets.
    type Result: MessageResponse<Self, M>;

    /// Handles `message`.
    fn handle(&mut self, message: M, context: &mut Context<Self>) -> Self::Result;
}

/// One actor's instruments. The actor counts as active for as long as they live, so also after a panic.
#[derive(Debug)]
pub struct Instruments {
    active: IntGauge,
    depth: Histogram,
    durations: HistogramVec,
    actor: &'static str,
    /// Looked up when the first message of each type comes: an actor has a handful of types.
    known: Vec<(&'static str, Histogram)>,
    /// Messages handled since the mailbox was found empty.
    turn: u32,
}

impl Instruments {
    /// Instruments of an actor that starts now, of the kind `actor`.
    pub fn new(metrics: &Metrics, actor: &'static str) -> Self {
        let active = metrics.actor_active.with_label_values(&[actor]);
        active.inc();
        Self {
            active,
            depth: metrics.actor_mailbox_depth.with_label_values(&[actor]),
            durations: metrics.actor_message_duration_seconds.clone(),
            actor,
            known: Vec::new(),
            turn: 0,
        }
    }

    fn handled(&mut self, message: &'static str, took: Duration) {
        let known = self.known.iter().find(|(name, _)| *name == message);
        match known {
            Some((_, histogram)) => histogram.observe(took.as_secs_f64()),
            None => {
                let histogram = self.durations.with_label_values(&[self.actor, message]);
                histogram.observe(took.as_secs_f64());
                self.known.push((message, histogram));
            }
        }
    }
}

impl Drop for Instruments {
    fn drop(&mut self) {
        self.active.dec();
    }
}

/// Runs once the mailbox is empty: actix polls what an actor has spawned after all messages that are there. It has no
/// size, so that boxing it allocates nothing.
struct EndOfTurn;

impl<A: Instrumented> ActorFuture<A> for EndOfTurn {
    type Output = ();

    fn poll(self: Pin<&mut Self>, actor: &mut A, _: &mut Context<A>, _: &mut task::Context<'_>) -> Poll<()> {
        let instruments = actor.instruments();
        let turn = std::mem::take(&mut instruments.turn);
        instruments.depth.observe(f64::from(turn));
        Poll::Ready(())
    }
}

/// Handles the message called `message` with `handle`, and measures it. What a handler answers later, as a future, is not
/// in the time: the actor is free meanwhile.
pub fn measure<A: Instrumented, R>(
    actor: &mut A,
    message: &'static str,
    context: &mut Context<A>,
    handle: impl FnOnce(&mut A, &mut Context<A>) -> R,
) -> R {
    let started = Instant::now();
    let instruments = actor.instruments();
    instruments.turn += 1;
    if instruments.turn == 1 {
        context.spawn(EndOfTurn);
    }
    let result = handle(actor, context);
    actor.instruments().handled(message, started.elapsed());
    result
}

/// Says which messages an actor takes, and measures each under the name of its type. `in` names its instruments.
macro_rules! instrumented {
    ($actor:ident in $field:ident: $($message:ident),+ $(,)?) => {
        impl $crate::actor::instruments::Instrumented for $actor {
            fn instruments(&mut self) -> &mut $crate::actor::instruments::Instruments {
                &mut self.$field
            }
        }
        $(
            impl actix::Handler<$message> for $actor {
                type Result = <$actor as $crate::actor::instruments::Handler<$message>>::Result;

                fn handle(&mut self, message: $message, context: &mut actix::Context<Self>) -> Self::Result {
                    $crate::actor::instruments::measure(self, stringify!($message), context, |actor, context| {
                        $crate::actor::instruments::Handler::handle(actor, message, context)
                    })
                }
            }
        )+
    };
}
pub(crate) use instrumented;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use crate::actor::virtual_time;

    struct Clerk {
        instruments: Instruments,
    }

    impl Actor for Clerk {
        type Context = Context<Self>;
    }

    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Double(u32);

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Toil;

    /// Turns of a loop, some nanoseconds each.
    const TOIL: usize = 500_000;

    instrumented!(Clerk in instruments: Double, Toil);

    impl Handler<Double> for Clerk {
        type Result = u32;

        fn handle(&mut self, Double(number): Double, _: &mut Context<Self>) -> u32 {
            number * 2
        }
    }

    impl Handler<Toil> for Clerk {
        type Result = ();

        fn handle(&mut self, Toil: Toil, _: &mut Context<Self>) {
            (0..TOIL).for_each(|_| std::hint::spin_loop());
        }
    }

    #[test]
    fn messages_are_timed_by_type_and_counted_by_turn() {
        let metrics = Metrics::new().unwrap();
        let clerk = Clerk { instruments: Instruments::new(&metrics, "clerk") };
        virtual_time::run(async {
            let clerk = clerk.start();
            assert_eq!(metrics.actor_active.with_label_values(&["clerk"]).get(), 1);
            // Nobody runs between these three, so that they are found together.
            clerk.try_send(Double(1)).unwrap();
            clerk.try_send(Toil).unwrap();
            assert_eq!(clerk.send(Double(21)).await.unwrap(), 42);
            assert_eq!(clerk.send(Double(4)).await.unwrap(), 8);
            drop(clerk);
            tokio::task::yield_now().await;
        });
        let depth = metrics.actor_mailbox_depth.with_label_values(&["clerk"]);
        assert_eq!(
            (depth.get_sample_count(), depth.get_sample_sum()),
            (2, 4.0),
            "a turn of three, one of one"
        );
        let took = |message| metrics.actor_message_duration_seconds.with_label_values(&["clerk", message]);
        assert_eq!(took("Double").get_sample_count(), 3);
        assert_eq!(took("Toil").get_sample_count(), 1);
        assert!(took("Toil").get_sample_sum() >= 0.000_5);
        assert!(took("Double").get_sample_sum() < took("Toil").get_sample_sum());
        assert_eq!(metrics.actor_active.with_label_values(&["clerk"]).get(), 0);
    }
}
