//! What DPDK's programs are given: options, and a directory.

use std::path::{Path, PathBuf};
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

/// A directory that goes.
pub struct Removed(pub PathBuf);

impl Removed {
    /// A new one.
    pub fn new() -> Result<Self, String> {
        let made = nix::unistd::mkdtemp(&std::env::temp_dir().join("uvale-memif-XXXXXX"));
        made.map(Self)
            .map_err(|e| format!("cannot make a directory: {e}"))
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
