//! A program's own memory as the region.

use proptest::prelude::*;

use super::super::extmem::lay_out;
use super::super::memory::Which;
use super::super::pool::Pool;
use super::options::{option, status};
use super::*;
use crate::{Offer, PoolParams};
use uvale_request::FileRange;

const PAGE: u64 = 4096;

fn extmem(info: nmreq_pools_info) -> nmreq_opt_extmem {
    nmreq_opt_extmem {
        nro_opt: nmreq_option {
            nro_reqtype: NETMAP_REQ_OPT_EXTMEM,
            ..nmreq_option::default()
        },
        nro_usrptr: 4096,
        nro_info: info,
    }
}

fn info(bytes: u64) -> nmreq_pools_info {
    nmreq_pools_info {
        nr_memsize: bytes,
        ..nmreq_pools_info::default()
    }
}

/// Memory of a program in a memfd, as the shim offers it.
fn memory(pages: u64, ino: u64) -> (Offer, Memfd) {
    let memfd = Memfd::create("program", (pages * PAGE) as usize).unwrap();
    let copy = rustix::io::fcntl_dupfd_cloexec(&memfd, 3).unwrap();
    let known_as = vec![FileRange {
        dev: 1,
        ino,
        offset: 0,
        pages,
    }];
    let offer = Offer::Memory {
        memfd,
        pages,
        known_as,
    };
    (offer, Memfd::from_peer(copy.into()).unwrap())
}

fn register_in(
    w: &mut World,
    c: ClientId,
    name: &str,
    reg: nmreq_register,
    info: nmreq_pools_info,
    offer: Offer,
) -> core::result::Result<(nmreq_register, nmreq_pools_info), Errno> {
    let mut r = request(NETMAP_REQ_REGISTER, name, &reg);
    r.options.push(option(&extmem(info)));
    let mut caller = Caller {
        extmem: Some(offer),
        ..Caller::default()
    };
    let result = w.request_from(c, &mut caller, &mut r);
    if result.is_ok() {
        assert_eq!(status(&r, 0), None);
    }
    result.map_err(|refusal| refusal.errno)?;
    let out: nmreq_opt_extmem = super::super::options::typed(&r.options[0]).unwrap();
    Ok((nmreq_register::from_bytes(&r.body).unwrap(), out.nro_info))
}

/// What the record has: 16 MB for 20, 20 and 4096 objects.
#[test]
fn the_recorded_case() {
    let mut w = world();
    let c = w.open();
    let asked = nmreq_pools_info {
        nr_if_pool_objtotal: 20,
        nr_if_pool_objsize: 1024,
        nr_ring_pool_objtotal: 20,
        nr_ring_pool_objsize: 36864,
        nr_buf_pool_objtotal: 4096,
        nr_buf_pool_objsize: 2048,
        ..info(16 << 20)
    };
    let (offer, memfd) = memory((16 << 20) / PAGE, 7);
    let (reg, out) = register_in(&mut w, c, "vale0:x", all(), asked, offer).unwrap();
    assert_eq!((reg.nr_memsize, out), (16 << 20, asked));
    assert!(reg.nr_mem_id > 1);
    // The rings lie in the program's memory, where it looks for them.
    let v = View::of(&w, c);
    let map = Mapping::new(&memfd).unwrap();
    let word = |ofs: u64| {
        let word = map.at::<core::sync::atomic::AtomicU32>(ofs as usize);
        word.unwrap().load(Relaxed)
    };
    assert_eq!(word(v.ring(true, 0) + 8), 1024);
    assert_eq!(v.ring_header(false, 0)[..2], [1024, 2048]);
    assert_eq!(v.netmap_if()[0], NI_PRIV_MEM);
    let pools = ask(
        &mut w,
        c,
        NETMAP_REQ_POOLS_INFO_GET,
        "vale0:x",
        nmreq_pools_info::default(),
    );
    let pools = pools.unwrap();
    assert_eq!(pools.nr_ring_pool_offset, 5 * PAGE);
    assert_eq!(pools.nr_buf_pool_offset, 5 * PAGE + 180 * PAGE);
    assert_eq!(
        u64::from(pools.nr_buf_pool_objtotal),
        ((16 << 20) - 185 * PAGE) / 2048
    );
    // The program keeps what lies in its memory.
    let at = w.bound(c).unwrap().offset;
    let name = word(at);
    w.close(c);
    assert_eq!((w.ports().count(), w.memories().count()), (0, 1));
    assert_eq!(word(at), name);
}

