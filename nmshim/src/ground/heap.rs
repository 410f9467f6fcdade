//! The library's own heap, past the program's malloc.
//!
//! A signal handler may open a port while the thread it interrupts is in the middle of malloc; malloc must not be
//! called then. Here a lock is held for each allocation, and who holds one of our locks is in a section that no handler
//! interrupts. It also keeps what the library needs apart from what the program does to its heap.
//!
//! Blocks are powers of two, from lists that only grow; large ones are mappings of their own.

use super::lock::Lock;
use super::raw;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

/// Smallest and largest block that comes from a list, as powers of two.
const SMALLEST: u32 = 4;
const LARGEST: u32 = 15;
/// What is asked of the kernel at a time.
const CHUNK: usize = 256 << 10;

/// A free block.
struct Free {
    next: Option<NonNull<Free>>,
}

struct Blocks {
    lists: [Option<NonNull<Free>>; (LARGEST - SMALLEST + 1) as usize],
    /// what is left of the last chunk
    fresh: usize,
    end: usize,
}

// SAFETY: reached by the holder of the lock alone.
unsafe impl Send for Blocks {}

static BLOCKS: Lock<Blocks> = Lock::new(Blocks {
    lists: [None; (LARGEST - SMALLEST + 1) as usize],
    fresh: 0,
    end: 0,
});

/// See the module.
pub struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// The power of two for a layout; `None`: a mapping of its own.
fn order(layout: Layout) -> Option<u32> {
    let size = layout.size().max(layout.align()).next_power_of_two();
    let order = size.trailing_zeros().max(SMALLEST);
    (order <= LARGEST).then_some(order)
}

/// Fresh memory of zeroes, page aligned; null if there is none.
fn map(len: usize) -> *mut u8 {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let p = unsafe { raw::call(libc::SYS_mmap, [0, len, protection, flags, usize::MAX, 0]) };
    raw::check(p).map_or(null_mut(), |p| p as *mut u8)
}

impl Blocks {
    fn take(&mut self, order: u32) -> *mut u8 {
        let list = &mut self.lists[(order - SMALLEST) as usize];
        if let Some(block) = *list {
            // SAFETY: a free block holds the address of the next one, and is nobody's.
            *list = unsafe { block.as_ref().next };
            return block.as_ptr().cast();
        }
        let size = 1 << order;
        let at = self.fresh.next_multiple_of(size);
        if at + size > self.end {
            let chunk = map(CHUNK);
            if chunk.is_null() {
                return chunk;
            }
            (self.fresh, self.end) = (chunk as usize, chunk as usize + CHUNK);
            // A chunk begins on a page; larger blocks may not fit their own alignment at once.
            return self.take(order);
        }
        self.fresh = at + size;
        at as *mut u8
    }

    fn give(&mut self, block: NonNull<Free>, order: u32) {
        let list = &mut self.lists[(order - SMALLEST) as usize];
        // SAFETY: at least 16 bytes, aligned, and given back by their owner.
        unsafe { block.write(Free { next: *list }) };
        *list = Some(block);
    }
}

// SAFETY: each block is handed out once until it comes back, aligned to its size, or to a page where it is a mapping of
// its own; larger alignments than a page's are refused.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match order(layout) {
            Some(order) => BLOCKS.lock().take(order),
            None if layout.align() > 4096 => null_mut(),
            None => map(layout.size()),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match (order(layout), NonNull::new(block.cast())) {
            (Some(order), Some(block)) => BLOCKS.lock().give(block, order),
            (None, Some(_)) => {
                // SAFETY: mapped by `alloc` with this length, and no longer in use.
                unsafe {
                    raw::call(
                        libc::SYS_munmap,
                        [block as usize, layout.size(), 0, 0, 0, 0],
                    )
                };
            }
            (_, None) => {}
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by contract; a mapping of its own is fresh.
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() && order(layout).is_some() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }
}

/// Before a fork: nobody is in the middle of an allocation, and nobody begins one.
pub fn hold() {
    BLOCKS.hold();
}

/// After it, in both processes.
///
/// # Safety
/// Held since `hold` by this thread, or by the one it is the copy of.
pub unsafe fn release() {
    // SAFETY: by contract.
    unsafe { BLOCKS.release() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_and_come_back() {
        let mut all: Vec<(usize, Layout)> = Vec::new();
        for round in 0..3 {
            for (size, align) in [
                (1, 1),
                (16, 16),
                (24, 8),
                (100, 64),
                (4096, 4096),
                (40_000, 8),
                (300_000, 16),
            ] {
                let layout = Layout::from_size_align(size + round, align).unwrap();
                // SAFETY: the size is not 0, and the block is as long as it says.
                let p = unsafe {
                    let p = HEAP.alloc(layout);
                    assert!(!p.is_null() && (p as usize).is_multiple_of(align));
                    p.write_bytes(0xff, layout.size());
                    p as usize
                };
                let apart =
                    |(q, l): &(usize, Layout)| p + layout.size() <= *q || *q + l.size() <= p;
                assert!(all.iter().all(apart));
                all.push((p, layout));
            }
        }
        let first = all[2];
        for (p, layout) in all {
            // SAFETY: allocated above with this layout.
            unsafe { HEAP.dealloc(p as *mut u8, layout) };
        }
        // SAFETY: as above.
        let zeroed = unsafe { HEAP.alloc_zeroed(first.1) };
        // SAFETY: as long as its layout says.
        let bytes = unsafe { core::slice::from_raw_parts(zeroed, first.1.size()) };
        assert!(bytes.iter().all(|b| *b == 0));
    }
}
