//! Sections err_reg and err_cmd of the record.

use super::*;

#[test]
fn names() {
    for (name, want) in [
        ("", Err(Errno::NXIO)),
        ("vale", Err(Errno::NOMEM)),
        ("vale0", Err(Errno::NOMEM)),
        ("vale:", Ok("vale:")),
        ("vale0:", Ok("vale0:")),
        ("vale:x", Ok("vale:x")),
        ("valeX:y", Ok("valeX:y")),
        ("vale_b:y", Ok("vale_b:y")),
        ("vale-b:y", Err(Errno::NOMEM)),
        ("vale.b:y", Err(Errno::NOMEM)),
        ("vale0:x:y", Ok("vale0:x:y")),
        ("vale0:x y", Ok("vale0:x y")),
        (" ", Err(Errno::NXIO)),
        ("netmap:vale0:x", Err(Errno::NXIO)),
        ("nope", Err(Errno::NXIO)),
        ("a/b", Err(Errno::NXIO)),
        (":", Err(Errno::NXIO)),
        (":x", Err(Errno::NXIO)),
        ("vale0:a/b", Ok("vale0:a/b")),
        ("vale0:123456789", Ok("vale0:123456789")),
        ("vale0:1234567890123", Ok("vale0:123456789")),
        ("vale0:123456789abcdef", Ok("vale0:123456789")),
        ("vale012345678:a", Ok("vale012345678:a")),
        ("vale0123456789:a", Ok("vale0123456789:")),
        ("vale012345678901:a", Err(Errno::NOMEM)),
        ("vale0:-", Ok("vale0:-")),
        ("vale0:a^", Ok("vale0:a^")),
        ("vale0:a*", Ok("vale0:a*")),
        ("nope^", Err(Errno::NXIO)),
        ("nope-1", Err(Errno::NXIO)),
        ("Vale0:x", Err(Errno::NXIO)),
        ("VALE0:x", Err(Errno::NXIO)),
        ("vale0:é", Ok("vale0:é")),
        // netmap looks at three letters of the prefix
        ("valX:y", Ok("valX:y")),
        ("val", Err(Errno::NOMEM)),
    ] {
        let mut w = world();
        let c = w.open();
        let got = register(&mut w, c, name, all()).map(|_| View::of(&w, c).name());
        assert_eq!(got, want.map(str::to_owned), "{name:?}");
    }
}

#[test]
fn a_name_without_an_end_is_cut() {
    let mut w = world();
    for (start, want) in [("", Errno::NXIO), ("vale0:", Errno::NOMEM)] {
        let c = w.open();
        let mut r = request(NETMAP_REQ_REGISTER, "", &all());
        r.header.nr_name = [b'a'; 64];
        r.header.nr_name[..start.len()].copy_from_slice(start.as_bytes());
        assert_eq!(w.request(c, &mut r).unwrap_err().errno, want);
        assert_eq!(r.header.nr_name[63], 0);
    }
}

#[test]
fn types_that_do_not_exist() {
    let mut w = world();
    for reqtype in [0, 16, 17, 99, 1000, 65535] {
        let c = w.open();
        let mut r = request(reqtype, "vale0:e", &all());
        assert_eq!(w.request(c, &mut r).unwrap_err().errno, Errno::INVAL);
    }
}

#[test]
fn ring_numbers() {
    let mut w = world();
    let reg = nmreq_register {
        nr_tx_rings: 2,
        nr_rx_rings: 3,
        ..all()
    };
    let (_p, _) = open(&mut w, "vale0:r", reg);
    for (mode, ring, want) in [
        (NR_REG_ONE_NIC, 1, Ok(([1, 2], [1, 2]))),
        // no such tx ring: the first one instead
        (NR_REG_ONE_NIC, 2, Ok(([2, 3], [0, 1]))),
        (NR_REG_ONE_NIC, 3, Err(Errno::INVAL)),
        (NR_REG_ONE_NIC, 999, Err(Errno::INVAL)),
        (NR_REG_ONE_SW, 0, Err(Errno::INVAL)),
        (NR_REG_ONE_SW, 1, Err(Errno::INVAL)),
        (NR_REG_ALL_NIC, 7, Ok(([0, 3], [0, 2]))),
        (NR_REG_PIPE_MASTER, 4464, Err(Errno::INVAL)),
    ] {
        let c = w.open();
        let got = register(
            &mut w,
            c,
            "vale0:r",
            nmreq_register {
                nr_mode: mode,
                nr_ringid: ring,
                ..all()
            },
        );
        let got = got.map(|_| {
            let b = w.binding(c).unwrap();
            ([b.first[0], b.last[0]], [b.first[1], b.last[1]])
        });
        assert_eq!(got, want, "mode {mode} ring {ring}");
        w.close(c);
    }
}

