//! Packet sockets between network namespaces: what is sent arrives, once, whole, and as it was sent.

mod ground;

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ground::{Other, apart, ip, number_of, numbered, open, pair, readable, wire, wire_of};
use rustix::io::Errno;
use uvale_shared::shm::{Mapping, Memfd, copy_in};
use uvale_wire::{Frames, Packet, Space, Transmitter, Wire};

fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    packet.pieces.concat()
}

/// Memory to send from: packets of up to 2048 bytes.
fn memory(packets: usize) -> Mapping {
    let memfd = Memfd::create("test", packets * 2048).expect("memory");
    Mapping::new(&memfd).expect("memory")
}

/// Sends packets `numbers`, and calls `meanwhile` whenever there is no room.
fn send(
    sender: &Transmitter,
    numbers: std::ops::Range<u32>,
    len: impl Fn(u32) -> usize,
    mut meanwhile: impl FnMut(),
) {
    let (memory, mut space) = (memory(64), Space::default());
    let all: Vec<u32> = numbers.collect();
    for some in all.chunks(64) {
        let mut batch = space.batch(&memory);
        for (i, number) in some.iter().enumerate() {
            let packet = numbered(*number, len(*number));
            assert!(copy_in(&packet, &memory, i * 2048));
            // In one piece or two.
            let first = if i % 2 == 0 { packet.len() } else { 20 };
            assert!(batch.push(i * 2048, first, false));
            if first < packet.len() {
                assert!(batch.push(i * 2048 + first, packet.len() - first, true));
            }
        }
        let mut sent = 0;
        while sent < batch.len() {
            match sender.send(&batch, sent) {
                Ok(n) => sent += n,
                Err(Errno::AGAIN | Errno::NOBUFS) => meanwhile(),
                Err(e) => panic!("packet {}: {e}", some[sent]),
            }
        }
        meanwhile();
    }
}

