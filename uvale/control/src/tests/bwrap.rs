//! Persistent ports that join two switches: what is refused, what is left behind.

use super::super::Finding;
use super::persistent::{attach, delif, detach, newif};
use super::*;
use uvale_engine::{RX, TX};
use uvale_shared::ctl::{Kring, RING_OFF, RING_ON};

/// Persistent port z on vale0, of `tx` and `rx` rings.
fn on_first(w: &mut World, tx: u16, rx: u16) -> u16 {
    let c = w.open();
    let body = nmreq_vale_newif {
        nr_tx_rings: tx,
        nr_rx_rings: rx,
        nr_tx_slots: 32,
        nr_rx_slots: 16,
        ..nmreq_vale_newif::default()
    };
    let made = ask(w, c, NETMAP_REQ_VALE_NEWIF, "z", body).unwrap();
    w.close(c);
    assert_eq!(attach(w, "vale0:z", 0), Ok(0));
    made.nr_mem_id
}

fn join(w: &mut World, reg: nmreq_register) -> core::result::Result<u32, Errno> {
    let c = w.open();
    let body = nmreq_vale_attach {
        reg,
        ..nmreq_vale_attach::default()
    };
    let done = ask(w, c, NETMAP_REQ_VALE_ATTACH, "vale1:z", body).map(|b| b.port_index);
    w.close(c);
    done
}

fn names(w: &World) -> Vec<(String, Vec<(u32, String)>)> {
    w.switches().map(|s| (s.name, s.ports)).collect()
}

fn krings<'a>(w: &'a World, name: &str, dir: usize) -> Vec<(u32, &'a Kring)> {
    let info = w.ports().find(|p| p.name == name).unwrap();
    let krings = info.krings[dir].iter();
    krings.map(|i| (*i, w.ctl().kring(*i).unwrap())).collect()
}

/// Takes everything apart and looks for remains.
fn finish(mut w: World) {
    detach(&mut w, "vale0:z").unwrap();
    assert_eq!(delif(&mut w, "z"), None);
    assert!(!w.collect());
    let left = (w.ports().count(), w.switches().count());
    assert_eq!(left, (0, 0));
    assert_eq!((w.krings_in_use(), w.memories().count()), (0, 1));
    let global = w.memories().next().unwrap();
    assert_eq!(global.users, 0);
    assert!(global.region.is_none() || global.used == [0, 0, 2]);
}

#[test]
fn what_the_source_says() {
    let mut w = world();
    on_first(&mut w, 1, 1);
    // a port that is open stays off the second switch
    let (c, _) = open(&mut w, "z", all());
    assert_eq!(join(&mut w, all()), Err(Errno::BUSY));
    w.close(c);
    assert_eq!(join(&mut w, all()), Ok(0));
    let listed = |switch: &str, port: &str| (switch.to_owned(), vec![(0, port.to_owned())]);
    let both = [listed("vale0", "z"), listed("vale1", "vale1:z")];
    assert_eq!(names(&w), both);
    // neither of the two can be had
    for name in ["z", "vale1:z"] {
        assert_eq!(
            attempt(&mut w, name, all()).err(),
            Some(Errno::BUSY),
            "{name}"
        );
    }
    assert_eq!(
        attempt(&mut w, "vale0:z", all()).err(),
        Some(Errno::INVAL),
        "the name on the first switch is forgotten"
    );
    for name in ["vale1:z", "vale2:z", "vale0:z"] {
        assert_eq!(attach(&mut w, name, 0), Err(Errno::BUSY), "{name}");
    }
    assert_eq!(newif(&mut w, "z").err(), Some(Errno::EXIST));
    assert_eq!(delif(&mut w, "z"), Some(Errno::BUSY));
    assert_eq!(detach(&mut w, "vale0:z"), Err(Errno::NXIO));
    assert_eq!(names(&w), both, "what was refused has changed nothing");
    assert_eq!(detach(&mut w, "vale1:z"), Ok(0));
    assert_eq!(detach(&mut w, "vale1:z"), Err(Errno::NXIO));
    assert_eq!(names(&w), [listed("vale0", "z")]);
    // and it can be opened, and joined again
    let (c, _) = open(&mut w, "z", all());
    w.close(c);
    assert_eq!(join(&mut w, all()), Ok(0));
    assert_eq!(detach(&mut w, "vale1:z"), Ok(0));
    finish(w);
}

