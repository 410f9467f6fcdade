//! `uvale vm ptnet`: netmap's paravirtual devices, with this test in the place of QEMU and of the guest's driver.

mod driver;
mod hostile;

use compat_tests::namespaces::{Ground, VETH};
use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::programs::sleeps;
use compat_tests::target::binaries;
use compat_tests::wait::wait_for;
use nm_abi::virt::*;
use rustix::process::Signal;
use uvale_link::report::Port;

use crate::ground::{refused, text};
use driver::{ATOK, Guest, KTOA, RAM, RAM_LEN, client, ended, frame, no_memory, ptnet, ram};

fn numbers(first: u32, n: u32) -> impl Iterator<Item = Vec<u8>> {
    (first..first + n).map(|number| frame(number, 60 + number as usize % 1400))
}

#[test]
fn guests_exchange_packets_over_a_switch_and_over_a_pipe() {
    let place = Place::new();
    for (one, other) in [("vale0:a", "vale0:b"), ("netmap:p{1", "netmap:p}1")] {
        let tag = &one[..1];
        let (a_name, b_name) = (format!("{tag}a"), format!("{tag}b"));
        let a_vm = ptnet(&place, one, &a_name, &[]);
        let b_vm = ptnet(&place, other, &b_name, &[]);
        let mut a = Guest::new(&place, &a_name);
        let mut b = Guest::new(&place, &b_name);
        a.up();
        b.up();
        // One by one, with a sleep for each.
        for n in 0..200 {
            a.send(0, numbers(n, 1));
            b.receive_numbers(0, n, 1);
            b.send(0, numbers(n, 1));
            a.receive_numbers(0, n, 1);
        }
        // A pipe waits for room, and so loses nothing, however many there are.
        let many = if tag == "n" { 20_000 } else { 500 };
        std::thread::scope(|scope| {
            scope.spawn(|| b.receive_numbers(0, 1000, many));
            a.send(0, numbers(1000, many));
        });
        for vm in [a_vm, b_vm] {
            vm.signal(Signal::TERM);
            let said = ended(vm);
            assert!(said.contains("interrupts"), "{said}");
        }
        assert!(!place.file(&format!("{a_name}-net.sock")).exists());
    }
    place.assert_left_clean();
}

#[test]
fn a_guest_and_programs_of_the_host() {
    let place = Place::new();
    let _vm = ptnet(&place, "vale0:guest", "g", &["--mac", "02:00:00:00:00:55"]);
    let mut guest = Guest::new(&place, "g");
    assert_eq!(guest.read(PTNET_IO_MAC_HI), 0x0200);
    assert_eq!(guest.read(PTNET_IO_MAC_LO), 0x55);
    guest.up();
    let uvale = &binaries().uvale;
    place.run(
        uvale,
        &[
            "gen",
            "-i",
            "vale0:h",
            "-f",
            "tx",
            "-n",
            "300",
            "-S",
            "02:00:00:00:00:66",
        ],
    );
    for _ in 0..300 {
        assert_eq!(guest.receive(0)[6..12], [2, 0, 0, 0, 0, 0x66]);
    }
    let rx = place.spawn(uvale, &["gen", "-i", "vale0:h", "-f", "rx", "-n", "500"]);
    wait_for("the receiver", || place.port("vale0:h").is_some());
    guest.send(0, numbers(0, 500));
    rx.wait_success();
}

