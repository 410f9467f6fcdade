//! `nmport_inject`: a packet into the next tx ring that has room.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

use nm_abi::{NS_MOREFRAG, netmap_if, netmap_ring, netmap_slot};

use crate::descriptor::Port;

/// Copies a packet of `size` bytes into a tx ring; gives `size`, or 0 when there is no room.
///
/// # Safety
/// The port is mapped, and nobody else uses its tx rings; `buf` has `size` bytes.
#[unsafe(no_mangle)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "no ring holds a packet of 2 GB"
)]
pub unsafe extern "C" fn nmport_inject(mut d: Port, buf: *const c_void, size: usize) -> c_int {
    let (own, cur) = (d.first_tx_ring..=d.last_tx_ring, d.cur_tx_ring);
    for index in own
        .clone()
        .filter(|i| *i >= cur)
        .chain(own.filter(|i| *i < cur))
    {
        // SAFETY: the caller says that the port is mapped; the index is one of its rings, and `buf`
        // has `size` bytes.
        if unsafe { put(ring_at(d.nifp, index), buf.cast(), size) } {
            d.cur_tx_ring = index;
            return size as c_int;
        }
    }
    0
}

/// Tx ring `index` of a port.
///
/// # Safety
/// The port is mapped and has this ring.
unsafe fn ring_at(nifp: *mut netmap_if, index: u16) -> *mut netmap_ring {
    // SAFETY: the ring's offset lies within the `netmap_if`'s array and leads to a ring within the
    // region.
    unsafe {
        let offsets = (&raw const (*nifp).ring_ofs).cast::<isize>();
        nifp.byte_offset(*offsets.add(usize::from(index))).cast()
    }
}

/// Copies a packet into as many slots of a ring as it needs; `false` when there are not as many.
///
/// # Safety
/// The ring is mapped, and nobody else uses it; `buf` has `size` bytes.
unsafe fn put(ring: *mut netmap_ring, mut buf: *const u8, size: usize) -> bool {
    // SAFETY: the ring is mapped and only we use it as a program; netmap stores `tail` during calls
    // of ours, or of another thread on this port, hence the atomic load. Slots up to
    // `tail` are ours, and their buffers, which have `nr_buf_size` bytes each.
    unsafe {
        let tail = AtomicU32::from_ptr(&raw mut (*ring).tail).load(Ordering::Acquire);
        let (start, slots) = ((*ring).cur, (*ring).num_slots);
        let next = |i: u32| if i + 1 == slots { 0 } else { i + 1 };
        let mut rem = size;
        let mut end = start;
        while end != tail && rem > room(ring, end) {
            rem -= room(ring, end);
            end = next(end);
        }
        if end == tail {
            return false;
        }
        let mut here = start;
        let mut left = size;
        loop {
            let len = left.min(room(ring, here));
            let slot = slot_at(ring, here);
            core::ptr::copy_nonoverlapping(buf, packet_at(ring, slot), len);
            (*slot).len = len as u16;
            (*slot).flags = if here == end { 0 } else { NS_MOREFRAG };
            if here == end {
                break;
            }
            buf = buf.add(len);
            left -= len;
            here = next(here);
        }
        let after = next(end);
        (*ring).cur = after;
        // Release: whoever reads `head`, netmap, finds slots and buffers as written above.
        AtomicU32::from_ptr(&raw mut (*ring).head).store(after, Ordering::Release);
    }
    true
}

unsafe fn slot_at(ring: *mut netmap_ring, index: u32) -> *mut netmap_slot {
    // SAFETY: `put` asks for slots of the ring only.
    unsafe {
        (&raw mut (*ring).slot)
            .cast::<netmap_slot>()
            .add(index as usize)
    }
}

/// Where the packet starts in the slot's buffer: 0 but with the offsets option.
unsafe fn offset(ring: *mut netmap_ring, slot: *mut netmap_slot) -> usize {
    // SAFETY: ring and slot are mapped and ours.
    let offset = unsafe { (*slot).ptr & (*ring).offset_mask };
    // SAFETY: as above.
    let size = unsafe { (*ring).nr_buf_size };
    offset.min(u64::from(size)) as usize
}

/// How many bytes fit the slot.
unsafe fn room(ring: *mut netmap_ring, index: u32) -> usize {
    // SAFETY: as in `put`.
    unsafe { (*ring).nr_buf_size as usize - offset(ring, slot_at(ring, index)) }
}

unsafe fn packet_at(ring: *mut netmap_ring, slot: *mut netmap_slot) -> *mut u8 {
    // SAFETY: the buffer's number is netmap's or another of the program's own, so the buffer lies
    // within the region, and its offset is less than its size.
    unsafe {
        let buffer = (*slot).buf_idx as usize * (*ring).nr_buf_size as usize;
        let base = ring.cast::<u8>().offset((*ring).buf_ofs as isize);
        base.add(buffer + offset(ring, slot))
    }
}
