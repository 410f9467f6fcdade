//! A ring and the buffers of its region, looked at once and used many times.

use core::marker::PhantomData;
use std::sync::Arc;

use super::copy::{copy_lines, load_two_words};
use super::mapping::{Mapping, prefetch_to_write};
use super::{RegionMap, RingHeader, RingPlace, RingView, SlotView};
use crate::atomics::{reads, writes};

/// Bytes of a line: buffers of a held ring begin and end with one.
const LINE: usize = 64;

/// A ring with a share in the region it lies in.
pub struct HeldRing {
    header: *const RingHeader,
    slots: *const [SlotView],
    /// buffer 0
    buffers: *mut u8,
    /// bytes of each, whole lines
    size: u32,
    count: u32,
    region: Arc<RegionMap>,
}

// SAFETY: the pointers lead into the mapping of `region`, which all threads share.
unsafe impl Send for HeldRing {}
// SAFETY: as above.
unsafe impl Sync for HeldRing {}

impl HeldRing {
    /// The ring at `place`. `None` if that is of another mapping, or if the region's buffers are not made of whole
    /// lines.
    pub fn new(region: &Arc<RegionMap>, place: RingPlace) -> Option<Self> {
        let (pool, map) = (&region.pool, &region.map);
        let (first, size) = (pool.offset(0), pool.size() as usize);
        let bytes = size.checked_mul(pool.count() as usize)?;
        let are_inside = pool.count() > 0 && first <= map.len() && bytes <= map.len() - first;
        if !are_inside || size < LINE || !pool.is_lined() {
            return None;
        }
        let view = RingView::at(map, place)?;
        Some(Self {
            header: view.header(),
            slots: view.slots(),
            buffers: map.ptr_at(first),
            size: pool.size(),
            count: pool.count(),
            region: region.clone(),
        })
    }

    /// The ring.
    #[inline(always)]
    pub fn view(&self) -> RingView<'_> {
        // SAFETY: of a view of the mapping, in which `region` has a share for as long as `self` lives.
        unsafe { RingView::of(&*self.header, &*self.slots) }
    }

    /// Is it the ring at `place` of `region`?
    pub fn is_at(&self, region: &Mapping, place: RingPlace) -> bool {
        RingView::at(region, place).is_some_and(|ring| {
            core::ptr::eq(ring.header(), self.header) && core::ptr::eq(ring.slots(), self.slots)
        })
    }

    /// The region it lies in.
    #[inline(always)]
    pub fn region(&self) -> &RegionMap {
        &self.region
    }

    /// Buffer `idx`. Like netmap's `NMB()`, an index beyond the pool means buffer 0, which nobody owns.
    #[inline(always)]
    pub fn buffer(&self, idx: u32) -> Buffer<'_> {
        let idx = if idx < self.count { idx } else { 0 };
        let ofs = idx as usize * self.size as usize;
        Buffer {
            // SAFETY: `idx < count`, and that many buffers of `size` bytes lie in the mapping (checked by `new`).
            at: unsafe { self.buffers.add(ofs) },
            size: self.size,
            _ring: PhantomData,
        }
    }
}

/// A buffer of a region: bytes that other processes may write at any time.
#[derive(Clone, Copy)]
pub struct Buffer<'a> {
    at: *mut u8,
    size: u32,
    _ring: PhantomData<&'a HeldRing>,
}

impl Buffer<'_> {
    /// Bytes it has.
    #[inline(always)]
    pub fn size(self) -> u32 {
        self.size
    }

    /// Its first twelve bytes, as two overlapping little-endian words.
    #[inline(always)]
    pub fn words(self) -> (u64, u64) {
        reads(self.at, 12);
        // SAFETY: a buffer has a line of bytes at least. They may change under us; each word is read once, and any
        // value will do.
        let (lo, hi) = unsafe { load_two_words(self.at) };
        (u64::from_le(lo), u64::from_le(hi))
    }

    /// Copies `len` bytes of `from` into it, rounded up to whole lines. False if either is smaller.
    #[inline(always)]
    #[must_use]
    pub fn copy(self, from: Buffer<'_>, len: u32) -> bool {
        if len > self.size || len > from.size {
            return false;
        }
        let lines = (len as usize).div_ceil(LINE);
        reads(from.at, lines * LINE);
        writes(self.at, lines * LINE);
        // SAFETY: both have whole lines of bytes, no fewer than `len`. Other processes may write them at the same time;
        // see the head of `copy.rs`.
        unsafe { copy_lines(from.at, self.at, lines) };
        true
    }

    /// Hints that it will be written.
    #[inline(always)]
    pub fn prefetch_to_write(self) {
        prefetch_to_write(self.at);
    }
}
