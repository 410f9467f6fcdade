//! What hosts send each other: echoes, and TCP.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use crate::ground::Ground;

/// Tries `count` echoes to `to`, one after the other, from where this thread stands. How many were answered.
pub fn ping(to: IpAddr, count: u16, patience: Duration) -> u16 {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let kind = SocketType::RAW;
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol));
    let socket = socket.expect("a raw socket");
    let answered = |number: &u16| {
        let echo = echo(to.is_ipv6(), *number);
        rustix::net::sendto(&socket, &echo, SendFlags::empty(), &SocketAddr::new(to, 0)).is_ok()
            && is_answered(&socket, to.is_ipv6(), *number, patience)
    };
    (0..count).filter(answered).count() as u16
}

const BEFORE: usize = 8;

/// An echo request, without IP's header.
pub fn echo(is_v6: bool, number: u16) -> Vec<u8> {
    let mut message = vec![if is_v6 { 128 } else { 8 }, 0, 0, 0, 0x42, 0x42];
    message.extend_from_slice(&number.to_be_bytes());
    message.extend_from_slice(&[0x55; 56]);
    if !is_v6 {
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

fn is_answered(socket: &rustix::fd::OwnedFd, is_v6: bool, number: u16, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    let mut buffer = [0u8; 2048];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sockopt::set_socket_timeout(
            socket,
            sockopt::Timeout::Recv,
            Some(left.max(Duration::from_millis(1))),
        )
        .expect("a timeout");
        let n = match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((n, _)) => n,
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(e) => panic!("{e}"),
        };
        // IPv4's header comes with it.
        let message = &buffer[if is_v6 { 0 } else { 20 }..n];
        let reply = if is_v6 { 129 } else { 0 };
        if message.len() >= BEFORE && message[0] == reply && message[6..8] == number.to_be_bytes() {
            return true;
        }
    }
}

/// 10 MB that do not repeat soon.
fn data() -> Vec<u8> {
    let mut x = 1u64;
    let mut next = || {
        x = x
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        x
    };
    (0..10 << 17).flat_map(|_| next().to_ne_bytes()).collect()
}

/// One host serves at `address`, the other calls it; both send and compare what comes.
pub fn tcp(ground: &Ground, address: IpAddr, serves_here: bool) {
    let (tell, told) = mpsc::channel();
    let server = move || {
        let listener = TcpListener::bind((address, 0)).expect("an address of ours");
        tell.send(listener.local_addr().expect("bound").port())
            .expect("awaited");
        exchange(listener.accept().expect("a call").0);
    };
    let client = move || {
        let port = told.recv().expect("a port");
        let patience = Duration::from_secs(20);
        exchange(TcpStream::connect_timeout(&(address, port).into(), patience).expect("an answer"));
    };
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            if serves_here {
                ground.here(server)
            } else {
                ground.there(server)
            }
        });
        if serves_here {
            ground.there(client)
        } else {
            ground.here(client)
        }
        server.join().expect("the server");
    });
}

fn exchange(mut stream: TcpStream) {
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("a timeout");
    stream.set_write_timeout(patience).expect("a timeout");
    let data = data();
    let mut writes = stream.try_clone().expect("a second descriptor");
    thread::scope(|scope| {
        scope.spawn(|| {
            writes.write_all(&data).expect("all is taken");
            writes.shutdown(std::net::Shutdown::Write).expect("open");
        });
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("all comes");
        assert!(
            got == data,
            "{} bytes of {} came, or others",
            got.len(),
            data.len()
        );
    });
}

/// Echo requests that the stack of this thread's namespace has seen, of IPv4.
pub fn echoes_seen() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").expect("counters");
    let mut lines = text.lines().filter(|l| l.starts_with("Icmp:"));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let at = names
        .split(' ')
        .position(|n| n == "InEchos")
        .expect("a counter");
    values
        .split(' ')
        .nth(at)
        .and_then(|v| v.parse().ok())
        .expect("a number")
}

/// A frame with an echo request from one address to another, `len` bytes long.
pub fn echo_frame(to: [u8; 6], addresses: [IpAddr; 2], len: usize) -> Vec<u8> {
    let [IpAddr::V4(from), IpAddr::V4(target)] = addresses else {
        panic!("of IPv4");
    };
    let mut message = echo(false, 0);
    message.resize(len - 34, 0);
    message[2..4].fill(0);
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&(20 + message.len() as u16).to_be_bytes());
    ip.extend_from_slice(&[0, 0, 0, 0, 64, 1, 0, 0]);
    ip.extend_from_slice(&from.octets());
    ip.extend_from_slice(&target.octets());
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    [&to[..], &[2, 0, 0, 0, 0, 9], &[8, 0], &ip, &message].concat()
}
