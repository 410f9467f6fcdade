//! Sections reg_vale, extra, limits and err_reg of the record.

use super::*;

fn with(rings: [u16; 2], slots: [u32; 2]) -> nmreq_register {
    nmreq_register {
        nr_tx_rings: rings[0],
        nr_rx_rings: rings[1],
        nr_tx_slots: slots[0],
        nr_rx_slots: slots[1],
        ..all()
    }
}

fn pools(w: &mut World, name: &str, mem_id: u16) -> core::result::Result<nmreq_pools_info, Errno> {
    let c = w.open();
    let body = nmreq_pools_info {
        nr_mem_id: mem_id,
        ..nmreq_pools_info::default()
    };
    let result = ask(w, c, NETMAP_REQ_POOLS_INFO_GET, name, body);
    w.close(c);
    result
}

#[test]
fn a_default_port_looks_as_on_the_kernel() {
    let mut w = world();
    let (c, reg) = open(&mut w, "vale0:a", all());
    assert_eq!(
        (
            reg.nr_tx_rings,
            reg.nr_rx_rings,
            reg.nr_host_tx_rings,
            reg.nr_host_rx_rings
        ),
        (1, 1, 0, 0)
    );
    assert_eq!(
        (reg.nr_tx_slots, reg.nr_rx_slots, reg.nr_extra_bufs),
        (1024, 1024, 0)
    );
    assert_eq!((reg.nr_memsize, reg.nr_offset), (42_369_024, 0));
    assert!(reg.nr_mem_id > 1);
    let v = View::of(&w, c);
    assert_eq!(v.name(), "vale0:a");
    assert_eq!(v.netmap_if(), [NI_PRIV_MEM, 1, 1, 0, 1, 1]);
    assert_eq!(v.ring_header(true, 0), [1024, 2048, 0, 1, 0, 0, 1023]);
    assert_eq!(v.ring_header(false, 0), [1024, 2048, 0, 0, 0, 0, 0]);
    let ofs = v.ring_ofs();
    assert_eq!((ofs[1], ofs[3]), (0, 0));
    assert!(ofs[0] > 0 && ofs[2] > 0);
    // rx rings come first, lowest buffers first
    assert_eq!(v.buffers(false, 0), (2..1026).collect::<Vec<_>>());
    assert_eq!(v.buffers(true, 0), (1026..2050).collect::<Vec<_>>());
    w.close(c);
    assert_eq!(w.ports().count(), 0);
    assert_eq!(w.krings_in_use(), 0);
}

#[test]
fn information_before_during_and_after() {
    let mut w = world();
    let look = |w: &mut World| {
        let q = pools(w, "vale0:a", 0).unwrap();
        assert!(q.nr_mem_id > 1);
        assert_eq!(q.nr_memsize, 42_369_024);
        assert_eq!(
            (
                q.nr_if_pool_offset,
                q.nr_if_pool_objtotal,
                q.nr_if_pool_objsize
            ),
            (0, 12, 1024)
        );
        let ring = (
            q.nr_ring_pool_offset,
            q.nr_ring_pool_objtotal,
            q.nr_ring_pool_objsize,
        );
        assert_eq!(ring, (12288, 20, 20480));
        let buf = (
            q.nr_buf_pool_offset,
            q.nr_buf_pool_objtotal,
            q.nr_buf_pool_objsize,
        );
        assert_eq!(buf, (421_888, 20482, 2048));
        let c = w.open();
        let i = ask(
            w,
            c,
            NETMAP_REQ_PORT_INFO_GET,
            "vale0:a",
            nmreq_port_info_get::default(),
        )
        .unwrap();
        assert_eq!(
            (i.nr_tx_rings, i.nr_rx_rings, i.nr_tx_slots, i.nr_rx_slots),
            (1, 1, 1024, 1024)
        );
        assert_eq!((i.nr_memsize, i.nr_host_tx_rings), (42_369_024, 0));
        w.close(c);
    };
    look(&mut w);
    assert_eq!(w.ports().count(), 0, "asking leaves nothing behind");
    let (c, _) = open(&mut w, "vale0:a", all());
    look(&mut w);
    w.close(c);
    look(&mut w);
    assert_eq!(w.memories().count(), 1);
}

