//! Sections legacy of the kernel record, and the conversion field by field.

use super::*;
use std::cell::RefCell;

/// One `nmreq` at address 64, nothing else.
struct OneStruct(RefCell<Vec<u8>>);

impl UserMemory for OneStruct {
    fn read(&self, addr: u64, to: &mut [u8]) -> bool {
        let bytes = self.0.borrow();
        let Some(from) = addr.checked_sub(64).map(|a| a as usize) else {
            return false;
        };
        let Some(part) = bytes.get(from..from + to.len()) else {
            return false;
        };
        to.copy_from_slice(part);
        true
    }
    fn write(&self, addr: u64, from: &[u8]) -> bool {
        let mut bytes = self.0.borrow_mut();
        let Some(at) = addr.checked_sub(64).map(|a| a as usize) else {
            return false;
        };
        let Some(part) = bytes.get_mut(at..at + from.len()) else {
            return false;
        };
        part.copy_from_slice(from);
        true
    }
}

fn nmreq_of(name: &[u8], cmd: u16) -> nmreq {
    let mut nmr = nmreq {
        nr_version: 14,
        nr_cmd: cmd,
        ..nmreq::default()
    };
    nmr.nr_name[..name.len()].copy_from_slice(name);
    nmr
}

fn name(request: &Request) -> String {
    let mut header = request.header;
    String::from_utf8(crate::name_of(&mut header)).unwrap()
}

fn body<B: AbiBytes>(request: &Request) -> B {
    assert_eq!(request.body.len(), size_of::<B>());
    B::from_bytes(&request.body).unwrap()
}

#[test]
fn versions_from_14_on() {
    for version in [0, 1, 3, 10, 11, 12, 13, 14, 15, 16, 100] {
        for command in [NIOCREGIF, NIOCGINFO] {
            let mut nmr = nmreq {
                nr_version: version,
                ..nmreq_of(b"vale0:l", 0)
            };
            let request = to_request(command, &mut nmr);
            assert_eq!(
                request.as_ref().err(),
                (version < 14).then_some(&Errno::INVAL),
                "{version}"
            );
            assert!(request.is_err() || request.unwrap().header.nr_version == NETMAP_API);
        }
    }
}

#[test]
fn register_modes_come_from_flags_or_ring_bits() {
    for (flags, ringid, want) in [
        (0, 0, (NR_REG_ALL_NIC, 0, 0)),
        (0, NETMAP_HW_RING | 9, (NR_REG_ONE_NIC, 9, 0)),
        (0, NETMAP_SW_RING, (NR_REG_SW, 0, 0)),
        (
            1,
            NETMAP_NO_TX_POLL | NETMAP_DO_RX_POLL,
            (NR_REG_ALL_NIC, 0, NR_NO_TX_POLL | NR_DO_RX_POLL),
        ),
        (NR_REG_NULL, 3, (NR_REG_NULL, 3, 0)),
        (1 | 0x800, 0, (NR_REG_ALL_NIC, 0, NR_EXCLUSIVE)),
    ] {
        let mut nmr = nmreq {
            nr_flags: flags,
            nr_ringid: ringid,
            ..nmreq_of(b"x", 0)
        };
        let reg: nmreq_register = body(&to_request(NIOCREGIF, &mut nmr).unwrap());
        assert_eq!((reg.nr_mode, reg.nr_ringid, reg.nr_flags), want);
    }
}

#[test]
fn pipe_modes_become_names() {
    for (mode, want) in [(NR_REG_PIPE_MASTER, "lgp{2"), (NR_REG_PIPE_SLAVE, "lgp}2")] {
        let mut nmr = nmreq {
            nr_flags: mode,
            nr_ringid: 2,
            nr_arg3: 20,
            ..nmreq_of(b"lgp", 0)
        };
        let request = to_request(NIOCREGIF, &mut nmr).unwrap();
        let reg: nmreq_register = body(&request);
        assert_eq!(
            (name(&request).as_str(), reg.nr_mode, reg.nr_ringid),
            (want, NR_REG_ALL_NIC, 0)
        );
        assert_eq!(reg.nr_extra_bufs, 20);
        assert_eq!(&nmr.nr_name[..4], b"lgp\0");
    }
}