#[test]
fn one_binding_a_descriptor() {
    let mut w = world();
    let (c, _) = open(&mut w, "vale0:d", all());
    for name in ["vale0:d", "vale0:d2"] {
        assert_eq!(register(&mut w, c, name, all()), Err(Errno::BUSY));
    }
    assert!(w.binding(c).is_some());
    let c = w.open();
    assert_eq!(register(&mut w, c, "nope", all()), Err(Errno::NXIO));
    assert!(register(&mut w, c, "vale0:ok", all()).is_ok());
}

#[test]
fn exclusive_use() {
    const X: u64 = NR_EXCLUSIVE;
    let (ok, busy, inval) = (None, Some(Errno::BUSY), Some(Errno::INVAL));
    for (name, first, second, want) in [
        ("all_all", (1, 0, 0), (1, 0, 0), ok),
        ("allx_all", (1, 0, X), (1, 0, 0), busy),
        ("all_allx", (1, 0, 0), (1, 0, X), busy),
        ("allx_allx", (1, 0, X), (1, 0, X), busy),
        ("one0x_one0", (4, 0, X), (4, 0, 0), busy),
        ("one0x_one1", (4, 0, X), (4, 1, 0), ok),
        ("one0x_one1x", (4, 0, X), (4, 1, X), ok),
        ("one0x_all", (4, 0, X), (1, 0, 0), busy),
        ("one0_allx", (4, 0, 0), (1, 0, X), busy),
        ("one0_one0x", (4, 0, 0), (4, 0, X), busy),
        (
            "txx_rx",
            (1, 0, X | NR_TX_RINGS_ONLY),
            (1, 0, NR_RX_RINGS_ONLY),
            ok,
        ),
        (
            "txx_rxx",
            (1, 0, X | NR_TX_RINGS_ONLY),
            (1, 0, X | NR_RX_RINGS_ONLY),
            ok,
        ),
        ("txx_all", (1, 0, X | NR_TX_RINGS_ONLY), (1, 0, 0), busy),
        ("allx_sw", (1, 0, X), (2, 0, 0), inval),
    ] {
        let mut w = world();
        let body = |(mode, ring, flags)| nmreq_register {
            nr_mode: mode,
            nr_ringid: ring,
            nr_flags: flags,
            nr_tx_rings: 2,
            nr_rx_rings: 2,
            ..all()
        };
        let (p, _) = open(&mut w, "vale0:x", body(first));
        assert_eq!(
            attempt(&mut w, "vale0:x", body(second)).err(),
            want,
            "{name}"
        );
        assert!(w.audit().is_empty());
        w.close(p);
        assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0), "{name}");
        // nothing of the exclusive use is left
        assert!(attempt(&mut w, "vale0:x", body(second)).is_ok() || want == inval);
    }
}

#[test]
fn exclusive_use_of_pipes() {
    let mut w = world();
    open(
        &mut w,
        "xp{1",
        nmreq_register {
            nr_flags: NR_EXCLUSIVE,
            ..all()
        },
    );
    assert_eq!(attempt(&mut w, "xp{1", all()).err(), Some(Errno::BUSY));
    assert!(attempt(&mut w, "xp}1", all()).is_ok());
    assert!(attempt(&mut w, "xp{2", all()).is_ok());
}