#[test]
fn a_refused_bwrap_leaves_nothing() {
    let mut w = world();
    let own = on_first(&mut w, 1, 1);
    let before = (w.ports().count(), w.memories().count(), w.krings_in_use());
    for (mode, ring, want) in [
        (NR_REG_DEFAULT, 0, Errno::INVAL),
        (NR_REG_ONE_NIC, 0, Errno::INVAL),
        (NR_REG_NIC_SW, 0, Errno::INVAL),
        (NR_REG_ALL_NIC, 1, Errno::INVAL),
    ] {
        let reg = nmreq_register {
            nr_mode: mode,
            nr_ringid: ring,
            nr_mem_id: 1,
            ..all()
        };
        assert_eq!(join(&mut w, reg), Err(want), "mode {mode} ring {ring}");
        let info = w.ports().next().unwrap();
        assert_eq!((info.mem_id, info.users), (own, 0));
        let now = (w.ports().count(), w.memories().count(), w.krings_in_use());
        assert_eq!(now, before);
        assert_eq!(w.switches().count(), 1);
    }
    finish(w);
}

#[test]
fn a_memory_that_is_too_small_is_refused() {
    let mut config = Config::default();
    config.global.buf.num = 4;
    let mut w = world_with(config);
    on_first(&mut w, 1, 1);
    let reg = nmreq_register {
        nr_mem_id: 1,
        ..all()
    };
    assert_eq!(join(&mut w, reg), Err(Errno::NOMEM));
    assert_eq!((w.ports().count(), w.krings_in_use()), (1, 0));
    finish(w);
}

#[test]
fn the_rings_are_the_same_with_their_meaning_exchanged() {
    let mut w = world();
    on_first(&mut w, 2, 3);
    join(&mut w, all()).unwrap();
    let bwrap = w.ports().find(|p| p.name == "vale1:z").unwrap();
    assert_eq!((bwrap.rings[TX], bwrap.rings[RX]), (3, 2));
    assert_eq!((bwrap.slots[TX], bwrap.slots[RX]), (16, 32));
    for (from, to) in [("z", "vale1:z"), ("vale1:z", "z")] {
        let (rx, tx) = (krings(&w, from, RX), krings(&w, to, TX));
        for ((_, rx), (index, tx)) in rx.iter().zip(&tx) {
            assert_eq!(rx.bwrap.load(Relaxed), index + 1);
            assert_eq!(tx.bwrap.load(Relaxed), 0);
            let place = |k: &Kring| (k.ring_ofs.load(Relaxed), k.num_slots.load(Relaxed));
            assert_eq!(place(rx), place(tx));
            assert_eq!(rx.mode.load(Relaxed), RING_ON);
            assert_eq!(tx.mode.load(Relaxed), RING_ON);
        }
    }
    assert_eq!(w.audit(), []);
    detach(&mut w, "vale1:z").unwrap();
    finish(w);
}

#[test]
fn one_way() {
    let mut w = world();
    on_first(&mut w, 1, 1);
    let reg = nmreq_register {
        nr_flags: NR_TX_RINGS_ONLY,
        ..all()
    };
    join(&mut w, reg).unwrap();
    let mode = |name, dir| krings(&w, name, dir)[0].1.mode.load(Relaxed);
    assert_eq!((mode("z", RX), mode("vale1:z", TX)), (RING_ON, RING_ON));
    assert_eq!((mode("z", TX), mode("vale1:z", RX)), (RING_OFF, RING_OFF));
    detach(&mut w, "vale1:z").unwrap();
    finish(w);
}

#[test]
fn memory_of_the_request_lasts_as_long_as_the_bwrap() {
    let mut w = world();
    let own = on_first(&mut w, 1, 1);
    let reg = nmreq_register {
        nr_mem_id: 1,
        ..all()
    };
    let (other, _) = open(&mut w, "vale2:other", reg);
    let used = |w: &World| w.memories().find(|m| m.mem_id == 1).unwrap().used;
    let before = used(&w);
    join(&mut w, reg).unwrap();
    let [ifs, rings, bufs] = before;
    assert_eq!(
        used(&w),
        [ifs + 1, rings + 4, bufs + 48],
        "a netmap_if, two rings with the fake ones, and their buffers"
    );
    assert!(w.ports().all(|p| p.mem_id == 1));
    // no other request changes it meanwhile
    assert_eq!(
        attempt(
            &mut w,
            "z",
            nmreq_register {
                nr_mem_id: own,
                ..all()
            }
        )
        .err(),
        Some(Errno::BUSY)
    );
    assert!(w.ports().all(|p| p.mem_id == 1));
    detach(&mut w, "vale1:z").unwrap();
    assert_eq!(w.ports().next().unwrap().mem_id, own);
    assert_eq!(used(&w), before);
    w.close(other);
    finish(w);
}

