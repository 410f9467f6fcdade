//! Packets with offsets through switches, pipes and monitors.

use core::sync::atomic::Ordering::Relaxed;

use nm_abi::*;
use proptest::prelude::*;

use uvale_control::Config;
use uvale_control::local::{LocalPort, LocalWorld};
use uvale_engine::{RX, TX};
use uvale_request::OptionCopy;
use uvale_shared::shm::{Slot, copy_in, copy_out};

const SLOTS: u32 = 16;

/// An OFFSETS option.
fn offsets(max: u64, initial: u64) -> OptionCopy {
    let whole = nmreq_opt_offsets {
        nro_opt: nmreq_option {
            nro_reqtype: NETMAP_REQ_OPT_OFFSETS,
            ..nmreq_option::default()
        },
        nro_max_offset: max,
        nro_initial_offset: initial,
        ..nmreq_opt_offsets::default()
    };
    let head = size_of::<nmreq_option>();
    OptionCopy {
        addr: 0,
        header: whole.nro_opt,
        body: whole.as_bytes()[head..].to_vec(),
    }
}

fn port(w: &LocalWorld, name: &str, asked: Option<(u64, u64)>) -> LocalPort {
    let options = asked.map(|(max, initial)| offsets(max, initial));
    let shape = |r: &mut nmreq_register| (r.nr_tx_slots, r.nr_rx_slots) = (SLOTS, SLOTS);
    w.open_with(name, options.into_iter().collect(), shape)
        .unwrap()
}

fn frame(dst: u8, src: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5];
    bytes.extend((bytes.len()..len).map(|i| i as u8));
    bytes
}

/// Puts bytes into the next tx slot, at `offset` of its buffer, and syncs.
fn send(w: &LocalWorld, p: &LocalPort, bytes: &[u8], offset: u64, flags: u16) {
    let ring = w.ring(p, TX, 0).unwrap();
    let head = ring.header().head.load(Relaxed);
    let view = &ring.slots()[head as usize];
    let region = p.attachment.region();
    let buf_idx = view.load().buf_idx;
    let at = region.pool.offset(buf_idx) + offset as usize;
    let fits = offset as usize + bytes.len() <= region.pool.size() as usize;
    assert!(!fits || copy_in(bytes, &region.map, at));
    view.store_full(Slot {
        buf_idx,
        len: bytes.len() as u16,
        flags,
        ptr: offset,
    });
    let next = (head + 1) % SLOTS;
    ring.header().head.store(next, Relaxed);
    ring.header().cur.store(next, Relaxed);
    if flags & NS_MOREFRAG == 0 {
        p.attachment.txsync(w);
    }
}

/// What has arrived: ptr, and the bytes there or at the beginning if the ring has no offsets.
fn take(w: &LocalWorld, p: &LocalPort) -> Vec<(u64, Vec<u8>)> {
    p.attachment.rxsync(w);
    let ring = w.ring(p, RX, 0).unwrap();
    let (mut head, tail) = (
        ring.header().head.load(Relaxed),
        ring.header().tail.load(Relaxed),
    );
    let mask = ring.header().offset_mask.load(Relaxed);
    let mut got = Vec::new();
    while head != tail {
        let slot = ring.slots()[head as usize].load_full();
        let region = p.attachment.region();
        let at = region.pool.offset(slot.buf_idx) + (slot.ptr & mask) as usize;
        let bytes = copy_out(&region.map, at, slot.len.into()).unwrap();
        got.push((slot.ptr, bytes));
        head = (head + 1) % SLOTS;
    }
    ring.header().head.store(head, Relaxed);
    ring.header().cur.store(head, Relaxed);
    p.attachment.rxsync(w);
    got
}

fn world() -> LocalWorld {
    LocalWorld::new(Config::default()).unwrap()
}

