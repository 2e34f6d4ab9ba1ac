//! The ways from one actor to another, each with bounded memory and a known answer to "what when full".
//!
//! | lane | full means |
//! |---|---|
//! | [`ask`], [`hand_over`] (request) | the caller waits for room, at most until its deadline |
//! | [`NoticeLane`] | kept in the sender's outbox and tried again; dropped and counted once that is full too |
//! | [`MediaLane`] | dropped and counted at once; media is never waited for |

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::prelude::SendError;
use actix::{Actor, Addr, Handler, MailboxError, Message, Recipient};

/// Notices that wait in a sender's outbox: far more than an actor sends while its receiver is busy. Full means that the
/// receiver has been stuck for long; the newest notice is dropped and counted.
pub const NOTICE_OUTBOX_CAPACITY: usize = 4096;

/// How long a refused notice waits before it is tried again: about the longest that a handler may run.
pub const NOTICE_RETRY: Duration = Duration::from_millis(5);

/// What a lane could not hand over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneLosses {
    /// Messages dropped because mailbox (and outbox, if the lane has one) were full.
    pub full: u64,
    /// Messages dropped because the receiver has ended.
    pub closed: u64,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor has ended.
    #[error("the actor has ended")]
    Closed,
    /// The deadline passed: the actor is busy or its mailbox stayed full.
    #[error("the actor did not answer in time")]
    Timeout,
}

/// Asks `address` and waits for the answer, at most for `deadline` (waiting for room in the mailbox included).
pub async fn ask<A, M>(address: &Addr<A>, message: M, deadline: Duration) -> Result<M::Result, AskError>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    match address.send(message).timeout(deadline).await {
        Ok(answer) => Ok(answer),
        Err(MailboxError::Closed) => Err(AskError::Closed),
        Err(MailboxError::Timeout) => Err(AskError::Timeout),
    }
}

/// Hands `message` to `address`, whoever may answer it; waits for room in the mailbox, at most for `deadline`.
///
/// Unlike [`ask`] it wakes nobody here once the message was handled.
///
/// # Errors
///
/// The message is lost: the actor has ended, or its mailbox stayed full.
pub async fn hand_over<A, M>(address: &Addr<A>, message: M, deadline: Duration) -> Result<(), AskError>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    match address.try_send(message) {
        Ok(()) => Ok(()),
        Err(SendError::Full(message)) => ask(address, message, deadline).await,
        Err(SendError::Closed(_)) => Err(AskError::Closed),
    }
}

/// Carries notices: in order, and not lost while the receiver is merely busy.
pub struct NoticeLane<M>
where
    M: Message + Send,
    M::Result: Send,
{
    to: Recipient<M>,
    outbox: VecDeque<M>,
    retry_at: Option<Instant>,
    losses: LaneLosses,
}

impl<M> NoticeLane<M>
where
    M: Message + Send,
    M::Result: Send,
{
    /// A lane to `to`.
    pub fn new(to: Recipient<M>) -> Self {
        Self { to, outbox: VecDeque::new(), retry_at: None, losses: LaneLosses::default() }
    }

    /// Sends `notice` after all that still wait.
    pub fn send(&mut self, now: Instant, notice: M) {
        if self.outbox.len() >= NOTICE_OUTBOX_CAPACITY {
            self.losses.full += 1;
            return;
        }
        self.outbox.push_back(notice);
        if self.outbox.len() == 1 || self.retry_at.is_some_and(|at| at <= now) {
            self.flush(now);
        }
    }

    /// Whether the outbox takes one more. A sender that can wait looks here first and loses nothing.
    pub fn has_room(&self) -> bool {
        self.outbox.len() < NOTICE_OUTBOX_CAPACITY
    }

    /// When [`Self::handle_timeout`] wants to be called: feed it into the actor's timer.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries again to hand over what waits, if it is time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.flush(now);
        }
    }

    /// What was dropped so far.
    pub fn losses(&self) -> LaneLosses {
        self.losses
    }

    /// Whether the receiver has ended.
    pub fn is_closed(&self) -> bool {
        !self.to.connected()
    }

    fn flush(&mut self, now: Instant) {
        self.retry_at = None;
        while let Some(notice) = self.outbox.pop_front() {
            match self.to.try_send(notice) {
                Ok(()) => {}
                Err(SendError::Full(notice)) => {
                    self.outbox.push_front(notice);
                    self.retry_at = Some(now + NOTICE_RETRY);
                    return;
                }
                Err(SendError::Closed(_)) => {
                    self.losses.closed += 1 + self.outbox.len() as u64;
                    self.outbox.clear();
                }
            }
        }
    }
}

/// Carries media and datagrams, whose protocols repair losses themselves: never waits, drops and counts.
pub struct MediaLane<M>
where
    M: Message + Send,
    M::Result: Send,
{
    to: Recipient<M>,
    losses: LaneLosses,
}

impl<M> MediaLane<M>
where
    M: Message + Send,
    M::Result: Send,
{
    /// A lane to `to`; its bound is the receiver's mailbox.
    pub fn new(to: Recipient<M>) -> Self {
        Self { to, losses: LaneLosses::default() }
    }

    /// Hands `message` over. Returns whether it was taken.
    pub fn send(&mut self, message: M) -> bool {
        match self.to.try_send(message) {
            Ok(()) => return true,
            Err(SendError::Full(_)) => self.losses.full += 1,
            Err(SendError::Closed(_)) => self.losses.closed += 1,
        }
        false
    }

    /// What was dropped so far.
    pub fn losses(&self) -> LaneLosses {
        self.losses
    }

    /// Whether the receiver has ended.
    pub fn is_closed(&self) -> bool {
        !self.to.connected()
    }
}

#[cfg(test)]
mod tests;
