//! The lock of the data path: one word in control memory that names its owner.
//!
//! The owner is a session (one attached process), so that the daemon can break the locks of a
//! process that died. Waiters spin briefly, then sleep on a futex with a timeout; the timeout only
//! bounds the damage of a lost wake-up by a dying owner, it decides nothing.

use crate::sync::{AtomicU32, Ordering, spin_loop, wait, wake_all};

/// Set while somebody sleeps on the word.
const WAITERS: u32 = 1 << 31;
/// Rounds of spinning before sleeping.
const SPINS: u32 = 200;

/// A lock in shared memory: 0 when free, else the owner's session number.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct LockWord(AtomicU32);

#[allow(unsafe_code)]
// SAFETY: a transparent wrapper of an integer atomic.
unsafe impl crate::shm::Shared for LockWord {}

/// Held lock; released on drop.
#[derive(Debug)]
pub struct LockGuard<'a> {
    word: &'a LockWord,
}

impl LockWord {
    /// Takes the lock for session `owner` (1 to 2^31 - 1), waiting as long as it takes.
    #[inline]
    pub fn lock(&self, owner: u32) -> LockGuard<'_> {
        if self.0.compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_slow(owner);
        }
        LockGuard { word: self }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self, owner: u32) -> Option<LockGuard<'_>> {
        // SYNC POINT: Acquire pairs with the Release of `LockGuard::drop` and of `break_dead`.
        self.0
            .compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| LockGuard { word: self })
    }

    #[cold]
    fn lock_slow(&self, owner: u32) {
        let mut spins = 0;
        let mut mine = owner;
        loop {
            let seen = self.0.load(Ordering::Relaxed);
            if seen & !WAITERS == 0 {
                // After having slept, assume that others sleep too and keep the mark.
                if self
                    .0
                    .compare_exchange(seen, mine | seen, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    return;
                }
            } else if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                mine = owner | WAITERS;
                if seen & WAITERS == 0
                    && self
                        .0
                        .compare_exchange(seen, seen | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                        .is_err()
                {
                    continue;
                }
                wait(&self.0, seen | WAITERS);
            }
        }
    }

    /// The session that holds the lock, 0 for none.
    pub fn owner(&self) -> u32 {
        self.0.load(Ordering::Relaxed) & !WAITERS
    }

    /// Frees the lock if the dead session `owner` holds it. True if it did.
    pub fn break_dead(&self, owner: u32) -> bool {
        let seen = self.0.load(Ordering::Relaxed);
        let broken = seen & !WAITERS == owner
            && self.0.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if broken {
            wake_all(&self.0);
        }
        // A waiter may have set its mark in between: then the word changed, try once more.
        broken || (self.owner() == owner && owner != 0 && self.break_dead(owner))
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SYNC POINT: Release pairs with the Acquire of `lock`, `lock_slow` and `try_lock`.
        if self.word.0.swap(0, Ordering::Release) & WAITERS != 0 {
            wake_all(&self.word.0);
        }
    }
}

/// Data of this process that belongs to whoever holds a particular lock.
#[derive(Debug)]
pub struct Guarded<T> {
    word: usize,
    data: core::cell::UnsafeCell<T>,
}

#[allow(unsafe_code)]
mod guarded {
    use super::{Guarded, LockGuard, LockWord};

    // SAFETY: `get` gives access to one holder of the lock at a time.
    unsafe impl<T: Send> Sync for Guarded<T> {}

    impl<T> Guarded<T> {
        /// Data guarded by `word`, which stays at its address as long as the data is used.
        pub fn new(word: &LockWord, data: T) -> Self {
            let word = core::ptr::from_ref(word) as usize;
            Self { word, data: core::cell::UnsafeCell::new(data) }
        }

        /// The data, if `guard` is a guard of the right lock.
        #[inline]
        pub fn get<'a>(&'a self, guard: &'a mut LockGuard<'_>) -> Option<&'a mut T> {
            let held = core::ptr::from_ref(guard.word) as usize;
            // SAFETY: the lock is held, by the one guard there is of it, which is borrowed
            // exclusively for as long as the reference lives.
            (held == self.word).then(|| unsafe { &mut *self.data.get() })
        }
    }
}
