//! A virtqueue in a guest's RAM, as the device sees it: a split ring of virtio 1.x.
//!
//! | the guest writes | we read | what follows from it |
//! |---|---|---|
//! | `avail.idx` | once a batch; it may be ahead by the ring's size at most | which chains are ours |
//! | `avail.ring[i]`, descriptors | once each, into a private copy | where the bytes are, in the RAM or not at all |
//! | `used_event`, `avail.flags` | once a batch | whether it is interrupted; a lie harms the guest alone |
//!
//! Buffers are used in the order in which they were made available, and `used.idx` is written once a batch. So it also
//! says where to go on when this process was killed and another one takes over, and nothing is in flight besides.
//!
//! The crate virtio-queue publishes each buffer for itself, which a packet in several buffers must not be, does not
//! know VRING_AVAIL_F_NO_INTERRUPT, and ends a chain that is broken as if it were complete.

use core::fmt;
use core::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::{
    VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
    VRING_USED_F_NO_NOTIFY,
};
use vm_memory::{
    ByteValued, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice,
};

/// Descriptors of a chain at most, as in QEMU.
const MOST_DESCRIPTORS: u16 = 1024;
/// The largest ring of virtio.
pub const MOST_ENTRIES: u16 = 32768;

/// Bytes of `flags` and `idx`, before the entries of both rings.
const HEAD: usize = 4;
const IDX: usize = 2;
const DESCRIPTOR: usize = 16;
const AVAIL_ENTRY: usize = 2;
const USED_ENTRY: usize = 8;

/// Why a ring cannot be used any more: the guest or its front end has broken it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// a size that is zero, too large or no power of two
    Size(u32),
    /// a part of the ring is not in the guest's RAM, or is not aligned
    Place(&'static str),
    /// a part of the ring is not in the RAM that the front end has shared
    Unshared(&'static str),
    /// `avail.idx` is further ahead than the ring is long
    Ahead(u16),
    /// a descriptor's number is beyond the table
    Descriptor(u16),
    /// a chain of more descriptors than any may have: it goes in circles, probably
    Endless,
    /// an indirect table in an indirect table, or of a length that none has
    Indirect,
    /// a buffer that is not in the guest's RAM
    Buffer(u64, u32),
    /// a buffer with no room for the virtio-net header
    NoHeader,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(n) => write!(
                f,
                "a ring of {n} entries: it must be a power of two up to {MOST_ENTRIES}"
            ),
            Self::Place(what) => write!(f, "its {what} is not in the guest's RAM, or not aligned"),
            Self::Unshared(what) => write!(
                f,
                "its {what} is not in RAM that is shared: QEMU needs {}",
                shared_ram!("...")
            ),
            Self::Ahead(n) => write!(f, "it offers {n} buffers, more than it has entries"),
            Self::Descriptor(i) => write!(f, "descriptor {i} is beyond its table"),
            Self::Endless => write!(f, "a chain of more than {MOST_DESCRIPTORS} descriptors"),
            Self::Indirect => write!(f, "an indirect descriptor table that virtio does not allow"),
            Self::Buffer(at, len) => write!(f, "{len} bytes at {at:#x} are not in the guest's RAM"),
            Self::NoHeader => write!(f, "a buffer with no room for the virtio-net header"),
        }
    }
}

/// Which buffers of a chain are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// those that the guest has filled
    FromGuest,
    /// those that are for us to fill
    ToGuest,
}

/// Where a ring is, by the guest's addresses.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// descriptor table
    pub desc: GuestAddress,
    /// what the guest makes available
    pub avail: GuestAddress,
    /// what we have used
    pub used: GuestAddress,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Descriptor {
    addr: u64,
    len: u32,
    flags: u16,
    next: u16,
}

// SAFETY: integers without padding (8 + 4 + 2 + 2 bytes).
#[allow(unsafe_code)]
unsafe impl ByteValued for Descriptor {}

/// The state of a ring between two batches. All of it is private.
#[derive(Debug)]
pub struct Queue {
    size: u16,
    at: Addresses,
    event_idx: bool,
    /// the next entry of `avail` to be looked at
    next_avail: u16,
    /// `used.idx`, once all is published
    next_used: u16,
    /// `used.idx` when the guest was interrupted last, or could have been
    told: u16,
    /// the guest knows that it is to kick us
    wants_kicks: bool,
    /// `avail.idx` as the last batch that moved packets saw it
    seen: u16,
}

