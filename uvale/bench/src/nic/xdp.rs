//! AF_XDP as a program without netmap uses it: it writes packets into the socket's memory and reads them there. Socket,
//! memory and program are those that a port gets; what is done with them is not.

use core::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::net::sockopt::xdp_mmap_offsets;
use rustix::net::xdp::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING,
    XdpRingOffset,
};
use uvale_shared::shm::Shared;
use uvale_system::sys::Fd;
use uvale_wire::interface::look_up;
use uvale_wire::xdp::Shape;
use uvale_wire::{Carrier, Kind, Wanted};

use crate::raw::Memory;

/// `struct xdp_desc`.
#[repr(C)]
struct Descriptor {
    address: AtomicU64,
    len: AtomicU32,
    options: AtomicU32,
}

// SAFETY: repr(C), integer atomics only.
unsafe impl Shared for Descriptor {}

/// Packets of one call at most.
const TOGETHER: u32 = 256;
/// Chunks that a sender uses in turns, as many as a port has buffers.
const CHUNKS: u32 = 1024;

/// A ring, mapped.
struct Ring {
    memory: Memory,
    producer: usize,
    consumer: usize,
    entries: usize,
    count: u32,
}

impl Ring {
    fn map<T>(fd: &Fd, at: u64, place: &XdpRingOffset, count: u32) -> Result<Self, String> {
        let len = place.desc as usize + count as usize * size_of::<T>();
        Ok(Self {
            memory: Memory::map_at(fd, at, len).map_err(|e| format!("a ring: {e}"))?,
            producer: place.producer as usize,
            consumer: place.consumer as usize,
            entries: place.desc as usize,
            count,
        })
    }

    #[inline(always)]
    fn producer(&self) -> Option<&AtomicU32> {
        self.memory.at(self.producer)
    }

    #[inline(always)]
    fn consumer(&self) -> Option<&AtomicU32> {
        self.memory.at(self.consumer)
    }

    #[inline(always)]
    fn entry<T: Shared>(&self, index: u32) -> Option<&T> {
        let at = (index & (self.count - 1)) as usize;
        self.memory.at(self.entries + at * size_of::<T>())
    }
}

/// What both sides have.
struct Socket {
    fd: Fd,
    memory: Memory,
    shape: Shape,
    /// the program goes with these
    _kept: Vec<Fd>,
}

impl Socket {
    fn open(name: &str) -> Result<Self, String> {
        let interface = look_up(name.as_bytes()).ok_or_else(|| format!("{name} is not there"))?;
        let wanted = Wanted {
            name,
            interface: &interface,
            rings: [1, 1],
            host: false,
            steal: false,
            programs: true,
            carrier: Carrier::Xdp,
        };
        let opened = uvale_wire::open(&wanted).map_err(|e| e.to_string())?;
        let Kind::Xdp(shape) = opened.shape.kind else {
            return Err(opened.shape.lacks.join("; "));
        };
        let mut fds = opened.fds.into_iter();
        let (Some(fd), Some(memory)) = (fds.next(), fds.next()) else {
            return Err("a socket without memory".into());
        };
        let bytes = shape.chunk as usize * (shape.rx + shape.tx) as usize;
        let memory = Memory::map(&memory, bytes).map_err(|e| format!("its memory: {e}"))?;
        Ok(Self {
            fd,
            memory,
            shape,
            _kept: opened.kept,
        })
    }
}

/// Sends batches.
pub struct Sender {
    socket: Socket,
    tx: Ring,
    completion: Ring,
    packet: Vec<u8>,
}

impl Sender {
    /// On `interface`, from `smac` to `dmac`.
    pub fn open(interface: &str, dmac: u64, smac: u64) -> Result<Self, String> {
        let socket = Socket::open(interface)?;
        let offsets = xdp_mmap_offsets(&socket.fd).map_err(|e| e.to_string())?;
        let (fd, n) = (&socket.fd, socket.shape.tx);
        let completions = XDP_UMEM_PGOFF_COMPLETION_RING;
        Ok(Self {
            tx: Ring::map::<Descriptor>(fd, XDP_PGOFF_TX_RING, &offsets.tx, n)?,
            completion: Ring::map::<AtomicU64>(fd, completions, &offsets.cr, n)?,
            packet: super::socket::packet(dmac, smac),
            socket,
        })
    }