#[test]
fn commands_on_ports() {
    let mut w = world();
    let c = w.open();
    let attach = |w: &mut World, name| {
        ask(
            w,
            c,
            NETMAP_REQ_VALE_ATTACH,
            name,
            nmreq_vale_attach::default(),
        )
        .err()
    };
    let detach = |w: &mut World, name| {
        ask(
            w,
            c,
            NETMAP_REQ_VALE_DETACH,
            name,
            nmreq_vale_detach::default(),
        )
        .err()
    };
    for name in ["vale0:nope", "nope", "", "vale0:"] {
        assert_eq!(attach(&mut w, name), Some(Errno::INVAL), "{name:?}");
    }
    for (name, want) in [
        ("vale0:nope", Errno::NXIO),
        ("vale7:nope", Errno::NXIO),
        ("nope", Errno::INVAL),
        ("", Errno::INVAL),
    ] {
        assert_eq!(detach(&mut w, name), Some(want), "{name:?}");
    }
    open(&mut w, "vale0:eph", all());
    assert_eq!(detach(&mut w, "vale0:eph"), Some(Errno::BUSY));
    assert_eq!(attach(&mut w, "vale0:eph"), Some(Errno::BUSY));
    for reqtype in [
        NETMAP_REQ_VALE_POLLING_ENABLE,
        NETMAP_REQ_VALE_POLLING_DISABLE,
    ] {
        for (name, want) in [
            ("vale0:eph", Errno::OPNOTSUPP),
            ("vale0:nope", Errno::NXIO),
            ("nope", Errno::INVAL),
        ] {
            assert_eq!(
                ask(&mut w, c, reqtype, name, nmreq_vale_polling::default()).err(),
                Some(want)
            );
        }
    }
}

#[test]
fn header_lengths() {
    let mut w = world();
    let c = w.open();
    let set = |w: &mut World, name, len| {
        ask(
            w,
            c,
            NETMAP_REQ_PORT_HDR_SET,
            name,
            nmreq_port_hdr {
                nr_hdr_len: len,
                pad1: 0,
            },
        )
        .err()
    };
    let get = |w: &mut World, name| {
        ask(
            w,
            c,
            NETMAP_REQ_PORT_HDR_GET,
            name,
            nmreq_port_hdr {
                nr_hdr_len: 777,
                pad1: 0,
            },
        )
        .map(|b| b.nr_hdr_len)
    };
    let (p, _) = open(&mut w, "vale0:eph", all());
    assert_eq!(get(&mut w, "vale0:eph"), Ok(0));
    let mut now = 0;
    for len in [0, 10, 12, 13, 1, 96, 97, 1000, 8] {
        let ok = [0, 10, 12].contains(&len);
        assert_eq!(set(&mut w, "vale0:eph", len), (!ok).then_some(Errno::INVAL));
        now = if ok { len } else { now };
        assert_eq!(get(&mut w, "vale0:eph"), Ok(now));
        use core::sync::atomic::Ordering::Relaxed;
        let port = w.ctl().port(w.binding(p).unwrap().port).unwrap();
        assert_eq!(port.virt_hdr_len.load(Relaxed), now);
    }
    // the port demands now that whoever opens it knows of headers
    assert_eq!(attempt(&mut w, "vale0:eph", all()).err(), Some(Errno::IO));
    let aware = nmreq_register {
        nr_flags: NR_ACCEPT_VNET_HDR,
        ..all()
    };
    assert!(attempt(&mut w, "vale0:eph", aware).is_ok());
    for name in ["vale0:nope", "nope", ""] {
        assert_eq!(set(&mut w, name, 10), Some(Errno::NXIO));
        assert_eq!(get(&mut w, name), Err(Errno::NXIO));
    }
    open(&mut w, "hp{1", all());
    assert_eq!(set(&mut w, "hp{1", 10), Some(Errno::NXIO));
    assert_eq!(get(&mut w, "hp{1"), Ok(0));
    assert_eq!(get(&mut w, "hp{2"), Err(Errno::NODEV));
}