#[test]
fn what_is_left_open_is_chosen_and_told() {
    let mut w = world();
    let c = w.open();
    let (offer, _memfd) = memory(4096, 7);
    let (reg, out) = register_in(&mut w, c, "vale0:x", all(), info(4096 * PAGE), offer).unwrap();
    assert_eq!(out.nr_if_pool_objtotal, 2);
    assert_eq!(out.nr_if_pool_objsize, 1024);
    assert_eq!(out.nr_ring_pool_objtotal, 4);
    assert_eq!(out.nr_ring_pool_objsize, 20480);
    assert_eq!(out.nr_buf_pool_objtotal, 4098);
    assert_eq!(out.nr_buf_pool_objsize, 2048);
    assert_eq!(reg.nr_memsize, 4096 * PAGE);
}

#[test]
fn what_does_not_fit() {
    let mut w = world();
    let rings = |size| nmreq_pools_info {
        nr_ring_pool_objsize: size,
        ..info(256 * PAGE)
    };
    let few = |ifs, rings, bufs| nmreq_pools_info {
        nr_if_pool_objtotal: ifs,
        nr_ring_pool_objtotal: rings,
        nr_buf_pool_objtotal: bufs,
        ..info(256 * PAGE)
    };
    for (asked, pages, reg) in [
        // more than there is
        (info(256 * PAGE), 256, all()),
        (rings(1 << 20), 256, all()),
        (few(1, 1, u32::MAX), 256, all()),
        // too few rings, too small rings, too few buffers, no room for any
        (few(2, 1, 64), 256, with([1, 1], [16, 16])),
        (few(2, 4, 64), 256, with([1, 1], [1024, 2048])),
        (few(2, 4, 64), 256, with([2, 2], [256, 256])),
        (
            nmreq_pools_info {
                nr_memsize: 0,
                ..few(2, 4, 64)
            },
            1,
            with([1, 1], [16, 16]),
        ),
    ] {
        let c = w.open();
        let (offer, _memfd) = memory(pages, 7);
        let got = register_in(&mut w, c, "vale0:x", reg, asked, offer);
        assert_eq!(got.err(), Some(Errno::NOMEM), "{asked:?}");
        assert_eq!((w.ports().count(), w.memories().count()), (0, 1));
        w.close(c);
    }
    for errno in [Errno::FAULT, Errno::NOMEM] {
        let c = w.open();
        let got = register_in(&mut w, c, "vale0:x", all(), info(0), Offer::Refused(errno));
        assert_eq!(got.err(), Some(errno));
    }
}

#[test]
fn one_memory_for_several_ports() {
    let mut w = world();
    let (a, b, p) = (w.open(), w.open(), w.open());
    let (offer, _memfd) = memory(8192, 7);
    let size = info(8192 * PAGE);
    let range = FileRange {
        dev: 1,
        ino: 7,
        offset: 0,
        pages: 8192,
    };
    assert_eq!(w.find_extmem(&range), None);
    let small = || with([1, 1], [64, 64]);
    let asked = nmreq_pools_info {
        nr_if_pool_objtotal: 8,
        nr_ring_pool_objtotal: 32,
        ..size
    };
    let (first, _) = register_in(&mut w, a, "vale0:a", small(), asked, offer).unwrap();
    let region = w.find_extmem(&range).unwrap();
    let other = FileRange {
        pages: 8191,
        ..range.clone()
    };
    assert_eq!(w.find_extmem(&other), None);
    let (second, _) =
        register_in(&mut w, b, "vale0:b", small(), size, Offer::Region(region)).unwrap();
    assert_eq!(first.nr_mem_id, second.nr_mem_id);
    // Who offers it as new memory has missed that it is known by now.
    let (offer, _late) = memory(8192, 7);
    let late = w.open();
    let again = register_in(&mut w, late, "vale0:l", small(), size, offer);
    assert_eq!(again.err(), Some(Errno::AGAIN));
    w.close(late);
    // A pipe on it, and a port that names it by its number.
    let (pipe, _) = register_in(&mut w, p, "xp{1", small(), size, Offer::Region(region)).unwrap();
    assert_eq!(pipe.nr_mem_id, first.nr_mem_id);
    let by_id = nmreq_register {
        nr_mem_id: first.nr_mem_id,
        ..small()
    };
    let (n, by_id) = open(&mut w, "vale0:n", by_id);
    assert_eq!(by_id.nr_mem_id, first.nr_mem_id);
    for c in [a, b, p] {
        w.close(c);
    }
    assert_eq!(w.find_extmem(&range), Some(region));
    assert!(w.audit().is_empty());
    w.close(n);
    assert_eq!(w.find_extmem(&range), None);
    assert_eq!((w.ports().count(), w.memories().count()), (0, 1));
    let c = w.open();
    let late = register_in(&mut w, c, "vale0:c", small(), size, Offer::Region(region));
    assert_eq!(late.err(), Some(Errno::NOMEM));
}

