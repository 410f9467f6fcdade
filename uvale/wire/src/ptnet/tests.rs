//! A device whose host is played by the test.

use core::sync::atomic::Ordering::Relaxed;

use nm_abi::csb_words::{HEAD, HWCUR, HWTAIL, KERN_NEED_KICK};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use uvale_shared::shm::{Memfd, Slot, copy_in};

use super::ring::Csb;
use super::*;
use crate::packet::{Batch, Packet, Space};
use crate::{Frames, Kind, Transmitter, Wire};

const SLOTS: u32 = 8;
const BUFFER: u32 = 64;
const RING_AT: [u64; 2] = [4096, 8192];
const BUFFERS_AT: u64 = 12288;
/// Two of no ring, and those of two rings.
const BUFFERS: u32 = 2 + 2 * SLOTS;
const LEN: usize = BUFFERS_AT as usize + (BUFFERS * BUFFER) as usize;

fn shape() -> Shape {
    Shape {
        mac: [2; 6],
        rings: [1, 1],
        slots: [SLOTS; 2],
        memory: 7,
        bar: LEN as u64,
        buffers: BUFFERS_AT,
        buffer_size: BUFFER,
        buffer_count: BUFFERS,
        nifp: 0,
    }
}

/// The host's side, and a guest's wire.
struct Device {
    map: Mapping,
    csb: Mapping,
    kicks: Vec<Fd>,
    wire: Wire,
}

fn copy(fd: &Fd) -> Fd {
    let copied = rustix::io::fcntl_dupfd_cloexec(fd, 0);
    copied.expect("a descriptor").into()
}

fn part(memfd: &Memfd) -> Fd {
    copy(&memfd.parts()[0])
}

impl Device {
    fn new() -> Self {
        let region = Memfd::create("region", LEN).expect("memory");
        let csb = Memfd::create("csb", PAGES * PAGE).expect("memory");
        let map = Mapping::new(&region).expect("mapped");
        let mut nifp = netmap_if::zeroed();
        (nifp.ni_tx_rings, nifp.ni_rx_rings) = (1, 1);
        (nifp.ni_host_tx_rings, nifp.ni_host_rx_rings) = (1, 1);
        assert!(copy_in(nifp.as_bytes(), &map, 0));
        // tx, the host's tx, rx
        for (i, place) in [(0, RING_AT[0]), (2, RING_AT[1])] {
            let distance = (place as i64).to_ne_bytes();
            assert!(copy_in(&distance, &map, netmap_if::bytes_for(i)));
        }
        for (ring, place) in RING_AT.iter().enumerate() {
            let view = RingView::new(&map, *place, SLOTS).expect("it fits");
            for (i, slot) in (2 + ring as u32 * SLOTS..).zip(view.slots()) {
                slot.store_full(Slot {
                    buf_idx: i,
                    ..Slot::default()
                });
            }
        }
        let event = || {
            eventfd(0, EventfdFlags::NONBLOCK)
                .expect("an eventfd")
                .into()
        };
        let kicks: Vec<Fd> = vec![event(), event()];
        let mut fds = vec![part(&region), part(&csb)];
        fds.extend(kicks.iter().map(copy));
        let csb = Mapping::new(&csb).expect("mapped");
        for ring in 0..2 {
            Csb::of(&csb, ring).expect("it fits").reset();
        }
        let wire = crate::Shape::of(Kind::Ptnet(shape()));
        let wire = Wire::new(wire, fds).expect("a wire");
        let device = Self {
            map,
            csb,
            kicks,
            wire,
        };
        device.says(0, HWTAIL, SLOTS - 1);
        device
    }

    fn says(&self, ring: u32, word: usize, value: u32) {
        self.entry(ring).to_guest[word].store(value, Relaxed);
    }

