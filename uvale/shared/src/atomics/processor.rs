//! The atomics of the processor, and futexes.

pub use core::hint::spin_loop;
pub use core::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, AtomicU64};

use rustix::thread::futex;

/// Says that `n` bytes from `at` on are read while nobody may write them. For loom; else it is nothing.
#[inline(always)]
pub fn reads<T>(_at: *const T, _n: usize) {}

/// Says that `n` bytes from `at` on are written while nobody else may touch them. For loom; else it is nothing.
#[inline(always)]
pub fn writes<T>(_at: *const T, _n: usize) {}

/// Sleeps while the lower half of `word` is that of `expected`, at most 20 ms. True if the time
/// ran out.
pub fn wait(word: &AtomicU64, expected: u64) -> bool {
    let timeout = futex::Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    let result = futex::wait(
        lower(word),
        futex::Flags::empty(),
        expected as u32,
        Some(&timeout),
    );
    result == Err(rustix::io::Errno::TIMEDOUT)
}

/// Wakes everybody who sleeps on `word`.
#[cold]
pub fn wake_all(word: &AtomicU64) {
    let _ = futex::wake(lower(word), futex::Flags::empty(), u32::MAX >> 1);
}

/// The half that futexes, which are 32 bits wide, look at.
fn lower(word: &AtomicU64) -> &AtomicU32 {
    // SAFETY: on the little-endian machines we build for (see `shm`) the lower half lies first;
    // size and alignment of a u32 fit, and the kernel only reads it.
    unsafe { &*core::ptr::from_ref(word).cast::<AtomicU32>() }
}
