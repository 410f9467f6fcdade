//! What the system says about interfaces: seen from their namespace, from another one, and while they change.

mod ground;

use std::fs::File;
use std::os::fd::OwnedFd;

use ground::{Other, apart, ip, pair};
use rustix::io::Errno;
use uvale_request::Interface;
use uvale_system::sys::Fd;
use uvale_wire::interface::{News, Watch, are_peers, look_up};
use uvale_wire::netlink::{Message, Socket, Subject};

type Seen = (Interface, Watch);

fn seen(name: &str) -> Seen {
    let interface = look_up(name.as_bytes()).expect("it is there");
    let watch = Watch::open(&interface).expect("netlink and /proc are there");
    // As the daemon gets it.
    let watch = Watch::from_fds(watch.into_fds());
    (interface, watch.expect("they are its own"))
}

fn there(other: &Other, name: &'static str) -> Seen {
    other.run(move || seen(name))
}

fn peers(a: &Seen, b: &Seen) -> bool {
    let both = are_peers(&a.0, &a.1, &b.0, &b.1);
    assert_eq!(both, are_peers(&b.0, &b.1, &a.0, &a.1));
    both
}

#[test]
fn the_facts_of_a_veth_pair() {
    apart("the_facts_of_a_veth_pair", || {
        let other = pair("mtu 1400 numtxqueues 3 numrxqueues 2");
        ip("link set va address 02:00:00:00:00:0a");
        let (a, b) = (seen("va"), there(&other, "vb"));
        let expected = Interface {
            netns: a.0.netns,
            index: a.0.index,
            mtu: 1400,
            tx_queues: 3,
            rx_queues: 2,
            tx_slots: 0,
            rx_slots: 0,
            address: [2, 0, 0, 0, 0, 10],
            is_up: true,
            is_ethernet: true,
            has_master: false,
            peer: a.0.peer.clone(),
            in_the_way: Vec::new(),
        };
        assert_eq!(a.0, expected);
        let peer = a.0.peer.clone().expect("it is a veth");
        assert_eq!(peer.index, b.0.index);
        assert!(peer.nsid.is_some(), "{peer:?}");
        assert_ne!(a.0.netns, b.0.netns);
        assert!(a.0.netns != 0 && b.0.netns != 0);
        assert_eq!(look_up(b"vb"), None, "it is in the other namespace");
        // From elsewhere it looks the same.
        let elsewhere = Other::new();
        let index = a.0.index;
        let (a, fresh) = elsewhere.run(move || {
            let fresh = a.1.refresh(index);
            (a, fresh)
        });
        assert_eq!(fresh.as_ref(), Some(&a.0));
        assert_eq!(a.1.refresh(9999), None);
        assert!(
            Watch::open(&b.0).is_none(),
            "this thread is not where it is"
        );
    });
}

#[test]
fn the_facts_of_other_interfaces() {
    apart("the_facts_of_other_interfaces", || {
        if ground::tries("ip link add d0 type dummy") {
            let d0 = look_up(b"d0").expect("it is there");
            assert!(!d0.is_up && d0.is_ethernet && d0.peer.is_none());
            assert_eq!((d0.tx_queues, d0.rx_queues, d0.mtu), (1, 1, 1500));
            ip("link set d0 up");
            assert!(look_up(b"d0").expect("it is there").is_up);
        } else {
            println!("the_facts_of_other_interfaces: skipped: no dummy interfaces here");
        }
        if ground::tries("ip tuntap add t0 mode tun") {
            let t0 = look_up(b"t0").expect("it is there");
            assert!(!t0.is_ethernet && t0.address == [0; 6], "{t0:?}");
        }
        let lo = look_up(b"lo").expect("every namespace has one");
        assert_eq!((lo.tx_queues, lo.rx_queues, lo.mtu), (1, 1, 65536));
        assert!(lo.is_ethernet && !lo.has_master);
    });
}

