//! Source descriptions and goodbyes (RFC 3550 §6.5 and §6.6).

/// The item that names an endpoint across its streams (RFC 3550 §6.5.1).
pub(super) const CNAME: u8 = 1;

/// Names of streams.
#[derive(Debug, Clone, Copy)]
pub struct SourceDescription<'a> {
    chunks: &'a [u8],
    count: u8,
}

impl<'a> SourceDescription<'a> {
    pub(super) fn new(chunks: &'a [u8], count: u8) -> Self {
        Self { chunks, count }
    }

    /// SSRC and canonical name of each stream that has one; ends at a broken chunk.
    pub fn cnames(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let mut rest = self.chunks;
        (0..self.count)
            .map_while(move |_| {
                let (chunk, after) = Chunk::split(rest)?;
                rest = after;
                Some(chunk)
            })
            .filter_map(|chunk| chunk.cname.map(|cname| (chunk.ssrc, cname)))
    }
}

/// What one chunk says of its stream.
struct Chunk<'a> {
    ssrc: u32,
    cname: Option<&'a [u8]>,
}

impl<'a> Chunk<'a> {
    /// The first chunk of `bytes`, and what follows it.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (ssrc, mut rest) = bytes.split_first_chunk()?;
        let mut chunk = Self { ssrc: u32::from_be_bytes(*ssrc), cname: None };
        let mut used = 0;
        loop {
            let (kind, after) = rest.split_first()?;
            if *kind == 0 {
                // One to four zeros end the list and fill the last word; `used` counts the bytes since the SSRC.
                return Some((chunk, rest.get(4 - used % 4..)?));
            }
            let (len, after) = after.split_first()?;
            let (text, after) = after.split_at_checked(usize::from(*len))?;
            if *kind == CNAME {
                chunk.cname = Some(text);
            }
            used += 2 + text.len();
            rest = after;
        }
    }
}

/// Streams that ended.
#[derive(Debug, Clone, Copy)]
pub struct Goodbye<'a> {
    ssrcs: &'a [[u8; 4]],
}

impl<'a> Goodbye<'a> {
    pub(super) fn parse(body: &'a [u8], count: u8) -> Option<Self> {
        body.as_chunks().0.get(..usize::from(count)).map(|ssrcs| Self { ssrcs })
    }

    /// The streams.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + 'a {
        self.ssrcs.iter().map(|ssrc| u32::from_be_bytes(*ssrc))
    }
}
