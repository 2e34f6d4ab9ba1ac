//! Rebuilding children: an owner learns that a child died, builds it anew from its factory, and gives up after too many.
//!
//! actix's own `Supervisor` does not survive a panic: the child's whole task is gone. So a child holds a [`Lifeline`];
//! when that is dropped without [`Lifeline::finish`], the child died, and whoever holds the [`Watch`] hears of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_rt::ArbiterHandle;
use aforo_cluster::metric::Metrics;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

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
///
/// Only the message that ends the child on purpose may [`finish`](Self::finish) it. `Actor::stopped` is no place for that:
/// actix calls it after a panic too.
#[derive(Debug)]
pub struct Lifeline(watch::Sender<bool>);

/// The owner's end of a [`Lifeline`]; any number of clones may wait for the same child, on any thread.
#[derive(Debug, Clone)]
pub struct Watch(watch::Receiver<bool>);

/// A new lifeline, and the watch over it.
pub fn lifeline() -> (Lifeline, Watch) {
    let (sender, receiver) = watch::channel(false);
    (Lifeline(sender), Watch(receiver))
}

impl Lifeline {
    /// The child ends on purpose.
    pub fn finish(&self) {
        self.0.send_replace(true);
    }
}

impl Watch {
    /// Waits for the child's end.
    pub async fn exit(mut self) -> Exit {
        match self.0.wait_for(|finished| *finished).await {
            Ok(_) => Exit::Finished,
            Err(_) => Exit::Died,
        }
    }
}

/// An actor that nobody rebuilds, by the name that its death is reported under.
#[derive(Debug, Clone)]
pub struct Root {
    /// What people call it.
    pub name: String,
    /// The label of metrics.
    pub actor: &'static str,
    /// Says when it ends.
    pub watch: Watch,
}

/// Waits until one of `roots` dies and returns it. Waits for ever while they live or end on purpose.
pub async fn first_death(roots: impl IntoIterator<Item = Root>) -> Root {
    let ends = roots.into_iter().map(|root| async {
        let exit = root.watch.clone().exit().await;
        (root, exit)
    });
    let mut ends: FuturesUnordered<_> = ends.collect();
    while let Some((root, exit)) = ends.next().await {
        if exit == Exit::Died {
            return root;
        }
    }
    std::future::pending().await
}

/// Builds a child with `factory` and, whenever it dies, builds it again. Returns [`Exit::Finished`] when a child ended on
/// purpose and [`Exit::Died`] when the budget is used up: then the caller fails upwards.
///
/// The factory hands the new child's address to whoever needs it; messages in the dead child's mailbox are lost. Each
/// death is logged; each after which it is rebuilt is counted under the name `actor`.
pub async fn keep_alive(actor: &str, metrics: &Metrics, mut factory: impl FnMut(Lifeline)) -> Exit {
    let mut budget = RestartBudget::default();
    loop {
        let (line, watch) = lifeline();
        factory(line);
        if watch.exit().await == Exit::Finished {
            return Exit::Finished;
        }
        if !budget.allows(super::now()) {
            tracing::error!(actor, "died too often to be rebuilt once more");
            return Exit::Died;
        }
        metrics.actor_restarts_total.with_label_values(&[actor, "panic"]).inc();
        tracing::error!(actor, "died and is rebuilt");
    }
}

/// [`keep_alive`] as a task of `arbiter`. The watch says when it has given up, also when the arbiter's thread is gone.
pub fn keep_alive_on(
    arbiter: &ArbiterHandle,
    actor: &'static str,
    metrics: Arc<Metrics>,
    factory: impl FnMut(Lifeline) + Send + 'static,
) -> Watch {
    let (line, watch) = lifeline();
    arbiter.spawn(async move {
        if keep_alive(actor, &metrics, factory).await == Exit::Finished {
            line.finish();
        }
    });
    watch
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
            self.0.finish();
            context.stop();
        }
    }

    fn child(panics: Option<bool>) -> impl FnOnce(Lifeline) {
        move |line| {
            let child: Addr<Child> = Child(line).start();
            if let Some(panics) = panics {
                child.try_send(End { panics }).unwrap();
            }
        }
    }

    /// Starts children that get `ends` one after the other. Returns the final exit, how many were built and how many
    /// deaths were counted.
    fn supervised(ends: Vec<bool>) -> (Exit, usize, u64) {
        virtual_time::run(async move {
            let built = Rc::new(Cell::new(0));
            let ends = RefCell::new(ends.into_iter());
            let count = Rc::clone(&built);
            let metrics = Metrics::new().unwrap();
            let exit = keep_alive("child", &metrics, move |line| {
                count.set(count.get() + 1);
                child(ends.borrow_mut().next())(line);
            })
            .await;
            let deaths = metrics.actor_restarts_total.with_label_values(&["child", "panic"]).get();
            (exit, built.get(), deaths)
        })
    }

    #[test]
    fn a_child_that_panics_is_rebuilt_until_it_ends_on_purpose() {
        assert_eq!(supervised(vec![true, true, false]), (Exit::Finished, 3, 2));
    }

    #[test]
    fn an_owner_gives_up_once_the_budget_is_used() {
        assert_eq!(supervised(vec![true; 10]), (Exit::Died, 1 + RESTART_BUDGET, RESTART_BUDGET as u64));
    }

    #[test]
    fn the_first_root_to_die_is_named_and_those_that_finish_are_not() {
        virtual_time::run(async {
            let (line, watch) = lifeline();
            let _alive = Child(line).start();
            let alive = Root { name: "alive".to_owned(), actor: "child", watch };
            let ended = |name: &str, panics| {
                let (line, watch) = lifeline();
                child(Some(panics))(line);
                Root { name: name.to_owned(), actor: "child", watch }
            };
            let well = [alive, ended("finished", false)];
            let patience = Duration::from_secs(60);
            let nobody = tokio::time::timeout(patience, first_death(well.clone())).await;
            assert!(nobody.is_err(), "{nobody:?} died");
            assert_eq!(first_death(well.into_iter().chain([ended("dead", true)])).await.name, "dead");
        });
    }

    #[test]
    fn a_supervisor_whose_thread_ends_has_died() {
        virtual_time::run(async {
            let arbiter = actix_rt::Arbiter::new();
            let metrics = Arc::new(Metrics::new().unwrap());
            let watch = keep_alive_on(&arbiter.handle(), "child", Arc::clone(&metrics), |line| {
                actix_rt::spawn(async move {
                    let _alive = line;
                    std::future::pending::<()>().await;
                });
            });
            arbiter.stop();
            arbiter.join().unwrap();
            assert_eq!(watch.exit().await, Exit::Died);
            assert_eq!(metrics.actor_restarts_total.with_label_values(&["child", "panic"]).get(), 0);
        });
    }
}
