//! A ring under its lock, and netmap's rules for head, cur and tail: prologue, finalizer, re-initialisation.

mod indices;
mod known;
#[cfg(test)]
mod tests;

use core::sync::atomic::Ordering::Relaxed;

use super::{Host, RegionMap};
use indices::between;
pub use indices::{FEW, Row, alone, row, stretches};
pub use known::{Known, Way, now, place};
use uvale_shared::binding::Binding;
use uvale_shared::ctl::Kring;
use uvale_shared::lock::{Guarded, LockGuard, Owner};
use uvale_shared::shm::{HeldRing, RingPlace, RingView};

/// A ring whose `busy` lock is held.
#[derive(Clone, Copy)]
pub struct Synced<'a> {
    pub kring: &'a Kring,
    /// its index in control memory
    pub index: u32,
    /// who holds the lock, and takes others meanwhile
    pub owner: Owner,
    pub ring: RingView<'a>,
    pub region: &'a RegionMap,
    /// number of slots: the checked, private value
    pub n: u32,
    /// what is behind it
    pub way: Way,
    /// who holds it, and the epoch in which that was found out (see [`now`])
    pub when: u64,
}

/// head or cur make no sense: netmap's prologue would print a line and return an error.
#[derive(Debug, PartialEq, Eq)]
pub struct BadIndices;

impl<'a> Synced<'a> {
    /// Locks `kring`, whose index is `index`, if it is a live ring of `region` and of the port record as it was
    /// when the descriptor was bound. What is `known` of it is found out in each epoch once; then it was at `held`.
    #[inline(always)]
    pub fn enter(
        owner: Owner,
        region: &'a RegionMap,
        (index, kring): (u32, &'a Kring),
        (known, held): (&Guarded<Known>, Option<&HeldRing>),
        binding: &Binding,
    ) -> Option<(Self, LockGuard<'a>)> {
        let mut guard = kring.busy.lock(owner)?;
        let known = known.get(&mut guard)?;
        let (place, way, when) = known.of(owner, kring, region, binding, held)?;
        Some((
            Self::at(place, owner, (index, kring), region, way, when)?,
            guard,
        ))
    }

    /// Kring `index` for somebody else than its own port, if it is a live ring of `region` and not
    /// being synced; if `may_spin`, whoever syncs it is waited for, for as long as a short spin lasts.
    pub fn enter_other(
        host: &'a dyn Host,
        region: &'a RegionMap,
        index: u32,
        may_spin: bool,
    ) -> Option<(Self, LockGuard<'a>)> {
        let kring = host.ctl().kring(index)?;
        let owner = host.owner();
        let guard = match may_spin {
            true => kring.busy.lock_within(owner, 0)?,
            false => kring.busy.try_lock_as(owner)?,
        };
        let when = now(owner, kring);
        let place = known::place(kring, region)?;
        let ring = (index, kring);
        Some((
            Self::at(place, owner, ring, region, Way::Other, when)?,
            guard,
        ))
    }

    #[inline(always)]
    fn at(
        place: RingPlace,
        owner: Owner,
        (index, kring): (u32, &'a Kring),
        region: &'a RegionMap,
        way: Way,
        when: u64,
    ) -> Option<Self> {
        let ring = RingView::at(&region.map, place)?;
        Some(Self {
            kring,
            index,
            owner,
            ring,
            region,
            n: ring.num_slots(),
            way,
            when,
        })
    }

    /// netmap's nm_txsync_prologue: takes head and cur over from the program.
    #[inline(always)]
    pub fn tx_prologue(&self) -> Result<u32, BadIndices> {
        let head = self.tx_take(self.indices())?;
        self.restore_tail(self.kring.rtail.load(Relaxed));
        Ok(head)
    }

    /// The same with a head and cur that come from elsewhere.
    #[inline(always)]
    pub fn tx_take(&self, (head, cur): (u32, u32)) -> Result<u32, BadIndices> {
        let k = self.kring;
        let (rhead, rtail) = (k.rhead.load(Relaxed), k.rtail.load(Relaxed));
        let sane = k.hwcur.load(Relaxed) < self.n
            && rhead < self.n
            && rtail < self.n
            && k.hwtail.load(Relaxed) < self.n;
        if !sane || !between(rhead, head, cur, rtail) {
            return Err(BadIndices);
        }
        k.rhead.store(head, Relaxed);
        k.rcur.store(cur, Relaxed);
        // On a wrapped ring the comparisons above let a head beyond the last slot pass.
        if head < self.n {
            Ok(head)
        } else {
            Err(BadIndices)
        }
    }

    /// head and cur, each read once.
    #[inline]
    fn indices(&self) -> (u32, u32) {
        use core::sync::atomic::Ordering::Acquire;
        let h = self.ring.header();
        (h.head.load(Acquire), h.cur.load(Relaxed))
    }

    #[inline]
    fn restore_tail(&self, rtail: u32) {
        let tail = &self.ring.header().tail;
        if tail.load(Relaxed) != rtail {
            tail.store(rtail, Relaxed);
        }
    }

    /// netmap's nm_sync_finalize: shows the program the new tail.
    #[inline(always)]
    pub fn finalize(&self, hwtail: u32) {
        use core::sync::atomic::Ordering::Release;
        self.kring.rtail.store(hwtail, Relaxed);
        let tail = &self.ring.header().tail;
        // Not written when it is there already: the program's copy of the line stays valid.
        if tail.load(Relaxed) != hwtail {
            // SYNC POINT: Release pairs with the program's own read barrier, or with its return
            // from this call: what the slots before tail say is visible before tail.
            tail.store(hwtail, Release);
        }
    }
}
