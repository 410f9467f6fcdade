//! What DPDK's programs are given.

use std::path::Path;
use std::process::Command;

/// Options for a program that needs neither huge pages, nor devices, nor other processes that share its memory.
const OPTIONS: [&str; 6] = [
    "--no-huge",
    "-m",
    "256",
    "--no-pci",
    "--no-telemetry",
    "--no-shconf",
];

/// Has a program of DPDK run without anything that it would have to be given, and leave its files in `dir`.
pub fn prepare(command: &mut Command, dir: &Path) {
    command.args(OPTIONS).env("RUNTIME_DIRECTORY", dir);
}

/// The option by which it has one end of a memif: a ring of 1024 each way.
pub fn memif(role: &str, socket: &Path) -> String {
    let socket = socket.display();
    format!("--vdev=net_memif0,role={role},id=0,socket={socket},socket-abstract=no,rsize=10")
}
