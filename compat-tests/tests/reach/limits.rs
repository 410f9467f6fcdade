//! What a program does to itself, and what that means for whoever serves it.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use compat_tests::place::Place;
use compat_tests::said::Said;
use compat_tests::wait::{deadline, until};
use compat_tests::world::Program;
use compat_tests::{or_skip, target};

use super::statically;

/// `BEFORE uvale run -- lives ARGS` in `place`.
fn lives(place: &Place, before: &[&str], lives: &PathBuf, args: &[&str]) -> Command {
    let uvale = target::binaries().uvale.to_string_lossy().into_owned();
    let words = [before, &[&*uvale, "run", "-v", "1", "--"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(lives).args(args);
    command
        .env("UVALE_DIR", place.dir())
        .env_remove("LD_PRELOAD");
    command
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: needs root");
    }
    is_root
}

#[test]
fn memory_that_cannot_be_read_is_said() {
    let program = or_skip!("static program", statically("reach/lives"));
    if !is_root() {
        return;
    }
    let place = Place::new();
    let unable = [
        "setpriv",
        "--bounding-set=-sys_ptrace",
        "--inh-caps=-sys_ptrace",
    ];
    let said = Said::of(&mut lives(&place, &unable, &program, &["hides"])).assert_code(0);
    assert!(said.out.contains("hidden"), "{}", said.out);
    assert_eq!(
        said.err.matches("cannot be read").count(),
        1,
        "{}",
        said.err
    );
}

/// The program has the limit that it was given; who serves it has as many as it may.
#[test]
fn descriptors_run_out() {
    let program = or_skip!("static program", statically("reach/lives"));
    let place = Place::new();
    let opened = |limit: &str, who: &str| {
        let before = ["prlimit", &format!("--nofile={limit}")];
        let said = Said::of(&mut lives(&place, &before, &program, &["opens", "64"]));
        let said = said.assert_code(0).assert_says(who);
        let line = said.out.lines().find(|line| line.starts_with("opened"));
        let n = line.and_then(|line| line.split(' ').next_back()?.parse().ok());
        n.expect("opened N")
    };
    let many: u32 = opened("64:4096", "(pid ");
    assert!(many > 55, "{many}");
    let few = opened("64:64", "uvale run, which serves the program, has as many");
    assert!((5..55).contains(&few), "{few}");
    place.assert_left_clean();
}

#[test]
fn who_becomes_another_user_opens_nothing() {
    let program = or_skip!("static program", statically("reach/lives"));
    if !is_root() {
        return;
    }
    let place = Place::new();
    let said = Said::of(&mut lives(&place, &["env"], &program, &["drops"])).assert_code(0);
    assert!(said.out.contains("dropped"), "{}", said.out);
    said.assert_says("has become user 65534");
    place.assert_left_clean();
}

/// What a terminal does at Ctrl-Z: the program goes on, and `uvale run` with it, until the program stops.
#[test]
fn it_stops_when_the_program_does() {
    let program = or_skip!("static program", statically("reach/lives"));
    let place = Place::new();
    let running = Program::start("catches", lives(&place, &["env"], &program, &["catches"]));
    running.wait_line("ready", |line| line == "ready");
    running.signal(Signal::TSTP);
    running.wait_line("caught", |line| line == "caught");
    let state = || {
        let pid = running.pid().as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == "State:\tT (stopped)")
    };
    assert!(until(deadline(), || state().then_some(())).is_some());
    running.signal(Signal::CONT);
    assert!(running.wait_success().ends_with("continued\n"));
    place.assert_left_clean();
}
