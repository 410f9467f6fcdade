//! NIC ports, against what kernel netmap was seen to do with its emulated adapter on veths: sections info,
//! reg, modes, two, host, opts and vale of that record, and of the first record those about `lo`.

mod attached;
pub(super) mod joined;
mod openers;
mod others;

use super::*;
use crate::{Interface, NicInfo, PortKind};
use uvale_shared::ctl::{PORT_DOWN, PORT_GONE, PORT_ON, RING_ON, WIRE_HOST};

/// Interface `index` with so many queues, as a veth is.
fn veth(index: u32, queues: u16) -> Interface {
    Interface {
        netns: 7,
        index,
        mtu: 1500,
        tx_queues: queues,
        rx_queues: queues,
        is_ethernet: true,
        is_up: true,
        ..Interface::default()
    }
}

fn loopback() -> Interface {
    Interface {
        mtu: 65536,
        ..veth(1, 1)
    }
}

/// A request, and what the system has under the name in it.
fn ask_about<B: AbiBytes>(
    w: &mut World,
    c: ClientId,
    reqtype: u16,
    (name, interface): (&str, &Interface),
    body: B,
) -> core::result::Result<B, Errno> {
    let mut r = request(reqtype, name, &body);
    r.body.truncate(uvale_request::body_size(reqtype));
    let mut caller = Caller {
        interface: Some(interface.clone()),
        ..Caller::default()
    };
    match w.request_from(c, &mut caller, &mut r) {
        Ok(()) => Ok(B::from_bytes(&r.body).unwrap_or(body)),
        Err(refusal) => {
            assert!(refusal.why.len() > 8, "a sentence, not {:?}", refusal.why);
            Err(refusal.errno)
        }
    }
}

fn try_open(w: &mut World, nic: (&str, &Interface), reg: nmreq_register) -> (ClientId, Reg) {
    let c = w.open();
    let got = ask_about(w, c, NETMAP_REQ_REGISTER, nic, reg);
    (c, got)
}

pub(super) fn open_nic(
    w: &mut World,
    nic: (&str, &Interface),
    reg: nmreq_register,
) -> (ClientId, nmreq_register) {
    let (c, got) = try_open(w, nic, reg);
    (c, got.unwrap_or_else(|e| panic!("{}: {e}", nic.0)))
}

/// A REGISTER, undone.
fn attempt_nic(w: &mut World, nic: (&str, &Interface), reg: nmreq_register) -> Reg {
    let (c, got) = try_open(w, nic, reg);
    w.close(c);
    got
}

fn mode(nr_mode: u32, nr_ringid: u16) -> nmreq_register {
    nmreq_register {
        nr_mode,
        nr_ringid,
        ..nmreq_register::default()
    }
}

fn flags(nr_flags: u64) -> nmreq_register {
    nmreq_register { nr_flags, ..all() }
}

/// `11110|00001`: which rings a descriptor has, tx first, host rings last.
fn rings_of(w: &World, c: ClientId) -> String {
    let v = View::of(w, c);
    let [_, tx, _, _, htx, _] = v.netmap_if();
    let all: Vec<char> = v
        .ring_ofs()
        .iter()
        .map(|o| if *o == 0 { '0' } else { '1' })
        .collect();
    let (tx, rx) = all.split_at((tx + htx) as usize);
    [tx, rx]
        .map(|some| some.iter().collect::<String>())
        .join("|")
}

/// What a REGISTER answers: tx, rx, slots, host tx, host rx.
fn shape(reg: &nmreq_register) -> [u32; 6] {
    [
        reg.nr_tx_rings.into(),
        reg.nr_rx_rings.into(),
        reg.nr_tx_slots,
        reg.nr_rx_slots,
        reg.nr_host_tx_rings.into(),
        reg.nr_host_rx_rings.into(),
    ]
}

fn nic_of(w: &World, name: &str) -> NicInfo {
    w.nics().find(|nic| nic.name == name).expect("it is there")
}

