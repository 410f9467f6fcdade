//! The mapped netmap region: all reads and writes of shared memory that the generator does.
//!
//! A region is shared with netmap and, on pipes and VALE ports of one memory id, with other
//! programs. So no Rust reference to it is ever formed: header fields, slots and buffers are
//! reached through raw pointers, header fields and slots by volatile or atomic access, and buffer
//! contents by copying in and out. Sizes are read once, checked against the region, and kept in
//! private fields; the slots and indices read later are checked each time they are used.

use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nm_abi::{netmap_if, netmap_ring, netmap_slot, ring_next};

/// First buffer index that a slot may hold; netmap keeps 0 and 1 for itself.
const FIRST_BUFFER: u32 = 2;

/// A mapping of a netmap region, unmapped (through its owner) when the last ring is gone.
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    _owner: Box<dyn Send + Sync>,
}

// SAFETY: `Region` is an address range that stays mapped as long as `_owner` lives. Access goes
// through `Ring`, by volatile, atomic or copying operations that tolerate other writers.
unsafe impl Send for Region {}
// SAFETY: as above; `Region` has no interior state of its own.
unsafe impl Sync for Region {}

impl Region {
    /// A region of `len` bytes at `base` that `owner` keeps mapped.
    ///
    /// # Safety
    ///
    /// `base..base + len` is mapped readable and writable until `owner` is dropped, and no Rust
    /// reference to any of it exists meanwhile.
    pub unsafe fn new(base: NonNull<u8>, len: usize, owner: Box<dyn Send + Sync>) -> Self {
        Region {
            base,
            len,
            _owner: owner,
        }
    }

    /// Copies a `T` from byte offset `at`, which needs no alignment; `None` when it does not lie
    /// inside.
    fn read<T: nm_abi::AbiBytes>(&self, at: usize) -> Option<T> {
        let end = at.checked_add(size_of::<T>())?;
        if end > self.len {
            return None;
        }
        let mut value = T::zeroed();
        let bytes = value.as_bytes_mut();
        // SAFETY: `bytes.len()` bytes from `at` on are inside the mapping, as just checked, and do not
        // overlap the private copy. Another program may write them meanwhile; then the copy holds
        // any mixture of bytes, which is still a valid `T` (as `AbiBytes` says).
        unsafe {
            let source = self.base.as_ptr().wrapping_add(at);
            std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), bytes.len());
        }
        Some(value)
    }

    /// The rings that the `netmap_if` at offset `nifp` gives access to. An entry of 0 in its table
    /// of offsets is a ring of somebody else and left out.
    pub fn rings(self: &Arc<Self>, nifp: u64) -> Result<Rings, String> {
        let outside = || format!("the netmap_if at offset {nifp} lies outside the mapped region");
        let at = usize::try_from(nifp).map_err(|_| outside())?;
        let header: netmap_if = self.read(at).ok_or_else(outside)?;
        let tx = u64::from(header.ni_tx_rings) + u64::from(header.ni_host_tx_rings);
        let rx = u64::from(header.ni_rx_rings) + u64::from(header.ni_host_rx_rings);
        let mut rings = Rings::default();
        for index in 0..tx + rx {
            let entry = usize::try_from(index)
                .ok()
                .and_then(|i| i.checked_mul(size_of::<isize>()))
                .and_then(|i| i.checked_add(at + size_of::<netmap_if>()))
                .ok_or_else(outside)?;
            let offset = self.read::<i64>(entry).ok_or_else(outside)?;
            if offset == 0 {
                continue;
            }
            let place = at.checked_add_signed(offset as isize).ok_or_else(outside)?;
            let ring = Ring::new(Arc::clone(self), place)
                .map_err(|why| format!("ring {index} of the port: {why}"))?;
            if index < tx {
                rings.tx.push(ring);
            } else {
                rings.rx.push(ring);
            }
        }
        Ok(rings)
    }
}

/// The rings of a descriptor, by direction.
#[derive(Default)]
pub struct Rings {
    /// Transmit rings, host rings last.
    pub tx: Vec<Ring>,
    /// Receive rings, host rings last.
    pub rx: Vec<Ring>,
}

/// A transmit or receive ring as its user sees it.
///
/// `head` is private and authoritative: it is read once when the ring is found and from then on
/// only written to the shared header.
pub struct Ring {
    head_word: *mut u32,
    cur_word: *mut u32,
    tail_word: *mut u32,
    slots: *mut netmap_slot,
    buffers: *mut u8,
    num_slots: u32,
    buf_size: u32,
    end_buffer: u32,
    offset_mask: u64,
    head: u32,
    _region: Arc<Region>,
}

