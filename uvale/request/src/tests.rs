//! Section err_opt of the record and the copying of requests, on a small memory of our own.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;

const BASE: u64 = 0x10000;
const HDR: u64 = BASE;
const BODY: u64 = BASE + 0x100;
const OPT1: u64 = BASE + 0x200;
const OPT2: u64 = BASE + 0x300;
const BAD: u64 = 16;

/// 64 kB at `BASE`; everything else faults.
struct Memory(RefCell<Vec<u8>>);

impl Memory {
    fn new() -> Self {
        Self(RefCell::new(vec![0; 0x10000]))
    }
    fn put<T: AbiBytes>(&self, addr: u64, value: &T) {
        assert!(self.write(addr, value.as_bytes()));
    }
    fn get<T: AbiBytes>(&self, addr: u64) -> T {
        read(self, addr).unwrap()
    }
    fn range(&self, addr: u64, len: usize) -> Option<std::ops::Range<usize>> {
        let from = usize::try_from(addr.checked_sub(BASE)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= self.0.borrow().len()).then_some(from..to)
    }
    /// A request of type `reqtype` with the options at `options`.
    fn request(&self, reqtype: u16, options: u64) {
        let body = if body_size(reqtype) == 0 { 0 } else { BODY };
        let mut h = nmreq_header {
            nr_version: 14,
            nr_reqtype: reqtype,
            nr_options: options,
            nr_body: body,
            ..nmreq_header::default()
        };
        set_name(&mut h, b"vale0:o");
        self.put(HDR, &h);
    }
    fn option(&self, addr: u64, reqtype: u32, next: u64, size: u64) {
        let o = nmreq_option {
            nro_next: next,
            nro_reqtype: reqtype,
            nro_status: 0x55,
            nro_size: size,
        };
        self.put(addr, &o);
    }
    fn status(&self, addr: u64) -> u32 {
        self.get::<nmreq_option>(addr).nro_status
    }
}

impl UserMemory for Memory {
    fn read(&self, addr: u64, to: &mut [u8]) -> bool {
        let Some(range) = self.range(addr, to.len()) else {
            return false;
        };
        to.copy_from_slice(&self.0.borrow()[range]);
        true
    }
    fn write(&self, addr: u64, from: &[u8]) -> bool {
        let Some(range) = self.range(addr, from.len()) else {
            return false;
        };
        self.0.borrow_mut()[range].copy_from_slice(from);
        true
    }
}

const EINVAL: u32 = libc::EINVAL as u32;
const EOPNOTSUPP: u32 = libc::EOPNOTSUPP as u32;
const REGISTER: u16 = NETMAP_REQ_REGISTER;

#[test]
fn pointers_versions_and_bodies() {
    let m = Memory::new();
    assert_eq!(Request::copy_in(&m, 0), Err(Errno::INVAL));
    assert_eq!(Request::copy_in(&m, 8), Err(Errno::FAULT));
    for (version, want) in [
        (0, false),
        (13, false),
        (14, true),
        (15, true),
        (16, false),
        (100, false),
    ] {
        m.request(REGISTER, 0);
        let h = nmreq_header {
            nr_version: version,
            ..m.get(HDR)
        };
        m.put(HDR, &h);
        assert_eq!(Request::copy_in(&m, HDR).is_ok(), want, "version {version}");
        assert_eq!(m.get::<nmreq_header>(HDR), h);
    }
    for reqtype in 0..=20u16 {
        let has_body = body_size(reqtype) != 0;
        assert_eq!(
            has_body,
            (1..=13).contains(&reqtype) && reqtype != NETMAP_REQ_VALE_DELIF
        );
        for body in [0, BAD] {
            m.request(reqtype, 0);
            m.put(
                HDR,
                &nmreq_header {
                    nr_body: body,
                    ..m.get(HDR)
                },
            );
            let want = match (has_body, body) {
                (true, 0) | (false, BAD) => Err(Errno::INVAL),
                (true, _) => Err(Errno::FAULT),
                (false, _) => Ok(()),
            };
            assert_eq!(
                Request::copy_in(&m, HDR).map(|_| ()),
                want,
                "type {reqtype} body {body}"
            );
        }
    }
}

