//! One timer per actor, armed again from its core's `poll_timeout` after every message.

use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, SpawnHandle};

/// An actor whose core has deadlines.
pub trait Timed: Actor<Context = Context<Self>> {
    /// The actor's one timer.
    fn timer(&mut self) -> &mut Timer;

    /// The timer fired, perhaps early: bring the core up to `now`, drain its outputs, then [`arm`] again.
    fn handle_timeout(&mut self, now: Instant, context: &mut Context<Self>);
}

/// The one deadline that an actor waits for.
#[derive(Debug, Default)]
pub struct Timer {
    armed: Option<(Instant, SpawnHandle)>,
}

impl Timer {
    /// When it fires, if it is armed.
    pub fn deadline(&self) -> Option<Instant> {
        self.armed.map(|(at, _)| at)
    }
}

/// Makes `actor`'s timer fire no later than `at`; with `None`, never.
///
/// A timer that is armed for an earlier moment stays as it is: the core finds nothing to do then, and is asked again.
/// That is cheaper than replacing a timer on every message, which moves most deadlines a little further away.
pub fn arm<A: Timed>(actor: &mut A, context: &mut Context<A>, at: Option<Instant>) {
    let armed = actor.timer().armed;
    match (armed, at) {
        (Some((fires, _)), Some(at)) if fires <= at => return,
        (Some((_, handle)), _) => {
            context.cancel_future(handle);
        }
        (None, _) => {}
    }
    actor.timer().armed = at.map(|at| {
        let wait = at.saturating_duration_since(super::now());
        let handle = context.run_later(wait, |actor: &mut A, context| {
            actor.timer().armed = None;
            actor.handle_timeout(super::now(), context);
        });
        (at, handle)
    });
}

/// Calls `tick` each `period` for as long as the actor lives: for telemetry, where the latest value wins. Rules with
/// deadlines belong into a core and use [`arm`].
pub fn every<A>(
    context: &mut Context<A>,
    period: Duration,
    tick: impl FnMut(&mut A, &mut Context<A>) + 'static,
) where
    A: Actor<Context = Context<A>>,
{
    context.run_interval(period, tick);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use actix::{Handler, Message};

    use super::*;
    use crate::actor::{now, virtual_time};

    #[derive(Default)]
    struct Clocked {
        timer: Timer,
        fired: Vec<Instant>,
    }

    impl Actor for Clocked {
        type Context = Context<Self>;
    }

    impl Timed for Clocked {
        fn timer(&mut self) -> &mut Timer {
            &mut self.timer
        }

        fn handle_timeout(&mut self, now: Instant, _: &mut Context<Self>) {
            self.fired.push(now);
        }
    }

    #[derive(Message)]
    #[rtype(result = "Option<Instant>")]
    struct Arm(Option<Instant>);

    impl Handler<Arm> for Clocked {
        type Result = Option<Instant>;

        fn handle(&mut self, Arm(at): Arm, context: &mut Context<Self>) -> Option<Instant> {
            arm(self, context, at);
            self.timer.deadline()
        }
    }

    #[derive(Message)]
    #[rtype(result = "Vec<Instant>")]
    struct GetFired;

    impl Handler<GetFired> for Clocked {
        type Result = Vec<Instant>;

        fn handle(&mut self, _: GetFired, _: &mut Context<Self>) -> Vec<Instant> {
            self.fired.clone()
        }
    }

    #[test]
    fn the_earliest_deadline_wins_and_fires_once() {
        virtual_time::run(async {
            let start = now();
            let after = |ms| Some(start + Duration::from_millis(ms));
            let actor = Clocked::default().start();
            assert_eq!(actor.send(Arm(after(50))).await.unwrap(), after(50));
            assert_eq!(actor.send(Arm(after(80))).await.unwrap(), after(50), "an earlier one stays");
            assert_eq!(actor.send(Arm(after(20))).await.unwrap(), after(20), "an earlier one replaces");
            virtual_time::pass(Duration::from_millis(200)).await;
            let fired = actor.send(GetFired).await.unwrap();
            assert_eq!(fired.len(), 1);
            assert!(fired[0] >= start + Duration::from_millis(20));
            assert!(fired[0] < start + Duration::from_millis(25));
        });
    }

    #[test]
    fn a_cancelled_timer_never_fires() {
        virtual_time::run(async {
            let actor = Clocked::default().start();
            let at = Some(now() + Duration::from_millis(20));
            assert_eq!(actor.send(Arm(at)).await.unwrap(), at);
            assert_eq!(actor.send(Arm(None)).await.unwrap(), None);
            virtual_time::pass(Duration::from_millis(200)).await;
            assert!(actor.send(GetFired).await.unwrap().is_empty());
        });
    }
}
