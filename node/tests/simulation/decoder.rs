//! What a decoder could do with the packets that a viewer has: a frame needs all its packets and the frames that it is predicted
//! from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::footage::Tag;
use crate::stream::NUMBERS_PER_STREAM;

/// A frame of one stream of one publisher.
type Key = (u32, u32);

/// A frame that was decoded.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    pub at: Instant,
    /// Of all streams of a broadcast.
    pub stream: u32,
    pub spatial: u8,
}

struct Frame {
    tag: Tag,
    /// One bit for each packet.
    packets: u64,
    decoded: bool,
}

impl Frame {
    fn is_complete(&self) -> bool {
        self.packets.count_ones() == u32::from(self.tag.count)
    }
}

/// See the module.
#[derive(Default)]
pub struct Decoder {
    frames: BTreeMap<Key, Frame>,
    /// Complete, but what they are predicted from is not decoded.
    waiting: BTreeSet<Key>,
    /// In the order of time.
    pub shown: Vec<Shown>,
}

impl Decoder {
    /// Takes a packet.
    pub fn take(&mut self, now: Instant, tag: &Tag) {
        let key = (tag.number / NUMBERS_PER_STREAM, tag.frame);
        let new = Frame { tag: *tag, packets: 0, decoded: false };
        let frame = self.frames.entry(key).or_insert(new);
        frame.packets |= 1 << tag.place;
        if frame.decoded || !frame.is_complete() {
            return;
        }
        self.waiting.insert(key);
        while let Some(key) = self.waiting.iter().copied().find(|key| self.can_decode(*key)) {
            self.waiting.remove(&key);
            if let Some(frame) = self.frames.get_mut(&key) {
                frame.decoded = true;
                self.shown.push(Shown { at: now, stream: key.0, spatial: frame.tag.spatial });
            }
        }
    }

    fn can_decode(&self, (stream, frame): Key) -> bool {
        let references = self.frames[&(stream, frame)].tag.references;
        let is_decoded = |frame| self.frames.get(&(stream, frame)).is_some_and(|frame| frame.decoded);
        references.into_iter().flatten().all(is_decoded)
    }

    /// Whether all packets of a packet's frame have come.
    pub fn has(&self, tag: &Tag) -> bool {
        self.frames.get(&(tag.number / NUMBERS_PER_STREAM, tag.frame)).is_some_and(Frame::is_complete)
    }

    /// Frames of which something came but that were not decoded.
    pub fn broken(&self) -> impl Iterator<Item = &Tag> {
        self.frames.values().filter(|frame| !frame.decoded).map(|frame| &frame.tag)
    }
}