// SAFETY: the pointers lead into `_region`, which may be used from any thread; a `Ring` has one
// owner, so its private fields are never used by two threads at once.
unsafe impl Send for Ring {}

/// A private copy of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index of its buffer.
    pub buf_idx: u32,
    /// Bytes in it.
    pub len: u16,
    /// `NS_*` bits.
    pub flags: u16,
}

impl Ring {
    /// The ring at byte offset `place` of `region`, after checking that its slots and at least one
    /// buffer lie inside.
    fn new(region: Arc<Region>, place: usize) -> Result<Ring, String> {
        let outside = || format!("its header at offset {place} lies outside the region");
        let header: netmap_ring = region.read(place).ok_or_else(outside)?;
        let base = region.base.as_ptr();
        if !base.wrapping_add(place).cast::<u64>().is_aligned() {
            return Err(format!("its header at offset {place} is misaligned"));
        }
        let num_slots = header.num_slots;
        if num_slots < 2 {
            return Err(format!("it has {num_slots} slots"));
        }
        let slots = place + size_of::<netmap_ring>();
        (num_slots as usize)
            .checked_mul(size_of::<netmap_slot>())
            .and_then(|bytes| bytes.checked_add(slots))
            .filter(|end| *end <= region.len)
            .ok_or_else(|| format!("its {num_slots} slots do not fit in the region"))?;
        let buffers = isize::try_from(header.buf_ofs)
            .ok()
            .and_then(|offset| place.checked_add_signed(offset))
            .filter(|at| *at < region.len)
            .ok_or_else(|| {
                format!(
                    "its buffers (offset {}) lie outside the region",
                    header.buf_ofs
                )
            })?;
        let buf_size = header.nr_buf_size;
        if buf_size < 64 {
            return Err(format!("its buffers have {buf_size} bytes"));
        }
        let count = (region.len - buffers) / buf_size as usize;
        if header.head >= num_slots {
            return Err(format!(
                "its head {} is beyond its {num_slots} slots",
                header.head
            ));
        }
        let word = |offset: usize| base.wrapping_add(place + offset).cast::<u32>();
        Ok(Ring {
            head_word: word(offset_of!(netmap_ring, head)),
            cur_word: word(offset_of!(netmap_ring, cur)),
            tail_word: word(offset_of!(netmap_ring, tail)),
            slots: base.wrapping_add(slots).cast(),
            buffers: base.wrapping_add(buffers),
            num_slots,
            buf_size,
            end_buffer: u32::try_from(count).unwrap_or(u32::MAX),
            offset_mask: header.offset_mask,
            head: header.head,
            _region: region,
        })
    }

    /// Number of slots.
    pub fn num_slots(&self) -> u32 {
        self.num_slots
    }

    /// Bytes per buffer.
    pub fn buf_size(&self) -> usize {
        self.buf_size as usize
    }

    /// Whether slots carry a buffer offset (OFFSETS option).
    pub fn has_offsets(&self) -> bool {
        self.offset_mask != 0
    }

    /// First slot that belongs to us.
    pub fn head(&self) -> u32 {
        self.head
    }

    /// The index after `i`.
    #[inline(always)]
    pub fn next(&self, i: u32) -> u32 {
        ring_next(i, self.num_slots)
    }

    /// netmap's `tail`, or what is wrong with it.
    #[inline]
    pub fn tail(&self) -> Result<u32, String> {
        // SAFETY: the header lies inside the region and is 8-byte aligned (checked in `new`), so the
        // field is an aligned word inside it, which we only access atomically: netmap writes it.
        let tail = unsafe { AtomicU32::from_ptr(self.tail_word) };
        let tail = tail.load(Ordering::Acquire);
        if tail < self.num_slots {
            Ok(tail)
        } else {
            Err(format!(
                "the ring's tail is {tail}, beyond its {} slots",
                self.num_slots
            ))
        }
    }

    /// Slots from `head` to `tail`: free ones of a tx ring, filled ones of an rx ring.
    #[inline]
    pub fn space(&self) -> Result<u32, String> {
        Ok(nm_abi::ring_space(self.head, self.tail()?, self.num_slots))
    }

    /// Gives netmap the slots before `head`, and asks to be woken when `tail` passes `cur`.
    #[inline]
    pub fn publish(&mut self, head: u32, cur: u32) {
        debug_assert!(head < self.num_slots && cur < self.num_slots);
        self.head = head;
        // SAFETY: as in `tail`; both fields are ours to write. Release, so that whoever acts on
        // `head` sees the slots and buffers written before.
        unsafe {
            AtomicU32::from_ptr(self.cur_word).store(cur, Ordering::Release);
            AtomicU32::from_ptr(self.head_word).store(head, Ordering::Release);
        }
    }

