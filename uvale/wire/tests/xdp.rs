//! AF_XDP between network namespaces: what is sent arrives, whoever dies; and why there is none.

mod ground;

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use ground::{Other, apart, ip, number_of, numbered, open, open_by, pair, readable, some_len};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use uvale_shared::shm::{Mapping, Memfd, copy_in};
use uvale_system::sys::Fd;
use uvale_wire::xdp::Mode;
use uvale_wire::{Carrier, Frames, Kind, Opened, Shape, Space, Transmitter, Wire};

/// Of the packets made by `numbered`, which must be whole, the number.
fn number(packet: &[u8]) -> Option<u32> {
    let number = number_of(packet)?;
    assert!(
        packet == numbered(number, some_len(number)),
        "packet {number}"
    );
    Some(number)
}

/// Packets of one batch.
struct Load {
    memory: Mapping,
    space: Space,
}

impl Load {
    fn new() -> Self {
        let memfd = Memfd::create("test", 128 * 2048).expect("memory");
        Self {
            memory: Mapping::new(&memfd).expect("memory"),
            space: Space::default(),
        }
    }

    /// Sends as many of the packets as it takes, 128 at most; how many.
    fn send(&mut self, sender: &Transmitter, numbers: Range<u32>) -> u32 {
        let mut batch = self.space.batch(&self.memory);
        for (i, number) in numbers.take(128).enumerate() {
            assert!(copy_in(
                &numbered(number, some_len(number)),
                &self.memory,
                i * 2048
            ));
            assert!(batch.push(i * 2048, some_len(number), false));
        }
        match sender.send(&batch, 0) {
            Ok(n) => n as u32,
            Err(Errno::AGAIN | Errno::NOBUFS) => 0,
            Err(e) => panic!("{e}"),
        }
    }
}

/// Takes in what is there; the numbers of the packets.
fn take(frames: &Frames) -> Vec<u32> {
    let mut numbers = Vec::new();
    frames.take_in(
        0,
        |_| {},
        |packet| {
            numbers.extend(number(&packet.pieces.concat()));
            true
        },
    );
    numbers
}

fn all_go_through(sender: &Transmitter, frames: &Frames, numbers: Range<u32>) {
    let (mut sent, mut expected, mut load) = (numbers.start, numbers.start, Load::new());
    while expected < numbers.end {
        sent += load.send(sender, sent..numbers.end);
        assert!(
            frames.is_ready(0) || readable(frames.fd().expect("a socket")),
            "{expected} is missing"
        );
        for number in take(frames) {
            assert_eq!(number, expected);
            expected += 1;
        }
    }
}

/// In what mode; `None`, said aloud, if a right or the kernel lacks something.
fn mode(test: &str, opened: &Opened) -> Option<Mode> {
    match opened.shape.kind {
        Kind::Xdp(shape) => Some(shape.mode),
        _ => {
            println!("{test}: skipped: {}", opened.shape.lacks.join("; "));
            None
        }
    }
}

fn wire(opened: &Opened) -> Wire {
    let fds = opened.fds.iter().map(duplicate).collect();
    Wire::new(opened.shape.clone(), fds).expect("the descriptors are those of the shape")
}

fn duplicate(fd: &Fd) -> Fd {
    let fd = rustix::io::fcntl_dupfd_cloexec(fd, 0);
    Fd::from(fd.expect("a descriptor"))
}

/// A veth pair with so many queues on each side.
fn pair_of(here: u32, there: u32) -> Other {
    let other = Other::new();
    ip("link set lo up");
    ip(&format!(
        "link add va numrxqueues {here} numtxqueues {here} type veth \
         peer name vb numrxqueues {there} numtxqueues {there}"
    ));
    ip(&format!("link set vb netns {}", other.id));
    ip("link set va up");
    other.run(|| ip("link set vb up"));
    other
}

fn xdp(name: &'static str, queues: u32) -> Opened {
    open_by(name, [queues; 2], Carrier::Xdp)
}