#[test]
fn questions() {
    let mut w = world();
    let c = w.open();
    for nic in [("veth0", &veth(2, 1)), ("lo", &loopback())] {
        let info = nmreq_port_info_get::default();
        let info = ask_about(&mut w, c, NETMAP_REQ_PORT_INFO_GET, nic, info).unwrap();
        assert_eq!((info.nr_tx_rings, info.nr_rx_rings), (1, 1));
        assert_eq!((info.nr_host_tx_rings, info.nr_host_rx_rings), (1, 1));
        assert_eq!((info.nr_tx_slots, info.nr_rx_slots), (1024, 1024));
        assert_eq!((info.nr_memsize, info.nr_mem_id), (343_019_520, 1));
        let pools = nmreq_pools_info::default();
        let pools = ask_about(&mut w, c, NETMAP_REQ_POOLS_INFO_GET, nic, pools).unwrap();
        assert_eq!((pools.nr_memsize, pools.nr_mem_id), (343_019_520, 1));
        assert_eq!(pools.nr_if_pool_objtotal, 100);
        assert_eq!(
            (pools.nr_ring_pool_offset, pools.nr_ring_pool_objsize),
            (102_400, 36864)
        );
        assert_eq!(
            (pools.nr_buf_pool_offset, pools.nr_buf_pool_objtotal),
            (7_475_200, 163_840)
        );
        let header = nmreq_port_hdr {
            nr_hdr_len: 77,
            pad1: 0,
        };
        let header = ask_about(&mut w, c, NETMAP_REQ_PORT_HDR_GET, nic, header).unwrap();
        assert_eq!(header.nr_hdr_len, 0);
        let header = nmreq_port_hdr {
            nr_hdr_len: 12,
            pad1: 0,
        };
        let refused = ask_about(&mut w, c, NETMAP_REQ_PORT_HDR_SET, nic, header);
        assert_eq!(refused.err(), Some(Errno::NXIO));
    }
    let mut info = nmreq_port_info_get {
        nr_mem_id: 999,
        ..nmreq_port_info_get::default()
    };
    let veth = veth(2, 1);
    let refused = ask_about(&mut w, c, NETMAP_REQ_PORT_INFO_GET, ("veth0", &veth), info);
    assert_eq!(refused.err(), Some(Errno::INVAL));
    let (_, vale) = open(&mut w, "vale0:a", all());
    info.nr_mem_id = vale.nr_mem_id;
    let shown = ask_about(&mut w, c, NETMAP_REQ_PORT_INFO_GET, ("veth0", &veth), info).unwrap();
    assert_eq!(shown.nr_mem_id, vale.nr_mem_id);
    // Nothing of this has made anything.
    assert_eq!((w.ports().count(), w.memories().count()), (1, 2));
}

#[test]
fn what_does_not_exist() {
    let mut w = world();
    let c = w.open();
    let info = nmreq_port_info_get::default();
    let info = ask(&mut w, c, NETMAP_REQ_PORT_INFO_GET, "nosuchif", info);
    let pools = nmreq_pools_info::default();
    let pools = ask(&mut w, c, NETMAP_REQ_POOLS_INFO_GET, "nosuchif", pools);
    let header = nmreq_port_hdr::default();
    let header = ask(&mut w, c, NETMAP_REQ_PORT_HDR_GET, "nosuchif", header);
    let opened = attempt(&mut w, "nosuchif", all());
    let got = [info.err(), pools.err(), header.err(), opened.err()];
    assert_eq!(got, [Some(Errno::NXIO); 4]);
    // What one request has seen is nothing to the next.
    open_nic(&mut w, ("veth0", &veth(2, 1)), all());
    assert_eq!(attempt(&mut w, "veth0", all()).err(), Some(Errno::NXIO));
}

/// reg.default and reg.nic_sw
#[test]
fn what_a_descriptor_gets() {
    let mut w = world();
    let (c, reg) = open_nic(&mut w, ("veth0", &veth(2, 1)), all());
    assert_eq!(shape(&reg), [1, 1, 1024, 1024, 1, 1]);
    assert_eq!((reg.nr_mem_id, reg.nr_offset, reg.nr_extra_bufs), (1, 0, 0));
    assert_eq!(reg.nr_memsize, 343_019_520);
    let v = View::of(&w, c);
    assert_eq!(
        (v.name(), v.netmap_if()),
        ("veth0".to_owned(), [0, 1, 1, 0, 1, 1])
    );
    assert_eq!(rings_of(&w, c), "10|10");
    assert!(v.b.is_nic && !v.b.is_monitor);
    w.close(c);
    let (c, _) = open_nic(&mut w, ("veth0", &veth(2, 1)), mode(NR_REG_NIC_SW, 0));
    assert_eq!(rings_of(&w, c), "11|11");
    let v = View::of(&w, c);
    let mut all = Vec::new();
    for (tx, i) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
        let tail = if tx { 1023 } else { 0 };
        let header = [1024, 2048, i, u32::from(tx), 0, 0, tail];
        assert_eq!(v.ring_header(tx, i), header);
        let buffers = v.buffers(tx, i);
        assert!(buffers.windows(2).all(|w| w[1] == w[0] + 1) && buffers[0] >= 2);
        let first = v.ring(tx, i) + 256;
        assert_eq!((v.word(first + 4), v.word(first + 8)), (2048, 0));
        all.extend(buffers);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), w.audit()), (4096, Vec::new()));
}

