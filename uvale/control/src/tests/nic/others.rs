//! What goes around with NIC ports: options, switches, pipes, monitors, the interface before `NIOCCTRL`.

use super::*;
use crate::tests::{options, persistent};

/// opts.offsets, opts.csb
#[test]
fn options() {
    let mut w = world();
    let c = w.open();
    let head = |nro_reqtype| nmreq_option {
        nro_reqtype,
        ..nmreq_option::default()
    };
    let asked = nmreq_opt_offsets {
        nro_opt: head(NETMAP_REQ_OPT_OFFSETS),
        nro_max_offset: 64,
        nro_offset_bits: 16,
        ..nmreq_opt_offsets::default()
    };
    let mut r = request(NETMAP_REQ_REGISTER, "veth0", &flags(NR_EXCLUSIVE));
    r.options.push(options::option(&asked));
    let mut caller = Caller {
        interface: Some(veth(2, 1)),
        ..Caller::default()
    };
    w.request_from(c, &mut caller, &mut r).unwrap();
    assert_eq!(r.options[0].header.nro_status, 0);
    let v = View::of(&w, c);
    assert_eq!(v.word(v.ring(true, 0) + 56), 0xffff);
    let csb = nmreq_opt_csb {
        nro_opt: head(NETMAP_REQ_OPT_CSB),
        csb_atok: 4096,
        csb_ktoa: 8192,
    };
    let mut r = request(NETMAP_REQ_CSB_ENABLE, "", &0u8);
    r.body.clear();
    r.options.push(options::option(&csb));
    let mut caller = Caller::default();
    w.request_from(c, &mut caller, &mut r).unwrap();
    assert_eq!(caller.csb_entries, 2);
}

/// vale.newif_delif, vale.switch_names, vale.attach_*, vale.open_first; err_cmd for lo
#[test]
fn requests_about_switches() {
    let mut w = world();
    let c = w.open();
    let veth = veth(2, 1);
    let newif = nmreq_vale_newif::default();
    let made = ask_about(&mut w, c, NETMAP_REQ_VALE_NEWIF, ("veth0", &veth), newif);
    assert_eq!(made.err(), Some(Errno::EXIST));
    let none = nmreq_vale_detach::default();
    let deleted = ask_about(&mut w, c, NETMAP_REQ_VALE_DELIF, ("veth0", &veth), none);
    assert_eq!(deleted.err(), Some(Errno::INVAL));
    for name in ["vale5:veth0", "vale5:veth0{1", "vale5:veth0}1"] {
        let got = attempt_nic(&mut w, (name, &veth), all());
        assert_eq!(got.err(), Some(Errno::INVAL), "{name}");
    }
    let got = attempt_nic(&mut w, ("vale5:veth0", &veth), flags(NR_MONITOR_RX));
    assert_eq!(got.err(), Some(Errno::INVAL));
    let info = nmreq_port_info_get::default();
    let got = ask_about(
        &mut w,
        c,
        NETMAP_REQ_PORT_INFO_GET,
        ("vale5:veth0", &veth),
        info,
    );
    assert_eq!(got.err(), Some(Errno::INVAL));
    let attach = |w: &mut World, nr_mode, interface: &Interface| {
        let reg = mode(nr_mode, 0);
        let body = nmreq_vale_attach {
            reg,
            ..nmreq_vale_attach::default()
        };
        ask_about(
            w,
            c,
            NETMAP_REQ_VALE_ATTACH,
            ("vale5:veth0", interface),
            body,
        )
        .err()
    };
    for nr_mode in [NR_REG_DEFAULT, NR_REG_SW, NR_REG_ONE_NIC, NR_REG_NULL] {
        let refused = attach(&mut w, nr_mode, &veth);
        assert_eq!(refused, Some(Errno::INVAL), "{nr_mode}");
    }
    let lo = attach(&mut w, NR_REG_ALL_NIC, &loopback());
    assert_eq!(lo, Some(Errno::INVAL));
    assert_eq!((w.ports().count(), w.switches().count()), (0, 0));
    let body = nmreq_vale_attach {
        reg: all(),
        ..nmreq_vale_attach::default()
    };
    let nosuch = ask(&mut w, c, NETMAP_REQ_VALE_ATTACH, "vale5:nosuchif", body);
    assert_eq!(nosuch.err(), Some(Errno::INVAL));
    let (_, _) = open_nic(&mut w, ("veth0", &veth), all());
    let busy = ask_about(
        &mut w,
        c,
        NETMAP_REQ_VALE_ATTACH,
        ("vale5:veth0", &veth),
        body,
    );
    assert_eq!(busy.err(), Some(Errno::BUSY));
    assert_eq!((w.ports().count(), w.switches().count()), (1, 0));
    // A port that is there already is found, whatever the system has got since.
    let (_, _) = open(&mut w, "vale5:veth0", all());
    assert!(attempt_nic(&mut w, ("vale5:veth0", &veth), all()).is_ok());
}

