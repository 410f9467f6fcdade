//! Options: sections err_opt and err_cmd of the record, and what netmap's source says beyond.

use super::*;
use uvale_request::OptionCopy;

/// An option as copying in leaves it.
pub(super) fn option<T: AbiBytes>(whole: &T) -> OptionCopy {
    let head = size_of::<nmreq_option>();
    let mut header = nmreq_option::from_bytes(whole.as_bytes()).unwrap();
    header.nro_status = Errno::OPNOTSUPP.raw_os_error() as u32;
    OptionCopy {
        addr: 4096,
        header,
        body: whole.as_bytes()[head..].to_vec(),
    }
}

/// The option's status as an error.
pub(super) fn status(r: &Request, i: usize) -> Option<Errno> {
    let status = r.options[i].header.nro_status as i32;
    (status != 0).then(|| Errno::from_raw_os_error(status))
}

/// Makes a request with options; what the program gets, and the request afterwards.
pub(super) fn ask_with<B: AbiBytes>(
    w: &mut World,
    c: ClientId,
    (reqtype, name): (u16, &str),
    body: &B,
    options: &[OptionCopy],
) -> (Option<Errno>, Request) {
    let mut r = request(reqtype, name, body);
    r.body.truncate(uvale_request::body_size(reqtype));
    r.options = options.to_vec();
    let errno = w.request(c, &mut r).err().map(|e| e.errno);
    (errno, r)
}

fn csb(addr: u64) -> nmreq_opt_csb {
    nmreq_opt_csb {
        nro_opt: nmreq_option {
            nro_reqtype: NETMAP_REQ_OPT_CSB,
            ..nmreq_option::default()
        },
        csb_atok: addr,
        csb_ktoa: addr,
    }
}

fn exclusive() -> nmreq_register {
    nmreq_register {
        nr_flags: NR_EXCLUSIVE,
        ..all()
    }
}

#[test]
fn csb_mode_is_for_exclusive_rings_and_aligned_entries() {
    let mut w = world();
    let c = w.open();
    for (reg, addr, want) in [
        (all(), 0, Errno::INVAL),
        (exclusive(), 8, Errno::INVAL),
        (exclusive(), 32, Errno::INVAL),
    ] {
        let (errno, r) = ask_with(
            &mut w,
            c,
            (NETMAP_REQ_REGISTER, "vale0:q"),
            &reg,
            &[option(&csb(addr))],
        );
        assert_eq!((errno, status(&r, 0)), (Some(want), Some(want)));
        assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
    }
    // Without rings nothing is looked at, and nothing becomes CSB mode.
    let none = (NETMAP_REQ_CSB_ENABLE, "");
    let (errno, r) = ask_with(&mut w, c, none, &no_body(), &[option(&csb(8))]);
    assert_eq!((errno, status(&r, 0)), (None, None));
    let (errno, _) = ask_with(&mut w, c, none, &no_body(), &[]);
    assert_eq!(errno, Some(Errno::INVAL));
    // With them the caller is told how many entries there are to set up.
    let mut r = request(NETMAP_REQ_REGISTER, "vale0:q", &exclusive());
    r.options = vec![option(&csb(0))];
    let mut caller = Caller::default();
    assert!(w.request_from(c, &mut caller, &mut r).is_ok());
    assert_eq!(caller.csb_entries, 2);
    assert!(w.binding(c).unwrap().csb.is_none());
    w.set_csb(c, 64, 128);
    assert_eq!(w.binding(c).unwrap().csb, Some((64, 128)));
    w.close(c);
    w.set_csb(c, 1, 2);
}

/// Something for requests that have no body.
fn no_body() -> nmreq_vale_detach {
    nmreq_vale_detach::default()
}

fn offsets(max: u64, initial: u64, bits: u32) -> nmreq_opt_offsets {
    nmreq_opt_offsets {
        nro_opt: nmreq_option {
            nro_reqtype: NETMAP_REQ_OPT_OFFSETS,
            ..nmreq_option::default()
        },
        nro_max_offset: max,
        nro_initial_offset: initial,
        nro_offset_bits: bits,
        ..nmreq_opt_offsets::default()
    }
}

fn open_with(
    w: &mut World,
    name: &str,
    reg: nmreq_register,
    asked: nmreq_opt_offsets,
) -> (ClientId, Option<Errno>, nmreq_opt_offsets) {
    let c = w.open();
    let options = [option(&asked)];
    let (errno, r) = ask_with(w, c, (NETMAP_REQ_REGISTER, name), &reg, &options);
    assert_eq!(status(&r, 0), errno);
    let after = super::super::options::typed(&r.options[0]).unwrap();
    (c, errno, after)
}

/// offset_mask of a ring, and the offsets in its slots.
fn offsets_of(w: &World, c: ClientId, tx: bool) -> (u64, Vec<u64>) {
    let v = View::of(w, c);
    let at = v.ring(tx, 0);
    let wide = |o: u64| u64::from(v.word(at + o)) | u64::from(v.word(at + o + 4)) << 32;
    let n = u64::from(v.word(at + 8));
    (wide(56), (0..n).map(|s| wide(256 + 16 * s + 8)).collect())
}

#[test]
fn offsets_that_make_no_sense() {
    let mut w = world();
    for (asked, want) in [
        (offsets(2048, 2048, 0), None),
        (offsets(2049, 0, 0), Some(Errno::INVAL)),
        (offsets(u64::MAX, 0, 0), Some(Errno::INVAL)),
        (offsets(64, 65, 0), Some(Errno::INVAL)),
        (offsets(64, 0, 65), Some(Errno::INVAL)),
        (offsets(64, 0, u32::MAX), Some(Errno::INVAL)),
        (offsets(64, 0, 6), Some(Errno::INVAL)),
        (offsets(63, 0, 6), None),
        (offsets(0, 0, 1), None),
        (offsets(128, 64, 64), None),
    ] {
        let (c, errno, _) = open_with(&mut w, "vale0:of", all(), asked);
        assert_eq!(errno, want, "{asked:?}");
        w.close(c);
        assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
    }
}