/// Takes in what is there, from frame `at` on.
fn take(frames: &Frames, at: &mut u32, mut seen: impl FnMut(Packet<'_>)) {
    *at = frames.take_in(
        *at,
        |_| {},
        |packet| {
            seen(packet);
            true
        },
    );
}

/// Takes in packets until `is_enough`, or nothing comes any more.
fn take_until(frames: &Frames, at: &mut u32, mut is_enough: impl FnMut(Packet<'_>) -> bool) {
    let mut enough = false;
    while !enough && readable(frames.fd().expect("a socket")) {
        take(frames, at, |p| enough |= is_enough(p));
    }
}

/// Waits until packet `n` from frame `at` on is there.
fn arrived(frames: &Frames, at: u32, n: u32) {
    let last = (at + n - 1) % frames.count();
    for _ in 0..5000 {
        if frames.is_ready(last) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("packet {n} does not come");
}

fn ends(wire: &Wire) -> (&Frames, &Transmitter) {
    (
        wire.frames(0).expect("one rx ring"),
        wire.sender(0).expect("one tx ring"),
    )
}

/// Numbers of the packets that are there.
fn numbers(frames: &Frames, at: &mut u32) -> Vec<u32> {
    let mut seen = Vec::new();
    take(frames, at, |p| seen.extend(number_of(&bytes(&p))));
    seen
}

#[test]
fn packets_arrive_in_order_while_the_frames_wrap() {
    apart("packets_arrive_in_order_while_the_frames_wrap", || {
        let other = pair("");
        let (a, b) = (wire("va"), other.run(|| wire("vb")));
        for (from, to) in [(&a, &b), (&b, &a)] {
            let (frames, sender) = (ends(to).0, ends(from).1);
            let len = |n: u32| 60 + (n as usize * 7) % 1455;
            let (mut at, mut turn, expected) = (0, 0, Cell::new(0));
            let mut check = |at: &mut u32| {
                *at = frames.take_in(
                    *at,
                    |next| assert!(next < frames.count()),
                    |packet| {
                        // Each fifth time there is no room.
                        turn += 1;
                        let packet = bytes(&packet);
                        let Some(n) = number_of(&packet) else {
                            return true;
                        };
                        assert_eq!(n, expected.get());
                        assert!(packet == numbered(n, len(n)), "packet {n}");
                        let is_taken = turn % 5 != 0;
                        expected.set(n + u32::from(is_taken));
                        is_taken
                    },
                );
            };
            let rounds = 5 * frames.count() + 17;
            let mut check_all = || {
                while frames.is_ready(at) {
                    check(&mut at);
                }
            };
            send(sender, 0..rounds, len, &mut check_all);
            while expected.get() < rounds && readable(frames.fd().expect("a socket")) {
                check_all();
            }
            assert_eq!(expected.get(), rounds);
            assert_eq!(frames.dropped(), None);
        }
    });
}

#[test]
fn packets_that_find_no_frame_are_counted() {
    apart("packets_that_find_no_frame_are_counted", || {
        let other = pair("");
        let (a, b) = (wire("va"), other.run(|| wire("vb")));
        let (frames, sender) = (ends(&b).0, ends(&a).1);
        let (count, mut at) = (frames.count(), 0);
        // The kernel may be late, and find frames for some of them.
        let lost = (0..100).find_map(|_| {
            send(sender, 0..count, |_| 60, || {});
            arrived(frames, at, count);
            send(sender, count..count + 100, |_| 60, || {});
            let mut seen = numbers(frames, &mut at);
            send(sender, count + 100..count + 101, |_| 60, || {});
            while seen.last() != Some(&(count + 100)) && readable(frames.fd().expect("a socket")) {
                seen.extend(numbers(frames, &mut at));
            }
            assert!(seen.is_sorted());
            let lost = count + 101 - seen.len() as u32;
            assert_eq!(frames.dropped().unwrap_or(0), lost);
            (lost > 0).then_some(lost)
        });
        assert!(lost.is_some(), "100 packets for which there is no frame");
        assert_eq!(frames.dropped(), None);
    });
}

#[test]
fn the_vlan_tag_that_the_kernel_took_out_comes_back() {
    apart("the_vlan_tag_that_the_kernel_took_out_comes_back", || {
        let other = pair("");
        let (a, b) = (wire("va"), other.run(|| wire("vb")));
        let (frames, sender) = (ends(&b).0, ends(&a).1);
        let (memory, mut space, mut at) = (memory(1), Space::default(), 0);
        // What is left to do with a packet is sent along, and counts from its start: a checksum.
        uvale_system::sys::set_option(
            sender.fd().expect("a socket"),
            SOL_PACKET,
            PACKET_VNET_HDR,
            &[1, 0, 0, 0],
        )
        .expect("nothing was sent yet");
        for tag in [[0x81, 0, 0x20, 5], [0x88, 0xa8, 0, 7]] {
            let plain = numbered(7, 100);
            let packet = [&plain[..12], &tag, &plain[12..]].concat();
            // flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
            let header = [1u16, 0, 0, 40, 6].map(u16::to_ne_bytes);
            assert!(copy_in(header.as_flattened(), &memory, 0) && copy_in(&packet, &memory, 10));
            let mut batch = space.batch(&memory);
            assert!(batch.push(0, 10 + packet.len(), false));
            assert_eq!(sender.send(&batch, 0), Ok(1));
            let mut found = None;
            take_until(frames, &mut at, |p| {
                if bytes(&p) == packet {
                    found = Some((p.pieces[1].to_vec(), p.header));
                }
                found.is_some()
            });
            let (piece, header) = found.expect("the packet as it was sent");
            assert_eq!(piece, tag, "the kernel had not taken it out");
            let header = header.expect("the checksum is still to be completed");
            assert_eq!((header[0], header[1]), (1, 0));
            assert_eq!((word(&header, 6), word(&header, 8)), (40, 6));
        }
    });
}

/// `linux/socket.h`, `linux/if_packet.h`
const SOL_PACKET: i32 = 263;
const PACKET_VNET_HDR: i32 = 15;

fn word(header: &[u8; 10], at: usize) -> u16 {
    u16::from_ne_bytes([header[at], header[at + 1]])
}

fn udp(from: &str, to: &str, bytes: &[u8]) {
    let socket = UdpSocket::bind(from).expect("the address is ours");
    socket.send_to(bytes, to).expect("there is a way");
}

#[test]
fn a_checksum_that_is_not_complete_has_its_header() {
    apart("a_checksum_that_is_not_complete_has_its_header", || {
        let other = pair("");
        other.run(|| {
            ip("addr add 10.9.0.2/24 dev vb");
            ip("neigh add 10.9.0.1 lladdr 02:00:00:00:00:01 dev vb");
        });
        let a = wire("va");
        let (frames, mut at) = (ends(&a).0, 0);
        other.run(|| udp("10.9.0.2:0", "10.9.0.1:9", b"half a checksum"));
        let mut header = None;
        take_until(frames, &mut at, |packet| {
            if bytes(&packet).ends_with(b"half a checksum") {
                header = packet.header;
            }
            header.is_some()
        });
        let header = header.expect("the kernel leaves the checksum to the interface");
        assert_eq!((header[0], header[1]), (1, 0));
        assert_eq!((word(&header, 6), word(&header, 8)), (14 + 20, 6));
    });
}

/// A stream of the kernel's TCP from the other end to this one.
fn stream(other: &Other, len: usize) -> std::thread::JoinHandle<()> {
    ip("addr add 10.9.0.1/24 dev va");
    other.run(|| ip("addr add 10.9.0.2/24 dev vb"));
    let listener = TcpListener::bind("10.9.0.1:7777").expect("the address is ours");
    let receiver = std::thread::spawn(move || {
        let (mut from, _) = listener.accept().expect("it comes");
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("it comes whole");
        assert_eq!(bytes.len(), len);
    });
    other.run(move || {
        let mut to = TcpStream::connect("10.9.0.1:7777").expect("there is a way");
        let bytes: Vec<u8> = (0..len).map(pattern).collect();
        to.write_all(&bytes).expect("it is taken");
    });
    receiver
}

/// Byte `at` of the stream.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// What a TCP packet carries.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let is_tcp = packet.get(12..14) == Some(&[8, 0]) && packet.get(23) == Some(&6);
    let data = usize::from(packet.get(46)? >> 4) * 4;
    packet.get(34 + data..).filter(|_| is_tcp)
}

fn is_of_stream(payload: &[u8]) -> bool {
    // A position is known by its three bytes from 0x10000 on and by trial: streams here are short.
    (0..1 << 18).any(|at| {
        payload
            .iter()
            .enumerate()
            .all(|(i, b)| *b == pattern(at + i))
    })
}

#[test]
fn a_packet_longer_than_its_frame_arrives_whole() {
    apart("a_packet_longer_than_its_frame_arrives_whole", || {
        let other = pair("");
        let a = wire("va");
        let frames = ends(&a).0;
        let receiver = stream(&other, 200_000);
        receiver.join().expect("the kernel's TCP works");
        // A position kept by a process that dies before it has thrown away what waits beside the frames.
        let (kept, is_long) = (Cell::new(0), Cell::new(false));
        let died = catch_unwind(AssertUnwindSafe(|| {
            let next = |next| {
                kept.set(next);
                assert!(!is_long.get(), "dies");
            };
            frames.take_in(0, next, |packet| {
                is_long.set(packet.len() > 2048);
                true
            })
        }));
        assert!(died.is_err(), "nothing was longer than a frame");
        let (mut at, mut long) = (frames.find(kept.get()), 0);
        let mut bytes_seen = 0;
        take(frames, &mut at, |packet| {
            let whole = bytes(&packet);
            let Some(payload) = payload(&whole).filter(|p| !p.is_empty()) else {
                return;
            };
            assert!(is_of_stream(payload), "{} bytes", payload.len());
            bytes_seen += payload.len();
            if whole.len() > 1514 {
                long += 1;
                let header = packet.header.expect("it is to be taken apart");
                assert_eq!(
                    (header[0], header[1]),
                    (1, 1),
                    "a checksum to complete, TCPv4"
                );
                assert!((536..=1460).contains(&word(&header, 4)), "{header:?}");
                assert_eq!((word(&header, 6), word(&header, 8)), (34, 16));
            }
        });
        assert!(long > 0, "no other was longer than a frame");
        assert!(bytes_seen > 50_000, "{bytes_seen} bytes");
        let is_clean = !readable_now(frames) || frames.is_ready(at);
        assert!(is_clean, "something is left beside the frames");
    });
}

fn readable_now(frames: &Frames) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(frames.fd().expect("a socket"), PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)) == Ok(1)
}

