//! netmap's own driver in two guests, and its pkt-gen from one to the other.

use std::path::Path;

use crate::guest::archive::Archive;
use crate::guest::kit::Kit;
use crate::guest::{Guest, Plan};
use crate::world::World;

use super::ground::{self, Accelerator};

/// Packets of a run.
const PACKETS: u64 = 1_000_000;
/// Slots of a ring: what `uvale vm ptnet` gives by itself, and more.
const SLOTS: [&str; 2] = ["1024", "4096"];

/// A line for each number of slots.
///
/// # Errors
/// Why there are none.
pub fn measure(
    kit: &Kit,
    world: &World,
    accelerator: Accelerator,
    dir: &Path,
) -> Result<Vec<String>, String> {
    for name in ["netmap.ko", "pkt-gen"] {
        if !dir.join(name).is_file() {
            return Err(format!("there is no {name} in {}", dir.display()));
        }
    }
    let lines = SLOTS.map(|slots| run(kit, world, accelerator, dir, slots));
    Ok(lines.to_vec())
}

fn run(kit: &Kit, world: &World, accelerator: Accelerator, dir: &Path, slots: &str) -> String {
    let names = ["one", "other"].map(|end| format!("{end}-{slots}"));
    let ports = ["{1", "}1"].map(|end| format!("netmap:n{slots}{end}"));
    let serve = |i: usize| {
        let options = ["--slots", slots];
        ground::serve(world, "ptnet", &ports[i], &names[i], &options)
    };
    let servers = [serve(0), serve(1)];
    let [mut a, mut b] = names.each_ref().map(|name| {
        let mut files = Archive::default();
        files.copy("root/netmap.ko", &dir.join("netmap.ko"));
        files.copy("root/pkt-gen", &dir.join("pkt-gen"));
        let plan = Plan {
            name,
            devices: [accelerator.arguments(), ground::ptnet(world, name)].concat(),
            files,
            kernel: "ipv6.disable=1",
            ..Plan::default()
        };
        Guest::start(kit, &world.file(""), plan)
    });
    for guest in [&mut a, &mut b] {
        guest.wait_ready();
        guest.run("true");
        guest.run("insmod /root/netmap.ko && ip link set eth0 up");
    }
    // It gives back what it has got until it is told to end: the sender waits for its last packets, too.
    let receiver = b.begin("exec /root/pkt-gen -i netmap:eth0 -f rx -w 0");
    let sent = a.run(&format!(
        "sleep 1; /root/pkt-gen -i netmap:eth0 -f tx -n {PACKETS} -w 1 2>&1"
    ));
    b.kill(&receiver, "INT");
    let (_, got) = b.finish(receiver);
    let arrived = format!("Received {PACKETS} packets");
    assert!(got.contains(&arrived), "{sent}{got}");
    a.power_off();
    b.power_off();
    let said = servers.map(|server| numbers(&ground::end(server)));
    let speed = sent.lines().find_map(|l| l.strip_prefix("Speed: "));
    let speed: Vec<&str> = speed
        .unwrap_or_default()
        .split_whitespace()
        .take(2)
        .collect();
    let speed = speed.join(" ");
    let [[k1, i1], [k2, i2]] = said;
    format!(
        "netmap's driver and pkt-gen, rings of {slots}: {speed}; for a million packets the sender has {k1} kicks and \
         {i1} interrupts, the receiver {k2} and {i2}"
    )
}

/// Kicks and interrupts that a process has said at its end.
fn numbers(said: &str) -> [u64; 2] {
    let line = said.lines().find(|l| l.contains(" kicks, "));
    let words = line.unwrap_or_default().split_whitespace();
    let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
    let [kicks, interrupts] = numbers[..] else {
        panic!("no kicks and interrupts: {said}");
    };
    [kicks, interrupts]
}