/// Neither a new pipe nor the other end of one that is there, by no name, nor a monitor of one.
#[test]
fn pipes_on_a_joined_port_are_refused() {
    let mut w = world();
    on_first(&mut w, 1, 1);
    let (before, _) = open(&mut w, "z{1", all());
    let monitor = nmreq_register {
        nr_flags: NR_MONITOR_TX,
        ..all()
    };
    join(&mut w, all()).unwrap();
    let ports = w.ports().count();
    for name in ["z}1", "z{1", "z{2", "z}2", "vale1:z{1", "vale1:z}2"] {
        for reg in [all(), monitor] {
            let refused = attempt(&mut w, name, reg).err();
            assert_eq!(refused, Some(Errno::BUSY), "{name} {:x}", reg.nr_flags);
        }
    }
    assert_eq!(w.ports().count(), ports);
    assert_eq!(detach(&mut w, "vale1:z"), Ok(0));
    assert_eq!(w.switches().count(), 1);
    let (other, _) = open(&mut w, "z}1", all());
    w.close(other);
    w.close(before);
    finish(w);
}

#[test]
fn monitors_are_orphans_when_the_switches_part() {
    let mut w = world();
    on_first(&mut w, 1, 1);
    let reg = nmreq_register {
        nr_flags: NR_MONITOR_RX | NR_MONITOR_TX,
        ..all()
    };
    assert_eq!(attempt(&mut w, "z", reg).err(), Some(Errno::INVAL));
    join(&mut w, all()).unwrap();
    let monitors = ["z", "vale1:z"].map(|name| open(&mut w, name, reg).0);
    assert_eq!(detach(&mut w, "vale1:z"), Ok(0));
    for m in monitors {
        let port = w.ctl().port(w.binding(m).unwrap().port).unwrap();
        let k = w.ctl().kring(port.rx_kring.load(Relaxed)).unwrap();
        assert_eq!(k.orphan.load(Relaxed), 1);
        w.close(m);
    }
    finish(w);
}

/// The rings go when the locks of both sides are free, not before.
#[test]
fn a_sender_that_is_stopped_keeps_the_rings_of_both() {
    const STOPPED: u32 = 9;
    let mut w = world();
    on_first(&mut w, 1, 1);
    join(&mut w, all()).unwrap();
    let lock = &krings(&w, "vale1:z", RX)[0].1.q_lock;
    core::mem::forget(lock.try_lock(STOPPED));
    detach(&mut w, "vale1:z").unwrap();
    let used = |w: &World| w.memories().find(|m| m.private).unwrap().used;
    assert_eq!(
        (used(&w)[2], w.krings_in_use()),
        (2 + 48, 8),
        "two rings of 32 and 16 buffers, eight krings"
    );
    assert!(w.collect());
    w.session_died(STOPPED);
    assert!(!w.collect());
    assert_eq!(w.krings_in_use(), 0);
    finish(w);
}

#[test]
fn a_dead_sender_is_found_and_its_lock_broken() {
    const DEAD: u32 = 9;
    let mut w = world();
    on_first(&mut w, 1, 1);
    join(&mut w, all()).unwrap();
    core::mem::forget(krings(&w, "z", RX)[0].1.busy.try_lock(DEAD));
    core::mem::forget(krings(&w, "vale1:z", TX)[0].1.busy.try_lock(DEAD));
    let broken = |port: &str, tx| Finding::LockBroken {
        port: port.into(),
        ring: 0,
        tx,
    };
    assert_eq!(
        w.session_died(DEAD),
        [broken("z", false), broken("vale1:z", true)]
    );
    assert_eq!(w.audit(), []);
    detach(&mut w, "vale1:z").unwrap();
    finish(w);
}
