//! System calls, counted by strace: none for a sync when nobody sleeps, none for a poll that finds something.

use std::collections::BTreeMap;
use std::process::Command;

use compat_tests::place::Place;
use compat_tests::programs::{fact, program};
use compat_tests::{Skip, or_skip};

/// Calls on netmap descriptors in each section of `quiet`.
const CALLS: u64 = 100_000;
/// A look whether the daemon is still there is allowed once in so many calls of one descriptor.
const LOOK_EVERY: u64 = 65_536;

fn strace() -> Result<(), Skip> {
    let found = Command::new("strace").arg("-V").output();
    found.map_err(|e| Skip::required(format!("no strace (Debian package strace): {e}")))?;
    let works = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    match works {
        Ok(o) if o.status.success() => Ok(()),
        _ => Err(Skip::required(
            "strace may not trace here (ptrace is forbidden)",
        )),
    }
}

/// The names of the system calls in each section of a trace.
fn sections(trace: &str) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    let mut current: Option<(String, Vec<String>)> = None;
    for line in trace.lines() {
        // "PID name(arguments) = result"
        let call = line
            .split_once(' ')
            .map_or("", |(_, call)| call.trim_start());
        let name = call.split('(').next().unwrap_or("");
        if let Some(what) = call.strip_prefix("write(1, \"begin ") {
            let what = what.split('\\').next().unwrap_or("").to_owned();
            current = Some((what, Vec::new()));
        } else if call.starts_with("write(1, \"end ") {
            all.extend(current.take());
        } else if let Some((_, calls)) = &mut current {
            // signals and ends of threads are no calls
            if !name.is_empty() && !name.starts_with(['-', '+']) {
                calls.push(name.to_owned());
            }
        }
    }
    assert!(current.is_none(), "the trace is cut off");
    all
}

#[test]
fn syncs_and_polls_that_find_something_make_none() {
    or_skip!("system calls", strace());
    let quiet = or_skip!("system calls", program("quiet"));
    let place = Place::new();
    let trace = place.file("trace");
    let mut command = place.command(std::path::Path::new("strace"));
    // only the program is to have the shim
    let preload = compat_tests::target::binaries().shim.display().to_string();
    command
        .env_remove("LD_PRELOAD")
        .args(["-f", "-E", &format!("LD_PRELOAD={preload}"), "-o"])
        .arg(&trace)
        .arg(&quiet)
        .arg(CALLS.to_string());
    compat_tests::world::Program::start("strace quiet", command).wait_success();

    let trace = std::fs::read_to_string(&trace).expect("strace has written its file");
    let sections = sections(&trace);
    let expected = [
        "epoll-ready",
        "idle",
        "idle-poll",
        "pipe-poll",
        "pipe-sync",
        "select-ready",
        "vale-poll",
        "vale-sync",
    ];
    assert_eq!(
        sections.keys().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
    for (what, calls) in &sections {
        // two descriptors, and one look of each may be due at the beginning
        let allowed = 2 * (CALLS / LOOK_EVERY + 1);
        fact(&format!(
            "{what}: {} system calls in {CALLS} rounds, {allowed} are allowed {calls:?}",
            calls.len()
        ));
    }
    for (what, calls) in &sections {
        let looks = calls
            .iter()
            .filter(|c| ["poll", "ppoll"].contains(&c.as_str()));
        assert!(
            looks.count() as u64 <= 2 * (CALLS / LOOK_EVERY + 1),
            "{what}: too many looks at the daemon"
        );
        let others: Vec<_> = calls
            .iter()
            .filter(|c| !["poll", "ppoll"].contains(&c.as_str()))
            .take(20)
            .collect();
        assert!(others.is_empty(), "{what}: {others:?}");
    }
}