#[test]
fn packets_go_both_ways_in_native_and_in_generic_mode_on_all_queues() {
    let name = "packets_go_both_ways_in_native_and_in_generic_mode_on_all_queues";
    apart(name, || {
        // With more queues over there than here, this side has no native XDP.
        for (here, there, wanted) in [
            (1, 1, [Mode::Native, Mode::Native]),
            (2, 2, [Mode::Native, Mode::Native]),
            (1, 2, [Mode::Generic, Mode::Native]),
        ] {
            let other = pair_of(here, there);
            let (a, b) = (xdp("va", here), other.run(move || xdp("vb", there)));
            let (Some(first), Some(second)) = (mode(name, &a), mode(name, &b)) else {
                return;
            };
            assert_eq!([first, second], wanted);
            assert!(a.shape.is_stolen);
            let (a, b) = (wire(&a), wire(&b));
            for queue in 0..here {
                let rounds = 3 * a.frames(0).expect("one").count();
                for (from, to) in [(&a, &b), (&b, &a)] {
                    let (sender, frames) = (from.sender(queue), to.frames(queue));
                    let (sender, frames) = (sender.expect("a queue"), frames.expect("a queue"));
                    all_go_through(sender, frames, 0..rounds);
                    assert_eq!(frames.dropped(), None);
                }
            }
            // Until nobody has the sockets, nobody else gets them.
            drop((a, b));
            ip("link del va");
        }
    });
}

#[test]
fn a_packet_that_is_too_long_or_none_is_refused_and_the_next_goes() {
    let name = "a_packet_that_is_too_long_or_none_is_refused_and_the_next_goes";
    apart(name, || {
        let other = pair("");
        let (a, b) = (xdp("va", 1), other.run(|| xdp("vb", 1)));
        if mode(name, &a).is_none() {
            return;
        }
        let (a, b) = (wire(&a), wire(&b));
        let sender = a.sender(0).expect("a queue");
        let mut load = Load::new();
        let mut refused = |len: usize| {
            let mut batch = load.space.batch(&load.memory);
            assert!(batch.push(0, len, false));
            sender.send(&batch, 0)
        };
        assert_eq!(refused(1519), Err(Errno::MSGSIZE));
        assert_eq!(refused(0), Err(Errno::INVAL));
        assert_eq!(refused(1518), Ok(1));
        all_go_through(sender, b.frames(0).expect("a queue"), 0..100);
    });
}

/// Runs `task` in a child, and gives what it says through its pipe, and its number.
fn child(task: impl FnOnce(OwnedFd)) -> (Pid, std::fs::File) {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    // SAFETY: no other thread of this process is inside an allocation: they wait for tasks. The child never returns.
    match unsafe { libc::fork() } {
        -1 => panic!("no child"),
        0 => {
            drop(reader);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task(writer)));
            // SAFETY: ends this process, without whatever its parent wants done at exit.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        pid => {
            drop(writer);
            (Pid::from_raw(pid).expect("a child"), reader.into())
        }
    }
}

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).expect("it runs");
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).expect("a child");
}

fn link(name: &str) -> String {
    let output = Command::new("ip")
        .args(["-d", "link", "show", name])
        .output();
    String::from_utf8(output.expect("ip").stdout).expect("text")
}

/// Does generic segmentation work on interface `name` of this thread's namespace?
fn segments(name: &str) -> bool {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    const ETHTOOL_GGSO: u32 = 0x23;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut value = [ETHTOOL_GGSO, 0];
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..24].copy_from_slice(&value.as_mut_ptr().expose_provenance().to_ne_bytes());
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: a `struct ifreq`, whose data is a `struct ethtool_value` that the kernel writes; it is ours.
    let answer = unsafe { libc::ioctl(fd, SIOCETHTOOL, request.as_mut_ptr()) };
    assert_eq!(answer, 0, "{name}");
    // SAFETY: the kernel has written it by its address.
    unsafe { core::ptr::read_volatile(&raw const value[1]) != 0 }
}

