//! `uvale vm vhost`, with this test in the place of QEMU and of its guest.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use compat_tests::place::Place;
use compat_tests::wait::{deadline, until};
use compat_tests::world::Program;
use rustix::process::Signal;
use uvale_port::{POLLIN, Port, RX, TX, Wanted};
use vhost::VhostBackend;

use crate::ground::{refused, text, vm};
use crate::virtio::{
    CSUM, Choice, EVENT_IDX, GUEST_CSUM, GUEST_TSO4, HOST_TSO4, INDIRECT, MRG_RXBUF, VirtioGuest,
};

pub const PLAIN: [u8; 12] = [0; 12];

/// A broadcast frame with that number in it.
pub fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 7, 0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.resize(len, number as u8);
    frame
}

/// The process, ready, and its socket.
pub fn vhost(place: &Place, port: &str, more: &[&str]) -> (Program, PathBuf) {
    let socket = place.file(&port.replace(':', "-").replace('{', "m").replace('}', "s"));
    let args = [&["vhost", "--port", port, "--socket", text(&socket)], more].concat();
    let program = vm(place, &args);
    program.wait_text("-netdev vhost-user");
    (program, socket)
}

/// The process that connects to a front end, of which there is none yet, and the socket that it looks for.
pub fn client(place: &Place, more: &[&str]) -> (Program, PathBuf) {
    let path = place.file("qemu");
    let args = ["vhost", "--port", "vale0:a", "--client", "--socket"];
    let program = vm(place, &[&args[..], &[text(&path)], more].concat());
    program.wait_text("trying again");
    (program, path)
}

pub fn end(program: Program, socket: &Path) -> String {
    program.signal(Signal::TERM);
    let mut program = program;
    assert!(program.wait().success(), "{}", program.said());
    assert!(!socket.exists());
    program.said()
}

/// A plain port, without virtio-net headers, that this test has open.
pub struct Plain(Port);

impl Plain {
    pub fn open(place: &Place, name: &str, rings: u16) -> Self {
        let wanted = Wanted {
            dir: place.dir(),
            name,
            register: &|register| (register.nr_tx_rings, register.nr_rx_rings) = (rings, rings),
            say: &|_| (),
        };
        Plain(Port::open(&wanted).expect("a port"))
    }

    fn send(&self, ring: u32, frame: &[u8]) {
        let mut slots = self.0.slots(TX, ring).expect("a ring");
        assert!(slots.put(frame));
        slots.finish();
        self.0.txsync();
    }

    pub fn receive(&self) -> Vec<u8> {
        let mut packet = Vec::new();
        let come = until(deadline(), || {
            self.0.rxsync();
            for ring in self.0.attachment().binding().rings(RX) {
                let mut slots = self.0.slots(RX, ring).expect("a ring");
                let came = slots.take(&mut packet);
                slots.finish();
                if came {
                    return Some(());
                }
            }
            let second = std::time::Duration::from_secs(1);
            self.0.wait(POLLIN, &[], Some(second), &|| false);
            None
        });
        assert!(come.is_some(), "nothing arrived");
        packet
    }
}

#[test]
fn packets_in_both_directions_whatever_the_guest_has_chosen() {
    let place = Place::new();
    let host = Plain::open(&place, "vale0:h", 1);
    for features in [0, INDIRECT, EVENT_IDX, MRG_RXBUF | EVENT_IDX | INDIRECT] {
        let (vm, socket) = vhost(&place, "vale0:a", &[]);
        let choice = Choice {
            features,
            ..Choice::default()
        };
        let mut guest = VirtioGuest::on(&socket, choice);
        for number in 0..300u32 {
            let len = 60 + (number as usize * 37) % 1455;
            guest.send(0, PLAIN, &frame(number, len), 700);
            assert_eq!(host.receive(), frame(number, len));
            host.send(0, &frame(number + 1000, len));
            let (header, arrived, buffers) = guest.receive(0);
            assert_eq!((header[..10].to_vec(), buffers), (vec![0; 10], 1));
            assert_eq!(arrived, frame(number + 1000, len));
        }
        // A batch, longer than the ring.
        for number in 0..64 {
            guest.begin(0, PLAIN, &frame(number, 60), 72);
            if number % 8 == 7 {
                guest.wait_sent(0);
            }
        }
        for number in 0..64 {
            assert_eq!(host.receive(), frame(number, 60));
        }
        guest.hang_up();
        vm.wait_text("364 packets from it, 300 to it, 0 lost");
        end(vm, &socket);
    }
    drop(host);
    place.assert_left_clean();
}

