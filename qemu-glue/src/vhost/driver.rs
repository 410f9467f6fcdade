//! The guest's side of a virtqueue: what tests put in the place of a guest.

use core::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::{
    VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
    VRING_USED_F_NO_NOTIFY,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// A buffer: its address, its length, and whether the device writes it.
pub type Buffer = (u64, u32, bool);

/// A ring, and what the guest remembers of it.
pub struct Driver {
    memory: GuestMemoryMmap,
    size: u16,
    /// descriptor table, available ring, used ring
    pub at: [u64; 3],
    event_idx: bool,
    free: Vec<u16>,
    /// by first descriptor: all descriptors of the chain
    chains: Vec<Vec<u16>>,
    avail: u16,
    kicked: u16,
    used: u16,
}

impl Driver {
    /// A ring of `size` entries from `base` on in `memory`.
    pub fn new(memory: &GuestMemoryMmap, base: u64, size: u16, event_idx: bool) -> Self {
        let avail = base + 16 * u64::from(size);
        let used = (avail + 6 + 2 * u64::from(size)).next_multiple_of(4);
        let memory = memory.clone();
        let zeroes = vec![0; (used - base) as usize + 6 + 8 * usize::from(size)];
        memory
            .write_slice(&zeroes, GuestAddress(base))
            .expect("the ring lies in the RAM");
        Self {
            memory,
            size,
            at: [base, avail, used],
            event_idx,
            free: (0..size).rev().collect(),
            chains: vec![Vec::new(); size.into()],
            avail: 0,
            kicked: 0,
            used: 0,
        }
    }

    fn put<T: vm_memory::ByteValued>(&self, at: u64, value: T) {
        self.memory
            .write_obj(value, GuestAddress(at))
            .expect("it lies in the RAM");
    }

    fn word(&self, at: u64) -> u16 {
        self.memory
            .load(GuestAddress(at), Ordering::Acquire)
            .expect("it lies in the RAM")
    }

    /// Writes descriptor `i` of a table, whatever it says.
    pub fn describe(&self, table: u64, i: u16, addr: u64, len: u32, flags: u32, next: u16) {
        let at = table + 16 * u64::from(i);
        self.put(at, addr);
        self.put(at + 8, len);
        self.put(at + 12, flags as u16);
        self.put(at + 14, next);
    }

    /// Descriptors that are free.
    pub fn room(&self) -> usize {
        self.free.len()
    }

    /// Makes `buffers` available, in a table of their own at `indirect` if it is given. Answers with the first
    /// descriptor of the chain. Seen by the device after [`Driver::publish`].
    pub fn add(&mut self, buffers: &[Buffer], indirect: Option<u64>) -> u16 {
        let direct = indirect.map_or(buffers.len(), |_| 1);
        let chain: Vec<u16> = (0..direct)
            .map(|_| self.free.pop().expect("a free descriptor"))
            .collect();
        let number = |i: usize| {
            if indirect.is_some() {
                i as u16
            } else {
                chain[i]
            }
        };
        let table = indirect.unwrap_or(self.at[0]);
        for (i, (addr, len, is_write)) in buffers.iter().enumerate() {
            let is_last = i + 1 == buffers.len();
            let write = if *is_write { VRING_DESC_F_WRITE } else { 0 };
            let next = if is_last { 0 } else { VRING_DESC_F_NEXT };
            let after = if is_last { 0 } else { number(i + 1) };
            self.describe(table, number(i), *addr, *len, write | next, after);
        }
        if let Some(table) = indirect {
            self.describe(
                self.at[0],
                chain[0],
                table,
                16 * buffers.len() as u32,
                VRING_DESC_F_INDIRECT,
                0,
            );
        }
        let head = chain[0];
        self.chains[usize::from(head)] = chain;
        self.offer(head);
        head
    }

    /// Puts a number into the available ring, whatever it is.
    pub fn offer(&mut self, head: u16) {
        let entry = self.at[1] + 4 + 2 * u64::from(self.avail % self.size);
        self.put(entry, head);
        self.avail = self.avail.wrapping_add(1);
    }

    /// Shows the device what was added. True if it wants to be kicked.
    pub fn publish(&mut self) -> bool {
        self.memory
            .store(self.avail, GuestAddress(self.at[1] + 2), Ordering::Release)
            .expect("it lies in the RAM");
        fence(Ordering::SeqCst);
        let (old, new) = (self.kicked, self.avail);
        self.kicked = new;
        if !self.event_idx {
            return u32::from(self.word(self.at[2])) & VRING_USED_F_NO_NOTIFY == 0;
        }
        let event = self.word(self.at[2] + 4 + 8 * u64::from(self.size));
        new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
    }

    /// The next chain that the device has used: its first descriptor, and the bytes that were written.
    pub fn used(&mut self) -> Option<(u16, u32)> {
        if self.word(self.at[2] + 2) == self.used {
            return None;
        }
        let entry = self.at[2] + 4 + 8 * u64::from(self.used % self.size);
        let id: u32 = self
            .memory
            .read_obj(GuestAddress(entry))
            .expect("it lies in the RAM");
        let len = self
            .memory
            .read_obj(GuestAddress(entry + 4))
            .expect("it lies in the RAM");
        self.used = self.used.wrapping_add(1);
        let chain = std::mem::take(&mut self.chains[id as usize]);
        self.free.extend(chain);
        Some((id as u16, len))
    }

    /// How many the device has used that were not taken yet.
    pub fn unseen(&self) -> u16 {
        self.word(self.at[2] + 2).wrapping_sub(self.used)
    }

    /// Asks for an interrupt when `ahead` more have been used, or for none.
    pub fn ask_for_interrupt(&self, ahead: Option<u16>) {
        if self.event_idx {
            let event = self
                .used
                .wrapping_add(ahead.map_or(u16::MAX / 2, |n| n - 1));
            self.put(self.at[1] + 4 + 2 * u64::from(self.size), event);
        } else {
            let flags = ahead.map_or(VRING_AVAIL_F_NO_INTERRUPT, |_| 0);
            self.put(self.at[1], flags as u16);
        }
        fence(Ordering::SeqCst);
    }
}
