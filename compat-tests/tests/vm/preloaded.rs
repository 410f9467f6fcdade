//! QEMU under the shim, as it runs for its own netmap backend.

use std::io::Write;
use std::os::unix::net::UnixStream;

use compat_tests::place::Place;
use compat_tests::programs::strace;
use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{apps, or_skip, target};

use crate::ground::text;

/// QEMU 11 waits for descriptors in a ring of liburing's, of which the shim would see nothing.
#[test]
fn qemu_waits_without_a_ring() {
    or_skip!("QEMU under strace", strace());
    let qemu = or_skip!("QEMU under the shim", apps::qemu());
    let place = Place::new();
    let (trace, monitor) = (place.file("trace"), place.file("monitor"));
    let mut command = place.command(std::path::Path::new("strace"));
    command.env_remove("LD_PRELOAD");
    command.args([
        "-f",
        "-e",
        "trace=io_uring_setup,execve",
        "-o",
        text(&trace),
    ]);
    command
        .arg(&target::binaries().uvale)
        .args(["run", "--", text(&qemu.path)]);
    command.args(["-S", "-nodefaults", "-display", "none", "-monitor"]);
    command.arg(format!("unix:{},server=on,wait=off", text(&monitor)));
    let mut program = Program::start("QEMU", command);
    wait_for("QEMU", || UnixStream::connect(&monitor).is_ok());
    // strace keeps signals from it.
    let mut monitor = UnixStream::connect(&monitor).expect("it is there");
    monitor.write_all(b"quit\n").expect("it reads");
    program.wait();
    let trace = std::fs::read_to_string(&trace).expect("strace has written it");
    assert!(trace.contains("execve"), "{trace}");
    assert!(!trace.contains("io_uring_setup"), "{trace}");
}
