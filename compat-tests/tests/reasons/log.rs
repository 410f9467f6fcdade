//! The daemon's log.

use std::process::{Command, Stdio};

use compat_tests::wait::wait_for;
use compat_tests::{or_skip, target};

use crate::{name_of, uvale};
use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::said::Said;

#[test]
fn a_line_has_a_time_a_level_and_the_process() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let place = Place::new();
    let mut command = place.command(&path);
    Said::of(command.args(["refused", "1"]));
    let log = place.log();
    let line = log
        .lines()
        .find(|l| l.contains("refused:"))
        .expect("a refusal is logged");
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(
        (words[0].len(), words[0].as_bytes()[10]),
        (25, b'T'),
        "{line}"
    );
    assert_eq!(
        words[1..4],
        ["uvale", "warning:", &name_of(&path)],
        "{line}"
    );
    assert!(words[4].starts_with("(pid"), "{line}");
    let first = log.lines().next().expect("it listens");
    assert!(
        first.contains("uvale notice: uvale ") && first.contains(" listening at "),
        "{first}"
    );
}

/// systemd gives stderr's device and inode in JOURNAL_STREAM when the journal reads it.
#[test]
fn the_journal_gets_priorities_and_no_times() {
    let place = Place::empty();
    let script = "export JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2); exec \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(&target::binaries().uvale);
    command.args(["daemon", "--dir"]).arg(place.dir());
    let daemon = compat_tests::world::Program::start("uvale daemon", {
        command.stdin(Stdio::null());
        command
    });
    daemon.wait_line("a notice", |l| {
        l.starts_with("<5>uvale ") && l.contains(" listening at ")
    });
    assert_eq!(uvale(place.dir(), &["stop"]).code, Some(0));
    daemon.wait_line("its end", |l| l.starts_with("<5>told to stop"));
}

#[test]
fn the_log_of_a_daemon_in_the_background_has_an_end() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let place = Place::empty();
    let mut command = Command::new(&target::binaries().uvale);
    command
        .args(["daemon", "--detach", "--dir"])
        .arg(place.dir());
    assert!(command.status().expect("uvale starts").success());
    let mut verbose = place.command(&target::binaries().uvale);
    let said = Said::of(
        verbose
            .args(["ctl", "param", "verbose", "1"])
            .env_remove("LD_PRELOAD"),
    );
    assert_eq!(said.code, Some(0), "{}", said.err);

    let size = |name| std::fs::metadata(place.file(name)).map_or(0, |m| m.len());
    for _ in 0..4 {
        Said::of(place.command(&path).args(["ask", "5000"]));
    }
    wait_for("a second file", || size("uvale.log.old") > 0);
    assert!(
        size("uvale.log.old") < 1_200_000,
        "{}",
        size("uvale.log.old")
    );
    assert!(size("uvale.log") < 1_200_000, "{}", size("uvale.log"));
    let log = std::fs::read_to_string(place.file("uvale.log")).expect("it is there");
    assert!(
        log.contains("served: PORT_INFO_GET vale0:x"),
        "the new file is written to"
    );
    assert_eq!(uvale(place.dir(), &["stop"]).code, Some(0));
}
