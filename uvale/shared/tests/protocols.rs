//! The protocols of shared memory under loom: the lock, sleeping and waking, the list of a ring's monitors, the cells
//! of a trace. Those of
//! the rings are the engine's (`uvale/control/tests/loom`).
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release -p uvale-shared --test protocols
//! ```
#![cfg(loom)]
#![allow(missing_docs)]

use std::sync::Arc;

use uvale_shared::atomics::model::{check, thread};
use uvale_shared::atomics::{AtomicU32, AtomicU64, Ordering};
use uvale_shared::lock::{Guarded, LockWord, Owner};
use uvale_shared::shm::Memfd;
use uvale_shared::trace::{Reader, Trace};
use uvale_shared::{sleepers, watch};

/// What a check uses stays where it is.
fn stays<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Two sessions, one lock: their critical sections never overlap, and each sees the other's.
#[test]
fn lock_excludes_and_publishes() {
    let lock = stays(LockWord::default());
    check(move || {
        let sum = Arc::new(Guarded::new(lock, 0));
        let add = |sum: &Guarded<u32>, session| {
            let mut guard = lock.lock(Owner::new(session, 1)).unwrap();
            *sum.get(&mut guard).unwrap() += 1;
        };
        let other = sum.clone();
        let thread = thread::spawn(move || add(&other, 2));
        add(&sum, 3);
        thread.join().unwrap();
        let mut guard = lock.lock(Owner::new(4, 1)).unwrap();
        assert_eq!(sum.get(&mut guard), Some(&mut 2));
    });
}

/// The same with a session that tries, and one that gives up after a spin.
#[test]
fn those_who_do_not_wait_exclude_too() {
    let lock = stays(LockWord::default());
    check(move || {
        let sum = Arc::new(Guarded::new(lock, 0));
        let other = sum.clone();
        let thread = thread::spawn(move || {
            let guard = lock.try_lock_as(Owner::new(2, 1));
            guard.map_or(0, |mut guard| {
                *other.get(&mut guard).unwrap() += 1;
                1
            })
        });
        let guard = lock.lock_within(Owner::new(3, 1), 0);
        let mine = guard.map_or(0, |mut guard| {
            *sum.get(&mut guard).unwrap() += 1;
            1
        });
        let both = mine + thread.join().unwrap();
        assert!(both > 0, "one of them finds it free");
        let mut guard = lock.lock(Owner::new(4, 1)).unwrap();
        assert_eq!(sum.get(&mut guard), Some(&mut both.clone()));
    });
}

/// The daemon breaks the lock of a session that died while somebody waits for it: the waiter gets
/// it, and sees what the dead one wrote before.
#[test]
fn lock_of_the_dead_is_broken() {
    let lock = stays(LockWord::default());
    check(move || {
        let data = Arc::new(Guarded::new(lock, 0));
        let dying = data.clone();
        let dead = thread::spawn(move || {
            let mut guard = lock.lock(Owner::new(7, 1)).unwrap();
            *dying.get(&mut guard).unwrap() = 7;
            std::mem::forget(guard);
        });
        let waiter = thread::spawn(move || {
            let mut guard = lock.lock(Owner::new(8, 1)).unwrap();
            *data.get(&mut guard).unwrap()
        });
        // The kernel tells the daemon of a death when it is over.
        dead.join().unwrap();
        assert!(lock.break_dead(7));
        assert!(!lock.break_dead(7));
        assert!([0, 7].contains(&waiter.join().unwrap()));
        assert_eq!(lock.owner(), 0);
    });
}

/// Breaking a dead session's locks does not touch a lock that a live one holds.
#[test]
fn lock_of_the_living_is_left_alone() {
    let lock = stays(LockWord::default());
    check(move || {
        let live = thread::spawn(move || {
            let guard = lock.lock(Owner::new(5, 1)).unwrap();
            assert_eq!(lock.owner(), 5);
            drop(guard);
        });
        assert!(!lock.break_dead(6));
        live.join().unwrap();
    });
}

/// A signal handler that interrupted the holder finds out, instead of waiting for itself.
#[test]
fn nobody_waits_for_itself() {
    let lock = stays(LockWord::default());
    check(move || {
        let guard = lock.lock(Owner::new(2, 1));
        assert!(guard.is_some());
        assert!(lock.lock(Owner::new(2, 1)).is_none());
        assert_eq!(lock.owner(), 2, "a refused guard must not unlock");
        drop(guard);
        assert!(lock.lock(Owner::new(2, 1)).is_some());
    });
}