#[test]
fn who_takes_over_from_the_dead_finds_the_next_frame() {
    apart("who_takes_over_from_the_dead_finds_the_next_frame", || {
        let other = pair("");
        let (a, b) = (wire("va"), other.run(|| wire("vb")));
        let (frames, sender) = (ends(&b).0, ends(&a).1);
        let mut at = 0;
        take(frames, &mut at, |_| {});
        assert_eq!(frames.find(at), at);
        assert_eq!(frames.find(frames.count()), 0);
        assert!(!frames.is_ready(frames.count()));

        // It dies between saying what is next and giving the frame back.
        let dies_after = |at: u32, packets: u32| {
            let kept = Cell::new(at);
            let left = Cell::new(packets);
            let died = catch_unwind(AssertUnwindSafe(|| {
                let next = |next| {
                    kept.set(next);
                    left.set(left.get() - 1);
                    assert!(left.get() > 0, "dies");
                };
                frames.take_in(at, next, |_| true)
            }));
            assert!(died.is_err());
            kept.get()
        };
        send(sender, 0..10, |_| 60, || {});
        arrived(frames, at, 10);
        let kept = dies_after(at, 4);
        // The one that was not given back comes a second time.
        at = frames.find(kept);
        assert_eq!(numbers(frames, &mut at), (3..10).collect::<Vec<_>>());
        assert_eq!(frames.find(at), at);
        // It is in nobody's way: not in the next lap, nor when all frames are full.
        let lap = frames.count() + 100;
        let next = Cell::new(10);
        let mut take_all = || {
            for n in numbers(frames, &mut at) {
                assert_eq!(n, next.get());
                next.set(n + 1);
            }
        };
        send(sender, 10..lap, |_| 60, &mut take_all);
        while next.get() < lap && readable(frames.fd().expect("a socket")) {
            take_all();
        }
        assert_eq!(next.get(), lap);
        send(sender, 0..frames.count(), |_| 60, || {});
        arrived(frames, at, frames.count());
        assert_eq!(frames.find(at), at);
        assert!(numbers(frames, &mut at).into_iter().eq(0..frames.count()));

        // It was the last packet that is there.
        send(sender, 30..31, |_| 60, || {});
        arrived(frames, at, 1);
        at = dies_after(at, 1);
        assert!(readable_now(frames) && !frames.is_ready(at));
        let kept = at;
        at = frames.find(at);
        assert_eq!(numbers(frames, &mut at), [30]);
        assert!(at == kept && !readable_now(frames));

        // The position is anything.
        send(sender, 40..45, |_| 60, || {});
        arrived(frames, at, 5);
        at = frames.find((at + frames.count() / 2) % frames.count());
        assert_eq!(numbers(frames, &mut at), (40..45).collect::<Vec<_>>());
    });
}