/// modes.modeN.ringN, of the veth with one queue and of that with four
#[test]
fn register_modes() {
    let mut w = world();
    let one = [
        "", "10|10", "01|01", "11|11", "10|10", "", "", "", "01|01", "",
    ];
    let four = [
        "",
        "11110|11110",
        "00001|00001",
        "11111|11111",
        "10000|10000",
        "",
        "",
        "",
        "00001|00001",
        "",
    ];
    for (queues, want) in [(1, one), (4, four)] {
        for m in 0..10u16 {
            for ring in 0..3u16 {
                let nic = ("veth0", &veth(2, queues));
                let (c, got) = try_open(&mut w, nic, mode(m.into(), ring));
                let mut want = want[usize::from(m)].to_owned();
                match (u32::from(m), ring) {
                    (NR_REG_ONE_NIC, 1) if queues == 4 => want = "01000|01000".into(),
                    (NR_REG_ONE_NIC, 2) if queues == 4 => want = "00100|00100".into(),
                    (NR_REG_ONE_NIC | NR_REG_ONE_SW, 1..) => want.clear(),
                    _ => {}
                }
                let label = format!("{queues} queues, mode {m}, ring {ring}");
                match got {
                    Ok(reg) => {
                        let queues = queues.into();
                        assert_eq!(shape(&reg), [queues, queues, 1024, 1024, 1, 1], "{label}");
                        assert_eq!(rings_of(&w, c), want, "{label}");
                    }
                    Err(errno) => {
                        assert_eq!((errno, want), (Errno::INVAL, String::new()), "{label}")
                    }
                }
                w.close(c);
            }
        }
    }
    assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
}

/// modes.flag_*, sizeN, many_host
#[test]
fn what_is_asked_for() {
    let mut w = world();
    let nic = ("veth0", &veth(2, 4));
    for (flag, want) in [
        (NR_EXCLUSIVE, "11110|11110"),
        (NR_TX_RINGS_ONLY, "11110|00000"),
        (NR_RX_RINGS_ONLY, "00000|11110"),
        (NR_TX_RINGS_ONLY | NR_RX_RINGS_ONLY, "00000|00000"),
        (NR_ACCEPT_VNET_HDR, "11110|11110"),
        (0x100000, "11110|11110"),
    ] {
        let (c, reg) = open_nic(&mut w, nic, flags(flag));
        assert_eq!((rings_of(&w, c).as_str(), reg.nr_flags), (want, flag));
        w.close(c);
    }
    for flag in [NR_MONITOR_TX, NR_MONITOR_RX, NR_ZCOPY_MON] {
        assert_eq!(
            attempt_nic(&mut w, nic, flags(flag)).err(),
            Some(Errno::INVAL)
        );
    }
    for (rings, slots) in [(2, 0), (1, 512), (100, 4096), (4, 1), (0, 300_000)] {
        let reg = attempt_nic(&mut w, nic, with([rings, rings / 2], [slots, slots / 2]));
        assert_eq!(shape(&reg.unwrap()), [4, 4, 1024, 1024, 1, 1]);
    }
    let hosts = |tx, rx| nmreq_register {
        nr_host_tx_rings: tx,
        nr_host_rx_rings: rx,
        ..mode(NR_REG_NIC_SW, 0)
    };
    let one = ("veth0", &veth(2, 1));
    let (c, reg) = open_nic(&mut w, one, hosts(3, 2));
    assert_eq!(
        (shape(&reg)[4..].to_vec(), rings_of(&w, c)),
        (vec![3, 2], "1111|111".into())
    );
    assert_eq!(View::of(&w, c).netmap_if(), [0, 1, 1, 0, 3, 2]);
    assert_eq!(View::of(&w, c).ring_header(true, 3)[2], 3);
    // Only while nobody has it open.
    let (other, reg) = open_nic(&mut w, one, hosts(1, 1));
    assert_eq!(shape(&reg)[4..], [3, 2]);
    let (last, _) = open_nic(&mut w, one, mode(NR_REG_ONE_SW, 2));
    assert_eq!(rings_of(&w, last), "0001|010");
    assert_eq!(
        attempt_nic(&mut w, one, mode(NR_REG_ONE_SW, 3)).err(),
        Some(Errno::INVAL)
    );
    for c in [c, other, last] {
        w.close(c);
    }
    let too_many = attempt_nic(&mut w, one, hosts(200, 200));
    assert_eq!(too_many.err(), Some(Errno::NOMEM));
    assert_eq!(w.krings_in_use(), 0);
}

