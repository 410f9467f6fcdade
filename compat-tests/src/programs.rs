//! The test programs in C of `programs/`: compiled once, and what they say while they run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rustix::process::Signal;

use crate::place::Place;
use crate::wait::{deadline, until};
use crate::world::Program;
use crate::{Skip, apps};

/// The exit status with which `traffic` says that the device is gone.
pub const GONE: i32 = 3;

/// A program of `programs/robust` or of another folder there, compiled once per test process.
pub fn program(name: &str) -> Result<PathBuf, Skip> {
    static DONE: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let done = done.get_or_insert_default();
    if let Some(path) = done.get(name) {
        return Ok(path.clone());
    }
    // "folder/name", or a name in the folder of this file's tests.
    let (folder, file) = name.split_once('/').unwrap_or(("robust", name));
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs")
        .join(folder)
        .join(format!("{file}.c"));
    let flags = ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"];
    let app = apps::compile_c(&source, &format!("{folder}-{file}"), &flags)?;
    done.insert(name.to_owned(), app.path.clone());
    Ok(app.path)
}

/// How many packets a `traffic` program has said it moved.
pub fn moved(program: &Program) -> u64 {
    let said = program.stdout();
    let last = said.lines().rev().find_map(|l| l.strip_prefix("n="));
    last.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// How often the main thread of a process has gone to sleep.
///
/// # Panics
/// If there is no such process.
pub fn sleeps(pid: impl std::fmt::Display) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let mut lines = status.lines();
    let sleeps = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let sleeps = sleeps.and_then(|n| n.trim().parse().ok());
    sleeps.unwrap_or_else(|| panic!("no such line: {status}"))
}

/// Waits until a `traffic` program has moved packets after this call.
///
/// # Panics
/// If it never does.
pub fn assert_goes_on(program: &mut Program, when: &str) {
    let before = moved(program);
    let went_on = until(deadline(), || {
        if moved(program) > before {
            return Some(true);
        }
        program.has_ended().then_some(false)
    });
    match went_on {
        Some(true) => {}
        Some(false) => panic!("ended {when}: {}", tail(program)),
        None => panic!("stands still {when}: {}", tail(program)),
    }
}

/// The last lines of what a program said.
pub fn tail(program: &Program) -> String {
    let said = program.said();
    let lines: Vec<_> = said.lines().collect();
    let from = lines.len().saturating_sub(8);
    format!(
        "{} ... {}",
        lines.first().unwrap_or(&""),
        lines[from..].join(" | ")
    )
}

/// How often a test of NIC ports kills somebody: as often as `COMPAT_NIC_KILLS` says, which makes it a longer test, or
/// `usual` times.
pub fn kills(usual: usize) -> usize {
    let named = std::env::var("COMPAT_NIC_KILLS").ok();
    named.and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// kill -9, and waits for its end.
pub fn kill(mut program: Program) {
    program.signal(Signal::KILL);
    program.wait();
}

/// SIGTERM, upon which `traffic` ends well.
pub fn end(program: Program) -> String {
    program.signal(Signal::TERM);
    program.wait_success()
}

/// The value behind `key=` in what a program printed.
pub fn value(text: &str, key: &str) -> Option<u64> {
    let key = format!("{key}=");
    let word = text
        .split_whitespace()
        .rev()
        .find_map(|w| w.strip_prefix(&key))?;
    word.parse().ok()
}

/// Prints a fact past the test runner's capture.
pub fn fact(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "fact: {line}");
}

/// Runs one case of a program that has several, in a world of its own that must be empty afterwards.
pub fn check_case(program_name: &str, case: &str) {
    let path = crate::or_skip!(case, program(program_name));
    let place = Place::new();
    let said = place.run(&path, &[case]);
    assert!(said.ends_with(&format!("ok {case}\n")), "{said}");
    place.assert_left_clean();
}

/// Asserts that a program has these cases and no others.
pub fn assert_cases(program_name: &str, cases: &[&str]) {
    let path = crate::or_skip!("cases", program(program_name));
    let listed = Place::new().run(&path, &["--list"]);
    let listed: Vec<_> = listed.lines().collect();
    assert_eq!(listed, cases);
}

/// A module with a test for each case of a program, and one that none was forgotten.
#[macro_export]
macro_rules! cases {
    ($module:ident, $program:literal: $($test:ident = $case:literal;)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    $crate::programs::check_case($program, $case);
                }
            )*

            #[test]
            fn no_case_is_forgotten() {
                $crate::programs::assert_cases($program, &[$($case),*]);
            }
        }
    };
}

/// May strace trace here?
///
/// # Errors
/// It is not there, or may not.
pub fn strace() -> Result<(), Skip> {
    let works = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    match works {
        Ok(o) if o.status.success() => Ok(()),
        Ok(_) => Err(Skip::required(
            "strace may not trace here (ptrace is forbidden)",
        )),
        Err(e) => Err(Skip::required(format!(
            "no strace (Debian package strace): {e}"
        ))),
    }
}

/// Instructions that a process executes, counted by `valgrind --tool=callgrind ...`, which `command` is. The process
/// has to end well.
///
/// # Panics
/// If it does not.
pub fn instructions(mut command: Command) -> Result<u64, Skip> {
    let out = command.output();
    let out =
        out.map_err(|e| Skip::required(format!("no valgrind (Debian package valgrind): {e}")))?;
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let count = said
        .split("Collected :")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    count.ok_or_else(|| Skip::required(format!("valgrind counts nothing here: {said}")))
}
