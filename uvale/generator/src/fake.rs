//! A netmap in ordinary memory for tests: two ports, each the other's far end, whose "kernel" side
//! is a few lines. It can lose what does not fit (as VALE does) or hold it back (as a pipe does),
//! and tests can put nonsense into slots.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nm_abi::{NS_BUF_CHANGED, NS_INDIRECT, NS_MOREFRAG, netmap_if, netmap_ring, netmap_slot};

use super::endpoint::{Device, Endpoint};
use super::memory::{Region, Slot};

/// Sizes and habits of a pair of ports.
#[derive(Clone, Copy)]
pub struct Shape {
    pub rings: u32,
    pub slots: u32,
    pub buf_size: u32,
    pub header: usize,
    /// Drop what the receiver has no room for.
    pub lossy: bool,
    /// Put another buffer into each slot that was sent, as pipes do.
    pub swaps: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            rings: 1,
            slots: 16,
            buf_size: 2048,
            header: 0,
            lossy: false,
            swaps: false,
        }
    }
}

/// Memory of one port.
struct Memory {
    base: *mut u8,
    layout: Layout,
}

// SAFETY: plain memory that both sides reach through raw pointers under one lock (the kernel side)
// or by `Ring` (the program side).
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `Port::new` with this layout; the last owner is gone.
        unsafe { dealloc(self.base, self.layout) };
    }
}

/// A slot of a packet on its way: its bytes and whether more follow.
type Part = (Vec<u8>, bool);

/// The kernel side of one port.
struct Port {
    memory: Arc<Memory>,
    shape: Shape,
    /// By ring: first slot of tx that was not taken yet.
    tx_cur: Vec<u32>,
    /// By ring: packets that wait for room in the rx ring.
    queue: Vec<VecDeque<Part>>,
    spare: Vec<u32>,
}

const HEADER: usize = 128;

impl Port {
    fn ring_bytes(shape: Shape) -> usize {
        netmap_ring::bytes_for(shape.slots).next_multiple_of(128)
    }

    fn new(shape: Shape) -> Port {
        let rings = 2 * shape.rings as usize;
        let buffers = 2 + 2 * rings * shape.slots as usize;
        let pool = HEADER + rings * Self::ring_bytes(shape);
        let layout =
            Layout::from_size_align(pool + buffers * shape.buf_size as usize, 4096).unwrap();
        // SAFETY: the layout's size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        assert!(!base.is_null());
        let mut port = Port {
            memory: Arc::new(Memory { base, layout }),
            shape,
            tx_cur: vec![0; shape.rings as usize],
            queue: vec![VecDeque::new(); shape.rings as usize],
            spare: (2 + (rings as u32) * shape.slots..buffers as u32).collect(),
        };
        let mut nifp = netmap_if {
            ni_tx_rings: shape.rings,
            ni_rx_rings: shape.rings,
            ..Default::default()
        };
        // a host ring pair that this descriptor has no access to
        (nifp.ni_host_tx_rings, nifp.ni_host_rx_rings) = (1, 1);
        // SAFETY: inside the allocation and aligned; nobody else knows the memory yet.
        unsafe { base.cast::<netmap_if>().write(nifp) };
        let mut next_buffer = 2;
        for index in 0..rings {
            let place = HEADER + index * Self::ring_bytes(shape);
            // entries: tx rings, the host tx ring, rx rings, the host rx ring
            let entry = if index < shape.rings as usize {
                index
            } else {
                index + 1
            };
            let tx = index < shape.rings as usize;
            let ring = netmap_ring {
                buf_ofs: (pool - place) as i64,
                num_slots: shape.slots,
                nr_buf_size: shape.buf_size,
                tail: if tx { shape.slots - 1 } else { 0 },
                ..Default::default()
            };
            // SAFETY: as above.
            unsafe {
                base.add(size_of::<netmap_if>())
                    .cast::<isize>()
                    .add(entry)
                    .write(place as isize);
                base.add(place).cast::<netmap_ring>().write(ring);
            }
            for slot in 0..shape.slots {
                let value = netmap_slot {
                    buf_idx: next_buffer,
                    len: shape.buf_size as u16,
                    flags: 0,
                    ptr: 0,
                };
                port.set_slot(index, slot, value);
                next_buffer += 1;
            }
        }
        port
    }

    fn ring(&self, index: usize) -> *mut netmap_ring {
        self.memory
            .base
            .wrapping_add(HEADER + index * Self::ring_bytes(self.shape))
            .cast()
    }

    fn slot(&self, ring: usize, slot: u32) -> *mut netmap_slot {
        self.ring(ring)
            .wrapping_add(1)
            .cast::<netmap_slot>()
            .wrapping_add(slot as usize)
    }

