//! What a program finds in the mapped region: `netmap_if`, `netmap_ring`, `netmap_slot`.
//!
//! A region is written by the program at any time, so code that serves programs must not hold
//! references to these structures inside a mapping; the types are there for their offsets, for
//! private copies, and for programs' own use.
//!
//! ```
//! use nm_abi::{AbiBytes, NS_MOREFRAG, netmap_ring, netmap_slot, ring_next, ring_space};
//!
//! /// Packets from `head` up to `tail`, in a private copy of a ring and its slots.
//! fn packets(copy: &[u8]) -> Option<usize> {
//!     let ring = netmap_ring::from_bytes(copy)?;
//!     let (mut i, mut packets) = (ring.head, 0);
//!     for _ in 0..ring_space(ring.head, ring.tail, ring.num_slots) {
//!         let slot = copy.get(netmap_ring::bytes_for(i)..)?;
//!         packets += usize::from(netmap_slot::from_bytes(slot)?.flags & NS_MOREFRAG == 0);
//!         i = ring_next(i, ring.num_slots);
//!     }
//!     Some(packets)
//! }
//!
//! let ring = netmap_ring { num_slots: 4, head: 3, tail: 1, ..Default::default() };
//! let slots = [0, 0, 0, NS_MOREFRAG].map(|flags| netmap_slot { flags, ..Default::default() });
//! let mut copy = ring.as_bytes().to_vec();
//! slots.iter().for_each(|slot| copy.extend(slot.as_bytes()));
//! assert_eq!(packets(&copy), Some(1)); // slots 3 and 0, of one packet
//! ```

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::IFNAMSIZ;
use crate::bytes::abi_struct;

/// One descriptor of a ring: which buffer, how many bytes of it, and what to do with them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct netmap_slot {
    /// Index of the buffer in the region's buffer pool.
    pub buf_idx: u32,
    /// Bytes of the packet in this slot.
    pub len: u16,
    /// `NS_*` bits; the high byte is a fragment count on VALE receive rings.
    pub flags: u16,
    /// User address of an indirect buffer, or the offset field of the OFFSETS option.
    pub ptr: u64,
}
abi_struct!(netmap_slot, size 16, align 8, { buf_idx 0, len 4, flags 6, ptr 8 });

/// Slot flag: `buf_idx` differs from what it was; set by programs and by slot swaps.
pub const NS_BUF_CHANGED: u16 = 0x0001;
/// Slot flag: report completion of this slot as soon as it is known.
pub const NS_REPORT: u16 = 0x0002;
/// Slot flag: pass the packet on to the peer ring (host/NIC) when `NR_FORWARD` is on.
pub const NS_FORWARD: u16 = 0x0004;
/// Slot flag: defined, but ignored by kernel netmap: no learning from this packet.
pub const NS_NO_LEARN: u16 = 0x0008;
/// Slot flag: the data is at the user address in `ptr` (VALE tx rings only).
pub const NS_INDIRECT: u16 = 0x0010;
/// Slot flag: the packet goes on in the next slot.
pub const NS_MOREFRAG: u16 = 0x0020;
/// Slot flag of monitors: the packet was seen on a tx ring.
pub const NS_TXMON: u16 = 0x0040;
/// Position of the port/fragments byte in the slot flags.
pub const NS_PORT_SHIFT: u32 = 8;
/// The port/fragments byte of the slot flags.
pub const NS_PORT_MASK: u16 = 0xff << NS_PORT_SHIFT;

/// Number of fragments told by the flags of a slot of a VALE receive ring (`NS_RFRAGS` in C).
#[must_use]
pub const fn ns_rfrags(flags: u16) -> u16 {
    flags >> NS_PORT_SHIFT
}

/// `struct timeval` as the ring header holds it: seconds and microseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct timeval {
    /// Seconds since the epoch.
    pub tv_sec: i64,
    /// Microseconds, 0 to 999999.
    pub tv_usec: i64,
}
abi_struct!(timeval, size 16, align 8, { tv_sec 0, tv_usec 8 });

/// Room for a lock of the program's own, kept on cache lines of its own.
#[repr(C, align(128))]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct nm_ring_sem(pub [u8; 128]);
abi_struct!(nm_ring_sem, size 128, align 128, { 0 0 });

/// A transmit or receive ring; `num_slots` slots follow the header.
///
/// In the marks below, "user" fields are written by the program, the rest by netmap.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct netmap_ring {
    /// Distance in bytes from this structure to buffer 0.
    pub buf_ofs: i64,
    /// Number of slots.
    pub num_slots: u32,
    /// Bytes per buffer.
    pub nr_buf_size: u32,
    /// Index of the ring within its port and direction.
    pub ringid: u16,
    /// Direction; kernel netmap stores 1 for tx and 0 for rx.
    pub dir: u16,
    /// User: first slot that belongs to the program.
    pub head: u32,
    /// User: the program sleeps until `tail` passes this slot.
    pub cur: u32,
    /// First slot that belongs to netmap.
    pub tail: u32,
    /// User: `NR_TIMESTAMP`, `NR_FORWARD`.
    pub flags: u32,
    /// Padding.
    pub _pad0: u32,
    /// Time of the last sync.
    pub ts: timeval,
    /// Bits of `slot.ptr` that hold a buffer offset; 0 without the OFFSETS option.
    pub offset_mask: u64,
    /// Alignment in bytes that packet starts must have.
    pub buf_align: u64,
    /// Padding up to the cache line of `sem`.
    pub _pad1: [u64; 7],
    /// For the program.
    pub sem: nm_ring_sem,
    /// The slots, `num_slots` of them in a region.
    pub slot: [netmap_slot; 0],
}
abi_struct!(netmap_ring, size 256, align 128, {
    buf_ofs 0, num_slots 8, nr_buf_size 12, ringid 16, dir 18, head 20, cur 24, tail 28, flags 32,
    _pad0 36, ts 40, offset_mask 56, buf_align 64, _pad1 72, sem 128, slot 256,
});

