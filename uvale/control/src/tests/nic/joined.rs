//! NIC ports whose other ends are open, too, and what deaths leave of their exchanges.

use super::super::super::Finding;
use super::*;
use nm_abi::NS_MOREFRAG;
use uvale_engine::{RX, TX};
use uvale_shared::ctl::{Kring, SWAPS};
use uvale_shared::lock::LockWord;

const DEAD: u32 = 7;
const DEADLINE: u64 = 12345;

fn hold(lock: &LockWord) {
    core::mem::forget(lock.try_lock(DEAD).expect("free"));
}

/// The kring of ring `i` of a descriptor's port, and its index.
fn kring(w: &World, c: ClientId, dir: usize, i: u32) -> (u32, &Kring) {
    let port = w.ctl().port(w.binding(c).unwrap().port).unwrap();
    let first = if dir == TX {
        &port.tx_kring
    } else {
        &port.rx_kring
    };
    let index = first.load(Relaxed) + i;
    (index, w.ctl().kring(index).unwrap())
}

fn port_of(w: &World, c: ClientId) -> u32 {
    w.binding(c).unwrap().port
}

/// What `joined` of the krings of a descriptor's port says: tx, then rx, host rings last.
fn joined(w: &World, c: ClientId) -> Vec<u32> {
    let of = |dir| (0..2).map(move |i| kring(w, c, dir, i).1.joined.load(Relaxed));
    of(TX).chain(of(RX)).collect()
}

fn join(w: &mut World, a: ClientId, b: ClientId) -> core::result::Result<(), String> {
    let (a, b) = (port_of(w, a), port_of(w, b));
    w.join(a, b, DEADLINE)
}

/// Both ends of a pair with one queue, joined.
fn pair(w: &mut World) -> (ClientId, ClientId) {
    let (a, _) = open_nic(w, ("veth0", &veth(2, 1)), mode(NR_REG_NIC_SW, 0));
    let (b, _) = open_nic(w, ("veth1", &veth(3, 1)), mode(NR_REG_NIC_SW, 0));
    join(w, a, b).unwrap();
    (a, b)
}

#[test]
fn each_ring_knows_its_peer() {
    let mut w = world();
    let (a, b) = pair(&mut w);
    for (one, other) in [(a, b), (b, a)] {
        let (tx, rx) = (kring(&w, other, TX, 0).0 + 1, kring(&w, other, RX, 0).0 + 1);
        // Host rings have none.
        assert_eq!(joined(&w, one), [rx, 0, tx, 0]);
        assert_eq!(kring(&w, one, RX, 0).1.joining.load(Relaxed), DEADLINE);
        assert_eq!(kring(&w, one, TX, 0).1.joining.load(Relaxed), 0);
        assert_eq!(
            nic_of(&w, &w.binding(one).unwrap().name).joined,
            Some(port_of(&w, other))
        );
    }
    let names: Vec<_> = w.ports().map(|p| p.nic.unwrap().joined.unwrap()).collect();
    assert_eq!(names, ["veth1", "veth0"]);
    // Again changes nothing.
    kring(&w, a, RX, 0).1.joining.store(0, Relaxed);
    join(&mut w, b, a).unwrap();
    assert_eq!(kring(&w, a, RX, 0).1.joining.load(Relaxed), 0);
    let port = port_of(&w, b);
    w.part(port);
    for c in [a, b] {
        assert_eq!(
            (joined(&w, c), w.nics().all(|n| n.joined.is_none())),
            (vec![0; 4], true)
        );
        assert_eq!(kring(&w, c, RX, 0).1.joining.load(Relaxed), 0);
    }
    w.part(port);
}

/// Slots exchange buffers, and a full ring takes no more; after the two have parted nothing arrives.
#[test]
fn packets_arrive() {
    let mut w = world();
    let (a, b) = pair(&mut w);
    let host = Process::new(&w, 9);
    let (at_a, at_b) = (host.attach(&w, a), host.attach(&w, b));
    let (tx, rx) = (UserRing::of(&w, a, true, 0), UserRing::of(&w, b, false, 0));
    let sent = View::of(&w, a).buffers(true, 0);
    let room = View::of(&w, b).buffers(false, 0);
    tx.advance(40, 0);
    at_a.txsync(&host);
    at_b.rxsync(&host);
    assert_eq!((rx.owned(), tx.owned()), (40, 1023));
    assert_eq!(View::of(&w, b).buffers(false, 0)[..40], sent[..40]);
    assert_eq!(View::of(&w, a).buffers(true, 0)[..40], room[..40]);
    assert_eq!(
        (kring(&w, a, TX, 0).1.hwcur.load(Relaxed), w.audit()),
        (40, Vec::new())
    );
    tx.advance(1023, 0);
    at_a.txsync(&host);
    at_b.rxsync(&host);
    assert_eq!((rx.owned(), tx.owned()), (1023, 983));
    rx.advance(1023, 0);
    at_b.rxsync(&host);
    let port = port_of(&w, a);
    w.part(port);
    at_a.txsync(&host);
    at_b.rxsync(&host);
    assert_eq!((rx.owned(), w.audit()), (0, Vec::new()));
    join(&mut w, b, a).unwrap();
    at_a.txsync(&host);
    at_b.rxsync(&host);
    assert_eq!((rx.owned(), tx.owned()), (40, 1023));
    w.close(a);
    w.close(b);
    assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
}

