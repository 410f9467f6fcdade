//! Clients that die or stop at bad moments.

use super::super::Finding;
use super::*;
use uvale_shared::ctl::{self, RING_OFF};
use uvale_shared::lock::LockWord;

const DEAD: u32 = 7;

/// Takes a lock as session `DEAD` does that never comes back.
fn hold(lock: &LockWord) {
    core::mem::forget(lock.try_lock(DEAD).expect("free"));
}

fn kring(w: &World, c: ClientId, tx: bool, i: u32) -> &ctl::Kring {
    let port = w.ctl().port(w.binding(c).unwrap().port).unwrap();
    let first = if tx { &port.tx_kring } else { &port.rx_kring };
    w.ctl().kring(first.load(Relaxed) + i).unwrap()
}

fn pipe(w: &mut World, slots: u32) -> (ClientId, ClientId) {
    let reg = nmreq_register {
        nr_tx_slots: slots,
        nr_rx_slots: slots,
        ..all()
    };
    (open(w, "p{1", reg).0, open(w, "p}1", reg).0)
}

fn nothing_left(w: &mut World) {
    assert!(!w.collect());
    assert_eq!(
        (w.ports().count(), w.krings_in_use(), w.memories().count()),
        (0, 0, 1)
    );
    let global = w.memories().next().unwrap();
    assert!(
        global.region.is_none() || global.used == [0, 0, 2],
        "{global:?}"
    );
}

#[test]
fn a_sender_that_died_before_publishing_sends_again() {
    let mut w = world();
    let (m, s) = pipe(&mut w, 16);
    let host = Process::new(&w, 9);
    let (am, as_) = (host.attach(&w, m), host.attach(&w, s));
    let (tx, rx) = (UserRing::of(&w, m, true, 0), UserRing::of(&w, s, false, 0));
    tx.advance(3, 0);
    am.txsync(&host);
    as_.rxsync(&host);
    assert_eq!(rx.owned(), 3);

    // four more: copied and hwcur moved, not published
    tx.advance(4, 0);
    let k = kring(&w, m, true, 0);
    hold(&k.busy);
    k.rhead.store(7, Relaxed);
    k.rcur.store(7, Relaxed);
    k.hwcur.store(7, Relaxed);
    let found = w.session_died(DEAD);
    assert_eq!(
        found,
        [Finding::LockBroken {
            port: "p{1".into(),
            ring: 0,
            tx: true
        }]
    );
    let k = kring(&w, m, true, 0);
    assert_eq!((k.hwcur.load(Relaxed), k.busy.owner()), (3, 0));
    am.txsync(&host);
    as_.rxsync(&host);
    assert_eq!(
        rx.owned(),
        7,
        "what was not shown is sent once more, and once only"
    );
    assert!(w.audit().is_empty());
    w.close(m);
    w.close(s);
    nothing_left(&mut w);
}

#[test]
fn a_receiver_that_died_after_returning_does_not_return_twice() {
    let mut w = world();
    let (m, s) = pipe(&mut w, 16);
    let host = Process::new(&w, 9);
    let (am, as_) = (host.attach(&w, m), host.attach(&w, s));
    let (tx, rx) = (UserRing::of(&w, m, true, 0), UserRing::of(&w, s, false, 0));
    tx.advance(10, 0);
    am.txsync(&host);
    as_.rxsync(&host);
    rx.advance(6, 0);

    // six came back: shown to the sender, hwcur not moved
    let k = kring(&w, s, false, 0);
    hold(&k.busy);
    kring(&w, m, true, 0).pipe_tail.store(5, Relaxed);
    w.session_died(DEAD);
    let k = kring(&w, s, false, 0);
    assert_eq!((k.hwcur.load(Relaxed), k.busy.owner()), (6, 0));
    am.txsync(&host);
    assert_eq!(tx.owned(), 16 - 1 - 10 + 6);
    as_.rxsync(&host);
    assert_eq!(rx.owned(), 4);
    assert!(w.audit().is_empty(), "{:?}", w.audit());
}

