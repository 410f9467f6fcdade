//! The protocols of the data path under loom: the very source files, with loom's atomics.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release -p uvale-shared --test protocols
//! ```
#![cfg(loom)]
#![allow(missing_docs, dead_code, clippy::undocumented_unsafe_blocks)]

mod sync {
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    /// A futex sleep may end at any time; under loom it is a yield.
    pub fn wait(_word: &AtomicU64, _expected: u64) -> bool {
        loom::thread::yield_now();
        false
    }
    pub fn wake_all(_word: &AtomicU64) {}
}

mod shm {
    /// Stands in for the marker trait of shared memory.
    ///
    /// # Safety
    /// None is needed here.
    pub unsafe trait Shared {}
}

#[path = "../src/lock.rs"]
mod lock;
#[path = "../src/sleepers.rs"]
mod sleepers;
#[path = "../src/watch.rs"]
mod watch;

use lock::{LockWord, Owner};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use sync::{AtomicU32, AtomicU64, Ordering};

/// Few preemptions find what there is to find; all of them would take hours.
fn check(f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(f);
}

/// Two sessions, one lock: their critical sections never overlap, and each sees the other's.
#[test]
fn lock_excludes_and_publishes() {
    check(|| {
        let shared = Arc::new((LockWord::default(), UnsafeCell::new(0u32)));
        let other = shared.clone();
        let thread = loom::thread::spawn(move || {
            let _guard = other.0.lock(Owner::new(2, 1)).unwrap();
            other.1.with_mut(|p| unsafe { *p += 1 });
        });
        {
            let _guard = shared.0.lock(Owner::new(3, 1)).unwrap();
            shared.1.with_mut(|p| unsafe { *p += 1 });
        }
        thread.join().unwrap();
        let _guard = shared.0.lock(Owner::new(4, 1)).unwrap();
        shared.1.with(|p| assert_eq!(unsafe { *p }, 2));
    });
}

/// The daemon breaks the lock of a session that died while somebody waits for it: the waiter gets
/// it, and sees what the dead one wrote before.
#[test]
fn lock_of_the_dead_is_broken() {
    check(|| {
        let shared = Arc::new((LockWord::default(), UnsafeCell::new(0u32)));
        {
            let guard = shared.0.lock(Owner::new(7, 1)).unwrap();
            shared.1.with_mut(|p| unsafe { *p = 7 });
            std::mem::forget(guard); // dies holding it
        }
        let waiter = {
            let shared = shared.clone();
            loom::thread::spawn(move || {
                let _guard = shared.0.lock(Owner::new(8, 1)).unwrap();
                shared.1.with(|p| assert_eq!(unsafe { *p }, 7));
            })
        };
        assert!(shared.0.break_dead(7));
        assert!(!shared.0.break_dead(7));
        waiter.join().unwrap();
        assert_eq!(shared.0.owner(), 0);
    });
}

/// Breaking a dead session's locks does not touch a lock that a live one holds.
#[test]
fn lock_of_the_living_is_left_alone() {
    check(|| {
        let lock = Arc::new(LockWord::default());
        let live = {
            let lock = lock.clone();
            loom::thread::spawn(move || {
                let guard = lock.lock(Owner::new(5, 1)).unwrap();
                assert_eq!(lock.owner(), 5);
                drop(guard);
            })
        };
        assert!(!lock.break_dead(6));
        live.join().unwrap();
    });
}

/// A signal handler that interrupted the holder finds out, instead of waiting for itself.
#[test]
fn nobody_waits_for_itself() {
    check(|| {
        let lock = LockWord::default();
        let guard = lock.lock(Owner::new(2, 1));
        assert!(guard.is_some());
        assert!(lock.lock(Owner::new(2, 1)).is_none());
        assert_eq!(lock.owner(), 2, "a refused guard must not unlock");
        drop(guard);
        assert!(lock.lock(Owner::new(2, 1)).is_some());
    });
}

/// No lost wake-up: if the sleeper does not see the packet in its last look, the sender sees the
/// sleeper.
#[test]
fn a_sleeper_is_woken_or_sees_the_packet() {
    check(|| {
        let shared = Arc::new((AtomicU32::new(0), AtomicU64::new(0)));
        let sender = {
            let shared = shared.clone();
            loom::thread::spawn(move || {
                shared.0.store(1, Ordering::Release);
                sleepers::take(&shared.1)
            })
        };
        sleepers::announce(&shared.1, 3);
        let seen = shared.0.load(Ordering::Acquire) == 1;
        let woken = sender.join().unwrap() & 1 << 3 != 0;
        assert!(seen || woken);
    });
}

