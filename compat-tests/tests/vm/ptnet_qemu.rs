//! `uvale vm ptnet` with a real QEMU and Linux in the guest.

use std::path::PathBuf;

use compat_tests::guest::archive::Archive;
use compat_tests::guest::kit::Kit;
use compat_tests::guest::{Guest, Plan, device};
use compat_tests::place::Place;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip};

use crate::ground::{text, vm};

/// Serves `port` on the sockets of `name`.
fn serve(place: &Place, port: &str, name: &str, args: &[&str]) -> Program {
    let socket = place.file(name);
    let all = [&["ptnet", "--port", port, "--socket", text(&socket)], args].concat();
    let server = vm(place, &all);
    server.wait_text("-net.sock");
    server
}

fn boot(kit: &Kit, place: &Place, name: &str, files: Archive) -> Guest {
    let devices = ["mem", "net"].map(|which| {
        let socket = place.file(&format!("{name}-{which}.sock"));
        device::vfio_user(&socket)
    });
    let plan = Plan {
        name,
        devices: devices.concat(),
        files,
        // Nothing is sent but what a test sends.
        kernel: "ipv6.disable=1",
        ..Plan::default()
    };
    let mut guest = Guest::boot(kit, place.dir(), plan);
    // What QEMU and the boot have said is none of the next command's.
    guest.run("true");
    guest
}

/// The device with that PCI device number, enabled: its folder in sysfs.
fn enable(guest: &mut Guest, id: &str) -> String {
    let found = guest.run(&format!("grep -l 0x{id} /sys/bus/pci/devices/*/device"));
    let folder = found.trim().trim_end_matches("/device").to_owned();
    guest.run(&format!("echo 1 >{folder}/enable"));
    folder
}

/// Address, length and flags of a BAR.
fn bar(guest: &mut Guest, folder: &str, number: usize) -> [u64; 3] {
    let said = guest.run(&format!("cat {folder}/resource"));
    let line = said.lines().nth(number).expect("a BAR").to_owned();
    let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).expect("hex");
    let words: Vec<u64> = line.split_whitespace().map(hex).collect();
    [words[0], words[1] + 1 - words[0], words[2]]
}

fn word(guest: &mut Guest, address: u64) -> u32 {
    let said = guest.run(&format!("devmem {address:#x} 32"));
    u32::from_str_radix(said.trim().trim_start_matches("0x"), 16).expect("hex")
}

#[test]
fn a_guest_sees_registers_and_the_memory_of_its_port() {
    const IO: u64 = 0x100;
    const PREFETCHABLE_64: u64 = 0x10_0000 | 0x2000;
    let kit = or_skip!("guest", Kit::new(&[]));
    let place = Place::new();
    for (name, kind) in [("m", "mem"), ("i", "io")] {
        let port = format!("vale0:{name}");
        let mut server = serve(&place, &port, name, &["--bar0", kind, "--linger", "0"]);
        let mut guest = boot(&kit, &place, name, Archive::default());
        let memory = enable(&mut guest, "000c");
        let network = enable(&mut guest, "000d");
        let [_, len, flags] = bar(&mut guest, &network, 0);
        assert_eq!(len, 256);
        assert_eq!(flags & IO != 0, kind == "io", "{flags:#x}");
        let [region, len, flags] = bar(&mut guest, &memory, 1);
        assert!(len.is_power_of_two() && len >= 8 << 20);
        assert_eq!(flags & PREFETCHABLE_64, PREFETCHABLE_64, "{flags:#x}");
        if kind == "mem" {
            let [registers, ..] = bar(&mut guest, &network, 0);
            assert_eq!(word(&mut guest, registers + 28), 1);
            assert_eq!(word(&mut guest, registers + 36), 1024);
            let nifp = region + u64::from(word(&mut guest, registers + 24));
            assert_eq!(word(&mut guest, nifp), u32::from_le_bytes(*b"vale"));
            // A write of the guest's is there for everybody.
            let name = u32::from_le_bytes(*b"VALE");
            guest.run(&format!("devmem {nifp:#x} 32 {name:#x}"));
            assert_eq!(word(&mut guest, nifp), name);
        }
        guest.power_off();
        assert!(server.wait().success(), "{}", server.said());
    }
    place.assert_left_clean();
}

