//! A lock that never calls libc.

use super::{raw, section};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicUsize, Ordering::*};

/// A lock to spin for, then to yield and nap for: some are held while the daemon is asked, or started. The word is 0
/// or the owner's thread pointer. Who holds it is in a section: no handler of its own thread can come to wait for it.
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
