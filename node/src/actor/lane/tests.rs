#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use actix::{ActorContext, AsyncContext, Context};

use super::*;
use crate::actor::{now, virtual_time};

const MAILBOX: usize = 4;

/// Collects numbers, and can be kept busy so that its mailbox fills.
#[derive(Default)]
struct Collector {
    seen: Vec<u32>,
}

impl Actor for Collector {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Number(u32);

impl Handler<Number> for Collector {
    type Result = ();

    fn handle(&mut self, Number(number): Number, _: &mut Context<Self>) {
        self.seen.push(number);
    }
}

/// Handles nothing else for this long.
#[derive(Message)]
#[rtype(result = "()")]
struct Block(Duration);

impl Handler<Block> for Collector {
    type Result = ();

    fn handle(&mut self, Block(time): Block, context: &mut Context<Self>) {
        use actix::fut::{ActorFutureExt, wrap_future};
        context.wait(wrap_future::<_, Self>(virtual_time::pass(time)).map(|(), _, _| ()));
    }
}

#[derive(Message)]
#[rtype(result = "Vec<u32>")]
struct GetSeen;

impl Handler<GetSeen> for Collector {
    type Result = Vec<u32>;

    fn handle(&mut self, _: GetSeen, _: &mut Context<Self>) -> Vec<u32> {
        self.seen.clone()
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Leave;

impl Handler<Leave> for Collector {
    type Result = ();

    fn handle(&mut self, _: Leave, context: &mut Context<Self>) {
        context.stop();
    }
}

const PLENTY: Duration = Duration::from_secs(5);

async fn blocked_collector(time: Duration) -> Addr<Collector> {
    let collector = Collector::default().start();
    assert!(ask(&collector, GetSeen, PLENTY).await.unwrap().is_empty());
    ask(&collector, Block(time), PLENTY).await.unwrap();
    collector
}

#[test]
fn notices_outlive_a_full_mailbox_in_order() {
    virtual_time::run(async {
        let collector = blocked_collector(Duration::from_millis(30)).await;
        let mut lane = NoticeLane::new(collector.clone().recipient());
        for number in 0..50 {
            lane.send(now(), Number(number));
        }
        assert!(lane.poll_timeout().is_some(), "the mailbox of {MAILBOX} cannot take 50");
        while let Some(at) = lane.poll_timeout() {
            virtual_time::pass(at - now()).await;
            lane.handle_timeout(now());
        }
        let seen = ask(&collector, GetSeen, PLENTY).await.unwrap();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        assert_eq!(lane.losses(), LaneLosses::default());
    });
}

#[test]
fn a_full_outbox_drops_the_newest_and_counts() {
    virtual_time::run(async {
        let collector = blocked_collector(Duration::from_secs(60)).await;
        let mut lane = NoticeLane::new(collector.clone().recipient());
        let all = NOTICE_OUTBOX_CAPACITY as u32 + 500;
        for number in 0..all {
            lane.send(now(), Number(number));
        }
        let lost = lane.losses().full;
        assert!(lost > 400, "lost {lost}");
        virtual_time::pass(Duration::from_secs(61)).await;
        while let Some(at) = lane.poll_timeout() {
            virtual_time::pass(at - now()).await;
            lane.handle_timeout(now());
        }
        let seen = ask(&collector, GetSeen, PLENTY).await.unwrap();
        assert_eq!(seen, (0..all - lost as u32).collect::<Vec<_>>());
    });
}

#[test]
fn media_is_dropped_at_once_when_the_mailbox_is_full() {
    virtual_time::run(async {
        let collector = blocked_collector(Duration::from_secs(1)).await;
        let mut lane = MediaLane::new(collector.clone().recipient());
        let taken = (0..50).filter(|number| lane.send(Number(*number))).count();
        assert!((MAILBOX..50).contains(&taken), "took {taken}");
        assert_eq!(lane.losses(), LaneLosses { full: 50 - taken as u64, closed: 0 });
        let seen = ask(&collector, GetSeen, PLENTY).await.unwrap();
        assert_eq!(seen.len(), taken, "what was taken arrives");
    });
}

#[test]
fn a_receiver_that_has_ended_is_counted_apart() {
    virtual_time::run(async {
        let collector = Collector::default().start();
        let mut notices = NoticeLane::new(collector.clone().recipient());
        let mut media = MediaLane::new(collector.clone().recipient());
        ask(&collector, Leave, PLENTY).await.unwrap();
        virtual_time::pass(Duration::from_millis(1)).await;
        notices.send(now(), Number(1));
        assert!(!media.send(Number(2)));
        let closed = LaneLosses { full: 0, closed: 1 };
        assert_eq!((notices.losses(), media.losses()), (closed, closed));
        assert!(notices.is_closed() && media.is_closed());
        assert_eq!(ask(&collector, GetSeen, PLENTY).await, Err(AskError::Closed));
    });
}

#[test]
fn a_question_ends_at_its_deadline() {
    virtual_time::run(async {
        let collector = blocked_collector(Duration::from_secs(60)).await;
        let start = now();
        let answer = ask(&collector, GetSeen, Duration::from_millis(100)).await;
        assert_eq!(answer, Err(AskError::Timeout));
        assert!(now() - start < Duration::from_millis(110));
    });
}
