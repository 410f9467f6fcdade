//! Memfds and their mappings.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, AtomicU64};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::copy::{load_two_words, look_at_processor};
use super::own::{map_at_once, map_whole, reserve, unmap};
use super::pages::{HUGE_PAGE, Pages};
use crate::atomics::reads;
use uvale_system::limits::FileSize;
use uvale_system::sys::Fd;

/// Types that may lie in memory which other processes write at any time: built of atomics only,
/// valid for every bit pattern, without pointers and without padding that matters.
///
/// # Safety
/// Implement it only for `#[repr(C)]` types made of integer atomics and of other `Shared` types.
pub unsafe trait Shared {}

// SAFETY: integer atomics are valid for every bit pattern.
unsafe impl Shared for AtomicU16 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU64 {}
// SAFETY: as above.
unsafe impl Shared for AtomicI64 {}
// SAFETY: an array of `Shared` is a `Shared`.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// Parts of a memory at most.
pub const MOST_PARTS: usize = 32;
/// Where there are several, their size is a multiple of this.
const UNIT: usize = HUGE_PAGE;

/// An anonymous file in memory that can be passed to other processes. Where the system limits the length of files it
/// may be several, its parts one behind the other, of the same length but the last.
#[derive(Debug)]
pub struct Memfd {
    /// at least one
    parts: Vec<Fd>,
    /// length of each but the last
    part: usize,
    len: usize,
    pages: Pages,
}

/// What of a part lies in a range of a [`Memfd`].
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// the part
    pub fd: &'a Fd,
    /// where in the part it begins
    pub ofs: usize,
    /// where in the range
    pub at: usize,
    /// bytes
    pub len: usize,
}

impl Memfd {
    /// Makes a zero-filled sparse memfd of `len` bytes, sealed against shrinking and growing:
    /// a peer that could truncate it would give everybody else SIGBUS.
    pub fn create(name: &str, len: usize) -> Result<Self, Errno> {
        let parts = vec![create_part(name, len, MemfdFlags::empty())?];
        Ok(Self::of(parts, len, len))
    }

    fn of(parts: Vec<Fd>, part: usize, len: usize) -> Self {
        let pages = Pages::Any;
        Self {
            parts,
            part,
            len,
            pages,
        }
    }

    /// What is mapped of it is on such pages. The first part of one on reserved pages has to be made of these.
    #[must_use]
    pub fn on(self, pages: Pages) -> Self {
        Self { pages, ..self }
    }

    /// Its pages.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// The same in two parts, or one if nothing is left for the second one: whole huge pages, made with `flags`, and
    /// the rest. `EINVAL` if it fills none.
    pub(super) fn in_two(name: &str, len: usize, flags: MemfdFlags) -> Result<Self, Errno> {
        let whole = len / UNIT * UNIT;
        if whole == 0 {
            return Err(Errno::INVAL);
        }
        let mut parts = vec![create_part(name, whole, flags)?];
        if len > whole {
            parts.push(create_part(name, len - whole, MemfdFlags::empty())?);
        }
        Ok(Self::of(parts, whole, len))
    }

    /// The same in as few parts as the limit on the length of files allows; `EFBIG` if they are too many.
    pub fn in_parts(name: &str, len: usize) -> Result<Self, Errno> {
        let most = FileSize::most();
        if len <= most {
            return Self::create(name, len);
        }
        Self::of_parts(name, len, most / UNIT * UNIT)
    }

    pub(super) fn of_parts(name: &str, len: usize, part: usize) -> Result<Self, Errno> {
        if part == 0 || len.div_ceil(part) > MOST_PARTS {
            return Err(Errno::FBIG);
        }
        let lens = (0..len).step_by(part).map(|from| part.min(len - from));
        let parts = lens
            .map(|n| create_part(name, n, MemfdFlags::empty()))
            .collect::<Result<_, _>>()?;
        Ok(Self::of(parts, part, len))
    }

    /// Takes over a descriptor received from a peer. It must be sealed against shrinking, else
    /// `EPERM`: its length is read once, here.
    pub fn from_peer(fd: Fd) -> Result<Self, Errno> {
        let len = sealed_len(&fd)?;
        Ok(Self::of(vec![fd], len, len))
    }

