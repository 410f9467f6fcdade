//! NICs on a switch: sections vale.attach_*, vale.open_first, vale.polling and gone_attached of the record; and packets
//! between a switch and the other end of a veth pair that is open here.

use super::super::persistent::detach;
use super::*;
use crate::Polling;
use uvale_engine::TX;

const NAME: &str = "vale5:veth0";
const HOST: &str = "vale5:veth0^";

fn attach_as(w: &mut World, name: &str, reg: nmreq_register) -> core::result::Result<u32, Errno> {
    let c = w.open();
    let body = nmreq_vale_attach {
        reg,
        ..nmreq_vale_attach::default()
    };
    let nic = (name, &veth(2, 1));
    let done = ask_about(w, c, NETMAP_REQ_VALE_ATTACH, nic, body);
    w.close(c);
    done.map(|body| {
        assert_eq!(body.reg, reg, "the rest of the request stays as it was");
        body.port_index
    })
}

fn attach(w: &mut World, nr_mode: u32) -> core::result::Result<u32, Errno> {
    attach_as(w, NAME, mode(nr_mode, 0))
}

/// What VALE_LIST shows: names, and switch and port number.
fn list(w: &mut World) -> Vec<String> {
    let c = w.open();
    let mut found = Vec::new();
    let mut body = nmreq_vale_list::default();
    loop {
        let mut r = request(NETMAP_REQ_VALE_LIST, "", &body);
        if w.request(c, &mut r).is_err() {
            break;
        }
        body = nmreq_vale_list::from_bytes(&r.body).unwrap();
        let name = uvale_request::name_of(&mut r.header);
        let name = String::from_utf8_lossy(&name).into_owned();
        found.push(format!(
            "{name}[{}:{}]",
            body.nr_bridge_idx, body.nr_port_idx
        ));
        body.nr_port_idx += 1;
    }
    w.close(c);
    found
}

fn nothing_is_left(w: &mut World) {
    assert!(!w.collect());
    assert_eq!((w.ports().count(), w.switches().count()), (0, 0));
    assert_eq!((w.krings_in_use(), w.memories().count()), (0, 1));
    assert_eq!(w.memories().next().unwrap().users, 0);
}

