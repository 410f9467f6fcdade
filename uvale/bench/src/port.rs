//! A bound netmap descriptor, by the public ABI alone: what a C program does after `nm_open`.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::os::fd::OwnedFd;

use nm_abi::{
    NETMAP_API, NETMAP_REQ_IFNAMSIZ, NETMAP_REQ_PORT_HDR_SET, NETMAP_REQ_REGISTER, NIOCRXSYNC,
    NIOCTXSYNC, NR_REG_ALL_NIC, netmap_if, nmreq_header, nmreq_port_hdr, nmreq_register,
};
use serde::{Deserialize, Serialize};

use super::addresses::NOBODY;
use super::raw::{self, Memory};
use super::ring::Ring;

/// What a program asks for when it opens a port.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Opening {
    /// the kernel's name (`vale0:a`, `x{1`, `x}1`)
    pub name: String,
    /// rings in each direction; 0: the default
    pub rings: u16,
    /// slots of each; 0: the default
    pub slots: u32,
    /// `NR_*`: what to monitor, and how
    pub flags: u64,
    /// bytes of the virtio-net header in front of each packet
    pub header: u8,
    /// number of the memory that it is to be in; 0: the daemon chooses
    pub memory: u16,
}

impl Opening {
    /// A port with everything as it is by default.
    pub fn of(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

/// A port in use by this process.
pub struct Port {
    fd: OwnedFd,
    memory: Memory,
    /// byte offsets of the tx and of the rx rings, without those to and from the host
    tx: Vec<usize>,
    rx: Vec<usize>,
    /// bytes of the header in front of each packet
    ahead: u16,
    /// number of the memory
    mem_id: u16,
}

impl Port {
    /// Opens a port as it is by default.
    pub fn open(name: &str) -> Result<Self, String> {
        Self::open_as(&Opening::of(name))
    }

    /// Opens a port and maps its region.
    pub fn open_as(opening: &Opening) -> Result<Self, String> {
        let name = &opening.name;
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
            nr_flags: opening.flags,
            nr_mem_id: opening.memory,
            nr_tx_rings: opening.rings,
            nr_rx_rings: opening.rings,
            nr_tx_slots: opening.slots,
            nr_rx_slots: opening.slots,
            ..Default::default()
        };
        raw::request(&fd, &mut header, &mut body).map_err(|e| format!("{name}: {e}"))?;
        if opening.header != 0 {
            header.nr_reqtype = NETMAP_REQ_PORT_HDR_SET;
            let mut wanted = nmreq_port_hdr {
                nr_hdr_len: opening.header.into(),
                ..Default::default()
            };
            raw::request(&fd, &mut header, &mut wanted)
                .map_err(|e| format!("{name}: headers of {} bytes: {e}", opening.header))?;
        }
        let memory =
            Memory::map(&fd, body.nr_memsize as usize).map_err(|e| format!("{name}: mmap: {e}"))?;

        let nifp = body.nr_offset as usize;
        // Offsets of tx rings, host tx rings, rx rings, host rx rings; relative to the netmap_if.
        let tx_rings = usize::from(body.nr_tx_rings);
        let rx_rings = usize::from(body.nr_rx_rings);
        let first_rx = tx_rings + host_tx_rings(&memory, nifp);
        let ring = |i: usize| {
            let entry = nifp + size_of::<netmap_if>() + i * size_of::<isize>();
            let offset = memory.at::<AtomicU64>(entry)?.load(Relaxed) as isize;
            nifp.checked_add_signed(offset)
        };
        let tx: Option<Vec<_>> = (0..tx_rings).map(ring).collect();
        let rx: Option<Vec<_>> = (first_rx..first_rx + rx_rings).map(ring).collect();
        let (Some(tx), Some(rx)) = (tx, rx) else {
            return Err(format!("{name}: the netmap_if lies outside the region"));
        };
        if opening.rings != 0
            && (tx.len(), rx.len()) != (opening.rings.into(), opening.rings.into())
        {
            return Err(format!(
                "{name}: {} rings were asked for and {} given",
                opening.rings,
                tx.len()
            ));
        }
        Ok(Self {
            fd,
            memory,
            tx,
            rx,
            ahead: opening.header.into(),
            mem_id: body.nr_mem_id,
        })
    }

    /// The descriptor.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Bytes of the header in front of each packet.
    pub fn ahead(&self) -> u16 {
        self.ahead
    }

    /// Are the buffers of both in one memory, so that they may be exchanged?
    pub fn shares_buffers_with(&self, other: &Self) -> bool {
        self.mem_id == other.mem_id
    }

    /// The first tx ring.
    pub fn tx(&self) -> Result<Ring<'_>, String> {
        self.first(&self.tx)
    }

    /// The first rx ring.
    pub fn rx(&self) -> Result<Ring<'_>, String> {
        self.first(&self.rx)
    }

    /// All tx rings.
    pub fn all_tx(&self) -> Result<Vec<Ring<'_>>, String> {
        self.tx.iter().map(|at| self.ring(*at)).collect()
    }

    /// All rx rings.
    pub fn all_rx(&self) -> Result<Vec<Ring<'_>>, String> {
        self.rx.iter().map(|at| self.ring(*at)).collect()
    }

    fn first(&self, of: &[usize]) -> Result<Ring<'_>, String> {
        of.first()
            .ok_or_else(|| "the port has no such ring".into())
            .and_then(|at| self.ring(*at))
    }

    fn ring(&self, at: usize) -> Result<Ring<'_>, String> {
        let ring = Ring::at(&self.memory, at).ok_or("a ring lies outside the region")?;
        Ok(ring.behind(self.ahead.into()))
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
        self.wait_for(libc::POLLIN, timeout_ms)
    }

    /// Blocks in `poll(POLLOUT)` until there is room, at most `timeout_ms`.
    #[inline(always)]
    pub fn wait_for_room(&self, timeout_ms: i32) -> Result<bool, String> {
        self.wait_for(libc::POLLOUT, timeout_ms)
    }

    #[inline(always)]
    fn wait_for(&self, events: i16, timeout_ms: i32) -> Result<bool, String> {
        match raw::poll(&self.fd, events, timeout_ms).map_err(|e| format!("poll: {e}"))? {
            got if got & events != 0 => Ok(true),
            0 => Ok(false),
            got => Err(format!("poll says {got:#x}: the port is gone")),
        }
    }

    /// Sends one frame from each of `macs` to nobody in particular, from which a switch learns where they are.
    pub fn introduce(&self, macs: &[u64]) -> Result<(), String> {
        let mut ring = self.tx()?;
        for mac in macs {
            ring.address(&[(NOBODY, *mac)]);
            ring.fill(1, LEARNT + self.ahead);
            self.txsync()?;
        }
        Ok(())
    }
}

/// Bytes of a frame that only tells where its sender is.
const LEARNT: u16 = 60;

fn host_tx_rings(memory: &Memory, nifp: usize) -> usize {
    let at = nifp + core::mem::offset_of!(netmap_if, ni_host_tx_rings);
    memory
        .at::<core::sync::atomic::AtomicU32>(at)
        .map_or(0, |n| n.load(Relaxed) as usize)
}
