//! Ring publication and the receiving side: senders fill slots and show them with hwtail, the receiver gives them
//! back with hwcur.

use super::*;
use uvale_shared::ctl::{RING_OFF, RING_ON};
use uvale_shared::lock::{DAEMON_SESSION, Owner};

/// A switch on which each port knows where the others are.
pub fn switch(names: &[&str], slots: u32) -> (&'static LocalWorld, Vec<&'static LocalPort>) {
    let world = world();
    let ports: Vec<_> = names.iter().map(|name| port(world, name, slots)).collect();
    for (i, port) in (1..).zip(&ports) {
        let process = Process::new(world, 10 + i, port);
        assert!(process.put(&frame(0, i as u8, 0)));
        process.txsync();
    }
    for port in &ports {
        let process = Process::new(world, 2, port);
        process.receive();
        process.rxsync();
    }
    (world, ports)
}

/// One sends, one receives: what arrives is what was sent, in order, and what does not was counted.
#[test]
fn packets_pass_from_ring_to_ring() {
    let (world, ports) = switch(&["vale0:a", "vale0:b"], 3);
    check(move || {
        let (a, b) = (
            Process::new(world, 2, ports[0]),
            Process::new(world, 3, ports[1]),
        );
        let sender = thread::spawn(move || {
            for tag in 1..=2 {
                assert!(a.put(&frame(2, 1, tag)));
                a.txsync();
            }
        });
        let mut got = b.receive();
        got.extend(b.receive());
        sender.join().unwrap();
        got.extend(b.receive());
        assert_eq!(got, [1, 2].map(|tag| frame(2, 1, tag)));
    });
}

/// A full ring: what is sent arrives whole or is dropped and counted, and no slot is filled again before it was
/// given back.
#[test]
fn a_slot_is_filled_again_when_it_was_given_back() {
    let (world, ports) = switch(&["vale0:a", "vale0:b"], 3);
    let (a, b) = (
        Process::new(world, 2, ports[0]),
        Process::new(world, 3, ports[1]),
    );
    let send = |a: &Process, tags: [u8; 2]| {
        assert!(tags.iter().all(|tag| a.put(&frame(2, 1, *tag))));
        a.txsync();
    };
    send(&a, [1, 2]);
    b.rxsync();
    check(move || {
        let (a, b) = (
            Process::new(world, 2, ports[0]),
            Process::new(world, 3, ports[1]),
        );
        let dropped = &b.kring(RX).produced.full;
        let before = dropped.load(Relaxed);
        let sender = thread::spawn(move || send(&a, [3, 4]));
        let mut got = b.take();
        b.rxsync();
        sender.join().unwrap();
        got.extend(b.receive());
        assert_eq!(got.len() as u64 + dropped.load(Relaxed) - before, 4);
        let expected: Vec<_> = (1..).map(|tag| frame(2, 1, tag)).take(got.len()).collect();
        assert_eq!(got, expected);
    });
}

/// Two send to one, by `way`: neither overwrites the other's packet.
fn two_send_to_one(to: u8) {
    let (world, ports) = switch(&["vale0:a", "vale0:c", "vale0:b"], 3);
    check(move || {
        let b = Process::new(world, 4, ports[2]);
        let senders = [1, 2].map(|i| {
            let process = Process::new(world, 1 + i, ports[i as usize - 1]);
            thread::spawn(move || {
                assert!(process.put(&frame(to, i as u8, i as u8)));
                process.txsync();
            })
        });
        let mut got = b.receive();
        for sender in senders {
            sender.join().unwrap();
        }
        got.extend(b.receive());
        got.sort();
        let mut sent = [1, 2].map(|i| frame(to, i, i));
        sent.sort();
        assert_eq!(got, sent);
    });
}

#[test]
fn two_send_to_one_by_runs() {
    two_send_to_one(3);
}

/// Nobody has this address.
#[test]
fn two_send_to_all_in_batches() {
    two_send_to_one(9);
}