/// A packet for which the other end's ring has too few slots is lost, and stops nothing.
#[test]
fn packets_longer_than_the_ring() {
    let mut w = world();
    let short = Interface {
        rx_slots: 16,
        tx_slots: 16,
        ..veth(3, 1)
    };
    let (a, _) = open_nic(&mut w, ("veth0", &veth(2, 1)), all());
    let (b, _) = open_nic(&mut w, ("veth1", &short), all());
    join(&mut w, a, b).unwrap();
    let host = Process::new(&w, 9);
    let (at_a, at_b) = (host.attach(&w, a), host.attach(&w, b));
    let (tx, rx) = (UserRing::of(&w, a, true, 0), UserRing::of(&w, b, false, 0));
    let sync = || {
        at_a.txsync(&host);
        at_b.rxsync(&host);
    };
    let of = |slots: u32| {
        tx.advance(slots - 1, NS_MOREFRAG);
        tx.advance(1, 0);
    };
    // The longest that fits, and one that is longer.
    of(15);
    of(16);
    tx.advance(2, 0);
    sync();
    assert_eq!((rx.owned(), tx.owned()), (15, 1023 - 18));
    rx.advance(15, 0);
    at_b.rxsync(&host);
    sync();
    assert_eq!((rx.owned(), tx.owned()), (2, 1023));
    assert_eq!(kring(&w, b, RX, 0).1.produced.full.load(Relaxed), 1);
    rx.advance(2, 0);
    at_b.rxsync(&host);
    // What has no end yet waits for it, as long as there is a slot for it.
    tx.advance(100, NS_MOREFRAG);
    sync();
    assert_eq!(tx.owned(), 923);
    tx.advance(1023, NS_MOREFRAG);
    sync();
    assert_eq!((rx.owned(), tx.owned()), (0, 1023));
    of(3);
    sync();
    assert_eq!((rx.owned(), w.audit()), (3, Vec::new()));
}

#[test]
fn what_cannot_be_joined() {
    let mut w = world();
    let (a, _) = open_nic(&mut w, ("veth0", &veth(2, 1)), all());
    let (b, _) = open_nic(&mut w, ("veth1", &veth(3, 1)), all());
    let (four, _) = open_nic(&mut w, ("mq0", &veth(4, 4)), all());
    let (vale, _) = open(&mut w, "vale0:a", all());
    let uneven = |tx_queues, rx_queues, index| Interface {
        tx_queues,
        rx_queues,
        ..veth(index, 1)
    };
    let (c, _) = open_nic(&mut w, ("v5", &uneven(1, 2, 5)), all());
    let (d, _) = open_nic(&mut w, ("v6", &uneven(1, 2, 6)), all());
    let (e, _) = open_nic(&mut w, ("v7", &uneven(2, 1, 7)), all());
    let reg = nmreq_register {
        nr_mem_id: 1,
        ..all()
    };
    let _ = open(&mut w, "vale0:b", reg);
    let elsewhere = nmreq_register {
        nr_mem_id: w.bound(vale).unwrap().mem_id,
        ..all()
    };
    let (other, _) = open_nic(&mut w, ("v8", &veth(8, 1)), elsewhere);
    for (one, two) in [(a, a), (a, four), (a, vale), (vale, a), (c, d), (a, other)] {
        let why = join(&mut w, one, two).unwrap_err();
        assert!(why.len() > 8, "{why}");
    }
    assert!(w.join(9999, 1, 0).is_err());
    join(&mut w, c, e).unwrap();
    join(&mut w, a, b).unwrap();
    let (f, _) = open_nic(&mut w, ("v9", &veth(9, 1)), all());
    assert!(
        join(&mut w, a, f)
            .unwrap_err()
            .contains("joined with veth1")
    );
    assert!(join(&mut w, f, b).is_err());
}

