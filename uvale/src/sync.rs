//! Atomics and blocking for the protocols of the data path, in one place so that the loom tests
//! can put loom's in their stead (`tests/loom.rs`).

pub use core::hint::spin_loop;
pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::thread::futex;

/// Sleeps while `word` is `expected`, at most 20 ms. The timeout only bounds the damage that a
/// process does which dies between freeing a lock and waking its waiters.
pub fn wait(word: &AtomicU32, expected: u32) {
    let timeout = futex::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let _ = futex::wait(word, futex::Flags::empty(), expected, Some(&timeout));
}

/// Wakes everybody who sleeps on `word`.
#[cold]
pub fn wake_all(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), u32::MAX >> 1);
}