/// The daemon takes a ring out of service while somebody sends to it. Once it has passed through the ring's locks,
/// nobody writes there: what it does then with the memory meets no sender.
fn a_ring_out_of_service_is_left_alone(to: u8) {
    let (world, ports) = switch(&["vale0:a", "vale0:b"], 3);
    check(move || {
        let (a, b) = (
            Process::new(world, 2, ports[0]),
            Process::new(world, 3, ports[1]),
        );
        let sender = thread::spawn(move || {
            assert!(a.put(&frame(to, 1, 1)));
            a.txsync();
        });
        let kring = b.kring(RX);
        kring.set_mode(RING_OFF);
        while kring.q_lock.try_lock(DAEMON_SESSION).is_none() {
            thread::yield_now();
        }
        let (ring, region) = (b.ring(RX), b.attachment().region());
        for view in ring.slots() {
            let at = region.pool.offset(view.load().buf_idx);
            assert!(copy_in(&[0; 60], &region.map, at));
            view.store(Slot::default());
        }
        sender.join().unwrap();
    });
}

#[test]
fn a_run_leaves_a_ring_out_of_service_alone() {
    a_ring_out_of_service_is_left_alone(2);
}

#[test]
fn a_batch_leaves_a_ring_out_of_service_alone() {
    a_ring_out_of_service_is_left_alone(9);
}

/// The daemon puts a ring into service, in a place where it was not before, while somebody sends to it or syncs it:
/// whoever finds it in service finds it there.
fn a_ring_in_service_is_where_it_says(act: fn(&Process, &Process)) {
    let (world, ports) = switch(&["vale0:a", "vale0:b"], 3);
    check(move || {
        let (a, b) = (
            Process::new(world, 2, ports[0]),
            Process::new(world, 3, ports[1]),
        );
        let kring = b.kring(RX);
        // The sender knows the ring from before.
        assert!(a.put(&frame(2, 1, 1)));
        a.txsync();
        let place = kring.ring_ofs.load(Relaxed);
        kring.set_mode(RING_OFF);
        kring.ring_ofs.store(0, Relaxed);
        let daemon = thread::spawn({
            let b = b.clone();
            move || {
                b.kring(RX).ring_ofs.store(place, Relaxed);
                b.kring(RX).set_mode(RING_ON);
            }
        });
        let elsewhere = RingView::new(&b.attachment().region().map, 0, 3).unwrap();
        let before = contents(&elsewhere);
        act(&a, &b);
        daemon.join().unwrap();
        assert_eq!(contents(&elsewhere), before);
    });
}

/// What a sync writes of a ring.
fn contents(ring: &RingView<'_>) -> (u32, Vec<Slot>) {
    let slots = ring.slots().iter().map(|view| view.load());
    (ring.header().tail.load(Relaxed), slots.collect())
}

#[test]
fn a_run_finds_a_ring_in_service_where_it_says() {
    a_ring_in_service_is_where_it_says(|a, _| {
        assert!(a.put(&frame(2, 1, 2)));
        a.txsync();
    });
}

#[test]
fn a_sync_finds_its_ring_in_service_where_it_says() {
    a_ring_in_service_is_where_it_says(|_, b| b.rxsync());
}

/// A sender dies while it fills a ring. The daemon breaks its lock, and the next sender fills the same slot.
#[test]
fn a_sender_that_dies_has_published_nothing() {
    let (world, ports) = switch(&["vale0:a", "vale0:b"], 3);
    check(move || {
        let (a, b) = (
            Process::new(world, 2, ports[0]),
            Process::new(world, 3, ports[1]),
        );
        let dying = b.clone();
        let dead = thread::spawn(move || {
            let kring = dying.kring(RX);
            let guard = kring.q_lock.lock(Owner::new(5, 1)).unwrap();
            let at = kring.hwtail.load(Relaxed);
            dying.ring(RX).slots()[at as usize].store_len_flags(1, 0);
            std::mem::forget(guard);
        });
        let sender = thread::spawn(move || {
            assert!(a.put(&frame(2, 1, 1)));
            a.txsync();
        });
        // The kernel tells the daemon of a death when it is over.
        dead.join().unwrap();
        assert!(b.kring(RX).q_lock.break_dead(5));
        let mut got = b.receive();
        sender.join().unwrap();
        got.extend(b.receive());
        assert_eq!(got, [frame(2, 1, 1)]);
    });
}
