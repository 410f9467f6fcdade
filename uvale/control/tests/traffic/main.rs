//! The data path on a world in one process: rules that need more than one ring, and hostile
//! programs.

mod bwrap;
mod flows;
mod known;
mod monitors;
mod offsets;
mod races;
mod trace;

use core::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use nm_abi::NS_MOREFRAG;
use uvale_control::Config;
use uvale_control::local::{LocalPort, LocalWorld};
use uvale_engine::{RX, TX};
use uvale_shared::shm::{Slot, SlotView, copy_in, copy_out};

fn world() -> LocalWorld {
    LocalWorld::new(Config::default()).unwrap()
}

fn port(world: &LocalWorld, name: &str) -> LocalPort {
    port_of(world, name, 16)
}

/// A port with rings of so many slots.
fn port_of(world: &LocalWorld, name: &str, slots: u32) -> LocalPort {
    world
        .open(name, |r| (r.nr_tx_slots, r.nr_rx_slots) = (slots, slots))
        .unwrap()
}

const BROADCAST: [u8; 6] = [0xff; 6];

fn frame(dst: [u8; 6], src: [u8; 6], tag: u8) -> Vec<u8> {
    let mut frame = [dst, src].concat();
    frame.extend([0x88, 0xb5]);
    frame.resize(60, tag);
    frame
}

/// Puts a frame into the tx ring as a program does. False if there is no room.
fn put(w: &LocalWorld, p: &LocalPort, bytes: &[u8], flags: u16) -> bool {
    let ring = w.ring(p, TX, 0).unwrap();
    let (head, tail) = (
        ring.header().head.load(Relaxed),
        ring.header().tail.load(Relaxed),
    );
    if head == tail {
        return false;
    }
    let view = &ring.slots()[head as usize];
    let slot = Slot {
        len: bytes.len() as u16,
        flags,
        ..view.load()
    };
    let region = p.attachment.region();
    assert!(copy_in(
        bytes,
        &region.map,
        region.pool.offset(slot.buf_idx)
    ));
    view.store(slot);
    let next = (head + 1) % ring.num_slots();
    ring.header().head.store(next, Relaxed);
    ring.header().cur.store(next, Relaxed);
    true
}

/// Flags and bytes of a slot.
type Received = (u16, Vec<u8>);

/// Takes everything that has arrived, slot by slot.
fn take_slots(w: &LocalWorld, p: &LocalPort) -> Vec<Received> {
    take_slots_and(w, p, |_| ())
}

/// The same, and does something with each slot before it is given back.
fn take_slots_and(w: &LocalWorld, p: &LocalPort, with: impl Fn(&SlotView)) -> Vec<Received> {
    p.attachment.rxsync(w);
    let (ring, region) = (w.ring(p, RX, 0).unwrap(), p.attachment.region());
    let (mut head, tail) = (
        ring.header().head.load(Relaxed),
        ring.header().tail.load(Relaxed),
    );
    let mut got = Vec::new();
    while head != tail {
        let slot = ring.slots()[head as usize].load();
        let at = region.pool.offset(slot.buf_idx);
        let bytes = copy_out(&region.map, at, slot.len.into()).unwrap();
        got.push((slot.flags, bytes));
        with(&ring.slots()[head as usize]);
        head = ring.next(head);
    }
    ring.header().head.store(head, Relaxed);
    ring.header().cur.store(head, Relaxed);
    p.attachment.rxsync(w);
    got
}

/// The bytes of the same.
fn take(w: &LocalWorld, p: &LocalPort) -> Vec<Vec<u8>> {
    let slots = take_slots(w, p).into_iter();
    slots.map(|(_, bytes)| bytes).collect()
}

/// Ports leave a switch and others come in their place while somebody broadcasts: those that stay
/// get every packet, and once.
#[test]
fn broadcasts_reach_those_that_stay_while_others_come_and_go() {
    use core::sync::atomic::AtomicBool;
    let w = world();
    let source = [2, 0, 0, 0, 0, 0xa];
    let mut others: Vec<LocalPort> = Vec::new();
    let open = |i: usize| port(&w, &format!("vale0:other{i}"));
    others.push(open(0));
    let a = port(&w, "vale0:a");
    others.push(open(1));
    let stay = [port(&w, "vale0:b"), port(&w, "vale0:c")];
    others.extend([2, 3].map(open));
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let sender = s.spawn(|| {
            let mut rounds = 0u32;
            while !stop.load(Relaxed) {
                let sent = [0, 1, 2].map(|k| frame(BROADCAST, source, (rounds as u8) ^ k));
                for bytes in &sent {
                    assert!(put(&w, &a, bytes, 0));
                }
                a.attachment.txsync(&w);
                for p in &stay {
                    assert_eq!(take(&w, p), sent, "round {rounds}");
                }
                rounds += 1;
            }
        });
        for round in 4..4000 {
            if sender.is_finished() {
                break;
            }
            w.close(others.remove(round * 5 % 4));
            others.push(open(round));
            w.world.lock().unwrap().collect();
        }
        stop.store(true, Relaxed);
    });
}

