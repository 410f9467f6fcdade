//! How programs and daemons start, and what they inherit.

mod descriptors;
mod files;
mod reach;
mod run;
mod sanitizers;
mod surroundings;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use compat_tests::{Skip, programs, target};

/// `uvale ARGS...` in an environment that says nothing of any world.
fn uvale<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(&target::binaries().uvale);
    command.args(args).env_remove("UVALE_DIR");
    command.stdin(std::process::Stdio::null());
    command
}

fn ten() -> Result<PathBuf, Skip> {
    programs::program("start/ten")
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