/// Does the host's stack get what the other end's sends?
fn is_reached(other: &Other) -> bool {
    let socket = UdpSocket::bind("10.9.0.1:7").expect("our address");
    let patience = Some(Duration::from_millis(300));
    socket.set_read_timeout(patience).expect("a socket");
    other.run(|| {
        let socket = UdpSocket::bind("10.9.0.2:0").expect("its address");
        socket.send_to(b"hello", "10.9.0.1:7").is_ok()
    });
    socket.recv(&mut [0; 16]).is_ok()
}

#[test]
fn the_interface_is_the_hosts_again_when_the_owner_is_killed() {
    let name = "the_interface_is_the_hosts_again_when_the_owner_is_killed";
    apart(name, || {
        for (here, there) in [(1, 1), (1, 2)] {
            let other = pair_of(here, there);
            ip("addr add 10.9.0.1/24 dev va");
            other.run(|| ip("addr add 10.9.0.2/24 dev vb"));
            assert!(is_reached(&other), "before");
            let segmented = other.run(|| segments("vb"));
            let (pid, mut says) = child(move |writer| {
                let opened = xdp("va", here);
                let wire = wire(&opened);
                let is_xdp = mode(name, &opened).is_some();
                std::fs::File::from(writer)
                    .write_all(&[u8::from(is_xdp)])
                    .expect("somebody listens");
                std::thread::sleep(Duration::from_secs(600));
                drop((opened, wire));
            });
            let mut is_xdp = [0];
            says.read_exact(&mut is_xdp).expect("it says so");
            if is_xdp == [1] {
                assert!(link("va").contains("xdp"), "{}", link("va"));
                assert!(!is_reached(&other), "it is stolen");
            }
            kill(pid);
            assert!(!link("va").contains("xdp"), "{}", link("va"));
            assert!(is_reached(&other), "after");
            assert_eq!(other.run(|| segments("vb")), segmented);
            ip("link del va");
        }
    });
}

#[test]
fn processes_that_take_turns_are_killed_at_any_moment() {
    let name = "processes_that_take_turns_are_killed_at_any_moment";
    apart(name, || {
        let other = pair("");
        let (a, b) = (xdp("va", 1), other.run(|| xdp("vb", 1)));
        if mode(name, &a).is_none() || mode(name, &b).is_none() {
            return;
        }
        for round in 0..100u64 {
            // Another process sends and receives like mad.
            let (pid, mut says) = child(|writer| {
                let (a, b) = (wire(&a), wire(&b));
                let ends = [(&a, &b), (&b, &a)];
                let ends =
                    ends.map(|(x, y)| (x.sender(0).expect("one"), y.frames(0).expect("one")));
                std::fs::File::from(writer)
                    .write_all(&[1])
                    .expect("somebody listens");
                let mut load = Load::new();
                loop {
                    for (sender, frames) in ends {
                        load.send(sender, 0..100);
                        take(frames);
                    }
                }
            });
            says.read_exact(&mut [0]).expect("it has begun");
            std::thread::sleep(Duration::from_micros(round * 37 % 4000));
            kill(pid);
            let (a, b) = (wire(&a), wire(&b));
            for (from, to) in [(&a, &b), (&b, &a)] {
                let (sender, frames) = (from.sender(0).expect("one"), to.frames(0).expect("one"));
                frames.find(0);
                take(frames);
                // As often as there are chunks: none is missing.
                let many = if round % 10 == 0 {
                    2 * frames.count()
                } else {
                    200
                };
                all_go_through_behind(sender, frames, 1000..1000 + many);
            }
        }
        let (a, b) = (wire(&a), wire(&b));
        let (sender, frames) = (a.sender(0).expect("one"), b.frames(0).expect("one"));
        // Every chunk is there: so many find room while nobody takes them.
        let (mut load, mut sent) = (Load::new(), 0);
        while sent < frames.count() - 100 {
            sent += load.send(sender, sent..frames.count() - 100);
        }
        assert_eq!(take(frames), (0..sent).collect::<Vec<_>>());
    });
}

