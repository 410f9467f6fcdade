//! The reason reaches the person: refusals, who holds what, a daemon that is gone, stopped or of another version,
//! and the daemon's log.

mod holders;
mod log;
mod shim;
mod silence;
mod versions;

use std::path::Path;
use std::process::Command;

use compat_tests::said::Said;
use compat_tests::target;

/// The name by which a program is known.
fn name_of(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// `uvale ARGS... --dir DIR`.
fn uvale(dir: &Path, args: &[&str]) -> Said {
    Said::of(
        Command::new(&target::binaries().uvale)
            .args(args)
            .arg("--dir")
            .arg(dir)
            .env_remove("UVALE_DIR")
            .env_remove("NMSHIM_VERBOSE"),
    )
}

/// All commands that ask a daemon.
const COMMANDS: [&[&str]; 7] = [
    &["ports"],
    &["switches"],
    &["fdb", "vale0"],
    &["stats"],
    &["status"],
    &["ctl", "param", "--json"],
    &["stop"],
];