fn modes() -> [(u32, Vec<&'static str>); 2] {
    [
        (NR_REG_ALL_NIC, vec!["vale5:veth0[0:0]"]),
        (NR_REG_NIC_SW, vec!["vale5:veth0[0:0]", "vale5:veth0^[0:1]"]),
    ]
}

#[test]
fn as_recorded() {
    for (nr_mode, listed) in modes() {
        let mut w = world();
        assert_eq!(attach(&mut w, nr_mode), Ok(0));
        assert_eq!(list(&mut w), listed);
        let nic = nic_of(&w, "veth0");
        assert!(nic.uses_nic && nic.openers.is_empty());
        assert_eq!(nic.uses_host, nr_mode == NR_REG_NIC_SW);
        assert_eq!(nic.attached.unwrap().name, NAME);
        assert_eq!(
            w.attached_nic(NAME.as_bytes()),
            Some((nic.port, "veth0".into()))
        );
        let c = w.open();
        for name in [NAME, "veth0"] {
            let nic = (name, &veth(2, 1));
            let info = nmreq_port_info_get::default();
            let info = ask_about(&mut w, c, NETMAP_REQ_PORT_INFO_GET, nic, info).unwrap();
            let rings = [
                info.nr_tx_rings,
                info.nr_rx_rings,
                info.nr_host_tx_rings,
                info.nr_host_rx_rings,
            ];
            assert_eq!(
                (rings, info.nr_tx_slots, info.nr_rx_slots),
                ([1; 4], 1024, 1024)
            );
            assert_eq!((info.nr_memsize, info.nr_mem_id), (343_019_520, 1));
            let pools = nmreq_pools_info::default();
            let pools = ask_about(&mut w, c, NETMAP_REQ_POOLS_INFO_GET, nic, pools).unwrap();
            assert_eq!((pools.nr_memsize, pools.nr_mem_id), (343_019_520, 1));
            assert_eq!(
                attempt_nic(&mut w, nic, all()).err(),
                Some(Errno::BUSY),
                "{name}"
            );
        }
        let monitor = attempt_nic(&mut w, (NAME, &veth(2, 1)), flags(NR_MONITOR_RX));
        assert!(monitor.is_ok());
        assert_eq!(attach(&mut w, NR_REG_ALL_NIC), Err(Errno::BUSY));
        let elsewhere = attach_as(&mut w, "vale6:veth0", all());
        assert_eq!(elsewhere, Err(Errno::BUSY));
        assert_eq!(detach(&mut w, "vale6:veth0"), Err(Errno::NXIO));
        assert_eq!(w.audit(), []);
        assert_eq!(detach(&mut w, NAME), Ok(0));
        assert_eq!(detach(&mut w, NAME), Err(Errno::NXIO));
        assert_eq!(list(&mut w), [""; 0]);
        nothing_is_left(&mut w);
    }
}

/// netmap crashes here.
#[test]
fn the_host_port_is_only_to_be_looked_at() {
    let mut w = world();
    attach(&mut w, NR_REG_NIC_SW).unwrap();
    for reg in [all(), mode(NR_REG_SW, 0), flags(NR_MONITOR_RX)] {
        assert!(attempt(&mut w, HOST, reg).is_err());
    }
    assert_eq!(attempt(&mut w, HOST, all()).err(), Some(Errno::BUSY));
    for pipe in ["vale5:veth0^{1", "vale5:veth0^}1", "vale5:veth0{1"] {
        assert!(attempt(&mut w, pipe, all()).is_err(), "{pipe}");
    }
    assert_eq!(detach(&mut w, HOST), Err(Errno::BUSY));
    let c = w.open();
    let info = nmreq_port_info_get::default();
    let info = ask(&mut w, c, NETMAP_REQ_PORT_INFO_GET, HOST, info).unwrap();
    assert_eq!(
        (info.nr_tx_rings, info.nr_rx_rings, info.nr_mem_id),
        (1, 1, 1)
    );
    let again = attach_as(&mut w, HOST, all());
    assert!(again.is_err());
    assert_eq!(detach(&mut w, NAME), Ok(0));
    nothing_is_left(&mut w);
}

/// vale.open_first, and attaching a second time; NR_EXCLUSIVE; a bridge's port; an interface that is gone
#[test]
fn what_comes_in_the_way() {
    let mut w = world();
    let (c, _) = open_nic(&mut w, ("veth0", &veth(2, 1)), all());
    assert_eq!(attach(&mut w, NR_REG_ALL_NIC), Err(Errno::BUSY));
    assert_eq!(detach(&mut w, NAME), Err(Errno::NXIO));
    w.close(c);
    assert_eq!(attach_as(&mut w, NAME, flags(NR_EXCLUSIVE)), Ok(0));
    assert_eq!(detach(&mut w, NAME), Ok(0));
    let bridged = Interface {
        has_master: true,
        ..veth(2, 1)
    };
    let c = w.open();
    let body = nmreq_vale_attach {
        reg: mode(NR_REG_NIC_SW, 0),
        ..nmreq_vale_attach::default()
    };
    let refused = ask_about(&mut w, c, NETMAP_REQ_VALE_ATTACH, (NAME, &bridged), body);
    assert_eq!(refused.err(), Some(Errno::BUSY));
    w.close(c);
    nothing_is_left(&mut w);
    attach(&mut w, NR_REG_NIC_SW).unwrap();
    let port = nic_of(&w, "veth0").port;
    w.nic_gone(port);
    assert_eq!(list(&mut w).len(), 2);
    assert_eq!(detach(&mut w, NAME), Ok(0));
    nothing_is_left(&mut w);
}

/// vale.polling
#[test]
fn polling() {
    let mut w = world();
    w.set_processors(vec![0, 1, 2]);
    let c = w.open();
    let ask = |w: &mut World, reqtype, name: &str, (mode, first, n)| {
        let body = nmreq_vale_polling {
            nr_mode: mode,
            nr_first_cpu_id: first,
            nr_num_polling_cpus: n,
            ..nmreq_vale_polling::default()
        };
        super::super::ask(w, c, reqtype, name, body).err()
    };
    let (one, each) = (
        NETMAP_POLLING_MODE_SINGLE_CPU,
        NETMAP_POLLING_MODE_MULTI_CPU,
    );
    let (on, off) = (
        NETMAP_REQ_VALE_POLLING_ENABLE,
        NETMAP_REQ_VALE_POLLING_DISABLE,
    );
    assert_eq!(ask(&mut w, on, NAME, (one, 0, 1)), Some(Errno::NXIO));
    attach(&mut w, NR_REG_NIC_SW).unwrap();
    let polling = |w: &World| nic_of(w, "veth0").attached.unwrap().polling;
    assert_eq!(ask(&mut w, on, NAME, (one, 0, 1)), None);
    assert_eq!(polling(&w), Some(Polling::One(0)));
    assert_eq!(ask(&mut w, on, NAME, (one, 0, 1)), Some(Errno::FAULT));
    assert_eq!(ask(&mut w, off, NAME, (0, 0, 0)), None);
    assert_eq!(ask(&mut w, off, NAME, (one, 0, 1)), Some(Errno::FAULT));
    assert_eq!(ask(&mut w, on, NAME, (each, 0, 1)), None);
    assert_eq!(polling(&w), Some(Polling::Each { first: 0, count: 1 }));
    assert_eq!(ask(&mut w, off, NAME, (each, 0, 1)), None);
    let wrong = [
        (each, 99, 1),
        (one, 99, 1),
        (each, 0, 2),
        (one, 0, 2),
        (one, 0, 0),
        (each, 0, 3),
        (one, 0, 3),
        (7, 0, 1),
        (each, u32::MAX, 2),
    ];
    for asked in wrong {
        assert_eq!(
            ask(&mut w, on, NAME, asked),
            Some(Errno::INVAL),
            "{asked:?}"
        );
        assert_eq!(ask(&mut w, off, NAME, asked), Some(Errno::FAULT));
    }
    assert_eq!(ask(&mut w, on, HOST, (one, 0, 1)), Some(Errno::OPNOTSUPP));
    assert_eq!(ask(&mut w, on, NAME, (one, 0, 1)), None);
    assert_eq!(detach(&mut w, NAME), Ok(0));
    attach(&mut w, NR_REG_NIC_SW).unwrap();
    assert_eq!(polling(&w), None);
}

/// veth0 on the switch with a port v, veth1 open and joined with it.
fn stage(w: &mut World) -> (ClientId, ClientId) {
    attach(w, NR_REG_NIC_SW).unwrap();
    let (far, _) = open_nic(w, ("veth1", &veth(3, 1)), all());
    let (v, _) = open(w, "vale5:v", all());
    let ports = ["veth0", "veth1"].map(|name| nic_of(w, name).port);
    w.join(ports[0], ports[1], 0).unwrap();
    (v, far)
}

/// Packets to everybody, from an address that is the ring's.
fn advance(tx: &UserRing, n: u32, flags: u16) {
    let mut head = [0xff; 12];
    head[6..].copy_from_slice(&[2, 0, 0, 0, 0, tx.offset as u8 ^ (tx.offset >> 12) as u8]);
    tx.fill(&head);
    tx.advance(n, flags);
}

/// Through the switch and over the joined pair, both ways; each sender does it all.
#[test]
fn packets_pass_both_ways() {
    let mut w = world();
    let (v, far) = stage(&mut w);
    let host = Process::new(&w, 9);
    let (at_v, at_far) = (host.attach(&w, v), host.attach(&w, far));
    for (sends, takes, from, to) in [(v, far, &at_v, &at_far), (far, v, &at_far, &at_v)] {
        let tx = UserRing::of(&w, sends, true, 0);
        let rx = UserRing::of(&w, takes, false, 0);
        for round in 0..100 {
            advance(&tx, 40, 0);
            from.txsync(&host);
            to.rxsync(&host);
            assert_eq!(rx.owned(), 40, "round {round}");
            rx.advance(40, 0);
            to.rxsync(&host);
            assert_eq!(w.audit(), []);
        }
    }
    // What the far end has no room for stays in the ring between, and comes when there is room.
    let (tx, rx) = (
        UserRing::of(&w, v, true, 0),
        UserRing::of(&w, far, false, 0),
    );
    for _ in 0..30 {
        advance(&tx, 40, 0);
        at_v.txsync(&host);
    }
    at_far.rxsync(&host);
    assert_eq!(rx.owned(), 1023);
    rx.advance(1023, 0);
    at_far.rxsync(&host);
    advance(&tx, 1, 0);
    at_v.txsync(&host);
    at_far.rxsync(&host);
    assert_eq!(rx.owned(), 30 * 40 + 1 - 1023);
    assert_eq!(w.audit(), []);
    assert_eq!(detach(&mut w, NAME), Ok(0));
    assert_eq!(nic_of(&w, "veth1").joined, None);
    advance(&tx, 1, 0);
    at_v.txsync(&host);
    w.close(v);
    w.close(far);
    nothing_is_left(&mut w);
}

/// A sender that dies with the locks of the ring it was sending from leaves nothing behind that another one cannot
/// go on with.
#[test]
fn a_sender_may_die() {
    let mut w = world();
    let (v, far) = stage(&mut w);
    let host = Process::new(&w, 9);
    let (at_v, at_far) = (host.attach(&w, v), host.attach(&w, far));
    let nic = w.ports().find(|p| p.name == "veth0").unwrap();
    let ring = w.ctl().kring(nic.krings[TX][0]).unwrap();
    core::mem::forget(ring.busy.try_lock(7).expect("free"));
    let (tx, rx) = (
        UserRing::of(&w, v, true, 0),
        UserRing::of(&w, far, false, 0),
    );
    advance(&tx, 3, 0);
    at_v.txsync(&host);
    at_far.rxsync(&host);
    assert_eq!(rx.owned(), 0);
    w.sessions_died(&[7]);
    advance(&tx, 2, 0);
    at_v.txsync(&host);
    at_far.rxsync(&host);
    assert_eq!((rx.owned(), w.audit()), (5, Vec::new()));
}