    /// Writes `n` packets of `len` bytes, and sends them; how many are with the kernel.
    #[inline(always)]
    pub fn send(&mut self, n: u32, len: u16) -> Result<u32, String> {
        self.write(n, len)
            .ok_or_else(|| "a packet outside of the memory".to_owned())?
            .map_err(|e| format!("sendto: {e}"))
    }

    #[inline(always)]
    fn write(&mut self, n: u32, len: u16) -> Option<Result<u32, Errno>> {
        let Shape { rx, tx, chunk, .. } = self.socket.shape;
        let (producer, consumer) = (self.tx.producer()?, self.tx.consumer()?);
        let start = producer.load(Relaxed);
        let mut written = 0;
        if consumer.load(Acquire) == start {
            written = n.min(TOGETHER).min(tx);
            let bytes = self.packet.get(..len.into())?;
            for i in 0..written {
                let at = start.wrapping_add(i);
                let address = u64::from(rx + at % CHUNKS.min(tx)) * u64::from(chunk);
                self.socket.memory.put(address as usize, bytes)?;
                let entry = self.tx.entry::<Descriptor>(at)?;
                entry.address.store(address, Relaxed);
                entry.len.store(len.into(), Relaxed);
                entry.options.store(0, Relaxed);
            }
            producer.store(start.wrapping_add(written), Release);
        }
        let (flags, end) = (SendFlags::DONTWAIT, producer.load(Relaxed));
        loop {
            let before = consumer.load(Acquire);
            match rustix::net::send(&self.socket.fd, &[], flags) {
                Ok(_) | Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => {}
                Err(e) => return Some(Err(e)),
            }
            let after = consumer.load(Acquire);
            if after == end || after == before {
                break;
            }
        }
        let completed = self.completion.producer()?.load(Acquire);
        self.completion.consumer()?.store(completed, Release);
        Some(Ok(written))
    }
}

/// Receives.
pub struct Receiver {
    socket: Socket,
    rx: Ring,
    fill: Ring,
}

impl Receiver {
    /// All that comes in on `interface`.
    pub fn open(interface: &str) -> Result<Self, String> {
        let socket = Socket::open(interface)?;
        let offsets = xdp_mmap_offsets(&socket.fd).map_err(|e| e.to_string())?;
        let (fd, n) = (&socket.fd, socket.shape.rx);
        Ok(Self {
            rx: Ring::map::<Descriptor>(fd, XDP_PGOFF_RX_RING, &offsets.rx, n)?,
            fill: Ring::map::<AtomicU64>(fd, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, n)?,
            socket,
        })
    }

    /// Reads up to [`TOGETHER`] packets, and gives their chunks back: packets and bytes.
    #[inline(always)]
    pub fn drain(&mut self) -> (u32, u64) {
        self.read().unwrap_or_default()
    }

    #[inline(always)]
    fn read(&mut self) -> Option<(u32, u64)> {
        let (consumer, filled) = (self.rx.consumer()?, self.fill.producer()?);
        let (at, to) = (consumer.load(Relaxed), filled.load(Relaxed));
        let ready = self
            .rx
            .producer()?
            .load(Acquire)
            .wrapping_sub(at)
            .min(TOGETHER);
        let mut bytes = 0;
        for i in 0..ready {
            let entry = self.rx.entry::<Descriptor>(at.wrapping_add(i))?;
            let (address, len) = (entry.address.load(Relaxed), entry.len.load(Relaxed));
            self.socket.memory.take(address as usize, len as usize)?;
            let free = self.fill.entry::<AtomicU64>(to.wrapping_add(i))?;
            free.store(address, Relaxed);
            bytes += u64::from(len);
        }
        if ready > 0 {
            consumer.store(at.wrapping_add(ready), Release);
            filled.store(to.wrapping_add(ready), Release);
        }
        Some((ready, bytes))
    }
}
