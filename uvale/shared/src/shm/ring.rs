//! A `netmap_ring` inside a region, seen through atomics, and the buffers its slots name.

use core::mem::offset_of;
use core::sync::atomic::{self, Ordering};

use nm_abi::{NS_BUF_CHANGED, NS_PORT_SHIFT};

use super::distance;
use super::mapping::{Mapping, Shared};
use crate::atomics::{AtomicI64, AtomicU16, AtomicU32, AtomicU64, reads, writes};

/// The fields of `struct netmap_ring` before its slots. Programs write `head`, `cur`, `flags`
/// and, if they misbehave, everything else. netmap aligns rings to 64 bytes only.
#[repr(C, align(16))]
pub struct RingHeader {
    /// distance in bytes from this ring to buffer 0
    pub buf_ofs: AtomicI64,
    /// number of slots
    pub num_slots: AtomicU32,
    /// bytes per buffer
    pub nr_buf_size: AtomicU32,
    /// ring number within its direction
    pub ringid: AtomicU16,
    /// 1: tx, 0: rx
    pub dir: AtomicU16,
    /// first slot the program still owns
    pub head: AtomicU32,
    /// wake-up point
    pub cur: AtomicU32,
    /// first slot the kernel side owns
    pub tail: AtomicU32,
    /// NR_TIMESTAMP, NR_FORWARD
    pub flags: AtomicU32,
    pad: AtomicU32,
    /// time of the last rxsync: seconds and microseconds
    pub ts: [AtomicU64; 2],
    /// which bits of slot.ptr hold the offset
    pub offset_mask: AtomicU64,
    /// alignment of the buffers' start
    pub buf_align: AtomicU64,
    tail_pad: [AtomicU64; 7],
    sem: [AtomicU64; 16],
}

const _: () = {
    assert!(size_of::<RingHeader>() == 256);
    assert!(offset_of!(RingHeader, head) == 20);
    assert!(offset_of!(RingHeader, tail) == 28);
    assert!(offset_of!(RingHeader, flags) == 32);
    assert!(offset_of!(RingHeader, ts) == 40);
    assert!(offset_of!(RingHeader, offset_mask) == 56);
    assert!(offset_of!(RingHeader, sem) == 128);
};

// SAFETY: repr(C), integer atomics only.
unsafe impl Shared for RingHeader {}

/// A slot in shared memory. It belongs to one side at a time, which the indices of its ring say; the
/// other side does not touch it unless it misbehaves. `buf_idx`, `len` and `flags` share an aligned word of
/// eight bytes, which can also be read and written as a whole.
///
/// Atomics, because a program that misbehaves may write while we read. To Rust that is defined for
/// accesses of one size only. With several we rely on the processor: x86_64 and aarch64 do each aligned
/// access of up to eight bytes as a whole, so a load gives bytes that were stored, and each field is
/// checked after it was loaded.
#[repr(C, align(16))]
pub struct SlotView {
    buf_idx: atomic::AtomicU32,
    len: atomic::AtomicU16,
    flags: atomic::AtomicU16,
    ptr: atomic::AtomicU64,
}

// SAFETY: repr(C), integer atomics only.
unsafe impl Shared for SlotView {}

const _: () = {
    assert!(offset_of!(SlotView, len) == 4);
    assert!(offset_of!(SlotView, flags) == 6);
};

const _: () = {
    assert!(size_of::<RingHeader>().is_multiple_of(align_of::<SlotView>()));
    assert!(size_of::<usize>() == 8);
    assert!(align_of::<SlotView>() == align_of::<RingHeader>());
};

/// A private copy of `struct netmap_slot`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// buffer number in the region
    pub buf_idx: u32,
    /// bytes
    pub len: u16,
    /// NS_*
    pub flags: u16,
    /// address for NS_INDIRECT, or user data
    pub ptr: u64,
}

impl Slot {
    #[inline]
    fn word(self) -> u64 {
        u64::from(self.buf_idx) | u64::from(self.len) << 32 | u64::from(self.flags) << 48
    }
}

#[cfg(not(target_endian = "little"))]
compile_error!("slot words are laid out for little-endian machines (x86_64, aarch64)");

impl SlotView {
    /// `buf_idx`, `len` and `flags` as one word.
    #[inline(always)]
    fn word(&self) -> &atomic::AtomicU64 {
        // SAFETY: the first eight bytes of a slot, which is aligned to 16.
        unsafe { &*core::ptr::from_ref(self).cast::<atomic::AtomicU64>() }
    }

    #[inline(always)]
    fn reads(&self) {
        reads(self, size_of::<Self>());
    }

