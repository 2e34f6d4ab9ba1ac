//! Our own checks: whether the client is where a check of its said that it is.
//!
//! A check may come with a forged address, so its signature says who wrote it and not where it came from. The answer to a
//! question with a random transaction id, signed by the client, can only come from where the question went.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLED, ATTR_PRIORITY, ATTR_USERNAME};
use rtc_stun::message::TRANSACTION_ID_SIZE;

use super::stun::{BINDING_REQUEST, BINDING_SUCCESS, Draft, integrity_key, is_signed};
use crate::media::path::Path;

/// RFC 8445 §5.1.2.1: peer reflexive, which is what a path is that only an answer would reveal. Full agents refuse a check
/// without a priority; ours is of no consequence to them.
const PRIORITY: u32 = 110 << 24 | 65_535 << 8 | 255;

/// When a question that was not answered is asked again, after it was first asked: a datagram is lost now and then. Whoever
/// forges an address makes us send it three small datagrams and no more than that for each check.
const ASK_AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(600)];

/// How long an answer is waited for. After it a path that did not answer has lost against one that did and is still heard.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_500);

/// What identifies a question.
pub(super) type Transaction = [u8; TRANSACTION_ID_SIZE];

/// One that nobody can guess.
///
/// # Errors
///
/// The operating system has no randomness.
pub(super) fn transaction() -> Result<Transaction, aws_lc_rs::error::Unspecified> {
    let mut transaction = Transaction::default();
    aws_lc_rs::rand::fill(&mut transaction)?;
    Ok(transaction)
}

/// A check of ours (RFC 8445 §7.2.2) for the client that calls itself and us `theirs:ours` and has this password.
pub(super) fn question(transaction: &Transaction, username: &str, password: &str) -> Bytes {
    let mut draft = Draft::new(BINDING_REQUEST, transaction);
    draft.attribute(ATTR_USERNAME, username.as_bytes());
    // A lite agent never controls; the tie-breaker settles conflicts that there can be none of.
    draft.attribute(ATTR_ICE_CONTROLLED, &[0; 8]);
    draft.attribute(ATTR_PRIORITY, &PRIORITY.to_be_bytes());
    draft.finish(Some(&integrity_key(password)))
}

/// Whether `datagram` is the success response of who knows `password` to the question of this transaction.
pub(super) fn is_answer(datagram: &[u8], transaction: &Transaction, password: &str) -> bool {
    is_signed(datagram, BINDING_SUCCESS, transaction, &integrity_key(password))
}

/// A change to a path by which the client has not shown yet that it is there.
pub(super) struct Move {
    pub to: Path,
    /// The path that was in use, and that the client was at for sure.
    pub from: Path,
    pub since: Instant,
    /// Times that it was asked again; one more than there are repetitions if nothing is waited for any more.
    pub repetitions: usize,
}

impl Move {
    pub fn new(to: Path, from: Path, now: Instant) -> Self {
        Self { to, from, since: now, repetitions: 0 }
    }

    /// When it is asked for again, and at last judged.
    pub fn next_step(&self) -> Option<Instant> {
        let after = ASK_AGAIN_AFTER.iter().chain([&ANSWER_TIMEOUT]).nth(self.repetitions)?;
        Some(self.since + *after)
    }
}
