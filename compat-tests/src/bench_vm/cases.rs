//! Two guests with the same set of devices, and a window of each kind of traffic between them.

use std::time::Instant;

use crate::facts::{self, Facts};
use crate::guest::kit::Kit;
use crate::guest::{Guest, device};
use crate::world::{Program, World};

use super::figures::Figures;
use super::ground::{self, Accelerator};

/// Sizes of packets.
const SIZES: [usize; 2] = [60, 1500];
/// Kicks of a window.
const KICKS: u64 = 300;
/// Bytes of a TCP connection.
const BYTES: u64 = 60_000_000;
/// The file that is fetched.
const FILE: &str = "/run/www/file";

/// The interfaces of a guest, in the order of their devices: two of vhost-user, then TAP.
const ON_PIPE: &str = "eth0";
const ON_SWITCH: &str = "eth1";
const ON_BRIDGE: &str = "eth2";

/// Two guests and all that serves them.
pub struct Pair {
    guests: [Guest; 2],
    servers: Vec<Program>,
    has_bridge: bool,
}

impl Pair {
    /// Boots them.
    pub fn boot(kit: &Kit, world: &World, accelerator: Accelerator, has_bridge: bool) -> Pair {
        let mut servers = Vec::new();
        let mut guest = |name: &'static str, end: &str, number: u8| {
            let called = |what: &str| format!("{name}-{what}");
            let mut devices = Vec::new();
            let mut ptnet = |what: &str, port: &str, options: &[&str]| {
                let name = called(what);
                servers.push(ground::serve(world, "ptnet", port, &name, options));
                devices.extend(ground::ptnet(world, &name));
            };
            ptnet("pipe", &format!("netmap:p{end}"), &[]);
            if number == 1 {
                ptnet("bar-mem", "vale9:mem", &["--spin", "0"]);
                ptnet("bar-io", "vale9:io", &["--spin", "0", "--bar0", "io"]);
            }
            let mac = |kind: u8| format!("52:54:00:00:{kind:02x}:{number:02x}");
            let ports = [format!("netmap:v{end}"), format!("vale8:{name}")];
            for (kind, port) in (1..).zip(ports) {
                let name = called(&format!("v{kind}"));
                servers.push(ground::serve(world, "vhost", &port, &name, &[]));
                let id = format!("v{kind}");
                devices.extend(device::vhost_user(&id, &world.file(&name), &mac(kind)));
            }
            if has_bridge {
                let tap = format!("tap,id=tap,ifname={name}-tap,script=no,downscript=no");
                devices.extend(device::virtio_net("tap", &tap, &mac(9)));
            }
            ground::start(kit, world, name, accelerator, devices)
        };
        let mut guests = [guest("a", "{1", 1), guest("b", "}1", 2)];
        for (guest, number) in guests.iter_mut().zip(1..) {
            guest.wait_ready();
            // What QEMU and the boot have said is none of the next command's.
            guest.run("true");
            guest.run(&format!("ip link set {ON_PIPE} up"));
            guest.run(&format!(
                "ip addr add 10.0.1.{number}/24 dev {ON_SWITCH} && ip link set {ON_SWITCH} up"
            ));
            if has_bridge {
                guest.run(&format!(
                    "ip addr add 10.0.2.{number}/24 dev {ON_BRIDGE} && ip link set {ON_BRIDGE} up"
                ));
            }
        }
        if has_bridge {
            for name in ["a", "b"] {
                let tap = format!("{name}-tap");
                let command = ["link", "set", &tap, "master", "br0", "up"];
                let joined = std::process::Command::new("ip").args(command).status();
                assert!(
                    joined.is_ok_and(|s| s.success()),
                    "{tap} is put on a bridge"
                );
            }
        }
        guests[0].run(&format!(
            "mkdir /run/www && head -c {BYTES} /dev/zero >{FILE} && httpd -p 80 -h /run/www"
        ));
        Pair {
            guests,
            servers,
            has_bridge,
        }
    }

    /// A window of each.
    pub fn window(&mut self, packets: u64, figures: &mut Figures) {
        for len in SIZES {
            let [sent, got] = self.ptnet(packets, len);
            let rate = packets as f64 / number(&sent, "milliseconds");
            figures.add(&format!("ptnet, {len} bytes (kpps)"), rate);
            for (side, facts) in [("sender", &sent), ("receiver", &got)] {
                let kicks = number(facts, "kicks") * 1e6 / packets as f64;
                figures.add(
                    &format!("ptnet, {len} bytes: {side}'s kicks per million"),
                    kicks,
                );
            }
            let (rate, lost) = self.sockets(packets / 10, len);
            figures.add(&format!("vhost-user, {len} bytes (kpps)"), rate);
            figures.add(&format!("vhost-user, {len} bytes: lost (%)"), lost);
        }
        for (device, bar) in [(1, "memory BAR"), (2, "I/O BAR")] {
            let command = format!("ptnet-guest --device {device} kicks --count {KICKS}");
            let cost = self.guests[0].facts(&command);
            let micros = number(&cost, "nanoseconds") / 1000.0 / number(&cost, "kicks");
            figures.add(&format!("ptnet, {bar}: a sync with a kick (us)"), micros);
        }
        self.tcp("TCP, vhost-user on a switch (MB/s)", 1, figures);
        if self.has_bridge {
            self.tcp("TCP, TAP and bridge (MB/s)", 2, figures);
        }
    }

    /// What sender and receiver found.
    fn ptnet(&mut self, packets: u64, len: usize) -> [Facts; 2] {
        let [a, b] = &mut self.guests;
        let receiver = b.begin(&format!("ptnet-guest rx --count {packets}"));
        b.run("until ls /run | grep -q ptnet-csb; do usleep 1000; done");
        let sent = a.facts(&format!("ptnet-guest tx --count {packets} --len {len}"));
        let (status, got) = b.finish(receiver);
        assert_eq!(status, 0, "{got}");
        [sent, facts::parse(&got)]
    }

    /// Thousand packets a second that arrive, and the percentage that does not.
    fn sockets(&mut self, packets: u64, len: usize) -> (f64, f64) {
        let [a, b] = &mut self.guests;
        let receiver = b.begin(&format!("socket-guest rx --count {packets}"));
        b.run("until [ $(wc -l </proc/net/packet) -gt 1 ]; do usleep 1000; done");
        let socket = format!("socket-guest --interface {ON_PIPE}");
        a.run(&format!("{socket} tx --count {packets} --len {len}"));
        let (status, got) = b.finish(receiver);
        assert_eq!(status, 0, "{got}");
        let got = facts::parse(&got);
        let good = number(&got, "good");
        let lost = 100.0 * (packets as f64 - good) / packets as f64;
        (good / number(&got, "milliseconds"), lost)
    }

    fn tcp(&mut self, what: &str, net: u8, figures: &mut Figures) {
        let fetch = format!("wget -q -O /dev/null http://10.0.{net}.1/file");
        let now = "cut -d' ' -f1 /proc/uptime";
        let said = self.guests[1].run(&format!("{now} && {fetch} && {now}"));
        let times: Vec<f64> = said.lines().filter_map(|l| l.parse().ok()).collect();
        let [begun, done] = times[..] else {
            panic!("two times: {said}");
        };
        figures.add(what, BYTES as f64 / 1e6 / (done - begun).max(0.01));
    }

    /// Ends the guests and what serves them.
    pub fn end(self) {
        self.guests.into_iter().for_each(Guest::power_off);
        for server in self.servers {
            ground::end(server);
        }
    }
}

/// A number that a program has found.
fn number(facts: &Facts, name: &str) -> f64 {
    let value = facts.get(name).and_then(|v| v.last());
    let value = value.and_then(|v| v.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {facts:?}"))
}

/// From QEMU's start to the first packet of a guest at a program of the host.
pub fn first_packet(kit: &Kit, world: &World, accelerator: Accelerator, figures: &mut Figures) {
    let server = ground::serve(world, "ptnet", "netmap:f{1", "first", &[]);
    let receiver = world.generator(&["-i", "netmap:f}1", "-f", "rx", "-n", "1"]);
    let begun = Instant::now();
    let mut guest = ground::start(
        kit,
        world,
        "first",
        accelerator,
        ground::ptnet(world, "first"),
    );
    guest.wait_ready();
    guest.run("true");
    guest.run("ptnet-guest tx --count 1");
    receiver.wait_success();
    figures.add(
        "first packet after QEMU's start (s)",
        begun.elapsed().as_secs_f64(),
    );
    guest.power_off();
    ground::end(server);
}
