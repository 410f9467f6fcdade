//! Sleeping and waking.
//!
//! A descriptor that is about to block sets its bit in the mask of each ring it waits for, then
//! looks at the rings once more. Whoever makes progress on a ring publishes it first and looks at
//! the mask afterwards. The two full fences make sure that at least one of the two sees the other,
//! so no wake-up is lost; the waker clears the mask, so there is one wake-up per sleep and none
//! for rings on which nobody sleeps.

use crate::sync::{AtomicU64, Ordering, fence};

/// Announces a sleep. The caller must look at the ring once more before it sleeps.
pub fn announce(sleepers: &AtomicU64, bit: u8) {
    sleepers.fetch_or(1 << bit, Ordering::Relaxed);
    // SYNC POINT: pairs with the fence in `take`.
    fence(Ordering::SeqCst);
}

/// Takes the announcement back.
pub fn withdraw(sleepers: &AtomicU64, bit: u8) {
    sleepers.fetch_and(!(1 << bit), Ordering::Relaxed);
}

/// To be called after progress was published: takes the mask of those who are to be woken.
#[inline]
pub fn take(sleepers: &AtomicU64) -> u64 {
    // SYNC POINT: pairs with the fence in `announce`.
    fence(Ordering::SeqCst);
    if sleepers.load(Ordering::Relaxed) == 0 { 0 } else { sleepers.swap(0, Ordering::Relaxed) }
}