/// Buffers with offsets are not exchanged, whoever comes first.
#[test]
fn offsets_part() {
    let mut w = world();
    let (a, b) = pair(&mut w);
    let d = w.open();
    let asked = nmreq_opt_offsets {
        nro_opt: nmreq_option {
            nro_reqtype: NETMAP_REQ_OPT_OFFSETS,
            ..nmreq_option::default()
        },
        nro_max_offset: 64,
        ..nmreq_opt_offsets::default()
    };
    let mut r = request(NETMAP_REQ_REGISTER, "veth1", &all());
    r.options.push(crate::tests::options::option(&asked));
    let mut caller = Caller {
        interface: Some(veth(3, 1)),
        ..Caller::default()
    };
    w.request_from(d, &mut caller, &mut r).unwrap();
    assert_eq!(joined(&w, a), [0; 4]);
    assert!(join(&mut w, b, a).unwrap_err().contains("offsets"));
}

/// Whatever takes an end away parts the two; one of several descriptors does not.
#[test]
fn what_parts() {
    let mut w = world();
    let (a, b) = pair(&mut w);
    let (one, _) = open_nic(&mut w, ("veth0", &veth(2, 1)), all());
    w.close(a);
    assert_ne!(joined(&w, b), [0; 4]);
    w.close(one);
    assert_eq!(joined(&w, b), [0; 4]);
    assert_eq!(nic_of(&w, "veth1").joined, None);
    let (a, _) = open_nic(&mut w, ("veth0", &veth(2, 1)), all());
    join(&mut w, a, b).unwrap();
    let port = port_of(&w, a);
    w.nic_gone(port);
    assert_eq!((joined(&w, a), joined(&w, b)), (vec![0; 4], vec![0; 4]));
    assert!(join(&mut w, a, b).unwrap_err().contains("gone"));
    w.close(a);
    w.close(b);
    assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
}

/// A sync that has found its peer before the two parted may use the peer's krings until it ends.
#[test]
fn krings_in_hand_are_not_given_away() {
    let mut w = world();
    let (a, b) = pair(&mut w);
    let theirs = kring(&w, b, RX, 0).0;
    hold(&kring(&w, a, TX, 0).1.busy);
    w.close(b);
    assert!(w.collect(), "a sync of the other end goes on");
    let (b, _) = open_nic(&mut w, ("veth1", &veth(3, 1)), all());
    assert_ne!(kring(&w, b, RX, 0).0, theirs);
    w.session_died(DEAD);
    assert!(!w.collect());
    // The other way round: it is the end that goes first whose sync goes on.
    join(&mut w, a, b).unwrap();
    hold(&kring(&w, a, TX, 0).1.busy);
    w.close(a);
    w.close(b);
    let used = w.krings_in_use();
    assert!(used >= 8, "{used}");
    w.session_died(DEAD);
    assert!(!w.collect());
    assert_eq!((w.krings_in_use(), w.ports().count()), (0, 0));
}

/// Begins exchanges as the data path does, from slots `first` on, of `count` pairs; stores `stored` slots.
pub(in crate::tests) fn half_swap(
    w: &World,
    (tx, rx): ((u32, &Kring), (u32, &Kring)),
    first: [u32; 2],
    count: usize,
    stored: usize,
) {
    let region = w.region(tx.1.region.load(Relaxed)).unwrap();
    let ring = |k: &Kring| {
        RingView::new(
            region.map(),
            k.ring_ofs.load(Relaxed),
            k.num_slots.load(Relaxed),
        )
        .unwrap()
    };
    let (from, to) = (ring(tx.1), ring(rx.1));
    let at = |i: usize| {
        let pick = |slots: &'_ [uvale_shared::shm::SlotView], first: u32| {
            (first as usize + i) % slots.len()
        };
        (
            &from.slots()[pick(from.slots(), first[0])],
            &to.slots()[pick(to.slots(), first[1])],
        )
    };
    for i in 0..count {
        tx.1.swapped[i].store(at(i).1.load().buf_idx, Relaxed);
    }
    let swap = &tx.1.swap;
    swap.slots
        .store(u64::from(first[0]) | u64::from(first[1]) << 32, Relaxed);
    swap.count.store(count as u64, Relaxed);
    swap.with.store(u64::from(rx.0) + 1, Relaxed);
    for step in 0..stored.min(2 * count) {
        let (sent, filled) = at(step / 2);
        if step % 2 == 0 {
            let buf_idx = sent.load().buf_idx;
            filled.store(Slot {
                buf_idx,
                len: 60,
                ..filled.load()
            });
        } else {
            let buf_idx = tx.1.swapped[step / 2].load(Relaxed);
            sent.store(Slot {
                buf_idx,
                ..sent.load()
            });
        }
    }
}

