//! The system's own interfaces: sections err_reg, err_cmd and legacy of the record for `lo`.

use super::*;
use crate::Interface;

/// A request whose name is an interface with that MTU.
fn ask_about<B: AbiBytes>(
    w: &mut World,
    c: ClientId,
    reqtype: u16,
    name: &str,
    body: B,
    mtu: u32,
) -> core::result::Result<B, Errno> {
    let mut r = request(reqtype, name, &body);
    r.body.truncate(uvale_request::body_size(reqtype));
    let mut caller = Caller {
        interface: Some(Interface {
            mtu,
            tx_queues: 2,
            rx_queues: 1,
            ..Interface::default()
        }),
        ..Caller::default()
    };
    match w.request_from(c, &mut caller, &mut r) {
        Ok(()) => Ok(B::from_bytes(&r.body).unwrap_or(body)),
        Err(refusal) => Err(refusal.errno),
    }
}

#[test]
fn questions_are_answered_as_by_the_emulated_adapter() {
    let mut w = world();
    let c = w.open();
    let info = nmreq_port_info_get::default();
    let info = ask_about(&mut w, c, NETMAP_REQ_PORT_INFO_GET, "lo", info, 65536).unwrap();
    assert_eq!((info.nr_tx_rings, info.nr_rx_rings), (2, 1));
    assert_eq!((info.nr_host_tx_rings, info.nr_host_rx_rings), (1, 1));
    assert_eq!((info.nr_tx_slots, info.nr_rx_slots), (1024, 1024));
    assert_eq!((info.nr_memsize, info.nr_mem_id), (343_019_520, 1));
    let pools = nmreq_pools_info::default();
    let pools = ask_about(&mut w, c, NETMAP_REQ_POOLS_INFO_GET, "lo", pools, 65536).unwrap();
    assert_eq!((pools.nr_mem_id, pools.nr_buf_pool_objtotal), (1, 163_840));
    let (_, vale) = open(&mut w, "vale0:a", all());
    let pools = nmreq_pools_info {
        nr_mem_id: vale.nr_mem_id,
        ..nmreq_pools_info::default()
    };
    let pools = ask_about(&mut w, c, NETMAP_REQ_POOLS_INFO_GET, "lo", pools, 65536).unwrap();
    assert_eq!(pools.nr_mem_id, vale.nr_mem_id);
    let header = nmreq_port_hdr {
        nr_hdr_len: 5,
        pad1: 0,
    };
    let header = ask_about(&mut w, c, NETMAP_REQ_PORT_HDR_GET, "lo", header, 65536).unwrap();
    assert_eq!(header.nr_hdr_len, 0);
    // Nothing of this has made anything.
    assert_eq!((w.ports().count(), w.memories().count()), (1, 2));
}

#[test]
fn they_can_neither_be_opened_nor_made_nor_deleted() {
    let mut w = world();
    let c = w.open();
    let mut register = |mtu, flags| {
        let reg = nmreq_register {
            nr_flags: flags,
            ..all()
        };
        let got = ask_about(&mut w, c, NETMAP_REQ_REGISTER, "eth7", reg, mtu);
        got.err()
    };
    // Buffers that do not take its MTU are netmap's own reason.
    assert_eq!(register(65536, 0), Some(Errno::INVAL));
    assert_eq!(register(2049, NR_RX_RINGS_ONLY), Some(Errno::INVAL));
    assert_eq!(register(65536, NR_TX_RINGS_ONLY), Some(Errno::NXIO));
    assert_eq!(register(1500, 0), Some(Errno::NXIO));
    let newif = nmreq_vale_newif::default();
    let made = ask_about(&mut w, c, NETMAP_REQ_VALE_NEWIF, "eth7", newif, 1500);
    assert_eq!(made.err(), Some(Errno::EXIST));
    let none = nmreq_vale_detach::default();
    let deleted = ask_about(&mut w, c, NETMAP_REQ_VALE_DELIF, "eth7", none, 1500);
    assert_eq!(deleted.err(), Some(Errno::INVAL));
    // The next request knows nothing of it.
    let deleted = ask(
        &mut w,
        c,
        NETMAP_REQ_PORT_HDR_GET,
        "eth7",
        nmreq_port_hdr::default(),
    );
    assert_eq!(deleted.err(), Some(Errno::NXIO));
}

#[test]
fn a_port_of_ours_comes_first() {
    let mut w = world();
    let c = w.open();
    let newif = nmreq_vale_newif::default();
    ask(&mut w, c, NETMAP_REQ_VALE_NEWIF, "z", newif).unwrap();
    let reg = ask_about(&mut w, c, NETMAP_REQ_REGISTER, "z", all(), 65536).unwrap();
    assert_eq!(reg.nr_host_tx_rings, 0);
}

/// netmap_get_bdg_na: `vale0:lo` is the interface attached, and nothing that REGISTER may make.
#[test]
fn a_port_cannot_be_called_as_an_interface() {
    let mut w = world();
    let c = w.open();
    let monitor = nmreq_register {
        nr_flags: NR_MONITOR_RX,
        ..all()
    };
    for (name, reg) in [
        ("vale0:lo", all()),
        ("vale0:lo{1", all()),
        ("vale0:lo}1", all()),
        ("vale0:lo", monitor),
    ] {
        let refused = ask_about(&mut w, c, NETMAP_REQ_REGISTER, name, reg, 1500).err();
        assert_eq!(refused, Some(Errno::INVAL), "{name}");
    }
    let info = nmreq_port_info_get::default();
    let refused = ask_about(&mut w, c, NETMAP_REQ_PORT_INFO_GET, "vale0:lo", info, 1500);
    assert_eq!(refused.err(), Some(Errno::INVAL));
    let attach = nmreq_vale_attach {
        reg: all(),
        ..nmreq_vale_attach::default()
    };
    let refused = ask_about(&mut w, c, NETMAP_REQ_VALE_ATTACH, "vale0:lo", attach, 1500);
    assert_eq!(refused.err(), Some(Errno::INVAL));
    assert_eq!((w.ports().count(), w.switches().count()), (0, 0));
    // One that is there already is found, whatever the system has got since.
    let (_, _) = open(&mut w, "vale0:lo", all());
    assert!(ask_about(&mut w, c, NETMAP_REQ_REGISTER, "vale0:lo", all(), 1500).is_ok());
}

/// A persistent port is an interface of this world and none of the system.
#[test]
fn a_persistent_port_goes_before_an_interface_of_its_name() {
    let mut w = world();
    let made = super::persistent::newif(&mut w, "p");
    assert!(made.is_ok());
    let c = w.open();
    let attach = nmreq_vale_attach {
        reg: all(),
        ..nmreq_vale_attach::default()
    };
    let done = ask_about(&mut w, c, NETMAP_REQ_VALE_ATTACH, "vale0:p", attach, 1500);
    assert!(done.is_ok());
}
