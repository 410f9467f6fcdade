//! The environment variables that say which world a process belongs to and how it finds a daemon.
//!
//! A program may clear or change its environment after it was started. The shim remembers these few as they were when
//! it was loaded ([`remember`]): a process stays in its world.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::OnceLock;

use crate::name;

/// Names the runtime directory for programs and commands.
pub const ENV_DIR: &str = "UVALE_DIR";
/// Set to 0: never start a daemon, fail if there is none.
pub const ENV_AUTOSTART: &str = "UVALE_AUTOSTART";
/// Configuration file of daemons that start.
pub const ENV_CONFIG: &str = "UVALE_CONFIG";
/// Path of the `uvale` program, for shims that are installed elsewhere.
pub const ENV_PROGRAM: &str = "UVALE_PROGRAM";
/// Socket of the nic-helper to ask for what this process may not open; empty: ask none.
pub const ENV_NIC_HELPER: &str = "UVALE_NIC_HELPER";
/// Paths among them: relative ones are relative to the directory in which the program was started.
const PATHS: [&str; 4] = [ENV_DIR, ENV_PROGRAM, ENV_CONFIG, ENV_NIC_HELPER];
/// The others.
const OTHERS: [&str; 5] = [
    ENV_AUTOSTART,
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "HOME",
    "PATH",
];
/// Not ours, but a daemon shows times and reports faults by them.
const DAEMONS: [&str; 2] = ["TZ", "RUST_BACKTRACE"];

static REMEMBERED: OnceLock<Vec<(&'static str, OsString)>> = OnceLock::new();

/// From now on the variables are as they are at this moment.
pub fn remember() {
    REMEMBERED.get_or_init(now);
}

/// The value of one of the variables; `None` if it is not set, or empty. Only an empty [`ENV_NIC_HELPER`] is a value.
pub fn get(name: &str) -> Option<OsString> {
    match REMEMBERED.get() {
        Some(list) => list
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v.clone()),
        None => read(name),
    }
}

/// Paths that are set: absolute, so that they mean the same to children in other directories.
pub fn paths() -> impl Iterator<Item = (&'static str, OsString)> {
    PATHS
        .into_iter()
        .filter_map(|name| Some((name, get(name)?)))
}

/// The environment of a daemon: it gets nothing else of the program's.
pub fn for_daemon() -> Vec<(&'static str, OsString)> {
    REMEMBERED.get().cloned().unwrap_or_else(now)
}

/// The same as the system call takes it.
pub(crate) fn for_execve() -> Vec<CString> {
    let entry = |(name, value): (&str, OsString)| {
        let mut bytes = format!("{name}=").into_bytes();
        bytes.extend(value.into_vec());
        CString::new(bytes).ok()
    };
    for_daemon().into_iter().filter_map(entry).collect()
}

fn now() -> Vec<(&'static str, OsString)> {
    let names = PATHS.into_iter().chain(OTHERS).chain(DAEMONS);
    names.filter_map(|name| Some((name, read(name)?))).collect()
}

fn read(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name).filter(|v| !v.is_empty() || name == ENV_NIC_HELPER)?;
    if PATHS.contains(&name) && !value.is_empty() {
        return Some(name::absolute(Path::new(&value)).into());
    }
    Some(value)
}
