//! What whoever dies leaves behind at any step, and that the next one goes on from there.

mod measure;

#[path = "../../tests/ground/mod.rs"]
mod ground;

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use ground::{apart, pair, readable};
use rustix::io::Errno;
use uvale_shared::shm::{Mapping, Memfd, copy_in};
use uvale_system::sys::{Fd, set_option};

use super::open::{duplicate, queue};
use super::{Receiver, Sender, Shape};
use crate::packet::{Packet, Space};
use crate::{Carrier, Kind, Opened};

/// What belongs to the wire of an end, and two processes' views of its first queue.
struct End {
    opened: Opened,
    shape: Shape,
}

impl End {
    fn new(opened: Opened) -> Self {
        let Kind::Xdp(shape) = opened.shape.kind else {
            panic!("{:?}", opened.shape.lacks);
        };
        Self { opened, shape }
    }

    /// A process that has just begun: all that it knows of the socket is in the shared memory.
    fn process(&self) -> (Receiver, Sender) {
        let [socket, memory, ..] = &self.opened.fds[..] else {
            panic!("descriptors");
        };
        let queue = queue(socket, memory, &self.shape).expect("the memory");
        queue.sides().expect("the rings")
    }
}

/// An end of a veth pair with AF_XDP, the other with `carrier`; `None`, said aloud, where the rights do not allow it.
fn ends(name: &str) -> Option<(End, End, ground::Other)> {
    let other = pair("");
    let a = ground::open_by("va", [1, 1], Carrier::Xdp);
    let b = other.run(|| ground::open_by("vb", [1, 1], Carrier::Xdp));
    if !matches!(a.shape.kind, Kind::Xdp(_)) {
        println!("{name}: skipped: {:?}", a.shape.lacks);
        return None;
    }
    Some((End::new(a), End::new(b), other))
}

/// Packet `number`, of a length and with contents that follow from it.
fn numbered(number: u32) -> Vec<u8> {
    ground::numbered(number, ground::some_len(number))
}

/// The number of a packet that `numbered` has made, whole; `None` for what others sent.
fn number(packet: &Packet<'_>) -> Option<u32> {
    let bytes = packet.pieces.concat();
    let number = ground::number_of(&bytes)?;
    assert!(bytes == numbered(number), "packet {number}: {bytes:?}");
    Some(number)
}

/// Sends packets from `first` on in one batch; what the call answers.
fn send(sender: &Sender, first: u32, count: u32) -> Result<usize, Errno> {
    let memfd = Memfd::create("test", count as usize * 2048).expect("memory");
    let (memory, mut space) = (Mapping::new(&memfd).expect("memory"), Space::default());
    let mut batch = space.batch(&memory);
    for i in 0..count {
        let (packet, ofs) = (numbered(first + i), i as usize * 2048);
        assert!(copy_in(&packet, &memory, ofs));
        assert!(batch.push(ofs, 20, false) && batch.push(ofs + 20, packet.len() - 20, true));
    }
    sender.send(&batch, 0)
}

/// Sends all of them, and takes them in at the other end: they must all come, in order.
fn all_go_through(sender: &Sender, receiver: &Receiver, numbers: core::ops::Range<u32>) {
    let (mut sent, mut expected) = (numbers.start, numbers.start);
    while expected < numbers.end {
        let count = (numbers.end - sent).min(100);
        match count {
            0 => assert!(readable(receiver.fd()), "{expected} is missing"),
            _ => match send(sender, sent, count) {
                Ok(n) => sent += n as u32,
                Err(e) => assert_eq!(e, Errno::AGAIN),
            },
        }
        receiver.take_in(|packet| {
            if let Some(number) = number(&packet) {
                assert_eq!(number, expected);
                expected += 1;
            }
            true
        });
    }
}

/// Writes the descriptor of a packet in the chunk of entry `at`.
fn describe(sender: &Sender, at: u32, len: usize) {
    let entry = sender.tx.entry(at);
    entry.address.store(sender.chunk(at), Relaxed);
    entry.len.store(len as u32, Relaxed);
    entry.options.store(0, Relaxed);
}

/// All chunks are somewhere, each once: with the kernel or in a ring.
fn is_whole(receiver: &Receiver) {
    let start = receiver.rx.consumer().load(Relaxed);
    assert_eq!(
        receiver.fill.producer().load(Relaxed).wrapping_sub(start),
        receiver.count()
    );
}

