//! Monitors: section reg_mon of the record, and what follows from the source.

use super::super::Finding;
use super::*;
use uvale_engine::{RX, TX};
use uvale_shared::ctl::Kring;
use uvale_shared::shm::SlotView;

fn flags(nr_flags: u64) -> nmreq_register {
    nmreq_register { nr_flags, ..all() }
}

fn refused(w: &mut World, name: &str, reg: nmreq_register) -> Errno {
    attempt(w, name, reg).expect_err(name)
}

fn name(w: &World, c: ClientId) -> String {
    w.binding(c).unwrap().name.clone()
}

#[test]
fn the_port_must_be_open() {
    let mut w = world();
    for f in [NR_MONITOR_RX, NR_MONITOR_TX, NR_ZCOPY_MON] {
        for n in ["vale0:nope", "nope{1", "vale0:x}1"] {
            assert_eq!(refused(&mut w, n, flags(f)), Errno::INVAL);
        }
        assert_eq!(refused(&mut w, "nope", flags(f)), Errno::NXIO);
    }
    // A persistent port that exists but is not open, and the other end of a pipe.
    let c = w.open();
    ask(
        &mut w,
        c,
        NETMAP_REQ_VALE_NEWIF,
        "z",
        nmreq_vale_newif::default(),
    )
    .unwrap();
    assert_eq!(refused(&mut w, "z", flags(NR_MONITOR_RX)), Errno::INVAL);
    let (p, _) = open(&mut w, "p{1", all());
    assert_eq!(refused(&mut w, "p}1", flags(NR_MONITOR_RX)), Errno::INVAL);
    assert!(attempt(&mut w, "p{1", flags(NR_MONITOR_RX)).is_ok());
    w.close(p);
    ask(
        &mut w,
        c,
        NETMAP_REQ_VALE_DELIF,
        "z",
        nmreq_port_hdr::default(),
    )
    .unwrap();
    assert_eq!(
        (w.ports().count(), w.krings_in_use(), w.memories().count()),
        (0, 0, 1)
    );
}

#[test]
fn names_flags_rings_and_memory() {
    let mut w = world();
    let (_x, x) = open(&mut w, "vale0:x", all());
    let both = NR_MONITOR_RX | NR_MONITOR_TX;
    let cases = [
        (NR_MONITOR_RX, NR_MONITOR_RX, "r"),
        (NR_MONITOR_TX, NR_MONITOR_TX, "t"),
        (both, both, "rt"),
        (NR_MONITOR_RX | NR_ZCOPY_MON, both | NR_ZCOPY_MON, "zrt"),
        (NR_ZCOPY_MON, both | NR_ZCOPY_MON, "zrt"),
    ];
    for (i, (asked, got, letters)) in cases.into_iter().enumerate() {
        let (c, reg) = open(&mut w, "vale0:x", flags(asked));
        assert_eq!(name(&w, c), format!("vale0:x/{letters}#{i}"));
        assert_eq!(reg.nr_flags, got);
        assert_eq!((reg.nr_tx_rings, reg.nr_rx_rings), (1, 1));
        assert_eq!((reg.nr_tx_slots, reg.nr_rx_slots), (1024, 1024));
        let shared = asked & NR_ZCOPY_MON != 0;
        assert_eq!(reg.nr_mem_id == x.nr_mem_id, shared);
        assert_eq!(
            reg.nr_memsize,
            if shared { x.nr_memsize } else { 8_478_720 }
        );
        w.close(c);
    }
    // Refused requests count as well once the name is made.
    assert_eq!(w.memories().count(), 2);
}

