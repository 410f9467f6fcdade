//! System calls, counted by strace: none for a sync when nobody sleeps, none for a poll that finds something.

use std::collections::BTreeMap;

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::programs::{fact, program, strace};

/// Calls on netmap descriptors in each section of `quiet`.
const CALLS: u64 = 100_000;
/// Descriptors of a section; each may look once a second whether the daemon is still there.
const DESCRIPTORS: u64 = 2;

/// A section of a trace.
struct Section {
    begun: f64,
    seconds: f64,
    /// the names of its system calls
    calls: Vec<String>,
}

impl Section {
    /// Looks at the daemon that are allowed: in each second that it touches.
    fn looks(&self) -> u64 {
        DESCRIPTORS * (self.seconds as u64 + 2)
    }
}

fn sections(trace: &str) -> BTreeMap<String, Section> {
    let mut all = BTreeMap::new();
    let mut current: Option<(String, Section)> = None;
    for line in trace.lines() {
        // "PID SECONDS name(arguments) = result"
        let (_, rest) = line.split_once(' ').unwrap_or_default();
        let (time, call) = rest.trim_start().split_once(' ').unwrap_or_default();
        let time: f64 = time.parse().expect("strace -ttt");
        let name = call.split('(').next().unwrap_or("");
        if let Some(what) = call.strip_prefix("write(1, \"begin ") {
            let what = what.split('\\').next().unwrap_or("").to_owned();
            let section = Section {
                begun: time,
                seconds: 0.0,
                calls: Vec::new(),
            };
            current = Some((what, section));
        } else if call.starts_with("write(1, \"end ") {
            all.extend(current.take().map(|(what, section)| {
                let seconds = time - section.begun;
                (what, Section { seconds, ..section })
            }));
        } else if let Some((_, section)) = &mut current {
            // signals and ends of threads are no calls
            if !name.is_empty() && !name.starts_with(['-', '+']) {
                section.calls.push(name.to_owned());
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
        .args(["-f", "-ttt", "-E", &format!("LD_PRELOAD={preload}"), "-o"])
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
    for (what, section) in &sections {
        fact(&format!(
            "{what}: {} system calls in {CALLS} rounds and {:.1} s, {} are allowed {:?}",
            section.calls.len(),
            section.seconds,
            section.looks(),
            section.calls
        ));
    }
    let is_look = |call: &&String| ["poll", "ppoll"].contains(&call.as_str());
    for (what, section) in &sections {
        let looks = section.calls.iter().filter(is_look);
        assert!(
            looks.count() as u64 <= section.looks(),
            "{what}: too many looks at the daemon"
        );
        let others = section.calls.iter().filter(|call| !is_look(call));
        let others: Vec<_> = others.take(20).collect();
        assert!(others.is_empty(), "{what}: {others:?}");
    }
}
