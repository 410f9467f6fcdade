//! One ring during one sync: the kring under its lock, the netmap_ring checked against its
//! region, and netmap's rules for head, cur and tail.

use core::sync::atomic::Ordering::Relaxed;

use super::{Host, RegionMap};
use uvale_shared::ctl::{Kring, RING_ON, count};
use uvale_shared::lock::LockGuard;
use uvale_shared::shm::RingView;

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
    /// being synced.
    pub fn try_enter(
        host: &'a dyn Host,
        region: &'a RegionMap,
        index: u32,
    ) -> Option<(Self, LockGuard<'a>)> {
        let kring = host.ctl().kring(index)?;
        let guard = kring.busy.try_lock_as(host.owner())?;
        Some((Self::locked(kring, region, index)?, guard))
    }

    /// The same, waiting for whoever holds the ring, at most for a short spin.
    pub fn enter_soon(
        host: &'a dyn Host,
        region: &'a RegionMap,
        index: u32,
    ) -> Option<(Self, LockGuard<'a>)> {
        let kring = host.ctl().kring(index)?;
        let guard = kring.busy.lock_within(host.owner(), 0)?;
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

    /// netmap's nm_rxsync_prologue. Like there, head and cur are taken over even if they are
    /// wrong, and a cur that went back is none of our business.
    #[inline(always)]
    pub fn rx_prologue(&self, hwtail: u32) -> Result<(), BadIndices> {
        self.rx_take(self.indices(), hwtail)?;
        self.restore_tail(self.kring.rtail.load(Relaxed));
        Ok(())
    }

    /// The same with a head and cur that come from elsewhere.
    #[inline(always)]
    pub fn rx_take(&self, (head, cur): (u32, u32), hwtail: u32) -> Result<(), BadIndices> {
        let k = self.kring;
        k.rcur.store(cur, Relaxed);
        k.rhead.store(head, Relaxed);
        let hwcur = k.hwcur.load(Relaxed);
        let sane = hwcur < self.n && hwtail < self.n;
        if !sane || !between(hwcur, head, cur, hwtail) {
            return Err(BadIndices);
        }
        if head < self.n {
            Ok(())
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

    /// netmap's netmap_ring_reinit, after a prologue that failed: indices outside the ring go back
    /// to the last good ones, wrong ones inside it stand, and slots with nonsense are emptied.
    /// True if an index was outside.
    #[cold]
    pub fn reinit(&self) -> bool {
        let (k, h) = (self.kring, self.ring.header());
        count(&k.sync.reinit, 1);
        let (head, cur, tail) = (
            h.head.load(Relaxed),
            h.cur.load(Relaxed),
            h.tail.load(Relaxed),
        );
        k.rhead.store(head, Relaxed);
        k.rcur.store(cur, Relaxed);
        k.rtail.store(tail, Relaxed);
        let outside = head >= self.n || cur >= self.n || tail >= self.n;
        let pool = &self.region.pool;
        for view in self.ring.slots() {
            let mut slot = view.load();
            if !pool.is_valid(slot.buf_idx) {
                (slot.buf_idx, slot.len) = (0, 0);
                view.store(slot);
            } else if u32::from(slot.len) > pool.size() {
                slot.len = 0;
                view.store(slot);
            }
        }
        if outside {
            let hwcur = k.hwcur.load(Relaxed);
            let hwtail = k.hwtail.load(Relaxed);
            h.head.store(hwcur, Relaxed);
            h.cur.store(hwcur, Relaxed);
            h.tail.store(hwtail, Relaxed);
            k.rhead.store(hwcur, Relaxed);
            k.rcur.store(hwcur, Relaxed);
            k.rtail.store(hwtail, Relaxed);
        }
        outside
    }
}

/// Does `from <= head <= cur <= to` hold on the ring? Written as netmap writes it, because the
/// answers for indices beyond the ring are part of the interface:
///
/// ```text
///   0    A   from   B    to    C  n-1
///   0    D    to    E   from   F  n-1        B, D and F are valid
/// ```
#[inline]
fn between(from: u32, head: u32, cur: u32, to: u32) -> bool {
    if to >= from {
        head >= from && head <= to && cur >= head && cur <= to
    } else if head > to && head < from {
        false
    } else if head <= to {
        cur >= head && cur <= to
    } else {
        !(cur > to && cur < head)
    }
}

#[cfg(test)]
mod tests {
    use super::between;
    use proptest::prelude::*;

    proptest! {
        /// Against the picture: walk the ring from `from` to `to` and mark what is allowed.
        #[test]
        fn between_is_the_walk(n in 1u32..40, a in 0u32..40, b in 0u32..40, head in 0u32..40, cur in 0u32..40) {
            let (from, to) = (a % n, b % n);
            prop_assume!(head < n && cur < n);
            let mut seen_head = None;
            let mut ok = false;
            let mut i = from;
            let mut step = 0;
            loop {
                if i == head && seen_head.is_none() { seen_head = Some(step); }
                if i == cur && seen_head.is_some() { ok = true; }
                if i == to { break; }
                i = (i + 1) % n;
                step += 1;
            }
            prop_assert_eq!(between(from, head, cur, to), ok);
        }
    }

    #[test]
    fn an_index_beyond_the_ring_can_pass_only_where_netmap_lets_it() {
        // tail >= head: everything beyond is refused
        assert!(!between(0, 1024, 1024, 1023));
        // wrapped: netmap compares with from and to alone, so indices past the end do pass
        assert!(between(10, 1024, 1024, 9));
    }
}