/// info, with ethtool's numbers and generic_ringsize
#[test]
fn slots_and_queues() {
    let mut w = world();
    let slots = |tx_slots, rx_slots| Interface {
        tx_slots,
        rx_slots,
        tx_queues: 3,
        rx_queues: 2,
        ..veth(2, 1)
    };
    let got = attempt_nic(&mut w, ("eth0", &slots(256, 512)), all()).unwrap();
    assert_eq!(shape(&got), [3, 2, 256, 512, 1, 1]);
    let got = attempt_nic(&mut w, ("eth0", &slots(2, 3)), all()).unwrap();
    assert_eq!(shape(&got), [3, 2, 1024, 3, 1, 1]);
    w.set_parameter("generic_ringsize", "64").unwrap();
    let got = attempt_nic(&mut w, ("eth0", &slots(0, 0)), all()).unwrap();
    assert_eq!(shape(&got), [3, 2, 64, 64, 1, 1]);
    w.set_parameter("generic_ringsize", "0").unwrap();
    let got = attempt_nic(&mut w, ("eth0", &slots(0, 0)), all());
    assert_eq!(got.err(), Some(Errno::INVAL));
    let got = attempt_nic(&mut w, ("eth0", &slots(4096, 4096)), all());
    assert_eq!(
        got.err(),
        Some(Errno::NOMEM),
        "rings of 36864 bytes have 2288 slots"
    );
    // What it has may change between two users.
    let (c, _) = open_nic(&mut w, ("eth0", &slots(256, 512)), all());
    let (d, second) = open_nic(&mut w, ("eth0", &veth(2, 1)), all());
    assert_eq!(shape(&second), [3, 2, 256, 512, 1, 1]);
    assert_eq!(rings_of(&w, d), "1110|110");
    w.close(c);
    w.close(d);
}

/// modes.extra*, memid*, priv_of_vale, memid_with_vale, rebind
#[test]
fn memory() {
    let mut w = world();
    let nic = ("veth0", &veth(2, 1));
    for (asked, want) in [(1, 1), (100, 100), (100_000, 100_000), (1_000_000, 161_790)] {
        let reg = nmreq_register {
            nr_extra_bufs: asked,
            ..all()
        };
        assert_eq!(attempt_nic(&mut w, nic, reg).unwrap().nr_extra_bufs, want);
    }
    for (id, want) in [
        (0, Ok(1)),
        (1, Ok(1)),
        (2, Err(Errno::INVAL)),
        (999, Err(Errno::INVAL)),
    ] {
        let reg = nmreq_register {
            nr_mem_id: id,
            ..all()
        };
        assert_eq!(
            attempt_nic(&mut w, nic, reg).map(|r| r.nr_mem_id),
            want,
            "{id}"
        );
    }
    let (vale, got) = open(&mut w, "vale7:x", all());
    let reg = nmreq_register {
        nr_mem_id: got.nr_mem_id,
        ..all()
    };
    assert_eq!(
        attempt_nic(&mut w, nic, reg).unwrap().nr_mem_id,
        got.nr_mem_id
    );
    w.close(vale);
    let (c, got) = open_nic(&mut w, nic, all());
    let reg = nmreq_register {
        nr_mem_id: got.nr_mem_id,
        ..all()
    };
    assert_eq!(attempt(&mut w, "vale7:x", reg).unwrap().nr_mem_id, 1);
    let again = ask_about(&mut w, c, NETMAP_REQ_REGISTER, nic, all());
    assert_eq!(again.err(), Some(Errno::BUSY));
}