/// Two descriptors asleep on one ring, and a withdrawal at the same time: the one that still
/// sleeps is woken or sees the packet.
#[test]
fn a_withdrawal_costs_nobody_else_the_wakeup() {
    let (packet, mask) = stays((AtomicU32::new(0), AtomicU64::new(0)));
    check(|| {
        sleepers::announce(mask, 1);
        let other = thread::spawn(|| sleepers::withdraw(mask, 1));
        let sender = thread::spawn(|| {
            packet.store(1, Ordering::Release);
            sleepers::take(mask)
        });
        sleepers::announce(mask, 2);
        let seen = packet.load(Ordering::Acquire) == 1;
        other.join().unwrap();
        let woken = sender.join().unwrap() & 1 << 2 != 0;
        assert!(seen || woken);
    });
}

/// Monitors of a ring.
struct Watched {
    watch: AtomicU64,
    links: [[AtomicU32; 2]; 3],
}

impl Watched {
    fn show(&self, list: &[u32]) {
        watch::show(&self.watch, list, None, |i| &self.links[i as usize]);
    }

    fn seen(&self) -> Option<Vec<u32>> {
        let list = watch::copies(&self.watch, 3, |i| self.links.get(i as usize));
        list.map(|list| list.iter().collect())
    }
}

/// Monitors come, leave and come back in another place while a sync looks who they are: it finds a
/// list that there was, whole and in order.
#[test]
fn a_sync_finds_a_whole_list_of_monitors() {
    const LISTS: [&[u32]; 4] = [&[0, 1, 2], &[2, 1], &[1], &[1, 0]];
    let watched: &Watched = stays(Watched {
        watch: AtomicU64::new(0),
        links: Default::default(),
    });
    check(move || {
        watched.show(LISTS[0]);
        let daemon = thread::spawn(|| LISTS[1..].iter().for_each(|list| watched.show(list)));
        let seen = watched.seen().unwrap();
        assert!(LISTS.contains(&seen.as_slice()), "{seen:?}");
        daemon.join().unwrap();
        assert_eq!(watched.seen().unwrap(), LISTS[3]);
    });
}

/// A memory for a trace, of so many cells.
fn trace(cells: usize) -> &'static Trace {
    let memfd = Memfd::create("test-trace", Trace::bytes(cells)).unwrap();
    stays(Trace::open(&memfd).unwrap())
}

/// A writer comes round while the reader copies: what is read is what one of them wrote, and what is not read was
/// missed.
#[test]
fn a_record_of_a_trace_is_whole_or_missed() {
    let trace = trace(1);
    check(move || {
        assert!(trace.put(&[1]));
        let writer = thread::spawn(move || assert!(trace.put(&[2])));
        let (mut reader, mut record) = (Reader::default(), Vec::new());
        let mut seen = Vec::new();
        if reader.take(trace, 0, &mut record) {
            seen.push(record.clone());
        }
        writer.join().unwrap();
        if reader.take(trace, 0, &mut record) {
            seen.push(record.clone());
        }
        assert!(
            [&[vec![1], vec![2]][..], &[vec![2]]].contains(&seen.as_slice()),
            "{seen:?}"
        );
        let missed = reader.missed_in_the_end(trace);
        assert_eq!(seen.len() as u64 + missed, 2, "{seen:?}");
    });
}

/// Two writers in the same cell, the first of which may be the last to fill it: no mixture is read.
#[test]
fn writers_of_a_trace_do_not_mix() {
    let trace = trace(1);
    check(move || {
        let writer = thread::spawn(move || assert!(trace.put(&[1])));
        assert!(trace.put(&[2]));
        writer.join().unwrap();
        let (mut reader, mut record) = (Reader::default(), Vec::new());
        let is_read = reader.take(trace, 0, &mut record);
        assert!(
            !is_read || [vec![1], vec![2]].contains(&record),
            "{record:?}"
        );
        assert_eq!(u64::from(is_read) + reader.missed_in_the_end(trace), 2);
    });
}

/// With room for all nothing is missed, and a record of two cells is in one piece.
#[test]
fn records_of_a_trace_have_all_their_cells() {
    let trace = trace(64);
    check(move || {
        let long = thread::spawn(move || assert!(trace.put(&[7; 10])));
        let (mut reader, mut record) = (Reader::default(), Vec::new());
        let mut seen = reader.take(trace, 0, &mut record);
        long.join().unwrap();
        seen |= reader.take(trace, 0, &mut record);
        assert!(seen && record == [7; 10], "{record:?}");
        assert_eq!(reader.missed_in_the_end(trace), 0);
    });
}