/// A TCP packet of IPv4 whose checksum is to be filled in, and the header that says so.
fn tcp(payload: usize) -> ([u8; 12], Vec<u8>) {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 7, 8, 0, 0x45, 0]);
    frame.extend(((40 + payload) as u16).to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([
        0, 1, 0, 2, 0, 0, 0, 100, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
    ]);
    frame.extend((0..payload).map(|i| (i / 7) as u8));
    let mut header = [0; 12];
    // NEEDS_CSUM, TCPV4, 54 bytes of headers, 1460 of payload, from byte 34 on to byte 16 behind that.
    header[..10].copy_from_slice(&[1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0]);
    (header, frame)
}

/// The one's complement sum of a correct checksum is all ones.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let pairs = bytes
        .chunks(2)
        .map(|p| u32::from(p[0]) << 8 | u32::from(*p.get(1).unwrap_or(&0)));
    let mut sum = pairs.fold(start, |sum, pair| sum + pair);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

#[test]
fn segments_are_left_to_who_can_make_them() {
    let place = Place::new();
    let host = Plain::open(&place, "vale0:h", 1);
    let (a_vm, a_socket) = vhost(&place, "vale0:a", &[]);
    let (b_vm, b_socket) = vhost(&place, "vale0:b", &[]);
    let (c_vm, c_socket) = vhost(&place, "vale0:c", &[]);
    let offloads = CSUM | GUEST_CSUM | HOST_TSO4 | GUEST_TSO4;
    let with = |features, room| Choice {
        features,
        room,
        size: 128,
        ..Choice::default()
    };
    let mut a = VirtioGuest::on(
        &a_socket,
        with(offloads | MRG_RXBUF | EVENT_IDX | INDIRECT, 2048),
    );
    let mut b = VirtioGuest::on(&b_socket, with(offloads | MRG_RXBUF, 1500));
    let mut c = VirtioGuest::on(&c_socket, with(EVENT_IDX, 2048));
    assert_eq!(a.offered & offloads, offloads);
    for payload in [1000, 14_000, 60_000] {
        let (header, packet) = tcp(payload);
        a.send(0, header, &packet, 4096);
        // Who does segments itself gets it whole.
        let (arrived, whole, buffers) = b.receive(0);
        assert_eq!((&arrived[..10], &whole), (&header[..10], &packet));
        assert_eq!(usize::from(buffers), (packet.len() + 12).div_ceil(1500));
        // Others get segments that are good as they are: a program, and a guest that has not chosen to.
        for who in 0..2 {
            let (mut bytes, mut at) = (Vec::<u8>::new(), 100);
            while bytes.len() < payload {
                let segment = match who {
                    0 => host.receive(),
                    _ => {
                        let (header, segment, _) = c.receive(0);
                        assert_eq!(header[..10], [0; 10]);
                        segment
                    }
                };
                assert!(segment.len() <= 1514, "{}", segment.len());
                assert_eq!(sum(&segment[14..34], 0), 0xffff, "IP checksum");
                let pseudo = sum(&segment[26..34], 6 + (segment.len() - 34) as u32);
                assert_eq!(sum(&segment[34..], pseudo), 0xffff, "TCP checksum");
                let number = u32::from_be_bytes(segment[38..42].try_into().expect("four bytes"));
                assert_eq!(number, at, "sequence number");
                at += (segment.len() - 54) as u32;
                bytes.extend(&segment[54..]);
            }
            assert_eq!(bytes, packet[54..]);
        }
    }
    for (vm, socket) in [(a_vm, a_socket), (b_vm, b_socket), (c_vm, c_socket)] {
        end(vm, &socket);
    }
}

