//! Packets arrive in order, whole, and with what the kernel has left to do.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};

use uvale_shared::shm::copy_in;
use uvale_wire::Space;

use crate::ground::{Other, apart, ip, number_of, numbered, pair, readable, wire};
use crate::{arrived, bytes, ends, memory, numbers, readable_now, send, take, take_until, udp};

#[test]
fn packets_arrive_in_order_while_the_frames_wrap() {
    apart(
        "arrive::packets_arrive_in_order_while_the_frames_wrap",
        || {
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
        },
    );
}

#[test]
fn packets_that_find_no_frame_are_counted() {
    apart("arrive::packets_that_find_no_frame_are_counted", || {
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
    apart(
        "arrive::the_vlan_tag_that_the_kernel_took_out_comes_back",
        || {
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
                assert!(
                    copy_in(header.as_flattened(), &memory, 0) && copy_in(&packet, &memory, 10)
                );
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
        },
    );
}

/// `linux/socket.h`, `linux/if_packet.h`
const SOL_PACKET: i32 = 263;
const PACKET_VNET_HDR: i32 = 15;

fn word(header: &[u8; 10], at: usize) -> u16 {
    u16::from_ne_bytes([header[at], header[at + 1]])
}

#[test]
fn a_checksum_that_is_not_complete_has_its_header() {
    apart(
        "arrive::a_checksum_that_is_not_complete_has_its_header",
        || {
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
        },
    );
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
    apart(
        "arrive::a_packet_longer_than_its_frame_arrives_whole",
        || {
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
        },
    );
}
