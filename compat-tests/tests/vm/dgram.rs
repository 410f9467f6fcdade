//! `uvale vm dgram`, with this test in the place of QEMU.

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use compat_tests::namespaces::{Ground, VETH};
use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::target::binaries;
use compat_tests::wait::{deadline, wait_for};
use compat_tests::world::Program;
use rustix::process::Signal;

use crate::ground::{refused, text, vm};

/// A broadcast frame with that number in it.
fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 7, 0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.resize(len, number as u8);
    frame
}

fn dgram(place: &Place, args: &[&str]) -> Program {
    let program = vm(place, &[&["dgram"], args].concat());
    program.wait_text(args[1]);
    program
}

/// A guest with `-netdev dgram`, and its process.
fn guest(place: &Place, port: &str, name: &str) -> (Program, UnixDatagram) {
    let path = place.file(name);
    let program = dgram(place, &["--port", port, "--socket", text(&path)]);
    let socket = UnixDatagram::bind(place.file(&format!("{name}.qemu"))).expect("bind");
    socket.set_read_timeout(Some(deadline())).expect("timeout");
    socket.connect(&path).expect("connect");
    // Where it is is known from its first frame on.
    socket.send(&frame(0, 60)).expect("send");
    (program, socket)
}

/// Reads frames until the one with `number` has come.
fn receive(socket: &UnixDatagram, number: u32, len: usize) {
    let mut buffer = vec![0; 70_000];
    loop {
        let n = socket.recv(&mut buffer).expect("it arrives");
        if buffer[..n] == frame(0, 60) && number != 0 {
            continue;
        }
        assert_eq!(buffer[..n], frame(number, len));
        return;
    }
}

fn end(program: Program) -> String {
    program.signal(Signal::TERM);
    let mut program = program;
    assert!(program.wait().success(), "{}", program.said());
    program.said()
}

#[test]
fn guests_exchange_frames_over_a_switch_and_over_a_pipe() {
    let place = Place::new();
    for (one, other) in [("vale0:a", "vale0:b"), ("netmap:p{1", "netmap:p}1")] {
        let tag = &one[..1];
        let (a_vm, a) = guest(&place, one, &format!("{tag}a"));
        let (b_vm, b) = guest(&place, other, &format!("{tag}b"));
        receive(&a, 0, 60);
        for number in 1..=500 {
            let len = 60 + number as usize;
            a.send(&frame(number, len)).expect("send");
            receive(&b, number, len);
            b.send(&frame(number, len)).expect("send");
            receive(&a, number, len);
        }
        drop((a, b));
        for vm in [a_vm, b_vm] {
            let said = end(vm);
            assert!(said.contains("501 from it"), "{said}");
        }
        assert!(!place.file(&format!("{tag}a")).exists());
    }
    place.assert_left_clean();
}

#[test]
fn a_guest_that_comes_back_is_served_again() {
    let place = Place::new();
    let (vm, a) = guest(&place, "vale0:a", "a");
    let (_other, b) = guest(&place, "vale0:b", "b");
    receive(&a, 0, 60);
    drop(a);
    std::fs::remove_file(place.file("a.qemu")).expect("its own");
    // While it is away frames for it are lost, and nothing waits for it.
    for n in 0..3 {
        b.send(&frame(100 + n, 60)).expect("send");
    }
    let again = UnixDatagram::bind(place.file("a.qemu")).expect("bind");
    again.set_read_timeout(Some(deadline())).expect("timeout");
    again.connect(place.file("a")).expect("connect");
    again.send(&frame(7, 60)).expect("send");
    receive(&b, 7, 60);
    b.send(&frame(8, 60)).expect("send");
    let mut buffer = [0; 100];
    while again.recv(&mut buffer).expect("it arrives") != 60 || buffer[..60] != frame(8, 60) {}
    end(vm);
}

fn send(stream: &mut UnixStream, frame: &[u8]) {
    let length = (frame.len() as u32).to_be_bytes();
    stream.write_all(&length).expect("write");
    stream.write_all(frame).expect("write");
}

