//! System calls of a port that sends over the wire, counted by strace: one for 64 packets at most.

use compat_tests::place::Place;
use compat_tests::programs::{fact, program, strace};
use compat_tests::world::Program;
use compat_tests::{or_skip, target};

use compat_tests::namespaces::{Ground, VETH};

const PACKETS: u64 = 25_600;

#[test]
fn a_batch_goes_by_few_calls() {
    or_skip!("calls of a sender", strace());
    let traffic = or_skip!("calls of a sender", program("traffic"));
    let ground = or_skip!("calls of a sender", Ground::new());
    let place = Place::new();
    let trace = place.file("trace");
    let mut command = ground.command(0);
    let (preload, dir) = (target::binaries().shim.display(), place.dir().display());
    command
        .args(["strace", "-f", "-e", "trace=network", "-o"])
        .arg(&trace)
        .args(["-E", &format!("LD_PRELOAD={preload}")])
        .args(["-E", &format!("UVALE_DIR={dir}")])
        .arg(&traffic)
        .args(["tx", VETH, "batch=256", &format!("n={PACKETS}")]);
    Program::start("strace traffic", command).wait_success();
    let trace = std::fs::read_to_string(&trace).expect("strace has written its file");
    // "PID sendmmsg(4, ...) = 64"
    let calls = trace.lines().filter(|line| line.contains(" sendmmsg("));
    let results = calls.map(|line| line.rsplit("= ").next().and_then(|n| n.parse::<u64>().ok()));
    let results: Vec<u64> = results.flatten().collect();
    let (calls, packets) = (results.len() as u64, results.iter().sum::<u64>());
    fact(&format!("{packets} packets by {calls} calls of sendmmsg"));
    assert_eq!(packets, PACKETS);
    assert!(calls <= PACKETS / 64, "{calls} calls");
    place.assert_left_clean();
}