/// A persistent port is an interface of this world and none of the system.
#[test]
fn a_persistent_port_goes_before_an_interface_of_its_name() {
    let mut w = world();
    assert!(persistent::newif(&mut w, "z").is_ok());
    let c = w.open();
    let attach = nmreq_vale_attach {
        reg: all(),
        ..nmreq_vale_attach::default()
    };
    let done = ask_about(
        &mut w,
        c,
        NETMAP_REQ_VALE_ATTACH,
        ("vale0:z", &veth(2, 1)),
        attach,
    );
    assert!(done.is_ok());
    let reg = attempt_nic(&mut w, ("z", &loopback()), all()).unwrap();
    assert_eq!((reg.nr_host_tx_rings, w.nics().count()), (0, 0));
}

/// pipe.*
#[test]
fn pipes() {
    let mut w = world();
    let veth = veth(2, 1);
    let (m, got) = open_nic(&mut w, ("veth0{1", &veth), all());
    assert_eq!(shape(&got), [1, 1, 1024, 1024, 0, 0]);
    assert_eq!(
        (got.nr_mem_id, View::of(&w, m).name()),
        (1, "veth0{1".to_owned())
    );
    let (s, got) = open_nic(&mut w, ("veth0}1", &veth), all());
    assert_eq!((got.nr_mem_id, w.binding(s).unwrap().is_nic), (1, false));
    let (p, _) = open_nic(&mut w, ("veth0", &veth), flags(NR_EXCLUSIVE));
    let (x, got) = open_nic(&mut w, ("veth0{2", &veth), with([2, 2], [256, 256]));
    assert_eq!(shape(&got), [2, 2, 256, 256, 0, 0]);
    let sw = nmreq_register {
        nr_mode: NR_REG_SW,
        ..all()
    };
    assert_eq!(
        attempt_nic(&mut w, ("veth0{3", &veth), sw).err(),
        Some(Errno::INVAL)
    );
    let (on_it, _) = open_nic(&mut w, ("veth0}1{x", &veth), all());
    // They go on without the parent, whose interface may go before them.
    w.close(p);
    w.nic_gone(nic_of(&w, "veth0").port);
    for c in [m, s, x, on_it] {
        w.close(c);
    }
    assert_eq!(
        (w.ports().count(), w.krings_in_use(), w.audit()),
        (0, 0, Vec::new())
    );
}

