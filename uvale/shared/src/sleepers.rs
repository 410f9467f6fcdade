//! Sleeping and waking.
//!
//! A descriptor that is about to block sets its bit in the mask of each ring it waits for, then
//! looks at the rings once more. Whoever makes progress on a ring publishes it first and takes the
//! mask afterwards. Both are read-modify-writes of one word, so one comes before the other: if the
//! sleeper's comes first the waker finds its bit, and if the waker's comes first the sleeper's
//! last look finds the progress. No wake-up is lost, there is one per sleep, and none for rings on
//! which nobody sleeps.

use crate::atomics::{AtomicU64, Ordering};

/// Announces a sleep. The caller must look at the ring once more before it sleeps.
pub fn announce(sleepers: &AtomicU64, bit: u8) {
    // SYNC POINT: Acquire pairs with the Release in `take`, and the other way round.
    sleepers.fetch_or(1 << bit, Ordering::AcqRel);
}

/// Takes the announcement back.
pub fn withdraw(sleepers: &AtomicU64, bit: u8) {
    // AcqRel, so that what `take` released is passed on to whoever announces next.
    sleepers.fetch_and(!(1 << bit), Ordering::AcqRel);
}

/// To be called after progress was published: takes the mask of those who are to be woken.
#[inline]
pub fn take(sleepers: &AtomicU64) -> u64 {
    // An exchange even when the mask is empty: it costs less than a fence, and orders as much.
    sleepers.swap(0, Ordering::AcqRel)
}