#[test]
fn configured_port_and_second_descriptors() {
    let mut w = world();
    let wanted = nmreq_register {
        nr_extra_bufs: 10,
        ..with([3, 2], [256, 512])
    };
    let (c, reg) = open(&mut w, "vale0:a", wanted);
    assert_eq!(
        (reg.nr_memsize, reg.nr_extra_bufs, reg.nr_offset),
        (18_333_696, 10, 0)
    );
    let q = pools(&mut w, "vale0:a", 0).unwrap();
    assert_eq!(
        (
            q.nr_ring_pool_objtotal,
            q.nr_buf_pool_offset,
            q.nr_buf_pool_objtotal
        ),
        (23, 483_328, 8716)
    );
    let v = View::of(&w, c);
    assert_eq!(v.netmap_if()[1..3], [3, 2]);
    for i in 0..3 {
        assert_eq!(v.ring_header(true, i), [256, 2048, i, 1, 0, 0, 255]);
    }
    for i in 0..2 {
        assert_eq!(v.ring_header(false, i), [512, 2048, i, 0, 0, 0, 0]);
    }
    assert_eq!(v.extra().len(), 10);
    let mut all_buffers = v.extra();
    (0..3).for_each(|i| all_buffers.extend(v.buffers(true, i)));
    (0..2).for_each(|i| all_buffers.extend(v.buffers(false, i)));
    all_buffers.sort_unstable();
    all_buffers.dedup();
    assert_eq!(all_buffers.len(), 10 + 3 * 256 + 2 * 512);

    let (d, second) = open(&mut w, "vale0:a", with([1, 0], [64, 0]));
    assert_eq!(
        (
            second.nr_tx_rings,
            second.nr_rx_rings,
            second.nr_tx_slots,
            second.nr_rx_slots
        ),
        (3, 2, 256, 512)
    );
    assert_eq!(
        (second.nr_mem_id, second.nr_offset, second.nr_extra_bufs),
        (reg.nr_mem_id, 1024, 0)
    );
    assert_eq!(View::of(&w, c).ring(true, 1), View::of(&w, d).ring(true, 1));
    let (_, other) = open(&mut w, "vale0:b", all());
    assert_ne!(other.nr_mem_id, reg.nr_mem_id);
}

#[test]
fn bounds_of_rings_and_slots() {
    for (rings, slots, want_rings, want_slots) in [
        ([16, 16], [0, 0], [16, 16], [1024, 1024]),
        ([17, 17], [0, 0], [16, 16], [1024, 1024]),
        ([1, 1], [1, 1], [1, 1], [1, 1]),
        ([1, 1], [2, 3], [1, 1], [2, 3]),
        ([1, 1], [4096, 4096], [1, 1], [4096, 4096]),
        ([1, 1], [5000, 5000], [1, 1], [4096, 4096]),
        ([1, 1], [100, 100], [1, 1], [100, 100]),
        ([100, 1], [0, 0], [16, 1], [1024, 1024]),
        // a ring size that is no multiple of 128 bytes
        ([2, 2], [1300, 1301], [2, 2], [1300, 1301]),
    ] {
        let r = attempt(&mut world(), "vale0:z", with(rings, slots)).unwrap();
        assert_eq!(
            (
                [r.nr_tx_rings, r.nr_rx_rings],
                [r.nr_tx_slots, r.nr_rx_slots]
            ),
            (want_rings, want_slots)
        );
    }
}

#[test]
fn extra_buffers_up_to_the_limit() {
    for (wanted, got) in [
        (1, 1),
        (100, 100),
        (1000, 1000),
        (10_000, 10_000),
        (100_000, 100_000),
        (1_000_000, 524_288),
    ] {
        let reg = nmreq_register {
            nr_extra_bufs: wanted,
            ..with([0, 0], [64, 64])
        };
        assert_eq!(
            attempt(&mut world(), "vale0:z", reg).unwrap().nr_extra_bufs,
            got
        );
    }
}

#[test]
fn modes() {
    for mode in 0..10 {
        let mut w = world();
        let c = w.open();
        let reg = nmreq_register {
            nr_mode: mode,
            nr_ringid: 1,
            ..with([2, 2], [0, 0])
        };
        let result = register(&mut w, c, "vale0:z", reg).map(|_| {
            View::of(&w, c)
                .ring_ofs()
                .iter()
                .map(|o| if *o == 0 { '0' } else { '1' })
                .collect::<String>()
        });
        let want = match mode {
            NR_REG_ALL_NIC => Ok("110110".to_string()),
            NR_REG_ONE_NIC => Ok("010010".to_string()),
            _ => Err(Errno::INVAL),
        };
        assert_eq!(result, want, "mode {mode}");
        w.close(c);
        assert_eq!(w.ports().count(), 0);
    }
}

#[test]
fn one_direction_only() {
    for (flags, want) in [
        (NR_TX_RINGS_ONLY, [0, 0, 0, 1]),
        (NR_RX_RINGS_ONLY, [0, 1, 0, 0]),
        (NR_TX_RINGS_ONLY | NR_RX_RINGS_ONLY, [0, 0, 0, 0]),
        (NR_ACCEPT_VNET_HDR | 0x10_0000, [0, 1, 0, 1]),
    ] {
        let mut w = world();
        let (c, _) = open(
            &mut w,
            "vale0:z",
            nmreq_register {
                nr_flags: flags,
                ..all()
            },
        );
        let b = w.binding(c).unwrap();
        assert_eq!([b.first[0], b.last[0], b.first[1], b.last[1]], want);
        let v = View::of(&w, c);
        let ofs = v.ring_ofs();
        assert_eq!([ofs[0] != 0, ofs[2] != 0], [want[3] == 1, want[1] == 1]);
    }
}