    fn set_slot(&mut self, ring: usize, slot: u32, value: netmap_slot) {
        // SAFETY: inside the allocation; the other side only uses volatile reads.
        unsafe { self.slot(ring, slot).write_volatile(value) }
    }

    fn get_slot(&self, ring: usize, slot: u32) -> netmap_slot {
        // SAFETY: as above.
        unsafe { self.slot(ring, slot).read_volatile() }
    }

    fn buffer(&self, index: u32) -> *mut u8 {
        let pool = HEADER + 2 * self.shape.rings as usize * Self::ring_bytes(self.shape);
        self.memory
            .base
            .wrapping_add(pool + index as usize * self.shape.buf_size as usize)
    }

    fn next(&self, i: u32) -> u32 {
        nm_abi::ring_next(i, self.shape.slots)
    }

    /// Takes complete packets from the tx rings; `take` says whether the far end has room.
    fn send(&mut self, far: &mut Port) {
        for ring in 0..self.shape.rings as usize {
            // SAFETY: the header is inside the allocation.
            let head = unsafe { (&raw const (*self.ring(ring)).head).read_volatile() };
            let mut packet: Vec<Part> = Vec::new();
            let (mut i, mut first) = (self.tx_cur[ring], self.tx_cur[ring]);
            while i != head {
                let slot = self.get_slot(ring, i);
                packet.push((self.part(slot), slot.flags & NS_MOREFRAG != 0));
                i = self.next(i);
                if slot.flags & NS_MOREFRAG != 0 {
                    continue;
                }
                if !far.accept(ring, &mut packet) && !self.shape.lossy {
                    break;
                }
                packet.clear();
                while first != i {
                    self.recycle(ring, first);
                    first = self.next(first);
                }
            }
            self.tx_cur[ring] = first;
            let tail = nm_abi::ring_prev(first, self.shape.slots);
            // SAFETY: as above.
            unsafe { (&raw mut (*self.ring(ring)).tail).write_volatile(tail) };
        }
    }

    fn part(&self, slot: netmap_slot) -> Vec<u8> {
        let from = if slot.flags & NS_INDIRECT != 0 {
            slot.ptr as *const u8
        } else {
            self.buffer(slot.buf_idx)
        };
        assert!(u32::from(slot.len) <= self.shape.buf_size && slot.buf_idx >= 2);
        // SAFETY: the buffer, or the sender's packet that -I keeps alive, has `len` bytes.
        (0..slot.len as usize)
            .map(|at| unsafe { from.add(at).read_volatile() })
            .collect()
    }

    /// A pipe leaves another buffer in a slot that was sent.
    fn recycle(&mut self, ring: usize, i: u32) {
        if self.shape.swaps {
            let mut slot = self.get_slot(ring, i);
            let at = i as usize % self.spare.len();
            std::mem::swap(&mut self.spare[at], &mut slot.buf_idx);
            slot.flags |= NS_BUF_CHANGED;
            self.set_slot(ring, i, slot);
        }
    }

    fn accept(&mut self, ring: usize, packet: &mut Vec<Part>) -> bool {
        self.fetch();
        let room = self.shape.slots as usize - 1;
        // SAFETY: the header is inside the allocation.
        let (head, tail) = unsafe {
            let header = self.ring(self.shape.rings as usize + ring);
            (
                (&raw const (*header).head).read_volatile(),
                (&raw const (*header).tail).read_volatile(),
            )
        };
        let used = nm_abi::ring_space(head, tail, self.shape.slots) as usize;
        if self.queue[ring].len() + used + packet.len() > room {
            return false;
        }
        self.queue[ring].extend(packet.drain(..));
        true
    }

    /// Moves waiting slots into the rx rings as far as there is room.
    fn fetch(&mut self) {
        for ring in 0..self.shape.rings as usize {
            let index = self.shape.rings as usize + ring;
            // SAFETY: the header is inside the allocation.
            let (head, mut tail) = unsafe {
                let header = self.ring(index);
                (
                    (&raw const (*header).head).read_volatile(),
                    (&raw const (*header).tail).read_volatile(),
                )
            };
            while self.next(tail) != head {
                let Some((bytes, more)) = self.queue[ring].pop_front() else {
                    break;
                };
                let mut slot = self.get_slot(index, tail);
                assert!(bytes.len() <= self.shape.buf_size as usize);
                for (at, byte) in bytes.iter().enumerate() {
                    // SAFETY: inside the slot's buffer, as just checked.
                    unsafe { self.buffer(slot.buf_idx).add(at).write_volatile(*byte) };
                }
                (slot.len, slot.flags) = (bytes.len() as u16, if more { NS_MOREFRAG } else { 0 });
                self.set_slot(index, tail, slot);
                tail = self.next(tail);
            }
            // SAFETY: as above.
            unsafe { (&raw mut (*self.ring(index)).tail).write_volatile(tail) };
        }
    }

