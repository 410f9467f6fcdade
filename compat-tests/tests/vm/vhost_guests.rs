//! `uvale vm vhost` with a real QEMU and Linux in the guest.

use std::path::{Path, PathBuf};

use compat_tests::guest::kit::Kit;
use compat_tests::guest::{Guest, Plan, VIRTIO_NET, device};
use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::target::binaries;
use compat_tests::wait::{deadline, until, wait_for};
use compat_tests::world::Program;
use rustix::process::Signal;

use crate::ground::{text, vm};

/// A guest on a switch, and the process that serves its port.
struct OnSwitch {
    guest: Guest,
    server: Program,
    socket: PathBuf,
}

pub fn mac(number: u8) -> String {
    format!("52:54:00:00:00:{number:02x}")
}

/// Serves port `vale0:NAME`.
pub fn serve(place: &Place, name: &str, socket: &Path) -> Program {
    let port = format!("vale0:{name}");
    let args = ["vhost", "--port", &port, "--socket", text(socket)];
    let server = vm(place, &args);
    server.wait_text("-netdev vhost-user");
    server
}

/// Starts a guest whose address is 10.0.0.NUMBER.
fn start(kit: &Kit, place: &Place, name: &'static str, number: u8) -> OnSwitch {
    let socket = place.file(&format!("{name}.vhost"));
    let server = serve(place, name, &socket);
    let plan = Plan {
        name,
        devices: device::vhost_user("n0", &socket, &mac(number)),
        modules: VIRTIO_NET,
        ..Plan::default()
    };
    let guest = Guest::start(kit, place.dir(), plan);
    OnSwitch {
        guest,
        server,
        socket,
    }
}

fn bring_up(guest: &mut Guest, number: u8) {
    println!("{}", guest.wait_ready());
    guest.run(&format!(
        "ip addr add 10.0.0.{number}/24 dev eth0 && ip link set eth0 up"
    ));
}

impl OnSwitch {
    fn end(mut self) -> String {
        self.guest.power_off();
        self.server.wait_text("the guest has disconnected");
        self.server.signal(Signal::TERM);
        assert!(self.server.wait().success(), "{}", self.server.said());
        assert!(!self.socket.exists());
        self.server.said()
    }
}

#[test]
fn a_guest_with_several_queues_whose_qemu_listens() {
    let kit = or_skip!("guest", Kit::new(&[]));
    let place = Place::new();
    let socket = place.file("qemu");
    let args = ["vhost", "--port", "vale0:c", "--socket", text(&socket)];
    let more = ["--client", "--once", "--queues", "2"];
    let mut server = vm(&place, &[&args[..], &more].concat());
    let chardev = format!("socket,id=s,path={},server=on", text(&socket));
    let device = format!(
        "virtio-net-pci,netdev=n0,mac={},mq=on,vectors=6,romfile=",
        mac(3)
    );
    let devices = [
        "-smp",
        "2",
        "-chardev",
        &chardev,
        "-netdev",
        "vhost-user,id=n0,chardev=s,queues=2",
        "-device",
        &device,
    ];
    let plan = Plan {
        name: "c",
        devices: devices.map(String::from).to_vec(),
        modules: VIRTIO_NET,
        ..Plan::default()
    };
    let mut guest = Guest::start(&kit, place.dir(), plan);
    bring_up(&mut guest, 3);
    let queues = guest.run("echo /sys/class/net/eth0/queues/*");
    assert!(
        queues.contains("rx-1") && queues.contains("tx-1"),
        "{queues}"
    );
    let port = place.port("vale0:c").expect("its port");
    assert_eq!(
        (port.tx.len(), port.rx.len(), port.virt_hdr_len),
        (2, 2, 12)
    );
    programs_on_the_host(&place, &mut guest, 3);
    guest.power_off();
    assert!(server.wait().success(), "{}", server.said());
    place.assert_left_clean();
}

