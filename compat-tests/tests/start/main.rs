//! How programs and daemons start, and what they inherit.

#[path = "../robust_common/mod.rs"]
mod robust_common;

mod descriptors;
mod files;
mod reach;
mod run;
mod sanitizers;
mod surroundings;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use compat_tests::{Skip, target};

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

    fn assert_code(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    fn assert_says(self, why: &str) -> Said {
        assert!(self.err.contains(why), "no {why:?} in: {}", self.err);
        self
    }
}

/// `uvale ARGS...` in an environment that says nothing of any world.
fn uvale<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(&target::binaries().uvale);
    command.args(args).env_remove("UVALE_DIR");
    command.stdin(std::process::Stdio::null());
    command
}

fn ten() -> Result<PathBuf, Skip> {
    robust_common::program("start/ten")
}

/// Runs a shell command whose `"$@"` is `args`.
fn sh<S: AsRef<OsStr>>(script: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).args(args);
    command.env_remove("UVALE_DIR");
    command.stdin(std::process::Stdio::null());
    command
}

/// Does this machine permit what `probe` does? A test that needs it is skipped where not.
fn needs(what: &str, probe: &mut Command) -> Result<(), Skip> {
    match probe.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Skip::optional(format!(
            "{what}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
        Err(e) => Err(Skip::optional(format!("{what}: {e}"))),
    }
}