/// link.netns, rename.*: the port is the interface's, whatever it is called.
#[test]
fn names_are_for_people() {
    let mut w = world();
    let (c, _) = open_nic(&mut w, ("veth0", &veth(2, 1)), all());
    let (d, _) = open_nic(&mut w, ("nmren0", &veth(2, 1)), all());
    assert_eq!(View::of(&w, d).name(), "veth0");
    assert_eq!(w.ports().count(), 1);
    // The same name and number somewhere else, and the same name here.
    let elsewhere = Interface {
        netns: 8,
        ..veth(2, 1)
    };
    let (_, _) = open_nic(&mut w, ("veth0", &elsewhere), flags(NR_EXCLUSIVE));
    let (_, _) = open_nic(&mut w, ("veth0", &veth(3, 1)), flags(NR_EXCLUSIVE));
    assert_eq!(w.ports().count(), 3);
    // The next first one finds what it is called by then, also if a pipe has kept the port.
    let (_, _) = open_nic(&mut w, ("veth0{1", &veth(2, 1)), all());
    w.close(c);
    w.close(d);
    let (d, _) = open_nic(&mut w, ("nmren0", &veth(2, 1)), all());
    assert_eq!(View::of(&w, d).name(), "nmren0");
}

/// gone.*
#[test]
fn an_interface_goes() {
    let mut w = world();
    let (c, _) = open_nic(&mut w, ("veth0", &veth(2, 1)), all());
    let nic = nic_of(&w, "veth0");
    assert_eq!(
        (nic.openers.clone(), nic.is_gone, nic.uses_host),
        (vec![c], false, false)
    );
    assert_eq!(nic.generation, w.binding(c).unwrap().generation);
    w.nic_gone(nic.port);
    assert!(nic_of(&w, "veth0").is_gone);
    let port = w.ctl.port(nic.port).unwrap().flags.load(Relaxed);
    assert_ne!(port & PORT_GONE, 0);
    assert_eq!(attempt(&mut w, "veth0", all()).err(), Some(Errno::NXIO));
    // One that has its number since is another.
    let (d, _) = open_nic(&mut w, ("veth0", &veth(2, 1)), flags(NR_EXCLUSIVE));
    assert_ne!(w.binding(d).unwrap().port, nic.port);
    w.close(c);
    assert_eq!(w.ports().count(), 1);
    let (e, _) = try_open(&mut w, ("veth0", &veth(2, 1)), all());
    w.close(e);
    w.close(d);
    assert_eq!((w.ports().count(), w.nics().count()), (0, 0));
    assert_eq!(w.ctl.port(nic.port).unwrap().flags.load(Relaxed), 0);
}

#[test]
fn an_interface_changes() {
    let mut w = world();
    let (_, _) = open_nic(&mut w, ("veth0", &veth(2, 1)), all());
    let port = nic_of(&w, "veth0").port;
    let down = Interface {
        is_up: false,
        mtu: 9000,
        ..veth(2, 1)
    };
    let flags = |w: &World| w.ctl.port(port).unwrap().flags.load(Relaxed);
    assert_eq!(flags(&w), PORT_ON);
    w.nic_changed(port, down.clone());
    assert_eq!(flags(&w), PORT_ON | PORT_DOWN);
    assert_eq!(nic_of(&w, "veth0").interface, down);
    // Another interface is no change of this one.
    w.nic_changed(port, veth(3, 1));
    assert_eq!(nic_of(&w, "veth0").interface, down);
}

/// What the data path is told.
#[test]
fn krings() {
    let mut w = world();
    let reg = nmreq_register {
        nr_host_tx_rings: 2,
        ..mode(NR_REG_NIC_SW, 0)
    };
    let (c, _) = open_nic(&mut w, ("mq1", &veth(2, 2)), reg);
    let port = w.ctl.port(w.binding(c).unwrap().port).unwrap();
    assert_eq!(
        (
            port.num_tx_rings.load(Relaxed),
            port.num_rx_rings.load(Relaxed)
        ),
        (2, 2)
    );
    let wires = |first: u32, n: u32| -> Vec<u32> {
        let krings = (first..first + n).map(|i| w.ctl.kring(i).unwrap());
        krings
            .inspect(|k| assert_eq!(k.mode.load(Relaxed), RING_ON))
            .map(|k| k.wire.load(Relaxed))
            .collect()
    };
    let tx = wires(port.tx_kring.load(Relaxed), 4);
    assert_eq!(tx, [1, 2, WIRE_HOST | 1, WIRE_HOST | 2]);
    assert_eq!(wires(port.rx_kring.load(Relaxed), 3), [1, 2, WIRE_HOST | 1]);
    let report = w.ports().next().unwrap();
    let details = report.nic.unwrap();
    assert_eq!((report.kind, report.krings[1].len()), (PortKind::Nic, 2));
    assert_eq!(
        (details.netns, details.index, details.host_rings),
        (7, 2, [1, 2])
    );
    assert_eq!(details.host_krings[1].len(), 2);
    assert!(nic_of(&w, "mq1").uses_host);
}
