//! The reason reaches the person: refusals, who holds what, a daemon that is gone, stopped or of another version,
//! and the daemon's log.

#[path = "../robust_common/mod.rs"]
mod robust_common;

mod holders;
mod log;
mod shim;
mod silence;
mod versions;

use std::path::Path;
use std::process::Command;

use compat_tests::target;

/// How a command ended, and what it said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(command: &mut Command) -> Said {
        let output = command.output().expect("it starts");
        Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It failed with one line that has all of `parts`.
    fn failed_with(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in: {}", self.err);
        }
    }
}

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
