//! Senders, a receiver and the program that watches at the same time.

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

use super::*;

const ROUNDS: u32 = 5000;

/// Where two threads wait for each other without sleep, so that they leave together.
#[derive(Default)]
struct Meeting {
    waits: AtomicU32,
    over: AtomicBool,
}

impl Meeting {
    /// Call number `n`, from 1, of either thread.
    fn wait(&self, n: u32) {
        self.waits.fetch_add(1, SeqCst);
        let mut spins = 0u32;
        while self.waits.load(SeqCst) < 2 * n {
            assert!(!self.over.load(Relaxed), "the other thread is gone");
            spins += 1;
            if spins.is_multiple_of(1000) {
                std::thread::yield_now();
            }
        }
    }
}

/// A thread that panics does not come to the next meeting.
struct Leaving<'a>(&'a Meeting);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.over.store(std::thread::panicking(), Relaxed);
    }
}

/// A sender that finds the receiver's ring locked leaves its packets to the receiver's sync, which
/// may be over but for letting go of the lock: none stays behind.
fn nothing_stays_unseen(names: [&str; 2]) {
    const EACH: u8 = 2;
    let w = world();
    let (a, b) = (port(&w, names[0]), port(&w, names[1]));
    let m = monitor(&w, names[1], NR_MONITOR_RX);
    let meeting = Meeting::default();
    std::thread::scope(|s| {
        let _over = Leaving(&meeting);
        s.spawn(|| {
            for round in 0..ROUNDS {
                meeting.wait(3 * round + 1);
                for tag in 0..EACH {
                    send(&w, &a, tag..tag + 1);
                }
                meeting.wait(3 * round + 2);
                meeting.wait(3 * round + 3);
            }
        });
        for round in 0..ROUNDS {
            meeting.wait(3 * round + 1);
            // Syncs, but neither takes nor releases anything, and does not know when it is enough.
            for _ in 0..1 + round % 13 {
                b.attachment.rxsync(&w);
            }
            meeting.wait(3 * round + 2);
            let got = seen(&w, &m);
            assert_eq!(got, rx_tags(0..EACH), "round {round}");
            m.attachment.rxsync(&w);
            assert_eq!(take(&w, &b).len(), usize::from(EACH));
            // Only the sender's sync shows a pipe's sender what came back.
            a.attachment.txsync(&w);
            meeting.wait(3 * round + 3);
        }
    });
    assert_eq!(audit(&w), []);
}

#[test]
fn nothing_stays_unseen_on_a_switch() {
    nothing_stays_unseen(["vale0:a", "vale0:b"]);
}

#[test]
fn nothing_stays_unseen_on_a_pipe() {
    nothing_stays_unseen(["p{1", "p}1"]);
}

/// The same among senders: who finds the receiver's ring locked by another sender leaves its packets
/// to that one. Nobody syncs the receiver.
#[test]
fn senders_show_each_others_packets() {
    const EACH: u8 = 2;
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let to = port(&w, "vale0:to");
    let m = monitor(&w, "vale0:to", NR_MONITOR_RX);
    let meeting = Meeting::default();
    let from = |p: &LocalPort, check: &dyn Fn(u32)| {
        for round in 0..ROUNDS {
            meeting.wait(3 * round + 1);
            for tag in 0..EACH {
                assert!(put(&w, p, &packet(tag), 0));
                p.attachment.txsync(&w);
            }
            meeting.wait(3 * round + 2);
            check(round);
            meeting.wait(3 * round + 3);
        }
    };
    std::thread::scope(|s| {
        let _over = Leaving(&meeting);
        s.spawn(|| from(&a, &|_| {}));
        from(&b, &|round| {
            let got = seen(&w, &m);
            assert_eq!(got.len(), 2 * usize::from(EACH), "round {round}");
            m.attachment.rxsync(&w);
            assert_eq!(take(&w, &to).len(), got.len());
        });
    });
}

