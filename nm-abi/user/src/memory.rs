//! The mapped memory of ports, and the rings in it. Other processes and the kernel write it at any time: each word is
//! read once, and checked.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::io;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use nm_abi::{
    AbiBytes, NS_BUF_CHANGED, NS_MOREFRAG, netmap_if, netmap_ring, netmap_slot, ring_next,
    ring_space,
};

use crate::device;

/// The first word of a slot, little-endian: the buffer's index, the length, the flags.
const INDEX: u64 = 0xffff_ffff;
const FLAGS: u64 = 0xffff << 48;
const CHANGED: u64 = (NS_BUF_CHANGED as u64) << 48;
const MORE: u64 = (NS_MOREFRAG as u64) << 48;
const _: () = assert!(cfg!(target_endian = "little"));

/// A mapping.
pub struct Memory {
    base: NonNull<u8>,
    len: usize,
    id: u16,
}

// SAFETY: it is plain memory, the same in every thread, and is accessed by atomics and through what `Ring` lends.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps `len` bytes of memory `id`.
    pub fn map(device: BorrowedFd<'_>, len: usize, id: u16) -> io::Result<Self> {
        let base = NonNull::new(device::map(device, len)?).expect("mappings do not lie at 0");
        Ok(Self { base, len, id })
    }

    /// netmap's number of it.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The 32-bit number at `ofs`.
    pub fn count(&self, ofs: usize) -> Option<u32> {
        Some(self.word::<AtomicU32>(ofs)?.load(Relaxed))
    }

    /// A word of type `T`, an atomic integer.
    fn word<T: Word>(&self, ofs: usize) -> Option<&T> {
        let end = ofs.checked_add(size_of::<T>())?;
        if end > self.len || !ofs.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: inside the mapping, which begins at a page, and so aligned. Any bits are an integer, and whoever
        // writes it meanwhile does so to an atomic.
        Some(unsafe { self.base.add(ofs).cast::<T>().as_ref() })
    }
}

/// Atomic integers.
trait Word {}
impl Word for AtomicU32 {}
impl Word for AtomicI64 {}
impl Word for AtomicU64 {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: ours; rings hold an `Arc` of it, and what they lend borrows them.
        unsafe { device::unmap(self.base.as_ptr(), self.len) };
    }
}

/// A ring. Its size does not change as long as the port is open, and was checked when it was found.
pub struct Ring {
    #[expect(dead_code, reason = "it is dropped with the ring")]
    claim: Claim,
    memory: Arc<Memory>,
    /// of the `netmap_ring` in the memory
    ofs: usize,
    num_slots: u32,
    buf_size: usize,
    /// of buffer 0 in the memory
    buffers: usize,
    /// buffers that fit behind it
    buffer_count: usize,
    /// the bits of a slot's `ptr` that say where in its buffer a packet begins
    offset_mask: u64,
}

/// The rings that this process has, each by the number of its memory and its place there. Nobody has one twice: its
/// slots, and the buffers that they name, are lent as this process's alone.
static CLAIMED: Mutex<BTreeSet<(u16, usize)>> = Mutex::new(BTreeSet::new());

/// A ring that this process has.
struct Claim(u16, usize);

impl Claim {
    /// None if it is claimed already.
    fn new(memory: u16, ofs: usize) -> Option<Self> {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.insert((memory, ofs)).then(|| Self(memory, ofs))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.remove(&(self.0, self.1));
    }
}

/// Where a packet lies in a ring.
#[derive(Clone, Copy)]
pub struct Place {
    /// its first slot
    pub at: u32,
    /// slots
    pub slots: u32,
    /// the slot behind it
    pub next: u32,
}

impl Place {
    /// Its slots in that ring.
    pub fn slots(self, ring: &Ring) -> impl Iterator<Item = u32> + Clone {
        std::iter::successors(Some(self.at), |i| Some(ring.next(*i))).take(self.slots as usize)
    }
}