/// The frames once more, as another process of the user could map and write them.
struct Scribbler {
    base: *mut u8,
    len: usize,
}

impl Scribbler {
    fn new(frames: &Frames, size: usize) -> Self {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let len = size * frames.count() as usize;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping where nothing is.
        let base = unsafe {
            let nowhere = core::ptr::null_mut();
            mmap(
                nowhere,
                len,
                access,
                MapFlags::SHARED,
                frames.fd().expect("a socket"),
                0,
            )
        };
        let base = base.expect("it can be mapped more than once").cast();
        Self { base, len }
    }

    fn write(&self, at: usize, value: u32, bytes: usize) {
        assert!(at + bytes <= self.len);
        let value = value.to_ne_bytes();
        // SAFETY: inside the mapping, which is there until the process ends.
        unsafe { core::ptr::copy_nonoverlapping(value.as_ptr(), self.base.add(at), bytes) };
    }
}

#[test]
fn frames_that_others_have_scribbled_on_are_survived() {
    apart("frames_that_others_have_scribbled_on_are_survived", || {
        let other = pair("");
        let (a, b) = (wire("va"), other.run(|| wire("vb")));
        let (frames, sender) = (ends(&b).0, ends(&a).1);
        let size = b.shape().frames[0].size as usize;
        let scribbler = Scribbler::new(frames, size);
        let mut at = 0;
        take(frames, &mut at, |_| {});
        // tp_len, tp_snaplen, tp_mac, what they are, and may the packet be taken.
        let end = size as u32;
        let cases = [
            (u32::MAX, u32::MAX, 76, false),
            (end - 48, end - 48, 76, false),
            (60, 60, 9, false),
            (60, 60, 0xffff, false),
            (60, 60, end, false),
            (60, 60, end - 8, false),
            (60, u32::MAX, end - 8, false),
            (3000, end - 48, 76, false),
            (u32::MAX, end - 148, 76, false),
            (end, end, 10, false),
            (0, 0, end, true),
            (end - 10, end - 10, 10, true),
            (3, 3, 76, true),
        ];
        // TP_STATUS_USER alone, with COPY, with a VLAN tag.
        for (status, case) in [1, 3, 0x11, 0x51, 2, u32::MAX]
            .into_iter()
            .flat_map(|s| cases.map(|c| (s, c)))
        {
            let (len, snaplen, mac, may) = case;
            send(sender, 1..3, |_| 60, || {});
            arrived(frames, at, 2);
            let frame = at as usize * size;
            scribbler.write(frame + 4, len, 4);
            scribbler.write(frame + 8, snaplen, 4);
            scribbler.write(frame + 12, mac, 2);
            scribbler.write(frame, status, 4);
            let (mut taken, mut second) = (0, false);
            take(frames, &mut at, |packet| {
                let packet = bytes(&packet);
                assert!(packet.len() <= size);
                second |= packet == numbered(2, 60);
                taken += 1;
            });
            assert_eq!(
                (taken, second),
                (1 + u32::from(may), true),
                "{status:#x} {case:?}"
            );
        }
    });
}