#[test]
fn headers_are_converted_between_ports_that_have_them_and_others() {
    let place = Place::new();
    let _vms = ["vale0:a", "vale0:b"].map(|port| ptnet(&place, port, &port[6..], &[]));
    let [mut a, mut b] = ["a", "b"].map(|name| Guest::new(&place, name));
    a.write(PTNET_IO_PTFEAT, PTNETMAP_F_VNET_HDR | 2);
    assert_eq!(a.read(PTNET_IO_PTFEAT), PTNETMAP_F_VNET_HDR);
    for (wanted, then) in [(12, 12), (11, 12), (10, 10), (0, 0), (12, 12)] {
        a.write(PTNET_IO_VNET_HDR_LEN, wanted);
        assert_eq!(a.read(PTNET_IO_VNET_HDR_LEN), then);
    }
    a.up();
    b.up();
    let with_header: Vec<u8> = [vec![0; 12], frame(7, 100)].concat();
    a.send(0, [with_header.clone()]);
    assert_eq!(b.receive(0), frame(7, 100));
    b.send(0, [frame(7, 100)]);
    assert_eq!(a.receive(0), with_header);
    // Whoever comes next has none.
    a.net.reset().expect("reset");
    a.up();
    assert_eq!(a.read(PTNET_IO_VNET_HDR_LEN), 0);
    b.send(0, [frame(8, 100)]);
    assert_eq!(a.receive(0), frame(8, 100));
    // Pipes carry what they are given.
    let _pipe = ptnet(&place, "netmap:p{1", "p", &[]);
    let mut pipe = Guest::new(&place, "p");
    pipe.write(PTNET_IO_PTFEAT, PTNETMAP_F_VNET_HDR);
    pipe.write(PTNET_IO_VNET_HDR_LEN, 12);
    let both = [PTNET_IO_PTFEAT, PTNET_IO_VNET_HDR_LEN].map(|at| pipe.read(at));
    assert_eq!(both, [0, 0]);
}

#[test]
fn several_queues_by_one_thread_and_by_many() {
    let place = Place::new();
    for (name, option) in [("one", None), ("each", Some("--thread-per-queue"))] {
        let args: Vec<&str> = ["--queues", "3"].into_iter().chain(option).collect();
        let [one, other] = ["{", "}"].map(|end| format!("netmap:{name}{end}1"));
        let [a_name, b_name] = ["a", "b"].map(|end| format!("{name}-{end}"));
        let _a_vm = ptnet(&place, &one, &a_name, &args);
        let _b_vm = ptnet(&place, &other, &b_name, &args);
        let (mut a, mut b) = (Guest::new(&place, &a_name), Guest::new(&place, &b_name));
        assert_eq!(a.read(PTNET_IO_NUM_TX_RINGS), 3);
        a.up();
        b.up();
        for round in 0..20 {
            for queue in 0..3 {
                a.send(queue, numbers(round * 100, 50 + queue as u32));
            }
            for queue in (0..3).rev() {
                b.receive_numbers(queue, round * 100, 50 + queue as u32);
                b.send(queue, numbers(round, 1));
            }
            (0..3).for_each(|queue| a.receive_numbers(queue, round, 1));
        }
    }
}

#[test]
fn the_interface_goes_down_and_up_and_qemu_is_replaced() {
    let place = Place::new();
    let _a_vm = ptnet(&place, "netmap:p{1", "a", &["--linger", "1000"]);
    let b_vm = ptnet(&place, "netmap:p}1", "b", &["--linger", "0"]);
    let mut b = Guest::new(&place, "b");
    b.up();
    let mut next = 0;
    for _ in 0..3 {
        let mut a = Guest::new(&place, "a");
        for _ in 0..3 {
            a.up();
            a.send(0, numbers(next, 40));
            b.receive_numbers(0, next, 40);
            next += 40;
            assert_eq!(a.command(PTNETMAP_PTCTL_DELETE), 0);
            assert_eq!(a.command(99), libc_einval());
        }
        a.up();
        a.net.reset().expect("reset");
        assert_eq!(a.read(PTNET_IO_CSB_GH_BAL), 0);
        a.up();
    }
    // Nobody waits for this one.
    drop(b);
    let said = ended(b_vm);
    assert!(said.contains("kicks"), "{said}");
    assert!(place.port("p{1").is_some());
}

