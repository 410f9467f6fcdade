//! Sections reg_pipe, pipe_mem and limits.pipes of the record.

use super::*;

#[test]
fn both_ends_show_the_same_buffers() {
    let mut w = world();
    let (m, reg) = open(&mut w, "foo{1", all());
    assert_eq!((reg.nr_memsize, reg.nr_offset), (42_369_024, 0));
    let (s, reg_s) = open(&mut w, "foo}1", all());
    assert_eq!((reg_s.nr_mem_id, reg_s.nr_offset), (reg.nr_mem_id, 1024));
    let (vm, vs) = (View::of(&w, m), View::of(&w, s));
    assert_eq!((vm.name(), vs.name()), ("foo{1".into(), "foo}1".into()));
    for tx in [true, false] {
        let ours = vm.buffers(tx, 0);
        assert_eq!(ours, vs.buffers(!tx, 0));
        assert_eq!(ours.len(), 1024);
        assert!(ours.iter().all(|b| *b >= 2));
    }
    assert!(w.audit().is_empty(), "{:?}", w.audit());
    w.close(m);
    assert_eq!(w.ports().count(), 3);
    w.close(s);
    assert_eq!(w.ports().count(), 0);
    assert_eq!(w.krings_in_use(), 0);
}

#[test]
fn configured_pipe() {
    let mut w = world();
    let wanted = nmreq_register {
        nr_extra_bufs: 10,
        ..with([3, 2], [256, 512])
    };
    let (m, reg) = open(&mut w, "cfgp{1", wanted);
    assert_eq!((reg.nr_memsize, reg.nr_extra_bufs), (18_333_696, 10));
    assert_eq!(
        (
            reg.nr_tx_rings,
            reg.nr_rx_rings,
            reg.nr_tx_slots,
            reg.nr_rx_slots
        ),
        (3, 2, 256, 512)
    );
    let (s, reg) = open(&mut w, "cfgp}1", all());
    assert_eq!(
        (
            reg.nr_tx_rings,
            reg.nr_rx_rings,
            reg.nr_tx_slots,
            reg.nr_rx_slots
        ),
        (2, 3, 512, 256)
    );
    let (vm, vs) = (View::of(&w, m), View::of(&w, s));
    assert_eq!(vs.ring_header(true, 1), [512, 2048, 1, 1, 0, 0, 511]);
    assert_eq!(vs.ring_header(false, 2), [256, 2048, 2, 0, 0, 0, 0]);
    (0..3).for_each(|i| assert_eq!(vm.buffers(true, i), vs.buffers(false, i)));
    (0..2).for_each(|i| assert_eq!(vm.buffers(false, i), vs.buffers(true, i)));
    assert_eq!(vm.extra().len(), 10);
    assert!(w.audit().is_empty(), "{:?}", w.audit());

    let large = attempt(&mut w, "big{1", with([0, 0], [4096, 8192])).unwrap();
    assert_eq!((large.nr_tx_slots, large.nr_rx_slots), (4096, 4096));
}

#[test]
fn krings_of_a_pair_point_at_each_other() {
    use core::sync::atomic::Ordering::Relaxed;
    let mut w = world();
    let (m, _) = open(&mut w, "p{1", with([2, 1], [16, 32]));
    let info: Vec<_> = w.ports().collect();
    let of = |name: &str| info.iter().find(|p| p.name == name).unwrap();
    let (master, slave) = (of("p{1"), of("p}1"));
    for (tx, rx) in [(master, slave), (slave, master)] {
        assert_eq!(tx.krings[1].len(), rx.krings[0].len());
        for (a, b) in tx.krings[1].iter().zip(&rx.krings[0]) {
            let (ka, kb) = (w.ctl().kring(*a).unwrap(), w.ctl().kring(*b).unwrap());
            assert_eq!(
                (ka.pipe.load(Relaxed), kb.pipe.load(Relaxed)),
                (b + 1, a + 1)
            );
            let n = ka.num_slots.load(Relaxed);
            assert_eq!(kb.num_slots.load(Relaxed), n);
            assert_eq!(
                (ka.pipe_tail.load(Relaxed), kb.pipe_tail.load(Relaxed)),
                (n - 1, 0)
            );
            assert!(ka.ring_ofs.load(Relaxed) != 0 && kb.ring_ofs.load(Relaxed) != 0);
        }
    }
    assert!(w.adapters[w.bound(m).unwrap().id].peer().is_some());
}