#[test]
fn each_command_has_its_request() {
    for (cmd, want) in [
        (NETMAP_BDG_ATTACH, Ok(NETMAP_REQ_VALE_ATTACH)),
        (NETMAP_BDG_DETACH, Ok(NETMAP_REQ_VALE_DETACH)),
        (NETMAP_BDG_REGOPS, Ok(0)),
        (NETMAP_BDG_LIST, Ok(0)),
        (NETMAP_BDG_VNET_HDR, Ok(NETMAP_REQ_PORT_HDR_SET)),
        (NETMAP_BDG_NEWIF, Ok(NETMAP_REQ_VALE_NEWIF)),
        (NETMAP_BDG_DELIF, Ok(NETMAP_REQ_VALE_DELIF)),
        (NETMAP_PT_HOST_CREATE, Err(Errno::NOMEM)),
        (NETMAP_PT_HOST_DELETE, Err(Errno::NOMEM)),
        (NETMAP_BDG_POLLING_ON, Ok(NETMAP_REQ_VALE_POLLING_ENABLE)),
        (NETMAP_BDG_POLLING_OFF, Ok(NETMAP_REQ_VALE_POLLING_DISABLE)),
        (NETMAP_VNET_HDR_GET, Ok(NETMAP_REQ_PORT_HDR_GET)),
        (13, Ok(0)),
    ] {
        let request = to_request(NIOCREGIF, &mut nmreq_of(b"vale0:x", cmd));
        assert_eq!(
            request
                .as_ref()
                .map(|r| r.header.nr_reqtype)
                .map_err(|e| *e),
            want,
            "nr_cmd {cmd}"
        );
        if let Ok(request) = request {
            assert_eq!(request.body.len(), body_size(request.header.nr_reqtype));
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }
    let mut list = nmreq {
        nr_arg1: 1,
        nr_arg2: 2,
        ..nmreq_of(b"", NETMAP_BDG_LIST)
    };
    let body: nmreq_vale_list = body(&to_request(NIOCGINFO, &mut list).unwrap());
    assert_eq!((body.nr_bridge_idx, body.nr_port_idx), (1, 2));
}

#[test]
fn host_rings_on_attach() {
    for (arg1, want) in [(NETMAP_BDG_HOST, NR_REG_NIC_SW), (0, NR_REG_ALL_NIC)] {
        let mut nmr = nmreq {
            nr_arg1: arg1,
            nr_arg2: 7,
            ..nmreq_of(b"vale0:x", NETMAP_BDG_ATTACH)
        };
        let body: nmreq_vale_attach = body(&to_request(NIOCREGIF, &mut nmr).unwrap());
        assert_eq!((body.reg.nr_mode, body.reg.nr_mem_id), (want, 7));
    }
}

#[test]
fn results_come_back_on_success_and_the_name_is_ended_in_any_case() {
    let nmr = nmreq_of(b"aaaaaaaaaaaaaaaa", 0);
    let mem = OneStruct(RefCell::new(nmr.as_bytes().to_vec()));
    let refuse = ioctl(NIOCREGIF, &mem, 64, &mut |r| {
        assert_eq!(name(r), "aaaaaaaaaaaaaaa");
        Err(Errno::NXIO)
    });
    assert_eq!(refuse, Err(Errno::NXIO));
    let after = nmreq::from_bytes(&mem.0.borrow()).unwrap();
    assert_eq!(&after.nr_name, b"aaaaaaaaaaaaaaa\0");
    assert_eq!(after.nr_tx_rings, 0);

    let accept = ioctl(NIOCREGIF, &mem, 64, &mut |r| {
        let mut reg: nmreq_register = body(r);
        (reg.nr_tx_rings, reg.nr_rx_slots, reg.nr_memsize) = (3, 512, 0x1_0000_1000);
        (reg.nr_mem_id, reg.nr_extra_bufs, reg.nr_offset) = (9, 4, 2048);
        r.body = reg.as_bytes().to_vec();
        Ok(())
    });
    assert_eq!(accept, Ok(()));
    let after = nmreq::from_bytes(&mem.0.borrow()).unwrap();
    assert_eq!(
        (after.nr_tx_rings, after.nr_rx_slots, after.nr_memsize),
        (3, 512, 0x1000)
    );
    assert_eq!(
        (after.nr_arg2, after.nr_arg3, after.nr_offset, after.nr_arg1),
        (9, 4, 2048, 0)
    );
}

#[test]
fn bad_pointers_and_other_commands() {
    let mem = OneStruct(RefCell::new(vec![0; 300]));
    let serve: Serve<'_> = &mut |_| panic!("not reached");
    assert_eq!(ioctl(NIOCREGIF, &mem, 0, serve), Err(Errno::INVAL));
    assert_eq!(ioctl(NIOCGINFO, &mem, 8, serve), Err(Errno::FAULT));
    assert_eq!(ioctl(NIOCCONFIG, &mem, 64, serve), Err(Errno::INVAL));
    assert_eq!(ioctl(NIOCCONFIG, &mem, 1 << 20, serve), Err(Errno::FAULT));
    // SIOCGIFADDR, SIOCGIFFLAGS, and a number of ours that does not exist
    for command in [0x8915, 0x8913, 0x698c] {
        assert_eq!(ioctl(command, &mem, 64, serve), Err(Errno::OPNOTSUPP));
    }
}

#[test]
fn a_list_brings_the_name_back() {
    let nmr = nmreq_of(b"", NETMAP_BDG_LIST);
    let mem = OneStruct(RefCell::new(nmr.as_bytes().to_vec()));
    let listed = ioctl(NIOCGINFO, &mem, 64, &mut |r| {
        set_name(&mut r.header, b"vale0:a_long_port_name");
        let body = nmreq_vale_list {
            nr_bridge_idx: 1,
            pad1: 0,
            nr_port_idx: 255,
        };
        r.body = body.as_bytes().to_vec();
        Ok(())
    });
    assert_eq!(listed, Ok(()));
    let after = nmreq::from_bytes(&mem.0.borrow()).unwrap();
    assert_eq!(
        (&after.nr_name, after.nr_arg1, after.nr_arg2),
        (b"vale0:a_long_po\0", 1, 255)
    );
}