#[test]
fn what_a_guest_did_before_it_stopped_counts() {
    let place = Place::new();
    let _vms = ["netmap:p{1", "netmap:p}1"].map(|port| ptnet(&place, port, &port[8..], &[]));
    let [mut a, mut b] = ["{1", "}1"].map(|name| Guest::new(&place, name));
    a.up();
    b.up();
    let mut next = 0;
    for round in 1..=100 {
        // Sent, received and given back right before the end: nothing is lost, nothing comes twice.
        let n = round % 7 + 1;
        a.send(0, numbers(next, n));
        assert_eq!(a.command(PTNETMAP_PTCTL_DELETE), 0);
        b.receive_numbers(0, next, n);
        b.give_back(0);
        assert_eq!(b.command(PTNETMAP_PTCTL_DELETE), 0);
        a.up();
        b.up();
        next += n;
    }
}

/// EINVAL as a register says it.
fn libc_einval() -> u32 {
    rustix::io::Errno::INVAL.raw_os_error() as u32
}

#[test]
fn who_only_looks_is_no_guest() {
    let place = Place::new();
    let mut vm = ptnet(&place, "vale0:a", "a", &["--linger", "0"]);
    let socket = place.file("a-net.sock");
    for _ in 0..20 {
        drop(std::os::unix::net::UnixStream::connect(&socket).expect("it listens"));
    }
    let _ = client(&socket);
    assert!(!vm.has_ended(), "{}", vm.said());
    Guest::new(&place, "a").up();
    ended(vm);
    place.assert_left_clean();
}

#[test]
fn memory_that_goes_and_comes_back_suspends_the_loop() {
    let place = Place::new();
    let _vms = ["netmap:p{1", "netmap:p}1"].map(|port| ptnet(&place, port, &port[8..], &[]));
    let [mut a, mut b] = ["{1", "}1"].map(|name| Guest::new(&place, name));
    a.up();
    b.up();
    a.send(0, numbers(0, 10));
    b.receive_numbers(0, 0, 10);
    for round in 1..10 {
        // Without the CSB's memory nothing of it is touched.
        b.net.dma_unmap(RAM, RAM_LEN).expect("unmap");
        let before = b.ktoa(1, 1);
        a.send(0, numbers(round * 10, 10));
        b.set_word(KTOA, 0xdead);
        b.net
            .region_write(0, u64::from(PTNET_IO_KICK_BASE), &[0; 4])
            .expect("kick");
        assert_eq!(b.ktoa(1, 1), before);
        assert_eq!(b.ktoa(0, 0), 0xdead);
        let file = b.ram.try_clone().expect("dup");
        b.map(RAM, RAM_LEN, file);
        b.receive_numbers(0, round * 10, 10);
    }
    // Not this memory, and the guest does not notice.
    b.map(RAM + RAM_LEN, 4096, ram());
    b.net.dma_unmap(RAM + RAM_LEN, 4096).expect("unmap");
    a.send(0, numbers(100, 10));
    b.receive_numbers(0, 100, 10);
}

#[test]
fn a_guest_without_shared_memory_is_told() {
    let place = Place::new();
    let vm = ptnet(&place, "vale0:a", "a", &[]);
    let mut guest = Guest::new(&place, "a");
    let enxio = rustix::io::Errno::NXIO.raw_os_error() as u32;
    assert_eq!(guest.command(PTNETMAP_PTCTL_CREATE), enxio);
    vm.wait_text("has not given a valid address");
    for (atok, ktoa) in [
        (0, 0),
        (RAM + ATOK, 0),
        (RAM + ATOK, RAM + RAM_LEN),
        (RAM - 64, RAM + KTOA),
        (RAM + ATOK, RAM + RAM_LEN - 64),
        (RAM + ATOK + 2, RAM + KTOA),
        (u64::MAX, u64::MAX - 3),
    ] {
        guest.set_csb(atok, ktoa);
        assert_eq!(
            guest.command(PTNETMAP_PTCTL_CREATE),
            enxio,
            "{atok:#x} {ktoa:#x}"
        );
    }
    guest.net.dma_unmap(RAM, RAM_LEN).expect("unmap");
    guest.map(RAM, RAM_LEN, no_memory());
    guest.set_csb(RAM + ATOK, RAM + KTOA);
    assert_eq!(guest.command(PTNETMAP_PTCTL_CREATE), enxio);
    vm.wait_text("memory-backend-memfd");
    drop(guest);
    Guest::new(&place, "a").up();
}

