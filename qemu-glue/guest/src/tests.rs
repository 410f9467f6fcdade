//! The protocol against a host of our own, in one process.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use uvale_shared::shm::{BufferPool, Mapping, Memfd, RegionMap, RingView, copy_in, copy_out};

use crate::moves::{self, End, Limits};
use crate::numbered::{BROADCAST, Checker, Found, Stream};
use rustix::io::Errno;
use uvale_wire::ptnet::ring::{Csb, Kick, PAGE, PAGES, Ring};

const SLOTS: u32 = 64;
const BUFFER: u32 = 256;
const BUFFERS_AT: usize = 3 * 4096;

/// A region with a tx and an rx ring, a CSB behind it, and what makes the host's loop sleep.
struct Host {
    region: RegionMap,
    csb: Mapping,
    kicked: Mutex<bool>,
    kick: Condvar,
    over: AtomicBool,
}

impl Host {
    fn new() -> Host {
        let len = BUFFERS_AT + (2 + 2 * SLOTS as usize) * BUFFER as usize;
        let map = Mapping::new(&Memfd::create("region", len).expect("memfd")).expect("mapped");
        let pool = BufferPool::new(&map, BUFFERS_AT as u64, BUFFER, 2 + 2 * SLOTS);
        let region = RegionMap {
            number: 1,
            pool: pool.expect("it fits"),
            map,
        };
        for ring in 0..2 {
            let view = RingView::new(&region.map, ring * 4096, SLOTS).expect("it fits");
            for (i, slot) in (2 + ring as u32 * SLOTS..).zip(view.slots()) {
                let slot_of = uvale_shared::shm::Slot {
                    buf_idx: i,
                    ..Default::default()
                };
                slot.store_full(slot_of);
            }
        }
        let csb = Memfd::create("csb", PAGES * PAGE).expect("memfd");
        let host = Host {
            region,
            csb: Mapping::new(&csb).expect("mapped"),
            kicked: Mutex::new(false),
            kick: Condvar::new(),
            over: AtomicBool::new(false),
        };
        for ring in 0..2 {
            host.entry(ring).reset();
        }
        host.entry(0).to_guest[1].store(SLOTS - 1, Relaxed);
        host
    }

    fn entry(&self, ring: u32) -> Csb<'_> {
        Csb::of(&self.csb, ring).expect("it fits")
    }

    fn view(&self, ring: u64) -> RingView<'_> {
        RingView::new(&self.region.map, ring * 4096, SLOTS).expect("it fits")
    }

    fn ring(&self, ring: u32) -> Ring<'_> {
        let made = Ring::new(&self.region, self.view(ring.into()), self.entry(ring), self);
        made.expect("indices of a fresh ring")
    }

    /// Sends what is in the tx ring to the rx ring, as far as there is room. True if there was anything.
    fn pass(&self) -> bool {
        let (tx, rx) = (self.view(0), self.view(1));
        let (from, to) = (self.entry(0), self.entry(1));
        let (head, mut at) = (
            from.to_host[0].load(Acquire),
            from.to_guest[0].load(Relaxed),
        );
        let (free, mut tail) = (to.to_host[0].load(Acquire), to.to_guest[1].load(Relaxed));
        to.to_guest[0].store(free, Release);
        let before = at;
        while at != head && rx.next(tail) != free {
            let source = tx.slots()[at as usize].load();
            let target = &rx.slots()[tail as usize];
            let pool = self.region.pool;
            let bytes = copy_out(
                &self.region.map,
                pool.offset(source.buf_idx),
                source.len.into(),
            );
            let bytes = bytes.expect("it fits");
            assert!(copy_in(
                &bytes,
                &self.region.map,
                pool.offset(target.load().buf_idx)
            ));
            target.store_len_flags(source.len, source.flags);
            (at, tail) = (tx.next(at), rx.next(tail));
        }
        from.to_guest[0].store(at, Release);
        from.to_guest[1].store(tx.prev(at), Release);
        to.to_guest[1].store(tail, Release);
        at != before
    }

    fn need_kick(&self, value: u32) {
        for ring in 0..2 {
            self.entry(ring).to_guest[2].store(value, Relaxed);
        }
        core::sync::atomic::fence(SeqCst);
    }

    /// The host's loop. It sleeps as soon as there is nothing to do, and only a kick ends that.
    fn run(&self) {
        while !self.over.load(Relaxed) {
            if self.pass() {
                continue;
            }
            self.need_kick(1);
            if !self.pass() {
                let mut kicked = self.kicked.lock().expect("no panic");
                while !*kicked {
                    kicked = self.kick.wait(kicked).expect("no panic");
                }
                *kicked = false;
            }
            self.need_kick(0);
        }
    }

    fn end(&self) {
        self.over.store(true, Relaxed);
        *self.kicked.lock().expect("no panic") = true;
        self.kick.notify_one();
    }
}