#[test]
fn the_global_memory() {
    let mut w = world();
    let (c, reg) = open(
        &mut w,
        "vale0:a",
        nmreq_register {
            nr_mem_id: 1,
            ..all()
        },
    );
    assert_eq!(
        (reg.nr_mem_id, reg.nr_memsize, reg.nr_offset),
        (1, 343_019_520, 0)
    );
    assert_eq!(View::of(&w, c).netmap_if()[0], 0);
    let q = pools(&mut w, "vale0:a", 0).unwrap();
    assert_eq!(
        (
            q.nr_if_pool_objtotal,
            q.nr_ring_pool_offset,
            q.nr_ring_pool_objsize
        ),
        (100, 102_400, 36864)
    );
    assert_eq!(
        (
            q.nr_ring_pool_objtotal,
            q.nr_buf_pool_offset,
            q.nr_buf_pool_objtotal
        ),
        (200, 7_475_200, 163_840)
    );
    let region = w.binding(c).unwrap().region;
    w.close(c);
    let (c, _) = open(
        &mut w,
        "vale0:a",
        nmreq_register {
            nr_mem_id: 1,
            ..all()
        },
    );
    assert_eq!(w.binding(c).unwrap().region, region);
    assert_eq!(
        attempt(
            &mut w,
            "vale0:b",
            nmreq_register {
                nr_mem_id: 9999,
                ..all()
            }
        ),
        Err(Errno::INVAL)
    );
}

#[test]
fn null_ports() {
    let null = |mem_id, extra, rings: [u16; 2], slots: [u32; 2]| nmreq_register {
        nr_mode: NR_REG_NULL,
        nr_mem_id: mem_id,
        nr_extra_bufs: extra,
        ..with(rings, slots)
    };
    let mut w = world();
    assert_eq!(
        attempt(&mut w, "", null(0, 0, [0, 0], [0, 0])),
        Err(Errno::INVAL)
    );
    let (c, reg) = open(&mut w, "", null(1, 100, [0, 0], [0, 0]));
    assert_eq!(
        (
            reg.nr_tx_rings,
            reg.nr_tx_slots,
            reg.nr_extra_bufs,
            reg.nr_memsize
        ),
        (0, 0, 100, 343_019_520)
    );
    assert_eq!(View::of(&w, c).name(), "null:");
    assert_eq!(View::of(&w, c).netmap_if()[1..3], [0, 0]);
    assert_eq!(View::of(&w, c).extra().len(), 100);
    w.close(c);
    let (c, reg) = open(&mut w, "", null(1, 0, [1, 1], [32, 64]));
    assert_eq!(
        (reg.nr_tx_slots, reg.nr_rx_slots, reg.nr_host_tx_rings),
        (32, 64, 0)
    );
    let v = View::of(&w, c);
    assert_eq!(v.ring_header(true, 0), [32, 2048, 0, 1, 0, 0, 31]);
    assert_eq!(v.ring_header(false, 0), [64, 2048, 0, 0, 0, 0, 0]);
    assert_eq!(v.buffers(false, 0), (2..66).collect::<Vec<_>>());
    assert!(w.binding(c).unwrap().is_null);
    let (_, vale) = open(&mut w, "vale0:n", all());
    let (_, shared) = open(&mut w, "", null(vale.nr_mem_id, 2, [0, 0], [0, 0]));
    assert_eq!(
        (shared.nr_mem_id, shared.nr_extra_bufs),
        (vale.nr_mem_id, 2)
    );
    // more than rings or their table can take
    assert_eq!(
        attempt(&mut w, "", null(1, 0, [1, 1], [100_000, 1])),
        Err(Errno::NOMEM)
    );
    assert_eq!(
        attempt(&mut w, "", null(1, 0, [200, 200], [1, 1])),
        Err(Errno::NOMEM)
    );
    assert_eq!(
        attempt(&mut w, "", null(1, 0, [60_000, 60_000], [1, 1])),
        Err(Errno::NOMEM)
    );
    assert_eq!(
        attempt(&mut w, "", null(1, 0, [1, 0], [0, 0])),
        Err(Errno::INVAL)
    );
}

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
    for i in 0..3 {
        let null = nmreq_register {
            nr_mode: NR_REG_NULL,
            nr_mem_id: 1,
            ..extra(100_000)
        };
        let (c, reg) = open(&mut w, "", null);
        assert_eq!(reg.nr_extra_bufs, 100_000, "open {i}");
        let v = View::of(&w, c);
        v.set_word(v.b.offset + 32, 0);
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
        clients.pop().map(|c| w.close(c));
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
        let s = w.ctl().switch(0).unwrap();
        let n = s.active.load(Relaxed) as usize;
        let order: Vec<_> = s.order[..n].iter().map(|o| o.load(Relaxed)).collect();
        assert_eq!(
            order,
            w.switches()
                .next()
                .unwrap()
                .ports
                .iter()
                .map(|p| p.0)
                .collect::<Vec<_>>()
        );
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
    use crate::ctl::{PORT_ON, RING_OFF, RING_ON};
    use core::sync::atomic::Ordering::Relaxed;
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
    assert_eq!(w.ctl().switch(0).unwrap().active.load(Relaxed), 0);
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
        w.binding(c).unwrap().offset as usize,
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
