//! Sections extra and limits of the record, and what several descriptors share.

use super::*;

#[test]
fn extra_buffers_of_several_descriptors_come_back() {
    let mut w = world();
    let extra = |n| nmreq_register {
        nr_extra_bufs: n,
        ..all()
    };
    let (a, reg) = open(&mut w, "vale0:x", extra(10));
    assert_eq!((reg.nr_extra_bufs, reg.nr_memsize), (10, 42_389_504));
    let (b, second) = open(&mut w, "vale0:x", extra(5));
    assert_eq!(second.nr_extra_bufs, 5);
    assert_ne!(View::of(&w, a).extra()[0], View::of(&w, b).extra()[0]);
    assert!(w.audit().is_empty());
    w.close(b);
    let (c, third) = open(&mut w, "vale0:x", extra(10));
    assert_eq!(third.nr_extra_bufs, 10);
    assert!(w.audit().is_empty());
    w.close(c);
    w.close(a);

    // a program that drops its list: its buffers are back when the memory's last user has left
    let mut config = Config::default();
    config.global.buf.size = 64;
    let mut w = world_with(config);
    for i in 0..3 {
        let null = nmreq_register {
            nr_mode: NR_REG_NULL,
            nr_mem_id: 1,
            ..extra(100_000)
        };
        let (c, reg) = open(&mut w, "", null);
        assert_eq!(reg.nr_extra_bufs, 100_000, "open {i}");
        let v = View::of(&w, c);
        v.set_word(v.offset + 32, 0);
        w.close(c);
    }
}

#[test]
fn a_corrupt_list_of_extra_buffers_harms_nobody_else() {
    let mut w = world();
    let global = |n| nmreq_register {
        nr_mem_id: 1,
        nr_extra_bufs: n,
        ..all()
    };
    let (victim, _) = open(&mut w, "vale0:v", global(4));
    let victims = View::of(&w, victim).buffers(true, 0);
    let (bad, _) = open(&mut w, "vale0:bad", global(4));
    let pool = w.region(w.binding(bad).unwrap().region).unwrap().pool();
    let v = View::of(&w, bad);
    // own -> the victim's -> own again -> nonsense
    let own = v.extra();
    v.set_word(pool.offset(own[0]) as u64, victims[7]);
    v.set_word(pool.offset(victims[7]) as u64, own[1]);
    v.set_word(pool.offset(own[1]) as u64, own[0]);
    // and slots that name what is not the port's
    let ring = v.ring(true, 0);
    v.set_word(ring + 256, victims[9]);
    v.set_word(ring + 256 + 16, u32::MAX);
    v.set_word(ring + 256 + 32, 0);
    w.close(bad);
    let doubled = |w: &World| {
        w.audit()
            .iter()
            .any(|f| !matches!(f, super::super::Finding::Missing { .. }))
    };
    assert!(!doubled(&w), "{:?}", w.audit());
    let (again, _) = open(&mut w, "vale0:bad", global(1000));
    assert!(!doubled(&w), "{:?}", w.audit());
    let fresh = View::of(&w, again).extra();
    assert!(fresh.iter().all(|b| !victims.contains(b)));
    w.close(again);
    w.close(victim);
    open(&mut w, "vale0:v", global(4));
    assert!(
        w.audit().is_empty(),
        "the last user left everything in order"
    );
}

#[test]
fn whoever_comes_into_a_memory_is_counted() {
    let mut w = world();
    let c = w.open();
    let before = w.ctl().arrivals();
    let counts = |w: &World, n: u64| assert_eq!(w.ctl().arrivals() - before, n);
    // On a switch, and bound.
    register(&mut w, c, "vale0:x", all()).unwrap();
    counts(&w, 2);
    let (pipe, _) = open(&mut w, "vale0:x{1", all());
    counts(&w, 3);
    // Questions, refusals and ends change nothing.
    let info = nmreq_port_info_get::default();
    ask(&mut w, c, NETMAP_REQ_PORT_INFO_GET, "vale0:x", info).unwrap();
    assert!(register(&mut w, c, "vale0:y", all()).is_err());
    w.close(pipe);
    w.close(c);
    persistent::newif(&mut w, "z0").unwrap();
    counts(&w, 3);
    persistent::attach(&mut w, "vale0:z0", 0).unwrap();
    counts(&w, 4);
}