#[test]
fn whoever_shares_a_port_s_memory_is_no_secret() {
    let place = Place::new();
    let refuse = |port: &str| {
        refused(
            &place,
            &["ptnet", "--port", port, "--socket", text(&place.file("s"))],
        )
    };
    let _vms = ["netmap:p{1", "netmap:p}1"].map(|port| {
        let vm = ptnet(&place, port, &port[8..], &[]);
        Guest::new(&place, &port[8..]).up();
        vm
    });
    for port in ["netmap:p{2", "netmap:p}11"] {
        let said = refuse(port);
        assert!(
            said.contains("p{1") && said.contains("a base other than p,"),
            "{said}"
        );
    }
    let vm = ptnet(&place, "netmap:q{1", "q", &[]);
    let mut guest = Guest::new(&place, "q");
    guest.up();
    let _later = place.spawn(&binaries().uvale, &["gen", "-i", "netmap:q{2", "-f", "rx"]);
    vm.wait_text("as this guest's port: q{2");
    // What has come before is no reason to be silent now.
    let _last = place.spawn(&binaries().uvale, &["gen", "-i", "netmap:q{3", "-f", "rx"]);
    vm.wait_text("as this guest's port: q{3");
    // Of a switch's port the same.
    let _pipe = place.spawn(&binaries().uvale, &["gen", "-i", "vale0:t{1", "-f", "rx"]);
    wait_for("the pipe", || place.port("vale0:t{1").is_some());
    let said = refuse("vale0:t");
    assert!(
        said.contains("vale0:t{1") && said.contains("without pipes"),
        "{said}"
    );
}

/// A NIC's port gets a memory for the guest alone.
#[test]
fn a_guest_and_a_network_interface() {
    let place = Place::new();
    let ground = or_skip!("a NIC of a guest", Ground::new());
    let uvale = &binaries().uvale;
    let generate = |side: usize, args: &[&str]| {
        let args = [&["gen", "-i", VETH], args].concat();
        ground.spawn(side, &place, uvale, &[], &args)
    };
    let serve = || {
        let socket = place.file("g");
        let port = format!("netmap:{VETH}");
        let args = ["vm", "ptnet", "--port", &port, "--socket", text(&socket)];
        ground.spawn(0, &place, uvale, &["LD_PRELOAD="], &args)
    };
    // In use it is neither taken nor disturbed.
    let mut holder = generate(0, &["-f", "rx"]);
    let users = |n: u32| move |port: &Port| port.users == n && port.nic.is_some();
    let wait_users = |n| wait_for("users", || place.ports().iter().any(users(n)));
    wait_users(1);
    let mut refused = serve();
    assert!(!refused.wait().success());
    let said = refused.said();
    assert!(
        said.contains("is open in uvale") && said.contains("-a vale0:veth0"),
        "{said}"
    );
    assert!(!holder.has_ended());
    holder.signal(Signal::TERM);
    holder.wait();
    ground
        .spawn(0, &place, uvale, &[], &["ctl", "-a", "vale3:veth0"])
        .wait_success();
    let mut refused = serve();
    assert!(!refused.wait().success());
    assert!(refused.said().contains("vale3:vm1"), "{}", refused.said());
    ground
        .spawn(0, &place, uvale, &[], &["ctl", "-d", "vale3:veth0"])
        .wait_success();

    let vm = serve();
    vm.wait_text("-net.sock");
    let mut guest = Guest::new(&place, "g");
    guest.up();
    let ports = place.ports();
    assert_eq!(ports.len(), 1, "what made its memory is gone: {ports:?}");
    assert!(ports[0].mem_id > 1, "{ports:?}");
    let receiver = generate(1, &["-f", "rx", "-n", "100"]);
    let has_wire = |port: &Port| port.nic.as_ref().is_some_and(|nic| nic.wire != "opening");
    wait_for("the other end", || {
        let ports = place.ports();
        ports.len() == 2 && ports.iter().all(has_wire)
    });
    guest.send(0, numbers(0, 100));
    receiver.wait_success();
    generate(1, &["-f", "tx", "-n", "50", "-S", "02:00:00:00:00:66"]).wait_success();
    for _ in 0..50 {
        assert_eq!(guest.receive(0)[6..12], [2, 0, 0, 0, 0, 0x66]);
    }
    // While nothing moves it sleeps: nothing waits for room where there is some.
    let before = hostile::sleeps(&vm);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let after = hostile::sleeps(&vm);
    assert!(after - before < 50, "{} sleeps in a second", after - before);
    assert!(!vm.said().contains("in the same memory"), "{}", vm.said());
    vm.signal(Signal::TERM);
    ended(vm);
    place.assert_left_clean();
}