    /// The same with all parts of a memory: `EINVAL` if they do not fit together.
    pub fn parts_from_peer(parts: Vec<Fd>) -> Result<Self, Errno> {
        let lens = parts
            .iter()
            .map(sealed_len)
            .collect::<Result<Vec<_>, _>>()?;
        let (&part, rest) = lens.split_first().ok_or(Errno::PROTO)?;
        let (&last, middle) = rest.split_last().unwrap_or((&part, rest));
        let is_cut = !rest.is_empty() && (part % UNIT != 0 || last == 0 || last > part);
        if is_cut || lens.len() > MOST_PARTS || middle.iter().any(|len| *len != part) {
            return Err(Errno::INVAL);
        }
        let len = lens
            .iter()
            .try_fold(0usize, |sum, len| sum.checked_add(*len));
        let len = len.ok_or(Errno::INVAL)?;
        Ok(Self::of(parts, part, len))
    }

    /// The descriptors, one for each part.
    pub fn parts(&self) -> &[Fd] {
        &self.parts
    }

    /// The parts that `len` bytes from `offset` on lie in. What goes beyond the end is the last part's.
    pub fn pieces(&self, offset: usize, len: usize) -> impl Iterator<Item = Piece<'_>> {
        let end = offset.saturating_add(len);
        let last = self.parts.len() - 1;
        self.parts.iter().enumerate().filter_map(move |(i, fd)| {
            let start = i * self.part;
            let from = start.max(offset);
            let to = if i == last {
                end
            } else {
                end.min(start + self.part)
            };
            (from < to).then(|| Piece {
                fd,
                ofs: from - start,
                at: from - offset,
                len: to - from,
            })
        })
    }

    /// May these bytes be mapped? Not if a reserved huge page were cut: the kernel would map all of it, over whatever
    /// is behind.
    pub fn can_map(&self, offset: usize, len: usize) -> bool {
        let is_cut = |p: Piece<'_>| !p.ofs.is_multiple_of(UNIT) || !p.len.is_multiple_of(UNIT);
        !self
            .pieces(offset, len)
            .any(|p| self.stays(p.fd) && is_cut(p))
    }

    /// Is it the part on reserved huge pages?
    fn stays(&self, part: &Fd) -> bool {
        self.is_reserved() && core::ptr::eq(part, &self.parts[0])
    }

    /// Asks for its pages where `len` bytes of it are mapped from `start` on.
    pub fn advise(&self, start: *mut core::ffi::c_void, len: usize) {
        self.pages.advise(start.cast(), len);
    }

    /// A place where `len` bytes of it can be mapped, which keeps others away until something is.
    pub fn place(len: usize) -> Result<*mut core::ffi::c_void, Errno> {
        Ok(reserve(len)?.as_ptr().cast())
    }

    /// Is its first part on reserved huge pages?
    pub fn is_reserved(&self) -> bool {
        self.pages == Pages::Reserved
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a memfd of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives all pages back to the system; every mapping reads zeroes afterwards. Reserved ones stay as they are.
    pub fn discard(&self) -> Result<(), Errno> {
        self.discard_range(0, self.len)
    }

    /// The same for `len` bytes from `offset` on.
    pub fn discard_range(&self, offset: usize, len: usize) -> Result<(), Errno> {
        use rustix::fs::FallocateFlags;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.pieces(offset, len)
            .filter(|p| !self.stays(p.fd))
            .try_for_each(|p| rustix::fs::fallocate(p.fd, hole, p.ofs as u64, p.len as u64))
    }
}

/// The first part.
impl AsFd for Memfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.parts[0].as_fd()
    }
}

fn create_part(name: &str, len: usize, more: MemfdFlags) -> Result<Fd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | more;
    let fd = rustix::fs::memfd_create(name, flags)?;
    let fd = Fd::from(fd);
    let room = FileSize::allow(len)?;
    rustix::fs::ftruncate(&fd, len as u64)?;
    drop(room);
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

fn sealed_len(fd: &Fd) -> Result<usize, Errno> {
    if !rustix::fs::fcntl_get_seals(fd)?.contains(SealFlags::SHRINK) {
        return Err(Errno::PERM);
    }
    usize::try_from(rustix::fs::fstat(fd)?.st_size).map_err(|_| Errno::INVAL)
}