#[test]
fn a_position_and_a_shape_that_are_none_are_refused() {
    apart("a_position_and_a_shape_that_are_none_are_refused", || {
        let _other = pair("");
        let a = wire("va");
        let frames = ends(&a).0;
        let took = frames.take_in(u32::MAX, |_| panic!(), |_| panic!());
        assert_eq!(took, u32::MAX);
        for change in [(0, 1), (1, 0), (1, 2), (2, 1), (u32::MAX, u32::MAX), (7, 1)] {
            let mut opened = open("va", [1, 1]);
            let shape = &mut opened.shape.frames[0];
            shape.size = shape.size.wrapping_mul(change.0);
            shape.count = shape.count.wrapping_mul(change.1);
            assert!(Wire::new(opened.shape, opened.fds).is_err(), "{change:?}");
        }
        let mut opened = open("va", [1, 1]);
        opened.fds.swap(0, 1);
        assert!(
            Wire::new(opened.shape, opened.fds).is_err(),
            "a sending socket"
        );
        let mut opened = open("va", [1, 1]);
        opened.fds.pop();
        assert!(Wire::new(opened.shape, opened.fds).is_err(), "one too few");
        let shape = open("va", [1, 0]).shape;
        let file = std::fs::File::open("/dev/zero").expect("it is there");
        let file = std::os::fd::OwnedFd::from(file).into();
        assert!(Wire::new(shape, vec![file]).is_err(), "no socket");
    });
}