/// `uvale ports` says by which sockets a guest gets its port, and who is there.
#[test]
fn whose_port_it_is() {
    let place = Place::new();
    let vm = ptnet(&place, "vale0:a", "a", &["--keep"]);
    let guest_of = || {
        let port = place.port("vale0:a").expect("it is open");
        assert_eq!(port.holders[0].pid, vm.pid().as_raw_nonzero().get());
        port.holders[0].guest.clone()
    };
    wait_for("its sockets", || guest_of().is_some());
    let shown = guest_of().expect("a guest");
    let sockets = ["a-mem.sock", "a-net.sock"].map(|name| text(&place.file(name)).to_owned());
    assert_eq!((shown.sockets, shown.pid), (sockets.into(), None));
    let guest = Guest::new(&place, "a");
    let pid = std::process::id() as i32;
    wait_for("QEMU", || {
        guest_of().and_then(|guest| guest.pid) == Some(pid)
    });
    let text = place.run(&binaries().uvale, &["ports"]);
    assert!(text.contains("a-net.sock; pid"), "{text}");
    drop(guest);
    wait_for("its end", || {
        guest_of().is_some_and(|guest| guest.pid.is_none())
    });
}

#[test]
fn a_daemon_is_not_asked_while_nobody_comes() {
    let place = Place::new();
    let vm = ptnet(&place, "vale0:a", "a", &[]);
    let mut guest = Guest::new(&place, "a");
    guest.up();
    // It looks each second, and sleeps in between. Who is asked wakes up.
    let pid = vm.pid().as_raw_nonzero();
    let looks = |n: u64| {
        let then = sleeps(pid) + n;
        wait_for("some looks", || sleeps(pid) >= then);
    };
    looks(2);
    let before = sleeps(place.daemon_pid());
    looks(6);
    let woken = sleeps(place.daemon_pid()) - before;
    assert!(woken < 4, "the daemon woke up {woken} times");
}

#[test]
fn a_guest_whose_writes_do_not_arrive_is_told() {
    let place = Place::new();
    let vm = ptnet(&place, "vale0:a", "a", &[]);
    let mut guest = Guest::new(&place, "a");
    guest.net.dma_unmap(RAM, RAM_LEN).expect("unmap");
    // With share=off QEMU sends a file of which the guest has copies.
    guest.map(RAM, RAM_LEN, ram());
    guest.set_csb(RAM + ATOK, RAM + KTOA);
    assert_eq!(guest.command(PTNETMAP_PTCTL_CREATE), 0);
    vm.wait_text("share=on");
    // Or one with something in it.
    let vm = ptnet(&place, "vale0:b", "b", &[]);
    let mut guest = Guest::new(&place, "b");
    guest.up();
    for _ in 0..20 {
        guest.write(PTNET_IO_KICK_BASE, 0);
    }
    vm.wait_text("share=on");
}