#[test]
fn limits_of_a_switch_and_of_switches() {
    let mut w = world();
    let small = || with([0, 0], [16, 16]);
    let open_all = |w: &mut World, name: &dyn Fn(u32) -> String| {
        let mut clients = Vec::new();
        let refused = (0..300).find_map(|i| {
            let c = w.open();
            clients.push(c);
            register(w, c, &name(i), small()).err()
        });
        if let Some(last) = clients.pop() {
            w.close(last);
        }
        (clients, refused)
    };
    let (ports, refused) = open_all(&mut w, &|i| format!("vale0:p{i}"));
    assert_eq!((ports.len(), refused), (252, Some(Errno::NOMEM)));
    let mut listed = 0;
    let mut at = nmreq_vale_list::default();
    let c = w.open();
    while let Ok(found) = ask(&mut w, c, NETMAP_REQ_VALE_LIST, "", at) {
        listed += 1;
        at = nmreq_vale_list {
            nr_port_idx: found.nr_port_idx + 1,
            ..found
        };
    }
    assert_eq!(listed, 252);
    ports.into_iter().for_each(|c| w.close(c));

    let (switches, refused) = open_all(&mut w, &|i| format!("vale{i}:p"));
    assert_eq!((switches.len(), refused), (8, Some(Errno::NOMEM)));
    assert!(attempt(&mut w, "vale0:other", small()).is_ok());
    w.close(switches[1]);
    assert!(attempt(&mut w, "valeNEW:x", small()).is_ok());

    let mut w = world_with(Config {
        max_switches: 64,
        ..Config::default()
    });
    let (switches, refused) = open_all(&mut w, &|i| format!("vale{i}:p"));
    assert_eq!((switches.len(), refused), (64, Some(Errno::NOMEM)));

    for base in ["pl", "vale0:q"] {
        let mut w = world();
        let (pipes, refused) = open_all(&mut w, &|i| format!("{base}{{{i}"));
        assert_eq!((pipes.len(), refused), (5, Some(Errno::NOMEM)), "{base}");
        pipes.into_iter().for_each(|c| w.close(c));
        assert_eq!(w.ports().count(), 0);
    }
}

#[test]
fn port_numbers_are_reused_in_netmaps_order() {
    use core::sync::atomic::Ordering::Relaxed;
    let mut w = world();
    let clients: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .map(|n| open(&mut w, &format!("vale0:{n}"), all()).0)
        .collect();
    let order = |w: &World| {
        let ports = w.switches().next().unwrap().ports;
        let order: Vec<_> = ports.iter().map(|p| p.0).collect();
        let mut shown = order.clone();
        shown.sort_unstable();
        assert!(w.ctl().switch(0).unwrap().numbers().eq(shown));
        let s = w.ctl().switch(0).unwrap();
        for (number, port) in s.ports.iter().enumerate() {
            assert_eq!(port.load(Relaxed) != 0, order.contains(&(number as u32)));
        }
        order
    };
    assert_eq!(order(&w), [0, 1, 2, 3]);
    w.close(clients[1]);
    // the last one moved into the gap
    assert_eq!(order(&w), [0, 3, 2]);
    open(&mut w, "vale0:e", all());
    assert_eq!(order(&w), [0, 3, 2, 1]);
    w.close(clients[0]);
    w.close(clients[2]);
    assert_eq!(order(&w), [1, 3]);
    open(&mut w, "vale0:f", all());
    assert_eq!(order(&w), [1, 3, 2]);
}

#[test]
fn control_memory_tells_what_the_data_path_needs() {
    use core::sync::atomic::Ordering::Relaxed;
    use uvale_shared::ctl::{PORT_ON, RING_OFF, RING_ON};
    let mut w = world();
    let (c, _) = open(&mut w, "vale3:a", with([2, 3], [64, 128]));
    let b = w.binding(c).unwrap().clone();
    let ctl = w.ctl();
    let port = ctl.port(b.port).unwrap();
    assert_eq!(port.generation.load(Relaxed), b.generation);
    assert_eq!(b.generation % 2, 1);
    assert_eq!(port.flags.load(Relaxed) & PORT_ON, PORT_ON);
    assert_eq!(
        (port.switch.load(Relaxed), port.bdg_port.load(Relaxed)),
        (1, 0)
    );
    assert_eq!(
        (
            port.num_tx_rings.load(Relaxed),
            port.num_rx_rings.load(Relaxed)
        ),
        (2, 3)
    );
    assert_eq!(
        port.sleepers[usize::from(b.sleeper.unwrap())].load(Relaxed),
        c.0 + 1
    );
    assert_eq!(ctl.switch(0).unwrap().ports[0].load(Relaxed), b.port + 1);
    let (tx, rx) = (port.tx_kring.load(Relaxed), port.rx_kring.load(Relaxed));
    assert_eq!(rx, tx + 3);
    let v = View::of(&w, c);
    for (first, n, is_tx, slots) in [(tx, 2, true, 64), (rx, 3, false, 128)] {
        for i in 0..n {
            let k = ctl.kring(first + i).unwrap();
            assert_eq!(k.mode.load(Relaxed), RING_ON);
            assert_eq!(
                (k.num_slots.load(Relaxed), k.ring_id.load(Relaxed)),
                (slots, i)
            );
            assert_eq!(k.ring_ofs.load(Relaxed), v.ring(is_tx, i));
            assert_eq!(
                (k.dir.load(Relaxed) == 1, k.port.load(Relaxed)),
                (is_tx, b.port)
            );
            assert_eq!(
                (k.region.load(Relaxed), k.generation.load(Relaxed)),
                (b.region, b.generation)
            );
            let tail = if is_tx { slots - 1 } else { 0 };
            assert_eq!(
                (
                    k.hwcur.load(Relaxed),
                    k.hwtail.load(Relaxed),
                    k.rtail.load(Relaxed)
                ),
                (0, tail, tail)
            );
        }
        assert_eq!(ctl.kring(first + n).unwrap().mode.load(Relaxed), RING_OFF);
    }
    w.close(c);
    let port = w.ctl().port(b.port).unwrap();
    assert_eq!(
        (port.flags.load(Relaxed), port.generation.load(Relaxed) % 2),
        (0, 0)
    );
    assert_eq!(w.ctl().kring(tx).unwrap().mode.load(Relaxed), RING_OFF);
    assert_eq!(w.ctl().switch(0).unwrap().numbers().count(), 0);
}

