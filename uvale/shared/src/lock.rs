//! The lock of the data path: one word in control memory that names its owner.
//!
//! The owner is a session (one attached process) and a thread of it. The session lets the daemon
//! break the locks of a process that died; the thread lets a signal handler that interrupted a sync
//! find out that it would wait for itself. Waiters spin briefly, then sleep on a futex with a
//! timeout: a waiter that is not woken (the owner died, or was interrupted between looking for
//! waiters and unlocking) looks again by itself. Nobody waits forever for a process that is stopped.

use crate::atomics::{AtomicU64, Ordering, spin_loop, wait, wake_all};

/// Set while somebody sleeps on the word.
const WAITERS: u64 = 1 << 31;
/// The session in a word.
const SESSION: u64 = WAITERS - 1;
/// Rounds of spinning before sleeping.
const SPINS: u32 = 200;
/// Sleeps (of 20 ms) before a waiter gives up.
const PATIENCE: u32 = 50;

/// The session in whose name the daemon takes locks; clients' sessions count from 2.
pub const DAEMON_SESSION: u32 = 1;

/// Who takes a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(u64);

impl Owner {
    /// Thread `thread` (any number, the same for the same thread) of session `session` (1 to
    /// 2^31 - 1).
    #[inline]
    pub fn new(session: u32, thread: u32) -> Self {
        Self(u64::from(session) & SESSION | u64::from(thread) << 32)
    }

    /// Thread `thread` of the same session; this one was made for thread 0.
    #[inline(always)]
    #[must_use]
    pub fn on(self, thread: u32) -> Self {
        debug_assert!(self.0 >> 32 == 0);
        Self(self.0 | u64::from(thread) << 32)
    }

    /// Its session.
    #[inline(always)]
    pub fn session(self) -> u32 {
        (self.0 & SESSION) as u32
    }

    /// A number of 64 bits: the session, and below it `low`.
    #[inline(always)]
    pub fn session_above(self, low: u32) -> u64 {
        self.0 << 32 | u64::from(low)
    }
}

/// A lock in shared memory: 0 when free, else its owner.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct LockWord(AtomicU64);

// SAFETY: a transparent wrapper of an integer atomic.
unsafe impl crate::shm::Shared for LockWord {}

/// Held lock; released on drop.
#[derive(Debug)]
pub struct LockGuard<'a> {
    word: &'a LockWord,
    owner: Owner,
}

