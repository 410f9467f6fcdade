//! The slots of a ring that are the program's: packets in, packets out, a copy each.

use core::sync::atomic::Ordering::Relaxed;

use super::{RegionMap, RingView, Slot, copy_in, copy_out_to};
use nm_abi::NS_MOREFRAG;

/// The slots between head and tail of a ring. What is done to them is seen by the other side when it is told of
/// [`Slots::at`] as the head: in the ring, which [`Slots::finish`] does, or in a CSB.
pub struct Slots<'a> {
    region: &'a RegionMap,
    ring: RingView<'a>,
    at: u32,
    tail: u32,
}

impl<'a> Slots<'a> {
    /// The slots of `ring` from `at` to before `tail`; `None` if it has no such slots.
    #[must_use]
    pub fn new(region: &'a RegionMap, ring: RingView<'a>, at: u32, tail: u32) -> Option<Self> {
        let n = ring.num_slots();
        (at < n && tail < n).then_some(Self {
            region,
            ring,
            at,
            tail,
        })
    }

    /// The first one that is left.
    #[must_use]
    pub fn at(&self) -> u32 {
        self.at
    }
}

impl Slots<'_> {
    /// How many are left.
    pub fn left(&self) -> u32 {
        self.ring.distance(self.at, self.tail)
    }

    /// Would [`Slots::take`] take something? A packet of which only the first fragments are there is none yet, unless
    /// it is longer than the ring.
    pub fn has_packet(&self) -> bool {
        let mut at = self.at;
        while at != self.tail {
            if self.ring.slots()[at as usize].load().flags & NS_MOREFRAG == 0 {
                return true;
            }
            at = self.ring.next(at);
        }
        self.is_full()
    }

    /// Are they all that the other side ever shows?
    fn is_full(&self) -> bool {
        self.left() + 1 >= self.ring.num_slots()
    }

    /// Bytes that a slot has room for.
    pub fn room(&self) -> usize {
        // The length of a slot has 16 bits.
        (self.region.pool.size() as usize).min(u16::MAX.into())
    }

    /// Bytes of the longest packet that [`Slots::put`] ever takes, when all of the ring is free.
    pub fn most(&self) -> usize {
        (self.ring.num_slots() as usize - 1) * self.room()
    }

    /// Takes the next packet of an rx ring, all its fragments, in place of what `packet` holds. False, and nothing
    /// happens, if there is no whole packet.
    pub fn take(&mut self, packet: &mut Vec<u8>) -> bool {
        self.take_flagged(packet).is_some()
    }

    /// The same; answers with the flags of its last slot (`NS_TXMON` is in all slots of a packet).
    pub fn take_flagged(&mut self, packet: &mut Vec<u8>) -> Option<u16> {
        packet.clear();
        let mut at = self.at;
        while at != self.tail {
            let slot = self.ring.slots()[at as usize].load();
            self.append(slot, packet);
            at = self.ring.next(at);
            if slot.flags & NS_MOREFRAG == 0 {
                self.at = at;
                return Some(slot.flags);
            }
        }
        if self.is_full() {
            // A packet that is longer than the ring never ends: it is lost.
            self.at = self.tail;
        }
        None
    }

    fn append(&self, slot: Slot, packet: &mut Vec<u8>) {
        let len = usize::from(slot.len).min(self.room());
        let start = packet.len();
        packet.resize(start + len, 0);
        let ofs = self.region.pool.offset(slot.buf_idx);
        if !copy_out_to(&self.region.map, ofs, &mut packet[start..]) {
            packet.truncate(start);
        }
    }

    /// Puts a packet into a tx ring, in as many fragments as it takes. False, and nothing happens, if there is not
    /// enough room.
    pub fn put(&mut self, packet: &[u8]) -> bool {
        let room = self.room();
        let fragments = packet.len().div_ceil(room).max(1);
        if (self.left() as usize) < fragments {
            return false;
        }
        for i in 0..fragments {
            let from = i * room;
            let bytes = &packet[from..packet.len().min(from + room)];
            let view = &self.ring.slots()[self.at as usize];
            let ofs = self.region.pool.offset(view.load().buf_idx);
            let fits = copy_in(bytes, &self.region.map, ofs);
            debug_assert!(fits, "offsets of buffers are inside the region");
            let more = if i + 1 < fragments { NS_MOREFRAG } else { 0 };
            view.store_len_flags(bytes.len() as u16, more);
            self.at = self.ring.next(self.at);
        }
        true
    }

    /// Moves head and cur behind what was taken or put.
    pub fn finish(self) {
        self.ring.header().cur.store(self.at, Relaxed);
        self.ring.header().head.store(self.at, Relaxed);
    }
}
