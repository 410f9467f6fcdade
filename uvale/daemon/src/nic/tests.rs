//! Wires as hostile clients give them.

use nm_abi::{NETMAP_REQ_REGISTER, NETMAP_REQ_VALE_ATTACH, nmreq_vale_attach};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, netlink};
use uvale_link::proto::{Call, Facts};
use uvale_request::Interface;

use super::super::ends::tests::{Peer, Place, all_rings};
use super::*;

fn facts() -> Facts {
    Facts {
        interface: Some(Interface {
            netns: 1,
            index: 2,
            mtu: 1500,
            tx_queues: 1,
            rx_queues: 1,
            is_up: true,
            is_ethernet: true,
            ..Interface::default()
        }),
        ..Facts::default()
    }
}

/// The port of a NIC: who has it open, and its record.
fn nic(place: &mut Place) -> (Peer, u32) {
    let device = place.open();
    let body = all_rings(0, 0);
    let (errno, _) = place.request_with(&device, NETMAP_REQ_REGISTER, "eth7", &body, facts());
    assert_eq!(errno, 0);
    let port = place.daemon.world.nics().next().unwrap().port;
    (device, port)
}

fn give(port: u32, kind: Kind, watched: bool) -> Call {
    let shape = Shape {
        kind,
        frames: Vec::new(),
        senders: 0,
        host: None,
        is_stolen: false,
        plan: None,
        lacks: Vec::new(),
    };
    Call::GiveWire {
        port,
        shape,
        watched,
        join: Join::Auto,
    }
}

fn route() -> Fd {
    netlink_socket(None)
}

fn netlink_socket(protocol: Option<Protocol>) -> Fd {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let fd = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol);
    fd.unwrap().into()
}

fn file() -> Fd {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::open("/proc/self/ns/net", flags, rustix::fs::Mode::empty());
    fd.unwrap().into()
}

fn is_wire(reply: &Reply) -> bool {
    matches!(reply, Reply::Wire(_))
}

#[test]
fn only_netlink_sockets_of_routes_are_watched() {
    let mut place = Place::new();
    let (device, port) = nic(&mut place);
    let call = give(port, Kind::Packet, true);
    let others: [fn() -> Fd; 2] = [
        // Always readable, and no netlink.
        || rustix::pipe::pipe().unwrap().0.into(),
        || netlink_socket(Some(netlink::USERSOCK)),
    ];
    for other in others {
        for fds in [[other(), route(), file()], [route(), other(), file()]] {
            let (reply, _) = place.call_with(&device, &call, &fds);
            assert!(!is_wire(&reply), "{reply:?}");
            assert!(!place.daemon.nics.any());
        }
    }
    let (reply, _) = place.call_with(&device, &call, &[route(), route(), file()]);
    assert!(is_wire(&reply), "{reply:?}");
}

#[test]
fn a_closed_port_is_not_watched() {
    let mut place = Place::new();
    let (device, port) = nic(&mut place);
    // The client keeps what the daemon watches, and sees to it that there is news.
    let fds = [route(), route(), file()];
    let (reply, _) = place.call_with(&device, &give(port, Kind::Packet, true), &fds);
    assert!(is_wire(&reply), "{reply:?}");
    drop(device);
    while place.daemon.turn() {}
    place.daemon.tidy_nics();
    // A malformed message: the kernel answers with an error.
    let mut bytes = [0; 32];
    (bytes[0], bytes[4], bytes[6]) = (32, 255, 1);
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&fds[0], &bytes, rustix::net::SendFlags::empty(), &kernel).unwrap();
    let events = place.round();
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn ports_are_looked_through_only_when_something_has_changed() {
    let mut place = Place::new();
    let (device, port) = nic(&mut place);
    let (reply, _) = place.call_with(&device, &give(port, Kind::Packet, false), &[]);
    assert!(is_wire(&reply), "{reply:?}");
    let mut looks = 0;
    while place.daemon.tidy_nics() {
        looks += 1;
        assert!(looks < 10, "each look is a change");
    }
    let (session, _) = place.attach();
    for call in [Call::Wire(port), Call::Waker(0), Call::Settle(0)] {
        let _ = place.call_with(&session, &call, &[]);
        assert!(!place.daemon.tidy_nics(), "{call:?}");
    }
    let other = place.open();
    let body = all_rings(0, 0);
    let (errno, _) = place.request_with(&other, NETMAP_REQ_REGISTER, "eth7", &body, facts());
    assert_eq!(errno, 0);
    assert!(place.daemon.tidy_nics());
    drop(other);
    while place.daemon.turn() {}
    place.round();
    assert!(place.daemon.tidy_nics());
}

#[test]
fn only_who_has_the_port_gives_its_wire() {
    let mut place = Place::new();
    let (device, port) = nic(&mut place);
    let call = give(port, Kind::Packet, false);
    let (session, _) = place.attach();
    let other = place.open();
    for peer in [&session, &other] {
        let (reply, _) = place.call_with(peer, &call, &[]);
        assert!(!is_wire(&reply), "{reply:?}");
        assert!(!place.daemon.nics.any());
    }
    let (reply, _) = place.call_with(&device, &call, &[]);
    assert!(is_wire(&reply), "{reply:?}");
}

#[test]
fn few_descriptors_are_kept() {
    let mut place = Place::new();
    let (device, port) = nic(&mut place);
    let call = give(port, Kind::Packet, false);
    let fds: Vec<Fd> = (0..=MOST_KEPT).map(|_| file()).collect();
    let (reply, _) = place.call_with(&device, &call, &fds);
    assert!(!is_wire(&reply), "{reply:?}");
    let (reply, _) = place.call_with(&device, &call, &fds[1..]);
    assert!(is_wire(&reply), "{reply:?}");
}

