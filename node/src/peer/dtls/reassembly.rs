//! Puts handshake messages together from fragments that come split, reordered, twice or not at all, and hands each on
//! whole and once.
//!
//! `rtc-dtls` has a fragment buffer of its own, but that one recurses once per fragment, keeps repeated messages for
//! ever, and stops its timer when a repetition arrives. So it only ever sees what comes out here.

use smallvec::SmallVec;

use super::record::{Fragment, HANDSHAKE_HEADER_BYTES};

/// Bytes of the longest message we take: a certificate of RSA 4096 with a chain, or a ClientHello with post-quantum key
/// shares, with room to spare. Longer ones are ignored.
const MESSAGE_MAX_BYTES: usize = 8 * 1024;

/// Bytes of all incomplete messages of one handshake. Full means: what is needed last is dropped, as if lost.
const REASSEMBLY_CAPACITY_BYTES: usize = 24 * 1024;

/// Messages that may be under way at once; the longest flight has five.
const WINDOW: u16 = 8;

/// Pieces with gaps between them in one message. Full means: the fragment is dropped, as if lost.
const PIECES_CAPACITY: usize = 16;

/// What became of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is part of a message that is under way.
    Taken,
    /// It belongs to a message that was handed on before: the peer repeats itself.
    Repeated,
    /// It does not fit.
    Refused,
}

/// The messages under way.
#[derive(Debug, Default)]
pub struct Reassembly {
    next: u16,
    partial: Vec<Partial>,
}

#[derive(Debug)]
struct Partial {
    sequence: u16,
    /// Header and body as if the message had come whole.
    message: Vec<u8>,
    /// What is there, as disjoint ranges of the body in ascending order.
    pieces: SmallVec<[(usize, usize); 4]>,
}

impl Reassembly {
    /// Awaits what follows the message of this number.
    pub fn after(sequence: u16) -> Self {
        Self { next: sequence.wrapping_add(1), partial: Vec::new() }
    }

    /// Takes a fragment.
    pub fn insert(&mut self, fragment: &Fragment<'_>) -> Inserted {
        let ahead = fragment.sequence.wrapping_sub(self.next);
        if ahead >= WINDOW {
            return if fragment.sequence < self.next { Inserted::Repeated } else { Inserted::Refused };
        }
        if fragment.length > MESSAGE_MAX_BYTES {
            return Inserted::Refused;
        }
        let known = self.partial.iter().position(|partial| partial.sequence == fragment.sequence);
        let same =
            known.and_then(|index| self.partial.get_mut(index)).filter(|partial| partial.suits(fragment));
        let taken = match same {
            Some(partial) => partial.insert(fragment),
            None => {
                // One of two messages is forged. The newer is taken: the peer repeats its own.
                if let Some(index) = known {
                    self.partial.swap_remove(index);
                }
                self.begin(fragment)
            }
        };
        if taken { Inserted::Taken } else { Inserted::Refused }
    }

    fn begin(&mut self, fragment: &Fragment<'_>) -> bool {
        let next = self.next;
        let ahead = |sequence: u16| sequence.wrapping_sub(next);
        while self.used() + fragment.length > REASSEMBLY_CAPACITY_BYTES {
            let last = self.partial.iter().enumerate().max_by_key(|(_, partial)| ahead(partial.sequence));
            let last = last.filter(|(_, partial)| ahead(partial.sequence) > ahead(fragment.sequence));
            let Some((index, _)) = last else { return false };
            self.partial.swap_remove(index);
        }
        let mut partial = Partial::new(fragment);
        let taken = partial.insert(fragment);
        self.partial.push(partial);
        taken
    }

    fn used(&self) -> usize {
        self.partial.iter().map(|partial| partial.message.len()).sum()
    }

    /// The next message, if it is complete: its header (offset 0, whole length) and body.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let next = self.next;
        let index =
            self.partial.iter().position(|partial| partial.sequence == next && partial.is_complete())?;
        self.next = self.next.wrapping_add(1);
        Some(self.partial.swap_remove(index).message)
    }
}

impl Partial {
    fn new(fragment: &Fragment<'_>) -> Self {
        let mut message = Vec::with_capacity(HANDSHAKE_HEADER_BYTES + fragment.length);
        let [_, length @ ..] = u32::try_from(fragment.length).unwrap_or_default().to_be_bytes();
        message.push(fragment.kind);
        message.extend_from_slice(&length);
        message.extend_from_slice(&fragment.sequence.to_be_bytes());
        message.extend_from_slice(&[0, 0, 0]);
        message.extend_from_slice(&length);
        message.resize(HANDSHAKE_HEADER_BYTES + fragment.length, 0);
        Self { sequence: fragment.sequence, message, pieces: SmallVec::new() }
    }

    /// Whether a fragment may be of this message.
    fn suits(&self, fragment: &Fragment<'_>) -> bool {
        self.message.first() == Some(&fragment.kind)
            && self.message.len() == HANDSHAKE_HEADER_BYTES + fragment.length
    }

    fn insert(&mut self, fragment: &Fragment<'_>) -> bool {
        let before = self.pieces.clone();
        self.cover(fragment.offset, fragment.offset + fragment.bytes.len());
        let start = HANDSHAKE_HEADER_BYTES + fragment.offset;
        let space = self.message.get_mut(start..start + fragment.bytes.len());
        let Some(space) = space.filter(|_| self.pieces.len() <= PIECES_CAPACITY) else {
            self.pieces = before;
            return false;
        };
        space.copy_from_slice(fragment.bytes);
        true
    }

    /// Adds a range to the pieces and merges all that touch it.
    fn cover(&mut self, mut start: usize, mut end: usize) {
        self.pieces.retain(|&mut (from, to)| {
            let apart = to < start || from > end;
            if !apart {
                start = start.min(from);
                end = end.max(to);
            }
            apart
        });
        let index = self.pieces.iter().take_while(|(from, _)| *from < start).count();
        self.pieces.insert(index, (start, end));
    }

    fn is_complete(&self) -> bool {
        self.pieces.first() == Some(&(0, self.message.len() - HANDSHAKE_HEADER_BYTES))
    }
}