#[test]
fn listing() {
    let mut w = world();
    let c = w.open();
    let list = |w: &mut World, name: &str, bridge, port| {
        let body = nmreq_vale_list {
            nr_bridge_idx: bridge,
            pad1: 0,
            nr_port_idx: port,
        };
        let mut r = request(NETMAP_REQ_VALE_LIST, name, &body);
        w.request(c, &mut r).map_err(|e| e.errno).map(|()| {
            let body = nmreq_vale_list::from_bytes(&r.body).unwrap();
            let name = uvale_request::name_of(&mut r.header);
            (
                String::from_utf8(name).unwrap(),
                body.nr_bridge_idx,
                body.nr_port_idx,
            )
        })
    };
    let found = |name: &str, bridge, port| Ok((name.to_owned(), bridge, port));
    assert_eq!(list(&mut w, "", 0, 0), Err(Errno::NOENT));
    assert_eq!(list(&mut w, "vale0:nope", 0, 0), Err(Errno::NOENT));
    let (a, _) = open(&mut w, "vale0:a", all());
    open(&mut w, "vale0:b", all());
    open(&mut w, "vale1:c", all());
    assert_eq!(list(&mut w, "", 0, 0), found("vale0:a", 0, 0));
    assert_eq!(list(&mut w, "", 0, 1), found("vale0:b", 0, 1));
    assert_eq!(list(&mut w, "", 0, 2), found("vale1:c", 1, 0));
    assert_eq!(list(&mut w, "", 1, 1), Err(Errno::NOENT));
    assert_eq!(list(&mut w, "vale0:b", 0, 0), found("vale0:b", 0, 1));
    assert_eq!(list(&mut w, "vale1:c", 0, 0), found("vale1:c", 1, 0));
    assert_eq!(list(&mut w, "vale0", 0, 0), Err(Errno::NOENT));
    assert_eq!(list(&mut w, "vale0:", 0, 0), found("vale0:", 0, 255));
    assert_eq!(list(&mut w, "eth0", 0, 0), Err(Errno::INVAL));
    w.close(a);
    assert_eq!(list(&mut w, "", 0, 0), found("vale0:b", 0, 1));
    open(&mut w, "vale0:d", all());
    assert_eq!(list(&mut w, "vale0:d", 0, 0), found("vale0:d", 0, 0));
    for (bridge, port) in [(50, 0), (7, u32::MAX), (u16::MAX, 0)] {
        assert_eq!(list(&mut w, "", bridge, port), Err(Errno::NOENT));
    }
}

#[test]
fn information_about_what_is_not_there() {
    let mut w = world();
    let c = w.open();
    let info = |w: &mut World, name, mem_id| {
        let body = nmreq_port_info_get {
            nr_mem_id: mem_id,
            ..nmreq_port_info_get::default()
        };
        ask(w, c, NETMAP_REQ_PORT_INFO_GET, name, body)
            .map(|i| (i.nr_mem_id, i.nr_memsize, i.nr_tx_rings))
    };
    let pools = |w: &mut World, name, mem_id| {
        let body = nmreq_pools_info {
            nr_mem_id: mem_id,
            ..nmreq_pools_info::default()
        };
        ask(w, c, NETMAP_REQ_POOLS_INFO_GET, name, body).err()
    };
    assert_eq!(info(&mut w, "", 0), Ok((1, 343_019_520, 0)));
    assert_eq!(info(&mut w, "", 999), Err(Errno::INVAL));
    assert_eq!(pools(&mut w, "", 0), Some(Errno::NXIO));
    assert_eq!(pools(&mut w, "", 999), Some(Errno::INVAL));
    assert_eq!(pools(&mut w, "", 1), Some(Errno::NXIO));
    for (name, want) in [
        ("nope", Errno::NXIO),
        ("vale0", Errno::NOMEM),
        ("foo{", Errno::INVAL),
    ] {
        assert_eq!(info(&mut w, name, 0), Err(want));
        assert_eq!(pools(&mut w, name, 0), Some(want));
    }
    assert_eq!(info(&mut w, "vale0:x/r", 0).map(|i| i.1), Ok(42_369_024));
    assert_eq!(
        info(&mut w, "gip{1", 0).map(|i| (i.1, i.2)),
        Ok((42_369_024, 1))
    );
    assert_eq!(w.ports().count(), 0);
}