#[test]
fn a_wire_that_carries_nothing_is_replaced() {
    let mut place = Place::new();
    let (device, port) = nic(&mut place);
    for kind in [Kind::Nothing, Kind::Packet, Kind::Nothing] {
        let (reply, _) = place.call_with(
            &device,
            &give(port, kind, true),
            &[route(), route(), file()],
        );
        let Reply::Wire(shape) = reply else {
            panic!("{reply:?}");
        };
        let is_first = place.daemon.nics.shape(port).unwrap().kind == Kind::Nothing;
        assert_eq!(shape.kind == Kind::Nothing, is_first);
    }
    assert_eq!(place.daemon.nics.shape(port).unwrap().kind, Kind::Packet);
}

#[test]
fn a_nic_whose_wire_never_comes_leaves_the_switch() {
    for comes in [false, true] {
        let mut place = Place::new();
        let device = place.open();
        let mut body = nmreq_vale_attach::zeroed();
        body.reg = all_rings(0, 0);
        let kind = NETMAP_REQ_VALE_ATTACH;
        let (errno, _) = place.request_with(&device, kind, "vale0:eth7", &body, facts());
        assert_eq!(errno, 0);
        let port = place.daemon.world.nics().next().unwrap().port;
        if comes {
            let (reply, _) = place.call_with(&device, &give(port, Kind::Packet, false), &[]);
            assert!(is_wire(&reply), "{reply:?}");
        }
        drop(device);
        while place.daemon.turn() {}
        let is_there = place.daemon.world.nics().any(|nic| nic.attached.is_some());
        assert_eq!(is_there, comes);
    }
}

/// What is kept until the daemon's end is a TAP device of that name, and nothing that merely has descriptors.
#[test]
fn nothing_but_a_tap_device_is_kept() {
    let mut place = Place::new();
    let (device, _) = nic(&mut place);
    let (session, _) = place.attach();
    let keep = |queues| Call::KeepTap {
        name: "lo".into(),
        index: 1,
        queues,
    };
    let watch = || [route(), route(), file()];
    let three: Vec<Fd> = watch().into();
    let with = |first: Fd| [first].into_iter().chain(watch()).collect::<Vec<Fd>>();
    for (queues, fds) in [
        (0, three),
        (1, vec![]),
        (1, with(file())),
        (1, with(route())),
        (2, with(file())),
        (u16::MAX, with(file())),
    ] {
        for peer in [&session, &device] {
            let copies: Vec<Fd> = fds.iter().map(copy).collect();
            let (reply, _) = place.call_with(peer, &keep(queues), &copies);
            assert!(matches!(reply, Reply::Refused(_)), "{queues}: {reply:?}");
            assert!(!place.daemon.nics.has_made());
        }
    }
    let (reply, _) = place.call_with(&session, &Call::DropTap { netns: 1, index: 2 }, &[]);
    let Reply::Refused(refusal) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(refusal.errno, Errno::NXIO);
}

/// The same of a ptnet device: its memory is in sysfs, its CSB a file in memory, and eventfds ask for kicks.
#[test]
fn nothing_but_a_ptnet_device_is_kept() {
    let mut place = Place::new();
    let (device, _) = nic(&mut place);
    let (session, _) = place.attach();
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let event = || Fd::from(eventfd(0, flags).unwrap());
    let memory = || {
        let memfd = uvale_shared::shm::Memfd::create("csb", 8192).unwrap();
        copy(&memfd.parts()[0])
    };
    let sysfs = || {
        let file = std::fs::File::open("/sys/kernel/profiling");
        let file = file.or_else(|_| std::fs::File::open("/sys/class/net/lo/mtu"));
        Fd::from(std::os::fd::OwnedFd::from(file.unwrap()))
    };
    let socket = || uvale_link::channel::pair().unwrap().0;
    let shape = |rings| uvale_wire::ptnet::Shape {
        mac: [2; 6],
        rings,
        slots: [8; 2],
        memory: 1,
        bar: 4096,
        buffers: 0,
        buffer_size: 64,
        buffer_count: 8,
        nifp: 0,
    };
    for (rings, fds) in [
        ([1, 1], vec![]),
        ([1, 1], vec![socket()]),
        // the memory is none of a device's
        ([1, 1], vec![memory(), memory(), event(), event(), socket()]),
        ([1, 1], vec![event(), memory(), event(), event(), socket()]),
        // nor is what has a page of text to say of it
        ([1, 1], vec![sysfs(), memory(), event(), event(), socket()]),
        ([0, 0], vec![memory(), memory(), socket()]),
        ([u16::MAX; 2], vec![memory(), memory(), socket()]),
    ] {
        for peer in [&session, &device] {
            let call = Call::KeepPtnet {
                name: "ptnet0".into(),
                shape: shape(rings),
            };
            let copies: Vec<Fd> = fds.iter().map(copy).collect();
            let (reply, _) = place.call_with(peer, &call, &copies);
            assert!(matches!(reply, Reply::Refused(_)), "{rings:?}: {reply:?}");
            assert!(!place.daemon.nics.has_made());
        }
    }
    let (reply, _) = place.call_with(&session, &Call::DropPtnet("ptnet0".into()), &[]);
    let Reply::Refused(refusal) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(refusal.errno, Errno::NXIO);
}

fn copy(fd: &Fd) -> Fd {
    rustix::io::fcntl_dupfd_cloexec(fd, 0).unwrap().into()
}