/// As [`all_go_through`], behind what a dead process has had sent.
fn all_go_through_behind(sender: &Transmitter, frames: &Frames, numbers: Range<u32>) {
    let (mut sent, mut expected, mut load) = (numbers.start, numbers.start, Load::new());
    while expected < numbers.end {
        sent += load.send(sender, sent..numbers.end);
        assert!(
            frames.is_ready(0) || readable(frames.fd().expect("a socket")),
            "{expected} is missing"
        );
        for number in take(frames).into_iter().filter(|n| *n >= numbers.start) {
            assert_eq!(number, expected);
            expected += 1;
        }
    }
}

/// The only thing that a wire lacks.
fn lack(opened: &Opened) -> &str {
    let Shape { kind, lacks, .. } = &opened.shape;
    assert_eq!((*kind, lacks.len()), (Kind::Packet, 1), "{lacks:?}");
    &lacks[0]
}

/// This thread has these capabilities no longer.
fn drop_rights(rights: CapabilitySet) {
    let mut sets = capabilities(None).expect("capabilities");
    sets.effective -= rights;
    set_capabilities(None, sets).expect("fewer are always allowed");
}

#[test]
fn packet_sockets_carry_the_packets_where_there_is_no_xdp_and_it_is_said_why() {
    let name = "packet_sockets_carry_the_packets_where_there_is_no_xdp_and_it_is_said_why";
    apart(name, || {
        let _other = pair("");
        let first = xdp("va", 1);
        if mode(name, &first).is_none() {
            // What the system has refused is what there is to see.
            assert!(!lack(&first).is_empty());
            return;
        }
        let second = xdp("va", 1);
        assert!(
            lack(&second).contains("another XDP program"),
            "{}",
            lack(&second)
        );
        drop(first);
        ip("link set va mtu 3500");
        let large = xdp("va", 1);
        assert_eq!(mode(name, &large), Some(Mode::Native));
        drop(large);
        ip("link set va mtu 9000");
        let large = xdp("va", 1);
        assert!(lack(&large).contains("an MTU of 9000"), "{}", lack(&large));
        ip("link set va mtu 1500");
        drop_rights(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
        let poor = xdp("va", 1);
        assert!(lack(&poor).contains("CAP_BPF"), "{}", lack(&poor));
        assert!(!link("va").contains("xdp"), "{}", link("va"));
    });
}

#[test]
fn memory_that_may_be_locked_decides_how_much_there_is() {
    let name = "memory_that_may_be_locked_decides_how_much_there_is";
    apart(name, || {
        let _other = pair("");
        if mode(name, &xdp("va", 1)).is_none() {
            return;
        }
        drop_rights(CapabilitySet::IPC_LOCK);
        let limit = |bytes: u64| {
            let (current, maximum) = (Some(bytes), Some(bytes));
            setrlimit(Resource::Memlock, Rlimit { current, maximum }).expect("a lower limit");
        };
        limit(8 << 20);
        let Kind::Xdp(shape) = settled(|| xdp("va", 1)).shape.kind else {
            panic!("8 MB are enough");
        };
        assert_eq!((shape.rx, shape.tx), (2048, 1024));
        limit(1 << 20);
        let Kind::Xdp(shape) = settled(|| xdp("va", 1)).shape.kind else {
            panic!("1 MB is enough");
        };
        assert_eq!((shape.rx, shape.tx), (256, 128));
        limit(64 << 10);
        let none = xdp("va", 1);
        let why = lack(&none);
        assert!(
            why.contains("RLIMIT_MEMLOCK is 64 KiB") && why.contains("384 KiB are needed"),
            "{why}"
        );
        assert!(!link("va").contains("xdp"), "{}", link("va"));
    });
}

/// The kernel gives a queue and its memory back some time after the last user has closed them.
fn settled(open: impl Fn() -> Opened) -> Opened {
    let tries = core::iter::repeat_with(|| {
        std::thread::sleep(Duration::from_millis(20));
        open()
    });
    let mut tries = tries.take(100);
    tries
        .find(|o| o.shape.lacks.is_empty())
        .expect("it was there before")
}

#[test]
fn interfaces_of_the_kernels_own_get_packet_sockets_if_nobody_asks() {
    let name = "interfaces_of_the_kernels_own_get_packet_sockets_if_nobody_asks";
    apart(name, || {
        let _other = pair("");
        let mut names = vec!["va"];
        if ground_tries("ip tuntap add dev ta mode tap") {
            names.push("ta");
        }
        for name in names {
            let opened = open(name, [1, 1]);
            assert_eq!(opened.shape.kind, Kind::Packet, "{name}");
            assert_eq!(opened.shape.lacks, [""; 0]);
        }
    });
}

/// Runs a command that not every system can do. Did it?
fn ground_tries(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a command");
    let output = Command::new(program).args(words).output();
    output.is_ok_and(|o| o.status.success())
}

#[test]
fn what_a_tap_hands_the_interface_reaches_the_host_past_the_program() {
    let name = "what_a_tap_hands_the_interface_reaches_the_host_past_the_program";
    apart(name, || {
        for (here, there) in [(1, 1), (1, 2)] {
            let _other = pair_of(here, there);
            ip("addr add 10.9.0.1/24 dev va");
            let address = link("va");
            let address = address.split("link/ether ").nth(1).expect("a MAC address");
            let address = address[..17].to_owned();
            ip("link add ta type veth peer name tb");
            // Else it counts as a packet for somebody else.
            ip(&format!("link set ta address {address}"));
            ip("link set ta up");
            ip("link set tb up");
            let redirect = "tc filter add dev ta ingress protocol all prio 1 u32 match u32 0 0 \
                            action mirred ingress redirect dev va";
            if !ground_tries("tc qdisc add dev ta clsact") || !ground_tries(redirect) {
                println!("{name}: skipped: no tc with clsact, u32 and mirred");
                return;
            }
            let opened = xdp("va", here);
            let Some(mode) = mode(name, &opened) else {
                return;
            };
            // What leaves by tb arrives at ta, and from there at va.
            let socket = UdpSocket::bind("10.9.0.1:7").expect("our address");
            let patience = Some(Duration::from_secs(2));
            socket.set_read_timeout(patience).expect("a socket");
            let sending = wire(&open("tb", [1, 1]));
            let (mut load, sender) = (Load::new(), sending.sender(0).expect("one"));
            let packet = datagram(&address);
            assert!(copy_in(&packet, &load.memory, 0));
            let mut batch = load.space.batch(&load.memory);
            assert!(batch.push(0, packet.len(), false));
            assert_eq!(sender.send(&batch, 0), Ok(1));
            let mut bytes = [0; 16];
            let len = socket
                .recv(&mut bytes)
                .map_err(|e| format!("{mode:?}: {e}"));
            assert_eq!(bytes[..len.expect("it arrives")], *b"hello");
            drop((opened, sending));
            ip("link del va");
            ip("link del ta");
        }
    });
}

/// "hello" for port 7 of 10.9.0.1, by UDP without a checksum.
fn datagram(to: &str) -> Vec<u8> {
    let mut packet: Vec<u8> = to
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("a MAC address"))
        .collect();
    packet.extend([2, 0, 0, 0, 0, 9, 8, 0]);
    let mut header = [
        0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 9, 10, 9, 0, 1,
    ];
    let words = header
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(header);
    packet.extend([0, 9, 0, 7, 0, 13, 0, 0]);
    packet.extend(b"hello");
    packet
}