/// `netmap_if` at `ofs`: the offsets of `count` rings from the `first` one on, 0 for those that were not asked for.
pub fn ring_offsets(
    memory: &Memory,
    ofs: usize,
    first: usize,
    count: usize,
) -> Option<Vec<Option<usize>>> {
    let one = |i: usize| {
        let at = ofs.checked_add(netmap_if::bytes_for(first.checked_add(i)?))?;
        let distance = memory.word::<AtomicI64>(at)?.load(Relaxed);
        match distance {
            0 => Some(None),
            _ => Some(Some(
                ofs.checked_add_signed(isize::try_from(distance).ok()?)?,
            )),
        }
    };
    (0..count).map(one).collect()
}

impl Ring {
    /// The ring at `ofs`, if it and its buffers lie in the memory.
    pub fn new(memory: &Arc<Memory>, ofs: usize) -> Option<Self> {
        let word = |field: usize| memory.count(ofs.checked_add(field)?);
        let num_slots = word(offset_of!(netmap_ring, num_slots))?;
        let buf_size = word(offset_of!(netmap_ring, nr_buf_size))? as usize;
        let distance = memory.word::<AtomicI64>(ofs + offset_of!(netmap_ring, buf_ofs))?;
        let mask = memory.word::<AtomicU64>(ofs + offset_of!(netmap_ring, offset_mask))?;
        let buffers = ofs.checked_add_signed(isize::try_from(distance.load(Relaxed)).ok()?)?;
        let end = ofs.checked_add(netmap_ring::bytes_for(num_slots))?;
        let is_inside = num_slots >= 2 && end <= buffers && buffers <= memory.len;
        if !is_inside || !ofs.is_multiple_of(8) || buf_size == 0 {
            return None;
        }
        Some(Self {
            claim: Claim::new(memory.id, ofs)?,
            ofs,
            num_slots,
            buf_size,
            buffers,
            buffer_count: memory.len.checked_sub(buffers)? / buf_size,
            offset_mask: mask.load(Relaxed),
            memory: memory.clone(),
        })
    }

    /// May the two exchange buffers? Where packets begin at offsets of their own they are copied.
    #[inline]
    pub fn exchanges_with(&self, other: &Ring) -> bool {
        self.memory.id == other.memory.id && self.offset_mask | other.offset_mask == 0
    }

    pub fn num_slots(&self) -> u32 {
        self.num_slots
    }

    pub fn buf_size(&self) -> usize {
        self.buf_size
    }

    /// The slot after `i`.
    #[inline]
    pub fn next(&self, i: u32) -> u32 {
        ring_next(i, self.num_slots)
    }

    /// The slot `n` slots behind `i`; `n` is less than all.
    #[inline]
    pub fn after(&self, i: u32, n: u32) -> u32 {
        let left = self.num_slots - i;
        if n < left { i + n } else { n - left }
    }

    /// Slots from `from` up to `to`.
    #[inline]
    pub fn distance(&self, from: u32, to: u32) -> u32 {
        ring_space(from, to, self.num_slots)
    }

    /// What is the program's: slots from the first up to the second. None if somebody has written nonsense.
    #[inline]
    pub fn own(&self) -> Option<(u32, u32)> {
        let [head, tail] = [offset_of!(netmap_ring, head), offset_of!(netmap_ring, tail)]
            .map(|field| self.field(field).load(Relaxed));
        (head < self.num_slots && tail < self.num_slots).then_some((head, tail))
    }

    /// Gives the slots before `head` to netmap with the next exchange, and waits for what comes behind `cur`.
    #[inline]
    pub fn publish(&self, head: u32, cur: u32) {
        self.field(offset_of!(netmap_ring, cur)).store(cur, Relaxed);
        self.field(offset_of!(netmap_ring, head))
            .store(head, Relaxed);
    }

