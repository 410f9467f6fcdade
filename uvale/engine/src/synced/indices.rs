//! Indices that a program has written: which are valid, and what happens to a ring with others.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use super::{BadIndices, Synced};
use uvale_shared::ctl::{Kring, count};
use uvale_shared::shm::{RingView, SlotView};

impl Synced<'_> {
    /// netmap's nm_rxsync_prologue. Like there, head and cur are taken over even if they are
    /// wrong, and a cur that went back is accepted.
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

    /// netmap's netmap_ring_reinit, after a prologue that failed: indices outside the ring go back
    /// to the last good ones, wrong ones inside it stay, and bad slots are emptied.
    /// True if an index was outside.
    #[cold]
    #[inline(never)]
    pub fn reinit(self) -> bool {
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

/// The one slot that a tx sync of `kring`, which is locked and whose ring is `ring`, has to send, its index and that of
/// the one after it, if the indices say what netmap's prologue asks for, and one slot. Nothing is written.
#[inline(always)]
pub fn alone<'a>(kring: &Kring, ring: RingView<'a>) -> Option<(&'a SlotView, u32, u32)> {
    let header = ring.header();
    let (head, cur) = (header.head.load(Acquire), header.cur.load(Relaxed));
    let at = kring.hwcur.load(Relaxed);
    let slot = ring.slots().get(at as usize)?;
    let next = ring.next(at);
    // Where the tail is does not matter, as long as there is a slot before it.
    let is_one = head == next
        && cur == next
        && kring.rhead.load(Relaxed) == at
        && kring.rtail.load(Relaxed) != at;
    is_one.then_some((slot, at, next))
}

/// Most slots that the short ways take.
pub const FEW: usize = 64;

/// Slots `from..head` of `ring`, all before `to`, if there is one at most, or with `MANY` if they are few and in a row.
#[inline(always)]
pub fn row<'a, const MANY: bool>(
    ring: RingView<'a>,
    (from, head, to): (u32, u32, u32),
) -> Option<&'a [SlotView]> {
    let n = ring.num_slots();
    if MANY {
        let end = if head == 0 && from != 0 { n } else { head };
        let row = ring.slots().get(from as usize..end as usize)?;
        // A head beyond the ring would end the row as 0 does.
        let is_good = row.len() <= FEW && from.max(to).max(head) < n;
        return (is_good && row.len() as u32 <= ring.distance(from, to)).then_some(row);
    }
    let one = ring.slots().get(from as usize)?;
    match head {
        _ if head == from => Some(&[]),
        _ if head == ring.next(from) && from != to => Some(core::slice::from_ref(one)),
        _ => None,
    }
}

/// The slots that a tx sync has to send, if they are a [`row`].
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub slots: &'a [SlotView],
    /// the first slot, and the one after them
    pub at: u32,
    pub head: u32,
}

impl<'a> Row<'a> {
    /// Those of `kring`, which is locked and whose ring is `ring`, if the indices say what netmap's prologue asks for.
    /// Nothing is written.
    #[inline(always)]
    pub fn of(kring: &Kring, ring: RingView<'a>) -> Option<Self> {
        let header = ring.header();
        let (head, cur) = (header.head.load(Acquire), header.cur.load(Relaxed));
        let (at, tail) = (kring.hwcur.load(Relaxed), kring.rtail.load(Relaxed));
        let slots = row::<true>(ring, (at, head, tail))?;
        let is_good = cur == head && !slots.is_empty() && kring.rhead.load(Relaxed) == at;
        is_good.then_some(Self { slots, at, head })
    }
}

/// `from..to` on a ring of `n` slots, cut where the ring ends.
#[inline]
pub fn stretches(from: u32, to: u32, n: u32) -> [core::ops::Range<usize>; 2] {
    let (from, to, n) = (from as usize, to as usize, n as usize);
    if from <= to {
        [from..to, 0..0]
    } else {
        [from..n, 0..to]
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
pub(super) fn between(from: u32, head: u32, cur: u32, to: u32) -> bool {
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