#[test]
fn netmaps_mark_stays_in_a_header_whose_body_is_wrong() {
    let m = Memory::new();
    m.request(REGISTER, 0);
    m.put(
        HDR,
        &nmreq_header {
            nr_body: 0,
            ..m.get(HDR)
        },
    );
    assert_eq!(Request::copy_in(&m, HDR), Err(Errno::INVAL));
    assert_eq!(m.get::<nmreq_header>(HDR).nr_reserved, 1);
    m.put(
        HDR,
        &nmreq_header {
            nr_body: BODY,
            ..m.get(HDR)
        },
    );
    assert_eq!(
        Request::copy_in(&m, HDR),
        Err(Errno::INVAL),
        "nr_reserved must be 0"
    );
}

#[test]
fn unknown_options() {
    let m = Memory::new();
    for (reqtype, want) in [
        (0, Err(Errno::INVAL)),
        (6, Ok(())),
        (7, Ok(())),
        (100, Ok(())),
        (0x7fff_ffff, Ok(())),
    ] {
        m.request(REGISTER, OPT1);
        m.option(OPT1, reqtype, 0, 0);
        let before: nmreq_header = m.get(HDR);
        let copied = Request::copy_in(&m, HDR);
        assert_eq!(copied.as_ref().map(|_| ()).map_err(|e| *e), want);
        if let Ok(request) = copied {
            assert_eq!(request.options[0].header.nro_status, EOPNOTSUPP);
            let refused = request.copy_out(&m, HDR, Err(Errno::OPNOTSUPP));
            assert_eq!(refused, Err(Errno::OPNOTSUPP));
        }
        assert_eq!(
            m.status(OPT1),
            if want.is_ok() { EOPNOTSUPP } else { EINVAL }
        );
        let after: nmreq_header = m.get(HDR);
        assert_eq!(
            (after.nr_options, after.nr_body),
            (before.nr_options, before.nr_body)
        );
        assert_eq!(after.nr_reserved, 0);
    }
}

#[test]
fn lists_of_options() {
    let m = Memory::new();
    let csb = NETMAP_REQ_OPT_CSB;
    let big = NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS;
    for (name, first, second, want, status) in [
        (
            "dup_csb",
            (csb, OPT2, 0),
            (csb, 0, 0),
            Err(Errno::INVAL),
            [EINVAL, EINVAL],
        ),
        (
            "dup_unknown",
            (100, OPT2, 0),
            (100, 0, 0),
            Ok(()),
            [EOPNOTSUPP, EOPNOTSUPP],
        ),
        (
            "two_unknown",
            (100, OPT2, 0),
            (101, 0, 0),
            Ok(()),
            [EOPNOTSUPP, EOPNOTSUPP],
        ),
        (
            "badnext",
            (100, BAD, 0),
            (0, 0, 0),
            Err(Errno::FAULT),
            [0, 0x55],
        ),
        (
            "selfloop",
            (100, OPT1, 0),
            (0, 0, 0),
            Err(Errno::MSGSIZE),
            [0x55, 0x55],
        ),
        (
            "csb_selfloop",
            (csb, OPT1, 0),
            (0, 0, 0),
            Err(Errno::INVAL),
            [EINVAL, 0x55],
        ),
        (
            "too_big",
            (big, 0, 4097),
            (0, 0, 0),
            Err(Errno::MSGSIZE),
            [0, 0x55],
        ),
        (
            "huge",
            (big, 0, u64::MAX),
            (0, 0, 0),
            Err(Errno::MSGSIZE),
            [0, 0x55],
        ),
        (
            "csb_size_ignored",
            (csb, 0, 4096),
            (0, 0, 0),
            Ok(()),
            [EOPNOTSUPP, 0x55],
        ),
        (
            "csb_size_too_big",
            (csb, 0, 4097),
            (0, 0, 0),
            Err(Errno::MSGSIZE),
            [0, 0x55],
        ),
        // 56 of the body, 24 and 4016 of the option: exactly 4096
        (
            "full",
            (big, 0, 4040),
            (0, 0, 0),
            Ok(()),
            [EOPNOTSUPP, 0x55],
        ),
        (
            "one_more",
            (big, 0, 4041),
            (0, 0, 0),
            Err(Errno::MSGSIZE),
            [0, 0x55],
        ),
        (
            "second_too_big",
            (csb, OPT2, 0),
            (big, 0, 4040),
            Err(Errno::MSGSIZE),
            [0, 0],
        ),
    ] {
        m.request(REGISTER, OPT1);
        m.option(OPT1, first.0, first.1, first.2);
        m.option(OPT2, second.0, second.1, second.2);
        let copied = Request::copy_in(&m, HDR);
        assert_eq!(copied.as_ref().map(|_| ()).map_err(|e| *e), want, "{name}");
        if let Ok(request) = copied {
            assert_eq!(
                Request::decode(&request.encode()).as_ref(),
                Some(&request),
                "{name}"
            );
            let _ = request.copy_out(&m, HDR, Err(Errno::OPNOTSUPP));
        }
        assert_eq!([m.status(OPT1), m.status(OPT2)], status, "{name}");
        assert_eq!(m.get::<nmreq_option>(OPT1).nro_next, first.1, "{name}");
    }
    for reqtype in [REGISTER, NETMAP_REQ_PORT_INFO_GET] {
        m.request(reqtype, BAD);
        assert_eq!(Request::copy_in(&m, HDR), Err(Errno::FAULT));
    }
}