#[test]
fn several_queues() {
    let place = Place::new();
    let host = Plain::open(&place, "vale0:h", 2);
    let (vm, socket) = vhost(&place, "vale0:a", &["--queues", "2"]);
    let choice = Choice {
        pairs: 2,
        ..Choice::default()
    };
    let mut guest = VirtioGuest::on(&socket, choice);
    // To the address that frames of the guest come from: a switch keeps the number of the ring then.
    let back = |number| {
        let mut frame = frame(number, 200);
        frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 8]);
        frame
    };
    for number in 0..100 {
        for pair in 0..2 {
            guest.send(pair, PLAIN, &frame(number, 100), 4096);
            assert_eq!(host.receive(), frame(number, 100));
            host.send(pair as u32, &back(number));
            assert_eq!(guest.receive(pair).1, back(number));
            assert!(guest.is_idle(1 - pair));
        }
    }
    // The guest takes one of them out of use: what comes for it is the other's.
    vhost::vhost_user::VhostUserFrontend::set_vring_enable(guest.front(), 2, false)
        .expect("SET_VRING_ENABLE");
    host.send(1, &back(7));
    assert_eq!(guest.receive(0).1, back(7));
    end(vm, &socket);
}

#[test]
fn a_pipe_has_no_offloads_and_says_so() {
    let place = Place::new();
    let (a_vm, a_socket) = vhost(&place, "netmap:p{1", &[]);
    let (b_vm, b_socket) = vhost(&place, "netmap:p}1", &[]);
    a_vm.wait_text("no checksum or segmentation offload");
    let offloads = CSUM | GUEST_CSUM | HOST_TSO4 | GUEST_TSO4;
    let choice = Choice {
        features: offloads | MRG_RXBUF,
        ..Choice::default()
    };
    let mut a = VirtioGuest::on(&a_socket, choice);
    let mut b = VirtioGuest::on(&b_socket, choice);
    assert_eq!(a.offered & offloads, 0);
    // More than all rings hold: a pipe loses nothing, and who sends waits.
    for round in 0..50 {
        for number in 0..60 {
            a.begin(0, PLAIN, &frame(round * 60 + number, 60), 72);
            if number % 8 == 7 {
                a.wait_sent(0);
            }
        }
        for number in 0..60 {
            assert_eq!(b.receive(0).1, frame(round * 60 + number, 60));
        }
    }
    end(a_vm, &a_socket);
    end(b_vm, &b_socket);
    place.assert_left_clean();
}

#[test]
fn each_side_comes_back_when_the_other_was_killed() {
    let place = Place::new();
    let host = Plain::open(&place, "vale0:h", 1);
    let (mut vm, socket) = vhost(&place, "vale0:a", &[]);
    let mut guest = VirtioGuest::on(&socket, Choice::default());
    let mut number = 0;
    let mut talk = |guest: &mut VirtioGuest| {
        for _ in 0..100 {
            number += 1;
            guest.send(0, PLAIN, &frame(number, 300), 100);
            assert_eq!(host.receive(), frame(number, 300));
            host.send(0, &frame(number, 400));
            assert_eq!(guest.receive(0).1, frame(number, 400));
        }
    };
    talk(&mut guest);
    for _ in 0..3 {
        vm.signal(Signal::KILL);
        vm.wait();
        // It is stale, and replaced.
        assert!(socket.exists());
        (vm, _) = vhost(&place, "vale0:a", &[]);
        guest.connect(&socket);
        talk(&mut guest);
    }
    for _ in 0..3 {
        // Another guest, in place of one that has gone; and the same one, as after a restart of libvirt.
        guest.hang_up();
        guest = VirtioGuest::on(&socket, Choice::default());
        talk(&mut guest);
        guest.hang_up();
        guest.connect(&socket);
        talk(&mut guest);
    }
    end(vm, &socket);
}

#[test]
fn it_connects_to_a_front_end_that_listens() {
    let place = Place::new();
    let (mut program, path) = client(&place, &["--once"]);
    let listener = UnixListener::bind(&path).expect("listen");
    let (connection, _) = listener.accept().expect("it connects");
    let front = vhost::vhost_user::Frontend::from_stream(connection, 2);
    assert_ne!(front.get_features().expect("GET_FEATURES") & CSUM, 0);
    drop(front);
    assert!(program.wait().success(), "{}", program.said());
    assert!(path.exists(), "it is not ours");
    place.assert_left_clean();
}