#[test]
fn rings_are_as_many_as_the_port_has_of_one_kind() {
    let mut w = world();
    let (_x, _) = open(&mut w, "vale0:x", with([2, 5], [64, 32]));
    let (m, reg) = open(&mut w, "vale0:x", flags(NR_MONITOR_TX));
    assert_eq!((reg.nr_tx_rings, reg.nr_rx_rings), (1, 5));
    assert_eq!((reg.nr_tx_slots, reg.nr_rx_slots), (64, 32));
    assert_eq!(w.binding(m).unwrap().last, [5, 1]);
    let wanted = |nr_tx_slots, nr_rx_slots| nmreq_register {
        nr_tx_slots,
        nr_rx_slots,
        ..flags(NR_MONITOR_RX)
    };
    let reg = attempt(&mut w, "vale0:x", wanted(7, 5000)).unwrap();
    assert_eq!((reg.nr_tx_slots, reg.nr_rx_slots), (7, 4096));
    let one = |mode, ring| nmreq_register {
        nr_mode: mode,
        nr_ringid: ring,
        ..flags(NR_MONITOR_RX)
    };
    let (one_ring, _) = open(&mut w, "vale0:x", one(NR_REG_ONE_NIC, 4));
    let b = w.binding(one_ring).unwrap();
    assert_eq!((b.first, b.last), ([4, 0], [5, 1]));
    for (mode, ring) in [
        (NR_REG_ONE_NIC, 5),
        (NR_REG_SW, 0),
        (NR_REG_NIC_SW, 0),
        (NR_REG_ONE_SW, 0),
        (NR_REG_DEFAULT, 0),
        (NR_REG_PIPE_MASTER, 1),
        (77, 0),
    ] {
        assert_eq!(
            refused(&mut w, "vale0:x", one(mode, ring)),
            Errno::INVAL,
            "{mode}"
        );
    }
}

#[test]
fn exclusive_ports_can_be_monitored_and_monitors_are_nobodys_parent() {
    let mut w = world();
    let (_x, _) = open(&mut w, "vale0:x", flags(NR_EXCLUSIVE));
    let (m, _) = open(&mut w, "vale0:x", flags(NR_MONITOR_RX | NR_EXCLUSIVE));
    let (_n, _) = open(&mut w, "vale0:x", flags(NR_MONITOR_RX));
    // The name of a monitor means a port of that name.
    let monitors_name = name(&w, m);
    assert_eq!(
        refused(&mut w, &monitors_name, flags(NR_MONITOR_RX)),
        Errno::INVAL
    );
    let (p, _) = open(&mut w, &monitors_name, all());
    assert_ne!(w.binding(p).unwrap().port, w.binding(m).unwrap().port);
}

#[test]
fn a_port_with_a_header_is_monitored_without_asking_for_it() {
    let mut w = world();
    let (x, _) = open(&mut w, "vale0:x", all());
    let header = nmreq_port_hdr {
        nr_hdr_len: 12,
        ..nmreq_port_hdr::default()
    };
    ask(&mut w, x, NETMAP_REQ_PORT_HDR_SET, "vale0:x", header).unwrap();
    assert_eq!(refused(&mut w, "vale0:x", all()), Errno::IO);
    assert!(attempt(&mut w, "vale0:x", flags(NR_MONITOR_RX)).is_ok());
}

#[test]
fn a_memory_that_has_not_the_room_refuses_zero_copy_monitors() {
    let mut config = Config::default();
    config.private.buf.num = 4;
    let mut w = world_with(config);
    let (_x, x) = open(&mut w, "vale0:x", with([1, 1], [8, 8]));
    let zero = nmreq_register {
        nr_rx_slots: 4096,
        ..flags(NR_ZCOPY_MON)
    };
    assert_eq!(refused(&mut w, "vale0:x", zero), Errno::NOMEM);
    assert!(w.audit().is_empty());
    let zero = nmreq_register {
        nr_rx_slots: 8,
        ..zero
    };
    let (m, reg) = open(&mut w, "vale0:x", zero);
    assert_eq!(reg.nr_mem_id, x.nr_mem_id);
    assert!(w.audit().is_empty());
    w.close(m);
    assert!(w.audit().is_empty());
}

#[test]
fn the_port_and_its_monitors_end_in_any_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        for n in ["vale0:x", "p{1", "vale0:y}1"] {
            let mut w = world();
            let clients = [0, NR_MONITOR_RX, NR_ZCOPY_MON].map(|f| open(&mut w, n, flags(f)).0);
            for i in order {
                w.close(clients[i]);
                assert!(w.audit().is_empty(), "{n} {order:?}");
            }
            let left = (w.ports().count(), w.krings_in_use(), w.memories().count());
            assert_eq!(left, (0, 0, 1), "{n} {order:?}");
        }
    }
}

