//! Interfaces of a large MTU, that go down or away, of several queues; and who may open them.

use std::io::Write;

use rustix::io::Errno;
use uvale_shared::shm::copy_in;
use uvale_wire::Space;

use crate::ground::{Other, apart, ip, numbered, open, pair, wire, wire_of};
use crate::{arrived, bytes, ends, memory, numbers, readable_now, send, take, udp};

#[test]
fn long_packets_of_a_large_mtu_and_too_long_ones() {
    apart(
        "interfaces::long_packets_of_a_large_mtu_and_too_long_ones",
        || {
            let other = pair("mtu 9000");
            long_packets(&other, 9014);
            // Longer than any frame.
            ip("link set va mtu 40000");
            other.run(|| ip("link set vb mtu 40000"));
            long_packets(&other, 40014);
        },
    );
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
    let name = "interfaces::an_interface_that_is_down_comes_back_and_one_that_is_gone_says_so";
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
    apart(
        "interfaces::who_may_not_open_packet_sockets_hears_what_to_do",
        || {
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
        },
    );
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
    let name = "interfaces::each_queue_comes_to_its_own_ring_and_nothing_twice";
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
    let name = "interfaces::more_queues_than_a_message_has_room_for_are_refused_with_a_sentence";
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
