//! Packets through both directions, however they are cut.

use proptest::prelude::*;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_MRG_RXBUF,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::vhost::driver::{Buffer, Driver};
use crate::vhost::fixture::{BUFFER, Port, peek, ram, shape};
use crate::vhost::receive::{Waiting, receive};
use crate::vhost::ring::{Addresses, Queue};
use crate::vhost::transmit::{Shape, Stop, Tally, transmit};

const DATA: u64 = 0x10_0000;
const TABLES: u64 = 0x8_0000;

struct Guest {
    memory: GuestMemoryMmap,
    driver: Driver,
    queue: Queue,
    /// where the next buffer goes
    next: u64,
}

impl Guest {
    fn new(size: u16) -> Self {
        let memory = ram();
        let driver = Driver::new(&memory, 0x1000, size, true);
        let [desc, avail, used] = driver.at.map(GuestAddress);
        let at = Addresses { desc, avail, used };
        let queue = Queue::new(&memory, size.into(), at, 0, true).unwrap();
        Self {
            memory,
            driver,
            queue,
            next: DATA,
        }
    }

    /// Offers a packet, or room for one, in buffers of these lengths.
    fn add(&mut self, bytes: Option<&[u8]>, cuts: &[usize], indirect: bool) -> Vec<Buffer> {
        let mut ofs = 0;
        let mut buffers = Vec::new();
        for cut in cuts {
            if let Some(bytes) = bytes {
                self.memory
                    .write_slice(&bytes[ofs..ofs + cut], GuestAddress(self.next))
                    .unwrap();
            }
            buffers.push((self.next, *cut as u32, bytes.is_none()));
            // Not one behind the other.
            self.next += *cut as u64 + 3;
            ofs += cut;
        }
        let table = TABLES + 0x1000 * u64::from(self.driver.room() as u16);
        self.driver.add(&buffers, indirect.then_some(table));
        self.driver.publish();
        buffers
    }

    fn transmit(&mut self, port: &Port, shape: &Shape, tally: &mut Tally) -> Stop {
        let mut batch = self.queue.open(&self.memory).unwrap();
        let mut slots = port.ring();
        let stop = transmit(&mut batch, &mut slots, shape, tally).unwrap();
        slots.finish();
        batch.publish().unwrap();
        stop
    }

    fn receive(
        &mut self,
        port: &Port,
        waiting: &mut Waiting,
        shape: &Shape,
        tally: &mut Tally,
    ) -> Stop {
        let mut batch = self.queue.open(&self.memory).unwrap();
        let mut slots = port.ring();
        let stop = receive(&mut slots, waiting, &mut batch, shape, tally).unwrap();
        slots.finish();
        batch.publish().unwrap();
        stop
    }
}

/// Lengths that add up to `len`, `n` at most.
fn cut(len: usize, seeds: &[u16]) -> Vec<usize> {
    let mut left = len;
    let mut cuts: Vec<usize> = seeds
        .iter()
        .map(|seed| {
            let here = usize::from(*seed) % (left + 1);
            left -= here;
            here
        })
        .collect();
    cuts.push(left);
    cuts
}

fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