#[test]
fn a_port_ends_with_its_last_descriptor_whoever_monitors_it() {
    let mut w = world();
    let (x, _) = open(&mut w, "vale0:x", all());
    let (y, _) = open(&mut w, "vale0:x", all());
    let (m, _) = open(&mut w, "vale0:x", flags(NR_MONITOR_RX));
    w.close(x);
    assert_eq!(orphan(&w, m), 0);
    w.close(y);
    assert_eq!(orphan(&w, m), 1);
    assert_eq!(w.switches().count(), 0);
    // Its number is free, and the new port of that name counts its own monitors.
    let (_x, _) = open(&mut w, "vale0:x", all());
    let (n, _) = open(&mut w, "vale0:x", flags(NR_MONITOR_RX));
    assert_eq!(name(&w, n), "vale0:x/r#0");
    assert_eq!((orphan(&w, n), orphan(&w, m)), (0, 1));
}

fn kring(w: &World, c: ClientId, dir: usize, i: u32) -> &Kring {
    let port = w.ctl().port(w.binding(c).unwrap().port).unwrap();
    let first = [&port.rx_kring, &port.tx_kring][dir].load(Relaxed);
    w.ctl().kring(first + i).unwrap()
}

fn orphan(w: &World, m: ClientId) -> u32 {
    kring(w, m, RX, 0).orphan.load(Relaxed)
}

/// netmap adds no reference for a monitor without rx rings that would end with the port.
#[test]
fn a_monitor_without_rx_rings_keeps_the_port() {
    let mut w = world();
    let (x, _) = open(&mut w, "vale0:x", all());
    let (m, _) = open(&mut w, "vale0:x", flags(NR_MONITOR_RX | NR_TX_RINGS_ONLY));
    w.close(x);
    assert_eq!(w.switches().count(), 1);
    assert_eq!(w.ports().count(), 2);
    w.close(m);
    assert_eq!((w.switches().count(), w.ports().count()), (0, 0));
}

#[test]
fn each_ring_feeds_the_ring_of_its_number() {
    let mut w = world();
    let (x, _) = open(&mut w, "vale0:x", with([3, 2], [16, 16]));
    let one = nmreq_register {
        nr_mode: NR_REG_ONE_NIC,
        nr_ringid: 1,
        ..flags(NR_MONITOR_TX | NR_MONITOR_RX)
    };
    let (m, _) = open(&mut w, "vale0:x", one);
    for i in 0..3 {
        assert_eq!(kring(&w, x, TX, i).is_monitored(), i == 1);
    }
    for i in 0..2 {
        assert_eq!(kring(&w, x, RX, i).is_monitored(), i == 1);
    }
    w.close(m);
    assert!(!kring(&w, x, TX, 1).is_monitored() && !kring(&w, x, RX, 1).is_monitored());
}

/// A ring that comes into service after its monitor is monitored too.
#[test]
fn rings_that_are_opened_later() {
    let mut w = world();
    let one = |ring| nmreq_register {
        nr_mode: NR_REG_ONE_NIC,
        nr_ringid: ring,
        ..with([2, 2], [16, 16])
    };
    let (_x, _) = open(&mut w, "vale0:x", one(0));
    let (m, _) = open(&mut w, "vale0:x", flags(NR_MONITOR_TX));
    let (later, _) = open(&mut w, "vale0:x", one(1));
    let host = Process::new(&w, 9);
    let (sender, monitor) = (host.attach(&w, later), host.attach(&w, m));
    UserRing::of(&w, later, true, 1).advance(3, 0);
    sender.txsync(&host);
    monitor.rxsync(&host);
    assert_eq!(UserRing::of(&w, m, false, 1).owned(), 3);
    assert_eq!(UserRing::of(&w, m, false, 0).owned(), 0);
}

fn slot<'a>(w: &'a World, k: &Kring, at: u32) -> Option<&'a SlotView> {
    let region = w.region(k.region.load(Relaxed))?;
    let n = k.num_slots.load(Relaxed);
    let ring = RingView::new(region.map(), k.ring_ofs.load(Relaxed), n)?;
    ring.slots().get(at as usize)
}