    #[inline(always)]
    fn writes(&self) {
        writes(self, size_of::<Self>());
    }

    /// `buf_idx`, `len` and `flags`, each loaded once; `ptr` reads 0. A program that stores them
    /// meanwhile may be seen halfway, which no check relies on: each field is checked by itself.
    #[inline]
    pub fn load(&self) -> Slot {
        self.reads();
        // Three loads: programs store the fields one by one, and one load of all of them just
        // afterwards would have to wait until they have reached the cache.
        Slot {
            buf_idx: self.buf_idx.load(Ordering::Relaxed),
            len: self.len.load(Ordering::Relaxed),
            flags: self.flags.load(Ordering::Relaxed),
            ptr: 0,
        }
    }

    /// The whole slot in two loads: one of the first three fields, one of `ptr`.
    #[inline]
    pub fn load_full(&self) -> Slot {
        self.reads();
        let word = self.word().load(Ordering::Relaxed);
        // Fields lie in memory order; both supported machines are little endian.
        let (len, flags) = ((word >> 32) as u16, (word >> 48) as u16);
        Slot {
            buf_idx: word as u32,
            len,
            flags,
            ptr: self.ptr(),
        }
    }

    /// The same in one load for each field. A slot that its program has stored just before, field by field, comes
    /// without waiting until it has reached the cache.
    #[inline]
    pub fn load_just_stored(&self) -> Slot {
        Slot {
            ptr: self.ptr(),
            ..self.load()
        }
    }

    /// The `buf_idx` field alone.
    #[inline(always)]
    pub fn buf_idx(&self) -> u32 {
        self.reads();
        self.buf_idx.load(Ordering::Relaxed)
    }

    /// Has NS_BUF_CHANGED been set?
    #[inline(always)]
    pub fn is_changed(&self) -> bool {
        self.reads();
        self.flags.load(Ordering::Relaxed) & NS_BUF_CHANGED != 0
    }

    /// The `ptr` field alone.
    #[inline]
    pub fn ptr(&self) -> u64 {
        self.reads();
        self.ptr.load(Ordering::Relaxed)
    }

    /// Stores `len` and `flags` alone, in one store.
    #[inline(always)]
    pub fn store_len_flags(&self, len: u16, flags: u16) {
        self.writes();
        // SAFETY: `len` and `flags`, which lie one behind the other inside this slot; the pointer is made from
        // all of it, so it may reach both. Aligned to 4, because slots are aligned to 16 and `len` lies at 4.
        let both = unsafe {
            let bytes = core::ptr::from_ref(self).cast::<u8>();
            &*bytes.add(offset_of!(Self, len)).cast::<atomic::AtomicU32>()
        };
        both.store(u32::from(len) | u32::from(flags) << 16, Ordering::Relaxed);
    }

    /// Stores `buf_idx`, `len` and `flags` in one store, and leaves `ptr` as it is.
    #[inline]
    pub fn store(&self, slot: Slot) {
        self.writes();
        self.word().store(slot.word(), Ordering::Relaxed);
    }

    /// Takes NS_BUF_CHANGED from a slot that was just loaded as `slot`: whoever syncs has seen it.
    #[inline(always)]
    pub fn clear_changed(&self, slot: Slot) {
        self.clear(slot, NS_BUF_CHANGED);
    }

    /// Takes `flags` from a slot that was just loaded as `slot`.
    #[inline(always)]
    pub fn clear(&self, slot: Slot, flags: u16) {
        if slot.flags & flags != 0 {
            let flags = slot.flags & !flags;
            self.store(Slot { flags, ..slot });
        }
    }

    /// Stores all fields, in two stores.
    #[inline]
    pub fn store_full(&self, slot: Slot) {
        self.writes();
        self.ptr.store(slot.ptr, Ordering::Relaxed);
        self.store(slot);
    }
}

/// Where a ring is, checked against a mapping of `len` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingPlace {
    ofs: usize,
    num_slots: u32,
    len: usize,
}

impl RingPlace {
    /// A ring of `num_slots` slots at byte `ofs` of a mapping, or `None` if it does not fit.
    /// Both numbers come from private or control memory, never from the ring.
    #[inline]
    pub fn new(region: &Mapping, ofs: u64, num_slots: u32) -> Option<Self> {
        // No number of 32 bits makes this one overflow.
        let bytes = size_of::<RingHeader>() + num_slots as usize * size_of::<SlotView>();
        let (ofs, len) = (usize::try_from(ofs).ok()?, region.len());
        let is_aligned = ofs.is_multiple_of(align_of::<SlotView>());
        let fits = num_slots != 0 && is_aligned && ofs <= len && bytes <= len - ofs;
        fits.then_some(Self {
            ofs,
            num_slots,
            len,
        })
    }
}

