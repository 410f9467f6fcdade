//! The crate netmap-rs over a veth pair: its own pkt-gen sends from one namespace to the other.

use compat_tests::apps;
use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::world::Program;

use compat_tests::namespaces::{Ground, VETH};

/// As many as find room in the receiver's ring: it looks at it now and then.
const FRAMES: &str = "640";

#[test]
fn its_pkt_gen_crosses_a_veth_pair() {
    let pkt_gen = or_skip!("netmap-rs", apps::netmap_rs("pkt-gen"));
    let ground = or_skip!("netmap-rs over a veth pair", Ground::new());
    // In one world the ends are joined, in two packets pass through the kernel.
    for worlds in [vec![Place::new()], vec![Place::new(), Place::new()]] {
        let start = |side: usize, args: &[&str]| -> Program {
            let args = [&["-i", VETH, "-f"], args].concat();
            let place = &worlds[side % worlds.len()];
            ground.spawn(side, place, &pkt_gen.path, &[], &args)
        };
        let receiver = start(1, &["rx"]);
        receiver.wait_text("draining port");
        let sent = start(0, &["tx", "-n", FRAMES, "-s", "60"]).wait_success();
        assert!(sent.contains(&format!("sent {FRAMES} frames")), "{sent}");
        let received = format!("received {FRAMES} frames");
        receiver.wait_line("all frames", |line| line.starts_with(&received));
        drop(receiver);
        worlds.iter().for_each(Place::assert_left_clean);
    }
}