#[test]
fn what_packets_would_bypass() {
    apart("what_packets_would_bypass", || {
        let other = pair("");
        let (first, watch) = seen("va");
        let in_the_way = || watch.refresh(first.index).expect("it is there").in_the_way;
        assert_eq!(in_the_way(), [""; 0]);
        let quiet = News::default();
        watch.hear(first.index);
        // (what is done, what is then in the way, what undoes it)
        for (doing, way, undoing) in [
            (
                "tc qdisc add dev va root pfifo",
                "qdisc pfifo",
                "tc qdisc del dev va root",
            ),
            (
                "tc qdisc add dev va clsact",
                "filters (qdisc clsact)",
                "tc qdisc del dev va clsact",
            ),
            (
                "tc qdisc add dev va ingress",
                "filters (qdisc ingress)",
                "tc qdisc del dev va ingress",
            ),
        ] {
            if !ground::tries(doing) {
                println!("what_packets_would_bypass: skipped: this system cannot do `{doing}`");
                continue;
            }
            assert_eq!(in_the_way(), [way]);
            assert!(watch.hear(first.index).changed, "{doing}");
            assert!(ground::tries(undoing));
            assert_eq!(in_the_way(), [""; 0], "{undoing}");
            assert!(watch.hear(first.index).changed, "{undoing}");
            assert_eq!(watch.hear(first.index), quiet);
        }
        if ground::tries("ip link add br0 type bridge") {
            ip("link set va master br0");
            let now = watch.refresh(first.index).expect("it is there");
            assert!(now.has_master && now.in_the_way.len() == 1, "{now:?}");
            ip("link set va nomaster");
            let now = watch.refresh(first.index).expect("it is there");
            assert!(!now.has_master && now.in_the_way.is_empty(), "{now:?}");
            assert_eq!(
                watch.hear(first.index),
                News {
                    gone: false,
                    changed: true
                },
                "a port that is none any more is still an interface"
            );
        } else {
            println!("what_packets_would_bypass: skipped: no bridges here");
        }
        drop(other);
    });
}

#[test]
fn only_the_two_ends_of_one_pair_are_peers() {
    apart("only_the_two_ends_of_one_pair_are_peers", || {
        // Two pairs from here to two containers, whose ends have the same number and name there; and the numbers
        // of the ends here are such that each end there names the other pair's number, too, if namespaces are left
        // out of account.
        let [one, two] = [Other::new(), Other::new()];
        let ends = [("a1", "index 100", &one), ("a2", "index 101", &two)];
        for (name, index, other) in ends {
            let peer = "name eth0 index 100";
            ip(&format!(
                "link add {name} {index} type veth peer {peer} netns {}",
                other.id
            ));
        }
        let (a1, a2) = (seen("a1"), seen("a2"));
        let (b1, b2) = (there(&one, "eth0"), there(&two, "eth0"));
        assert_eq!((b1.0.index, b2.0.index), (100, 100));
        assert!(peers(&a1, &b1) && peers(&a2, &b2));
        assert!(!peers(&a1, &b2) && !peers(&a2, &b1) && !peers(&a1, &a2) && !peers(&b1, &b2));
        assert!(!peers(&a1, &a1));

        // Pairs between containers: all four ends have number 200.
        let [three, four] = [Other::new(), Other::new()];
        for (from, to) in [(&one, &two), (&three, &four)] {
            let to = to.id;
            from.run(move || {
                ip(&format!(
                    "link add x index 200 type veth peer name y index 200 netns {to}"
                ))
            });
        }
        let x = [there(&one, "x"), there(&three, "x")];
        let y = [there(&two, "y"), there(&four, "y")];
        assert!(
            [&x[0], &x[1], &y[0], &y[1]]
                .iter()
                .all(|s| s.0.index == 200)
        );
        assert!(peers(&x[0], &y[0]) && peers(&x[1], &y[1]));
        assert!(!peers(&x[0], &y[1]) && !peers(&x[1], &y[0]));
        assert!(!peers(&x[0], &x[1]) && !peers(&y[0], &y[1]));

        // Both ends in one namespace, and two such namespaces that look alike.
        let same = [&three, &four].map(|other| {
            other.run(|| ip("link add p index 300 type veth peer name q index 301"));
            (there(other, "p"), there(other, "q"))
        });
        let [(p1, q1), (p2, q2)] = &same;
        assert!(peers(p1, q1) && peers(p2, q2));
        assert!(!peers(p1, q2) && !peers(p2, q1) && !peers(p1, p2));

        // What a process says of itself is not believed.
        let mut lies = b2.0.clone();
        lies.peer.clone_from(&b1.0.peer);
        assert!(!are_peers(&a1.0, &a1.1, &lies, &b2.1));
        let lo = seen("lo");
        assert!(!peers(&lo, &lo) && !peers(&lo, &a1));
    });
}