fn packet(frame: &[u8]) -> Vec<u8> {
    [&[0; 12][..], frame].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_of_a_guest_arrives_as_it_is(
        len in 14usize..5000,
        seeds in prop::collection::vec(any::<u16>(), 0..12),
        indirect: bool,
        seed: u8,
        with_header: bool,
    ) {
        let len = if with_header { len } else { len.min(BUFFER) };
        let (mut guest, port) = (Guest::new(16), Port::new(8));
        port.set(5, 4);
        let frame = frame(len, seed);
        let shape = shape(&[], if with_header { 12 } else { 0 });
        guest.add(Some(&packet(&frame)), &cut(len + 12, &seeds), indirect);
        let mut tally = Tally::default();
        prop_assert_eq!(guest.transmit(&port, &shape, &mut tally), Stop::Empty);
        prop_assert_eq!(tally, Tally { packets: 1, lost: 0 });
        let expected = if with_header { packet(&frame) } else { frame };
        let slots = expected.len().div_ceil(BUFFER);
        prop_assert_eq!(port.packets(5, port.head()), vec![(expected, slots)]);
        prop_assert!(guest.driver.used().is_some());
    }

    #[test]
    fn a_packet_for_a_guest_arrives_in_as_many_buffers_as_it_takes(
        len in 14usize..5000,
        slot in 20usize..BUFFER,
        seeds in prop::collection::vec(any::<u16>(), 0..3),
        room in 400usize..3000,
        mergeable: bool,
        indirect: bool,
        seed: u8,
    ) {
        let (mut guest, port) = (Guest::new(64), Port::new(512));
        let frame = frame(len, seed);
        let end = port.arrive(500, &packet(&frame), slot);
        port.set(500, end);
        let bits = [if mergeable { VIRTIO_NET_F_MRG_RXBUF } else { 40 }];
        let shape = shape(&bits, 12);
        let needed = if mergeable { (len + 12).div_ceil(room) } else { 1 };
        let fits = mergeable || len + 12 <= room;
        let mut tally = Tally::default();
        let mut chains = Vec::new();
        for _ in 1..needed {
            chains.push(guest.add(None, &cut(room, &seeds), indirect));
            prop_assert_eq!(guest.receive(&port, &mut Waiting::new(), &shape, &mut tally), Stop::Full);
        }
        prop_assert_eq!(guest.driver.unseen(), 0);
        chains.push(guest.add(None, &cut(room, &seeds), indirect));
        prop_assert_eq!(guest.receive(&port, &mut Waiting::new(), &shape, &mut tally), Stop::Empty);
        prop_assert_eq!(port.head(), end);
        prop_assert_eq!(tally, Tally { packets: fits.into(), lost: (!fits).into() });
        if fits {
            let mut bytes = Vec::new();
            for chain in &chains {
                let (_, used) = guest.driver.used().unwrap();
                let mut left = used as usize;
                for (at, len, _) in chain {
                    let here = left.min(*len as usize);
                    bytes.extend(peek(&guest.memory, *at, here));
                    left -= here;
                }
                prop_assert_eq!(left, 0);
            }
            let mut expected = packet(&frame);
            expected[10] = needed as u8;
            prop_assert_eq!(bytes, expected);
        }
        prop_assert!(guest.driver.used().is_none());
    }
}

#[test]
fn a_port_that_is_full_keeps_the_guest_waiting_and_loses_nothing() {
    let (mut guest, port) = (Guest::new(16), Port::new(4));
    let shape = shape(&[], 12);
    let mut tally = Tally::default();
    for seed in 0..5 {
        guest.add(Some(&packet(&frame(60, seed))), &[72], false);
    }
    port.set(0, 3);
    assert_eq!(guest.transmit(&port, &shape, &mut tally), Stop::Full);
    assert_eq!((guest.driver.unseen(), port.head()), (3, 3));
    port.set(3, 2);
    assert_eq!(guest.transmit(&port, &shape, &mut tally), Stop::Empty);
    assert_eq!(
        tally,
        Tally {
            packets: 5,
            lost: 0
        }
    );
    let all: Vec<u8> = port.packets(3, 1).into_iter().map(|(p, _)| p[12]).collect();
    assert_eq!(all, [3, 4]);
}

