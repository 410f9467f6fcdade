//! Packets of many addresses, with and without virtio-net headers, against a switch that is written down as netmap's
//! rules are: one packet after the other.

use core::sync::atomic::Ordering::Relaxed;
use std::collections::VecDeque;

use proptest::prelude::*;

use super::bwrap::command;
use super::{Received, frame, port, port_of, put, take_slots, take_slots_and, world};
use nm_abi::*;
use uvale_control::local::{LocalPort, LocalWorld};
use uvale_engine::{Host, RX, TX, vnet};
use uvale_shared::ctl::{FDB_SIZE, Kring};
use uvale_shared::shm::{SlotView, rfrags};

const PORTS: usize = 4;
/// Slots of the rings; of some that are longer than the short ways are for.
const SLOTS: usize = 16;
const MANY_SLOTS: usize = 128;

fn is_group(mac: u64) -> bool {
    mac & 1 != 0
}

/// netmap's place for an address in its table.
fn hash(mac: u64) -> usize {
    let mut a = 0x9e37_79b9u32.wrapping_add(mac as u32);
    let mut b = 0x9e37_79b9u32.wrapping_add((mac >> 32) as u32 & 0xffff);
    let mut c = 0u32;
    for (x, y, z) in [(13, 8, 13), (12, 16, 5), (3, 10, 15)] {
        a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> x);
        b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << y);
        c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> z);
    }
    c as usize % FDB_SIZE
}

/// What a program does.
#[derive(Clone, Debug)]
enum Act {
    Put {
        port: usize,
        slot: Vec<u8>,
        more: bool,
    },
    Sync(usize),
    /// packets of few flows with new buffers or old ones, sent with one sync
    Burst(usize, Vec<(Vec<u8>, bool)>),
    Take(usize),
    Header(usize, u32),
}

/// Addresses: of the ports, of nobody, a group's, everybody's.
fn address() -> impl Strategy<Value = [u8; 6]> {
    prop_oneof![
        12 => (0u8..6).prop_map(|n| [2, 0, 0, 0, 0, n]),
        1 => Just([3, 0, 0, 0, 0, 1]),
        1 => Just([0xff; 6]),
    ]
}

/// A slot: a header, which not every port has, and an Ethernet frame, which is not always complete.
fn slot() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        prop_oneof![6 => Just(0u8), 1 => Just(1), 2 => Just(2), 1 => Just(4)],
        prop_oneof![9 => Just(0u8), 1 => Just(1), 1 => Just(9)],
        prop::bool::weighted(0.1),
        prop_oneof![Just(0usize), Just(10), Just(12)],
    );
    let len = prop_oneof![8 => Just(60usize), 2 => 1usize..200, 1 => 2030usize..2049];
    (header, address(), address(), len, any::<u8>()).prop_map(
        |((flags, gso, is_gso, ahead), to, from, len, tag)| {
            let mut bytes = vec![
                flags,
                if is_gso { gso } else { 0 },
                1,
                2,
                3,
                4,
                20,
                0,
                6,
                0,
                7,
                8,
            ];
            bytes.truncate(ahead);
            bytes.extend([to, from].concat());
            bytes.extend([8, 0]);
            bytes.resize(len, tag);
            bytes
        },
    )
}

/// Packets of a flow or two, as many as fit into a ring at most.
fn burst() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
    let flow = || (address(), address()).prop_map(|(to, from)| [to, from].concat());
    let packet = (
        prop::bool::weighted(0.1),
        prop_oneof![9 => 14usize..200, 1 => 0usize..14, 1 => 2030usize..2049],
        any::<u8>(),
        prop::bool::weighted(0.1),
    );
    let packets = prop::collection::vec(packet, 1..SLOTS - 1);
    ([flow(), flow()], packets).prop_map(|(flows, packets)| {
        let bytes = |is_other: bool, len, tag| {
            let mut bytes = flows[usize::from(is_other)].clone();
            bytes.resize(len, tag);
            bytes
        };
        let packets = packets.into_iter();
        packets
            .map(|(is_other, len, tag, is_new)| (bytes(is_other, len, tag), is_new))
            .collect()
    })
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let put = (0..PORTS, slot(), prop::bool::weighted(0.05));
    let act = prop_oneof![
        20 => put.prop_map(|(port, slot, more)| Act::Put { port, slot, more }),
        4 => (0..PORTS).prop_map(Act::Sync),
        4 => (0..PORTS, burst()).prop_map(|(port, packets)| Act::Burst(port, packets)),
        3 => (0..PORTS).prop_map(Act::Take),
        1 => (0..PORTS, prop_oneof![Just(0u32), Just(10), Just(12)])
            .prop_map(|(port, len)| Act::Header(port, len)),
    ];
    prop::collection::vec(act, 1..300)
}