#[test]
fn news_of_an_interface() {
    apart("news_of_an_interface", || {
        let other = pair("");
        ip("link add u1 type veth peer name u2");
        let (va, watch) = seen("va");
        let (u1, u_watch) = seen("u1");
        let changed = News {
            gone: false,
            changed: true,
        };
        let gone = News {
            gone: true,
            changed: true,
        };
        assert_eq!(watch.hear(va.index), News::default());
        ip("link set u1 up");
        assert_eq!(
            watch.hear(va.index),
            News::default(),
            "that was another one"
        );
        assert_eq!(u_watch.hear(u1.index), changed);
        ip("link set va mtu 1300");
        assert_eq!(watch.hear(va.index), changed);
        assert_eq!(watch.hear(va.index), News::default());
        assert_eq!(watch.refresh(va.index).map(|i| i.mtu), Some(1300));
        ip("link set va name vz");
        assert_eq!(watch.hear(va.index), changed);
        assert!(watch.refresh(va.index).is_some());

        // More than the socket has room for: some of it is lost, and that is news.
        ground::ip_batch(&"link set u1 down\nlink set u1 up\n".repeat(300));
        assert!(watch.hear(va.index).changed);

        ip(&format!("link set vz netns {}", other.id));
        assert_eq!(watch.hear(va.index), gone);
        assert_eq!(watch.refresh(va.index), None);
        u_watch.hear(u1.index);
        ip("link del u2");
        assert_eq!(u_watch.hear(u1.index), gone);
        assert_eq!(u_watch.refresh(u1.index), None);
    });
}

#[test]
fn descriptors_of_something_else_make_no_watch() {
    apart("descriptors_of_something_else_make_no_watch", || {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};
        let usersock = || -> Fd {
            let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
            let protocol = Some(netlink::USERSOCK);
            let socket = socket_with(family, SocketType::RAW, flags, protocol);
            socket.expect("anybody gets one").into()
        };
        let file = |path| Fd::from(OwnedFd::from(File::open(path).expect("it is there")));
        let made = |change: &dyn Fn(&mut [Fd; 3])| {
            let interface = look_up(b"lo").expect("it is there");
            let watch = Watch::open(&interface).expect("netlink and /proc are there");
            let mut fds = watch.into_fds();
            change(&mut fds);
            Watch::from_fds(fds).map(drop)
        };
        assert_eq!(made(&|_| ()), Ok(()));
        for at in [0, 1] {
            assert_eq!(made(&|fds| fds[at] = usersock()), Err(Errno::PROTO));
            assert_eq!(made(&|fds| fds[at] = file("/dev/null")), Err(Errno::PROTO));
        }
        for path in ["/dev/null", "/proc/self/ns/pid", "/proc/self/ns"] {
            assert_eq!(
                made(&|fds| fds[2] = file(path)),
                Err(Errno::PROTO),
                "{path}"
            );
        }
    });
}

#[test]
fn a_shape_knows_its_descriptors() {
    apart("a_shape_knows_its_descriptors", || {
        let interface = look_up(b"lo").expect("it is there");
        let mut opened = uvale_wire::open(&uvale_wire::Wanted {
            name: "lo",
            interface: &interface,
            rings: [1, 1],
            host: false,
            steal: false,
            programs: true,
            carrier: uvale_wire::Carrier::Packet,
        })
        .expect("a wire");
        let shape = &opened.shape;
        assert!(
            shape.descriptors() > 1 && shape.fits(&opened.fds),
            "{shape:?}"
        );
        let last = opened.fds.pop().expect("there is one");
        assert!(!shape.fits(&opened.fds), "one is missing");
        let null = OwnedFd::from(File::open("/dev/null").expect("it is there"));
        opened.fds.push(null.into());
        assert!(!shape.fits(&opened.fds), "one is no socket");
        opened.fds.pop();
        opened.fds.extend([
            last,
            OwnedFd::from(File::open("/dev/null").expect("it is there")).into(),
        ]);
        assert!(!shape.fits(&opened.fds), "one too many");
    });
}

#[test]
fn a_socket_that_is_handed_on_gives_no_rights() {
    apart("a_socket_that_is_handed_on_gives_no_rights", || {
        let before = rustix::thread::capabilities(None).expect("they are there");
        let socket = Socket::open(Subject::Route).expect("netlink");
        assert_eq!(rustix::thread::capabilities(None), Ok(before));
        // As a set-uid program would: RTM_NEWLINK of `lo` (length, kind and flags, sequence, port; struct ifinfomsg).
        let message = [32, 16 | 5 << 16, 7, 0, 0, 1, 0, 0].map(u32::to_ne_bytes);
        rustix::io::write(&socket, message.as_flattened()).expect("the kernel takes it");
        let mut answer = [0; 256];
        rustix::io::read(&socket, &mut answer).expect("an answer");
        let errno = i32::from_ne_bytes(answer[16..20].try_into().expect("4 bytes"));
        assert_eq!(errno, -Errno::PERM.raw_os_error());
        // The same, with the rights of who sends it.
        let family = message[4..].as_flattened();
        socket
            .ask(Message::new(16, 0, family))
            .expect("we are root here");
    });
}