    /// Pointer to slot `i`; panics when there is no such slot, which is an error of the caller
    /// (every index comes from `head` and `next`).
    #[inline(always)]
    fn slot_ptr(&self, i: u32) -> *mut netmap_slot {
        assert!(i < self.num_slots);
        self.slots.wrapping_add(i as usize)
    }

    /// Copy of slot `i`, read in one access.
    #[inline(always)]
    pub fn slot(&self, i: u32) -> Slot {
        // SAFETY: `slot_ptr` is inside the region (checked in `new`) and 8-byte aligned, as the
        // header is; the first 8 bytes of a slot are buf_idx, len and flags. Volatile: netmap or
        // another program may have written the slot.
        let word = unsafe { self.slot_ptr(i).cast::<u64>().read_volatile() };
        let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
        Slot {
            buf_idx: u32::from_ne_bytes([a, b, c, d]),
            len: u16::from_ne_bytes([e, f]),
            flags: u16::from_ne_bytes([g, h]),
        }
    }

    /// Stores length and flags of slot `i`, in one access; the buffer index stays.
    #[inline(always)]
    pub fn set_slot(&mut self, i: u32, len: u16, flags: u16) {
        let ([a, b], [c, d]) = (len.to_ne_bytes(), flags.to_ne_bytes());
        // SAFETY: inside the region and aligned as in `slot`; len and flags are the 4 bytes at
        // offset 4. The slot is ours while it lies in head..tail.
        unsafe {
            let at = self.slot_ptr(i).cast::<u32>().add(1);
            at.write_volatile(u32::from_ne_bytes([a, b, c, d]));
        }
    }

    /// Stores the address of an indirect buffer in slot `i`.
    #[inline]
    pub fn set_indirect(&mut self, i: u32, address: *const u8) {
        // SAFETY: inside the region and aligned as in `slot`.
        unsafe { (&raw mut (*self.slot_ptr(i)).ptr).write_volatile(address as u64) }
    }

    /// Offset of the packet inside the buffer of slot `i`.
    #[inline]
    fn offset(&self, i: u32) -> usize {
        if self.offset_mask == 0 {
            return 0;
        }
        // SAFETY: inside the region and aligned as in `slot`.
        let raw = unsafe { (&raw const (*self.slot_ptr(i)).ptr).read_volatile() };
        usize::try_from(raw & self.offset_mask).unwrap_or(usize::MAX)
    }

    /// Whether the slot's buffer and length lie inside the buffers of the region.
    #[inline(always)]
    pub fn is_sound(&self, slot: Slot) -> bool {
        slot.buf_idx >= FIRST_BUFFER
            && slot.buf_idx < self.end_buffer
            && u32::from(slot.len) <= self.buf_size
    }

    /// Address of `len` bytes at `skip` in the buffer of slot `i`, when they lie inside it.
    #[inline(always)]
    fn bytes(&self, i: u32, slot: Slot, skip: usize, len: usize) -> Option<*mut u8> {
        let start = self.offset(i).checked_add(skip)?;
        let end = start.checked_add(len)?;
        let index = slot.buf_idx;
        if index < FIRST_BUFFER || index >= self.end_buffer || end > self.buf_size() {
            return None;
        }
        Some(
            self.buffers
                .wrapping_add(index as usize * self.buf_size() + start),
        )
    }

    /// Appends `len` bytes from `skip` on of slot `i`'s buffer to `out`; false when they do not
    /// lie inside the buffer.
    pub fn read(&self, i: u32, slot: Slot, skip: usize, len: usize, out: &mut Vec<u8>) -> bool {
        let Some(source) = self.bytes(i, slot, skip, len) else {
            return false;
        };
        out.reserve(len);
        // SAFETY: `source` has `len` bytes inside the region (checked in `bytes`), `out` has room
        // for them after `reserve`, and private memory does not overlap the region. Another
        // program may write the buffer meanwhile; then the copy holds any mixture of bytes,
        // which are data only. The new length covers exactly what was copied.
        unsafe {
            std::ptr::copy_nonoverlapping(source, out.as_mut_ptr().add(out.len()), len);
            out.set_len(out.len() + len);
        }
        true
    }

    /// Copies `data` to the start of slot `i`'s buffer; false when it does not fit.
    #[inline(always)]
    pub fn write(&mut self, i: u32, slot: Slot, data: &[u8]) -> bool {
        let Some(target) = self.bytes(i, slot, 0, data.len()) else {
            return false;
        };
        // SAFETY: `target` has room for `data` inside the region (checked in `bytes`), which does
        // not overlap private memory; the buffer is ours while its slot lies in head..tail.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), target, data.len()) };
        true
    }
}

#[cfg(test)]
mod tests;