/// A shared read-write mapping of a whole memfd, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory, valid in every thread until drop; all access goes through
// atomics or through `copy.rs`.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of `memfd`. Pages are taken when they are touched.
    pub fn new(memfd: &Memfd) -> Result<Self, Errno> {
        // The memfd is sealed against shrinking, so the pages stay valid for as long as the mapping
        // does.
        let base = map_whole(memfd, memfd.len())?;
        Ok(Self::at_base(base, memfd.len()))
    }

    /// Maps the first `len` bytes of `file`, which is to be as long for as long as it is mapped: a memory BAR of a PCI
    /// device is.
    pub fn of_device(file: impl AsFd, len: usize) -> Result<Self, Errno> {
        let base = map_at_once(file, len)?;
        Ok(Self::at_base(base, len))
    }

    fn at_base(base: NonNull<u8>, len: usize) -> Self {
        look_at_processor();
        Self { base, len }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a mapping of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The record of type `T` at byte offset `ofs`, or `None` if it does not fit or is not aligned.
    #[inline]
    pub fn at<T: Shared>(&self, ofs: usize) -> Option<&T> {
        self.slice_at(ofs, 1).map(|s: &[T]| &s[0])
    }

    /// `n` consecutive records of type `T` from byte offset `ofs`.
    #[inline]
    pub fn slice_at<T: Shared>(&self, ofs: usize, n: usize) -> Option<&[T]> {
        let bytes = n.checked_mul(size_of::<T>())?;
        let end = ofs.checked_add(bytes)?;
        if end > self.len || !ofs.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: [ofs, end) lies inside the mapping (checked above), which lives as long as
        // `self`; the base is page aligned, so `ofs` decides alignment. `T: Shared` is valid for
        // every bit pattern and made of atomics, so concurrent writers in other processes are
        // allowed.
        Some(unsafe { core::slice::from_raw_parts(self.base.as_ptr().add(ofs).cast::<T>(), n) })
    }

    /// The two overlapping little-endian words at `ofs` and `ofs + 4`, which hold the two addresses
    /// of an Ethernet header. `ofs` need not be aligned. `None` beyond the end.
    #[inline]
    pub fn two_words(&self, ofs: usize) -> Option<(u64, u64)> {
        if ofs > self.len || self.len - ofs < 12 {
            return None;
        }
        let at = self.ptr_at(ofs);
        reads(at, 12);
        // SAFETY: the twelve bytes from `ofs` lie inside the mapping. They may change under us; each word
        // is read once, and any value will do.
        let (lo, hi) = unsafe { load_two_words(at) };
        Some((u64::from_le(lo), u64::from_le(hi)))
    }

    /// Hints that the line at `ofs` will be read. Any `ofs` will do.
    #[inline]
    pub fn prefetch(&self, ofs: usize) {
        prefetch(self.base.as_ptr().wrapping_add(ofs));
    }

    /// Hints that the line at `ofs` will be written. Any `ofs` will do.
    #[inline(always)]
    pub fn prefetch_to_write(&self, ofs: usize) {
        prefetch_to_write(self.base.as_ptr().wrapping_add(ofs));
    }

    /// Address of `len` bytes from `ofs` on, for a system call that reads or writes them; `None` if they leave
    /// the mapping. It is good for as long as the mapping is.
    #[inline]
    pub fn range(&self, ofs: usize, len: usize) -> Option<*mut u8> {
        (ofs <= self.len && len <= self.len - ofs).then(|| self.ptr_at(ofs))
    }

    /// Address of byte `ofs`, for the payload copy; the caller keeps to the bounds it checked.
    #[inline]
    pub(super) fn ptr_at(&self, ofs: usize) -> *mut u8 {
        debug_assert!(ofs <= self.len);
        // SAFETY: callers in this module pass `ofs <= len`, so the result is inside the
        // allocation or one past its end.
        unsafe { self.base.as_ptr().add(ofs) }
    }
}

/// Hints that the line at `at` will be read. Any address will do.
#[inline(always)]
pub fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes nothing.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    let _ = at;
}

/// Hints that the line at `at` will be written. Any address will do.
#[inline(always)]
pub fn prefetch_to_write<T>(at: *const T) {
    // Written as assembly because the compiler makes an ordinary prefetch of its own intrinsic
    // unless it builds for a particular processor, and a line fetched to be read has to be asked
    // for once more when it is written.
    // SAFETY: a prefetch never faults and changes nothing; processors without it skip it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!("prfm pstl1keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        unmap(self.base.as_ptr(), self.len);
    }
}