impl Queue {
    /// A ring of `size` entries at `at`, whose next entry is number `next_avail`.
    pub fn new(
        memory: &GuestMemoryMmap,
        size: u32,
        at: Addresses,
        next_avail: u16,
        event_idx: bool,
    ) -> Result<Self, Broken> {
        let size = u16::try_from(size)
            .ok()
            .filter(|n| n.is_power_of_two() && *n <= MOST_ENTRIES)
            .ok_or(Broken::Size(size))?;
        let mut queue = Self {
            size,
            at,
            event_idx,
            next_avail,
            next_used: 0,
            told: 0,
            wants_kicks: true,
            seen: next_avail,
        };
        let used = queue.open(memory)?.used;
        queue.next_used = used
            .load(IDX, Ordering::Acquire)
            .map_err(|_| Broken::Place("used ring"))?;
        queue.told = queue.next_used;
        Ok(queue)
    }

    /// Number of the next entry to be looked at: what a front end gets when it stops the ring.
    pub fn next_avail(&self) -> u16 {
        self.next_avail
    }

    /// Begins a batch.
    pub fn open<'q, 'm>(
        &'q mut self,
        memory: &'m GuestMemoryMmap,
    ) -> Result<Batch<'q, 'm>, Broken> {
        let n = usize::from(self.size);
        let part = |at, len, what| memory.get_slice(at, len).map_err(|_| Broken::Place(what));
        let desc = part(self.at.desc, n * DESCRIPTOR, "descriptor table")?;
        // Both end with an event index.
        let avail = part(self.at.avail, HEAD + n * AVAIL_ENTRY + 2, "available ring")?;
        let used = part(self.at.used, HEAD + n * USED_ENTRY + 2, "used ring")?;
        let mut batch = Batch {
            limit: self.next_avail,
            queue: self,
            memory,
            desc,
            avail,
            used,
        };
        batch.look()?;
        Ok(batch)
    }
}

/// One look at a ring: what is available is seen once, and what was used is published at the end.
pub struct Batch<'q, 'm> {
    queue: &'q mut Queue,
    memory: &'m GuestMemoryMmap,
    desc: VolatileSlice<'m>,
    avail: VolatileSlice<'m>,
    used: VolatileSlice<'m>,
    /// `avail.idx`
    limit: u16,
}