    #[inline]
    fn field(&self, field: usize) -> &AtomicU32 {
        debug_assert!(field.is_multiple_of(4) && field < size_of::<netmap_ring>());
        // SAFETY: the header lies in the memory, aligned to 8 bytes (`new`), and `field` in the header: callers pass
        // offsets of its 32-bit fields.
        unsafe { self.memory.base.add(self.ofs + field).cast().as_ref() }
    }

    /// The two halves of each slot.
    #[inline]
    fn slots(&self) -> &[[AtomicU64; 2]] {
        // SAFETY: all slots lie in the memory, behind the header and aligned to 8 bytes (`new`). Any bits are integers,
        // and whoever writes them meanwhile does so to atomics.
        unsafe {
            let first = self.memory.base.add(self.ofs + netmap_ring::bytes_for(0));
            std::slice::from_raw_parts(first.cast().as_ptr(), self.num_slots as usize)
        }
    }

    /// The two halves of slot `i`.
    #[inline]
    fn words(&self, i: u32) -> &[AtomicU64; 2] {
        &self.slots()[i as usize]
    }

    /// Slot `i`, as it is now.
    #[inline]
    pub fn slot(&self, i: u32) -> netmap_slot {
        let halves = self.words(i).each_ref().map(|half| half.load(Relaxed));
        let mut slot = netmap_slot::default();
        slot.as_bytes_mut()[..8].copy_from_slice(&halves[0].to_ne_bytes());
        slot.as_bytes_mut()[8..].copy_from_slice(&halves[1].to_ne_bytes());
        slot
    }

    /// Writes slot `i`: all but its `ptr`, which stays with the slot.
    #[inline]
    pub fn set_slot(&self, i: u32, buf_idx: u32, len: u16, flags: u16) {
        let slot = netmap_slot {
            buf_idx,
            len,
            flags,
            ptr: 0,
        };
        let mut half = [0; 8];
        half.copy_from_slice(&slot.as_bytes()[..8]);
        self.words(i)[0].store(u64::from_ne_bytes(half), Relaxed);
    }

    /// Moves what slot `i` of `from` holds into slot `at`, whose buffer goes there in exchange: one word each.
    #[inline]
    pub fn exchange(&self, at: u32, from: &Ring, i: u32) {
        let (theirs, ours) = (&from.words(i)[0], &self.words(at)[0]);
        exchange(theirs.load(Relaxed), theirs, ours);
    }

    /// The same for up to `most` packets of one slot each, from slot `i` on into slots from `at` on. Gives how many: up
    /// to a packet of several slots.
    #[inline]
    pub fn exchange_run(&self, at: u32, from: &Ring, i: u32, most: u32) -> u32 {
        let (theirs, ours) = (from.slots(), self.slots());
        let (mut i, mut at) = (i as usize, at as usize);
        for n in 0..most {
            let (theirs, ours) = (&theirs[i][0], &ours[at][0]);
            let full = theirs.load(Relaxed);
            if full & MORE != 0 {
                return n;
            }
            exchange(full, theirs, ours);
            i = if i + 1 == from.num_slots as usize {
                0
            } else {
                i + 1
            };
            at = if at + 1 == self.num_slots as usize {
                0
            } else {
                at + 1
            };
        }
        most
    }

    /// Does the packet go on in the slot behind this one?
    #[inline]
    pub fn has_more(&self, i: u32) -> bool {
        self.words(i)[0].load(Relaxed) & MORE != 0
    }

    /// Bytes that a packet in that slot may have.
    #[inline]
    pub fn room(&self, slot: netmap_slot) -> usize {
        let most = self.buf_size.min(u16::MAX.into());
        most.saturating_sub(self.start(slot))
    }

    /// Where in its buffer the packet of a slot begins.
    #[inline]
    fn start(&self, slot: netmap_slot) -> usize {
        usize::try_from(slot.ptr & self.offset_mask).unwrap_or(usize::MAX)
    }