fn next(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("read");
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).expect("read");
    frame
}

#[test]
fn streams_by_either_side() {
    let place = Place::new();
    let (ours, theirs) = (place.file("ours"), place.file("theirs"));
    let listener = UnixListener::bind(&theirs).expect("listen");
    let a = dgram(
        &place,
        &["--port", "vale0:a", "--stream", "--socket", text(&ours)],
    );
    let b = dgram(&place, &["--port", "vale0:b", "--connect", text(&theirs)]);
    let (mut b_end, _) = listener.accept().expect("it connects");
    for round in 0..3 {
        let mut a_end = UnixStream::connect(&ours).expect("connect");
        send(&mut a_end, &frame(round, 1514));
        assert_eq!(next(&mut b_end), frame(round, 1514));
        send(&mut b_end, &frame(round, 64));
        assert_eq!(next(&mut a_end), frame(round, 64));
    }
    // Who has connected ends when the other end does.
    drop(b_end);
    let mut b = b;
    assert!(b.wait().success(), "{}", b.said());
    end(a);
    place.assert_left_clean();
}

#[test]
fn what_is_wrong_is_said_with_a_remedy() {
    let place = Place::new();
    let taken = place.file("taken");
    let _living = UnixDatagram::bind(&taken).expect("bind");
    let stale = place.file("stale");
    drop(UnixDatagram::bind(&stale).expect("bind"));
    let file = place.file("file");
    std::fs::write(&file, "text").expect("write");
    let absent = place.file("absent/socket");
    let cases: [(&[&str], &str); 6] = [
        (
            &["--port", "vale0:a", "--socket", text(&taken)],
            "in use by another process",
        ),
        (
            &["--port", "vale0:a", "--socket", text(&file)],
            "not a socket",
        ),
        (
            &["--port", "vale0:a", "--socket", text(&absent)],
            "there is no directory",
        ),
        (
            &["--port", "vale0:a", "--connect", text(&stale)],
            "first start the process that listens there",
        ),
        (
            &["--port", "vm1", "--socket", "x"],
            "is not the name of a port",
        ),
        (
            &["--port", "netmap:nosuch0", "--socket", "x"],
            "there is no such interface",
        ),
    ];
    for (args, sentence) in cases {
        let said = refused(&place, &[&["dgram"], args].concat());
        assert!(said.contains(sentence), "{args:?}: {said}");
    }
    assert_eq!(std::fs::read(&file).expect("it is there"), b"text");
    // What a process that is gone has left is in nobody's way.
    end(dgram(
        &place,
        &["--port", "vale0:a", "--socket", text(&stale)],
    ));
    place.assert_left_clean();
}