/// Bursts of up to `most` packets between ports that have an address or two each, which sometimes move.
fn steady_acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    let mac = |n: usize| [2, 0, 0, 0, 0, n as u8];
    // Half of the longest ones are all for one port, and half of one flow.
    let (rarely, rare) = (2 * most as u32, 0.5 / most as f64);
    let packet = (
        prop_oneof![rarely => Just(0usize), 1 => 1usize..3],
        prop::bool::weighted(rare),
        14usize..200,
        any::<u8>(),
        prop::bool::weighted(0.1),
    );
    let packets = prop::collection::vec(packet, 1..=most);
    let burst = (0..2usize, 1..3usize, 0..40usize, packets);
    let burst = burst.prop_map(move |(me, further, moved, packets)| {
        let to = (me + further) % 3;
        let packet = |(other, is_second, len, tag, is_new)| {
            let to = mac((to + other) % 3 + if is_second { 8 } else { 0 });
            // One of 40 bursts comes from where another port is.
            let from = mac(if moved == 0 { 2 - me } else { me } + if is_second { 8 } else { 0 });
            let mut bytes = [to, from].concat();
            bytes.resize(len, tag);
            (bytes, is_new)
        };
        Act::Burst(me, packets.into_iter().map(packet).collect())
    });
    let learn = (0..3usize).prop_map(move |me| {
        let frame = |from| {
            let mut bytes = [[0xff; 6], from].concat();
            bytes.resize(60, 0);
            (bytes, false)
        };
        Act::Burst(me, vec![frame(mac(me)), frame(mac(me + 8))])
    });
    let act = prop_oneof![12 => burst, 1 => learn, 6 => (0..3usize).prop_map(Act::Take)];
    prop::collection::vec(act, 1..200)
}

/// What netmap's switch does.
struct Model {
    /// slots that a receiver can have filled: one stays empty
    room: usize,
    table: Vec<u64>,
    last_smac: [u64; PORTS],
    headers: [u32; PORTS],
    mfs: [u32; PORTS],
    /// what has been put into a tx ring, and what has arrived in an rx ring
    put: [Vec<(Vec<u8>, bool)>; PORTS],
    arrived: [VecDeque<Received>; PORTS],
    /// packets and bytes sent, packets that found no room, packets that could not be converted
    sent: [(u64, u64); PORTS],
    full: [u64; PORTS],
    unconvertible: [u64; PORTS],
}

impl Model {
    fn sync(&mut self, me: usize) {
        let slots = core::mem::take(&mut self.put[me]);
        let mut packet: Vec<Vec<u8>> = Vec::new();
        let (n, mut are_full) = (slots.len(), [false; PORTS]);
        for (i, (bytes, more)) in slots.into_iter().enumerate() {
            packet.push(bytes);
            if !more || i + 1 == n {
                self.send(me, &core::mem::take(&mut packet), &mut are_full);
            }
        }
    }

    fn send(&mut self, me: usize, packet: &[Vec<u8>], are_full: &mut [bool; PORTS]) {
        self.sent[me].0 += 1;
        self.sent[me].1 += packet.iter().map(|slot| slot.len() as u64).sum::<u64>();
        let ahead = self.headers[me] as usize;
        let first = packet[0].len();
        let ethernet = match packet {
            [slot, ..] if ahead < first => &slot[ahead..],
            [_, slot, ..] if ahead == first => &slot[..],
            _ => return,
        };
        if ethernet.len() < 14 {
            return;
        }
        let word = |at: usize| {
            let mut word = [0; 8];
            word[..6].copy_from_slice(&ethernet[at..at + 6]);
            u64::from_le_bytes(word)
        };
        let (destination, source) = (word(0), word(6));
        if source != self.last_smac[me] && !is_group(source) {
            self.last_smac[me] = source;
            self.table[hash(source)] = source | (me as u64) << 48;
        }
        let entry = self.table[hash(destination)];
        let is_known = !is_group(destination) && entry << 16 == destination << 16;
        for (to, is_full) in are_full.iter_mut().enumerate() {
            if to != me && (!is_known || entry >> 48 == to as u64) {
                self.deliver(me, to, packet, is_full);
            }
        }
    }

