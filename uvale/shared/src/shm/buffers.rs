//! The buffers of a region, whole lines each, whose bounds are looked at once.

use core::marker::PhantomData;

use super::RegionMap;
use super::copy::{copy_bytes, copy_lines, load_two_words};
use super::mapping::prefetch_to_write;
use crate::atomics::{reads, writes};

/// Bytes of a line: these buffers begin and end with one.
const LINE: usize = 64;
/// Bytes of two addresses of six.
const ADDRESSES: u32 = 12;

/// The buffers of a region that is mapped for `'a`.
#[derive(Clone, Copy)]
pub struct Buffers<'a> {
    /// buffer 0
    first: *mut u8,
    /// bytes of each
    size: u32,
    /// one at least
    count: u32,
    _region: PhantomData<&'a RegionMap>,
}

// SAFETY: as good as a reference to the region, which all threads share.
unsafe impl Send for Buffers<'_> {}
// SAFETY: as above.
unsafe impl Sync for Buffers<'_> {}

impl<'a> Buffers<'a> {
    /// Those of `region`; `None` if they are not made of whole lines.
    #[inline(always)]
    pub fn of(region: &'a RegionMap) -> Option<Self> {
        let (pool, map) = (&region.pool, &region.map);
        let (first, size, count) = (pool.offset(0), pool.size(), pool.count());
        // No two numbers of 32 bits overflow this.
        let bytes = size as usize * count as usize;
        let are_inside = count > 0 && first <= map.len() && bytes <= map.len() - first;
        if !are_inside || (size as usize) < LINE || !pool.is_lined() {
            return None;
        }
        Some(Self {
            first: map.ptr_at(first),
            size,
            count,
            _region: PhantomData,
        })
    }

    /// The same for as long as somebody else sees to it that the region stays mapped.
    ///
    /// # Safety
    /// What is made of the result is not used when the region is mapped no longer.
    pub(super) unsafe fn held(self) -> Buffers<'static> {
        Buffers {
            first: self.first,
            size: self.size,
            count: self.count,
            _region: PhantomData,
        }
    }

    /// Bytes of each.
    #[inline(always)]
    pub fn size(self) -> u32 {
        self.size
    }

    /// Buffer `idx`. Like netmap's `NMB()`, an index beyond the pool means buffer 0, which nobody owns.
    #[inline(always)]
    pub fn at(self, idx: u32) -> Buffer<'a> {
        let idx = if idx < self.count { idx } else { 0 };
        let ofs = idx as usize * self.size as usize;
        Buffer {
            // SAFETY: `idx < count`, and that many buffers of `size` bytes lie in the mapping (checked by `of`).
            at: unsafe { self.first.add(ofs) },
            size: self.size,
            _region: PhantomData,
        }
    }
}

/// A buffer of a region: bytes that other processes may write at any time.
#[derive(Clone, Copy)]
pub struct Buffer<'a> {
    at: *mut u8,
    size: u32,
    _region: PhantomData<&'a RegionMap>,
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
        self.words_behind(0)
    }

    /// The same of the twelve behind `ahead` bytes, which are few.
    #[inline(always)]
    pub fn words_behind(self, ahead: u32) -> (u64, u64) {
        let ahead = ahead.min(LINE as u32 - ADDRESSES) as usize;
        // SAFETY: a buffer has a line of bytes at least, and these are in it.
        let at = unsafe { self.at.add(ahead) };
        reads(at, ADDRESSES as usize);
        // SAFETY: as above. They may change under us; each word is read once, and any value will do.
        let (lo, hi) = unsafe { load_two_words(at) };
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

    /// Copies `len` bytes of `from`, those behind the first `skip`, behind its own first `ahead`. False if either is
    /// smaller.
    #[inline(always)]
    #[must_use]
    pub fn copy_behind(self, ahead: u32, from: Buffer<'_>, skip: u32, len: u32) -> bool {
        let fits = |size: u32, at: u32| at <= size && len <= size - at;
        if !fits(self.size, ahead) || !fits(from.size, skip) {
            return false;
        }
        // SAFETY: `at <= size` in both.
        let (from, to) = unsafe { (from.at.add(skip as usize), self.at.add(ahead as usize)) };
        reads(from, len as usize);
        writes(to, len as usize);
        // SAFETY: both have that many bytes from there on. Other processes may write them; see the head of `copy.rs`.
        unsafe { copy_bytes(from, to, len as usize) };
        true
    }

    /// Puts `bytes` at its beginning. False if it is smaller.
    #[inline(always)]
    #[must_use]
    pub fn put(self, bytes: &[u8]) -> bool {
        if bytes.len() > self.size as usize {
            return false;
        }
        writes(self.at, bytes.len());
        // SAFETY: the buffer has that many bytes, and the source is our own. Others may write the buffer.
        unsafe { copy_bytes(bytes.as_ptr(), self.at, bytes.len()) };
        true
    }

    /// Hints that it will be written.
    #[inline(always)]
    pub fn prefetch_to_write(self) {
        prefetch_to_write(self.at);
    }
}
