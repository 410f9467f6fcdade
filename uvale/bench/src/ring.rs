//! A ring as a program uses it.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use nm_abi::{NS_BUF_CHANGED, NS_MOREFRAG, ring_next, ring_space};
use uvale_shared::shm::RingHeader;

use super::raw::{Line, Memory, Slot};

/// A ring of a port.
pub struct Ring<'a> {
    memory: &'a Memory,
    /// where buffer 0 is
    first: usize,
    header: &'a RingHeader,
    slots: &'a [Slot],
    buffers: &'a [Line],
    lines_per_buffer: usize,
    n: u32,
    head: u32,
    /// 0 and 1 in turns, from one time around the ring to the next
    lap: u16,
    /// bytes of a header in front of each packet
    ahead: usize,
}

impl<'a> Ring<'a> {
    /// The ring at byte `at` of `memory`; `None` if it does not lie inside.
    pub fn at(memory: &'a Memory, at: usize) -> Option<Self> {
        let header = memory.at::<RingHeader>(at)?;
        let n = header.num_slots.load(Relaxed);
        let slots = memory.slice_at(at + size_of::<RingHeader>(), n as usize)?;
        let first = at.checked_add_signed(header.buf_ofs.load(Relaxed) as isize)?;
        let lines = memory.len().checked_sub(first)? / size_of::<Line>();
        let buffers = memory.slice_at(first, lines)?;
        let lines_per_buffer = header.nr_buf_size.load(Relaxed) as usize / size_of::<Line>();
        let head = header.head.load(Relaxed);
        (n > 1 && head < n).then_some(Self {
            memory,
            first,
            header,
            slots,
            buffers,
            lines_per_buffer,
            n,
            head,
            lap: 0,
            ahead: 0,
        })
    }

    /// The same, for packets with a header of that many bytes in front, all zero.
    pub fn behind(self, ahead: usize) -> Self {
        Self { ahead, ..self }
    }

    /// Slots between head and tail.
    #[inline(always)]
    pub fn space(&self) -> u32 {
        ring_space(self.head, self.header.tail.load(Acquire), self.n)
    }