    /// Address of the `len` bytes of that slot's packet; cut where the buffer ends, and empty if there is no such
    /// buffer.
    #[inline]
    fn payload(&self, slot: netmap_slot, len: usize) -> (*mut u8, usize) {
        let index = slot.buf_idx as usize;
        let start = self.start(slot);
        if index >= self.buffer_count || start >= self.buf_size {
            return (NonNull::dangling().as_ptr(), 0);
        }
        let at = self.buffers + index * self.buf_size + start;
        // SAFETY: buffer `index` lies in the memory (`new`), and `start` in the buffer.
        let from = unsafe { self.memory.base.add(at).as_ptr() };
        (from, len.min(self.buf_size - start))
    }

    /// The packet of a slot that is the program's.
    ///
    /// The caller borrows the ring for as long, and lends each buffer once. What others may do: see "What is
    /// trusted".
    #[inline]
    pub fn bytes(&self, slot: netmap_slot) -> &[u8] {
        let (from, len) = self.payload(slot, slot.len.into());
        // SAFETY: `len` bytes in the memory, which lives as long as `self`. The slot is the program's: by netmap's
        // protocol nobody else writes its buffer before the next exchange, for which the port must not be borrowed.
        unsafe { std::slice::from_raw_parts(from, len) }
    }

    /// The first `len` bytes of that slot's buffer, to be written.
    #[inline]
    #[expect(
        clippy::mut_from_ref,
        reason = "a view of a slot, which callers hold mutably"
    )]
    pub fn bytes_mut(&self, slot: netmap_slot, len: usize) -> &mut [u8] {
        let (from, len) = self.payload(slot, len);
        // SAFETY: as `bytes`; callers hold the slot mutably, and slots name different buffers.
        unsafe { std::slice::from_raw_parts_mut(from, len) }
    }
}