#[test]
fn nonsense_in_control_memory_survives_repair_and_teardown() {
    let mut w = world();
    let (m, s) = pipe(&mut w, 16);
    hold(&kring(&w, m, true, 0).busy);
    kring(&w, s, false, 0).pipe_tail.store(u32::MAX, Relaxed);
    kring(&w, m, true, 0).pipe_tail.store(1 << 20, Relaxed);
    kring(&w, s, true, 0).pipe.store(u32::MAX, Relaxed);
    kring(&w, s, true, 0).hwcur.store(999, Relaxed);
    w.session_died(DEAD);
    w.close(m);
    w.close(s);
    nothing_left(&mut w);
}

#[test]
fn the_daemon_and_nobody_are_not_clients() {
    let mut w = world();
    let (m, _) = pipe(&mut w, 16);
    core::mem::forget(kring(&w, m, true, 0).busy.try_lock(1).unwrap());
    for session in [0, 1] {
        assert!(w.session_died(session).is_empty());
    }
    assert_eq!(kring(&w, m, true, 0).busy.owner(), 1);
}

#[test]
fn a_name_is_free_while_a_stopped_sender_holds_the_old_ring() {
    let mut w = world();
    let (c, _) = open(&mut w, "vale0:a", all());
    open(&mut w, "vale0:b", all());
    let used = w.krings_in_use();
    let old = w.binding(c).unwrap().clone();
    let index = w.ctl().port(old.port).unwrap().rx_kring.load(Relaxed);
    hold(&kring(&w, c, false, 0).q_lock);
    w.close(c);
    assert_eq!(w.ctl().kring(index).unwrap().mode.load(Relaxed), RING_OFF);
    assert!(w.collect(), "something is left");
    assert!(w.region(old.region).is_some());

    let (c, _) = open(&mut w, "vale0:a", all());
    let new = w.binding(c).unwrap();
    assert_ne!(new.region, old.region);
    assert_ne!(
        w.ctl().port(new.port).unwrap().rx_kring.load(Relaxed),
        index
    );
    assert!(w.collect());

    // the sender dies at last
    w.session_died(DEAD);
    assert!(!w.collect());
    assert!(w.region(old.region).is_none());
    assert_eq!(w.krings_in_use(), used);
}

#[test]
fn buffers_under_a_stopped_writer_are_not_given_out() {
    let mut config = Config::default();
    config.global.buf.num = 8192;
    let mut w = world_with(config);
    let global = |n| nmreq_register {
        nr_mem_id: 1,
        nr_extra_bufs: n,
        ..all()
    };
    open(&mut w, "vale0:keeper", global(0));
    let (c, _) = open(&mut w, "vale0:a", global(0));
    let held = View::of(&w, c).buffers(false, 0);
    let lock = &kring(&w, c, false, 0).q_lock;
    let guard = lock.try_lock(9).unwrap();
    core::mem::forget(guard);
    w.close(c);
    let (d, reg) = open(&mut w, "vale0:d", global(1_000_000));
    assert_eq!(reg.nr_extra_bufs, 8192 - 2 - 2048 - 2048 - 2048);
    assert!(View::of(&w, d).extra().iter().all(|b| !held.contains(b)));
    assert!(w.audit().is_empty(), "{:?}", w.audit());
    w.session_died(9);
    assert!(!w.collect());
    let (_, reg) = open(&mut w, "vale0:d", global(1_000_000));
    assert_eq!(
        reg.nr_extra_bufs, 2048,
        "the buried rings' buffers are back"
    );
}

#[test]
fn a_ring_of_a_living_port_waits_for_its_holder() {
    let mut w = world();
    let one = |ring| nmreq_register {
        nr_mode: NR_REG_ONE_NIC,
        nr_ringid: ring,
        nr_tx_rings: 2,
        nr_rx_rings: 2,
        ..all()
    };
    let (a, _) = open(&mut w, "vale0:m", one(0));
    let (b, _) = open(&mut w, "vale0:m", one(1));
    hold(&kring(&w, a, false, 0).q_lock);
    w.close(a);
    assert_eq!(attempt(&mut w, "vale0:m", one(0)).err(), Some(Errno::BUSY));
    assert!(attempt(&mut w, "vale0:m", one(1)).is_ok());
    assert!(w.audit().is_empty(), "{:?}", w.audit());
    w.session_died(DEAD);
    assert!(attempt(&mut w, "vale0:m", one(0)).is_ok());
    w.close(b);
    nothing_left(&mut w);
}

