//! The engine under loom: the syncs that every process runs, on memory as the control plane makes it, in every
//! order and with every value that the memory model allows.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release -p uvale-control --test loom
//! ```
//!
//! Slots and payload have one owner at a time: loom fails a test in which two touch them without one having
//! passed them on to the other.
#![cfg(loom)]

mod pipe;
mod sleep;
mod vale;

use core::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use uvale_control::Config;
use uvale_control::local::{LocalPort, LocalWorld};
use uvale_engine::{Attachment, Host, RX, RegionMap, TX};
use uvale_shared::atomics::model::{check, thread};
use uvale_shared::ctl::{Ctl, Kring};
use uvale_shared::shm::{RingView, Slot, copy_in, copy_out};

/// A world that stays until the test is over.
fn world() -> &'static LocalWorld {
    Box::leak(Box::new(LocalWorld::new(Config::default()).unwrap()))
}

/// A port with rings of `slots` slots.
fn port(world: &LocalWorld, name: &str, slots: u32) -> &'static LocalPort {
    let opened = world.open(name, |r| (r.nr_tx_slots, r.nr_rx_slots) = (slots, slots));
    Box::leak(Box::new(opened.unwrap()))
}

/// A process with one port.
struct Process {
    world: &'static LocalWorld,
    session: u32,
    attachment: Option<Attachment>,
    woken: Mutex<Vec<u32>>,
}

impl Host for Process {
    fn ctl(&self) -> &Arc<Ctl> {
        self.world.ctl()
    }

    fn session(&self) -> u32 {
        self.session
    }

    fn region(&self, number: u32) -> Option<Arc<RegionMap>> {
        self.world.region(number)
    }

    fn wake(&self, client: u32) {
        self.woken.lock().unwrap().push(client);
    }
}

impl Process {
    /// Process `session` as it is after it has opened `port`.
    fn new(world: &'static LocalWorld, session: u32, port: &LocalPort) -> Arc<Self> {
        let mut process = Self {
            world,
            session,
            attachment: None,
            woken: Mutex::default(),
        };
        let (binding, region) = (port.attachment.binding(), port.attachment.region());
        let attachment = Attachment::new(&process, binding.clone(), region.clone());
        process.attachment = attachment.ok();
        Arc::new(process)
    }

    fn attachment(&self) -> &Attachment {
        self.attachment.as_ref().unwrap()
    }

    fn kring(&self, dir: usize) -> &Kring {
        let port = self.ctl().port(self.attachment().binding().port).unwrap();
        let first = [&port.rx_kring, &port.tx_kring][dir];
        self.ctl().kring(first.load(Relaxed)).unwrap()
    }

    /// Its ring as the program has it in memory.
    fn ring(&self, dir: usize) -> RingView<'_> {
        let (kring, map) = (self.kring(dir), &self.attachment().region().map);
        let (ofs, n) = (kring.ring_ofs.load(Relaxed), kring.num_slots.load(Relaxed));
        RingView::new(map, ofs, n).unwrap()
    }

    /// Puts a frame into the tx ring. False if there is no room.
    fn put(&self, bytes: &[u8]) -> bool {
        let (ring, region) = (self.ring(TX), self.attachment().region());
        let (head, tail) = (&ring.header().head, &ring.header().tail);
        let at = head.load(Relaxed);
        if at == tail.load(Relaxed) {
            return false;
        }
        let view = &ring.slots()[at as usize];
        let slot = view.load();
        assert!(copy_in(
            bytes,
            &region.map,
            region.pool.offset(slot.buf_idx)
        ));
        view.store(Slot {
            len: bytes.len() as u16,
            flags: 0,
            ..slot
        });
        head.store(ring.next(at), Relaxed);
        ring.header().cur.store(ring.next(at), Relaxed);
        true
    }

    /// NIOCTXSYNC.
    fn txsync(&self) {
        self.attachment().txsync(self);
    }

    /// NIOCRXSYNC.
    fn rxsync(&self) {
        self.attachment().rxsync(self);
    }

    /// Takes what the last rxsync has shown, and gives back what it has taken with the next.
    fn take(&self) -> Vec<Vec<u8>> {
        let (ring, region) = (self.ring(RX), self.attachment().region());
        let (head, tail) = (&ring.header().head, &ring.header().tail);
        let mut at = head.load(Relaxed);
        let mut got = Vec::new();
        while at != tail.load(Relaxed) {
            let slot = ring.slots()[at as usize].load();
            let from = region.pool.offset(slot.buf_idx);
            got.push(copy_out(&region.map, from, slot.len.into()).unwrap());
            at = ring.next(at);
        }
        head.store(at, Relaxed);
        ring.header().cur.store(at, Relaxed);
        got
    }

    /// An rxsync, and all that it shows.
    fn receive(&self) -> Vec<Vec<u8>> {
        self.rxsync();
        self.take()
    }
}

/// A frame between two stations that says which one it is.
fn frame(to: u8, from: u8, tag: u8) -> Vec<u8> {
    let mut frame = [[2, 0, 0, 0, 0, to], [2, 0, 0, 0, 0, from]].concat();
    frame.extend([0x88, 0xb5]);
    frame.resize(60, tag);
    frame
}
