//! Options and requests that are not served yet: sections err_opt and err_cmd of the record.

use super::*;

#[test]
fn what_is_not_there_yet() {
    let mut w = world();
    let c = w.open();
    for reqtype in [NETMAP_REQ_SYNC_KLOOP_START, NETMAP_REQ_SYNC_KLOOP_STOP] {
        let mut r = request(reqtype, "", &nmreq_sync_kloop_start::default());
        assert_eq!(w.request(c, &mut r).unwrap_err().errno, Errno::NXIO);
    }
    let (p, _) = open(&mut w, "vale0:q", all());
    let mut start = request(
        NETMAP_REQ_SYNC_KLOOP_START,
        "",
        &nmreq_sync_kloop_start::default(),
    );
    assert_eq!(w.request(p, &mut start).unwrap_err().errno, Errno::INVAL);
    let mut stop = request(
        NETMAP_REQ_SYNC_KLOOP_STOP,
        "",
        &nmreq_sync_kloop_start::default(),
    );
    assert!(w.request(p, &mut stop).is_ok());
    for client in [c, p] {
        let mut csb = request(
            NETMAP_REQ_CSB_ENABLE,
            "",
            &nmreq_sync_kloop_start::default(),
        );
        assert_eq!(w.request(client, &mut csb).unwrap_err().errno, Errno::INVAL);
    }
    let monitor = nmreq_register {
        nr_flags: NR_MONITOR_RX,
        ..all()
    };
    assert_eq!(
        attempt(&mut w, "vale0:q", monitor).err(),
        Some(Errno::OPNOTSUPP)
    );
}

/// The CSB option, with no memory behind it.
fn csb() -> crate::request::OptionCopy {
    crate::request::OptionCopy {
        addr: 4096,
        header: nmreq_option {
            nro_reqtype: NETMAP_REQ_OPT_CSB,
            ..nmreq_option::default()
        },
        body: vec![0; 16],
    }
}

#[test]
fn csb_mode_is_for_exclusive_rings() {
    let mut w = world();
    let ask = |w: &mut World, c, reqtype, flags| {
        let reg = nmreq_register {
            nr_flags: flags,
            ..all()
        };
        let mut r = request(reqtype, "vale0:q", &reg);
        r.options.push(csb());
        let errno = w.request(c, &mut r).err().map(|e| e.errno);
        let status = errno.map_or(0, |e| e.raw_os_error());
        assert_eq!(r.options[0].header.nro_status, status as u32);
        errno
    };
    let c = w.open();
    assert_eq!(ask(&mut w, c, NETMAP_REQ_REGISTER, 0), Some(Errno::INVAL));
    assert_eq!(
        ask(&mut w, c, NETMAP_REQ_REGISTER, NR_EXCLUSIVE),
        Some(Errno::OPNOTSUPP)
    );
    assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
    // without rings there is nothing to do
    assert_eq!(ask(&mut w, c, NETMAP_REQ_CSB_ENABLE, 0), None);
    let (p, _) = open(&mut w, "vale0:q", all());
    assert_eq!(ask(&mut w, p, NETMAP_REQ_CSB_ENABLE, 0), Some(Errno::INVAL));
}

#[test]
fn an_option_that_nobody_served_refuses_a_register_and_nothing_else() {
    let mut w = world();
    for reqtype in [6, 100, NETMAP_REQ_OPT_EXTMEM, NETMAP_REQ_OPT_OFFSETS] {
        let option = || crate::request::OptionCopy {
            addr: 4096,
            header: nmreq_option {
                nro_reqtype: reqtype,
                nro_status: Errno::OPNOTSUPP.raw_os_error() as u32,
                ..nmreq_option::default()
            },
            body: Vec::new(),
        };
        let c = w.open();
        let mut r = request(NETMAP_REQ_REGISTER, "vale0:o", &all());
        r.options.push(option());
        assert_eq!(w.request(c, &mut r).unwrap_err().errno, Errno::OPNOTSUPP);
        assert!(w.binding(c).is_none());
        assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
        let mut r = request(
            NETMAP_REQ_PORT_INFO_GET,
            "vale0:o",
            &nmreq_port_info_get::default(),
        );
        r.options.push(option());
        assert!(w.request(c, &mut r).is_ok());
    }
}
