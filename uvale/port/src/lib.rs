//! A port that a program of ours has open: the device without the shim.
//!
//! [`Port::open`] does what `open("/dev/netmap")` and REGISTER do for a program: it finds the daemon of the world,
//! or starts it, asks for the rings, maps their memory, and opens the wire of a NIC. From then on the thread that
//! calls [`Port::txsync`] and [`Port::rxsync`] moves the packets, as everywhere. Who has nothing to do sleeps in
//! [`Port::wait`], or in a poll of its own between [`Port::announce`] and [`Port::withdraw`].
#![forbid(unsafe_code)]

mod open;
pub mod request;
mod sleep;

use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd};
use uvale_engine::Attachment;
use uvale_link::session::Session;
use uvale_shared::ctl::Kring;
use uvale_shared::shm::{Memfd, RegionMap, RingView};
use uvale_system::refusal::Refusal;
use uvale_system::sys::OwnFd;
use uvale_wire::Wire;

pub use nm_abi::nmreq_register as Register;
pub use open::{Info, Wanted, check_name, open_device};
pub use sleep::{Counts, POLLIN, POLLOUT, Woken};
pub use uvale_shared::shm::Slots;

pub use uvale_engine::{Events, RX, TX};

/// A port that is open.
pub struct Port {
    /// its open description: tokens arrive here, and it is closed when this is dropped
    device: OwnFd,
    /// number of the description
    client: u32,
    session: Arc<Session>,
    attachment: Attachment,
    registered: Register,
    stuck: sleep::Stuck,
    /// of a NIC: kept as long as the port is open
    _wire: Option<Arc<Wire>>,
}

impl Port {
    /// The process's session with the daemon: the host of the engine.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The engine's entry point: its rings, as REGISTER selected them.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// What REGISTER has answered: memory, ring and slot counts, where the `netmap_if` is.
    pub fn registered(&self) -> &Register {
        &self.registered
    }

    /// Name of the port.
    pub fn name(&self) -> &str {
        &self.attachment.binding().name
    }

    /// Its memory.
    pub fn region(&self) -> &Arc<RegionMap> {
        self.attachment.region()
    }

    /// The memfd of its memory, and how many of its bytes a program may map.
    pub fn region_memfd(&self) -> Result<(Memfd, u64), Refusal> {
        let number = self.attachment.binding().region;
        let (memfd, shape) = self.session.region_memfd(number)?;
        Ok((memfd, shape.mem_size))
    }

    /// The ring with number `ring` of the port, in direction `dir` ([`RX`] or [`TX`]), if it is selected.
    pub fn ring(&self, dir: usize, ring: u32) -> Option<RingView<'_>> {
        use core::sync::atomic::Ordering::Relaxed;
        let kring = self.kring(dir, ring)?;
        let (ofs, slots) = (kring.ring_ofs.load(Relaxed), kring.num_slots.load(Relaxed));
        RingView::new(&self.region().map, ofs, slots)
    }

    /// The slots of that ring that are the program's, as the last sync left them.
    pub fn slots(&self, dir: usize, ring: u32) -> Option<Slots<'_>> {
        use core::sync::atomic::Ordering::Relaxed;
        let ring = self.ring(dir, ring)?;
        let (head, tail) = (&ring.header().head, &ring.header().tail);
        Slots::new(self.region(), ring, head.load(Relaxed), tail.load(Relaxed))
    }

    /// The private state of that ring.
    pub fn kring(&self, dir: usize, ring: u32) -> Option<&Kring> {
        use core::sync::atomic::Ordering::Acquire;
        use uvale_engine::Host;
        let binding = self.attachment.binding();
        if !binding.rings(dir).contains(&ring) {
            return None;
        }
        let ctl = self.session.ctl();
        let port = ctl.port(binding.port)?;
        let first = [&port.rx_kring, &port.tx_kring][dir].load(Acquire);
        ctl.kring(first.checked_add(ring)?)
    }

    /// NIOCTXSYNC.
    pub fn txsync(&self) {
        self.attachment.txsync(&*self.session);
    }

    /// NIOCRXSYNC.
    pub fn rxsync(&self) {
        self.attachment.rxsync(&*self.session);
    }

    /// Gives it up. When this returns the name is free and nothing arrives any more.
    pub fn close(self) {
        let Self {
            device,
            session,
            client,
            ..
        } = self;
        drop(device);
        session.settle(client);
    }

    /// Is the daemon there, and the interface of a NIC? A system call.
    pub fn is_alive(&self) -> bool {
        self.session.is_alive() && !self.attachment.is_gone()
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
