//! Redundant sound (RFC 2198), written and read without the node's own code: one word per older frame, a byte for the primary, the
//! older frames, the primary.

use std::collections::BTreeSet;

use crate::dice::Dice;

/// The oldest and the longest frame that a word can name.
const AGE_MAX: u32 = 0x3FFF;
const FRAME_BYTES_MAX: usize = 0x3FF;

/// Sound that a publisher sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habit {
    /// Whether the answer has redundant sound.
    pub agreed: bool,
    /// How many older frames a packet repeats; with 0 it sends plain sound.
    pub older_frames: usize,
    /// Whether it sends sound again that is asked for: Chromium does not by itself.
    pub repairs: bool,
}

impl Habit {
    pub fn any(dice: &mut Dice) -> Self {
        let agreed = dice.chance(0.6);
        let older_frames = if agreed { dice.pick(&[0, 1, 1, 2]) } else { 0 };
        Self { agreed, older_frames, repairs: dice.chance(0.6) }
    }
}

/// An older frame in a packet: how much older its timestamp is, and its bytes.
pub struct Older<'a> {
    pub age: u32,
    pub frame: &'a [u8],
}

/// A payload: of `older` frames, the oldest first, those that can be named, and the primary.
pub fn write(payload_type: u8, older: &[Older], primary: &[u8]) -> (Vec<u8>, usize) {
    let named = |older: &&Older| older.age <= AGE_MAX && older.frame.len() <= FRAME_BYTES_MAX;
    let older: Vec<&Older> = older.iter().filter(named).collect();
    let mut bytes = Vec::new();
    for Older { age, frame } in &older {
        bytes
            .extend((1 << 31 | u32::from(payload_type) << 24 | age << 10 | frame.len() as u32).to_be_bytes());
    }
    bytes.push(payload_type);
    older.iter().for_each(|older| bytes.extend(older.frame));
    bytes.extend(primary);
    (bytes, older.len())
}

/// The older frames and the primary of a payload. `payload_type`: what each frame has to be called.
pub fn read(payload_type: u8, payload: &[u8]) -> Result<(Vec<Older<'_>>, &[u8]), String> {
    let called = |byte: u8| match byte & 0x7F {
        name if name == payload_type => Ok(()),
        name => Err(format!("a frame of redundant sound is called {name} and not {payload_type}")),
    };
    let (mut words, mut rest) = (Vec::new(), payload);
    while let [first, a, b, c, behind @ ..] = rest
        && first & 0x80 != 0
    {
        called(*first)?;
        words.push(u32::from_be_bytes([0, *a, *b, *c]));
        rest = behind;
    }
    let (name, mut rest) = rest
        .split_first()
        .filter(|(name, _)| **name & 0x80 == 0)
        .ok_or("redundant sound without a primary")?;
    called(*name)?;
    let mut older = Vec::new();
    for word in words {
        let frame;
        (frame, rest) = rest.split_at_checked(word as usize & FRAME_BYTES_MAX).ok_or("a frame is cut off")?;
        older.push(Older { age: word >> 10, frame });
    }
    Ok((older, rest))
}

/// Which sound of one publisher a node has that took in what arrived, in this order: packets by number, each with the number of frames
/// before its own that it repeats. Those that are missing before a packet are known from it if it repeats them all.
pub fn known(arrivals: impl IntoIterator<Item = (u32, u32)>) -> (Vec<u32>, Vec<u32>) {
    let (mut known, mut recovered) = (BTreeSet::new(), Vec::new());
    for (number, older_frames) in arrivals {
        let newest = known.last().copied().unwrap_or(number);
        let missing = newest + 1..number;
        if (1..=older_frames as usize).contains(&missing.len()) {
            recovered.extend(missing.clone());
            known.extend(missing);
        }
        known.insert(number);
    }
    recovered.retain(|number| known.contains(number));
    (known.into_iter().collect(), recovered)
}

mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_wrong_names_are_not() {
        let older = [Older { age: 20_000, frame: &[1] }, Older { age: 960, frame: &[2, 3] }];
        let (bytes, count) = write(111, &older, &[9, 9]);
        assert_eq!(count, 1, "the first is too old to be named");
        let (read_older, primary) = read(111, &bytes).unwrap();
        assert_eq!((read_older[0].age, read_older[0].frame, primary), (960, &[2, 3][..], &[9, 9][..]));
        assert!(read(109, &bytes).is_err());
        assert!(read(111, &bytes[..3]).is_err());
    }

    #[test]
    fn what_is_missing_is_known_from_a_packet_that_repeats_all_of_it() {
        let arrivals = [(10, 2), (12, 1), (15, 2), (19, 2), (18, 2)];
        assert_eq!(known(arrivals), (vec![10, 11, 12, 13, 14, 15, 18, 19], vec![11, 13, 14]));
    }
}