/// Two descriptors asleep on one ring, and a withdrawal at the same time: the one that still
/// sleeps is woken or sees the packet.
#[test]
fn a_withdrawal_costs_nobody_else_the_wakeup() {
    check(|| {
        let shared = Arc::new((AtomicU32::new(0), AtomicU64::new(0)));
        sleepers::announce(&shared.1, 1);
        let other = {
            let shared = shared.clone();
            loom::thread::spawn(move || sleepers::withdraw(&shared.1, 1))
        };
        let sender = {
            let shared = shared.clone();
            loom::thread::spawn(move || {
                shared.0.store(1, Ordering::Release);
                sleepers::take(&shared.1)
            })
        };
        sleepers::announce(&shared.1, 2);
        let seen = shared.0.load(Ordering::Acquire) == 1;
        other.join().unwrap();
        let woken = sender.join().unwrap() & 1 << 2 != 0;
        assert!(seen || woken);
    });
}

const N: u32 = 3;

/// A receiving ring, reduced to what its protocol needs.
struct Ring {
    q_lock: LockWord,
    hwtail: AtomicU32,
    hwcur: AtomicU32,
    slots: [UnsafeCell<u32>; N as usize],
}

fn send(ring: &Ring, session: u32, value: u32) -> bool {
    let _guard = ring.q_lock.lock(Owner::new(session, 1)).unwrap();
    let at = ring.hwtail.load(Ordering::Relaxed);
    let hwcur = ring.hwcur.load(Ordering::Acquire);
    let busy = if at >= hwcur {
        at - hwcur
    } else {
        at + N - hwcur
    };
    if busy == N - 1 {
        return false;
    }
    ring.slots[at as usize].with_mut(|p| unsafe { *p = value });
    ring.hwtail.store((at + 1) % N, Ordering::Release);
    true
}

fn receive(ring: &Ring) -> u32 {
    let hwtail = ring.hwtail.load(Ordering::Acquire);
    let mut at = ring.hwcur.load(Ordering::Relaxed);
    let mut seen = 0;
    while at != hwtail {
        ring.slots[at as usize].with(|p| assert!(matches!(unsafe { *p }, 20 | 30)));
        seen += 1;
        at = (at + 1) % N;
    }
    ring.hwcur.store(at, Ordering::Release);
    seen
}

/// Two senders fill a ring under its lock and publish hwtail, the receiver reads up to hwtail and
/// gives back with hwcur: every published slot holds what its sender wrote, and no slot is
/// overwritten before it was given back.
#[test]
fn senders_and_receiver_pass_slots() {
    check(|| {
        let ring = Arc::new(Ring {
            q_lock: LockWord::default(),
            hwtail: AtomicU32::new(0),
            hwcur: AtomicU32::new(0),
            slots: std::array::from_fn(|_| UnsafeCell::new(0)),
        });
        let sender = |session: u32, value: u32| {
            let ring = ring.clone();
            loom::thread::spawn(move || u32::from(send(&ring, session, value)))
        };
        let (a, b) = (sender(2, 20), sender(3, 30));
        let early = receive(&ring);
        let sent = a.join().unwrap() + b.join().unwrap();
        assert_eq!(early + receive(&ring), sent);
        assert_eq!(sent, 2);
    });
}

/// A pipe's slot passes from sender to receiver by pipe_tail of the rx ring and back by pipe_tail
/// of the tx ring: it is never touched by both.
#[test]
fn a_pipe_passes_a_slot_there_and_back() {
    check(|| {
        let pipe = Arc::new((AtomicU32::new(0), AtomicU32::new(0), UnsafeCell::new(0u32)));
        let receiver = {
            let pipe = pipe.clone();
            loom::thread::spawn(move || {
                if pipe.0.load(Ordering::Acquire) == 1 {
                    pipe.2.with_mut(|p| unsafe {
                        assert_eq!(*p, 1);
                        *p = 2;
                    });
                    pipe.1.store(1, Ordering::Release);
                }
            })
        };
        pipe.2.with_mut(|p| unsafe { *p = 1 });
        pipe.0.store(1, Ordering::Release);
        if pipe.1.load(Ordering::Acquire) == 1 {
            pipe.2.with_mut(|p| unsafe {
                assert_eq!(*p, 2);
                *p = 3;
            });
        }
        receiver.join().unwrap();
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
    check(|| {
        let watched = Arc::new(Watched {
            watch: AtomicU64::new(0),
            links: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU32::new(0))),
        });
        watched.show(LISTS[0]);
        let daemon = {
            let watched = watched.clone();
            loom::thread::spawn(move || LISTS[1..].iter().for_each(|list| watched.show(list)))
        };
        let seen = watched.seen().unwrap();
        assert!(LISTS.contains(&seen.as_slice()), "{seen:?}");
        daemon.join().unwrap();
        assert_eq!(watched.seen().unwrap(), LISTS[3]);
    });
}