#[test]
fn a_death_in_an_exchange_is_undone() {
    for stored in 0..=2 * SWAPS {
        let mut w = world();
        let (a, b) = pair(&mut w);
        let (tx, rx) = (
            View::of(&w, a).buffers(true, 0),
            View::of(&w, b).buffers(false, 0),
        );
        let (from, to) = (kring(&w, a, TX, 0), kring(&w, b, RX, 0));
        hold(&from.1.busy);
        hold(&to.1.q_lock);
        half_swap(&w, (from, to), [1020, 3], SWAPS, stored);
        from.1.hwcur.store(28, Relaxed);
        let found = w.session_died(DEAD);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found
                .iter()
                .all(|f| matches!(f, Finding::LockBroken { .. }))
        );
        assert_eq!(View::of(&w, a).buffers(true, 0), tx, "{stored} stored");
        assert_eq!(View::of(&w, b).buffers(false, 0), rx, "{stored} stored");
        assert_eq!(
            (kring(&w, a, TX, 0).1.swap.with.load(Relaxed), w.audit()),
            (0, Vec::new())
        );
        assert_eq!(kring(&w, a, TX, 0).1.hwcur.load(Relaxed), 1020);
    }
}

/// The same after both ends were closed: nothing is lost, nothing is doubled.
#[test]
fn a_death_in_an_exchange_of_closed_ports() {
    for stored in [0, 1, 2, 3, 40, 64] {
        let mut w = world();
        let (keeper, _) = open_nic(&mut w, ("veth9", &veth(9, 1)), all());
        let used = w.memories().next().unwrap().used;
        let (a, b) = pair(&mut w);
        let (from, to) = (kring(&w, a, TX, 0), kring(&w, b, RX, 0));
        hold(&from.1.busy);
        hold(&to.1.q_lock);
        half_swap(&w, (from, to), [0, 0], SWAPS, stored);
        w.close(b);
        w.close(a);
        assert!(w.collect());
        w.session_died(DEAD);
        assert!(!w.collect());
        assert_eq!(
            (w.memories().next().unwrap().used, w.audit()),
            (used, Vec::new())
        );
        w.close(keeper);
        assert_eq!(w.krings_in_use(), 0);
    }
}

/// What is written down is believed only if it can be true.
#[test]
fn nonsense_is_not_undone() {
    type Spoil = fn(&World, &Kring);
    let spoils: [(Spoil, bool); 7] = [
        (|_, tx| tx.swap.count.store(SWAPS as u64 + 1, Relaxed), true),
        (|_, tx| tx.swap.slots.store(1024, Relaxed), true),
        (|_, tx| tx.swap.slots.store(1024 << 32, Relaxed), true),
        (|_, tx| tx.swap.with.store(u64::MAX, Relaxed), true),
        (|_, tx| tx.swap.with.store(1 << 20, Relaxed), true),
        (
            |_, tx| {
                tx.swap
                    .with
                    .store(u64::from(tx.joined.load(Relaxed)), Relaxed)
            },
            false,
        ),
        (|_, tx| tx.region.store(999, Relaxed), true),
    ];
    for (spoil, receiver) in spoils {
        let mut w = world();
        let (a, b) = pair(&mut w);
        let (from, to) = (kring(&w, a, TX, 0), kring(&w, b, RX, 0));
        hold(&from.1.busy);
        if receiver {
            hold(&to.1.q_lock);
        }
        half_swap(&w, (from, to), [0, 0], 4, 2);
        spoil(&w, from.1);
        let before = (
            View::of(&w, a).buffers(true, 0),
            View::of(&w, b).buffers(false, 0),
        );
        w.session_died(DEAD);
        let after = (
            View::of(&w, a).buffers(true, 0),
            View::of(&w, b).buffers(false, 0),
        );
        assert_eq!(before, after);
        assert_eq!(kring(&w, a, TX, 0).1.swap.with.load(Relaxed), 0);
    }
    // The receiving program has written into a slot that was not shown to it.
    let mut w = world();
    let (a, b) = pair(&mut w);
    let (from, to) = (kring(&w, a, TX, 0), kring(&w, b, RX, 0));
    hold(&from.1.busy);
    hold(&to.1.q_lock);
    half_swap(&w, (from, to), [0, 0], 1, 2);
    let sent = View::of(&w, a).buffers(true, 0);
    let v = View::of(&w, b);
    v.set_word(v.ring(false, 0) + 256, u32::MAX);
    w.session_died(DEAD);
    assert_eq!(View::of(&w, a).buffers(true, 0), sent);
}