#[test]
fn whoever_dies_while_receiving_leaves_no_chunk_behind() {
    let name = "xdp::tests::whoever_dies_while_receiving_leaves_no_chunk_behind";
    apart(name, || {
        let Some((a, b, _other)) = ends(name) else {
            return;
        };
        let ((_, sender), (receiver, _)) = (a.process(), b.process());
        let count = receiver.count();
        all_go_through(&sender, &receiver, 0..10);
        // How far it came, of 5 packets in each case: read them; said that it has them; written some of their chunks
        // to the fill ring; all of them.
        for (step, is_lost) in [(0, false), (1, true), (2, true), (3, true)] {
            assert_eq!(send(&sender, 10, 5), Ok(5));
            let (dying, _) = b.process();
            assert!(readable(dying.fd()));
            let at = dying.rx.consumer().load(Relaxed);
            assert_eq!(dying.ready(at), 5);
            if step >= 1 {
                dying.rx.consumer().store(at.wrapping_add(5), Release);
            }
            for i in 0..[0, 0, 3, 5][step] {
                let (from, to) = (dying.rx.entry(at + i), at.wrapping_add(count + i));
                dying
                    .fill
                    .entry(to)
                    .store(from.address.load(Relaxed), Relaxed);
            }
            drop(dying);
            let (next, _) = b.process();
            next.give_back();
            is_whole(&next);
            let first = if is_lost { 15 } else { 10 };
            let more = 15 + 2 * count;
            let mut expected = first;
            next.take_in(|packet| {
                if let Some(number) = number(&packet) {
                    assert_eq!(number, expected);
                    expected += 1;
                }
                true
            });
            assert_eq!(expected, 15);
            all_go_through(&sender, &next, 15..more);
            is_whole(&next);
        }
    });
}

#[test]
fn every_chunk_of_a_queue_is_filled_before_a_packet_is_lost() {
    let name = "xdp::tests::every_chunk_of_a_queue_is_filled_before_a_packet_is_lost";
    apart(name, || {
        let Some((a, b, _other)) = ends(name) else {
            return;
        };
        let ((_, sender), (receiver, _)) = (a.process(), b.process());
        // Somebody died with chunks that were not given back.
        all_go_through(&sender, &receiver, 0..100);
        let at = receiver.rx.consumer();
        assert_eq!(send(&sender, 100, 30), Ok(30));
        assert!(readable(receiver.fd()));
        let ready = receiver.ready(at.load(Relaxed));
        at.store(at.load(Relaxed).wrapping_add(ready), Release);
        receiver.give_back();
        let count = receiver.count();
        let mut sent = 0;
        while sent < count + 50 {
            sent += send(&sender, sent, 50).expect("a veth always takes them") as u32;
        }
        assert!(readable(receiver.fd()));
        let mut numbers = Vec::new();
        receiver.take_in(|packet| {
            numbers.extend(number(&packet));
            true
        });
        // Packets of the kernel's own may have taken some room.
        let most = numbers.len() as u32;
        assert!((count - 20..=count).contains(&most), "{most} of {count}");
        assert!(numbers.iter().copied().eq(0..most), "{numbers:?}");
        let dropped = receiver.dropped().expect("some were lost");
        assert!((50..100).contains(&dropped), "{dropped}");
        assert_eq!(receiver.dropped(), None);
    });
}

#[test]
fn whoever_dies_while_sending_leaves_a_ring_that_sends() {
    let name = "xdp::tests::whoever_dies_while_sending_leaves_a_ring_that_sends";
    apart(name, || {
        let Some((a, b, _other)) = ends(name) else {
            return;
        };
        let (receiver, _) = b.process();
        let count = a.process().1.queue.shape.tx;
        let mut next = 0;
        // How far it came: written packets to chunks; descriptors, too; said that they are there; called the kernel.
        for step in 0..4 {
            let (_, dying) = a.process();
            let room = dying.room();
            assert_eq!(room.len, count);
            for i in 0..7 {
                let at = room.start.wrapping_add(i);
                let packet = numbered(next + i);
                assert!(copy_in(
                    &packet,
                    &dying.queue.memory,
                    dying.chunk(at) as usize
                ));
                if step >= 1 {
                    describe(&dying, at, packet.len());
                }
            }
            if step >= 2 {
                dying.produce(room.start.wrapping_add(7));
            }
            if step >= 3 {
                dying.call().expect("it takes them");
            }
            drop(dying);
            // Those that the kernel has taken have been sent.
            let first = if step >= 3 { next + 7 } else { next };
            let mut expected = next;
            receiver.take_in(|packet| {
                if let Some(number) = number(&packet) {
                    assert_eq!(number, expected);
                    expected += 1;
                }
                true
            });
            assert_eq!(expected, first);
            let (_, sender) = a.process();
            all_go_through(&sender, &receiver, first..first + 3 * count);
            next = first + 3 * count;
            assert_eq!(a.process().1.room().len, count);
        }
    });
}

