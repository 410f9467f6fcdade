//! Filling the slots of a lease: the copy that all share but a VALE run, which has its own.

use crate::RegionMap;
use crate::offsets::Offsets;
use nm_abi::NS_MOREFRAG;
use uvale_shared::shm::{Mapping, RingView, Slot, SlotView};

/// The free slots of a ring and those filled so far. A loop that fills many works on a copy, which
/// stays in registers, and puts it back.
#[derive(Clone, Copy)]
pub struct Slots<'a> {
    /// the memory of the ring
    pub region: &'a RegionMap,
    pub ring: RingView<'a>,
    pub(super) offsets: Offsets,
    /// the slot to fill next
    pub at: u32,
    /// how many are left
    pub free: u32,
    /// those that arrive empty because their bytes could not be copied
    pub bad_copy: u64,
}

impl<'a> Slots<'a> {
    /// The slot to fill next.
    #[inline(always)]
    pub fn slot(&self) -> &'a SlotView {
        &self.ring.slots()[self.at as usize]
    }

    /// It is filled.
    #[inline(always)]
    pub fn advance(&mut self) {
        self.at = self.ring.next(self.at);
        self.free -= 1;
    }

    /// The next `n` are filled.
    #[inline(always)]
    pub fn skip(&mut self, n: u32) {
        let (at, size) = (self.at + n, self.ring.num_slots());
        self.at = if at >= size { at - size } else { at };
        self.free -= n;
    }

    /// Fills the next slot: `copy` puts `len` bytes at a byte of the receiver's memory, where the slot's
    /// packets begin. If they have no room there or `copy` cannot, the slot arrives empty. Returns its
    /// length.
    #[inline(always)]
    pub fn put(&mut self, len: u32, flags: u16, copy: impl FnOnce(&Mapping, usize) -> bool) -> u16 {
        let (view, pool) = (self.slot(), &self.region.pool);
        let (old, offset) = (view.load(), self.offset());
        let at = pool.offset(old.buf_idx) + offset as usize;
        let copied = len <= pool.size().saturating_sub(offset) && copy(&self.region.map, at);
        self.bad_copy += u64::from(!copied);
        let len = if copied { len as u16 } else { 0 };
        // A slot that says already what it is to say stays in both caches.
        let new = Slot { len, flags, ..old };
        if old != new {
            view.store(new);
        }
        self.advance();
        len
    }

    /// Fills as many slots as one packet takes, up to `most`, and `N`: `read` puts it into the pieces of the receiver's
    /// memory, each a byte and a length, that lie behind the offsets of the next slots, one after the other. It says
    /// how long the packet is; no slot is filled if it says nothing.
    pub fn read<const N: usize>(
        &mut self,
        most: u32,
        read: impl FnOnce(&Mapping, &[(usize, usize)]) -> Option<usize>,
    ) -> Option<usize> {
        let pool = &self.region.pool;
        let mut pieces = [(0, 0); N];
        let (mut at, n) = (self.at, N.min(self.free.min(most) as usize));
        for piece in &mut pieces[..n] {
            let slot = self.ring.slots()[at as usize].load_full();
            let offset = self.offsets.get(slot.ptr);
            let room = pool.size().saturating_sub(offset).min(u16::MAX.into());
            *piece = (pool.offset(slot.buf_idx) + offset as usize, room as usize);
            at = self.ring.next(at);
        }
        let len = read(&self.region.map, &pieces[..n])?;
        let mut left = len;
        for (_, room) in &pieces[..n] {
            let part = left.min(*room);
            left -= part;
            let flags = if left > 0 { NS_MOREFRAG } else { 0 };
            self.slot().store_len_flags(part as u16, flags);
            self.advance();
            if left == 0 {
                break;
            }
        }
        Some(len)
    }

    /// The same for packets that keep their place in a line of 64 bytes, as netmap has it where ports
    /// have offsets: byte `from` of the sender's memory, where they are copied from, decides on the
    /// offset, which the slot is told. `None` is as good a place as the receiver's own.
    pub fn put_in_line(
        &mut self,
        from: Option<u64>,
        len: u32,
        flags: u16,
        copy: impl FnOnce(&Mapping, usize) -> bool,
    ) {
        let (view, pool) = (self.slot(), &self.region.pool);
        let slot = view.load_full();
        let (own, at) = (self.offsets.get(slot.ptr), pool.offset(slot.buf_idx));
        let from = from.unwrap_or(own.into());
        let place = self.offsets.place(own, at as u64, pool.size(), from, len);
        let copied = place.filter(|offset| copy(&self.region.map, at + *offset as usize));
        self.bad_copy += u64::from(copied.is_none());
        view.store_full(Slot {
            buf_idx: slot.buf_idx,
            len: if copied.is_some() { len as u16 } else { 0 },
            flags,
            ptr: self.offsets.put(slot.ptr, copied.unwrap_or(own)),
        });
        self.advance();
    }

    /// Do packets here begin where their buffers do, and end with whole lines?
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.offsets.is_none() && self.region.pool.is_lined()
    }

    /// Where a packet begins in the buffer of the slot to fill next.
    #[inline(always)]
    fn offset(&self) -> u32 {
        if self.offsets.is_none() {
            return 0;
        }
        self.offsets.get(self.slot().ptr())
    }

    /// Bytes that there are behind the offset of the slot to fill next.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        self.region.pool.size().saturating_sub(self.offset())
    }

    /// Bytes that there are behind any offset.
    pub fn least_room(&self) -> u32 {
        let most = self.offsets.get(u64::MAX);
        self.region.pool.size().saturating_sub(most)
    }

    /// Asks for the buffers of the next `slots` slots to be written: they were last in the receiver's
    /// cache, and fetching them one by one while copying would be most of the time it takes.
    #[inline(always)]
    pub fn prime(&self, slots: u32) {
        let mut at = self.at;
        for _ in 0..slots {
            let buf_idx = self.ring.slots()[at as usize].load().buf_idx;
            let pool = &self.region.pool;
            self.region.map.prefetch_to_write(pool.offset(buf_idx));
            at = self.ring.next(at);
        }
    }
}