#[test]
fn a_switch_finds_addresses_behind_the_offset() {
    let w = world();
    let (a, b, c) = (
        port(&w, "vale0:a", Some((256, 0))),
        port(&w, "vale0:b", None),
        port(&w, "vale0:c", Some((256, 64))),
    );
    // Unknown: to both. Who has no offsets finds it at the beginning of the buffer.
    let first = frame(0xb, 0xa, 90);
    send(&w, &a, &first, 130, 0);
    assert_eq!(take(&w, &b), [(0, first.clone())]);
    assert_eq!(take(&w, &c), [(130, first)]);
    // Known now: to one.
    let back = frame(0xa, 0xb, 60);
    send(&w, &b, &back, 0, 0);
    assert_eq!(take(&w, &a), [(0, back)]);
    let known = frame(0xb, 0xa, 100);
    send(&w, &a, &known, 64, 0);
    assert_eq!((take(&w, &b), take(&w, &c).len()), (vec![(0, known)], 0));
}

#[test]
fn a_receiver_with_offsets_gets_packets_of_one_without() {
    let w = world();
    let (a, c) = (
        port(&w, "vale0:a", None),
        port(&w, "vale0:c", Some((256, 100))),
    );
    for len in [60, 1514, 1984] {
        let bytes = frame(0xff, 0xa, len);
        send(&w, &a, &bytes, 0, 0);
        assert_eq!(take(&w, &c), [(64, bytes)]);
    }
    // No room behind the offset: an empty packet, whose slot keeps its offset.
    send(&w, &a, &frame(0xff, 0xa, 1985), 0, 0);
    assert_eq!(take(&w, &c), [(100, Vec::new())]);
    // Also on the short way that packets to a known address take.
    send(&w, &c, &frame(0xa, 0xc, 60), 0, 0);
    assert_eq!(take(&w, &a).len(), 1);
    for _ in 0..40 {
        let bytes = frame(0xc, 0xa, 200);
        send(&w, &a, &bytes, 0, 0);
        assert_eq!(take(&w, &c), [(64, bytes)]);
    }
}

#[test]
fn a_length_beyond_the_end_of_the_buffer_is_not_sent() {
    let w = world();
    let (a, b) = (
        port(&w, "vale0:a", Some((128, 0))),
        port(&w, "vale0:b", None),
    );
    let whole = frame(0xff, 0xa, 2048 - 128);
    send(&w, &a, &whole, 128, 0);
    assert_eq!(take(&w, &b), [(0, whole)]);
    send(&w, &a, &frame(0xff, 0xa, 2048 - 127), 128, 0);
    assert_eq!(take(&w, &b).len(), 0);
    // Beyond the largest: where the largest is.
    let ring = w.ring(&a, TX, 0).unwrap();
    let head = ring.header().head.load(Relaxed);
    let view = &ring.slots()[head as usize];
    let region = a.attachment.region();
    let bytes = frame(0xff, 0xa, 60);
    let at = region.pool.offset(view.load().buf_idx) + 128;
    assert!(copy_in(&bytes, &region.map, at));
    view.store_full(Slot {
        ptr: 500,
        len: 60,
        ..view.load()
    });
    let next = (head + 1) % SLOTS;
    ring.header().head.store(next, Relaxed);
    ring.header().cur.store(next, Relaxed);
    a.attachment.txsync(&w);
    assert_eq!(take(&w, &b), [(0, bytes)]);
}

#[test]
fn fragments_have_an_offset_each() {
    let w = world();
    let (a, c) = (
        port(&w, "vale0:a", Some((256, 0))),
        port(&w, "vale0:c", Some((256, 0))),
    );
    send(&w, &a, &frame(0xff, 0xa, 60), 64, NS_MOREFRAG);
    send(&w, &a, b"the rest", 3, 0);
    let got = take(&w, &c);
    assert_eq!(got, [(0, frame(0xff, 0xa, 60)), (67, b"the rest".to_vec())]);
    let ring = w.ring(&c, RX, 0).unwrap();
    let flags: Vec<u16> = ring.slots()[..2].iter().map(|s| s.load().flags).collect();
    assert_eq!(flags, [2 << 8 | NS_MOREFRAG, 2 << 8]);
}

