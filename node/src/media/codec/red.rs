//! Redundant sound (RFC 2198): a packet's own frame, the primary, behind frames of the packets before it.
//!
//! ```text
//! one header of 4 bytes per older frame | one byte for the primary | older frames | primary
//! 1 | payload type | age (14) | length (10)   0 | payload type
//! ```

/// Bytes of an older frame's header, and of the primary's.
const OLDER_HEADER_BYTES: usize = 4;
const PRIMARY_HEADER_BYTES: usize = 1;

/// Older frames that are read: libwebrtc's own bound. Who sends more is not understood.
pub const OLDER_FRAMES_MAX: usize = 31;

/// The bit that says that another header follows.
const MORE: u8 = 0x80;

/// The oldest and the longest frame that a header can name: 14 and 10 bits.
const AGE_MAX: u32 = 0x3FFF;
const FRAME_BYTES_MAX: usize = 0x3FF;

/// What stands before the primary of one payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redundancy {
    /// Bytes before the primary: all headers and the older frames.
    pub bytes: u16,
    /// How many older frames there are.
    pub older_frames: u8,
    /// Of the primary, as the sender numbers it.
    pub payload_type: u8,
    /// Whether all older frames have the primary's payload type.
    pub is_uniform: bool,
}

/// An older frame of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OlderFrame<'a> {
    /// As the sender numbers it.
    pub payload_type: u8,
    /// How much older its timestamp is than the packet's.
    pub age: u16,
    /// Its bytes.
    pub frame: &'a [u8],
}

impl Redundancy {
    /// Reads the headers of a payload; `None` if they say more than there is.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (mut headers, mut frames, mut count) = (payload, 0, 0);
        let mut is_uniform = true;
        let mut expected = None;
        while let Some((payload_type, _, len, rest)) = older_header(headers) {
            is_uniform &= *expected.get_or_insert(payload_type) == payload_type;
            (headers, frames, count) = (rest, frames + len, count + 1);
            if count > OLDER_FRAMES_MAX {
                return None;
            }
        }
        let payload_type = *headers.first().filter(|first| **first & MORE == 0)?;
        is_uniform &= expected.is_none_or(|expected| expected == payload_type);
        let bytes = count * OLDER_HEADER_BYTES + PRIMARY_HEADER_BYTES + frames;
        let fits = bytes <= payload.len();
        let (bytes, older_frames) = (u16::try_from(bytes).ok()?, u8::try_from(count).ok()?);
        fits.then_some(Self { bytes, older_frames, payload_type, is_uniform })
    }

    /// The older frames of the payload that this was read from, the oldest first.
    pub fn older_frames<'a>(&self, payload: &'a [u8]) -> impl Iterator<Item = OlderFrame<'a>> + Clone {
        let headers_bytes = usize::from(self.older_frames) * OLDER_HEADER_BYTES + PRIMARY_HEADER_BYTES;
        let (mut headers, mut frames) = (payload, payload.get(headers_bytes..).unwrap_or_default());
        std::iter::from_fn(move || {
            let (payload_type, age, len, rest) = older_header(headers)?;
            let (frame, behind) = frames.split_at_checked(len)?;
            (headers, frames) = (rest, behind);
            Some(OlderFrame { payload_type, age, frame })
        })
    }
}

/// Writes a payload to the start of `out`: `older` frames with their ages, the oldest first, and the primary. Its length; `None` if
/// there is no room, or a frame is older or longer than a header can say, or is nothing.
pub fn write(out: &mut [u8], payload_type: u8, older: &[(u32, &[u8])], primary: &[u8]) -> Option<usize> {
    let mut len = 0;
    let mut put = |bytes: &[u8]| {
        out.get_mut(len..len + bytes.len())?.copy_from_slice(bytes);
        len += bytes.len();
        Some(len)
    };
    for (age, frame) in older {
        let sayable = (1..=AGE_MAX).contains(age) && (1..=FRAME_BYTES_MAX).contains(&frame.len());
        let [_, rest @ ..] = (age << 10 | frame.len() as u32).to_be_bytes();
        put(&[MORE | payload_type]).filter(|_| sayable)?;
        put(&rest)?;
    }
    put(&[payload_type & !MORE])?;
    for (_, frame) in older {
        put(frame)?;
    }
    put(primary)
}

/// Payload type, age and length of the frame whose header comes first, and what follows the header.
fn older_header(headers: &[u8]) -> Option<(u8, u16, usize, &[u8])> {
    let ([first, a, b, c], rest) = headers.split_first_chunk::<OLDER_HEADER_BYTES>()?;
    let word = u32::from_be_bytes([0, *a, *b, *c]);
    (first & MORE != 0).then_some((first & !MORE, (word >> 10) as u16, (word & 0x3FF) as usize, rest))
}

