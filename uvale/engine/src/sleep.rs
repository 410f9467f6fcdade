//! Waking those who sleep on a ring; the protocol is in [`uvale_shared::sleepers`].

use core::sync::atomic::Ordering;

use super::{Host, Note};
use uvale_shared::ctl::{Kring, count};
use uvale_shared::lock::LockGuard;
use uvale_shared::sleepers;

/// Index of the receive direction in pairs, as netmap's NR_RX.
pub const RX: usize = 0;
/// Index of the transmit direction in pairs, as netmap's NR_TX.
pub const TX: usize = 1;

/// Takes the sleepers of `kring`, whose producing side the caller holds, and counts the wake-ups.
#[inline]
pub(super) fn to_wake(kring: &Kring) -> u64 {
    let mask = sleepers::take(&kring.sleepers);
    count(&kring.produced.wakeups, u64::from(mask.count_ones()));
    mask
}

/// Takes the sleepers of `kring`, whose producing side `guard` holds, releases it, and wakes them.
#[inline(always)]
pub(super) fn release_and_wake(host: &dyn Host, kring: &Kring, guard: LockGuard<'_>) {
    let mask = sleepers::take(&kring.sleepers);
    if mask != 0 {
        wake_counted(host, kring, mask, guard);
    }
}

#[cold]
#[inline(never)]
fn wake_counted(host: &dyn Host, kring: &Kring, mask: u64, guard: LockGuard<'_>) {
    count(&kring.produced.wakeups, u64::from(mask.count_ones()));
    drop(guard);
    wake_each(host, kring, mask);
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
    let Some(port) = host.ctl().port(kring.port.load(Ordering::Relaxed)) else {
        return;
    };
    while mask != 0 {
        let bit = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        if let Some(client) = port.sleepers[bit].load(Ordering::Relaxed).checked_sub(1) {
            host.wake(client);
            host.noted(Note::Woke { kring, client });
        }
    }
}