#[test]
fn what_was_not_agreed_on_is_lost() {
    let shape_of = |bits: &[u32], header: [u8; 12], len: usize, port_header| {
        let (mut guest, port) = (Guest::new(64), Port::new(64));
        port.set(0, 63);
        let bytes = [&header[..], &frame(len, 1)].concat();
        guest.add(Some(&bytes), &[bytes.len()], false);
        let mut tally = Tally::default();
        assert_eq!(
            guest.transmit(&port, &shape(bits, port_header), &mut tally),
            Stop::Empty
        );
        assert_eq!(
            guest.driver.unseen(),
            1,
            "its buffers come back in any case"
        );
        tally.packets == 1
    };
    let plain = [0; 12];
    let mut csum = plain;
    csum[0] = 1;
    let mut tso = csum;
    tso[1] = 1;
    let mut ecn = tso;
    ecn[1] |= 0x80;
    let mut unknown = csum;
    unknown[1] = 2;
    let both = [VIRTIO_NET_F_CSUM, VIRTIO_NET_F_HOST_TSO4];
    assert!(shape_of(&[], plain, 60, 12));
    assert!(
        !shape_of(&[], plain, 13, 12),
        "shorter than an Ethernet header"
    );
    assert!(
        !shape_of(&[], plain, 65536 + 18, 12),
        "longer than any packet"
    );
    assert!(
        !shape_of(&[], plain, BUFFER + 1, 0),
        "longer than a slot, without a header"
    );
    assert!(!shape_of(&[], csum, 60, 12));
    assert!(shape_of(&both, csum, 60, 12));
    assert!(!shape_of(&both[..1], tso, 60, 12));
    assert!(shape_of(&both, tso, 60_000, 12));
    assert!(!shape_of(&both, ecn, 60_000, 12));
    assert!(!shape_of(&both, unknown, 60, 12));
    // Flags that say nothing to a device are ignored.
    for flags in [2, 4, 0xfe] {
        let mut more = plain;
        more[0] = flags;
        assert!(shape_of(&[], more, 60, 12), "{flags:#x}");
        more[0] |= 1;
        assert!(shape_of(&both, more, 60, 12) && !shape_of(&[], more, 60, 12));
    }
}

/// A TCP packet of IPv4 whose checksum is to be filled in.
fn tcp(payload: usize) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend(((40 + payload) as u16).to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([
        0, 1, 0, 2, 0, 0, 0, 100, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
    ]);
    frame.extend((0..payload).map(|i| i as u8));
    frame
}

#[test]
fn a_guest_that_does_no_segments_gets_them_done() {
    let mut header = [0; 12];
    (header[0], header[1], header[6], header[8]) = (1, 1, 34, 16);
    let whole = tcp(5000);
    let arrived = [&header[..], &whole].concat();
    let run = |bits: &[u32], buffers: usize| {
        let (mut guest, port) = (Guest::new(64), Port::new(64));
        let end = port.arrive(0, &arrived, BUFFER);
        port.set(0, end);
        for _ in 0..buffers {
            guest.add(None, &[2048], false);
        }
        let (mut tally, mut waiting) = (Tally::default(), Waiting::new());
        let stop = guest.receive(&port, &mut waiting, &shape(bits, 12), &mut tally);
        (tally, stop, waiting.len(), guest)
    };
    let mergeable = VIRTIO_NET_F_MRG_RXBUF;
    let (tally, _, _, mut guest) = run(
        &[mergeable, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4],
        8,
    );
    assert_eq!(
        (tally.packets, guest.driver.unseen()),
        (1, 3),
        "as it is, in three buffers"
    );
    assert_eq!(guest.driver.used(), Some((0, 2048)));
    let (tally, stop, _, guest) = run(&[mergeable], 8);
    assert_eq!(
        (tally.packets, stop, guest.driver.unseen()),
        (4, Stop::Empty, 4),
        "1460 bytes in each segment"
    );
    let segment = peek(&guest.memory, DATA, 2048);
    assert_eq!(
        segment[..12],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        "nothing is left to do"
    );
    assert_eq!(segment[12 + 16..12 + 18], 1500u16.to_be_bytes());
    // One's complement sum over pseudo header and segment.
    let mut sum: u32 = 6 + 1480;
    for pair in segment[12 + 26..12 + 1514].chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    assert_eq!(sum, 0xffff);
    let (tally, stop, waiting, _) = run(&[mergeable], 3);
    assert_eq!(
        (tally.packets, stop, waiting),
        (3, Stop::Full, 1),
        "the rest waits for buffers"
    );
}
