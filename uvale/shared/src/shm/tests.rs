//! Run as they are, under AddressSanitizer and under valgrind: every bound, at the bound.

use super::*;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use proptest::prelude::*;
use rustix::io::Errno;

const PAGE: usize = 4096;

fn mapping(len: usize) -> Mapping {
    Mapping::new(&Memfd::create("test", len).unwrap()).unwrap()
}

#[test]
fn records_outside_or_askew_are_refused() {
    let map = mapping(PAGE);
    assert!(map.at::<AtomicU64>(PAGE - 8).is_some());
    assert!(map.at::<AtomicU64>(PAGE - 7).is_none());
    assert!(map.at::<AtomicU64>(PAGE).is_none());
    assert!(map.at::<AtomicU64>(4).is_none());
    assert!(map.at::<AtomicU64>(usize::MAX - 7).is_none());
    assert!(map.slice_at::<AtomicU32>(0, PAGE / 4).is_some());
    assert!(map.slice_at::<AtomicU32>(0, PAGE / 4 + 1).is_none());
    assert!(map.slice_at::<AtomicU32>(8, usize::MAX / 2).is_none());
}

#[test]
fn two_mappings_share_their_memory() {
    let memfd = Memfd::create("test", PAGE).unwrap();
    let (a, b) = (Mapping::new(&memfd).unwrap(), Mapping::new(&memfd).unwrap());
    a.at::<AtomicU32>(64).unwrap().store(7, Ordering::Relaxed);
    assert_eq!(b.at::<AtomicU32>(64).unwrap().load(Ordering::Relaxed), 7);
    memfd.discard().unwrap();
    assert_eq!(a.at::<AtomicU32>(64).unwrap().load(Ordering::Relaxed), 0);
}