#[test]
fn a_guest_that_misbehaves_harms_nobody_else() {
    let place = Place::new();
    let host = Plain::open(&place, "vale0:h", 1);
    let (bad_vm, bad_socket) = vhost(&place, "vale0:bad", &[]);
    let (vm, socket) = vhost(&place, "vale0:good", &[]);
    let mut guest = VirtioGuest::on(&socket, Choice::default());
    let mut talk = || {
        for number in 0..20 {
            guest.send(0, PLAIN, &frame(number, 300), 100);
            assert_eq!(host.receive(), frame(number, 300));
        }
    };
    let mut bad = VirtioGuest::on(&bad_socket, Choice::default());
    for (ring, addr, len) in [(1, u64::MAX, 100), (0, 1 << 40, 1)] {
        bad.misbehave(ring, addr, len);
        talk();
    }
    bad_vm.wait_text("the guest's ring 1 is out of service: 100 bytes at 0xffffffffffffffff");
    // Stopped and started it is as good as new.
    bad.hang_up();
    let mut bad = VirtioGuest::on(&bad_socket, Choice::default());
    bad.send(0, PLAIN, &frame(7, 60), 72);
    assert_eq!(host.receive(), frame(7, 60));
    // Its RAM is gone below its feet: that ends its process, and no other.
    bad.file.set_len(0).expect("cut short");
    let mut bad_vm = bad_vm;
    host.send(0, &frame(8, 60));
    assert!(!bad_vm.wait().success());
    assert!(
        bad_vm.said().contains("RAM has been truncated"),
        "{}",
        bad_vm.said()
    );
    assert!(!bad_socket.exists());
    // It must not be unmapped as if it were there.
    std::mem::forget(bad);
    talk();
    end(vm, &socket);
}

#[test]
fn the_daemon_dies_and_the_guest_goes_on_with_the_next_one() {
    let mut place = Place::new();
    let (vm, socket) = vhost(&place, "vale0:a", &[]);
    let mut guest = VirtioGuest::on(&socket, Choice::default());
    place.signal_daemon(Signal::KILL);
    vm.wait_text("the port is gone");
    // What it sends meanwhile is lost, and it does not hang.
    guest.send(0, PLAIN, &frame(1, 60), 72);
    let host = Plain::open(&place, "vale0:h", 1);
    vm.wait_text("the port is open again");
    guest.send(0, PLAIN, &frame(2, 60), 72);
    assert_eq!(host.receive(), frame(2, 60));
    host.send(0, &frame(3, 60));
    assert_eq!(guest.receive(0).1, frame(3, 60));
    end(vm, &socket);
}

#[test]
fn what_is_wrong_is_said_with_a_remedy() {
    let place = Place::new();
    let (vm, socket) = vhost(&place, "vale0:a", &[]);
    let used = text(&socket);
    let cases: [(&[&str], &str); 4] = [
        (
            &["--port", "vale0:b", "--socket", used],
            "in use by another process",
        ),
        (
            &["--port", "vale0:b", "--socket", "x", "--queues", "0"],
            "0 is not in 1..=32",
        ),
        (
            &["--port", "vale0:b", "--socket", "x", "--mac", "1:2"],
            "is not a MAC address",
        ),
        (
            &["--port", "netmap:nosuch0", "--socket", "x"],
            "there is no such interface",
        ),
    ];
    for (args, sentence) in cases {
        let said = refused(&place, &[&["vhost"], args].concat());
        assert!(said.contains(sentence), "{args:?}: {said}");
    }
    // One guest, one socket.
    let mut guest = VirtioGuest::on(&socket, Choice::default());
    let second = vhost::vhost_user::Frontend::connect(&socket, 2).expect("connect");
    assert!(second.get_features().is_err(), "it is hung up on");
    vm.wait_text("a second front end has been refused");
    let host = Plain::open(&place, "vale0:h", 1);
    guest.send(0, PLAIN, &frame(1, 60), 72);
    assert_eq!(host.receive(), frame(1, 60));
    drop(host);
    end(vm, &socket);
    place.assert_left_clean();
}
