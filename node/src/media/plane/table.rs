//! A table by peer index that grows without moving what is in it.

/// Entries of one chunk. Transports have some 700 bytes, so a chunk is an allocation of 45 KB that takes as long as a
/// window of one packet to fill.
const CHUNK: usize = 64;

/// Bytes that a core fetches at once, on every x86-64.
#[cfg(target_arch = "x86_64")]
const CACHE_LINE_BYTES: usize = 64;

/// See the module.
pub(super) struct Table<T> {
    chunks: Vec<Box<[Option<T>]>>,
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let index = index as usize;
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)?.as_mut()
    }

    /// Starts to fetch the entry at `index` into the nearest cache. Only worth it a few hundred nanoseconds ahead.
    #[inline]
    pub(super) fn prefetch(&self, index: u32) {
        let index = index as usize;
        let entry = self.chunks.get(index / CHUNK).and_then(|chunk| chunk.get(index % CHUNK));
        #[cfg(target_arch = "x86_64")]
        if let Some(entry) = entry {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let start = std::ptr::from_ref(entry).cast::<i8>();
            for offset in (0..size_of::<Option<T>>()).step_by(CACHE_LINE_BYTES) {
                // SAFETY: a hint that never faults, on addresses inside of `entry`.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(offset)) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = entry;
    }

    /// Puts `value` at `index`, in place of what was there.
    pub(super) fn insert(&mut self, index: u32, value: T) {
        let index = index as usize;
        while self.chunks.len() <= index / CHUNK {
            self.chunks.push((0..CHUNK).map(|_| None).collect());
        }
        if let Some(slot) = self.chunks.get_mut(index / CHUNK).and_then(|chunk| chunk.get_mut(index % CHUNK))
        {
            *slot = Some(value);
        }
    }

    /// Everything in it, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flatten())
    }

    /// Takes out what is at `index`.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let index = index as usize;
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)?.take()
    }
}