/// Session `session`, which syncs ring `index`, stops in the middle of exchanging a buffer with the
/// ring's zero-copy monitor: after `stage` of the two slots are written. False if there is no such
/// monitor, or nothing that could be exchanged.
pub(super) fn half_exchange(w: &World, index: u32, session: u32, stage: u8) -> bool {
    let k = w.ctl().kring(index).unwrap();
    let Some(m) = uvale_shared::watch::first_in_chain(k.watch.load(Relaxed)) else {
        return false;
    };
    let monitor = w.ctl().kring(m).unwrap();
    let Some(guard) = monitor.q_lock.try_lock(session) else {
        return false;
    };
    // A slot that only this ring's side has, as those are that are exchanged.
    let at = match (k.pipe.load(Relaxed), k.dir.load(Relaxed)) {
        (0, _) => 0,
        (_, 1) => k.pipe_tail.load(Relaxed),
        _ if k.hwcur.load(Relaxed) == k.pipe_tail.load(Relaxed) => return false,
        _ => k.hwcur.load(Relaxed),
    };
    let to = monitor.hwtail.load(Relaxed);
    let (Some(theirs), Some(own)) = (slot(w, k, at), slot(w, monitor, to)) else {
        return false;
    };
    core::mem::forget(guard);
    let (a, b) = (theirs.load(), own.load());
    monitor.exchange.note(index, [a, b], [at, to]);
    let with_buffer = |slot: Slot, buf_idx| Slot { buf_idx, ..slot };
    if stage > 0 {
        theirs.store(with_buffer(a, b.buf_idx));
    }
    if stage > 1 {
        own.store(with_buffer(b, a.buf_idx));
    }
    true
}

/// A ring of a monitored port at whose sync the process dies: port, tx, name of the other port.
const DEATHS: [(&str, bool, &str); 4] = [
    ("vale0:a", true, "vale0:b"),
    ("vale0:a", false, "vale0:b"),
    ("p{1", true, "p}1"),
    ("p{1", false, "p}1"),
];

#[test]
fn an_exchange_that_a_process_died_in_is_undone() {
    const DEAD: u32 = 7;
    for (port, tx, other) in DEATHS {
        for stage in 0..3 {
            for session_first in [true, false] {
                let case = format!("{port} tx {tx} stage {stage} session first {session_first}");
                let mut w = world();
                let (a, _) = open(&mut w, port, with([1, 1], [16, 16]));
                let (b, _) = open(&mut w, other, with([1, 1], [16, 16]));
                let (m, _) = open(&mut w, port, flags(NR_ZCOPY_MON));
                let host = Process::new(&w, 9);
                UserRing::of(&w, b, true, 0).advance(5, 0);
                host.attach(&w, b).txsync(&host);
                host.attach(&w, a).rxsync(&host);
                assert!(w.audit().is_empty());

                let dir = if tx { TX } else { RX };
                let k = kring(&w, a, dir, 0);
                core::mem::forget(k.busy.try_lock(DEAD).unwrap());
                let index = (0..).find(|i| core::ptr::eq(w.ctl().kring(*i).unwrap(), k));
                assert!(half_exchange(&w, index.unwrap(), DEAD, stage), "{case}");
                if stage == 1 {
                    assert_ne!(w.audit(), [], "{case}: the test is no test");
                }
                if !session_first {
                    w.close(a);
                }
                let found = w.session_died(DEAD);
                let broken = |f: &Finding| matches!(f, Finding::LockBroken { .. });
                assert!(found.iter().all(broken), "{case}: {found:?}");
                assert_eq!(w.audit(), [], "{case}");
                if session_first {
                    w.close(a);
                }
                assert_eq!(w.audit(), [], "{case}");
                w.close(m);
                w.close(b);
                assert!(!w.collect());
                let left = (w.ports().count(), w.krings_in_use(), w.memories().count());
                assert_eq!(left, (0, 0, 1), "{case}");
            }
        }
    }
}

#[test]
fn nonsense_in_an_exchange_is_survived() {
    const DEAD: u32 = 7;
    let mut w = world();
    let (_a, _) = open(&mut w, "vale0:a", all());
    let (m, _) = open(&mut w, "vale0:a", flags(NR_ZCOPY_MON));
    for (with, slots) in [(u64::MAX, 0), (1, u64::MAX), (1 << 31, 7 << 40), (3, 0)] {
        let k = kring(&w, m, RX, 0);
        core::mem::forget(k.q_lock.try_lock(DEAD).unwrap());
        k.exchange.with.store(with, Relaxed);
        k.exchange.slots.store(slots, Relaxed);
        w.session_died(DEAD);
        assert_eq!(kring(&w, m, RX, 0).q_lock.owner(), 0);
    }
}