#[test]
fn the_daemon_and_the_process_die() {
    let mut place = Place::new();
    let path = place.file("s");
    let args = ["--port", "vale0:a", "--socket", text(&path)];
    let mut vm = dgram(&place, &args);
    vm.signal(Signal::KILL);
    vm.wait();
    place.assert_left_clean();
    let mut vm = dgram(&place, &args);
    place.signal_daemon(Signal::KILL);
    assert!(!vm.wait().success());
    assert!(vm.said().contains("daemon is gone"), "{}", vm.said());
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_frame_that_no_ring_has_room_for_is_lost_and_holds_nothing_up() {
    let mut place = Place::empty();
    let config = place.file("config");
    std::fs::write(&config, "priv_buf_size = 64\n").expect("write");
    place.start_daemon(&["--config", text(&config)]);
    let (a_vm, a) = guest(&place, "vale0:a", "a");
    let (_b_vm, b) = guest(&place, "vale0:b", "b");
    receive(&a, 0, 60);
    // 1023 slots of 64 bytes.
    a.send(&frame(1, 66_000)).expect("send");
    a.send(&frame(2, 60)).expect("send");
    receive(&b, 2, 60);
    let said = end(a_vm);
    assert!(said.contains("2 from it, 1 lost"), "{said}");
}

/// How often that process has been taken off a processor, by itself or by others.
fn switches(vm: &Program) -> u64 {
    let path = format!("/proc/{}/status", vm.pid().as_raw_pid());
    let status = std::fs::read_to_string(path).expect("it runs");
    let counts = status.lines().filter_map(|line| {
        let (name, count) = line.split_once(':')?;
        name.ends_with("ctxt_switches").then(|| count.trim())
    });
    counts.map(|n| n.parse::<u64>().expect("a number")).sum()
}

/// The letter of its state: `R` if it runs, or would.
fn state(vm: &Program) -> char {
    let path = format!("/proc/{}/stat", vm.pid().as_raw_pid());
    let stat = std::fs::read_to_string(path).expect("it runs");
    let (_, rest) = stat.rsplit_once(") ").expect("its name");
    rest.chars().next().expect("a state")
}

/// Looks at it a hundred times in a second and more: it sleeps, and is seldom awake.
fn assert_sleeps(vm: &Program, when: &str) {
    let before = switches(vm);
    let is_awake = |_: &u32| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        state(vm) == 'R'
    };
    let awake = (0..100).filter(is_awake).count();
    let switches = switches(vm) - before;
    assert!(
        awake < 50 && switches < 200,
        "{when}: awake {awake} times of 100, {switches} switches"
    );
}

#[test]
fn an_interface_that_goes_down_keeps_nobody_awake_and_comes_up_again() {
    let place = Place::new();
    let ground = or_skip!("a NIC of a guest", Ground::new());
    let (uvale, path) = (&binaries().uvale, place.file("g"));
    let port = format!("netmap:{VETH}");
    let args = ["vm", "dgram", "--port", &port, "--socket", text(&path)];
    let vm = ground.spawn(0, &place, uvale, &["LD_PRELOAD="], &args);
    vm.wait_text("-netdev");
    let guest = UnixDatagram::bind(place.file("g.qemu")).expect("bind");
    guest.set_read_timeout(Some(deadline())).expect("timeout");
    guest.connect(&path).expect("connect");
    guest.send(&frame(0, 60)).expect("send");
    let far = ["gen", "-i", VETH];
    let from_far = || {
        let args = [
            &far[..],
            &["-f", "tx", "-n", "20", "-S", "02:00:00:00:00:66"],
        ]
        .concat();
        ground.spawn(1, &place, uvale, &[], &args).wait_success();
        let mut buffer = [0; 2000];
        for _ in 0..20 {
            while guest.recv(&mut buffer).expect("it arrives") < 14
                || buffer[6..12] != [2, 0, 0, 0, 0, 0x66]
            {}
        }
    };
    from_far();
    assert_sleeps(&vm, "up");
    let set = |how: &str| {
        let command = format!("ip link set {VETH} {how}");
        ground.shell(0, &command).assert_code(0);
    };
    set("down");
    assert_sleeps(&vm, "down");
    // More than the ring takes.
    guest.set_nonblocking(true).expect("a socket");
    let mut sent = 0;
    while sent < 3000 && guest.send(&frame(sent, 60)).is_ok() {
        sent += 1;
    }
    guest.set_nonblocking(false).expect("a socket");
    // The naps get longer.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_sleeps(&vm, "down, with something to send");
    set("up");
    let has_carrier = || {
        let said = ground.shell(0, &format!("ip -o link show {VETH}"));
        said.out.contains("LOWER_UP")
    };
    wait_for("the carrier", has_carrier);
    from_far();
    let receiver = ground.spawn(
        1,
        &place,
        uvale,
        &[],
        &[&far[..], &["-f", "rx", "-n", "20"]].concat(),
    );
    let mut receiver = receiver;
    wait_for("packets at the other end", || {
        let _ = guest.send(&frame(7, 60));
        receiver.has_ended()
    });
    receiver.wait_success();
    assert_sleeps(&vm, "up again");
    end(vm);
    place.assert_left_clean();
}
