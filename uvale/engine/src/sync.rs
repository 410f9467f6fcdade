//! One sync: a ring under its lock, netmap's rules for head, cur and tail, and what is behind the ring.
//!
//! ```text
//!   NIOCTXSYNC   enter   prologue   send: VALE, a pipe, nothing       finalize
//!   NIOCRXSYNC   enter   prologue   receive: give back and take in    finalize   leave     (rx.rs)
//! ```

mod indices;
mod rx;
#[cfg(test)]
mod tests;

use core::sync::atomic::Ordering::Relaxed;

use super::attachment::Attachment;
use super::vale::{self, Scratch};
use super::{Host, RegionMap, monitor, pipe};
use indices::between;
use uvale_shared::binding::Binding;
use uvale_shared::ctl::{Kring, RING_ON};
use uvale_shared::lock::{Guarded, LockGuard};
use uvale_shared::shm::RingView;

impl Attachment {
    /// NIOCTXSYNC: sends what the program has put into its tx rings.
    #[inline(always)]
    pub fn txsync(&self, host: &dyn Host) {
        for (work, kring) in self.tx_rings() {
            if let Some(mut sync) = self.enter(host, kring, work) {
                sync.tx();
            }
        }
    }

    /// NIOCRXSYNC: gives back what the program has released and shows it what has arrived.
    #[inline(always)]
    pub fn rxsync(&self, host: &dyn Host) {
        for (work, kring) in self.rx_rings() {
            if let Some(mut sync) = self.enter(host, kring, work) {
                sync.rx();
                sync.leave();
            }
        }
    }

    /// Begins a sync of ring `kring`, whose work area is `work`.
    #[inline(always)]
    pub(super) fn enter<'a, Work>(
        &'a self,
        host: &'a dyn Host,
        kring: u32,
        work: &'a Guarded<Work>,
    ) -> Option<Sync<'a, Work>> {
        let (binding, region) = (self.binding(), self.region());
        let (ring, guard) = Synced::enter(host, region, kring, binding.generation)?;
        Some(Sync {
            host,
            binding,
            ring,
            guard,
            work,
        })
    }
}

/// A sync of one ring of a descriptor: of a tx ring with a [`Scratch`], of an rx ring with the regions
/// of its monitors as work area.
pub(super) struct Sync<'a, Work> {
    host: &'a dyn Host,
    binding: &'a Binding,
    pub(super) ring: Synced<'a>,
    guard: LockGuard<'a>,
    /// belongs to whoever holds the lock
    work: &'a Guarded<Work>,
}

/// Why a tx ring did not send.
pub(super) enum Unsent {
    /// monitors do not send
    Monitor,
    /// its work area is another thread's
    Busy,
}

impl Sync<'_, Scratch> {
    /// Sends. False if the program's indices were wrong.
    #[inline(always)]
    pub(super) fn tx(&mut self) -> bool {
        let Ok(head) = self.ring.tx_prologue() else {
            self.ring.reinit();
            return false;
        };
        match self.send(head) {
            Ok(hwtail) => {
                self.ring.finalize(hwtail);
                true
            }
            Err(Unsent::Monitor) => false,
            Err(Unsent::Busy) => true,
        }
    }

    /// Sends what lies before `head`, and shows it to the ring's monitors. Returns hwtail.
    #[inline(always)]
    pub(super) fn send(&mut self, head: u32) -> Result<u32, Unsent> {
        if self.ring.kring.is_monitored() {
            return self.send_monitored(head);
        }
        self.pass_on(head)
    }

    #[cold]
    #[inline(never)]
    fn send_monitored(&mut self, head: u32) -> Result<u32, Unsent> {
        let Some(work) = self.work.get(&mut self.guard) else {
            return Err(Unsent::Busy);
        };
        let freed = monitor::sending(self.host, &self.ring, head, &mut work.monitors);
        let hwtail = self.pass_on(head)?;
        monitor::sent(self.host, &self.ring, freed, hwtail);
        Ok(hwtail)
    }

    /// What is behind the ring takes what lies before `head`. Returns hwtail.
    #[inline(always)]
    fn pass_on(&mut self, head: u32) -> Result<u32, Unsent> {
        let (host, ring, guard, work) = (self.host, &self.ring, &mut self.guard, self.work);
        if self.binding.is_null {
            return Ok(ring.kring.hwtail.load(Relaxed));
        }
        if self.binding.is_monitor {
            return Err(Unsent::Monitor);
        }
        if ring.kring.pipe.load(Relaxed) != 0 {
            return Ok(pipe::txsync(host, ring, head, move || {
                work.get(guard).map(|work| &mut work.monitors)
            }));
        }
        match work.get(guard) {
            Some(work) => Ok(vale::txsync(host, ring, head, work)),
            None => Err(Unsent::Busy),
        }
    }
}

/// A ring whose `busy` lock is held.
pub struct Synced<'a> {
    pub kring: &'a Kring,
    /// its index in control memory
    pub index: u32,
    pub ring: RingView<'a>,
    pub region: &'a RegionMap,
    /// number of slots: the checked, private value
    pub n: u32,
}

/// head or cur make no sense: netmap's prologue would print a line and return an error.
#[derive(Debug, PartialEq, Eq)]
pub struct BadIndices;

impl<'a> Synced<'a> {
    /// Locks kring `index`, if it is a live ring of `region` and of the port record as it was
    /// when the descriptor was bound.
    #[inline(always)]
    pub fn enter(
        host: &'a dyn Host,
        region: &'a RegionMap,
        index: u32,
        generation: u32,
    ) -> Option<(Self, LockGuard<'a>)> {
        let kring = host.ctl().kring(index)?;
        let guard = kring.busy.lock(host.owner())?;
        if kring.generation.load(Relaxed) != generation {
            return None;
        }
        Some((Self::locked(kring, region, index)?, guard))
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
        let guard = match may_spin {
            true => kring.busy.lock_within(host.owner(), 0)?,
            false => kring.busy.try_lock_as(host.owner())?,
        };
        Some((Self::locked(kring, region, index)?, guard))
    }

    #[inline(always)]
    fn locked(kring: &'a Kring, region: &'a RegionMap, index: u32) -> Option<Self> {
        // Looked at under the lock: the daemon takes a ring out of service by clearing the mode
        // and then passing through this lock once.
        if kring.mode.load(Relaxed) != RING_ON || kring.region.load(Relaxed) != region.number {
            return None;
        }
        let n = kring.num_slots.load(Relaxed);
        let ring = RingView::new(&region.map, kring.ring_ofs.load(Relaxed), n)?;
        Some(Self {
            kring,
            index,
            ring,
            region,
            n,
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
