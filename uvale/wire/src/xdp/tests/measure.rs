//! What it costs to copy packets between a socket's memory and a port's buffers, and what a host's stack sends.
//!
//! `cargo test --release -p uvale-wire --lib measure -- --ignored --nocapture`

use std::net::UdpSocket;

use rustix::time::{ClockId, clock_gettime};
use uvale_shared::shm::{Mapping, Memfd, copy_in, copy_out};

use super::ground::{apart, ip, readable};
use super::{describe, ends};
use crate::packet::Space;
use crate::xdp::{Receiver, Sender};

const BATCH: usize = 128;
/// Buffers of a port on each side, as many as netmap's rings have.
const BUFFERS: usize = 1024;
const BUFFER: usize = 2048;

fn buffers() -> Mapping {
    let memfd = Memfd::create("test", BUFFERS * BUFFER).expect("memory");
    Mapping::new(&memfd).expect("memory")
}

/// Sends and receives batches; nanoseconds of this thread for a packet, in the kernel and out of it.
fn timed(batches: usize, mut batch: impl FnMut(usize) -> usize) -> f64 {
    let start = own_time();
    let packets: usize = (0..batches).map(|i| batch(i * BATCH % BUFFERS)).sum();
    (own_time() - start) as f64 / packets as f64
}

fn own_time() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// A program writes its packets into buffers, and reads those that it gets there.
fn with_copies(
    ends: (&Sender, &Receiver),
    (from, to): (&Mapping, &Mapping),
    packet: &[u8],
    batches: usize,
) -> f64 {
    let len = packet.len();
    let mut space = Space::default();
    timed(batches, |first| {
        let mut batch = space.batch(from);
        for i in first..first + BATCH {
            assert!(copy_in(packet, from, i * BUFFER));
            assert!(batch.push(i * BUFFER, len, false));
        }
        let sent = ends.0.send(&batch, 0).expect("it takes them");
        let mut at = first;
        ends.1.take_in(|packet| {
            let [bytes, ..] = packet.pieces;
            at += 1;
            copy_in(bytes, to, at % BUFFERS * BUFFER)
        });
        for i in first + 1..=at {
            read(to, i % BUFFERS * BUFFER, len);
        }
        sent
    })
}

fn read(memory: &Mapping, at: usize, len: usize) {
    std::hint::black_box(copy_out(memory, at, len).expect("it is inside"));
}

/// The bare pair: the same socket calls and rings; a program writes and reads packets in the sockets' memory.
fn bare((sender, receiver): (&Sender, &Receiver), packet: &[u8], batches: usize) -> f64 {
    let len = packet.len();
    timed(batches, |_| {
        let start = sender.room().start;
        for i in 0..BATCH as u32 {
            let at = start.wrapping_add(i);
            let chunk = sender.chunk(at) as usize;
            assert!(copy_in(packet, &sender.queue.memory, chunk));
            describe(sender, at, len);
        }
        sender.produce(start.wrapping_add(BATCH as u32));
        sender.call().expect("it takes them");
        receiver.take_in(|packet| {
            let [bytes, ..] = packet.pieces;
            std::hint::black_box(bytes.to_vec());
            bytes.len() == len
        });
        BATCH
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
#[ignore = "a measurement"]
fn copies() {
    let name = "xdp::tests::measure::copies";
    apart(name, || {
        let Some((a, b, _other)) = ends(name) else {
            return;
        };
        let ((_, sender), (receiver, _)) = (a.process(), b.process());
        let (from, to) = (buffers(), buffers());
        println!("bytes  bare ns  copied ns  ratio of rates");
        for len in [60, 1500] {
            let ends = (&sender, &receiver);
            let packet = vec![2; len];
            let (mut plain, mut copied) = (Vec::new(), Vec::new());
            for _ in 0..301 {
                plain.push(bare(ends, &packet, 16));
                copied.push(with_copies(ends, (&from, &to), &packet, 16));
            }
            let (plain, copied) = (median(plain), median(copied));
            println!("{len:5} {plain:8.0} {copied:10.0} {:14.2}", plain / copied);
        }
    });
}

#[test]
#[ignore = "a measurement"]
fn checksums_of_the_other_ends_stack() {
    let name = "xdp::tests::measure::checksums_of_the_other_ends_stack";
    apart(name, || {
        let Some((a, _b, other)) = ends(name) else {
            return;
        };
        let receiver = a.process().0;
        other.run(|| {
            ip("addr add 10.9.0.2/24 dev vb");
            ip("neigh add 10.9.0.1 lladdr 02:00:00:00:00:01 dev vb");
            let socket = UdpSocket::bind("10.9.0.2:9").expect("its address");
            socket
                .send_to(b"hello", "10.9.0.1:7")
                .expect("there is a neighbour");
        });
        let mut is_seen = false;
        while !is_seen && readable(receiver.fd()) {
            receiver.take_in(|packet| {
                let [bytes, ..] = packet.pieces;
                if bytes.get(12..14) == Some(&[8, 0]) && bytes[23] == 17 {
                    is_seen = true;
                    let is_right = checksum(bytes) == 0xffff;
                    println!("UDP of the other end's stack: checksum right: {is_right}");
                }
                true
            });
        }
        assert!(is_seen);
    });
}

/// Of a UDP packet with its pseudo header: 0xffff if it is right.
fn checksum(frame: &[u8]) -> u32 {
    let udp = &frame[34..47];
    let mut bytes = frame[26..34].to_vec();
    bytes.extend([0, 17]);
    bytes.extend_from_slice(&udp[4..6]);
    bytes.extend_from_slice(udp);
    bytes.push(0);
    let words = bytes
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
    let sum: u32 = words.sum();
    (sum & 0xffff) + (sum >> 16)
}
