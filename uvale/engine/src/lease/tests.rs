use core::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::Duration;

use super::{Lease, Refused, Tally, note_stuck};
use crate::RegionMap;
use nm_abi::NS_BUF_CHANGED;
use uvale_shared::ctl::{CTL_LEN, Ctl, Kring, RING_OFF, RING_ON};
use uvale_shared::lock::Owner;
use uvale_shared::shm::{BufferPool, Mapping, Memfd, RingView, Slot, copy_in, copy_out, rfrags};

const N: u32 = 8;
const SIZE: u32 = 256;
/// Buffers begin behind the ring.
const POOL: usize = 4096;
const GENERATION: u32 = 7;

/// A receiving ring with a buffer in each slot, and nothing around it.
struct World {
    ctl: Ctl,
    region: RegionMap,
}

impl World {
    fn new() -> Self {
        let memfd = Memfd::create("region", POOL + 64 * SIZE as usize).unwrap();
        let map = Mapping::new(&memfd).unwrap();
        let pool = BufferPool::new(&map, POOL as u64, SIZE, 64).unwrap();
        let region = RegionMap {
            number: 5,
            map,
            pool,
        };
        let ctl = Ctl::format(&Memfd::in_parts("ctl", CTL_LEN).unwrap()).unwrap();
        let world = Self { ctl, region };
        let k = world.kring();
        k.mode.store(RING_ON, Relaxed);
        k.num_slots.store(N, Relaxed);
        k.region.store(5, Relaxed);
        k.generation.store(GENERATION, Relaxed);
        for (i, slot) in world.ring().slots().iter().enumerate() {
            slot.store_full(Slot {
                buf_idx: 10 + i as u32,
                ..Slot::default()
            });
        }
        world
    }

    fn kring(&self) -> &Kring {
        self.ctl.kring(0).unwrap()
    }

    fn ring(&self) -> RingView<'_> {
        RingView::new(&self.region.map, 0, N).unwrap()
    }

    /// A lease for sender `who`, who knows the ring by its generation.
    fn take(&self, who: u32, wanted: u32) -> Result<Lease<'_>, Refused> {
        let is_still = |k: &Kring| k.generation.load(Relaxed) == GENERATION;
        let owner = Owner::new(who, 1);
        Lease::take(self.kring(), &self.region, owner, 0, wanted, is_still)
    }

    fn refused(&self, who: u32) -> Option<Refused> {
        self.take(who, 1).err()
    }

    /// Fills `slots` slots; the mask of those to wake.
    fn fill(&self, slots: u32) -> u64 {
        let mut lease = self.take(1, slots).unwrap();
        for i in 0..slots {
            put(&mut lease, &[i as u8; 60], rfrags(1));
            lease.tally.packets += 1;
        }
        lease.publish().mask
    }
}

/// Fills a slot with `bytes`.
fn put(lease: &mut Lease<'_>, bytes: &[u8], flags: u16) -> u16 {
    lease
        .slots
        .put(bytes.len() as u32, flags, |to, at| copy_in(bytes, to, at))
}

#[test]
fn what_is_filled_is_seen_when_it_is_published_and_no_sooner() {
    let w = World::new();
    w.kring().sleepers.store(0b101, Relaxed);
    let mut lease = w.take(1, 2).unwrap();
    assert_eq!((lease.slots.at, lease.slots.free), (0, N - 1));
    assert_eq!(put(&mut lease, &[3; 60], rfrags(1)), 60);
    assert_eq!(put(&mut lease, &[4; 61], rfrags(1)), 61);
    lease.tally = Tally {
        packets: 2,
        bytes: 121,
        ..lease.tally
    };
    assert_eq!(w.kring().indices().arrived(), 0);
    assert_eq!(lease.publish().mask, 0b101);

    let (k, slot) = (w.kring(), w.ring().slots()[1].load());
    assert_eq!((k.indices().arrived(), k.q_lock.holder()), (2, 0));
    let at = w.region.pool.offset(11);
    assert_eq!((slot.buf_idx, slot.len, slot.flags), (11, 61, 1 << 8));
    assert_eq!(copy_out(&w.region.map, at, 61).unwrap(), [4; 61]);
    let counters = [&k.produced.packets, &k.produced.bytes, &k.produced.progress];
    assert_eq!(counters.map(|c| c.load(Relaxed)), [2, 121, 1]);
    assert_eq!(k.produced.wakeups.load(Relaxed), 2);
}

#[test]
fn a_holder_that_does_not_let_go_is_waited_for_once() {
    let w = World::new();
    let held = w.take(1, 1).unwrap();
    assert_eq!(w.refused(2), Some(Refused::Stuck));
    let holder = w.kring().q_lock.holder();
    assert_eq!(w.kring().stuck_holder.load(Relaxed), holder);
    // Another one sees that at once; else it would still wait when the lock is broken, and get it.
    std::thread::scope(|s| {
        let (done, is_done) = mpsc::channel();
        let lock = &w.kring().q_lock;
        s.spawn(move || is_done.recv_timeout(Duration::from_secs(5)).is_ok() || lock.break_dead(1));
        let owner = Owner::new(3, 1);
        let again = Lease::take(w.kring(), &w.region, owner, u32::MAX, 1, |_| true);
        assert_eq!(again.err(), Some(Refused::Stuck));
        done.send(()).unwrap();
    });
    // It goes on: it is an ordinary holder again.
    drop(held);
    drop(w.take(2, 1).unwrap());
    assert_eq!(w.kring().stuck_holder.load(Relaxed), 0);
}