#[test]
fn a_memfd_cannot_be_shrunk() {
    let memfd = Memfd::create("test", PAGE).unwrap();
    assert!(rustix::fs::ftruncate(&memfd, 0).is_err());
    let loose = rustix::fs::memfd_create("loose", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    assert!(Memfd::from_peer(loose.into()).is_err());
}

#[test]
fn address_words_end_with_the_mapping() {
    let map = mapping(PAGE);
    assert!(copy_in(
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        &map,
        PAGE - 12
    ));
    let (lo, hi) = map.two_words(PAGE - 12).unwrap();
    assert_eq!((lo, hi), (0x0807_0605_0403_0201, 0x0c0b_0a09_0807_0605));
    assert!(map.two_words(PAGE - 11).is_none());
    assert!(map.two_words(usize::MAX).is_none());
}

#[test]
fn rings_must_fit_their_region() {
    let map = mapping(PAGE);
    let fits = (PAGE - 256) / 16;
    assert!(RingView::new(&map, 0, fits as u32).is_some());
    assert!(RingView::new(&map, 0, fits as u32 + 1).is_none());
    assert!(RingView::new(&map, 0, 0).is_none());
    assert!(RingView::new(&map, 64, 1).is_some());
    assert!(RingView::new(&map, 16, 1).is_some());
    assert!(RingView::new(&map, 8, 1).is_none());
    assert!(RingView::new(&map, u64::MAX, 1).is_none());
    assert!(RingView::new(&map, PAGE as u64, 1).is_none());
}

#[test]
fn a_slot_is_what_c_sees() {
    let map = mapping(PAGE);
    let ring = RingView::new(&map, 0, 4).unwrap();
    let slot = Slot {
        buf_idx: 0x0403_0201,
        len: 0x0605,
        flags: 0x0807,
        ptr: 0x1122_3344_5566_7788,
    };
    ring.slots()[1].store_full(slot);
    let bytes = copy_out(&map, 256 + 16, 16).unwrap();
    assert_eq!(
        bytes,
        [
            1, 2, 3, 4, 5, 6, 7, 8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11
        ]
    );
    ring.slots()[1].store(Slot {
        len: 1,
        ptr: 0,
        ..slot
    });
    assert_eq!(ring.slots()[1].load_full(), Slot { len: 1, ..slot });
}

#[test]
fn packets_are_copied_in_whole_lines_inside_both_mappings() {
    let (a, b) = (mapping(PAGE), mapping(PAGE));
    let bytes: Vec<u8> = (0..=255).collect();
    assert!(copy_in(&bytes, &a, 0));
    assert!(copy_packet(&a, 0, &b, PAGE - 128, 65));
    assert_eq!(copy_out(&b, PAGE - 128, 128).unwrap(), &bytes[..128]);
    // The last line would leave the destination, then the source.
    assert!(!copy_packet(&a, 0, &b, PAGE - 120, 65));
    assert!(!copy_packet(&a, PAGE - 64, &b, 0, 65));
    assert!(!copy_packet(&a, 1, &b, 0, 64));
    assert!(!copy_packet(&a, usize::MAX - 7, &b, 0, 64));
    assert!(copy_packet(&a, PAGE, &b, PAGE, 0));
    assert!(copy_packet(&a, 0, &b, 0, PAGE));
    assert!(!copy_packet(&a, 0, &b, 0, PAGE + 1));
}

#[test]
fn bad_addresses_of_the_program_do_not_fault() {
    let map = mapping(PAGE);
    let text = [0x5au8; 100];
    assert!(copy_from_address(
        text.as_ptr() as u64,
        &map,
        PAGE - 100,
        100
    ));
    assert_eq!(copy_out(&map, PAGE - 100, 100).unwrap(), text);
    assert!(!copy_from_address(16, &map, 0, 60));
    assert!(!copy_from_address(u64::MAX - 10, &map, 0, 60));
    assert!(!copy_from_address(
        text.as_ptr() as u64,
        &map,
        PAGE - 99,
        100
    ));
    assert!(!uvale_system::sys::write_bytes(16, &text));
    let mut to = [0u8; 100];
    assert!(uvale_system::sys::write_bytes(
        to.as_mut_ptr() as u64,
        &text
    ));
    assert_eq!(to, text);
}

#[test]
fn private_copies_keep_to_the_mapping() {
    let map = mapping(PAGE);
    assert!(copy_in(&[1; 10], &map, PAGE - 10));
    assert!(!copy_in(&[1; 11], &map, PAGE - 10));
    assert!(!copy_in(&[1], &map, usize::MAX));
    assert_eq!(copy_out(&map, PAGE - 10, 10).unwrap(), [1; 10]);
    assert!(copy_out(&map, PAGE - 10, 11).is_none());
    assert!(copy_out(&map, usize::MAX, 2).is_none());
}

#[test]
fn exact_copies_touch_nothing_else() {
    let (a, b) = (mapping(PAGE), mapping(PAGE));
    let bytes: Vec<u8> = (0..PAGE).map(|i| i as u8 | 1).collect();
    assert!(copy_in(&bytes, &a, 0));
    for len in 0..200 {
        for (from, to) in [(0, 0), (1, 3), (PAGE - len, PAGE - len), (7, PAGE - len)] {
            assert!(copy_in(&[0; PAGE], &b, 0));
            assert!(copy_exact(&a, from, &b, to, len));
            let got = copy_out(&b, 0, PAGE).unwrap();
            assert_eq!(got[to..to + len], bytes[from..from + len], "{len} bytes");
            let others = got[..to].iter().chain(&got[to + len..]);
            assert!(others.copied().all(|byte| byte == 0), "{len} bytes");
        }
    }
    assert!(!copy_exact(&a, PAGE - 5, &b, 0, 6));
    assert!(!copy_exact(&a, 0, &b, PAGE - 5, 6));
    assert!(!copy_exact(&a, usize::MAX, &b, 0, 1));
}

#[test]
fn buffers_beyond_the_pool_mean_buffer_zero() {
    let map = mapping(2 * PAGE);
    let pool = BufferPool::new(&map, PAGE as u64, 2048, 2).unwrap();
    assert_eq!(pool.offset(1), PAGE + 2048);
    assert_eq!(pool.offset(2), PAGE);
    assert_eq!(pool.offset(u32::MAX), PAGE);
    assert!(BufferPool::new(&map, PAGE as u64, 2048, 3).is_none());
    assert!(BufferPool::new(&map, u64::MAX, 2048, 1).is_none());
    assert!(!BufferPool::new(&map, 0, 100, 1).unwrap().is_lined());
    assert!(!BufferPool::new(&map, 32, 128, 1).unwrap().is_lined());
    assert!(BufferPool::new(&map, 0, 0, 1).is_none());
    let pool = BufferPool::new(&map, 0, 2048, 4).unwrap();
    assert_eq!(
        [0, 1, 2, 3, 4].map(|i| pool.is_valid(i)),
        [false, false, true, true, false]
    );
}

const PARTS: [usize; 3] = [4096, 1 << 20, 4 << 20];

#[test]
fn tables_are_mapped_as_far_as_they_are_asked_for() {
    let memfd = Memfd::create("tables", PARTS.iter().sum()).unwrap();
    let (whole, part) = (
        Sparse::whole(&memfd, PARTS).unwrap(),
        Sparse::beginnings(&memfd, PARTS).unwrap(),
    );
    let last = (PARTS[2] / size_of::<AtomicU64>()) as u32 - 1;
    let places = [
        (0, 0),
        (0, 511),
        (1, 1),
        (1, 100_000),
        (2, 0),
        (2, last / 2),
        (2, last),
    ];
    // Several threads come upon the same step at the same time.
    std::thread::scope(|s| {
        for thread in 0..4u64 {
            let (whole, part) = (&whole, &part);
            s.spawn(move || {
                for (n, (table, i)) in (0u64..).zip(places) {
                    let here = part.record::<AtomicU64>(table, i).unwrap();
                    here.fetch_add(n << (8 * thread), Ordering::Relaxed);
                    assert!(whole.record::<AtomicU64>(table, i).is_some());
                }
            });
        }
    });
    for (n, (table, i)) in (0u64..).zip(places) {
        let seen = whole
            .record::<AtomicU64>(table, i)
            .unwrap()
            .load(Ordering::Relaxed);
        assert_eq!(seen, n * 0x0101_0101, "{table} {i}");
    }
    for (table, i) in [(0, 512), (1, 131_072), (2, last + 1), (2, u32::MAX), (3, 0)] {
        assert!(whole.record::<AtomicU64>(table, i).is_none());
        assert!(part.record::<AtomicU64>(table, i).is_none());
    }
    // Longer than the memfd.
    assert!(Sparse::whole(&memfd, [4096, 1 << 20, 8 << 20]).is_err());
    assert!(Sparse::beginnings(&memfd, [4096, 1 << 20, 8 << 20]).is_err());
}

#[test]
fn own_mappings_are_known_while_they_last() {
    let memfd = Memfd::create("own", 8 << 20).unwrap();
    let mapping = Mapping::new(&memfd).unwrap();
    let start = core::ptr::from_ref(mapping.at::<AtomicU64>(0).unwrap()).addr();
    let known = || own_mappings().any(|m| m == (start, 8 << 20));
    assert!(known());
    unlock_own_mappings();
    drop(mapping);
    assert!(!known());
}

/// A memory of parts of two megabytes and the shorter last one.
fn cut(len: usize) -> Memfd {
    Memfd::of_parts("parts", len, 2 << 20).unwrap()
}

#[test]
fn what_comes_as_the_parts_of_a_memory_is_checked() {
    let from = |lens: &[usize]| {
        let part = |len: &usize| {
            let memfd = Memfd::create("part", *len).unwrap();
            rustix::io::fcntl_dupfd_cloexec(&memfd, 3).unwrap().into()
        };
        Memfd::parts_from_peer(lens.iter().map(part).collect()).map(|m| m.len())
    };
    const M: usize = 1 << 20;
    assert_eq!(from(&[4096]), Ok(4096));
    assert_eq!(from(&[2 * M, 2 * M, 4096]), Ok(4 * M + 4096));
    assert_eq!(from(&[]), Err(Errno::PROTO));
    for bad in [
        &[M, M][..],
        &[2 * M, 4 * M],
        &[4 * M, 2 * M, M],
        &[2 * M, 0],
        &[0, 0],
    ] {
        assert_eq!(from(bad), Err(Errno::INVAL), "{bad:?}");
    }
    assert_eq!(from(&[2 * M; MOST_PARTS + 1]), Err(Errno::INVAL));
    let loose = rustix::fs::memfd_create("loose", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    assert!(Memfd::parts_from_peer(vec![loose.into()]).is_err());
    assert!(Memfd::of_parts("many", (2 * MOST_PARTS + 1) * M, 2 * M).is_err());
}

#[test]
fn tables_in_several_parts_are_all_there() {
    let memfd = cut(PARTS.iter().sum());
    let (a, b) = (
        Sparse::beginnings(&memfd, PARTS).unwrap(),
        Sparse::whole(&memfd, PARTS).unwrap(),
    );
    for (part, len) in PARTS.into_iter().enumerate() {
        let last = (len / 8 - 1) as u32;
        a.record::<AtomicU64>(part, last).unwrap().store(9, Relaxed);
        assert_eq!(b.record::<AtomicU64>(part, last).unwrap().load(Relaxed), 9);
        assert!(a.record::<AtomicU64>(part, last + 1).is_none());
    }
}

/// Ordinary files in the place of huge pages: mapped, kept and cut in the same way.
#[test]
fn whole_huge_pages_and_the_rest_are_one_memory() {
    const M: usize = 1 << 20;
    let two = |len| Memfd::in_two("two", len, rustix::fs::MemfdFlags::empty());
    assert!(two(2 * M - PAGE).is_err());
    assert_eq!(two(4 * M).unwrap().parts().len(), 1);
    let memfd = two(4 * M + PAGE).unwrap().on(Pages::Reserved);
    let (a, b) = (Mapping::new(&memfd).unwrap(), Mapping::new(&memfd).unwrap());
    assert!(a.range(0, 1).unwrap().addr().is_multiple_of(2 * M));
    for ofs in [0, 4 * M - 8, 4 * M, 4 * M + PAGE - 8] {
        a.at::<AtomicU64>(ofs).unwrap().store(7, Relaxed);
        assert_eq!(b.at::<AtomicU64>(ofs).unwrap().load(Relaxed), 7);
    }
    // Whoever gave reserved pages back might not get them again.
    memfd.discard().unwrap();
    assert_eq!(b.at::<AtomicU64>(0).unwrap().load(Relaxed), 7);
    assert_eq!(b.at::<AtomicU64>(4 * M).unwrap().load(Relaxed), 0);
    for (ofs, len, may) in [
        (0, 4 * M + PAGE, true),
        (2 * M, 2 * M, true),
        (4 * M, PAGE, true),
        (0, PAGE, false),
        (PAGE, 4 * M, false),
        (2 * M, 2 * M - PAGE, false),
    ] {
        assert_eq!(memfd.can_map(ofs, len), may, "{len} bytes at {ofs}");
    }
    assert!(cut(8 * M).can_map(PAGE, PAGE));
}

#[test]
fn a_memory_is_made_on_some_pages_whatever_was_wanted() {
    for huge in Huge::WORDS.map(|(word, _)| Huge::of(word).unwrap()) {
        for node in [None, Some(0), Some(999), Some(5000)] {
            let made = make("made", (5 << 20) + PAGE, Wanted { huge, node }).unwrap();
            let last = made.map.len() - 8;
            made.map.at::<AtomicU64>(last).unwrap().store(7, Relaxed);
            let no_node = made.less.iter().any(|why| why.contains("NUMA node"));
            assert!(no_node || node != Some(5000), "{huge} {:?}", made.less);
            let no_huge = made.less.iter().any(|why| why.contains("ordinary pages"));
            match huge {
                Huge::Off | Huge::Auto => assert!(!no_huge),
                Huge::Hugetlb => assert_eq!(no_huge, made.memfd.pages() != Pages::Reserved),
                Huge::Thp => assert_eq!(no_huge, made.memfd.pages() != Pages::Transparent),
            }
        }
    }
    assert!(Huge::of("2M").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// The parts are one memory: what is written lies where it belongs in its part, and pieces cover a range once.
    #[test]
    fn parts_lie_one_behind_the_other(pages in 513usize..3000, at: u32, n in 1usize..2000) {
        let memfd = cut(pages * PAGE);
        let (a, b) = (Mapping::new(&memfd).unwrap(), Mapping::new(&memfd).unwrap());
        let from = at as usize % pages * PAGE;
        let len = (n * PAGE).min(pages * PAGE - from);
        for page in 0..len / PAGE {
            let ofs = from + page * PAGE;
            a.at::<AtomicU64>(ofs).unwrap().store(ofs as u64 + 1, Relaxed);
            prop_assert_eq!(b.at::<AtomicU64>(ofs).unwrap().load(Relaxed), ofs as u64 + 1);
        }
        let mut done = 0;
        for piece in memfd.pieces(from, len) {
            prop_assert_eq!(piece.at, done);
            let mut word = [0; 8];
            rustix::io::pread(piece.fd, &mut word, piece.ofs as u64).unwrap();
            prop_assert_eq!(u64::from_le_bytes(word), (from + done) as u64 + 1);
            done += piece.len;
        }
        prop_assert_eq!(done, len);
        memfd.discard_range(from, len).unwrap();
        prop_assert_eq!(a.at::<AtomicU64>(from + len - PAGE).unwrap().load(Relaxed), 0);
    }
}