/// Moves a packet between slots, of which `theirs` has been read.
#[inline]
fn exchange(full: u64, theirs: &AtomicU64, ours: &AtomicU64) {
    let free = ours.load(Relaxed);
    ours.store((full & !FLAGS) | (full & MORE) | CHANGED, Relaxed);
    theirs.store((free & INDEX) | CHANGED, Relaxed);
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsFd, FromRawFd};
    use std::os::unix::fs::FileExt;

    /// A file in memory of `len` bytes.
    pub fn file(len: usize) -> File {
        // SAFETY: a new descriptor, which nobody else has.
        let file = unsafe {
            let fd = libc::memfd_create(c"region".as_ptr(), libc::MFD_CLOEXEC);
            assert!(fd >= 0);
            File::from_raw_fd(fd)
        };
        file.set_len(len as u64).expect("memory");
        file
    }

    pub const BUFFERS: usize = 4096;
    pub const BUF_SIZE: u32 = 256;

    /// A ring of `n` slots in a memory with `n` buffers and one more, as it is behind REGISTER: all slots but one are
    /// the program's, from `head` on.
    pub fn ring(n: u32, head: u32) -> (Ring, File) {
        let len = BUFFERS + (n as usize + 1) * BUF_SIZE as usize;
        let file = file(len);
        let header = netmap_ring {
            buf_ofs: BUFFERS as i64 - 128,
            num_slots: n,
            nr_buf_size: BUF_SIZE,
            head,
            cur: head,
            tail: (head + n - 1) % n,
            ..Default::default()
        };
        file.write_all_at(header.as_bytes(), 128).expect("memory");
        for i in 0..n {
            let slot = netmap_slot {
                buf_idx: i,
                ..Default::default()
            };
            let at = 128 + netmap_ring::bytes_for(i);
            file.write_all_at(slot.as_bytes(), at as u64)
                .expect("memory");
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = NUMBER.fetch_add(1, Relaxed) as u16;
        let memory = Arc::new(Memory::map(file.as_fd(), len, id).expect("a mapping"));
        (Ring::new(&memory, 128).expect("a ring"), file)
    }

    #[test]
    fn a_ring_that_leaves_its_memory_is_none() {
        let (ring, file) = ring(8, 0);
        let memory = &ring.memory.clone();
        assert!(Ring::new(memory, 128).is_none(), "it is claimed");
        drop(ring);
        assert!(Ring::new(memory, 128).is_some());
        assert!(Ring::new(memory, usize::MAX - 7).is_none());
        assert!(Ring::new(memory, 132).is_none());
        for (field, bytes) in [
            (8, 1u32.to_ne_bytes().to_vec()),
            (8, u32::MAX.to_ne_bytes().to_vec()),
            (12, 0u32.to_ne_bytes().to_vec()),
            (0, i64::MAX.to_ne_bytes().to_vec()),
            (0, i64::MIN.to_ne_bytes().to_vec()),
            (0, 1_000_000i64.to_ne_bytes().to_vec()),
        ] {
            let mut before = vec![0; bytes.len()];
            file.read_exact_at(&mut before, 128 + field).expect("read");
            file.write_all_at(&bytes, 128 + field).expect("write");
            assert!(Ring::new(memory, 128).is_none(), "{field} {bytes:?}");
            file.write_all_at(&before, 128 + field).expect("write");
        }
    }

    #[test]
    fn buffers_are_exchanged() {
        let (ring, _) = ring(8, 0);
        ring.set_slot(1, 1, 60, NS_MOREFRAG | nm_abi::NS_REPORT);
        ring.exchange(5, &ring, 1);
        let [from, to] = [1, 5].map(|i| ring.slot(i));
        assert_eq!((from.buf_idx, from.flags), (5, NS_BUF_CHANGED));
        assert_eq!((to.buf_idx, to.len), (1, 60));
        assert_eq!(to.flags, NS_BUF_CHANGED | NS_MOREFRAG);
    }

    #[test]
    fn a_run_goes_round_both_rings_and_ends_at_a_packet_of_several_slots() {
        let ((from, _), (to, _)) = (ring(8, 0), ring(4, 0));
        for i in 0..8 {
            let more = if i == 2 { NS_MOREFRAG } else { 0 };
            from.set_slot(i, i, 60 + i as u16, more);
        }
        assert_eq!(to.exchange_run(3, &from, 6, 3), 3);
        assert_eq!(
            to.exchange_run(to.after(3, 3), &from, from.after(6, 3), 3),
            1
        );
        let moved = [3, 0, 1, 2].map(|i| (to.slot(i).buf_idx, to.slot(i).len));
        assert_eq!(moved, [(6, 66), (7, 67), (0, 60), (1, 61)]);
        let left = [6, 7, 0, 1].map(|i| from.slot(i).buf_idx);
        assert_eq!(left, [3, 0, 1, 2]);
        assert_eq!((from.slot(2).buf_idx, from.slot(2).len), (2, 62));
    }

    #[test]
    fn nonsense_in_slots_leads_nowhere() {
        let (ring, _) = ring(8, 0);
        let slot = |buf_idx, len, ptr| netmap_slot {
            buf_idx,
            len,
            flags: 0,
            ptr,
        };
        assert_eq!(ring.bytes(slot(3, 60, 0)).len(), 60);
        assert_eq!(ring.bytes(slot(8, 60, u64::MAX)).len(), 60);
        assert_eq!(ring.bytes(slot(9, 60, 0)).len(), 0);
        assert_eq!(ring.bytes(slot(u32::MAX, 60, 0)).len(), 0);
        assert_eq!(ring.bytes(slot(3, u16::MAX, 0)).len(), 256);
        let mut ring = ring;
        ring.offset_mask = u64::MAX;
        assert_eq!(ring.bytes(slot(3, 256, 200)).len(), 56);
        assert_eq!(ring.bytes(slot(3, 256, u64::MAX)).len(), 0);
        assert_eq!(ring.room(slot(3, 0, u64::MAX)), 0);
    }
}
