//! The slots of a port's ring that are ours, and their buffers, as places to copy from and to.
#![allow(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use nm_abi::NS_MOREFRAG;
use uvale_port::Port;
use uvale_shared::shm::{RegionMap, RingView};
use vm_memory::VolatileSlice;

/// Slots from `at` to the one before `tail`.
pub struct PortRing<'p> {
    region: &'p RegionMap,
    ring: RingView<'p>,
    at: u32,
    tail: u32,
}

impl<'p> PortRing<'p> {
    /// Ring `ring` of `port` in direction `dir`, as the last sync left it.
    pub fn of(port: &'p Port, dir: usize, ring: u32) -> Option<Self> {
        Self::new(port.region(), port.ring(dir, ring)?)
    }

    /// The same of any ring in a region.
    pub fn new(region: &'p RegionMap, ring: RingView<'p>) -> Option<Self> {
        let (head, tail) = (&ring.header().head, &ring.header().tail);
        let (at, tail) = (head.load(Relaxed), tail.load(Relaxed));
        let n = ring.num_slots();
        (at < n && tail < n).then_some(Self {
            region,
            ring,
            at,
            tail,
        })
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.ring.distance(self.at, self.tail) as usize
    }

    /// How many there are at most, when the ring has been emptied.
    pub fn most(&self) -> usize {
        self.ring.num_slots() as usize - 1
    }

    /// Bytes that a slot has room for.
    pub fn room(&self) -> usize {
        // The length of a slot has 16 bits.
        (self.region.pool.size() as usize).min(u16::MAX.into())
    }

    /// The first `len` bytes of the buffer of the slot that is `ahead` of the next one.
    fn buffer(&self, ahead: usize, len: usize) -> VolatileSlice<'p> {
        let slot = self.ring.slots()[self.index(ahead)].load();
        let ofs = self.region.pool.offset(slot.buf_idx);
        let Some(at) = self.region.map.range(ofs, len.min(self.room())) else {
            return VolatileSlice::from(&mut [][..]);
        };
        // SAFETY: `range` has checked that all of it lies in the mapping, which `'p` keeps: it borrows the region.
        // Other processes may write it at the same time, as they may the guest's RAM at the other end of a copy: it
        // changes which bytes arrive, and nothing is decided by them.
        unsafe { VolatileSlice::new(at, len.min(self.room())) }
    }

    fn index(&self, ahead: usize) -> usize {
        (self.at as usize + ahead) % self.ring.slots().len()
    }

    /// Places for a packet of `len` bytes, put into `places`: the slots' lengths are set, and they are ours to fill
    /// until [`PortRing::pass`]. The caller has looked whether there is room: [`PortRing::slots_for`].
    pub fn lay_out(&self, len: usize, places: &mut Vec<VolatileSlice<'p>>) {
        places.clear();
        let n = self.slots_for(len);
        for i in 0..n {
            let here = (len - i * self.room()).min(self.room());
            let more = if i + 1 < n { NS_MOREFRAG } else { 0 };
            places.push(self.buffer(i, here));
            self.ring.slots()[self.index(i)].store_len_flags(here as u16, more);
        }
    }

    /// Slots that a packet of `len` bytes takes.
    pub fn slots_for(&self, len: usize) -> usize {
        len.div_ceil(self.room()).max(1)
    }

    /// What the slots of the next packet hold, put into `places`; they stay until [`PortRing::pass`]. False if there is
    /// no whole packet.
    pub fn packet(&mut self, places: &mut Vec<VolatileSlice<'p>>) -> bool {
        places.clear();
        for ahead in 0..self.left() {
            let slot = self.ring.slots()[self.index(ahead)].load();
            places.push(self.buffer(ahead, slot.len.into()));
            if slot.flags & NS_MOREFRAG == 0 {
                return true;
            }
        }
        if self.left() == self.most() {
            // A packet that is longer than the ring never ends.
            self.pass(self.most());
        }
        false
    }

    /// The next `slots` slots are done.
    pub fn pass(&mut self, slots: usize) {
        self.at = self.index(slots.min(self.left())) as u32;
    }

    /// All of them are.
    pub fn pass_all(&mut self) {
        self.at = self.tail;
    }

    /// Moves head and cur behind what is done, for the next sync.
    pub fn finish(self) {
        self.ring.header().cur.store(self.at, Relaxed);
        self.ring.header().head.store(self.at, Relaxed);
    }
}