/// netmap's module for the guest's kernel and its pkt-gen, linked static: a folder that `NETMAP_KMOD` names.
fn netmap() -> Result<PathBuf, Skip> {
    let dir = std::env::var_os("NETMAP_KMOD").map(PathBuf::from);
    let dir = dir.ok_or_else(|| Skip::optional("NETMAP_KMOD not set"))?;
    let has = |name: &str| dir.join(name).is_file();
    match has("netmap.ko") && has("pkt-gen") {
        true => Ok(dir),
        false => Err(Skip::required("no netmap.ko and pkt-gen in NETMAP_KMOD")),
    }
}

/// A guest whose interface `eth0` is the port, by netmap's own driver.
fn boot_netmap(kit: &Kit, place: &Place, name: &str, netmap: &std::path::Path) -> Guest {
    let mut files = Archive::default();
    files.copy("root/netmap.ko", &netmap.join("netmap.ko"));
    files.copy("root/pkt-gen", &netmap.join("pkt-gen"));
    let mut guest = boot(kit, place, name, files);
    guest.run("insmod /root/netmap.ko && ls /sys/class/net/eth0");
    guest
}

/// Kicks and interrupts that a process has said at its end.
fn numbers(server: Program) -> [u64; 2] {
    server.signal(rustix::process::Signal::TERM);
    let mut server = server;
    assert!(server.wait().success(), "{}", server.said());
    let said = server.said();
    let line = said
        .lines()
        .find(|l| l.contains(" kicks, "))
        .expect("a line");
    let words = line.split_whitespace().filter_map(|word| word.parse().ok());
    let numbers: Vec<u64> = words.collect();
    [numbers[0], numbers[1]]
}

#[test]
fn netmap_s_own_driver_on_a_pipe() {
    const PACKETS: u64 = 1_000_000;
    let netmap = or_skip!("netmap's module", netmap());
    let kit = or_skip!("guest", Kit::new(&[]));
    let place = Place::new();
    let servers = [("netmap:p{1", "a"), ("netmap:p}1", "b")];
    let servers = servers.map(|(port, name)| serve(&place, port, name, &["--slots", "4096"]));
    let [mut a, mut b] = ["a", "b"].map(|name| boot_netmap(&kit, &place, name, &netmap));
    for guest in [&mut a, &mut b] {
        guest.run("ip link set eth0 up");
    }
    // The receiver gives back what it has got until it is told to end: the sender waits for its last packets, too.
    let rx = b.begin("exec /root/pkt-gen -i netmap:eth0 -f rx -w 0");
    let sent = a.run(&format!(
        "sleep 1; /root/pkt-gen -i netmap:eth0 -f tx -n {PACKETS} -w 1 2>&1"
    ));
    b.kill(&rx, "INT");
    let (_, received) = b.finish(rx);
    assert!(sent.contains(&format!("Sent {PACKETS} packets")), "{sent}");
    assert!(
        received.contains(&format!("Received {PACKETS} packets")),
        "{received}"
    );
    a.power_off();
    b.power_off();
    for (server, name) in servers.into_iter().zip(["sender", "receiver"]) {
        let [kicks, interrupts] = numbers(server);
        println!("{name}: {kicks} kicks, {interrupts} interrupts for {PACKETS} packets");
    }
}

#[test]
fn netmap_s_own_driver_on_a_switch() {
    let netmap = or_skip!("netmap's module", netmap());
    let kit = or_skip!("guest", Kit::new(&[]));
    let place = Place::new();
    let servers =
        ["a", "b"].map(|name| serve(&place, &format!("vale0:{name}"), name, &["--queues", "2"]));
    let mut guests = ["a", "b"].map(|name| boot_netmap(&kit, &place, name, &netmap));
    for (guest, number) in guests.iter_mut().zip(1..) {
        guest.run(&format!(
            "ip addr add 10.0.0.{number}/24 dev eth0; ip link set eth0 up"
        ));
    }
    let [a, b] = guests;
    let mut a = a;
    let said = a.run("ping -c 100 -i 0.05 10.0.0.2");
    assert!(
        said.contains("100 packets transmitted, 100 packets received"),
        "{said}"
    );
    a.power_off();
    b.power_off();
    for server in servers {
        let [kicks, interrupts] = numbers(server);
        assert!(kicks > 0 && interrupts >= 100, "{kicks} {interrupts}");
    }
}
