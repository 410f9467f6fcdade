//! Where netmap is odd, and where it is not followed.

use super::*;

/// As in netmap, which knows a ring's chain by the rx ring of that number: where the port has fewer
/// rx than tx rings the last ones have none. The ring after the last counts, for there is the fake
/// host ring.
#[test]
fn a_chain_needs_an_rx_ring_of_its_number() {
    let w = world();
    let shape = |flags| {
        move |r: &mut nm_abi::nmreq_register| {
            (r.nr_tx_rings, r.nr_rx_rings) = (3, 1);
            (r.nr_tx_slots, r.nr_rx_slots) = (16, 16);
            r.nr_flags = flags;
        }
    };
    let a = w.open("vale0:a", shape(0)).unwrap();
    let first = w.open("vale0:a", shape(NR_ZCOPY_MON)).unwrap();
    let second = w.open("vale0:a", shape(NR_ZCOPY_MON)).unwrap();
    let advance = |p: &LocalPort, dir, ring| {
        let view = w.ring(p, dir, ring).unwrap();
        let h = view.header();
        let to = match dir {
            TX => (h.head.load(Relaxed) + 1) % SLOTS,
            _ => h.tail.load(Relaxed),
        };
        h.head.store(to, Relaxed);
        h.cur.store(to, Relaxed);
    };
    (0..3).for_each(|ring| advance(&a, TX, ring));
    a.attachment.txsync(&w);
    first.attachment.rxsync(&w);
    (0..3).for_each(|ring| advance(&first, RX, ring));
    first.attachment.rxsync(&w);
    second.attachment.rxsync(&w);
    let tail = |p: &LocalPort, ring| {
        let view = w.ring(p, RX, ring).unwrap();
        view.header().tail.load(Relaxed)
    };
    assert_eq!([0, 1, 2].map(|ring| tail(&first, ring)), [1, 1, 1]);
    assert_eq!([0, 1, 2].map(|ring| tail(&second, ring)), [1, 1, 0]);
    assert_eq!(audit(&w), []);
}

/// As in netmap: what copy monitors have seen is followed only while there are any, and forgotten
/// only with the last monitor of any kind.
#[test]
fn a_copy_monitor_that_joins_a_zero_copy_one_begins_where_the_last_one_stopped() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let zero = monitor(&w, "vale0:b", NR_ZCOPY_MON);
    send(&w, &a, 1..3);
    let copy = monitor(&w, "vale0:b", NR_MONITOR_RX);
    send(&w, &a, 3..4);
    assert_eq!(seen(&w, &copy), rx_tags(1..4));
    w.close(copy);
    w.close(zero);
    send(&w, &a, 4..5);
    let copy = monitor(&w, "vale0:b", NR_MONITOR_RX);
    send(&w, &a, 5..6);
    assert_eq!(seen(&w, &copy), rx_tags(5..6));
    assert_eq!(take(&w, &b).len(), 5);
}

/// A program that gives back more than it got: no buffer of a slot that senders fill is moved.
#[test]
fn a_head_ahead_of_tail_moves_no_buffers() {
    for names in [["vale0:a", "vale0:b"], ["p{1", "p}1"]] {
        let w = world();
        let (a, b) = (port(&w, names[0]), port(&w, names[1]));
        let m = monitor(&w, names[1], NR_ZCOPY_MON);
        send(&w, &a, 1..3);
        b.attachment.rxsync(&w);
        let ring = w.ring(&b, RX, 0).unwrap();
        let before: Vec<u32> = ring.slots().iter().map(|s| s.load().buf_idx).collect();
        ring.header().head.store(9, Relaxed);
        ring.header().cur.store(9, Relaxed);
        b.attachment.rxsync(&w);
        let after: Vec<u32> = ring.slots().iter().map(|s| s.load().buf_idx).collect();
        assert_eq!(before, after);
        assert_eq!(kring(&w, &m, RX).produced.packets.load(Relaxed), 0);
    }
}