#[test]
fn the_longest_list_of_unknown_options() {
    // What netmap's buffer of 4208 bytes takes after two pointers, the body and the table.
    let fits = (4208 - 16 - 48 - 56) / 32;
    for (n, want) in [(fits, Ok(())), (fits + 1, Err(Errno::MSGSIZE))] {
        let m = Memory::new();
        m.request(REGISTER, OPT1);
        for i in 0..n {
            let next = if i + 1 == n { 0 } else { OPT1 + (i + 1) * 32 };
            m.option(OPT1 + i * 32, 200, next, 0);
        }
        let copied = Request::copy_in(&m, HDR);
        assert_eq!(
            copied
                .as_ref()
                .map(|r| r.options.len() as u64)
                .map_err(|e| *e),
            want.map(|()| n)
        );
        if let Ok(request) = copied {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }
}

#[test]
fn what_is_written_back() {
    let m = Memory::new();
    let serve = |result: Result<(), Errno>, status: u32| {
        m.request(REGISTER, OPT1);
        m.put(BODY, &nmreq_register::default());
        m.put(OPT1, &nmreq_opt_offsets::default());
        m.option(OPT1, NETMAP_REQ_OPT_OFFSETS, 0, 0);
        let mut request = Request::copy_in(&m, HDR).unwrap();
        request.body = nmreq_register {
            nr_tx_rings: 5,
            ..nmreq_register::default()
        }
        .as_bytes()
        .to_vec();
        let option = request.option(NETMAP_REQ_OPT_OFFSETS).unwrap();
        option.header.nro_status = status;
        option.body[0] = 99;
        assert_eq!(request.copy_out(&m, HDR, result), result);
        let (body, option): (nmreq_register, nmreq_opt_offsets) = (m.get(BODY), m.get(OPT1));
        (
            body.nr_tx_rings,
            option.nro_opt.nro_status,
            option.nro_max_offset,
        )
    };
    assert_eq!(serve(Ok(()), 0), (5, 0, 99));
    assert_eq!(serve(Ok(()), EINVAL), (5, EINVAL, 0));
    assert_eq!(serve(Err(Errno::BUSY), 0), (0, 0, 0));
}

#[test]
fn memory_that_goes_bad_meanwhile() {
    let m = Memory::new();
    m.request(REGISTER, OPT1);
    m.option(OPT1, NETMAP_REQ_OPT_OFFSETS, 0, 0);
    let good = Request::copy_in(&m, HDR).unwrap();
    let mut request = good.clone();
    request.header.nr_body = BAD;
    assert_eq!(request.copy_out(&m, HDR, Ok(())), Err(Errno::FAULT));
    assert_eq!(
        request.copy_out(&m, HDR, Err(Errno::BUSY)),
        Err(Errno::BUSY)
    );
    let mut request = good.clone();
    request.options[0].addr = BAD;
    assert_eq!(
        request.copy_out(&m, HDR, Err(Errno::BUSY)),
        Err(Errno::FAULT)
    );
    assert_eq!(good.copy_out(&m, BAD, Ok(())), Err(Errno::FAULT));
}

#[test]
fn a_name_is_ended() {
    let m = Memory::new();
    m.request(REGISTER, 0);
    m.put(
        HDR,
        &nmreq_header {
            nr_name: [b'a'; 64],
            ..m.get(HDR)
        },
    );
    let mut request = Request::copy_in(&m, HDR).unwrap();
    assert_eq!(name_of(&mut request.header), [b'a'; 63]);
    assert_eq!(request.copy_out(&m, HDR, Ok(())), Ok(()));
    assert_eq!(m.get::<nmreq_header>(HDR).nr_name[63], 0);
    set_name(&mut request.header, &[b'b'; 100]);
    assert_eq!(name_of(&mut request.header), [b'b'; 63]);
}

#[test]
fn truncated_and_wrong_messages() {
    let m = Memory::new();
    m.request(REGISTER, OPT1);
    m.option(OPT1, NETMAP_REQ_OPT_CSB, OPT2, 0);
    m.option(OPT2, 100, 0, 0);
    let request = Request::copy_in(&m, HDR).unwrap();
    let bytes = request.encode();
    let whole: Vec<usize> = (0..=bytes.len())
        .filter(|n| Request::decode(&bytes[..*n]).is_some())
        .collect();
    // complete with none, one and both options
    assert_eq!(whole.len(), 3);
    assert_eq!(whole[2], bytes.len());
    let mut other = bytes.clone();
    other[2] = NETMAP_REQ_VALE_LIST as u8;
    assert_eq!(
        Request::decode(&other),
        None,
        "a body of another type's size"
    );
}

proptest! {
    #[test]
    fn decode_survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Request::decode(&bytes);
    }

    /// Bytes that start like a message get further than pure noise.
    #[test]
    fn decode_survives_mutations(
        reqtype in 0u16..18,
        kinds in proptest::collection::vec((0u32..8, 0u64..200), 0..4),
        at in any::<proptest::sample::Index>(),
        value in any::<u8>(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut request = Request {
            header: nmreq_header { nr_version: 14, nr_reqtype: reqtype, ..nmreq_header::default() },
            body: vec![1; body_size(reqtype)],
            options: Vec::new(),
        };
        for (kind, size) in kinds {
            let header = nmreq_option { nro_reqtype: kind, nro_size: size, ..nmreq_option::default() };
            let known = (1..NETMAP_REQ_OPT_MAX).contains(&kind);
            let len = if known { option_body_size(&header) as usize } else { 0 };
            request.options.push(OptionCopy { addr: 1 << 40, header, body: vec![2; len] });
        }
        let mut bytes = request.encode();
        prop_assert_eq!(Request::decode(&bytes), Some(request));
        let i = at.index(bytes.len());
        bytes[i] = value;
        let cut = cut.index(bytes.len() + 1);
        if let Some(decoded) = Request::decode(&bytes[..cut]) {
            prop_assert_eq!(decoded.encode(), &bytes[..cut]);
            prop_assert_eq!(decoded.body.len(), body_size(decoded.header.nr_reqtype));
        }
    }

    /// Whatever a program's memory holds: no panic, and what is copied in can be sent on.
    #[test]
    fn copy_in_survives_any_memory(
        noise in proptest::collection::vec(any::<u8>(), 0x400),
        reqtype in 0u16..18,
        links in proptest::collection::vec(0u64..0x400, 6),
    ) {
        let m = Memory::new();
        m.write(BASE, &noise);
        m.request(reqtype, OPT1);
        for (i, link) in links.iter().enumerate() {
            m.option(OPT1 + i as u64 * 0x20, (link % 8) as u32, OPT1 + link, *link);
        }
        if let Ok(request) = Request::copy_in(&m, HDR) {
            prop_assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }
}
