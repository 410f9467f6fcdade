//! Starting a daemon as a child, and waiting until it listens.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command};

use super::log::{Log, no_input};

/// A daemon that did not start.
pub struct NotStarted {
    /// its exit status, if it had one
    pub code: Option<i32>,
    /// why
    pub why: String,
}

impl From<String> for NotStarted {
    fn from(why: String) -> Self {
        Self { code: None, why }
    }
}

/// This program as the daemon of `dir`, with only the part of the environment that a daemon needs.
pub fn daemon(dir: &Path) -> Result<Command, String> {
    let exe = uvale_system::sys::this_program()
        .map_err(|e| format!("cannot find out where this program is: {e}"))?;
    let mut command = Command::new(exe);
    command
        .env_clear()
        .envs(uvale_link::environment::for_daemon())
        // Its standard output is the pipe on which it says that it listens, or why not.
        .args(["daemon", "--ready-fd", "1", "--dir"])
        .arg(dir);
    Ok(command)
}

/// Starts it. What it logs goes to `log`.
pub fn start(mut command: Command, log: Log) -> Result<Child, NotStarted> {
    let cannot = |e: std::io::Error| format!("cannot start a daemon: {e}");
    let (mut reader, writer) = std::io::pipe().map_err(cannot)?;
    command
        .stdin(no_input()?)
        .stdout(writer)
        .stderr(log.stdio()?);
    let mut child = command.spawn().map_err(cannot)?;
    drop(command);
    let mut said = String::new();
    // A daemon that listens keeps its end open, so its first message is enough; one that fails ends.
    let mut part = [0u8; 512];
    while let Ok(n) = reader.read(&mut part) {
        said.push_str(&String::from_utf8_lossy(&part[..n]));
        if said.starts_with("ready") {
            log.serves();
            return Ok(child);
        }
        if n == 0 {
            break;
        }
    }
    let status = child.wait().map_err(cannot)?;
    let why = match said.trim() {
        "" => format!("it ended at once, {status}; it said: {}", log.text().trim()),
        said => said.to_owned(),
    };
    Err(NotStarted {
        code: status.code(),
        why,
    })
}