/// Says `payload_type` of every frame of a payload that [`Redundancy::parse`] understood.
pub fn renumber(payload: &mut [u8], payload_type: u8) {
    let mut headers = payload;
    while let Some((first, rest)) = std::mem::take(&mut headers).split_first_mut() {
        *first = *first & MORE | payload_type & !MORE;
        if *first & MORE != 0 {
            headers = rest.get_mut(OLDER_HEADER_BYTES - 1..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    /// As RFC 2198 §3 draws it.
    fn payload(older: &[(u8, u16, Vec<u8>)], primary: (u8, &[u8])) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (payload_type, age, frame) in older {
            let word = u32::from(*age) << 10 | frame.len() as u32;
            bytes.push(0x80 | payload_type);
            bytes.extend(&word.to_be_bytes()[1..]);
        }
        bytes.push(primary.0);
        older.iter().for_each(|(_, _, frame)| bytes.extend(frame));
        bytes.extend(primary.1);
        bytes
    }

    #[test]
    fn what_chromium_sends_is_read() {
        let bytes = payload(&[(111, 960, vec![7; 80])], (111, &[9; 70]));
        let red = Redundancy::parse(&bytes).unwrap();
        assert_eq!(red, Redundancy { bytes: 85, older_frames: 1, payload_type: 111, is_uniform: true });
        assert_eq!(bytes[usize::from(red.bytes)..], [9; 70]);
        let alone = payload(&[], (111, &[9; 70]));
        assert_eq!(Redundancy::parse(&alone).map(|red| (red.bytes, red.older_frames)), Some((1, 0)));
    }

    #[test]
    fn headers_that_say_more_than_there_is_are_not_read() {
        assert_eq!(Redundancy::parse(&[]), None);
        assert_eq!(Redundancy::parse(&[0xEF, 0, 0]), None, "cut off in a header");
        assert_eq!(Redundancy::parse(&[0xEF, 0, 0, 0]), None, "no primary");
        assert_eq!(Redundancy::parse(&[0xEF, 0, 0, 3, 111, 1, 2]), None, "cut off in a frame");
        let many = vec![(111, 1, vec![1]); OLDER_FRAMES_MAX + 1];
        assert_eq!(Redundancy::parse(&payload(&many, (111, &[1]))), None);
        assert!(Redundancy::parse(&payload(&many[1..], (111, &[1]))).is_some());
    }

    fn older() -> impl Strategy<Value = Vec<(u8, u16, Vec<u8>)>> {
        let frame = (0_u8..128, 0_u16..1 << 14, prop::collection::vec(any::<u8>(), 0..1_023));
        prop::collection::vec(frame, 0..6)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            older in older(),
            primary_type in 0_u8..128,
            primary in prop::collection::vec(any::<u8>(), 0..300),
            other in 0_u8..128,
        ) {
            let mut bytes = payload(&older, (primary_type, &primary));
            let red = Redundancy::parse(&bytes).unwrap();
            prop_assert_eq!(red.payload_type, primary_type);
            prop_assert_eq!(red.is_uniform, older.iter().all(|(known, _, _)| *known == primary_type));
            prop_assert_eq!(&bytes[usize::from(red.bytes)..], &primary[..]);
            let read = |bytes: &[u8]| {
                let frames = red.older_frames(bytes);
                frames.map(|known| (known.payload_type, known.age, known.frame.to_vec())).collect::<Vec<_>>()
            };
            prop_assert_eq!(read(&bytes), older.clone());
            renumber(&mut bytes, other);
            let same: Vec<_> = older.into_iter().map(|(_, age, frame)| (other, age, frame)).collect();
            prop_assert_eq!(read(&bytes), same);
            let after = Redundancy { payload_type: other, is_uniform: true, ..red };
            prop_assert_eq!(Redundancy::parse(&bytes), Some(after));
            prop_assert_eq!(&bytes[usize::from(red.bytes)..], &primary[..]);
        }

        #[test]
        fn what_is_written_is_what_rfc_2198_says(
            older in older(),
            primary in prop::collection::vec(any::<u8>(), 0..300),
            room in 0_usize..4_000,
        ) {
            let frames: Vec<_> = older.iter().map(|(_, age, frame)| (u32::from(*age), &frame[..])).collect();
            let mut out = vec![0; room];
            let written = write(&mut out, 111, &frames, &primary).map(|len| out[..len].to_vec());
            let older: Vec<_> = older.iter().map(|(_, age, frame)| (111, *age, frame.clone())).collect();
            let wanted = payload(&older, (111, &primary));
            let sayable = older.iter().all(|(_, age, frame)| *age > 0 && !frame.is_empty());
            prop_assert_eq!(written, (sayable && wanted.len() <= room).then_some(wanted));
        }

        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(red) = Redundancy::parse(&bytes) {
                prop_assert!(usize::from(red.bytes) <= bytes.len());
                prop_assert_eq!(red.older_frames(&bytes).count(), usize::from(red.older_frames));
            }
            let len = bytes.len();
            renumber(&mut bytes, 96);
            prop_assert_eq!(bytes.len(), len);
        }
    }
}
