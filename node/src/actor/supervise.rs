//! Rebuilding children: an owner learns that a child died, builds it anew from its factory, and gives up after too many.
//!
//! actix's own `Supervisor` does not survive a panic: the child's whole task is gone. So a child holds a [`Lifeline`];
//! when that is dropped without [`Lifeline::finish`], the child died, and whoever holds the [`Watch`] hears of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Deaths within [`RESTART_WINDOW`] after which an owner stops rebuilding and fails upwards.
pub const RESTART_BUDGET: usize = 3;

/// The time in which deaths are counted: a child that lives longer than this between deaths is worth rebuilding for ever.
pub const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// Counts the deaths of one child and says whether it may be rebuilt once more.
#[derive(Debug, Default)]
pub struct RestartBudget {
    deaths: VecDeque<Instant>,
}

impl RestartBudget {
    /// Takes note of a death at `now`. Returns whether rebuilding is within the budget.
    pub fn allows(&mut self, now: Instant) -> bool {
        while self.deaths.front().is_some_and(|at| now.duration_since(*at) >= RESTART_WINDOW) {
            self.deaths.pop_front();
        }
        if self.deaths.len() >= RESTART_BUDGET {
            return false;
        }
        self.deaths.push_back(now);
        true
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// On purpose.
    Finished,
    /// By a panic, or with its thread.
    Died,
}

/// Held by a child for as long as it lives.
#[derive(Debug)]
pub struct Lifeline(Option<oneshot::Sender<()>>);

/// The owner's end of a [`Lifeline`].
#[derive(Debug)]
pub struct Watch(oneshot::Receiver<()>);

/// A new lifeline, and the watch over it.
pub fn lifeline() -> (Lifeline, Watch) {
    let (sender, receiver) = oneshot::channel();
    (Lifeline(Some(sender)), Watch(receiver))
}

impl Lifeline {
    /// The child ends on purpose; call it from `Actor::stopped`.
    pub fn finish(&mut self) {
        if let Some(sender) = self.0.take() {
            // An owner that no longer watches does not need to know.
            let _ = sender.send(());
        }
    }
}

impl Watch {
    /// Waits for the child's end.
    pub async fn exit(self) -> Exit {
        match self.0.await {
            Ok(()) => Exit::Finished,
            Err(_) => Exit::Died,
        }
    }
}

/// Builds a child with `factory` and, whenever it dies, builds it again. Returns [`Exit::Finished`] when a child ended on
/// purpose and [`Exit::Died`] when the budget is used up: then the caller fails upwards.
///
/// The factory hands the new child's address to whoever needs it; messages in the dead child's mailbox are lost.
pub async fn keep_alive(mut factory: impl FnMut(Lifeline)) -> Exit {
    let mut budget = RestartBudget::default();
    loop {
        let (line, watch) = lifeline();
        factory(line);
        if watch.exit().await == Exit::Finished {
            return Exit::Finished;
        }
        if !budget.allows(super::now()) {
            return Exit::Died;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use actix::{Actor, ActorContext, Addr, Context, Handler, Message};

    use super::*;
    use crate::actor::virtual_time;

    #[test]
    fn the_budget_is_three_in_a_minute_and_refills() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut budget = RestartBudget::default();
        let answers = [0, 1, 2, 3, 59].map(|second| budget.allows(at(second)));
        assert_eq!(answers, [true, true, true, false, false]);
        assert!(budget.allows(at(60)), "the first death is a minute ago");
        assert!(!budget.allows(at(60)));
        assert!(budget.allows(at(600)));
    }

    struct Child(Lifeline);

    impl Actor for Child {
        type Context = Context<Self>;

        fn stopped(&mut self, _: &mut Self::Context) {
            self.0.finish();
        }
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct End {
        panics: bool,
    }

    impl Handler<End> for Child {
        type Result = ();

        fn handle(&mut self, message: End, context: &mut Context<Self>) {
            assert!(!message.panics, "a fault for the test");
            context.stop();
        }
    }

    /// Starts children that get `ends` one after the other. Returns the final exit and how many were built.
    fn supervised(ends: Vec<bool>) -> (Exit, usize) {
        virtual_time::run(async move {
            let built = Rc::new(Cell::new(0));
            let ends = RefCell::new(ends.into_iter());
            let count = Rc::clone(&built);
            let exit = keep_alive(move |line| {
                count.set(count.get() + 1);
                let child: Addr<Child> = Child(line).start();
                if let Some(panics) = ends.borrow_mut().next() {
                    child.try_send(End { panics }).unwrap();
                }
            })
            .await;
            (exit, built.get())
        })
    }

    #[test]
    fn a_child_that_panics_is_rebuilt_until_it_ends_on_purpose() {
        assert_eq!(supervised(vec![true, true, false]), (Exit::Finished, 3));
    }

    #[test]
    fn an_owner_gives_up_once_the_budget_is_used() {
        assert_eq!(supervised(vec![true; 10]), (Exit::Died, 1 + RESTART_BUDGET));
    }
}