impl LockWord {
    /// Takes the lock. `None` if this very thread holds it (we are in a signal handler), or if
    /// its owner has not released it for a second (it is stopped).
    #[inline(always)]
    pub fn lock(&self, owner: Owner) -> Option<LockGuard<'_>> {
        self.lock_within(owner, PATIENCE)
    }

    /// The same for callers that can do without the lock: gives up after `sleeps` sleeps of 20 ms;
    /// with 0 after a short spin.
    #[inline(always)]
    pub fn lock_within(&self, owner: Owner, sleeps: u32) -> Option<LockGuard<'_>> {
        let taken = self
            .0
            .compare_exchange(0, owner.0, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            || self.lock_slow(owner, sleeps);
        // Not `then_some`: a guard that is made is a guard that unlocks.
        taken.then(|| LockGuard { word: self, owner })
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock_as(&self, owner: Owner) -> Option<LockGuard<'_>> {
        // SYNC POINT: Acquire pairs with the Release of `LockGuard::drop` and of `break_dead`.
        self.0
            .compare_exchange(0, owner.0, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| LockGuard { word: self, owner })
    }

    /// Takes the lock for a session without threads (the daemon's), if it is free.
    #[inline]
    pub fn try_lock(&self, session: u32) -> Option<LockGuard<'_>> {
        self.try_lock_as(Owner::new(session, 0))
    }

    #[cold]
    fn lock_slow(&self, owner: Owner, patience: u32) -> bool {
        let (mut spins, mut sleeps) = (0, 0);
        let mut mine = owner.0;
        loop {
            let seen = self.0.load(Ordering::Relaxed);
            if seen & !WAITERS == owner.0 {
                return false;
            }
            if seen & !WAITERS == 0 {
                // After having slept, assume that others sleep too and keep the mark.
                if self
                    .0
                    .compare_exchange(seen, mine | seen, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    return true;
                }
            } else if spins < SPINS {
                spins += 1;
                spin_loop();
            } else if sleeps >= patience {
                return false;
            } else {
                mine = owner.0 | WAITERS;
                if seen & WAITERS == 0
                    && self
                        .0
                        .compare_exchange(
                            seen,
                            seen | WAITERS,
                            Ordering::Relaxed,
                            Ordering::Relaxed,
                        )
                        .is_err()
                {
                    continue;
                }
                sleeps += u32::from(wait(&self.0, seen | WAITERS));
            }
        }
    }

    /// Does `owner` hold the lock?
    pub fn is_held_by(&self, owner: Owner) -> bool {
        self.holder() == owner.0
    }

    /// The session that holds the lock, 0 for none.
    pub fn owner(&self) -> u32 {
        (self.0.load(Ordering::Relaxed) & SESSION) as u32
    }

    /// The word without the waiters' mark: distinguishes owners.
    pub fn holder(&self) -> u64 {
        self.0.load(Ordering::Relaxed) & !WAITERS
    }

    /// Frees the lock if the dead session `session` holds it. True if it did.
    pub fn break_dead(&self, session: u32) -> bool {
        loop {
            let seen = self.0.load(Ordering::Relaxed);
            if session == 0 || (seen & SESSION) as u32 != session {
                return false;
            }
            // A waiter may set its mark in between: then once more.
            if self
                .0
                .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                wake_all(&self.0);
                return true;
            }
        }
    }
}

impl Drop for LockGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let word = &self.word.0;
        // A plain store when nobody waits: an exchange would cost as much as the lock itself. A
        // waiter that sets its mark between load and store finds the word changed when it goes to
        // sleep, or at the latest when its sleep times out.
        // SYNC POINT: Release pairs with the Acquire of `lock_within`, `lock_slow` and `try_lock_as`.
        if word.load(Ordering::Relaxed) == self.owner.0 {
            word.store(0, Ordering::Release);
            return;
        }
        // Marked by a waiter, or broken by the daemon and perhaps somebody else's by now.
        let marked = self.owner.0 | WAITERS;
        if word
            .compare_exchange(marked, 0, Ordering::Release, Ordering::Relaxed)
            .is_ok()
        {
            wake_all(word);
        } else {
            let _ = word.compare_exchange(self.owner.0, 0, Ordering::Release, Ordering::Relaxed);
        }
    }
}

/// Data of this process that is accessed only by the holder of a particular lock.
#[derive(Debug)]
pub struct Guarded<T> {
    word: usize,
    data: core::cell::UnsafeCell<T>,
}

mod guarded {
    use super::{Guarded, LockGuard, LockWord};
    use crate::atomics::writes;

    // SAFETY: `get` gives access to one holder of the lock at a time.
    unsafe impl<T: Send> Sync for Guarded<T> {}

    impl<T> Guarded<T> {
        /// Data guarded by `word`, which stays at its address as long as the data is used.
        pub fn new(word: &LockWord, data: T) -> Self {
            let word = core::ptr::from_ref(word) as usize;
            Self {
                word,
                data: core::cell::UnsafeCell::new(data),
            }
        }

        /// The data, if `guard` is a guard of the right lock.
        #[inline]
        pub fn get<'a>(&'a self, guard: &'a mut LockGuard<'_>) -> Option<&'a mut T> {
            let held = core::ptr::from_ref(guard.word) as usize;
            // SAFETY: the lock is held, by the one guard there is of it, which is borrowed
            // exclusively for as long as the reference lives.
            (held == self.word).then(|| unsafe {
                writes(guard.word, size_of::<LockWord>());
                &mut *self.data.get()
            })
        }
    }
}