#[test]
fn sixty_four_descriptors_of_a_port_can_be_woken() {
    let mut w = world();
    let reg = nmreq_register {
        nr_mem_id: 1,
        ..all()
    };
    let clients: Vec<_> = (0..66).map(|_| open(&mut w, "vale0:s", reg).0).collect();
    let bit = |w: &World, i: usize| w.binding(clients[i]).unwrap().sleeper;
    assert_eq!(
        (bit(&w, 0), bit(&w, 63), bit(&w, 64)),
        (Some(0), Some(63), None)
    );
    w.close(clients[5]);
    let (c, _) = open(&mut w, "vale0:s", reg);
    assert_eq!(w.binding(c).unwrap().sleeper, Some(5));
}

#[test]
fn rings_of_one_port_come_and_go_by_themselves() {
    let mut w = world();
    let one = |ring| nmreq_register {
        nr_mode: NR_REG_ONE_NIC,
        nr_ringid: ring,
        ..with([2, 2], [64, 64])
    };
    let (a, _) = open(&mut w, "vale0:m", one(0));
    let (b, _) = open(&mut w, "vale0:m", one(1));
    assert!(w.audit().is_empty());
    let first = View::of(&w, a).buffers(true, 0);
    w.close(a);
    assert_eq!(w.memories().last().unwrap().used[1], 2);
    let (a, _) = open(&mut w, "vale0:m", one(0));
    assert_eq!(View::of(&w, a).buffers(true, 0), first);
    assert!(w.audit().is_empty());
    w.close(b);
    w.close(a);
    assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
}

#[test]
fn a_mapping_outlives_its_descriptor() {
    let mut w = world();
    let (c, _) = open(&mut w, "vale0:f", all());
    let (offset, ring) = (
        w.bound(c).unwrap().offset as usize,
        View::of(&w, c).ring(true, 0) as usize,
    );
    let shared = w
        .region(w.binding(c).unwrap().region)
        .unwrap()
        .shared
        .clone();
    w.close(c);
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
    let word = |at| shared.map.at::<AtomicU32>(at).unwrap().load(Relaxed);
    assert_eq!((word(offset + 24), word(ring + 8)), (1, 1024));
}

#[test]
fn a_refused_descriptor_leaves_the_rings_of_others_alone_and_none_of_its_own() {
    let mut w = world();
    let one = |ring| nmreq_register {
        nr_mode: NR_REG_ONE_NIC,
        nr_ringid: ring,
        ..with([2, 2], [64, 64])
    };
    let clients: Vec<_> = (0..12).map(|_| open(&mut w, "vale0:m", one(0)).0).collect();
    let used = |w: &World| w.memories().last().unwrap().used;
    let before = used(&w);
    assert_eq!((before[0], before[1]), (12, 2));
    assert_eq!(attempt(&mut w, "vale0:m", one(1)).err(), Some(Errno::NOMEM));
    assert_eq!(used(&w), before);
    assert!(w.audit().is_empty());
    w.close(clients[3]);
    assert!(attempt(&mut w, "vale0:m", one(1)).is_ok());
}

#[test]
fn a_new_port_has_no_sleepers_and_no_counts_of_an_older_one() {
    let mut w = world();
    let (c, _) = open(&mut w, "vale0:a", all());
    let index = w.ports().next().unwrap().krings[0][0];
    let k = w.ctl().kring(index).unwrap();
    k.sleepers.store(u64::MAX, Relaxed);
    k.produced.full.store(5, Relaxed);
    k.sync.packets.store(6, Relaxed);
    w.close(c);
    open(&mut w, "vale0:b", all());
    assert_eq!(w.ports().next().unwrap().krings[0][0], index);
    let k = w.ctl().kring(index).unwrap();
    assert_eq!(
        (
            k.sleepers.load(Relaxed),
            k.produced.full.load(Relaxed),
            k.sync.packets.load(Relaxed)
        ),
        (0, 0, 0)
    );
}