#[test]
fn a_pipe_whose_ends_died_while_syncing_goes_and_comes_back() {
    for (tx, locks) in [(true, 1), (false, 1), (true, 2)] {
        let mut w = world();
        let (m, s) = pipe(&mut w, 64);
        hold(&kring(&w, m, tx, 0).busy);
        if locks == 2 {
            hold(&kring(&w, s, tx, 0).busy);
        }
        w.close(m);
        w.close(s);
        assert!(w.collect());
        let (m2, s2) = pipe(&mut w, 64);
        assert!(w.audit().is_empty());
        w.session_died(DEAD);
        assert!(!w.collect());
        w.close(m2);
        w.close(s2);
        nothing_left(&mut w);
    }
}

#[test]
fn buffers_that_moved_between_pipes_all_come_back() {
    let mut w = world();
    let (keeper, _) = open(&mut w, "vale0:x", all());
    let free = |w: &World| {
        let m = w.memories().last().unwrap();
        m.total[2] - m.used[2]
    };
    let before = free(&w);
    let ends: Vec<_> = ["vale0:x{1", "vale0:x}1", "vale0:x{2", "vale0:x}2"]
        .iter()
        .map(|n| open(&mut w, n, all()).0)
        .collect();
    let host = Process::new(&w, 9);
    let at: Vec<_> = ends.iter().map(|c| host.attach(&w, *c)).collect();
    let tx1 = UserRing::of(&w, ends[0], true, 0);
    let rx1 = UserRing::of(&w, ends[1], false, 0);
    let tx2 = UserRing::of(&w, ends[2], true, 0);
    tx1.advance(5, 0);
    at[0].txsync(&host);
    at[1].rxsync(&host);
    // zero copy from one pipe into the other
    let theirs = tx2.swap_first(0);
    let ours = rx1.swap_first(theirs);
    tx2.swap_first(ours);
    tx2.advance(1, NS_BUF_CHANGED);
    rx1.advance(1, NS_BUF_CHANGED);
    at[2].txsync(&host);
    at[1].rxsync(&host);
    // and the beginning of a packet whose end never comes
    tx2.advance(3, NS_MOREFRAG);
    at[2].txsync(&host);
    assert!(w.audit().is_empty(), "{:?}", w.audit());
    ends.into_iter().for_each(|c| w.close(c));
    assert_eq!(free(&w), before);
    w.close(keeper);
    nothing_left(&mut w);
}

#[test]
fn the_count_after_a_death_tells_what_is_wrong_and_disturbs_nobody() {
    let mut w = world();
    let (m, s) = pipe(&mut w, 16);
    let rx = UserRing::of(&w, m, true, 0);
    let twice = rx.swap_first(View::of(&w, m).buffers(true, 0)[5]);
    hold(&kring(&w, m, true, 0).busy);
    let found = w.session_died(DEAD);
    let mem_id = w.bound(m).unwrap().mem_id;
    assert!(
        found.contains(&Finding::Missing { mem_id, count: 1 }),
        "{found:?}"
    );
    assert!(
        found.iter().any(|f| matches!(f, Finding::Doubled { .. })),
        "{found:?}"
    );
    assert!(w.is_quiet(), "no lock is left");
    rx.swap_first(twice);

    // a ring that moves is not waited for
    core::mem::forget(kring(&w, s, true, 0).busy.try_lock(9).unwrap());
    hold(&kring(&w, m, true, 0).busy);
    rx.swap_first(0);
    assert_eq!(w.session_died(DEAD).len(), 1);
    assert_eq!(kring(&w, s, true, 0).busy.owner(), 9);
}