#[test]
fn offsets_are_shown_to_the_program() {
    let mut w = world();
    let (c, errno, out) = open_with(&mut w, "vale0:of", all(), offsets(128, 64, 0));
    assert_eq!(
        (errno, out.nro_max_offset, out.nro_offset_bits),
        (None, 128, 0)
    );
    for tx in [true, false] {
        let (mask, slots) = offsets_of(&w, c, tx);
        assert_eq!(mask, u64::MAX);
        assert!(slots.len() == 1024 && slots.iter().all(|o| *o == 64));
    }
    // A second descriptor gets what there is, and leaves the slots alone.
    let (d, errno, out) = open_with(&mut w, "vale0:of", all(), offsets(100, 32, 16));
    assert_eq!(
        (errno, out.nro_max_offset, out.nro_offset_bits),
        (None, 128, 16)
    );
    assert!(offsets_of(&w, d, true).1.iter().all(|o| *o == 64));
    // It cannot have more.
    let (e, errno, _) = open_with(&mut w, "vale0:of", all(), offsets(129, 0, 0));
    assert_eq!(errno, Some(Errno::BUSY));
    for c in [c, d, e] {
        w.close(c);
    }
    let (c, errno, _) = open_with(&mut w, "vale0:of", all(), offsets(9, 0, 4));
    assert_eq!((errno, offsets_of(&w, c, false).0), (None, 15));
    let (d, errno, _) = open_with(&mut w, "vale0:of", all(), offsets(9, 0, 5));
    assert_eq!(errno, Some(Errno::BUSY));
    w.close(c);
    w.close(d);
}

#[test]
fn a_ring_without_offsets_gets_them_later() {
    let mut w = world();
    let (c, _) = open(&mut w, "vale0:of", all());
    assert_eq!(offsets_of(&w, c, true).0, 0);
    let (d, errno, _) = open_with(&mut w, "vale0:of", all(), offsets(9, 8, 0));
    assert_eq!(errno, None);
    // Both are open: the slots stay as they are.
    assert_eq!(offsets_of(&w, c, true), (u64::MAX, vec![0; 1024]));
    let k = w.ctl().kring(
        w.ctl()
            .port(w.binding(c).unwrap().port)
            .unwrap()
            .rx_kring
            .load(Relaxed),
    );
    let k = k.unwrap();
    assert_eq!(
        (k.offset_mask.load(Relaxed), k.offset_max.load(Relaxed)),
        (u64::MAX, 9)
    );
    w.close(d);
}

#[test]
fn a_pipes_other_end_shows_the_mask_and_starts_with_the_offsets() {
    let mut w = world();
    let (c, errno, _) = open_with(&mut w, "p{1", all(), offsets(256, 128, 12));
    assert_eq!(errno, None);
    let (d, _) = open(&mut w, "p}1", all());
    for tx in [true, false] {
        let (mask, slots) = offsets_of(&w, d, tx);
        assert_eq!(mask, 0xfff);
        assert!(slots.iter().all(|o| *o == 128));
    }
    // The data path of that end does not go by them until it asks itself.
    let rx = |c| {
        w.ctl()
            .port(w.binding(c).unwrap().port)
            .unwrap()
            .rx_kring
            .load(Relaxed)
    };
    let mask = |c| w.ctl().kring(rx(c)).unwrap().offset_mask.load(Relaxed);
    assert_eq!((mask(c), mask(d)), (0xfff, 0));
    w.close(c);
    w.close(d);
}

#[test]
fn null_ports_have_offsets_too() {
    let mut w = world();
    let reg = nmreq_register {
        nr_mode: NR_REG_NULL,
        nr_mem_id: 1,
        ..with([2, 2], [8, 8])
    };
    let (c, errno, _) = open_with(&mut w, "n", reg, offsets(64, 64, 0));
    assert_eq!(errno, None);
    assert_eq!(offsets_of(&w, c, true), (u64::MAX, vec![64; 8]));
    w.close(c);
}

#[test]
fn an_option_that_nobody_served_refuses_a_register_and_nothing_else() {
    let mut w = world();
    for reqtype in [
        6,
        100,
        NETMAP_REQ_OPT_SYNC_KLOOP_MODE,
        NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS,
    ] {
        let unserved = OptionCopy {
            addr: 4096,
            header: nmreq_option {
                nro_reqtype: reqtype,
                nro_status: Errno::OPNOTSUPP.raw_os_error() as u32,
                ..nmreq_option::default()
            },
            body: Vec::new(),
        };
        let c = w.open();
        let (errno, _) = ask_with(
            &mut w,
            c,
            (NETMAP_REQ_REGISTER, "vale0:o"),
            &all(),
            std::slice::from_ref(&unserved),
        );
        assert_eq!(errno, Some(Errno::OPNOTSUPP));
        assert!(w.binding(c).is_none());
        assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
        let (errno, r) = ask_with(
            &mut w,
            c,
            (NETMAP_REQ_PORT_INFO_GET, "vale0:o"),
            &nmreq_port_info_get::default(),
            &[unserved],
        );
        assert_eq!((errno, status(&r, 0)), (None, Some(Errno::OPNOTSUPP)));
    }
}
