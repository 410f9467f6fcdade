//! Sleeping and waking.
//!
//! A descriptor that is about to block sets its bit in `Kring.sleepers` of each ring it waits
//! for, then looks at the rings once more. Whoever makes progress on a ring publishes it first
//! and looks at the mask afterwards. The two full fences make sure that at least one of the two
//! sees the other, so no wake-up is lost; the waker clears the mask, so there is one wake-up per
//! sleep and none for rings on which nobody sleeps.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::Host;
use crate::ctl::{Kring, count};

/// Index of the receive direction in pairs, as netmap's NR_RX.
pub const RX: usize = 0;
/// Index of the transmit direction in pairs, as netmap's NR_TX.
pub const TX: usize = 1;

/// Announces a sleep. The caller must look at the ring once more before it sleeps.
pub fn announce(sleepers: &AtomicU64, bit: u8) {
    sleepers.fetch_or(1 << bit, Ordering::Relaxed);
    // SYNC POINT: pairs with the fence in `take_sleepers`.
    fence(Ordering::SeqCst);
}

/// Takes the announcement back.
pub fn withdraw(sleepers: &AtomicU64, bit: u8) {
    sleepers.fetch_and(!(1 << bit), Ordering::Relaxed);
}

/// To be called after progress was published: who is to be woken.
#[inline]
pub fn take_sleepers(sleepers: &AtomicU64) -> u64 {
    // SYNC POINT: pairs with the fence in `announce`.
    fence(Ordering::SeqCst);
    if sleepers.load(Ordering::Relaxed) == 0 { 0 } else { sleepers.swap(0, Ordering::Relaxed) }
}

/// Takes the sleepers of `kring`, whose producing side the caller holds, and counts the wake-ups.
#[inline]
pub(super) fn to_wake(kring: &Kring) -> u64 {
    let mask = take_sleepers(&kring.sleepers);
    count(&kring.produced.wakeups, u64::from(mask.count_ones()));
    mask
}

/// Wakes the descriptors in `mask` of the port that `kring` belongs to.
#[inline]
pub(super) fn wake(host: &dyn Host, kring: &Kring, mask: u64) {
    if mask != 0 {
        wake_each(host, kring, mask);
    }
}

#[cold]
fn wake_each(host: &dyn Host, kring: &Kring, mut mask: u64) {
    let Some(port) = host.ctl().port(kring.port.load(Ordering::Relaxed)) else { return };
    while mask != 0 {
        let bit = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        if let Some(client) = port.sleepers[bit].load(Ordering::Relaxed).checked_sub(1) {
            host.wake(client);
        }
    }
}