    fn ready(&self, tx: bool) -> bool {
        (0..self.shape.rings as usize).any(|ring| {
            let header = self.ring(if tx {
                ring
            } else {
                ring + self.shape.rings as usize
            });
            // SAFETY: the header is inside the allocation.
            unsafe {
                (&raw const (*header).cur).read_volatile()
                    != (&raw const (*header).tail).read_volatile()
            }
        })
    }
}

/// Two ports connected to each other.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<[Port; 2]>>);

/// One end's descriptor.
pub struct FakeDevice {
    wire: Wire,
    side: usize,
    /// Nothing happens on sync, and poll says that everything is ready.
    pub dead: bool,
}

impl Wire {
    /// Two new ports.
    pub fn new(shape: Shape) -> Wire {
        Wire(Arc::new(Mutex::new([Port::new(shape), Port::new(shape)])))
    }

    /// The endpoint of side 0 or 1.
    pub fn endpoint(&self, side: usize) -> Endpoint<FakeDevice> {
        let (memory, header) = {
            let ports = self.0.lock().unwrap();
            (Arc::clone(&ports[side].memory), ports[side].shape.header)
        };
        let (base, len) = (NonNull::new(memory.base).unwrap(), memory.layout.size());
        // SAFETY: the allocation lives as long as the owner handed over with it; only raw pointers
        // lead to it.
        let region = Arc::new(unsafe { Region::new(base, len, Box::new(memory)) });
        let rings = region.rings(0).unwrap();
        Endpoint {
            device: FakeDevice {
                wire: self.clone(),
                side,
                dead: false,
            },
            tx: rings.tx,
            rx: rings.rx,
            header,
        }
    }

    /// Puts a slot as it is into an rx ring of `side`, behind everything else.
    pub fn plant(&self, side: usize, slot: Slot) {
        let mut ports = self.0.lock().unwrap();
        let port = &mut ports[side];
        port.fetch();
        let index = port.shape.rings as usize;
        // SAFETY: the header is inside the allocation.
        let tail = unsafe { (&raw const (*port.ring(index)).tail).read_volatile() };
        let value = netmap_slot {
            buf_idx: slot.buf_idx,
            len: slot.len,
            flags: slot.flags,
            ptr: 0,
        };
        port.set_slot(index, tail, value);
        let tail = port.next(tail);
        // SAFETY: as above.
        unsafe { (&raw mut (*port.ring(index)).tail).write_volatile(tail) };
    }

    /// Gives slot `i` of the first tx ring of `side` another buffer index.
    pub fn spoil_tx_slot(&self, side: usize, i: u32, buf_idx: u32) {
        let mut ports = self.0.lock().unwrap();
        let slot = ports[side].get_slot(0, i);
        ports[side].set_slot(0, i, netmap_slot { buf_idx, ..slot });
    }

    /// A good buffer index.
    pub fn a_buffer(&self) -> u32 {
        self.0.lock().unwrap()[0].spare[0]
    }

    /// Changes the header of ring number `index` (tx rings, then rx rings) of `side`.
    pub fn spoil(&self, side: usize, index: usize, change: impl Fn(&mut netmap_ring)) {
        let ports = self.0.lock().unwrap();
        let place = ports[side].ring(index);
        // SAFETY: inside the allocation; the tests that spoil run on one thread.
        unsafe {
            let mut header = place.read();
            change(&mut header);
            place.write(header);
        }
    }
}

impl FakeDevice {
    fn sync(&self, tx: bool) {
        if self.dead {
            return;
        }
        let mut ports = self.wire.0.lock().unwrap();
        let [first, second] = &mut *ports;
        let (near, far) = if self.side == 0 {
            (first, second)
        } else {
            (second, first)
        };
        if tx {
            near.send(far);
        } else {
            near.fetch();
        }
    }
}

impl Device for FakeDevice {
    fn sync_tx(&self) -> io::Result<()> {
        self.sync(true);
        Ok(())
    }

    fn sync_rx(&self) -> io::Result<()> {
        self.sync(false);
        Ok(())
    }

    fn poll(&self, events: i16, timeout: Duration) -> io::Result<i16> {
        let tx = events & libc::POLLOUT != 0;
        let end = std::time::Instant::now() + timeout;
        loop {
            if self.dead {
                return Ok(events);
            }
            self.sync(true);
            self.sync(tx);
            if self.wire.0.lock().unwrap()[self.side].ready(tx) {
                return Ok(events);
            }
            if std::time::Instant::now() >= end {
                return Ok(0);
            }
            std::thread::yield_now();
        }
    }
}