    fn deliver(&mut self, me: usize, to: usize, packet: &[Vec<u8>], is_full: &mut bool) {
        let room = self.room - self.arrived[to].len();
        *is_full |= packet.len() > room;
        if *is_full {
            self.full[to] += 1;
            return;
        }
        let n = packet.len();
        if self.headers[me] == self.headers[to] {
            let more = |i: usize| if i + 1 < n { NS_MOREFRAG } else { 0 };
            let slot = |(i, bytes): (usize, &Vec<u8>)| (rfrags(n) | more(i), bytes.clone());
            self.arrived[to].extend(packet.iter().enumerate().map(slot));
            return;
        }
        let slots: Vec<&[u8]> = packet.iter().map(Vec::as_slice).collect();
        let conversion = vnet::Conversion {
            src_hdr: self.headers[me],
            dst_hdr: self.headers[to],
            dst_mfs: self.mfs[to],
            buf_size: 2048,
            room: room as u32,
        };
        match vnet::convert(&slots, &conversion) {
            Ok(slots) => self.arrived[to].extend(slots.into_iter().map(|s| (s.flags, s.bytes))),
            Err(vnet::Drop::NoRoom) => self.full[to] += 1,
            Err(_) => self.unconvertible[to] += 1,
        }
    }
}

pub(super) fn record<'a>(w: &'a LocalWorld, p: &LocalPort) -> &'a uvale_shared::ctl::Port {
    let index = w.world.lock().unwrap().binding(p.client).unwrap().port;
    w.ctl().port(index).unwrap()
}

fn kring<'a>(w: &'a LocalWorld, p: &LocalPort, dir: usize) -> &'a Kring {
    let port = record(w, p);
    let first = if dir == TX {
        &port.tx_kring
    } else {
        &port.rx_kring
    };
    w.ctl().kring(first.load(Relaxed)).unwrap()
}