#[test]
fn a_truncated_file_ends_this_guest_s_card_and_nothing_else() {
    let place = Place::new();
    let vm = ptnet(&place, "vale0:a", "a", &[]);
    let bystander = ["vale0:b", "vale0:c"].map(|port| ptnet(&place, port, &port[6..], &[]));
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| Guest::new(&place, name));
    a.up();
    b.up();
    c.up();
    rustix::fs::ftruncate(&a.ram, 4096).expect("truncate");
    let _ = a
        .net
        .region_write(0, u64::from(PTNET_IO_KICK_BASE), &[0; 4]);
    let said = ended(vm);
    assert!(
        said.contains("the guest's RAM has been truncated"),
        "{said}"
    );
    assert!(!place.file("a-net.sock").exists() && !place.file("a-mem.sock").exists());
    wait_for("its port to go", || place.port("vale0:a").is_none());
    b.send(0, numbers(0, 100));
    c.receive_numbers(0, 0, 100);
    drop(bystander);
}

#[test]
fn whoever_is_killed_leaves_nothing() {
    let kills = std::env::var("COMPAT_VM_KILLS").ok();
    let kills = kills.map_or(5, |n| n.parse().expect("a number"));
    let mut place = Place::new();
    for kill in 0..kills {
        let mut vm = ptnet(&place, "vale0:a", "a", &["--linger", "0"]);
        if kill % 2 == 1 {
            // QEMU has gone without a word.
            Guest::new(&place, "a").up();
            ended(vm);
            place.assert_left_clean();
            continue;
        }
        let mut guest = Guest::new(&place, "a");
        guest.up();
        vm.signal(Signal::KILL);
        vm.wait();
        place.assert_left_clean();
        // A driver whose device is dead gets errors.
        assert!(guest.net.region_read(0, 0, &mut [0; 4]).is_err());
    }
    // Their names are in nobody's way.
    let mut vm = ptnet(&place, "vale0:a", "a", &["--keep"]);
    Guest::new(&place, "a").up();
    place.signal_daemon(Signal::KILL);
    assert!(!vm.wait().success());
    assert!(vm.said().contains("daemon is gone"), "{}", vm.said());
    assert!(!place.file("a-net.sock").exists());
}

#[test]
fn what_is_wrong_is_said_with_a_remedy() {
    let place = Place::new();
    let socket = place.file("s");
    let absent = place.file("absent/s");
    let _vm = ptnet(&place, "vale0:taken", "taken", &[]);
    let taken = place.file("taken");
    let cases: [(&str, &[&str], &std::path::Path, &str); 9] = [
        ("vm1", &[], &socket, "is not the name of a port"),
        ("netmap:nosuch0", &[], &socket, "there is no such interface"),
        ("vale0:g@1", &[], &socket, "a port with memory of its own"),
        (
            "vale0:g",
            &["--queues", "17"],
            &socket,
            "leave out --queues",
        ),
        ("vale0:g", &["--queues", "0"], &socket, "--queues"),
        ("vale0:g", &["--slots", "1"], &socket, "--slots"),
        (
            "vale0:g",
            &["--mac", "1:2"],
            &socket,
            "is not a MAC address",
        ),
        ("vale0:g", &[], &absent, "there is no directory"),
        ("vale0:g", &[], &taken, "in use by another process"),
    ];
    for (port, more, socket, sentence) in cases {
        let args = [&["ptnet", "--port", port, "--socket", text(socket)], more].concat();
        let said = refused(&place, &args);
        assert!(said.contains(sentence), "{args:?}: {said}");
    }
}