    /// The first 64 bytes of the buffer of a slot.
    #[inline(always)]
    pub fn packet(&self, slot: u32) -> Option<&'a [AtomicU64; 8]> {
        let index = self.slots.get(slot as usize)?.buf_idx.load(Relaxed) as usize;
        self.buffers
            .get(index * self.lines_per_buffer)
            .map(Line::words)
    }

    /// First slot that is ours.
    pub fn head(&self) -> u32 {
        self.head
    }

    /// Number of slots.
    pub fn num_slots(&self) -> u32 {
        self.n
    }

    /// Fills `n` slots with packets of `len` bytes, whatever their buffers hold; every other time
    /// around the ring of one byte less, so that no slot is sent twice as it is.
    #[inline(always)]
    pub fn fill(&mut self, n: u32, len: u16) {
        for slots in self.stretches(n) {
            let len = len - self.lap;
            for slot in slots {
                slot.len.store(len, Relaxed);
                slot.flags.store(0, Relaxed);
            }
            self.pass(slots.len() as u32);
        }
        self.publish(self.head);
    }

    /// The next `n` slots, up to where the ring ends, and from where it begins.
    #[inline(always)]
    fn stretches(&self, n: u32) -> [&'a [Slot]; 2] {
        let (before, from_head) = self.slots.split_at(self.head as usize);
        let here = from_head.len().min(n as usize);
        [&from_head[..here], &before[..n as usize - here]]
    }

    /// The next `n` slots, which do not go beyond the ring's end, are behind us.
    #[inline(always)]
    fn pass(&mut self, n: u32) {
        self.head += n;
        if self.head == self.n {
            self.head = 0;
            self.lap ^= 1;
        }
    }

    /// Slots that a packet of `len` bytes takes.
    pub fn slots_for(&self, len: u32) -> u32 {
        len.div_ceil(self.buffer_len()).max(1)
    }

    fn buffer_len(&self) -> u32 {
        (self.lines_per_buffer * size_of::<Line>()) as u32
    }

    /// Fills slots with `n` packets of `len` bytes, each in as many slots as it takes, as [`Self::fill`] does.
    #[inline(always)]
    pub fn fill_chains(&mut self, n: u32, len: u32) {
        let (slots, size, room) = (self.slots, self.n, self.buffer_len());
        let (mut head, mut lap) = (self.head, self.lap);
        for _ in 0..n {
            let mut rest = len - u32::from(lap);
            while rest > 0 {
                let slot = &slots[head as usize];
                let part = rest.min(room);
                rest -= part;
                slot.len.store(part as u16, Relaxed);
                let more = if rest > 0 { NS_MOREFRAG } else { 0 };
                slot.flags.store(more, Relaxed);
                head = ring_next(head, size);
                lap ^= u16::from(head == 0);
            }
        }
        self.lap = lap;
        self.publish(head);
    }

    /// Writes `bytes` into the buffers of the next `n` slots.
    #[inline(always)]
    pub fn write(&self, n: u32, bytes: &[u8]) -> Option<()> {
        let mut at = self.head;
        for _ in 0..n {
            self.memory.put(self.buffer(at), bytes)?;
            at = ring_next(at, self.n);
        }
        Some(())
    }

    /// Reads what is in the buffers of all slots up to tail.
    #[inline(always)]
    pub fn read(&self) -> Option<()> {
        let mut at = self.head;
        for _ in 0..self.space() {
            let len = self.slots[at as usize].len.load(Relaxed);
            self.memory.take(self.buffer(at), len.into())?;
            at = ring_next(at, self.n);
        }
        Some(())
    }

    /// Where the buffer of a slot is.
    #[inline(always)]
    fn buffer(&self, slot: u32) -> usize {
        let index = self.slots[slot as usize].buf_idx.load(Relaxed) as usize;
        self.first + index * self.lines_per_buffer * size_of::<Line>()
    }

    /// Reads the length of every slot up to tail and gives the slots back: packets and bytes.
    #[inline(always)]
    pub fn drain(&mut self) -> (u32, u64) {
        let n = self.space();
        let mut bytes = 0;
        for slots in self.stretches(n) {
            bytes += slots
                .iter()
                .map(|slot| u64::from(slot.len.load(Relaxed)))
                .sum::<u64>();
            self.pass(slots.len() as u32);
        }
        if n > 0 {
            self.publish(self.head);
        }
        (n, bytes)
    }

    /// The same, where a packet may take several slots.
    #[inline(always)]
    pub fn drain_chains(&mut self) -> (u32, u64) {
        let n = self.space();
        let mut head = self.head;
        let (mut packets, mut bytes) = (0, 0);
        for _ in 0..n {
            let slot = &self.slots[head as usize];
            bytes += u64::from(slot.len.load(Relaxed));
            packets += u32::from(slot.flags.load(Relaxed) & NS_MOREFRAG == 0);
            head = ring_next(head, self.n);
        }
        if n > 0 {
            self.publish(head);
        }
        (packets, bytes)
    }

    /// Moves what has arrived here on to `to`, a ring of the same memory, by exchanging buffers; how many.
    #[inline(always)]
    pub fn swap_to(&mut self, to: &mut Ring<'_>) -> u32 {
        self.move_to(to, |from, to, _, _| {
            let (ours, theirs) = (from.buf_idx.load(Relaxed), to.buf_idx.load(Relaxed));
            from.buf_idx.store(theirs, Relaxed);
            to.buf_idx.store(ours, Relaxed);
            from.flags.store(NS_BUF_CHANGED, Relaxed);
            to.flags.store(NS_BUF_CHANGED, Relaxed);
            Some(())
        })
    }

    /// Copies what has arrived here to `to`; how many.
    #[inline(always)]
    pub fn copy_to(&mut self, to: &mut Ring<'_>) -> u32 {
        let (ours, theirs) = (self.memory, to.memory);
        self.move_to(to, |from, to, source, target| {
            to.flags.store(0, Relaxed);
            ours.copy_to(source, theirs, target, from.len.load(Relaxed).into())
        })
    }

    #[inline(always)]
    fn move_to(
        &mut self,
        to: &mut Ring<'_>,
        one: impl Fn(&Slot, &Slot, usize, usize) -> Option<()>,
    ) -> u32 {
        let n = self.space().min(to.space());
        let (mut from_head, mut to_head) = (self.head, to.head);
        for _ in 0..n {
            let (from, target) = (&self.slots[from_head as usize], &to.slots[to_head as usize]);
            target.len.store(from.len.load(Relaxed), Relaxed);
            // What lies outside of the memory is not copied.
            let _ = one(from, target, self.buffer(from_head), to.buffer(to_head));
            from_head = ring_next(from_head, self.n);
            to_head = ring_next(to_head, to.n);
        }
        if n > 0 {
            self.publish(from_head);
            to.publish(to_head);
        }
        n
    }

    #[inline(always)]
    fn publish(&mut self, head: u32) {
        self.head = head;
        self.header.cur.store(head, Relaxed);
        self.header.head.store(head, Release);
    }

    /// Writes an Ethernet header into the buffer of every slot: destination and source of one flow after the other.
    pub fn address(&self, flows: &[(u64, u64)]) {
        for (slot, flow) in (0..self.n).zip(flows.iter().cycle()) {
            self.address_one(slot, *flow);
        }
    }

    /// Writes an Ethernet header into the buffer of a slot.
    #[inline(always)]
    pub fn address_one(&self, slot: u32, (dmac, smac): (u64, u64)) {
        let at = self.buffer(slot);
        let mut header = [0u8; 16];
        header[..6].copy_from_slice(&dmac.to_le_bytes()[..6]);
        header[6..12].copy_from_slice(&smac.to_le_bytes()[..6]);
        header[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
        // Outside of the memory there is no packet to be sent either.
        let _ = self.memory.put(at, &[0; 12][..self.ahead]);
        let _ = self.memory.put(at + self.ahead, &header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use uvale_shared::shm::Memfd;

    const SLOTS: u32 = 8;

    fn memory() -> Memory {
        let memfd = Memfd::create("uvale-bench-ring", 4096).unwrap();
        let memory = Memory::map(&memfd.as_fd(), 4096).unwrap();
        let header = memory.at::<RingHeader>(0).unwrap();
        header.num_slots.store(SLOTS, Relaxed);
        header.nr_buf_size.store(64, Relaxed);
        header.buf_ofs.store(1024, Relaxed);
        memory
    }

    fn lens(ring: &Ring<'_>) -> Vec<u16> {
        let lens = ring.slots.iter().map(|slot| slot.len.load(Relaxed));
        lens.collect()
    }

    #[test]
    fn slots_are_filled_around_the_ring_and_a_byte_shorter_every_other_time() {
        let memory = memory();
        let mut ring = Ring::at(&memory, 0).unwrap();
        ring.slots
            .iter()
            .for_each(|slot| slot.flags.store(1, Relaxed));
        ring.fill(5, 60);
        assert_eq!(lens(&ring), [60, 60, 60, 60, 60, 0, 0, 0]);
        ring.fill(5, 60);
        assert_eq!(lens(&ring), [59, 59, 60, 60, 60, 60, 60, 60]);
        assert!(ring.slots.iter().all(|slot| slot.flags.load(Relaxed) == 0));
        ring.fill(6, 60);
        assert_eq!((lens(&ring), ring.head()), (vec![59; 8], 0));
        ring.fill(1, 60);
        assert_eq!(lens(&ring)[..2], [60, 59]);
        let header = ring.header;
        assert_eq!(
            (header.head.load(Relaxed), header.cur.load(Relaxed)),
            (1, 1)
        );
    }

    #[test]
    fn all_that_has_arrived_is_read_once() {
        let memory = memory();
        let mut ring = Ring::at(&memory, 0).unwrap();
        for (slot, len) in ring.slots.iter().zip(1..) {
            slot.len.store(1 << len, Relaxed);
        }
        let mut come = |tail| {
            ring.header.tail.store(tail, Relaxed);
            let (n, bytes) = ring.drain();
            (n, bytes, ring.header.head.load(Relaxed))
        };
        assert_eq!(come(0), (0, 0, 0));
        assert_eq!(come(6), (6, 0b111_1110, 6));
        assert_eq!(come(2), (4, 0b1_1000_0110, 2));
        assert_eq!(come(0), (6, 0b1_1111_1000, 0));
    }
}