impl RingPlace {
    /// Number of slots.
    #[inline(always)]
    pub fn num_slots(&self) -> u32 {
        self.num_slots
    }
}

/// A ring whose place and size have been checked against its region.
#[derive(Clone, Copy)]
pub struct RingView<'a> {
    header: &'a RingHeader,
    slots: &'a [SlotView],
}

impl<'a> RingView<'a> {
    /// The ring of `num_slots` slots at byte `ofs` of `region`, as [`RingPlace::new`] has it.
    #[inline]
    pub fn new(region: &'a Mapping, ofs: u64, num_slots: u32) -> Option<Self> {
        Self::at(region, RingPlace::new(region, ofs, num_slots)?)
    }

    /// The ring at `place`; `None` if that was checked against a mapping of another size.
    #[inline(always)]
    pub fn at(region: &'a Mapping, place: RingPlace) -> Option<Self> {
        if place.len != region.len() || place.num_slots == 0 {
            return None;
        }
        let at = region.ptr_at(place.ofs).cast_const();
        // SAFETY: header and slots lie inside any mapping of that size (checked by `RingPlace::new`, which alone makes
        // places with slots), and this one lives as long as the borrow does. Its base is page aligned, so `ofs`, which
        // was checked, too, decides alignment, which is the same for both (asserted above). Header and slots are made
        // of integer atomics: any bytes will do, and other processes may write them at any time.
        let (header, slots) = unsafe {
            let slots = at.add(size_of::<RingHeader>()).cast::<SlotView>();
            let slots = core::slice::from_raw_parts(slots, place.num_slots as usize);
            (&*at.cast::<RingHeader>(), slots)
        };
        Some(Self { header, slots })
    }

    /// Of what another view has given.
    #[inline(always)]
    pub(super) fn of(header: &'a RingHeader, slots: &'a [SlotView]) -> Self {
        Self { header, slots }
    }

    /// The ring's fields before the slots.
    #[inline]
    pub fn header(&self) -> &'a RingHeader {
        self.header
    }

    /// All slots.
    #[inline]
    pub fn slots(&self) -> &'a [SlotView] {
        self.slots
    }

    /// Number of slots, from the checked size.
    #[inline]
    pub fn num_slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The slot after `at`.
    #[inline(always)]
    pub fn next(&self, at: u32) -> u32 {
        if at + 1 >= self.num_slots() {
            0
        } else {
            at + 1
        }
    }

    /// The slot before `at`.
    #[inline(always)]
    pub fn prev(&self, at: u32) -> u32 {
        if at == 0 {
            self.num_slots() - 1
        } else {
            at - 1
        }
    }

    /// How many slots `from..to` is.
    #[inline(always)]
    pub fn distance(&self, from: u32, to: u32) -> u32 {
        distance(from, to, self.num_slots())
    }
}

/// The flags of a received slot that say of how many fragments its packet is (netmap's NS_RFRAGS).
#[inline(always)]
pub fn rfrags(fragments: usize) -> u16 {
    (fragments as u16) << NS_PORT_SHIFT
}

/// The buffer pool of a region: where it starts and how many buffers of what size it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferPool {
    ofs: usize,
    size: u32,
    count: u32,
}

impl BufferPool {
    /// Checks that `count` buffers of `size` bytes from byte `ofs` lie inside `region`.
    pub fn new(region: &Mapping, ofs: u64, size: u32, count: u32) -> Option<Self> {
        let ofs = usize::try_from(ofs).ok()?;
        let bytes = (size as usize).checked_mul(count as usize)?;
        (ofs.checked_add(bytes)? <= region.len() && size > 0).then_some(Self { ofs, size, count })
    }

    /// Do buffers begin and end with lines of 64 bytes? Those of netmap's own memory do, those in a
    /// program's need not.
    #[inline(always)]
    pub fn is_lined(&self) -> bool {
        (self.ofs | self.size as usize).is_multiple_of(64)
    }

    /// Bytes per buffer.
    #[inline]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Number of buffers; valid indices are 2 to `count - 1`.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Is `idx` a buffer that a slot may name?
    #[inline]
    pub fn is_valid(&self, idx: u32) -> bool {
        idx >= 2 && idx < self.count
    }

    /// Byte offset of buffer `idx` in the region. Like netmap's `NMB()`, an index beyond the
    /// pool means buffer 0, which nobody owns.
    #[inline]
    pub fn offset(&self, idx: u32) -> usize {
        let idx = if idx < self.count { idx } else { 0 };
        self.ofs + idx as usize * self.size as usize
    }
}
