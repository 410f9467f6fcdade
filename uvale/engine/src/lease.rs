//! The receiving side of everything that puts packets into another port's ring: VALE, monitors.
//!
//! netmap leases the free slots of a receiver's ring to a sender under `q_lock` (`nm_kr_lease`), lets
//! it copy without the lock, and has senders report in order. Here a [`Lease`] is the `q_lock`: its
//! holder fills slots and publishes them with one store, so a process that dies in between has
//! published nothing, and there is no order to wait for.
//!
//! ```text
//!   Lease::take ──> fill its slots ──> publish ──> Wakeups::wake
//!        └────────> Refused
//! ```

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use super::offsets::Offsets;
use super::sleep::{to_wake, wake};
use super::{Host, RegionMap};
use uvale_shared::ctl::{Kring, RING_ON, count};
use uvale_shared::lock::{LockGuard, Owner};
use uvale_shared::shm::RingView;

mod slots;

pub use slots::Slots;

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// its holder does not release the lock
    Stuck,
    /// the ring is out of service, is another one by now, or has bad indices
    Gone,
}

/// The free slots of a receiving ring, held by one sender.
pub struct Lease<'a> {
    pub kring: &'a Kring,
    guard: LockGuard<'a>,
    /// the first slot that was free
    begin: u32,
    pub slots: Slots<'a>,
    /// for the ring's counters
    pub tally: Tally,
}

/// What became of the packets for a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// delivered
    pub packets: u64,
    /// bytes of those
    pub bytes: u64,
    /// dropped because there was no room
    pub full: u64,
    /// dropped because their virtio-net header could not be converted
    pub unconvertible: u64,
}

impl<'a> Lease<'a> {
    /// Locks rx ring `kring` of memory `region`, waiting `patience` sleeps of 20 ms for whoever holds it,
    /// and finds room for `wanted` slots, or what there is. `is_still` says, under the lock, whether
    /// it is the ring that the sender looked up. The region is mapped by then: mapping may have to
    /// ask the daemon, which nobody may wait for with a lock held.
    #[inline(always)]
    pub fn take(
        kring: &'a Kring,
        region: &'a RegionMap,
        owner: Owner,
        patience: u32,
        wanted: u32,
        is_still: impl FnOnce(&Kring) -> bool,
    ) -> Result<Self, Refused> {
        Self::take_at(kring, region, owner, patience, wanted, |kring| {
            // The daemon takes a ring out of service by clearing the mode and then passing through this lock once.
            // SYNC POINT: Acquire pairs with the Release in `epoch::set_mode`.
            let is_live = kring.mode.load(Acquire) == RING_ON
                && kring.region.load(Relaxed) == region.number
                && is_still(kring);
            let (ofs, n) = (kring.ring_ofs.load(Relaxed), kring.num_slots.load(Relaxed));
            let ring = is_live
                .then(|| RingView::new(&region.map, ofs, n))
                .flatten()?;
            Some((ring, Offsets::of(kring)))
        })
    }

    /// The same of a ring that `find` finds in `region`, under the lock.
    #[inline(always)]
    pub fn take_at(
        kring: &'a Kring,
        region: &'a RegionMap,
        owner: Owner,
        patience: u32,
        wanted: u32,
        find: impl FnOnce(&Kring) -> Option<(RingView<'a>, Offsets)>,
    ) -> Result<Self, Refused> {
        let guard = match kring.q_lock.try_lock_as(owner) {
            Some(guard) => guard,
            None => wait_for(kring, owner, patience).ok_or(Refused::Stuck)?,
        };
        if kring.stuck_holder.load(Relaxed) != 0 {
            kring.stuck_holder.store(0, Relaxed);
        }
        let (ring, offsets) = find(kring).ok_or(Refused::Gone)?;
        let n = ring.num_slots();
        let room = kring.indices().room(n, wanted).ok_or(Refused::Gone)?;
        Ok(Self {
            kring,
            guard,
            begin: room.at,
            slots: Slots {
                region,
                ring,
                offsets,
                at: room.at,
                free: room.free,
                bad_copy: 0,
            },
            tally: Tally::default(),
        })
    }

    /// Has a slot been filled?
    #[inline(always)]
    pub fn is_filled(&self) -> bool {
        self.slots.at != self.begin
    }

    /// The first slot that has been filled, and how many have.
    pub fn filled(&self) -> (u32, u32) {
        let slots = self.slots.ring.distance(self.begin, self.slots.at);
        (self.begin, slots)
    }

    /// Counts, shows the receiver what has been filled, and releases the ring. Waking is left to the
    /// caller, who may have to serve the ring's monitors first.
    #[inline(always)]
    pub fn publish(self) -> Wakeups<'a> {
        let (kring, produced) = (self.kring, &self.kring.produced);
        let (t, bad_copy) = (&self.tally, self.slots.bad_copy);
        if t.full | bad_copy | t.unconvertible != 0 {
            count(&produced.full, t.full);
            count(&produced.bad_copy, bad_copy);
            count(&produced.unconvertible, t.unconvertible);
        }
        count(&produced.packets, t.packets);
        count(&produced.bytes, t.bytes);
        let mut mask = 0;
        if self.is_filled() {
            count(&produced.progress, 1);
            kring.indices().publish(self.slots.at);
            mask = to_wake(kring);
        }
        drop(self.guard);
        Wakeups { kring, mask }
    }
}

/// Waits for the holder of the ring: once for each holder that does not release it. The next sender
/// that finds the same holder gives up at once.
#[cold]
#[inline(never)]
fn wait_for(kring: &Kring, owner: Owner, patience: u32) -> Option<LockGuard<'_>> {
    let holder = kring.q_lock.holder();
    if holder != 0 && holder == kring.stuck_holder.load(Relaxed) {
        return None;
    }
    let guard = kring.q_lock.lock_within(owner, patience);
    if guard.is_none() {
        note_stuck(kring, owner, holder);
    }
    guard
}

/// Notes that `holder` was waited for in vain, if it is still it that holds the ring. A thread that meets itself has
/// not waited.
fn note_stuck(kring: &Kring, owner: Owner, holder: u64) {
    let lock = &kring.q_lock;
    if holder != 0 && lock.holder() == holder && !lock.is_held_by(owner) {
        kring.stuck_holder.store(holder, Relaxed);
    }
}

/// The descriptors to wake after something was published.
#[must_use]
pub struct Wakeups<'a> {
    kring: &'a Kring,
    mask: u64,
}

impl Wakeups<'_> {
    /// Wakes them.
    #[inline(always)]
    pub fn wake(self, host: &dyn Host) {
        wake(host, self.kring, self.mask);
    }
}

#[cfg(test)]
mod tests;
