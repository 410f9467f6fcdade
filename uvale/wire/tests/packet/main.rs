//! Packet sockets between network namespaces: what is sent arrives, once, whole, and as it was sent.

mod arrive;
#[path = "../ground/mod.rs"]
mod ground;
mod hostile;
mod interfaces;

use std::net::UdpSocket;

use ground::{number_of, numbered, readable};
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

/// Is there something to read right now?
fn readable_now(frames: &Frames) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(frames.fd().expect("a socket"), PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)) == Ok(1)
}

fn udp(from: &str, to: &str, bytes: &[u8]) {
    let socket = UdpSocket::bind(from).expect("the address is ours");
    socket.send_to(bytes, to).expect("there is a way");
}