/// Sets what it refers to when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Monitors come and go while packets flow: buffers stay where they belong.
#[test]
fn monitors_come_and_go() {
    for names in [["vale0:a", "vale0:b"], ["p{1", "p}1"]] {
        let w = world();
        let (a, b) = (port(&w, names[0]), port(&w, names[1]));
        let stop = AtomicBool::new(false);
        let received = AtomicUsize::new(0);
        std::thread::scope(|s| {
            s.spawn(|| {
                while !stop.load(Relaxed) {
                    for tag in 0..8 {
                        put(&w, &a, &packet(tag), 0);
                    }
                    a.attachment.txsync(&w);
                }
            });
            s.spawn(|| {
                while !stop.load(Relaxed) {
                    received.fetch_add(take(&w, &b).len(), Relaxed);
                }
            });
            // A panic here must end the threads, too.
            let _stop = Stop(&stop);
            let mut monitors = Vec::new();
            for round in 0..400 {
                let flags = [NR_ZCOPY_MON, NR_MONITOR_RX | NR_MONITOR_TX][round % 2];
                monitors.push(monitor(&w, names[round / 2 % 2], flags));
                for m in &monitors {
                    drop(seen(&w, m));
                    m.attachment.rxsync(&w);
                }
                if monitors.len() > 3 {
                    w.close(monitors.remove(round % 4));
                    // As the daemon does: what a sync was in the middle of goes later.
                    w.world.lock().unwrap().collect();
                }
            }
            // On a busy machine the receiver may not have had its turn yet.
            for _ in 0..1_000_000 {
                if received.load(Relaxed) > 0 {
                    break;
                }
                std::thread::yield_now();
            }
            stop.store(true, Relaxed);
            monitors.into_iter().for_each(|m| w.close(m));
        });
        assert!(received.into_inner() > 0);
        assert_eq!(audit(&w), []);
        let mut world = w.world.lock().unwrap();
        assert!(!world.collect() && world.is_quiet());
    }
}

/// The number in a packet of [`numbered`].
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[14], bytes[15], bytes[16], bytes[17]])
}

fn numbered(number: u32) -> Vec<u8> {
    let mut bytes = packet(0);
    bytes.resize(64, 0);
    bytes[14..18].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Looks at what a monitor has been shown: no packet twice, and none after a later one.
fn assert_in_order(w: &LocalWorld, m: &LocalPort, last: &mut u32) {
    m.attachment.rxsync(w);
    for bytes in take(w, m) {
        let this = number(&bytes);
        assert!(this > *last, "{this} after {last}");
        *last = this;
    }
}

/// Up to six copy monitors of a receiver, of which now this one leaves and now that one, while packets
/// arrive: each sees packets once and in order.
#[test]
fn monitors_that_stay_see_each_packet_once() {
    for flags in [NR_MONITOR_RX, NR_MONITOR_TX] {
        let w = world();
        let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
        let watched = if flags == NR_MONITOR_RX {
            "vale0:b"
        } else {
            "vale0:a"
        };
        let stop = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut next = 1;
                while !stop.load(Relaxed) {
                    while put(&w, &a, &numbered(next), 0) {
                        next += 1;
                    }
                    a.attachment.txsync(&w);
                    drop(take(&w, &b));
                }
            });
            let _stop = Stop(&stop);
            let mut monitors: Vec<(LocalPort, u32)> = Vec::new();
            for round in 0..3000 {
                if monitors.len() < 6 {
                    monitors.push((monitor(&w, watched, flags), 0));
                } else {
                    w.close(monitors.remove(round * 7 % 6).0);
                    w.world.lock().unwrap().collect();
                }
                for (m, last) in &mut monitors {
                    assert_in_order(&w, m, last);
                }
            }
            stop.store(true, Relaxed);
            monitors.into_iter().for_each(|(m, _)| w.close(m));
        });
        assert_eq!(audit(&w), []);
    }
}