#[test]
fn pipes_on_ports_of_a_switch() {
    let mut w = world();
    let (a, parent) = open(&mut w, "vale0:x", all());
    let (m, reg) = open(&mut w, "vale0:x{1", all());
    assert_eq!((reg.nr_mem_id, reg.nr_offset), (parent.nr_mem_id, 1024));
    let (s, reg) = open(&mut w, "vale0:x}1", all());
    assert_eq!(reg.nr_offset, 2048);
    assert!(w.audit().is_empty());
    [s, m, a].into_iter().for_each(|c| w.close(c));
    let (m, _) = open(&mut w, "vale0:x{1", all());
    let (s, _) = open(&mut w, "vale0:x}1", all());
    let (a, _) = open(&mut w, "vale0:x", all());
    [a, s, m].into_iter().for_each(|c| w.close(c));
    assert_eq!(
        (
            w.ports().count(),
            w.switches().count(),
            w.memories().count()
        ),
        (0, 0, 1)
    );
}

#[test]
fn names_of_pipes() {
    for (name, want) in [
        ("foo}7", None),
        ("foo{abc", None),
        ("foo{99999", None),
        ("foo{", Some(Errno::INVAL)),
        ("{1", Some(Errno::INVAL)),
        ("foo{1{2", None),
        ("foo{1}2", None),
        ("abcdefghijkl{1", None),
        ("abcdefghijklmn{1", None),
        ("abcdefghijklmnopq{1", Some(Errno::NXIO)),
        ("vale0{1", Some(Errno::NOMEM)),
        ("a{b{c{d{e}f", None),
    ] {
        let mut w = world();
        assert_eq!(attempt(&mut w, name, all()).err(), want, "{name}");
        assert_eq!(
            (w.ports().count(), w.memories().count(), w.krings_in_use()),
            (0, 1, 0),
            "{name}"
        );
    }
    let mut w = world();
    let mode5 = nmreq_register {
        nr_mode: NR_REG_PIPE_MASTER,
        nr_ringid: 3,
        ..all()
    };
    assert_eq!(attempt(&mut w, "foo", mode5).err(), Some(Errno::INVAL));
    for mode in [NR_REG_SW, NR_REG_NIC_SW, NR_REG_ONE_SW, 0] {
        let reg = nmreq_register {
            nr_mode: mode,
            ..all()
        };
        assert_eq!(attempt(&mut w, "foo{1", reg).err(), Some(Errno::INVAL));
    }
}

#[test]
fn an_end_may_come_back_and_finds_its_state() {
    use core::sync::atomic::Ordering::Relaxed;
    let mut w = world();
    let (m, _) = open(&mut w, "p{1", all());
    let (s, _) = open(&mut w, "p}1", all());
    let (tx, rx) = (
        View::of(&w, m).ring(true, 0),
        View::of(&w, s).ring(false, 0),
    );
    let kring = w
        .ctl()
        .kring(
            w.ctl()
                .port(w.binding(m).unwrap().port)
                .unwrap()
                .tx_kring
                .load(Relaxed),
        )
        .unwrap();
    kring.hwcur.store(5, Relaxed);
    w.close(m);
    assert_eq!(w.ports().count(), 3);
    let (m, _) = open(&mut w, "p{1", all());
    assert_eq!(
        (
            View::of(&w, m).ring(true, 0),
            View::of(&w, s).ring(false, 0)
        ),
        (tx, rx)
    );
    let kring = w
        .ctl()
        .kring(
            w.ctl()
                .port(w.binding(m).unwrap().port)
                .unwrap()
                .tx_kring
                .load(Relaxed),
        )
        .unwrap();
    assert_eq!(kring.hwcur.load(Relaxed), 5);
    w.close(s);
    w.close(m);
    assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
}

#[test]
fn an_end_opened_in_parts_gets_whole_rings() {
    let mut w = world();
    let only = |flags| nmreq_register {
        nr_flags: flags,
        ..all()
    };
    let (m, _) = open(&mut w, "p{1", only(NR_TX_RINGS_ONLY));
    assert!(w.audit().is_empty(), "{:?}", w.audit());
    let (s, _) = open(&mut w, "p}1", all());
    assert!(w.audit().is_empty(), "{:?}", w.audit());
    assert!(View::of(&w, s).buffers(true, 0).iter().all(|b| *b >= 2));
    assert_eq!(
        View::of(&w, m).buffers(true, 0),
        View::of(&w, s).buffers(false, 0)
    );
    let (m2, _) = open(&mut w, "p{1", all());
    assert_eq!(
        View::of(&w, m2).buffers(false, 0),
        View::of(&w, s).buffers(true, 0)
    );
    assert!(w.audit().is_empty(), "{:?}", w.audit());
    let one = nmreq_register {
        nr_mode: NR_REG_ONE_NIC,
        nr_ringid: 1,
        ..with([2, 2], [0, 0])
    };
    let (q, _) = open(&mut w, "p{2", one);
    assert_eq!(w.binding(q).unwrap().first, [1, 1]);
    assert!(w.audit().is_empty(), "{:?}", w.audit());
    [m, s, m2, q].into_iter().for_each(|c| w.close(c));
    assert_eq!(w.ports().count(), 0);
}

