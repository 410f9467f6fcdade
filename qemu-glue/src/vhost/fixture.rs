//! A guest's RAM, and a port that is nothing but a ring.

use core::sync::atomic::Ordering::Relaxed;

use nm_abi::NS_MOREFRAG;
use uvale_shared::shm::{
    BufferPool, Mapping, Memfd, RegionMap, RingHeader, RingView, Slot, copy_in, copy_out,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::vhost::features::Features;
use crate::vhost::port_ring::PortRing;
use crate::vhost::transmit::Shape;

/// Bytes of RAM, in two regions that touch.
pub const RAM: u64 = 4 << 20;
/// Bytes of a port's buffer.
pub const BUFFER: usize = 2048;

/// RAM whose second region begins in the middle.
pub fn ram() -> GuestMemoryMmap {
    let half = RAM as usize / 2;
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), half), (GuestAddress(RAM / 2), half)]).unwrap()
}

/// Bytes of the guest.
pub fn peek(ram: &GuestMemoryMmap, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ram.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

/// What the guest of a port with offloads has chosen: `bits` and virtio 1.
pub fn shape(bits: &[u32], port_header: usize) -> Shape {
    let bits = bits
        .iter()
        .fold(1 << VIRTIO_F_VERSION_1, |sum, bit| sum | 1u64 << bit);
    Shape {
        features: Features(bits),
        port_header,
        longest: 1514,
    }
}

/// A ring of a port, with its memory.
pub struct Port {
    region: RegionMap,
    slots: u32,
}

impl Port {
    /// `slots` slots, none of which is the program's yet.
    pub fn new(slots: u32) -> Self {
        let pool_at = (size_of::<RingHeader>() + 16 * slots as usize).next_multiple_of(64);
        let count = slots + 2;
        let memfd = Memfd::create("port", pool_at + BUFFER * count as usize).unwrap();
        let map = Mapping::new(&memfd).unwrap();
        let pool = BufferPool::new(&map, pool_at as u64, BUFFER as u32, count).unwrap();
        let region = RegionMap {
            number: 1,
            map,
            pool,
        };
        let port = Self { region, slots };
        for (i, slot) in port.view().slots().iter().enumerate() {
            slot.store(Slot {
                buf_idx: i as u32 + 2,
                ..Slot::default()
            });
        }
        port
    }

    pub fn view(&self) -> RingView<'_> {
        RingView::new(&self.region.map, 0, self.slots).unwrap()
    }

    pub fn ring(&self) -> PortRing<'_> {
        PortRing::new(&self.region, self.view()).unwrap()
    }

    /// The program owns the slots from `head` to the one before `tail`.
    pub fn set(&self, head: u32, tail: u32) {
        let header = self.view().header();
        header.head.store(head % self.slots, Relaxed);
        header.tail.store(tail % self.slots, Relaxed);
    }

    pub fn head(&self) -> u32 {
        self.view().header().head.load(Relaxed)
    }

    /// The packets in slots `from..to`, each with its number of slots.
    pub fn packets(&self, from: u32, to: u32) -> Vec<(Vec<u8>, usize)> {
        let (mut packets, mut packet, mut n, mut at) = (Vec::new(), Vec::new(), 0, from);
        while at != to {
            let slot = self.view().slots()[at as usize].load();
            let bytes = copy_out(
                &self.region.map,
                self.region.pool.offset(slot.buf_idx),
                slot.len.into(),
            );
            packet.extend(bytes.unwrap());
            n += 1;
            if slot.flags & NS_MOREFRAG == 0 {
                packets.push((std::mem::take(&mut packet), std::mem::take(&mut n)));
            }
            at = (at + 1) % self.slots;
        }
        assert!(packet.is_empty(), "the last packet has no end");
        packets
    }

    /// Puts a packet into the slots from `at` on, `cut` bytes in each; answers with the slot behind it.
    pub fn arrive(&self, mut at: u32, packet: &[u8], cut: usize) -> u32 {
        let pieces: Vec<&[u8]> = packet.chunks(cut).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let view = &self.view().slots()[at as usize];
            let ofs = self.region.pool.offset(view.load().buf_idx);
            assert!(copy_in(piece, &self.region.map, ofs));
            let more = if i + 1 < pieces.len() { NS_MOREFRAG } else { 0 };
            view.store_len_flags(piece.len() as u16, more);
            at = (at + 1) % self.slots;
        }
        at
    }
}