    fn entry(&self, ring: u32) -> Csb<'_> {
        Csb::of(&self.csb, ring).expect("it fits")
    }

    fn head(&self, ring: u32) -> u32 {
        self.entry(ring).to_host[HEAD].load(Relaxed)
    }

    /// Kicks of a ring since somebody asked last.
    fn kicked(&self, ring: usize) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.kicks[ring], &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    fn view(&self, ring: usize) -> RingView<'_> {
        RingView::new(&self.map, RING_AT[ring], SLOTS).expect("it fits")
    }

    fn buffer(&self, slot: Slot) -> usize {
        BUFFERS_AT as usize + (slot.buf_idx * BUFFER) as usize
    }

    /// The host puts a packet of one byte into each of these slots of the rx ring, and says so.
    fn arrive(&self, from: u32, bytes: &[u8]) {
        let view = self.view(1);
        let mut at = from;
        for byte in bytes {
            let slot = &view.slots()[at as usize];
            assert!(copy_in(&[*byte], &self.map, self.buffer(slot.load())));
            slot.store_len_flags(1, 0);
            at = view.next(at);
        }
        self.says(1, HWTAIL, at);
    }

    fn frames(&self) -> &Frames {
        self.wire.frames(0).expect("there is one rx ring")
    }

    /// The first bytes of at most `most` packets that have arrived.
    fn take(&self, most: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        let take = |packet: Packet<'_>| {
            let has_room = taken.len() < most;
            if has_room {
                taken.push(packet.pieces[0][0]);
            }
            has_room
        };
        self.frames().take_in(0, |_| (), take);
        taken
    }

    fn sender(&self) -> &Transmitter {
        self.wire.sender(0).expect("there is one tx ring")
    }
}

/// Packets of these lengths, of which each byte is the packet's number.
fn batch<'a>(space: &'a mut Space, memory: &'a Mapping, lens: &[usize]) -> Batch<'a> {
    let mut at = 0;
    for (i, len) in lens.iter().enumerate() {
        assert!(copy_in(&vec![i as u8; *len], memory, at));
        at += len;
    }
    let mut batch = space.batch(memory);
    at = 0;
    for len in lens {
        // in two pieces
        assert!(batch.push(at, len / 2, false) && batch.push(at + len / 2, len - len / 2, true));
        at += len;
    }
    batch
}

fn memory() -> Mapping {
    Mapping::new(&Memfd::create("memory", 4096).expect("memory")).expect("mapped")
}

#[test]
fn what_is_sent_is_in_the_slots_before_the_host_is_told() {
    let device = Device::new();
    let (memory, mut space) = (memory(), Space::default());
    // The second one takes two slots, the third does not find the five that it takes.
    let batch = batch(&mut space, &memory, &[20, 100, 300]);
    assert_eq!(device.sender().send(&batch, 0), Ok(2));
    assert_eq!((device.head(0), device.kicked(0)), (3, 1));
    let slots: Vec<Slot> = device.view(0).slots().iter().map(|s| s.load()).collect();
    let more = nm_abi::NS_MOREFRAG;
    let found = [0, 1, 2].map(|i| (slots[i].len, slots[i].flags));
    assert_eq!(found, [(20, 0), (64, more), (36, 0)]);
    let bytes = copy_out(&device.map, device.buffer(slots[2]), 36);
    assert_eq!(bytes, Some(vec![1; 36]));
    // No room: it stays, and the host is kicked once more if it still sleeps.
    assert_eq!(device.sender().send(&batch, 2), Err(Errno::AGAIN));
    assert_eq!((device.head(0), device.kicked(0)), (3, 1));
    device.says(0, KERN_NEED_KICK, 0);
    device.says(0, HWCUR, 3);
    device.says(0, HWTAIL, 2);
    assert_eq!(device.sender().send(&batch, 2), Ok(1));
    assert_eq!((device.head(0), device.kicked(0)), (0, 0));
    // What no ring of this length has room for is not waited for.
    let long = self::batch(&mut space, &memory, &[(SLOTS * BUFFER) as usize]);
    assert_eq!(device.sender().send(&long, 0), Err(Errno::MSGSIZE));
}