#[test]
fn extra_buffers_on_pipes() {
    let mut w = world();
    let extra = |n| nmreq_register {
        nr_extra_bufs: n,
        ..all()
    };
    let (p, a) = open(&mut w, "xb{1", extra(10));
    let (q, b) = open(&mut w, "xb}1", extra(4));
    assert_eq!((a.nr_extra_bufs, b.nr_extra_bufs), (10, 4));
    w.close(p);
    w.close(q);
    open(&mut w, "xb{1", all());
    let (_, late) = open(&mut w, "xb}1", extra(10));
    assert_eq!(late.nr_extra_bufs, 10);
    assert!(w.audit().is_empty());
}

#[test]
fn a_base_that_is_no_pipe_leaves_nothing() {
    let mut w = world();
    for name in [".}x}1", ".}x{1", "./}x{1", "/{x{1"] {
        assert_eq!(
            attempt(&mut w, name, all()).err(),
            Some(Errno::NXIO),
            "{name}"
        );
        let left: Vec<_> = w.ports().collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
    assert_eq!((w.krings_in_use(), w.memories().count()), (0, 1));
}

/// Whatever head a program writes, after syncs of one or of several packets: what lies between hwcur and tail is taken
/// over, everything else is refused as the general way does it, and no index leaves the ring.
#[test]
fn the_short_ways_refuse_what_the_general_one_refuses() {
    use core::sync::atomic::Ordering::Relaxed;
    const N: u32 = 16;
    let distance = |from: u32, to: u32| (to + N - from) % N;
    for (packets, syncs, head, rx_is_wrong) in (1..4)
        .flat_map(|packets| (1..=N).map(move |syncs| (packets, syncs)))
        .flat_map(|(packets, syncs)| (0..N + 3).map(move |head| (packets, syncs, head)))
        .flat_map(|(packets, syncs, head)| [true, false].map(|rx| (packets, syncs, head, rx)))
    {
        let mut w = world();
        let (m, _) = open(&mut w, "p{1", with([1, 1], [N, N]));
        let (s, _) = open(&mut w, "p}1", with([1, 1], [N, N]));
        let host = Process::new(&w, 9);
        let (sender, receiver) = (host.attach(&w, m), host.attach(&w, s));
        let (tx, rx) = (UserRing::of(&w, m, true, 0), UserRing::of(&w, s, false, 0));
        for _ in 0..syncs {
            tx.advance(packets, 0);
            sender.txsync(&host);
            receiver.rxsync(&host);
            rx.advance(packets, 0);
        }
        let port = |c| w.ctl().port(w.binding(c).unwrap().port).unwrap();
        let kring = |index: u32| w.ctl().kring(index).unwrap();
        let from = kring(port(m).tx_kring.load(Relaxed));
        let to = kring(port(s).rx_kring.load(Relaxed));
        let (ring, kring, tail) = match rx_is_wrong {
            true => (&rx, to, to.hwtail.load(Relaxed)),
            false => (&tx, from, from.rtail.load(Relaxed)),
        };
        let hwcur = kring.hwcur.load(Relaxed);
        ring.set_head(head);
        match rx_is_wrong {
            true => receiver.rxsync(&host),
            false => sender.txsync(&host),
        };
        let fits = head < N && distance(hwcur, head) <= distance(hwcur, tail);
        let what = format!("{packets} packets in {syncs} syncs, head {head}, rx {rx_is_wrong}");
        let refused = kring.sync.reinit.load(Relaxed) != 0;
        assert_eq!(refused, !fits, "{what}");
        if fits {
            assert_eq!(kring.hwcur.load(Relaxed), head, "{what}");
        }
        for k in [from, to] {
            let indices = [&k.hwcur, &k.hwtail, &k.pipe_tail].map(|i| i.load(Relaxed));
            assert!(indices.iter().all(|i| *i < N), "{what}: {indices:?}");
        }
    }
}
