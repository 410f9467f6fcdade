//! Sections reg_vale and reg_null of the record.

use super::*;

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
    // each buffer's first word is written: small ones keep that cheap
    let mut config = Config::default();
    config.private.buf.size = 64;
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
            attempt(&mut world_with(config), "vale0:z", reg)
                .unwrap()
                .nr_extra_bufs,
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
    // rings without slots
    let (c, reg) = open(&mut w, "", null(1, 0, [1, 0], [0, 0]));
    assert_eq!((reg.nr_tx_rings, reg.nr_tx_slots), (1, 0));
    let header = View::of(&w, c).ring_header(true, 0);
    assert_eq!(header, [0, 2048, 0, 1, 0, 0, u32::MAX]);
    let process = Process::new(&w, 7);
    let attachment = process.attach(&w, c);
    attachment.txsync(&process);
    assert!(w.audit().is_empty());
    w.close(c);
}
