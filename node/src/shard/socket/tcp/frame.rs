//! Frames in a byte stream: each datagram behind its length in two bytes, most significant first (RFC 4571 §2).

/// Longest frame that is taken. What clients send fits into a network packet, since the same datagrams go over UDP too;
/// more is not ICE, and the connection is closed.
pub const FRAME_MAX_BYTES: usize = 8 * 1024;

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 2;

/// The stream holds a frame longer than [`FRAME_MAX_BYTES`], or one of no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes")]
pub struct BadFrame(pub usize);

/// The part of a stream that is not yet handed on: at most one frame and what came with it.
#[derive(Debug)]
pub struct FrameReader {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl FrameReader {
    /// Nothing read yet.
    pub fn new() -> Self {
        let bytes = vec![0; LENGTH_BYTES + FRAME_MAX_BYTES].into_boxed_slice();
        Self { bytes, start: 0, end: 0 }
    }

    /// Where to read further bytes into: never empty once [`Self::next_frame`] has said that no frame is whole.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` bytes were read into [`Self::space`].
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// The next whole frame, which is then done with; `None` until more bytes have come.
    ///
    /// # Errors
    ///
    /// [`BadFrame`]: the stream cannot be read any further.
    pub fn next_frame(&mut self) -> Result<Option<&mut [u8]>, BadFrame> {
        let Some((start, end)) = self.find()? else {
            return Ok(None);
        };
        self.start = end;
        Ok(self.bytes.get_mut(start..end))
    }

    /// The next whole frame, which stays the next; `None` until more bytes have come.
    ///
    /// # Errors
    ///
    /// [`BadFrame`]: the stream cannot be read any further.
    pub fn peek(&self) -> Result<Option<&[u8]>, BadFrame> {
        Ok(self.find()?.and_then(|(start, end)| self.bytes.get(start..end)))
    }

    /// Where the next whole frame's datagram starts and ends.
    fn find(&self) -> Result<Option<(usize, usize)>, BadFrame> {
        let Some([high, low]) = self.bytes.get(self.start..self.end).and_then(<[u8]>::first_chunk) else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        if len == 0 || len > FRAME_MAX_BYTES {
            return Err(BadFrame(len));
        }
        let start = self.start + LENGTH_BYTES;
        Ok((start + len <= self.end).then_some((start, start + len)))
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The length that goes before a frame of `len` bytes; `None` if it does not fit.
pub fn length(len: usize) -> Option<[u8; LENGTH_BYTES]> {
    u16::try_from(len).ok().filter(|len| *len > 0).map(u16::to_be_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    /// Feeds `stream` in pieces of the given sizes, over and over. Returns the frames.
    fn read(mut stream: &[u8], pieces: &[usize]) -> Result<Vec<Vec<u8>>, BadFrame> {
        let mut reader = FrameReader::new();
        let mut frames = Vec::new();
        for piece in pieces.iter().cycle() {
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame.to_vec());
            }
            if stream.is_empty() {
                break;
            }
            let space = reader.space();
            let count = (*piece).clamp(1, space.len()).min(stream.len());
            space[..count].copy_from_slice(&stream[..count]);
            reader.filled(count);
            stream = &stream[count..];
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_however_the_stream_was_cut(
            sizes in proptest::collection::vec(1usize..=FRAME_MAX_BYTES, 0..20),
            pieces in proptest::collection::vec(1usize..3000, 1..20),
        ) {
            let frames: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, size)| vec![n as u8; *size]).collect();
            let stream: Vec<u8> = frames
                .iter()
                .flat_map(|frame| [&length(frame.len()).unwrap()[..], frame].concat())
                .collect();
            prop_assert_eq!(read(&stream, &pieces), Ok(frames));
        }

        #[test]
        fn any_stream_ends_in_frames_or_an_error(
            stream in proptest::collection::vec(any::<u8>(), 0..20_000),
            pieces in proptest::collection::vec(1usize..3000, 1..5),
        ) {
            if let Ok(frames) = read(&stream, &pieces) {
                prop_assert!(frames.iter().map(Vec::len).sum::<usize>() <= stream.len());
            }
        }
    }

    #[test]
    fn empty_and_oversized_frames_end_the_stream() {
        assert_eq!(read(&[0, 0, 1, 2], &[9]), Err(BadFrame(0)));
        assert_eq!(read(&[0xff, 0xff, 1, 2], &[1]), Err(BadFrame(65_535)));
        assert_eq!((length(0), length(65_536)), (None, None));
        assert_eq!(length(258), Some([1, 2]));
    }
}