#[test]
fn long_packets_of_a_large_mtu_and_too_long_ones() {
    apart("long_packets_of_a_large_mtu_and_too_long_ones", || {
        let other = pair("mtu 9000");
        long_packets(&other, 9014);
        // Longer than any frame.
        ip("link set va mtu 40000");
        other.run(|| ip("link set vb mtu 40000"));
        long_packets(&other, 40014);
    });
}

/// Packets of `most` bytes, which the MTU allows, and of more.
fn long_packets(other: &Other, most: usize) {
    let (a, b) = (wire("va"), other.run(|| wire("vb")));
    let (frames, sender) = (ends(&b).0, ends(&a).1);
    let (memory, mut space) = (memory(32), Space::default());
    let packet = numbered(5, most);
    assert!(copy_in(&packet, &memory, 0));
    let mut batch = space.batch(&memory);
    assert!(batch.push(0, most, false));
    assert!(batch.push(0, most + 1 + 4, false));
    assert!(batch.push(0, most, false));
    assert!(!batch.push(32 * 2048 - 1, 2, false), "beyond the memory");
    assert!(!batch.push(usize::MAX, 2, true), "beyond the memory");
    assert_eq!(batch.len(), 3);
    assert_eq!(sender.send(&batch, 0), Ok(1));
    assert_eq!(sender.send(&batch, 1), Err(Errno::MSGSIZE));
    assert_eq!(sender.send(&batch, 2), Ok(1));
    assert_eq!(sender.send(&batch, 3), Ok(0));
    let mut batch = space.batch(&memory);
    let nothing_to_continue = batch.push(0, 60, true);
    assert!(batch.is_empty() && !nothing_to_continue);
    assert!(batch.push(0, 13, false));
    assert_eq!(sender.send(&batch, 0), Err(Errno::INVAL));
    let (mut at, mut seen) = (0, 0);
    arrived(frames, at, 2);
    take(frames, &mut at, |p| {
        seen += u32::from(bytes(&p) == packet);
    });
    assert_eq!(seen, 2);
}

#[test]
fn an_interface_that_is_down_comes_back_and_one_that_is_gone_says_so() {
    let name = "an_interface_that_is_down_comes_back_and_one_that_is_gone_says_so";
    apart(name, || {
        let other = pair("");
        let (a, b) = (wire("va"), other.run(|| wire("vb")));
        let (frames, sender) = (ends(&b).0, ends(&a).1);
        let (memory, mut space) = (memory(1), Space::default());
        assert!(copy_in(&numbered(1, 60), &memory, 0));
        let mut batch = space.batch(&memory);
        assert!(batch.push(0, 60, false));
        ip("link set va down");
        other.run(|| ip("link set vb down"));
        assert_eq!(sender.send(&batch, 0), Err(Errno::NETDOWN));
        assert!(readable_now(frames));
        assert_eq!(frames.take_error(), Some(Errno::NETDOWN));
        assert_eq!(frames.take_error(), None);
        let down = other.run(|| wire("vb"));
        assert!(!readable_now(ends(&down).0), "opened while it is down");
        ip("link set va up");
        other.run(|| ip("link set vb up"));
        let mut at = [0, 0];
        let both = [frames, ends(&down).0];
        for (frames, at) in both.iter().zip(&mut at) {
            take(frames, at, |_| {});
        }
        assert_eq!(sender.send(&batch, 0), Ok(1));
        for (frames, at) in both.iter().zip(&mut at) {
            arrived(frames, *at, 1);
            assert_eq!(numbers(frames, at), [1]);
        }
        ip("link del va");
        assert!(matches!(
            sender.send(&batch, 0),
            Err(Errno::NXIO | Errno::NODEV)
        ));
    });
}

