//! A lock that never calls libc, and the gate that decides when wake-up tokens may be thrown away.

use super::{raw, section};
use crate::device::File;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::os::fd::RawFd;

/// A spin-then-yield lock, held for short work only. The word is 0 or the owner's thread pointer. Who holds it is in
/// a section: no handler of its own thread can come to wait for it.
pub struct Lock<T> {
    owner: AtomicUsize,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through the guard, and one guard exists at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub const fn new(value: T) -> Self {
        Self {
            owner: AtomicUsize::new(0),
            value: UnsafeCell::new(value),
        }
    }

    pub fn lock(&self) -> Locked<'_, T> {
        let mut round = 0;
        loop {
            if let Some(locked) = self.try_lock() {
                return locked;
            }
            core::hint::spin_loop();
            round += 1;
            if round > 100 {
                raw::relax(round - 100);
            }
        }
    }

    pub fn try_lock(&self) -> Option<Locked<'_, T>> {
        section::enter();
        let locked = self.take();
        if locked.is_none() {
            section::leave();
        }
        locked
    }

    /// In a section, which goes on as long as the lock is held.
    fn take(&self) -> Option<Locked<'_, T>> {
        // SYNC POINT: Acquire here pairs with the Release store in `Locked::drop`.
        self.owner
            .compare_exchange(0, raw::thread_pointer(), Acquire, Relaxed)
            .is_ok()
            // not `then_some`: a guard made for nothing would give up somebody else's lock
            .then(|| Locked(self))
    }

    /// Takes the lock and keeps it, over a fork.
    pub fn hold(&self) {
        core::mem::forget(self.lock());
    }

    /// Gives up what `hold` took.
    ///
    /// # Safety
    /// Held by `hold` of this thread, or of the thread this one is the copy of.
    pub unsafe fn release(&self) {
        drop(Locked(self));
    }

    /// Does this thread hold it?
    pub fn is_mine(&self) -> bool {
        self.owner.load(Relaxed) == raw::thread_pointer()
    }

    /// In a fork's child: forget an owner that does not exist here.
    ///
    /// # Safety
    /// No other thread may be running.
    pub unsafe fn reset(&self) {
        self.owner.store(0, Release);
    }
}

/// The lock is held.
pub struct Locked<'a, T>(&'a Lock<T>);

impl<T> Deref for Locked<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held by this guard.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held by this guard, which is borrowed exclusively.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        self.0.owner.store(0, Release);
        section::leave();
    }
}

const DIRTY: u64 = 1 << 63;
const DRAINING: u64 = 1 << 62;
const COUNT: u64 = DRAINING - 1;
/// How often a sleeper that waits for the others to wake looks again before it goes on without draining
/// (the last rounds last 50 microseconds each).
const PATIENCE: u32 = 500;

/// Who sleeps on a description, and whether a token was seen on it.
///
/// A token wakes everybody armed on the descriptor. It may be thrown away only when all of them
/// have seen it: somebody whose blocking call looks again after the token went would sleep on. So
///
/// | state | enter | leave | prohibited |
/// |---|---|---|---|
/// | clean | count+1, no system call | count-1, dirty if a token was seen | drain |
/// | dirty, count > 0 | wait: all sleepers are being woken | count-1 | drain |
/// | dirty, count = 0 | drain, then clean with count 1 | - | - |
pub struct SleepGate {
    state: AtomicU64,
    drainer: AtomicUsize,
}

impl SleepGate {
    pub const fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            drainer: AtomicUsize::new(0),
        }
    }

    /// A thread is going to arm. False: it runs in a signal handler that interrupted this thread's own
    /// drain, and is not counted.
    pub fn enter(&self, file: &dyn File, fd: RawFd) -> bool {
        let mut round = 0;
        loop {
            let s = self.state.load(Acquire);
            if s & DRAINING != 0 {
                if self.drainer.load(Relaxed) == raw::thread_pointer() {
                    return false;
                }
            } else if s == DIRTY || (s & DIRTY != 0 && round > PATIENCE) {
                // Whoever has not left by now has jumped out of a signal handler and never will.
                if self.drain(file, fd, s, 1) {
                    return true;
                }
                continue;
            } else if s & DIRTY == 0
                && self
                    .state
                    .compare_exchange(s, s + 1, AcqRel, Relaxed)
                    .is_ok()
            {
                return true;
            }
            round += 1;
            raw::relax(round);
        }
    }

    /// The thread is awake again; `token`: it saw the descriptor readable.
    pub fn leave(&self, token: bool) {
        let dirty = if token { DIRTY } else { 0 };
        // A fork's child may leave what its parent entered: `reset` has forgotten that.
        let _ = self.state.fetch_update(AcqRel, Acquire, |s| {
            Some((if s & COUNT == 0 { s } else { s - 1 }) | dirty)
        });
    }

    /// A token was seen by a call that did not sleep: throw it away unless somebody is armed, who will
    /// see it too and leave the gate dirty.
    pub fn clean(&self, file: &dyn File, fd: RawFd) {
        let s = self.state.load(Acquire);
        if s & (COUNT | DRAINING) == 0 {
            self.drain(file, fd, s, 0);
        }
    }

    /// `from` (nobody armed) -> draining -> clean with `count` armed. False: it is no longer `from`.
    fn drain(&self, file: &dyn File, fd: RawFd, from: u64, count: u64) -> bool {
        if self
            .state
            .compare_exchange(from, DRAINING, AcqRel, Relaxed)
            .is_err()
        {
            return false;
        }
        self.drainer.store(raw::thread_pointer(), Relaxed);
        super::slot::guarded((), || file.drain(fd));
        self.drainer.store(0, Relaxed);
        // SYNC POINT: Release pairs with the Acquire load in `enter`: who arms after this sees the drain done.
        let _ = self
            .state
            .fetch_update(AcqRel, Acquire, |s| Some((s & !DRAINING) + count));
        true
    }

    /// In a fork's child: the sleepers stayed in the parent.
    pub fn reset(&self) {
        self.state.store(DIRTY, Release);
        self.drainer.store(0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_not_to_be_had_stays_with_its_owner() {
        let lock = Lock::new(());
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        assert!(lock.try_lock().is_none(), "the failed attempt let it go");
        drop(held);
        assert!(lock.try_lock().is_some());
    }
}
