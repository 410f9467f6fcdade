//! Part of a guest's port: a descriptor, the rings that one loop syncs by it, and what wakes that loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use uvale_engine::csb::{Csb, Manner, Wanted};
use uvale_port::{Port, RX, TX};

use super::csb::Entry;

/// What wakes a loop, besides its port.
pub struct Kick {
    /// readable after a kick
    pub event: OwnedFd,
    /// the loop is to end
    pub is_over: AtomicBool,
}

impl Kick {
    fn new() -> Result<Self, Errno> {
        Ok(Self {
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            is_over: AtomicBool::new(false),
        })
    }

    /// Wakes it.
    pub fn kick(&self) {
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// There was none.
    pub fn forget(&self) {
        let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
    }
}

/// A descriptor and the rings that its loop syncs.
pub struct Part {
    /// the descriptor
    pub port: Arc<Port>,
    /// its rings in the guest's CSB: tx rings, then rx rings
    pub entries: Vec<Entry>,
    /// so many are tx rings
    pub tx: usize,
    /// wakes its loop
    pub kick: Arc<Kick>,
}

impl Part {
    /// Is that entry one of its rings?
    pub fn has(&self, entry: usize) -> bool {
        self.entries.iter().any(|e| e.number == entry)
    }

    /// `tx_rings` of the whole port come before its rx rings.
    pub fn new(port: Arc<Port>, tx_rings: usize) -> Result<Self, Errno> {
        let binding = port.attachment().binding();
        let entry = |dir, ring: u32| {
            let kring = port.kring(dir, ring);
            let is_rx = dir == RX;
            Entry {
                number: ring as usize + if is_rx { tx_rings } else { 0 },
                slots: kring.map_or(0, |k| k.num_slots.load(Relaxed)),
                is_rx,
            }
        };
        let tx = binding.rings(TX).map(|ring| entry(TX, ring));
        let rx = binding.rings(RX).map(|ring| entry(RX, ring));
        Ok(Self {
            entries: tx.chain(rx).collect(),
            tx: binding.rings(TX).len(),
            kick: Arc::new(Kick::new()?),
            port,
        })
    }
}

/// A guest that takes whatever has arrived, and wants no more of it.
struct Nobody<'a> {
    part: &'a Part,
}

impl Csb for Nobody<'_> {
    fn read(&self, i: usize) -> Wanted {
        let binding = self.part.port.attachment().binding();
        let ring = i
            .checked_sub(self.part.tx)
            .map(|i| binding.first[RX] + i as u32);
        let kring = ring.and_then(|ring| self.part.port.kring(RX, ring));
        let head = kring.map_or(0, |k| k.rtail.load(Relaxed));
        Wanted {
            head,
            cur: head,
            need_kick: false,
        }
    }

    fn show(&self, _: usize, _: u32, _: u32) {}
    fn want_kick(&self, _: usize, _: bool) {}
    fn init(&self, _: usize, _: Wanted, _: u32, _: u32) {}
}

impl Part {
    /// Throws away what has arrived.
    pub fn flush(&self) {
        let manner = Manner {
            busy_wait: true,
            direct: false,
            tell: None,
        };
        let host = &**self.port.session();
        for i in 0..self.entries.len() - self.tx {
            // The first gives back what was known, and learns what else is there.
            for _ in 0..2 {
                self.port
                    .attachment()
                    .csb_rx(host, i, &Nobody { part: self }, &manner);
            }
        }
    }
}