#[test]
fn what_has_arrived_is_taken_and_given_back() {
    let device = Device::new();
    assert!(!device.frames().is_ready(0) && device.frames().fd().is_none());
    assert_eq!(device.take(9), []);
    device.arrive(0, &[1, 2, 3]);
    assert!(device.frames().is_ready(0));
    device.says(1, KERN_NEED_KICK, 0);
    assert_eq!(device.take(2), [1, 2]);
    assert_eq!((device.head(1), device.kicked(1)), (2, 1));
    // Another process goes on where this one was.
    device.arrive(3, &[4, 5, 6, 7, 8, 9]);
    assert_eq!(device.take(9), [3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(device.head(1), 1);
    assert!(!device.frames().is_ready(0));
}

#[test]
fn a_packet_is_there_when_its_last_fragment_is() {
    let device = Device::new();
    let slots = |range: core::ops::Range<u32>, flags| {
        for i in range {
            device.view(1).slots()[i as usize].store_len_flags(1, flags);
        }
    };
    slots(0..SLOTS, nm_abi::NS_MOREFRAG);
    device.says(1, HWTAIL, 2);
    assert!(!device.frames().is_ready(0));
    assert_eq!(device.take(9), []);
    slots(2..3, 0);
    device.says(1, HWTAIL, 3);
    assert!(device.frames().is_ready(0));
    assert_eq!(device.take(9).len(), 1);
    assert!(!device.frames().is_ready(0));
    // What is longer than the ring is lost, so that there is room again.
    slots(2..3, nm_abi::NS_MOREFRAG);
    device.says(1, HWTAIL, 2);
    assert!(device.frames().is_ready(0));
    assert_eq!(device.take(9), []);
    assert_eq!(device.head(1), 2);
}

#[test]
fn memory_is_a_file_of_a_bar() {
    let dir = Path::new("/sys/devices/pci0000:00/0000:00:03.0");
    for (name, is_bar) in [
        ("resource1", true),
        ("resource10_wc", true),
        ("resource", false),
        ("resource_wc", false),
        ("resource1_wc_wc", false),
        ("resource1 (deleted)", false),
        ("resource1x", false),
        ("irq", false),
    ] {
        assert_eq!(is_bar_at(&dir.join(name)), is_bar, "{name}");
    }
}

#[test]
fn a_host_that_writes_nonsense_has_no_port() {
    let device = Device::new();
    let (memory, mut space) = (memory(), Space::default());
    let batch = batch(&mut space, &memory, &[20]);
    for word in [HWCUR, HWTAIL] {
        for wrong in [SLOTS, u32::MAX] {
            for ring in 0..2 {
                device.says(ring, word, wrong);
            }
            assert_eq!(device.sender().send(&batch, 0), Err(Errno::NXIO));
            assert!(!device.frames().is_ready(0));
            assert_eq!(device.take(9), []);
        }
        for ring in 0..2 {
            device.says(ring, word, 0);
        }
    }
    // Another program of this world writes the head.
    device.entry(1).to_host[HEAD].store(SLOTS, Relaxed);
    assert_eq!(device.take(9), []);
}

#[test]
fn a_device_that_is_none_is_refused() {
    let good = shape();
    assert!(good.is_plausible());
    for rings in [[0, 1], [1, 0], [u16::MAX; 2], [100, 100]] {
        assert!(!Shape { rings, ..good }.is_plausible());
    }
    let slots = [SLOTS, 1];
    assert!(!Shape { slots, ..good }.is_plausible());
    // Nobody but the kernel has a file with a device's memory.
    let region = Memfd::create("region", LEN).expect("memory");
    let fds = [part(&region), part(&region), part(&region), part(&region)];
    assert!(!good.fits(&fds) && !good.fits(&fds[..3]) && !good.fits(&[]));
    let wire = crate::Shape::of(Kind::Ptnet(good));
    // no netmap_if
    assert!(Wire::new(wire.clone(), fds.into()).is_err());
    assert!(Wire::new(wire, Vec::new()).is_err());
}
