//! A switch on two machines, with a tunnel of the kernel's between them, as docs/networks.md shows it.

use std::path::Path;

use compat_tests::place::Place;
use compat_tests::programs::{kill, program, value};
use compat_tests::world::Program;
use compat_tests::{Skip, apps, or_skip};

use compat_tests::namespaces::{ADDRESSES, Ground};

const TUNNEL: &str = "vxlan0";
const PACKETS: u64 = 2000;
/// The tunnel's MTU and an Ethernet header: no longer packet fits.
const LONGEST: usize = 1450 + 14;

/// Two machines, each with a world, and a program between the switch there and the tunnel.
struct Machines {
    ground: Ground,
    worlds: [Place; 2],
    bridges: Vec<Program>,
}

impl Machines {
    fn new() -> Result<Machines, Skip> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/bridge.c");
        let bridge = apps::compile_c(&source, "networks-bridge", &["-O1"])?.path;
        let mut machines = Machines {
            ground: Ground::new()?,
            worlds: [Place::new(), Place::new()],
            bridges: Vec::new(),
        };
        for side in 0..2 {
            let [local, remote] = [ADDRESSES[side], ADDRESSES[1 - side]];
            let made = machines.ground.shell(side, &format!(
                "ip link add {TUNNEL} type vxlan id 42 dstport 4789 local {local} remote {remote} && \
                 echo 1 > /proc/sys/net/ipv6/conf/{TUNNEL}/disable_ipv6 && ip link set {TUNNEL} up"
            ));
            if made.code != Some(0) {
                return Err(Skip::required(format!("no VXLAN: {}", made.err.trim())));
            }
            let args = ["vale0:out", &format!("netmap:{TUNNEL}")];
            let world = &machines.worlds[side];
            let bridge = machines.ground.spawn(side, world, &bridge, &[], &args);
            compat_tests::wait::wait_for("both ports of the bridge", || {
                world
                    .port(TUNNEL)
                    .is_some_and(|port| port.nic.is_some_and(|nic| nic.wire == "packet"))
            });
            machines.bridges.push(bridge);
        }
        Ok(machines)
    }

    fn start(&self, side: usize, args: &[&str]) -> Program {
        let traffic = program("traffic").expect("it was compiled");
        self.ground
            .spawn_ready(side, &self.worlds[side], &traffic, &[], args)
    }
}

#[test]
fn a_switch_spans_two_machines_by_vxlan() {
    or_skip!("VXLAN", program("traffic"));
    let machines = or_skip!("VXLAN", Machines::new());
    for side in 0..2 {
        let (n, len) = (format!("n={PACKETS}"), format!("len={LONGEST}"));
        // Switches and networks lose what comes too fast: it sends until enough have come.
        let receiver = machines.start(1 - side, &["rx", "vale0:b", &n, "how=poll"]);
        let sender = machines.start(side, &["tx", "vale0:a", &len, "how=poll", "batch=16"]);
        let said = receiver.wait_success();
        assert!(value(&said, "n") >= Some(PACKETS), "{said}");
        kill(sender);
    }
    machines.bridges.into_iter().for_each(kill);
    machines.worlds.iter().for_each(Place::assert_left_clean);
}