impl<'m> Batch<'_, 'm> {
    /// Reads `avail.idx`.
    fn look(&mut self) -> Result<(), Broken> {
        let place = |_| Broken::Place("available ring");
        // SYNC POINT: with the guest's release store of `avail.idx`; its descriptors and buffers are seen.
        let idx: u16 = self.avail.load(IDX, Ordering::Acquire).map_err(place)?;
        let ahead = u16::from_le(idx).wrapping_sub(self.queue.next_avail);
        if ahead > self.queue.size {
            return Err(Broken::Ahead(ahead));
        }
        self.limit = self.queue.next_avail.wrapping_add(ahead);
        Ok(())
    }

    /// Chains that are available.
    pub fn available(&self) -> u16 {
        self.limit.wrapping_sub(self.queue.next_avail)
    }

    /// Entries of the ring.
    pub fn size(&self) -> u16 {
        self.queue.size
    }

    /// The buffers of the chain that is `ahead` of the next one are appended to `parts`. Answers with the number of its
    /// first descriptor; `None` if there is no such chain.
    pub fn chain(
        &self,
        ahead: u16,
        way: Way,
        parts: &mut Vec<VolatileSlice<'m>>,
    ) -> Result<Option<u16>, Broken> {
        if ahead >= self.available() {
            return Ok(None);
        }
        let at = self.queue.next_avail.wrapping_add(ahead) & (self.queue.size - 1);
        let head: u16 = self
            .avail
            .load(HEAD + usize::from(at) * AVAIL_ENTRY, Ordering::Relaxed)
            .map_err(|_| Broken::Place("available ring"))?;
        let head = u16::from_le(head);
        self.walk(head, way, parts)?;
        Ok(Some(head))
    }

    fn walk(&self, head: u16, way: Way, parts: &mut Vec<VolatileSlice<'m>>) -> Result<(), Broken> {
        let (mut table, mut size, mut at) = (self.desc, self.queue.size, head);
        let mut is_indirect = false;
        for _ in 0..=MOST_DESCRIPTORS {
            if at >= size {
                return Err(Broken::Descriptor(at));
            }
            let descriptor: Descriptor = table
                .read_obj(usize::from(at) * DESCRIPTOR)
                .map_err(|_| Broken::Descriptor(at))?;
            let flags = u32::from(u16::from_le(descriptor.flags));
            let (addr, len) = (u64::from_le(descriptor.addr), u32::from_le(descriptor.len));
            if flags & VRING_DESC_F_INDIRECT != 0 {
                if is_indirect || flags & VRING_DESC_F_NEXT != 0 {
                    return Err(Broken::Indirect);
                }
                (table, size) = self.indirect(addr, len)?;
                (at, is_indirect) = (0, true);
                continue;
            }
            if (flags & VRING_DESC_F_WRITE != 0) == (way == Way::ToGuest) {
                self.buffer(addr, len, parts)?;
            }
            if flags & VRING_DESC_F_NEXT == 0 {
                return Ok(());
            }
            at = u16::from_le(descriptor.next);
        }
        Err(Broken::Endless)
    }

    fn indirect(&self, addr: u64, len: u32) -> Result<(VolatileSlice<'m>, u16), Broken> {
        let bytes = len as usize;
        let n = bytes / DESCRIPTOR;
        if n == 0 || !bytes.is_multiple_of(DESCRIPTOR) || n > usize::from(MOST_DESCRIPTORS) {
            return Err(Broken::Indirect);
        }
        let table = self.memory.get_slice(GuestAddress(addr), bytes);
        Ok((table.map_err(|_| Broken::Buffer(addr, len))?, n as u16))
    }

    /// A buffer, which may reach from one region of RAM into the next.
    fn buffer(
        &self,
        addr: u64,
        len: u32,
        parts: &mut Vec<VolatileSlice<'m>>,
    ) -> Result<(), Broken> {
        for part in self.memory.get_slices(GuestAddress(addr), len as usize) {
            parts.push(part.map_err(|_| Broken::Buffer(addr, len))?);
        }
        Ok(())
    }

    /// The next chain, which begins with descriptor `head`, is used; `len` bytes were written to it.
    pub fn put(&mut self, head: u16, len: u32) -> Result<(), Broken> {
        let at = self.queue.next_used & (self.queue.size - 1);
        let entry = u64::from(head) | u64::from(len) << 32;
        self.used
            .write_obj(entry.to_le(), HEAD + usize::from(at) * USED_ENTRY)
            .map_err(|_| Broken::Place("used ring"))?;
        self.queue.next_used = self.queue.next_used.wrapping_add(1);
        self.queue.next_avail = self.queue.next_avail.wrapping_add(1);
        Ok(())
    }

    /// Shows the guest what was used. True if it wants an interrupt.
    pub fn publish(&mut self) -> Result<bool, Broken> {
        let (old, new) = (self.queue.told, self.queue.next_used);
        if old == new {
            return Ok(false);
        }
        let place = |_| Broken::Place("used ring");
        // SYNC POINT: release, with the guest's acquire load of `used.idx`: it sees the entries and the buffers.
        self.used
            .store(new.to_le(), IDX, Ordering::Release)
            .map_err(place)?;
        // Whoever writes the event index and then looks at `used.idx` sees this one, or we see the event index.
        fence(Ordering::SeqCst);
        self.queue.told = new;
        let place = |_| Broken::Place("available ring");
        let at = if self.queue.event_idx {
            self.avail.len() - 2
        } else {
            0
        };
        let word: u16 = self.avail.load(at, Ordering::Relaxed).map_err(place)?;
        let word = u16::from_le(word);
        if !self.queue.event_idx {
            return Ok(u32::from(word) & VRING_AVAIL_F_NO_INTERRUPT == 0);
        }
        Ok(new.wrapping_sub(word).wrapping_sub(1) < new.wrapping_sub(old))
    }

    /// The beginning of a batch that moves packets: while we run the guest need not kick.
    pub fn refuse_kicks(&mut self) -> Result<(), Broken> {
        self.queue.seen = self.limit;
        // An event index that is behind is as good as a refusal.
        if self.queue.wants_kicks && !self.queue.event_idx {
            self.set_flags(VRING_USED_F_NO_NOTIFY as u16)?;
        }
        self.queue.wants_kicks = false;
        Ok(())
    }

    /// Before a sleep: the guest is to kick when there is more than the last batch that moved packets has seen. True if
    /// there is already.
    pub fn ask_for_kicks(&mut self) -> Result<bool, Broken> {
        let place = |_| Broken::Place("used ring");
        if self.queue.event_idx {
            let at = self.used.len() - 2;
            self.used
                .store(self.queue.seen.to_le(), at, Ordering::Relaxed)
                .map_err(place)?;
        } else if !self.queue.wants_kicks {
            self.set_flags(0)?;
        }
        self.queue.wants_kicks = true;
        // Whoever makes a buffer available and then looks whether to kick sees our wish, or we see the buffer.
        fence(Ordering::SeqCst);
        self.look()?;
        Ok(self.limit != self.queue.seen)
    }

    fn set_flags(&self, flags: u16) -> Result<(), Broken> {
        let stored = self.used.store(flags.to_le(), 0, Ordering::Relaxed);
        stored.map_err(|_| Broken::Place("used ring"))
    }
}
