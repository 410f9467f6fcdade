//! A ring of an AF_XDP socket: memory that the kernel, this process and others of the same port share.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::net::xdp::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING,
    XdpMmapOffsets, XdpRingOffset,
};
use uvale_system::sys::forks;

/// `struct xdp_desc`: an entry of the rings of packets received and sent.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Descriptor {
    pub(super) address: AtomicU64,
    pub(super) len: AtomicU32,
    pub(super) options: AtomicU32,
}

const _: () = assert!(size_of::<Descriptor>() == 16);

/// What a ring consists of.
///
/// # Safety
/// Made of integer atomics only, and no more aligned than a `u64`.
pub(super) unsafe trait Entry {}

// SAFETY: it is so.
unsafe impl Entry for Descriptor {}
// SAFETY: it is so. An entry of the rings of chunks: an address in the memory of the socket.
unsafe impl Entry for AtomicU64 {}

/// The four rings of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    Rx,
    Tx,
    Fill,
    Completion,
}

/// `XDP_RING_NEED_WAKEUP` of a ring's flags.
const NEED_WAKEUP: u32 = 1;

/// A ring, mapped. Its indices only grow, and wrap at 2^32.
#[derive(Debug)]
pub(super) struct Ring<T> {
    base: NonNull<u8>,
    len: usize,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    count: u32,
    forks: u32,
}

// SAFETY: plain memory, valid in every thread until drop; all of it is accessed by atomics.
unsafe impl<T: Entry> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Entry> Sync for Ring<T> {}

impl<T: Entry> Ring<T> {
    /// Maps the ring of `count` entries, a power of 2. The kernel refuses what is longer than the ring's memory, and
    /// keeps that for as long as it is mapped. The child of a fork does not get it.
    pub(super) fn map(
        fd: impl AsFd,
        which: Which,
        offsets: &XdpMmapOffsets,
        count: u32,
    ) -> Result<Self, Errno> {
        let (at, place) = match which {
            Which::Rx => (XDP_PGOFF_RX_RING, offsets.rx),
            Which::Tx => (XDP_PGOFF_TX_RING, offsets.tx),
            Which::Fill => (XDP_UMEM_PGOFF_FILL_RING, offsets.fr),
            Which::Completion => (XDP_UMEM_PGOFF_COMPLETION_RING, offsets.cr),
        };
        let places = Places::new(&place, size_of::<T>(), count)?;
        // SAFETY: a new mapping where nothing is overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap(
                core::ptr::null_mut(),
                places.len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                fd,
                at,
            )?
        };
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        // SAFETY: `Places` has made sure that they are inside the mapping, and aligned as its pages are and more.
        let ring = unsafe {
            Self {
                base,
                len: places.len,
                producer: base.add(places.producer).cast(),
                consumer: base.add(places.consumer).cast(),
                flags: base.add(places.flags).cast(),
                entries: base.add(places.entries).cast(),
                count,
                forks: forks(),
            }
        };
        // SAFETY: of our own mapping, it changes nothing for this process.
        unsafe { rustix::mm::madvise(ring.base.as_ptr().cast(), ring.len, Advice::LinuxDontFork)? };
        Ok(ring)
    }

    /// Index of the entry that is written next.
    #[inline]
    pub(super) fn producer(&self) -> &AtomicU32 {
        // SAFETY: inside the mapping, which lives as long as `self`; an atomic, so others may write it.
        unsafe { self.producer.as_ref() }
    }

    /// Index of the entry that is read next.
    #[inline]
    pub(super) fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    /// Has the kernel to be told that there is something in the ring?
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        // SAFETY: as above.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    /// The entry with that index; those that differ by the number of entries are the same.
    #[inline]
    pub(super) fn entry(&self, index: u32) -> &T {
        let at = index & (self.count - 1);
        // SAFETY: `at` is less than the number of entries, all of which are inside the mapping. Atomics, see `Entry`.
        unsafe { self.entries.add(at as usize).as_ref() }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // The child of a fork has something else there.
        if self.forks != forks() {
            return;
        }
        // SAFETY: the mapping is ours, and every reference into it borrows from `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Where the parts of a ring are, checked.
struct Places {
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
    len: usize,
}

impl Places {
    fn new(place: &XdpRingOffset, size: usize, count: u32) -> Result<Self, Errno> {
        // Linux 5.4 has flags.
        let flags = place.flags.ok_or(Errno::OPNOTSUPP)?;
        let at = |offset: u64, unit: usize| {
            let offset = usize::try_from(offset).map_err(|_| Errno::PROTO)?;
            let is_aligned = offset.is_multiple_of(unit) && offset <= 1 << 20;
            is_aligned.then_some(offset).ok_or(Errno::PROTO)
        };
        let entries = at(place.desc, align_of::<u64>())?;
        let bytes = size.checked_mul(count as usize).ok_or(Errno::INVAL)?;
        let places = Self {
            producer: at(place.producer, align_of::<u32>())?,
            consumer: at(place.consumer, align_of::<u32>())?,
            flags: at(flags, align_of::<u32>())?,
            entries,
            len: entries.checked_add(bytes).ok_or(Errno::INVAL)?,
        };
        let last = places.producer.max(places.consumer).max(places.flags);
        if !count.is_power_of_two() || last + size_of::<u32>() > places.entries {
            return Err(Errno::INVAL);
        }
        Ok(places)
    }
}