#[test]
fn a_switch_learns_floods_and_drops_at_the_full() {
    let w = world();
    let (a, b, c) = (
        port(&w, "vale0:a"),
        port(&w, "vale0:b"),
        port(&w, "vale0:c"),
    );
    let (ma, mb) = ([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb]);
    assert!(put(&w, &a, &frame(BROADCAST, ma, 1), 0));
    a.attachment.txsync(&w);
    assert_eq!((take(&w, &b).len(), take(&w, &c).len()), (1, 1));
    assert!(put(&w, &b, &frame(ma, mb, 2), 0));
    b.attachment.txsync(&w);
    assert_eq!(take(&w, &a), [frame(ma, mb, 2)]);
    assert_eq!(take(&w, &c).len(), 0);
    for round in 0..3 {
        while put(&w, &a, &frame(mb, ma, round), 0) {}
        a.attachment.txsync(&w);
    }
    // Sixteen slots, one always empty; the oldest arrive.
    let got = take(&w, &b);
    assert_eq!(got.len(), 15);
    assert!(got.iter().all(|f| f[59] == 0));
}

#[test]
fn a_sleeper_is_woken_once() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    assert!(b.attachment.announce(libc::POLLIN));
    for _ in 0..2 {
        assert!(put(&w, &a, &frame(BROADCAST, [2; 6], 1), 0));
        a.attachment.txsync(&w);
    }
    assert_eq!(w.take_woken(), [b.client.0]);
    assert!(b.attachment.announce(libc::POLLIN));
    b.attachment.withdraw(libc::POLLIN);
    assert!(put(&w, &a, &frame(BROADCAST, [2; 6], 1), 0));
    a.attachment.txsync(&w);
    assert!(w.take_woken().is_empty());
}

#[test]
fn edges_change_with_every_arrival() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let before = b.attachment.edges();
    assert!(put(&w, &a, &frame(BROADCAST, [2; 6], 1), 0));
    a.attachment.txsync(&w);
    assert_ne!(b.attachment.edges(), before);
}

/// What a program may do to a ring.
#[derive(Clone, Debug)]
enum Act {
    Put { port: usize, tag: u8, more: bool },
    Tx(usize),
    Take(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0usize..2, any::<u8>(), prop::bool::weighted(0.2))
            .prop_map(|(port, tag, more)| Act::Put { port, tag, more }),
        2 => (0usize..2).prop_map(Act::Tx),
        2 => (0usize..2).prop_map(Act::Take),
    ];
    prop::collection::vec(act, 1..200)
}

proptest! {
    /// A pipe against a queue: everything complete that was synced arrives, in order, once.
    #[test]
    fn a_pipe_is_a_lossless_queue(acts in acts()) {
        let w = world();
        let ends = [port(&w, "p{1"), port(&w, "p}1")];
        // Per direction: put but not synced, synced but not complete, complete.
        let mut put_queue: [Vec<(Vec<u8>, bool)>; 2] = Default::default();
        let mut synced: [Vec<(Vec<u8>, bool)>; 2] = Default::default();
        for act in acts {
            match act {
                Act::Put { port, tag, more } => {
                    let bytes = frame(BROADCAST, [2; 6], tag);
                    if put(&w, &ends[port], &bytes, if more { NS_MOREFRAG } else { 0 }) {
                        put_queue[port].push((bytes, more));
                    }
                }
                Act::Tx(port) => {
                    ends[port].attachment.txsync(&w);
                    let sent = std::mem::take(&mut put_queue[port]);
                    synced[port].extend(sent);
                }
                Act::Take(port) => {
                    let from = &mut synced[1 - port];
                    let complete = from.iter().rposition(|(_, more)| !more).map_or(0, |i| i + 1);
                    let expected: Vec<_> = from.drain(..complete).map(|(b, _)| b).collect();
                    prop_assert_eq!(take(&w, &ends[port]), expected);
                }
            }
        }
    }

    /// A program writes anything anywhere in its own memory and syncs: nobody panics, and others
    /// go on.
    #[test]
    fn a_hostile_program_hurts_itself_alone(
        writes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..60),
        near in prop::collection::vec((0u64..64, 0usize..64, any::<u64>()), 1..60),
    ) {
        let w = world();
        let (good, bad, rx) = (port(&w, "vale0:good"), port(&w, "vale0:bad"), port(&w, "vale0:rx"));
        let map = &bad.attachment.region().map;
        for (at, value) in writes {
            let ofs = at.index(map.len() / 8) * 8;
            prop_assert!(copy_in(&value.to_le_bytes(), map, ofs));
        }
        for (slot, field, value) in near {
            // Where it hurts: headers and slots of its own two rings.
            for dir in [RX, TX] {
                let ring = w.ring(&bad, dir, 0).unwrap();
                ring.slots()[slot as usize % 16].store_full(Slot {
                    buf_idx: value as u32, len: (value >> 32) as u16, flags: (value >> 48) as u16, ptr: value,
                });
                match field % 4 {
                    0 => ring.header().head.store(value as u32 % 20, Relaxed),
                    1 => ring.header().cur.store(value as u32 % 20, Relaxed),
                    2 => ring.header().tail.store(value as u32, Relaxed),
                    _ => {}
                }
            }
            bad.attachment.txsync(&w);
            bad.attachment.rxsync(&w);
            let _ = bad.attachment.poll(&w, libc::POLLIN | libc::POLLOUT);
        }
        take(&w, &rx);
        prop_assert!(put(&w, &good, &frame(BROADCAST, [2, 0, 0, 0, 0, 1], 77), 0));
        good.attachment.txsync(&w);
        let got = take(&w, &rx);
        prop_assert_eq!(got, vec![frame(BROADCAST, [2, 0, 0, 0, 0, 1], 77)]);
    }
}
