//! Memfds and their mappings.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, AtomicU64};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::own::{map, unmap};
use crate::limits::FileSize;
use crate::sys::Fd;

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

/// An anonymous file in memory that can be passed to other processes.
#[derive(Debug)]
pub struct Memfd {
    fd: Fd,
    len: usize,
}

impl Memfd {
    /// Makes a zero-filled sparse memfd of `len` bytes, sealed against shrinking and growing:
    /// a peer that could truncate it would give everybody else SIGBUS.
    pub fn create(name: &str, len: usize) -> Result<Self, Errno> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let fd = Fd::from(fd);
        let room = FileSize::allow(len)?;
        rustix::fs::ftruncate(&fd, len as u64)?;
        drop(room);
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self { fd, len })
    }

    /// Takes over a descriptor received from a peer. It must be sealed against shrinking, else
    /// `EPERM`: its length is read once, here.
    pub fn from_peer(fd: Fd) -> Result<Self, Errno> {
        if !rustix::fs::fcntl_get_seals(&fd)?.contains(SealFlags::SHRINK) {
            return Err(Errno::PERM);
        }
        let len = usize::try_from(rustix::fs::fstat(&fd)?.st_size).map_err(|_| Errno::INVAL)?;
        Ok(Self { fd, len })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a memfd of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives all pages back to the system; every mapping reads zeroes afterwards.
    pub fn discard(&self) -> Result<(), Errno> {
        use rustix::fs::FallocateFlags;
        rustix::fs::fallocate(
            &self.fd,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            0,
            self.len as u64,
        )
    }
}

impl AsFd for Memfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A word at any address.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Unaligned(u64);

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
        let base = map(memfd, 0, memfd.len(), None)?;
        Ok(Self {
            base,
            len: memfd.len(),
        })
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

    /// The record of type `T` at byte offset `ofs`.
    ///
    /// # Safety
    /// The record must lie inside the mapping and be aligned.
    #[inline(always)]
    pub(crate) unsafe fn at_unchecked<T: Shared>(&self, ofs: usize) -> &T {
        debug_assert!(self.at::<T>(ofs).is_some());
        // SAFETY: the caller vouches for bounds and alignment; see `slice_at` for the rest.
        unsafe { &*self.base.as_ptr().add(ofs).cast::<T>() }
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
        // SAFETY: the twelve bytes from `ofs` lie inside the mapping. They may change under us;
        // volatile reads make each word one load, and any value will do.
        let (lo, hi) = unsafe {
            (
                at.cast::<Unaligned>().read_volatile().0,
                at.add(4).cast::<Unaligned>().read_volatile().0,
            )
        };
        Some((u64::from_le(lo), u64::from_le(hi)))
    }

    /// Hints that the line at `ofs` will be read. Any `ofs` will do.
    #[inline]
    pub fn prefetch(&self, ofs: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch never faults and changes nothing.
        unsafe {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.base.as_ptr().wrapping_add(ofs).cast());
        }
        let _ = ofs;
    }

    /// Hints that the line at `ofs` will be written. Any `ofs` will do.
    #[inline(always)]
    pub fn prefetch_to_write(&self, ofs: usize) {
        prefetch_to_write(self.base.as_ptr().wrapping_add(ofs));
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