/// How many packets the interface has received.
fn received(guest: &mut Guest) -> u64 {
    let said = guest.run("cat /sys/class/net/eth0/statistics/rx_packets");
    said.trim().parse().expect("a number")
}

#[test]
fn guests_talk_to_each_other_and_to_programs_and_survive_their_process() {
    let kit = or_skip!("guest", Kit::new(&[]));
    let place = Place::new();
    let (mut a, mut b) = (start(&kit, &place, "a", 1), start(&kit, &place, "b", 2));
    bring_up(&mut a.guest, 1);
    bring_up(&mut b.guest, 2);

    let (status, said) = a.guest.try_run("ping -c 100 -i 0.05 10.0.0.2");
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("100 packets transmitted, 100 packets received"),
        "{said}"
    );

    // Bits 0, 7, 11 and 15: checksums and segments are left to the other, buffers are merged.
    let features = a.guest.run("cat /sys/bus/virtio/devices/virtio0/features");
    for bit in [0, 1, 7, 8, 11, 12, 15, 28, 29, 32] {
        assert_eq!(
            features.as_bytes()[bit],
            b'1',
            "feature {bit} of {features}"
        );
    }

    transfer(&mut a.guest, 1, &mut b.guest);
    transfer(&mut b.guest, 2, &mut a.guest);
    programs_on_the_host(&place, &mut a.guest, 1);

    // Its process is killed while it pings, and another one takes its place.
    let ping = a.guest.begin("ping -i 0.1 10.0.0.2");
    a.server.signal(Signal::KILL);
    a.server.wait();
    a.server = serve(&place, "a", &a.socket);
    a.server.wait_text("a guest has connected");
    let before = a.guest.said_by(&ping).matches("bytes from").count();
    let more = until(deadline(), || {
        let now = a.guest.said_by(&ping).matches("bytes from").count();
        (now >= before + 20).then_some(())
    });
    assert!(more.is_some(), "{}", a.guest.said_by(&ping));
    a.guest.kill(&ping, "INT");
    let warnings = a.guest.console();
    assert!(
        !warnings.contains("Oops") && !warnings.contains("WARNING"),
        "{warnings}"
    );

    println!("{}", a.end());
    // The other one's QEMU is killed.
    b.guest.qemu().signal(Signal::KILL);
    b.server.wait_text("the guest has disconnected");
    b.server.signal(Signal::KILL);
    b.server.wait();
    place.assert_left_clean();
}

/// A file over TCP, from the guest with address 10.0.0.NUMBER.
fn transfer(from: &mut Guest, number: u8, to: &mut Guest) {
    let make = "mkdir /run/www && head -c 3000000 /dev/urandom >/run/www/file";
    from.run(&format!("{make} && httpd -p 80 -h /run/www"));
    to.run(&format!("wget -q -O /run/got http://10.0.0.{number}/file"));
    assert_eq!(
        to.run("sha256sum </run/got"),
        from.run("sha256sum </run/www/file")
    );
}

/// A program on a port of the switch, in both directions.
fn programs_on_the_host(place: &Place, guest: &mut Guest, number: u8) {
    let generate = |args: &[&str]| {
        let mut command = place.command(&binaries().uvale);
        command.args(["gen", "-i", "vale0:host"]).args(args);
        Program::start(&format!("uvale gen {}", args.join(" ")), command)
    };
    let before = received(guest);
    generate(&["-f", "tx", "-n", "1000", "-R", "2000", "-D", &mac(number)]).wait_success();
    let all = until(deadline(), || {
        (received(guest) >= before + 1000).then_some(())
    });
    assert!(
        all.is_some(),
        "{} of 1000 arrived",
        received(guest) - before
    );

    let receiver = generate(&["-f", "rx", "-n", "200"]);
    wait_for("its port", || place.port("vale0:host").is_some());
    guest.run("arp -s 10.0.0.9 02:00:00:00:00:09");
    guest.try_run("ping -c 200 -i 0.01 -W 1 10.0.0.9");
    receiver.wait_success();
}