impl netmap_ring {
    /// Bytes that a ring of `num_slots` slots occupies.
    #[must_use]
    pub const fn bytes_for(num_slots: u32) -> usize {
        size_of::<Self>() + num_slots as usize * size_of::<netmap_slot>()
    }
}

/// Ring flag: store the time in `ts` at each sync.
pub const NR_TIMESTAMP: u32 = 0x0002;
/// Ring flag: obey `NS_FORWARD` in the ring's slots.
pub const NR_FORWARD: u32 = 0x0004;

/// A bound port as one file descriptor sees it: how many rings there are and where.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct netmap_if {
    /// Name of the port, NUL-terminated.
    pub ni_name: [u8; IFNAMSIZ],
    /// API version; unused.
    pub ni_version: u32,
    /// `NI_*` bits.
    pub ni_flags: u32,
    /// Number of tx rings, host rings not counted.
    pub ni_tx_rings: u32,
    /// Number of rx rings, host rings not counted.
    pub ni_rx_rings: u32,
    /// User: index of the first extra buffer; each holds the next one's index in its first word.
    pub ni_bufs_head: u32,
    /// Number of host tx rings.
    pub ni_host_tx_rings: u32,
    /// Number of host rx rings.
    pub ni_host_rx_rings: u32,
    /// Unused.
    pub ni_spare1: [u32; 3],
    /// Distances in bytes from this structure to the rings: tx, host tx, rx, host rx.
    /// 0 where the descriptor has no access.
    pub ring_ofs: [isize; 0],
}
abi_struct!(netmap_if, size 56, align 8, {
    ni_name 0, ni_version 16, ni_flags 20, ni_tx_rings 24, ni_rx_rings 28, ni_bufs_head 32,
    ni_host_tx_rings 36, ni_host_rx_rings 40, ni_spare1 44, ring_ofs 56,
});

impl netmap_if {
    /// Bytes that a `netmap_if` with `rings` ring offsets (of all kinds) occupies.
    #[must_use]
    pub const fn bytes_for(rings: usize) -> usize {
        size_of::<Self>() + rings * size_of::<isize>()
    }
}

/// `ni_flags`: the region is not the global one.
pub const NI_PRIV_MEM: u32 = 0x1;

/// The index after `i` in a ring of `num_slots` slots (`nm_ring_next`).
#[must_use]
pub const fn ring_next(i: u32, num_slots: u32) -> u32 {
    let next = i.wrapping_add(1);
    if next == num_slots { 0 } else { next }
}

/// The index before `i` in a ring of `num_slots` slots.
#[must_use]
pub const fn ring_prev(i: u32, num_slots: u32) -> u32 {
    if i == 0 {
        num_slots.wrapping_sub(1)
    } else {
        i - 1
    }
}

/// Slots from `head` up to, not including, `tail` (`nm_ring_space`). Total for indices below
/// `num_slots`; for others the result is what C's wrapping arithmetic gives, never a panic.
#[must_use]
pub const fn ring_space(head: u32, tail: u32, num_slots: u32) -> u32 {
    let space = tail.wrapping_sub(head);
    if (space as i32) < 0 {
        space.wrapping_add(num_slots)
    } else {
        space
    }
}

/// Whether the program owns no slot (`nm_ring_empty`).
#[must_use]
pub const fn ring_empty(head: u32, tail: u32) -> bool {
    head == tail
}

/// Whether a tx ring has packets that netmap has not finished with (`nm_tx_pending`).
#[must_use]
pub const fn tx_pending(head: u32, tail: u32, num_slots: u32) -> bool {
    ring_next(tail, num_slots) != head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_wrap() {
        assert_eq!(ring_next(0, 4), 1);
        assert_eq!(ring_next(3, 4), 0);
        assert_eq!(ring_prev(0, 4), 3);
        assert_eq!(ring_prev(3, 4), 2);
        assert_eq!(ring_space(3, 1, 4), 2);
        assert_eq!(ring_space(1, 3, 4), 2);
        assert_eq!(ring_space(2, 2, 4), 0);
        // a tx ring at rest has all slots but one free
        assert!(!tx_pending(0, 3, 4));
        assert!(tx_pending(1, 3, 4));
    }

    #[test]
    fn nonsense_indices_do_not_panic() {
        for i in [0, 1, u32::MAX - 1, u32::MAX] {
            for j in [0, 1, u32::MAX / 2, u32::MAX] {
                for n in [0, 1, u32::MAX] {
                    let _ = (
                        ring_next(i, n),
                        ring_prev(i, n),
                        ring_space(i, j, n),
                        tx_pending(i, j, n),
                    );
                }
            }
        }
    }

    #[test]
    fn sizes_in_a_region() {
        assert_eq!(netmap_ring::bytes_for(1024), 256 + 16 * 1024);
        assert_eq!(netmap_if::bytes_for(4), 56 + 32);
        assert_eq!(ns_rfrags(0x0320), 3);
    }
}