/// mon.*
#[test]
fn monitors() {
    let mut w = world();
    let veth = ("veth0", &veth(2, 1));
    let monitor = |nr_mode, nr_flags| nmreq_register {
        nr_flags,
        ..mode(nr_mode, 0)
    };
    let all_nic = NR_REG_ALL_NIC;
    let refused = attempt_nic(&mut w, veth, monitor(all_nic, NR_MONITOR_RX));
    assert_eq!(refused.err(), Some(Errno::INVAL));
    let (p, _) = open_nic(&mut w, veth, mode(NR_REG_NIC_SW, 0));
    let (a, got) = open_nic(
        &mut w,
        veth,
        monitor(all_nic, NR_MONITOR_RX | NR_MONITOR_TX),
    );
    assert_eq!(View::of(&w, a).name(), "veth0/rt#0");
    assert_eq!(shape(&got), [1, 1, 1024, 1024, 1, 1]);
    let b = w.binding(a).unwrap();
    assert!(b.is_monitor && !b.is_nic && got.nr_mem_id != 1);
    let (z, got) = open_nic(&mut w, veth, monitor(all_nic, NR_ZCOPY_MON));
    assert_eq!(got.nr_mem_id, 1);
    let (h, _) = open_nic(&mut w, veth, monitor(NR_REG_SW, NR_MONITOR_RX));
    assert_eq!(rings_of(&w, h), "01|01");
    let (both, _) = open_nic(&mut w, veth, monitor(NR_REG_NIC_SW, NR_MONITOR_TX));
    assert_eq!(rings_of(&w, both), "11|11");
    // Who feeds whom, host rings included.
    let parent = |c, ring: u32, dir: usize| {
        let port = w.ctl.port(w.binding(c).unwrap().port).unwrap();
        let k = w.ctl.kring(port.rx_kring.load(Relaxed) + ring).unwrap();
        w.ctl.kring(k.mon_parent[dir].load(Relaxed).checked_sub(1)?)
    };
    let wire = |c, ring, dir| parent(c, ring, dir).map(|k| k.wire.load(Relaxed));
    assert_eq!((wire(a, 0, 0), wire(a, 0, 1)), (Some(1), Some(1)));
    assert_eq!(
        (wire(h, 1, 0), wire(both, 1, 1)),
        (Some(WIRE_HOST | 1), Some(WIRE_HOST | 1))
    );
    for c in [p, a, z, h, both] {
        w.close(c);
    }
    assert_eq!(
        (w.ports().count(), w.krings_in_use(), w.audit()),
        (0, 0, Vec::new())
    );
}

/// legacy.*, info.ginfo
#[test]
fn the_interface_before() {
    use uvale_request::legacy;
    let mut w = world();
    let mut ioctl = |command, nr_flags, nr_ringid| {
        let mut nmr = nmreq {
            nr_version: 14,
            nr_flags,
            nr_ringid,
            ..nmreq::zeroed()
        };
        nmr.nr_name[..5].copy_from_slice(b"veth0");
        let mut r = legacy::to_request(command, &mut nmr).unwrap();
        let interface = Some(veth(2, 1));
        let mut caller = Caller {
            interface,
            ..Caller::default()
        };
        let c = w.open();
        let done = w.request_from(c, &mut caller, &mut r);
        w.close(c);
        legacy::from_request(&r, &mut nmr);
        let is_as_asked = (nmr.nr_ringid, nmr.nr_flags) == (nr_ringid, nr_flags);
        let rings = (nmr.nr_tx_rings, nmr.nr_rx_rings);
        let slots = (nmr.nr_tx_slots, nmr.nr_rx_slots);
        let mem = (nmr.nr_arg1, nmr.nr_arg2, nmr.nr_memsize);
        done.map(|()| (is_as_asked, rings, slots, mem))
            .map_err(|e| e.errno)
    };
    let same = Ok((true, (1, 1), (1024, 1024), (0, 1, 343_019_520)));
    let sw = NETMAP_SW_RING;
    for (flags, ringid) in [
        (0, 0),
        (0, NETMAP_HW_RING),
        (0, sw),
        (1, 0),
        (2, 0),
        (3, 0),
        (4, 0),
        (5, 0),
        (6, 0),
    ] {
        assert_eq!(ioctl(NIOCREGIF, flags, ringid), same, "{flags} {ringid:#x}");
    }
    for (flags, ringid) in [(1, NETMAP_NO_TX_POLL), (1, NETMAP_DO_RX_POLL)] {
        assert_eq!(ioctl(NIOCREGIF, flags, ringid), same, "{flags} {ringid:#x}");
    }
    for (flags, ringid) in [(0, NETMAP_HW_RING | 5), (4, 9)] {
        assert_eq!(ioctl(NIOCREGIF, flags, ringid), Err(Errno::INVAL));
    }
    assert_eq!(ioctl(NIOCGINFO, 0, 0), same);
}