#[test]
fn an_indirect_packet_goes_where_the_receivers_offset_says() {
    let w = world();
    let (a, c) = (
        port(&w, "vale0:a", None),
        port(&w, "vale0:c", Some((256, 64))),
    );
    let bytes = frame(0xff, 0xa, 70);
    let ring = w.ring(&a, TX, 0).unwrap();
    ring.slots()[0].store_full(Slot {
        ptr: bytes.as_ptr() as u64,
        len: 70,
        flags: NS_INDIRECT,
        ..ring.slots()[0].load()
    });
    ring.header().head.store(1, Relaxed);
    ring.header().cur.store(1, Relaxed);
    a.attachment.txsync(&w);
    assert_eq!(take(&w, &c), [(64, bytes)]);
}

#[test]
fn pipes_hand_offsets_over_and_a_receiver_can_ask_for_more() {
    let w = world();
    let a = port(&w, "p{1", Some((256, 64)));
    let b = port(&w, "p}1", None);
    send(&w, &a, b"some bytes", 96, 0);
    assert_eq!(take(&w, &b), [(96, b"some bytes".to_vec())]);
    w.close(b);
    let b = port(&w, "p}1", Some((256, 128)));
    send(&w, &a, b"more", 200, 0);
    send(&w, &a, b"less", 100, 0);
    let got: Vec<u64> = take(&w, &b).into_iter().map(|(ptr, _)| ptr).collect();
    assert_eq!(got, [200, 128]);
}

#[test]
fn a_monitor_sees_what_lies_behind_the_offset() {
    let w = world();
    let a = port(&w, "vale0:a", Some((256, 0)));
    let shape = |r: &mut nmreq_register| {
        (r.nr_tx_slots, r.nr_rx_slots) = (SLOTS, SLOTS);
        r.nr_flags = NR_MONITOR_TX;
    };
    let plain = w.open("vale0:a", shape).unwrap();
    let shifted = w
        .open_with("vale0:a", vec![offsets(100, 33)], shape)
        .unwrap();
    let bytes = frame(0xff, 0xa, 80);
    send(&w, &a, &bytes, 130, 0);
    assert_eq!(take(&w, &plain), [(0, bytes.clone())]);
    assert_eq!(take(&w, &shifted), [(33, bytes)]);
    let zcopy = w.open_with("vale0:a", vec![offsets(100, 0)], |r| {
        r.nr_flags = NR_MONITOR_TX | NR_ZCOPY_MON;
    });
    let refusal = zcopy.err().unwrap();
    assert_eq!(refusal.errno, rustix::io::Errno::OPNOTSUPP);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever offsets and lengths: what arrives is what was sent, or nothing; neighbours of the
    /// buffer are not written.
    #[test]
    fn what_arrives_is_what_was_sent(
        tx_max in prop::option::of(0u64..2049),
        rx in prop::option::of((0u64..2049, any::<prop::sample::Index>())),
        packets in prop::collection::vec((any::<u64>(), 14usize..2049), 1..30),
    ) {
        let w = world();
        let a = port(&w, "vale0:a", tx_max.map(|max| (max, 0)));
        let rx = rx.map(|(max, initial)| (max, initial.index(max as usize + 1) as u64));
        let b = port(&w, "vale0:b", rx);
        for (ptr, len) in packets {
            let offset = tx_max.map_or(0, |max| ptr % (max + 1));
            let bytes = frame(0xff, 0xa, len);
            let sendable = offset as usize + len <= 2048;
            send(&w, &a, &bytes, offset, 0);
            let got = take(&w, &b);
            prop_assert_eq!(got.len(), usize::from(sendable));
            if let Some((_, arrived)) = got.first() {
                prop_assert!(*arrived == bytes || (arrived.is_empty() && rx.is_some()));
            }
        }
    }
}
