//! A bound netmap descriptor, by the public ABI alone: what a C program does after `nm_open`.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::os::fd::OwnedFd;

use nm_abi::{
    NETMAP_API, NETMAP_REQ_IFNAMSIZ, NETMAP_REQ_REGISTER, NIOCRXSYNC, NIOCTXSYNC, NR_REG_ALL_NIC,
    netmap_if, nmreq_header, nmreq_register, ring_next, ring_space,
};

use super::raw::{self, Line, Memory, Slot};
use uvale_shared::shm::RingHeader;

/// A port in use by this process.
pub struct Port {
    fd: OwnedFd,
    memory: Memory,
    /// byte offsets of the first tx and the first rx ring
    tx: usize,
    rx: usize,
}

impl Port {
    /// Opens a port by its kernel name (`vale0:a`, `x{1`, `x}1`) and maps its region.
    pub fn open(name: &str) -> Result<Self, String> {
        let fd = raw::open_netmap().map_err(|e| format!("/dev/netmap: {e}"))?;
        let mut header = nmreq_header {
            nr_version: NETMAP_API,
            nr_reqtype: NETMAP_REQ_REGISTER,
            ..Default::default()
        };
        if name.len() >= NETMAP_REQ_IFNAMSIZ {
            return Err(format!("{name}: the name is too long"));
        }
        header.nr_name[..name.len()].copy_from_slice(name.as_bytes());
        let mut body = nmreq_register {
            nr_mode: NR_REG_ALL_NIC,
            ..Default::default()
        };
        raw::request(&fd, &mut header, &mut body).map_err(|e| format!("{name}: {e}"))?;
        let memory =
            Memory::map(&fd, body.nr_memsize as usize).map_err(|e| format!("{name}: mmap: {e}"))?;

        let nifp = body.nr_offset as usize;
        // Offsets of tx rings, host tx rings, rx rings, host rx rings; relative to the netmap_if.
        let tx_rings = usize::from(body.nr_tx_rings) + host_tx_rings(&memory, nifp);
        let ring = |i: usize| {
            let entry = nifp + size_of::<netmap_if>() + i * size_of::<isize>();
            let offset = memory.at::<AtomicU64>(entry)?.load(Relaxed) as isize;
            nifp.checked_add_signed(offset)
        };
        let (Some(tx), Some(rx)) = (ring(0), ring(tx_rings)) else {
            return Err(format!("{name}: the netmap_if lies outside the region"));
        };
        Ok(Self { fd, memory, tx, rx })
    }

    /// The descriptor.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The first tx ring.
    pub fn tx(&self) -> Result<Ring<'_>, String> {
        Ring::at(&self.memory, self.tx).ok_or_else(|| "the tx ring lies outside the region".into())
    }

    /// The first rx ring.
    pub fn rx(&self) -> Result<Ring<'_>, String> {
        Ring::at(&self.memory, self.rx).ok_or_else(|| "the rx ring lies outside the region".into())
    }

    /// `NIOCTXSYNC`
    #[inline(always)]
    pub fn txsync(&self) -> Result<(), String> {
        raw::sync(&self.fd, NIOCTXSYNC).map_err(|e| format!("NIOCTXSYNC: {e}"))
    }

    /// `NIOCRXSYNC`
    #[inline(always)]
    pub fn rxsync(&self) -> Result<(), String> {
        raw::sync(&self.fd, NIOCRXSYNC).map_err(|e| format!("NIOCRXSYNC: {e}"))
    }

    /// Blocks in `poll(POLLIN)` until packets are there, at most `timeout_ms`.
    #[inline(always)]
    pub fn wait(&self, timeout_ms: i32) -> Result<bool, String> {
        match raw::poll(&self.fd, libc::POLLIN, timeout_ms).map_err(|e| format!("poll: {e}"))? {
            got if got & libc::POLLIN != 0 => Ok(true),
            0 => Ok(false),
            got => Err(format!("poll says {got:#x}: the port is gone")),
        }
    }

    /// Sends one frame from `mac` to nobody in particular, from which a switch learns where it is.
    pub fn introduce(&self, mac: u64) -> Result<(), String> {
        let mut ring = self.tx()?;
        ring.address(super::NOBODY, mac);
        ring.fill(1, 60);
        self.txsync()
    }
}

fn host_tx_rings(memory: &Memory, nifp: usize) -> usize {
    let at = nifp + core::mem::offset_of!(netmap_if, ni_host_tx_rings);
    memory
        .at::<core::sync::atomic::AtomicU32>(at)
        .map_or(0, |n| n.load(Relaxed) as usize)
}

/// A ring as a program uses it.
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
}

impl<'a> Ring<'a> {
    fn at(memory: &'a Memory, at: usize) -> Option<Self> {
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
        })
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
        let mut head = self.head;
        for _ in 0..n {
            let slot = &self.slots[head as usize];
            slot.len.store(len - self.lap, Relaxed);
            slot.flags.store(0, Relaxed);
            head = ring_next(head, self.n);
            self.lap ^= u16::from(head == 0);
        }
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
        let mut head = self.head;
        let mut bytes = 0;
        for _ in 0..n {
            bytes += u64::from(self.slots[head as usize].len.load(Relaxed));
            head = ring_next(head, self.n);
        }
        if n > 0 {
            self.publish(head);
        }
        (n, bytes)
    }

    #[inline(always)]
    fn publish(&mut self, head: u32) {
        self.head = head;
        self.header.cur.store(head, Relaxed);
        self.header.head.store(head, Release);
    }

    /// Writes an Ethernet header into the buffer of every slot.
    pub fn address(&self, dmac: u64, smac: u64) {
        for slot in 0..self.n {
            if let Some(words) = self.packet(slot) {
                words[0].store(dmac & 0xffff_ffff_ffff | smac << 48, Relaxed);
                words[1].store((smac >> 16) & 0xffff_ffff | 0x0008 << 32, Relaxed);
            }
        }
    }
}