/// The kernel knows of more packets than the next sender sends.
#[test]
fn packets_of_somebody_dead_are_not_sent_behind_a_shorter_batch() {
    let name = "xdp::tests::packets_of_somebody_dead_are_not_sent_behind_a_shorter_batch";
    apart(name, || {
        let Some((a, b, _other)) = ends(name) else {
            return;
        };
        let (receiver, _) = b.process();
        let mut next = 0;
        // Entries that are passed over must not use up the ring.
        let rounds = 3 * a.process().1.queue.shape.tx / 4;
        for _ in 0..rounds {
            let (_, dying) = a.process();
            let room = dying.room();
            for i in 0..7 {
                let at = room.start.wrapping_add(i);
                let packet = numbered(1 << 20);
                assert!(copy_in(
                    &packet,
                    &dying.queue.memory,
                    dying.chunk(at) as usize
                ));
                describe(&dying, at, packet.len());
            }
            dying.produce(room.start.wrapping_add(7));
            drop(dying);
            all_go_through(&a.process().1, &receiver, next..next + 3);
            next += 3;
        }
    });
}

#[test]
fn one_call_sends_a_whole_batch() {
    let name = "xdp::tests::one_call_sends_a_whole_batch";
    apart(name, || {
        let Some((a, b, _other)) = ends(name) else {
            return;
        };
        let ((_, sender), (receiver, _)) = (a.process(), b.process());
        let start = sender.room().start;
        for i in 0..128 {
            let (packet, at) = (numbered(i), start.wrapping_add(i));
            assert!(copy_in(
                &packet,
                &sender.queue.memory,
                sender.chunk(at) as usize
            ));
            describe(&sender, at, packet.len());
        }
        sender.produce(start + 128);
        let called = sender.call();
        let taken = sender.tx.consumer().load(Acquire) - start;
        let (level, option) = (libc::SOL_XDP, super::open::MAX_TX_SKB_BUDGET);
        if set_option(sender.fd(), level, option, &128u32.to_ne_bytes()).is_err() {
            println!("{name}: skipped: a call of this kernel sends 32 (Linux 6.18: more)");
            return;
        }
        assert_eq!((called, taken), (Ok(()), 128));
        assert!(readable(receiver.fd()));
    });
}

#[test]
fn nonsense_in_the_rings_harms_nobody() {
    let name = "xdp::tests::nonsense_in_the_rings_harms_nobody";
    apart(name, || {
        let Some((a, b, _other)) = ends(name) else {
            return;
        };
        let ((_, sender), (receiver, _)) = (a.process(), b.process());
        let mut seen = 0;
        for (address, len) in [
            (u64::MAX, 60),
            (1 << 40, 60),
            (0, u32::MAX),
            (2047, 2),
            (0, 0),
        ] {
            assert_eq!(send(&sender, 0, 1), Ok(1));
            assert!(readable(receiver.fd()));
            let at = receiver.rx.consumer().load(Relaxed);
            for i in 0..receiver.ready(at) {
                receiver.rx.entry(at + i).address.store(address, Relaxed);
                receiver.rx.entry(at + i).len.store(len, Relaxed);
            }
            receiver.take_in(|packet| {
                seen += packet.len();
                true
            });
            is_whole(&receiver);
        }
        assert_eq!(seen, 0);
        for index in [1, 1 << 20, u32::MAX / 2, u32::MAX] {
            for ring in [receiver.rx.producer(), receiver.fill.producer()] {
                let is = ring.fetch_add(index, Relaxed);
                let mut offered = 0;
                receiver.take_in(|_| {
                    offered += 1;
                    offered <= receiver.count()
                });
                assert!(offered <= receiver.count(), "{index}");
                receiver.give_back();
                ring.store(is, Relaxed);
            }
            sender.completion.producer().fetch_add(index, Relaxed);
            let _ = send(&sender, 0, 3);
        }
    });
}

#[test]
fn descriptors_that_are_no_socket_or_no_memory_are_refused() {
    let name = "xdp::tests::descriptors_that_are_no_socket_or_no_memory_are_refused";
    apart(name, || {
        let Some((a, _b, _other)) = ends(name) else {
            return;
        };
        let [socket, memory, ..] = &a.opened.fds[..] else {
            panic!("descriptors");
        };
        let refused = |socket: &Fd, memory: &Fd, shape: &Shape| {
            let sides = queue(socket, memory, shape).and_then(|queue| queue.sides());
            sides.map(drop).expect_err("nonsense")
        };
        assert_eq!(refused(memory, memory, &a.shape), Errno::NOTSOCK);
        refused(socket, socket, &a.shape);
        let open = Memfd::create("test", 4096).expect("memory");
        assert_eq!(refused(socket, &open.parts()[0], &a.shape), Errno::PROTO);
        for change in [
            |s: &mut Shape| s.rx = 0,
            |s: &mut Shape| s.tx = 3,
            |s: &mut Shape| s.chunk = 0,
            |s: &mut Shape| s.rx *= 64,
            |s: &mut Shape| s.longest = s.chunk + 1,
            |s: &mut Shape| (s.rx, s.tx, s.chunk) = (1 << 31, 1 << 31, 1 << 31),
        ] {
            let mut shape = a.shape;
            change(&mut shape);
            assert_eq!(refused(socket, memory, &shape), Errno::PROTO, "{shape:?}");
        }
        assert!(duplicate(socket).is_ok());
    });
}