/// Does it on a switch and in the model, which is to come to the same.
fn perform(acts: Vec<Act>, slots: usize) -> Result<(), TestCaseError> {
    let w = world();
    let name = |i: usize| format!("vale0:p{i}");
    let open = |i| port_of(&w, &name(i), slots as u32);
    let ports: Vec<_> = (0..PORTS).map(open).collect();
    let mut model = Model {
        room: slots - 1,
        table: vec![0; FDB_SIZE],
        last_smac: [u64::MAX; PORTS],
        headers: [0; PORTS],
        mfs: core::array::from_fn(|i| record(&w, &ports[i]).mfs.load(Relaxed)),
        put: Default::default(),
        arrived: Default::default(),
        sent: Default::default(),
        full: Default::default(),
        unconvertible: Default::default(),
    };
    for act in acts {
        match act {
            Act::Put { port, slot, more } => {
                let flags = if more { NS_MOREFRAG } else { 0 };
                if put(&w, &ports[port], &slot, flags) {
                    model.put[port].push((slot, more));
                }
            }
            Act::Sync(port) => {
                ports[port].attachment.txsync(&w);
                model.sync(port);
            }
            Act::Burst(port, packets) => {
                for (bytes, is_new) in packets {
                    let flags = if is_new { NS_BUF_CHANGED } else { 0 };
                    if put(&w, &ports[port], &bytes, flags) {
                        model.put[port].push((bytes, false));
                    }
                }
                ports[port].attachment.txsync(&w);
                model.sync(port);
                let slots = w.ring(&ports[port], TX, 0).unwrap().slots();
                prop_assert!(slots.iter().all(|slot| !slot.is_changed()));
            }
            Act::Take(port) => {
                let expected: Vec<_> = model.arrived[port].drain(..).collect();
                // What a program says of its buffers goes with the slots.
                let change = |slot: &SlotView| {
                    let said = slot.load();
                    slot.store_len_flags(said.len, said.flags | NS_BUF_CHANGED);
                };
                prop_assert_eq!(take_slots_and(&w, &ports[port], change), expected);
                let slots = w.ring(&ports[port], RX, 0).unwrap().slots();
                prop_assert!(slots.iter().all(|slot| !slot.is_changed()));
            }
            Act::Header(port, nr_hdr_len) => {
                let body = nmreq_port_hdr {
                    nr_hdr_len,
                    ..nmreq_port_hdr::default()
                };
                command(&w, NETMAP_REQ_PORT_HDR_SET, &name(port), &body);
                model.headers[port] = nr_hdr_len;
                model.mfs[port] = record(&w, &ports[port]).mfs.load(Relaxed);
            }
        }
    }
    let switch = w.ctl().switch(0).unwrap();
    let table: Vec<u64> = switch.fdb.iter().map(|entry| entry.load(Relaxed)).collect();
    prop_assert_eq!(table, model.table);
    for (i, p) in ports.iter().enumerate() {
        let last = record(&w, p).last_smac.load(Relaxed);
        prop_assert_eq!(last, model.last_smac[i], "last source of {}", i);
        let (sent, produced) = (&kring(&w, p, TX).sync, &kring(&w, p, RX).produced);
        let packets = (sent.packets.load(Relaxed), sent.bytes.load(Relaxed));
        prop_assert_eq!(packets, model.sent[i], "sent by {}", i);
        prop_assert_eq!(
            produced.full.load(Relaxed),
            model.full[i],
            "no room at {}",
            i
        );
        prop_assert_eq!(produced.unconvertible.load(Relaxed), model.unconvertible[i]);
    }
    Ok(())
}

proptest! {
    /// However packets are cut into runs and batches, the outcome is that of one after the other.
    #[test]
    fn a_switch_does_with_many_flows_what_it_does_with_each(acts in acts()) {
        perform(acts, SLOTS)?;
    }

    /// And so it is where most things stay as they are, and the short ways are taken.
    #[test]
    fn a_switch_does_with_a_few_packets_what_it_does_with_each(acts in steady_acts(5)) {
        perform(acts, SLOTS)?;
    }

    /// And where bursts are about as long as the short ways take.
    #[test]
    fn a_switch_does_with_long_bursts_what_it_does_with_each(acts in steady_acts(90)) {
        perform(acts, MANY_SLOTS)?;
    }
}

/// A run ends with a packet for somebody else, whose source was learnt: what is like the packet before it is learnt
/// once more, for its address may have moved meanwhile.
#[test]
fn a_source_is_learnt_again_after_another_one() {
    let w = world();
    let ports: Vec<_> = ["a", "b", "c"]
        .map(|name| port(&w, &format!("vale0:{name}")))
        .into();
    let [a, b, c] = &ports[..] else {
        unreachable!()
    };
    let mac = |n| [2, 0, 0, 0, 0, n];
    let send = |from: &LocalPort, frames: &[([u8; 6], [u8; 6])]| {
        for (to, source) in frames {
            assert!(put(&w, from, &frame(*to, *source, 1), 0));
        }
        from.attachment.txsync(&w);
    };
    let counts = || [a, b, c].map(|p| take_slots(&w, p).len());
    send(b, &[([0xff; 6], mac(0xb))]);
    send(c, &[([0xff; 6], mac(0xc))]);
    counts();
    // The second ends the run, and its source is the last one.
    send(a, &[(mac(0xc), mac(1)), (mac(0xb), mac(2))]);
    assert_eq!(counts(), [0, 1, 1]);
    // The first one's address moves.
    send(b, &[(mac(0xc), mac(1))]);
    send(c, &[(mac(1), mac(0xc))]);
    assert_eq!(counts(), [0, 1, 1]);
    // And back.
    send(a, &[(mac(0xc), mac(1))]);
    send(c, &[(mac(1), mac(0xc))]);
    assert_eq!(counts(), [1, 0, 1]);
}
