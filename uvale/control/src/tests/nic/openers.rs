//! Who may open which rings of a NIC, and which interfaces nobody may.

use super::*;

/// two.*
#[test]
fn two_openers() {
    const X: u64 = NR_EXCLUSIVE;
    const T: u64 = NR_TX_RINGS_ONLY;
    const R: u64 = NR_RX_RINGS_ONLY;
    let ok = |a: &'static str, b: &'static str| Some((a, b));
    let (one, four) = (veth(2, 1), veth(3, 4));
    let none = Some(Errno::BUSY);
    for (first, second, want) in [
        ((1, 0, 0), (1, 0, 0), ok("11110|11110", "11110|11110")),
        ((1, X, 0), (1, 0, 0), None),
        ((1, 0, 0), (1, X, 0), None),
        ((1, 0, 0), (2, 0, 0), ok("11110|11110", "00001|00001")),
        ((2, 0, 0), (1, 0, 0), ok("00001|00001", "11110|11110")),
        ((1, X, 0), (2, X, 0), ok("11110|11110", "00001|00001")),
        ((2, 0, 0), (2, 0, 0), ok("00001|00001", "00001|00001")),
        ((4, 0, 0), (4, 0, 0), ok("10000|10000", "10000|10000")),
        ((4, X, 0), (4, X, 0), None),
        ((4, X, 0), (4, X, 1), ok("10000|10000", "01000|01000")),
        ((1, T, 0), (1, R, 0), ok("11110|00000", "00000|11110")),
        (
            (1, T | X, 0),
            (1, R | X, 0),
            ok("11110|00000", "00000|11110"),
        ),
        ((3, X, 0), (2, 0, 0), None),
    ] {
        let reg = |(nr_mode, nr_flags, ring)| nmreq_register {
            nr_flags,
            ..mode(nr_mode, ring)
        };
        let mut w = world();
        let (a, got_a) = open_nic(&mut w, ("mq1", &four), reg(first));
        let (b, got_b) = try_open(&mut w, ("mq1", &four), reg(second));
        match (got_b, want) {
            (Ok(got_b), Some((ring_a, ring_b))) => {
                assert_eq!(
                    (rings_of(&w, a), rings_of(&w, b)),
                    (ring_a.into(), ring_b.into())
                );
                assert_eq!(got_a.nr_mem_id, got_b.nr_mem_id);
                assert_eq!(got_a.nr_memsize, got_b.nr_memsize);
            }
            (got, want) => assert_eq!((got.err(), want), (none, None), "{first:?} {second:?}"),
        }
    }
    // A veth with one queue has no second ring; two interfaces have rings and memory side by side.
    let mut w = world();
    let (a, _) = open_nic(&mut w, ("veth0", &one), flags(X));
    assert_eq!(
        attempt_nic(&mut w, ("veth0", &one), mode(4, 1)).err(),
        Some(Errno::INVAL)
    );
    let (b, _) = open_nic(&mut w, ("mq1", &four), flags(X));
    let buffers = |c| View::of(&w, c).buffers(true, 0);
    assert!(buffers(a).iter().all(|b1| !buffers(b).contains(b1)));
    assert_eq!(View::of(&w, a).b.region, View::of(&w, b).b.region);
}

/// info.name_lo, link.bridged; the rest has no counterpart there.
#[test]
fn what_cannot_be_opened() {
    let mut w = world();
    let lo = loopback();
    let errno =
        |w: &mut World, interface: &Interface, reg| attempt_nic(w, ("if", interface), reg).err();
    assert_eq!(errno(&mut w, &lo, all()), Some(Errno::INVAL));
    assert_eq!(errno(&mut w, &lo, mode(NR_REG_SW, 0)), Some(Errno::INVAL));
    assert_eq!(errno(&mut w, &lo, flags(NR_TX_RINGS_ONLY)), None);
    let large = |mtu| Interface { mtu, ..veth(2, 1) };
    assert_eq!(
        errno(&mut w, &large(2049), flags(NR_RX_RINGS_ONLY)),
        Some(Errno::INVAL)
    );
    assert_eq!(errno(&mut w, &large(2048), all()), None);
    // Only the first opener is asked.
    let (c, _) = open_nic(&mut w, ("if", &veth(2, 1)), all());
    assert_eq!(errno(&mut w, &large(9000), all()), None);
    w.close(c);
    let bridged = Interface {
        has_master: true,
        ..veth(2, 1)
    };
    assert_eq!(errno(&mut w, &bridged, all()), Some(Errno::BUSY));
    assert_eq!(
        errno(&mut w, &bridged, flags(NR_TX_RINGS_ONLY)),
        Some(Errno::BUSY)
    );
    let tunnel = Interface {
        is_ethernet: false,
        ..veth(2, 1)
    };
    assert_eq!(errno(&mut w, &tunnel, all()), Some(Errno::INVAL));
    assert_eq!(
        (w.ports().count(), w.krings_in_use(), w.audit()),
        (0, 0, Vec::new())
    );
}