#[test]
fn a_bound_descriptor_is_busy_whatever_the_memory() {
    let mut w = world();
    let (c, _) = open(&mut w, "vale0:a", all());
    let bad = Offer::Refused(Errno::FAULT);
    let got = register_in(&mut w, c, "vale0:b", all(), info(0), bad);
    assert_eq!(got.err(), Some(Errno::BUSY));
}

/// netmap_mem_ext_create's walk through the pages, object by object: pages of each pool, and which
/// objects have room.
fn walk(mut pages: u64, wanted: [PoolParams; 3]) -> Vec<(u32, u64, Vec<bool>)> {
    wanted
        .into_iter()
        .map(|p| {
            let (mut off, mut whole) = (0u64, Vec::new());
            while whole.len() < p.num as usize && pages > 0 {
                let mut good = true;
                let mut next = off + u64::from(p.size);
                while next >= PAGE {
                    next -= PAGE;
                    pages -= 1;
                    if pages == 0 {
                        good = next == 0;
                        break;
                    }
                }
                off = next;
                whole.push(good);
            }
            let bytes = whole.len() as u64 * u64::from(p.size);
            if !bytes.is_multiple_of(PAGE) && pages > 0 {
                pages -= 1;
            }
            (whole.len() as u32, bytes.next_multiple_of(PAGE), whole)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn pools_lie_where_netmap_puts_them(
        pages in 1u64..60,
        sizes in prop::array::uniform3(1u32..9000),
        nums in prop::array::uniform3(0u32..60),
    ) {
        let wanted = [0, 1, 2].map(|i| PoolParams { size: sizes[i], num: nums[i] });
        let pools: [Pool; 3] = lay_out(pages, wanted);
        for (i, (total, bytes, whole)) in walk(pages, wanted).into_iter().enumerate() {
            let pool = &pools[i];
            prop_assert_eq!((pool.total(), pool.bytes()), (total, bytes));
            let has_room: Vec<bool> = (0..total).map(|o| o < pool.whole()).collect();
            prop_assert_eq!(has_room, whole);
        }
    }

    /// Any sizes: ports open or not, nothing panics, nothing overlaps, nothing stays.
    #[test]
    fn any_sizes_are_survived(
        pages in 1u64..200,
        given in prop::option::weighted(0.9, 1u64..1_000_000),
        sizes in prop::array::uniform3(prop_oneof![0u32..10_000, any::<u32>()]),
        nums in prop::array::uniform3(prop_oneof![0u32..64, any::<u32>()]),
        slots in 1u32..64,
    ) {
        let mut w = world();
        let asked = nmreq_pools_info {
            nr_memsize: given.map_or(0, |bytes| bytes.min(pages * PAGE)),
            nr_if_pool_objsize: sizes[0],
            nr_ring_pool_objsize: sizes[1],
            nr_buf_pool_objsize: sizes[2],
            nr_if_pool_objtotal: nums[0],
            nr_ring_pool_objtotal: nums[1],
            nr_buf_pool_objtotal: nums[2],
            ..nmreq_pools_info::default()
        };
        let c = w.open();
        let (offer, _memfd) = memory(pages, 7);
        let reg = with([1, 1], [slots, slots]);
        let opened = register_in(&mut w, c, "vale0:x", reg, asked, offer);
        if let Ok((reg, out)) = opened {
            prop_assert_eq!(out.nr_memsize, asked.nr_memsize);
            let v = View::of(&w, c);
            prop_assert_eq!(v.ring_header(true, 0)[0], slots);
            let mut buffers: Vec<u32> = [v.buffers(true, 0), v.buffers(false, 0)].concat();
            let size = u64::from(v.ring_header(true, 0)[1]);
            let first = w.memories.at(reg.nr_mem_id).offset(Which::Buf).unwrap();
            for b in &buffers {
                prop_assert!(first + (u64::from(*b) + 1) * size <= pages * PAGE);
            }
            buffers.sort_unstable();
            buffers.dedup();
            prop_assert_eq!(buffers.len() as u32, 2 * slots);
            prop_assert!(w.audit().is_empty());
        } else {
            prop_assert_eq!(opened.err(), Some(Errno::NOMEM));
        }
        w.close(c);
        prop_assert_eq!((w.ports().count(), w.memories().count()), (0, 1));
    }
}
