//! The note that is taken before two slots exchange their buffers, for whoever finds it after the
//! writer's death.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::compiler_fence;

use crate::ctl::{Exchange, Kring};
use crate::shm::{BufferPool, Slot, SlotView};

impl Exchange {
    /// Writes down that slot `at[0]` of ring `with`, now `slots[0]`, and slot `at[1]` of the monitor's
    /// ring, now `slots[1]`, exchange their buffers.
    pub fn note(&self, with: u32, slots: [Slot; 2], at: [u32; 2]) {
        let pair = |a: u32, b: u32| u64::from(a) | u64::from(b) << 32;
        self.buffers
            .store(pair(slots[0].buf_idx, slots[1].buf_idx), Relaxed);
        self.slots.store(pair(at[0], at[1]), Relaxed);
        // A process that is killed has executed its instructions up to one of them. So it is their
        // order in the program that counts, which is what Release before and the fence after see
        // to.
        self.with.store(u64::from(with) + 1, Release);
        compiler_fence(SeqCst);
    }

    /// The exchange is made.
    pub fn done(&self) {
        self.with.store(0, Release);
        compiler_fence(SeqCst);
    }

    /// What was under way when the writer died: the other kring, and by ring (the monitored one
    /// first) slot and buffer to go back to. `None`: nothing.
    pub fn under_way(&self) -> Option<(u32, [(u32, u32); 2])> {
        let with = self.with.load(Acquire).checked_sub(1)? as u32;
        let (buffers, slots) = (self.buffers.load(Relaxed), self.slots.load(Relaxed));
        let halves = |word: u64| [word as u32, (word >> 32) as u32];
        let [(a, b), (c, d)] = [halves(slots), halves(buffers)].map(|[x, y]| (x, y));
        Some((with, [(a, c), (b, d)]))
    }

    /// Nothing is under way any more; whoever calls this has put the slots right.
    pub fn settle(&self) {
        self.done();
    }
}

/// Exchanges of consecutive slots between joined NIC ports; the receiving ring's `q_lock` and this tx ring's `busy` are
/// held.
impl Kring {
    /// Writes down that the slots of this ring from `from` on and the slots `rs` of ring `with`, from `to` on, are
    /// about to exchange their buffers: as many of them as have a buffer of `pool`, which are returned, and at most
    /// [`SWAPS`](crate::ctl::SWAPS).
    #[inline(always)]
    pub fn note_swap(
        &self,
        with: u32,
        from: u32,
        to: u32,
        rs: &[SlotView],
        pool: &BufferPool,
    ) -> usize {
        let mut count = 0;
        for (log, slot) in self.swapped.iter().zip(rs) {
            let buffer = slot.load().buf_idx;
            if !pool.is_valid(buffer) {
                break;
            }
            log.store(buffer, Relaxed);
            count += 1;
        }
        let slots = u64::from(from) | u64::from(to) << 32;
        self.swap.slots.store(slots, Relaxed);
        self.swap.count.store(count as u64, Relaxed);
        // As in `Exchange::note`: the order of the instructions is what counts.
        self.swap.with.store(u64::from(with) + 1, Release);
        compiler_fence(SeqCst);
        count
    }

    /// The exchanges are made.
    #[inline(always)]
    pub fn swap_done(&self) {
        self.swap.with.store(0, Release);
        compiler_fence(SeqCst);
    }
}