impl Kick for Host {
    fn kick(&self) -> Result<(), Errno> {
        *self.kicked.lock().expect("no panic") = true;
        self.kick.notify_one();
        Ok(())
    }
}

/// Ends the host's loop, also when an assertion fails that waits for nothing else.
struct Running<'a>(&'a Host);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn limits() -> Limits<'static> {
    Limits {
        patience: Duration::from_secs(30),
        ended: &|| false,
    }
}

fn exchange(count: u64, len: usize, batch: u32) -> (u64, u64) {
    let host = &Host::new();
    let kicks = std::thread::scope(|scope| {
        scope.spawn(|| host.run());
        let _running = Running(host);
        let sender = scope.spawn(move || {
            let mut rings = [host.ring(0)];
            let mut streams = [Stream::new(0, len, BROADCAST, [2; 6], 0)];
            let end = moves::send(&mut rings, &mut streams, count, batch, &limits());
            assert_eq!(end, Ok(End::Done));
            rings[0].kicks()
        });
        let mut rings = [host.ring(1)];
        let mut checker = Checker::new(0);
        let end = moves::receive(&mut rings, &mut checker, count, &limits());
        assert_eq!(end, Ok(End::Done));
        let good = Found {
            good: count,
            bytes: count * len as u64,
            ..Found::default()
        };
        assert_eq!(checker.found(), good);
        (sender.join().expect("no panic"), rings[0].kicks())
    });
    let need = |ring: u32| -> u32 { AtomicU32::load(&host.entry(ring).to_host[2], Relaxed) };
    assert_eq!((need(0), need(1)), (0, 0), "nobody could take an interrupt");
    kicks
}

#[test]
fn a_sleeping_host_is_woken_and_a_busy_one_is_not() {
    let count = 50_000;
    let (sender, receiver) = exchange(count, 60, 8);
    assert!(
        sender + receiver > 0,
        "the host was asleep at the beginning"
    );
    assert!(sender < count, "{sender} kicks for {count} packets");
}

#[test]
fn packets_of_several_slots() {
    exchange(5_000, 1000, 256);
    exchange(2_000, 60, 1);
}

#[test]
fn nonsense_of_the_host_is_an_error_and_no_access() {
    let host = Host::new();
    for (word, what) in [(0, "hwcur"), (1, "hwtail")] {
        let mut ring = host.ring(1);
        let place = &host.entry(1).to_guest[word];
        for wrong in [SLOTS, SLOTS + 1, u32::MAX] {
            place.store(wrong, Relaxed);
            let why = ring.glance().expect_err("no ring has it");
            assert!(why.contains(what), "{why}");
            assert!(ring.sync(0).is_err());
        }
        place.store(0, Relaxed);
    }
    // A slot that names no buffer is read as buffer 0, and never beyond the region.
    let mut ring = host.ring(1);
    let slot = uvale_shared::shm::Slot {
        buf_idx: u32::MAX,
        len: u16::MAX,
        ..Default::default()
    };
    host.view(1).slots()[0].store_full(slot);
    host.entry(1).to_guest[1].store(1, Relaxed);
    ring.glance().expect("the indices are right");
    let mut packet = Vec::new();
    assert!(ring.slots().take(&mut packet));
    assert_eq!(packet, vec![0; BUFFER as usize]);
}

#[test]
fn it_gives_up_when_nothing_happens_and_when_it_is_asked_to() {
    let host = Host::new();
    let mut checker = Checker::new(0);
    let quiet = Limits {
        patience: Duration::from_millis(5),
        ended: &|| false,
    };
    let mut rings = [host.ring(1)];
    let end = moves::receive(&mut rings, &mut checker, 1, &quiet);
    assert_eq!(end, Ok(End::Quiet));
    let asked = Limits {
        patience: Duration::from_secs(60),
        ended: &|| true,
    };
    let end = moves::receive(&mut rings, &mut checker, 1, &asked);
    assert_eq!(end, Ok(End::Asked));
}
