//! What the node has allocated, told apart from what the simulation has.
//!
//! Each allocation notes in front of it whose it is, so that what one side frees of the other's counts where it belongs. Counted
//! per thread, as one run is one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes in front of each allocation: room for the note, and any usual alignment.
const NOTE_BYTES: usize = 16;

thread_local! {
    static NODE_RUNS: Cell<bool> = const { Cell::new(false) };
    static NODE_BYTES: Cell<isize> = const { Cell::new(0) };
}

struct Noting;

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// Runs what the node does.
pub fn of_node<T>(run: impl FnOnce() -> T) -> T {
    with(true, run)
}

/// Runs what the simulation does in the midst of that.
pub fn of_simulation<T>(run: impl FnOnce() -> T) -> T {
    with(false, run)
}

/// Bytes that nodes on this thread have.
pub fn node_bytes() -> isize {
    NODE_BYTES.get()
}

fn with<T>(node: bool, run: impl FnOnce() -> T) -> T {
    let _before = Before(NODE_RUNS.replace(node));
    run()
}

/// Whose turn it was; theirs again when it is dropped, be it by a panic.
struct Before(bool);

impl Drop for Before {
    fn drop(&mut self) {
        NODE_RUNS.set(self.0);
    }
}

/// Where the allocation begins behind its note, and the layout of both.
fn noted(layout: Layout) -> Option<(usize, Layout)> {
    let offset = layout.align().max(NOTE_BYTES);
    let size = layout.size().checked_add(offset)?;
    Some((offset, Layout::from_size_align(size, offset).ok()?))
}

// SAFETY: hands everything to the system's allocator, with room in front whose size follows from the layout alone.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((offset, whole)) = noted(layout) else { return std::ptr::null_mut() };
        // SAFETY: the size is above 0.
        let start = unsafe { System.alloc(whole) };
        if start.is_null() {
            return start;
        }
        let node = NODE_RUNS.get();
        if node {
            NODE_BYTES.set(NODE_BYTES.get() + layout.size() as isize);
        }
        // SAFETY: the note lies within the allocation, which is aligned to at least 16 bytes.
        unsafe {
            start.cast::<u64>().write(u64::from(node));
            start.add(offset)
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((offset, whole)) = noted(layout) else { return };
        // SAFETY: `alloc` made it of this layout, and wrote the note.
        unsafe {
            let start = pointer.sub(offset);
            if start.cast::<u64>().read() == 1 {
                NODE_BYTES.set(NODE_BYTES.get() - layout.size() as isize);
            }
            System.dealloc(start, whole);
        }
    }
}

mod tests {
    use super::*;

    #[test]
    fn what_the_node_allocates_is_counted_whoever_frees_it() {
        let before = node_bytes();
        let theirs = of_node(|| vec![0_u8; 1_000]);
        let ours = of_node(|| of_simulation(|| vec![0_u8; 5_000]));
        assert_eq!(node_bytes() - before, 1_000);
        drop(theirs);
        of_node(move || drop(ours));
        assert_eq!(node_bytes(), before);
    }
}