#[test]
fn a_thread_that_meets_itself_says_nothing_of_others() {
    let w = World::new();
    let _held = w.take(1, 1).unwrap();
    assert_eq!(w.refused(1), Some(Refused::Stuck));
    assert_eq!(w.kring().stuck_holder.load(Relaxed), 0);
}

/// A busy ring changes hands while a sender waits for it.
#[test]
fn a_holder_that_came_since_has_not_been_waited_for() {
    let w = World::new();
    let (k, waiter) = (w.kring(), Owner::new(3, 1));
    let first = w.take(1, 1).unwrap();
    let waited_for = k.q_lock.holder();
    drop(first);
    let _second = w.take(2, 1).unwrap();
    for holder in [waited_for, 0] {
        note_stuck(k, waiter, holder);
        assert_eq!(k.stuck_holder.load(Relaxed), 0);
    }
    note_stuck(k, waiter, k.q_lock.holder());
    assert_eq!(k.stuck_holder.load(Relaxed), k.q_lock.holder());
}

#[test]
fn a_ring_that_is_not_the_one_looked_up_is_left_alone() {
    let w = World::new();
    let k = w.kring();
    for (field, bad) in [
        (&k.mode, RING_OFF),
        (&k.region, 6),
        (&k.generation, GENERATION + 2),
        (&k.num_slots, 0),
        (&k.num_slots, u32::MAX),
        (&k.filled, N),
    ] {
        let good = field.swap(bad, Relaxed);
        assert_eq!(w.refused(1), Some(Refused::Gone));
        assert_eq!(k.q_lock.holder(), 0);
        field.store(good, Relaxed);
        assert_eq!(w.refused(1), None);
    }
    assert_eq!(k.indices().arrived(), 0);
}

#[test]
fn a_full_ring_has_no_room_until_something_is_given_back() {
    let w = World::new();
    w.fill(N - 1);
    let mut lease = w.take(1, 1).unwrap();
    assert_eq!(lease.slots.free, 0);
    lease.tally.full = 3;
    assert_eq!(lease.publish().mask, 0);
    let (k, produced) = (w.kring(), &w.kring().produced);
    assert_eq!(produced.full.load(Relaxed), 3);
    assert_eq!(
        (produced.progress.load(Relaxed), k.indices().arrived()),
        (1, N - 1)
    );
    k.indices().give_back(2);
    let lease = w.take(1, 1).unwrap();
    assert_eq!((lease.slots.at, lease.slots.free), (N - 1, 2));
    drop(lease);
    w.fill(2);
    assert_eq!(k.indices().arrived(), 1);
}

#[test]
fn what_is_not_published_has_not_been_sent() {
    let w = World::new();
    let mut lease = w.take(1, 1).unwrap();
    put(&mut lease, &[1; 60], rfrags(1));
    drop(lease);
    assert_eq!(
        (w.kring().indices().arrived(), w.kring().q_lock.holder()),
        (0, 0)
    );
    assert_eq!(w.take(2, 1).unwrap().slots.at, 0);
}

#[test]
fn bytes_without_room_or_without_a_source_arrive_as_an_empty_slot() {
    let w = World::new();
    let mut lease = w.take(1, 3).unwrap();
    assert_eq!(put(&mut lease, &[1; 300], 0), 0);
    assert_eq!(lease.slots.put(60, NS_BUF_CHANGED, |_, _| false), 0);
    assert_eq!(put(&mut lease, &[1; SIZE as usize], 0), SIZE as u16);
    assert_eq!((lease.slots.bad_copy, lease.slots.at), (2, 3));
    drop(lease.publish());
    let slots = w.ring().slots();
    assert_eq!(
        (slots[1].load().len, slots[1].load().flags),
        (0, NS_BUF_CHANGED)
    );
    assert_eq!(w.kring().produced.bad_copy.load(Relaxed), 2);
}

#[test]
fn a_packet_begins_behind_the_offset_of_its_slot() {
    let w = World::new();
    let k = w.kring();
    k.offset_mask.store(0xff, Relaxed);
    k.offset_max.store(200, Relaxed);
    let view = &w.ring().slots()[0];
    let own = Slot {
        ptr: 0xab64,
        ..view.load()
    };
    view.store_full(own);
    let mut lease = w.take(1, 2).unwrap();
    assert_eq!(
        (lease.slots.room(), lease.slots.least_room()),
        (SIZE - 0x64, SIZE - 200)
    );
    put(&mut lease, &[9; 60], 0);
    assert_eq!(view.ptr(), own.ptr);
    let at = w.region.pool.offset(own.buf_idx) + 0x64;
    assert_eq!(copy_out(&w.region.map, at, 60).unwrap(), [9; 60]);

    // The sender's begins two bytes into a line: so does this.
    let copy = |to: &Mapping, at| copy_in(&[8; 60], to, at);
    lease.slots.put_in_line(Some(2048 + 2), 60, 0, copy);
    let placed = w.ring().slots()[1].load_full();
    assert_eq!((placed.ptr, placed.len), (66, 60));
    // No room, and no bytes: the slot keeps its offset.
    lease.slots.put_in_line(Some(2), SIZE - 65, 0, copy);
    lease.slots.put_in_line(None, 60, 0, |_, _| false);
    let empty = [2, 3].map(|i| w.ring().slots()[i].load_full());
    assert_eq!(empty.map(|slot| (slot.ptr, slot.len)), [(0, 0), (0, 0)]);
    assert_eq!(lease.slots.bad_copy, 2);
}