#[test]
fn who_may_not_open_packet_sockets_hears_what_to_do() {
    apart("who_may_not_open_packet_sockets_hears_what_to_do", || {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let _other = pair("");
        let mut sets = capabilities(None).expect("this thread has some");
        sets.effective.remove(CapabilitySet::NET_RAW);
        set_capabilities(None, sets).expect("fewer are always allowed");
        let opened = open("va", [1, 1]);
        assert_eq!(opened.shape.kind, uvale_wire::Kind::Nothing);
        assert!(opened.fds.is_empty());
        let said = opened.shape.lacks.concat();
        for word in ["CAP_NET_RAW", "docker", "podman", "sudo"] {
            assert!(said.contains(word), "{said}");
        }
    });
}

/// A TAP of two queues: what is written to one comes as from that queue.
fn tap_queues(name: &str) -> Option<[std::fs::File; 2]> {
    const TUNSETIFF: u64 = 0x4004_54ca;
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    // IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE
    request[16..18].copy_from_slice(&0x1102u16.to_ne_bytes());
    let open = || {
        use std::os::fd::AsRawFd;
        let mut options = std::fs::OpenOptions::new();
        let tun = options.read(true).write(true).open("/dev/net/tun").ok()?;
        // SAFETY: the kernel reads and writes a struct ifreq, which is 40 bytes long.
        let ret = unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF as _, request.as_ptr()) };
        (ret == 0).then_some(tun)
    };
    Some([open()?, open()?])
}

#[test]
fn each_queue_comes_to_its_own_ring_and_nothing_twice() {
    let name = "each_queue_comes_to_its_own_ring_and_nothing_twice";
    apart(name, || {
        let Some(mut queues) = tap_queues("tap0") else {
            println!("{name}: skipped: no /dev/net/tun for us, or it has one queue only");
            return;
        };
        ip("link set tap0 up");
        let wire = wire_of(open("tap0", [2, 2]));
        let frames = [0, 1].map(|i| wire.frames(i).expect("two rx rings"));
        let mut at = [0, 0];
        for round in 0..100 {
            for (i, queue) in queues.iter_mut().enumerate() {
                queue
                    .write_all(&numbered(round * 2 + i as u32, 60))
                    .expect("it is up");
            }
        }
        for (i, (frames, at)) in frames.iter().zip(&mut at).enumerate() {
            let seen = numbers(frames, at);
            assert_eq!(seen, (0..100).map(|n| n * 2 + i as u32).collect::<Vec<_>>());
        }
        // What this host sends does not come back.
        let sender = wire.sender(1).expect("two tx rings");
        send(sender, 0..10, |_| 60, || {});
        ip("addr add 10.9.0.1/24 dev tap0");
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev tap0");
        udp("10.9.0.1:0", "10.9.0.2:9", b"out");
        let mut seen = 0;
        for (frames, at) in frames.iter().zip(&mut at) {
            take(frames, at, |_| seen += 1);
        }
        assert_eq!(seen, 0);
    });
}

#[test]
fn more_queues_than_a_message_has_room_for_are_refused_with_a_sentence() {
    let name = "more_queues_than_a_message_has_room_for_are_refused_with_a_sentence";
    apart(name, || {
        let _other = pair("numtxqueues 120 numrxqueues 120");
        let most = uvale_wire::MOST_RINGS;
        let opened = open("va", [most, most]);
        assert_eq!(opened.shape.lacks, [""; 0]);
        assert_eq!(opened.fds.len() as u32, 2 * most);
        let opened = open("va", [1, most + 1]);
        let said = opened.shape.lacks.concat();
        assert!(opened.shape.kind == uvale_wire::Kind::Nothing && opened.fds.is_empty());
        assert!(
            said.contains(&format!("ethtool -L va combined {most}")),
            "{said}"
        );
    });
}
