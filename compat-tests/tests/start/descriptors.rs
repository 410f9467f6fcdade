//! Descriptors used up, in the daemon and in a program.

use std::path::Path;

use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{or_skip, target};
use rustix::io::Errno;

use super::{sh, ten, uvale};
use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::said::Said;

const FULL: &str = "the uvale daemon has no descriptor left: it may have 64 (ulimit -n";

/// A daemon that may have 64 descriptors, and listens.
fn daemon_with_64(dir: &Path) -> Program {
    let mut command = sh("ulimit -n 64 && exec \"$@\"", [&target::binaries().uvale]);
    command.args(["daemon", "--dir"]).arg(dir);
    let daemon = Program::start("uvale daemon", command);
    daemon.wait_text("listening at");
    daemon
}

#[test]
fn a_daemon_without_descriptors_says_so() {
    let ten = or_skip!("descriptors", ten());
    let place = Place::empty();
    let _daemon = daemon_with_64(place.dir());
    let mut sessions = Vec::new();
    let refused = loop {
        match place.attach() {
            Ok(session) => sessions.push(session),
            Err(refused) => break refused,
        }
        assert!(sessions.len() < 64, "it has 64 descriptors and no more");
    };
    assert_eq!(refused.errno, Errno::NFILE);
    assert!(refused.why.contains(FULL), "{refused}");
    // who is connected is served
    for session in &sessions {
        assert!(session.parameter("buf_size").is_some());
    }
    // programs and commands are refused with the reason
    let dir = place.dir().to_str().expect("plain");
    let status = || Said::of(&mut uvale(["status", "--dir", dir]));
    let open = || Said::of(uvale(["run", "--dir", dir, "--"]).arg(&ten));
    status().assert_code(1).assert_says(FULL);
    open().assert_code(9).assert_says(FULL);
    drop(sessions);
    wait_for("room", || place.attach().is_ok());
    open().assert_code(0);
    status().assert_code(0);
}

/// Ports need descriptors of the daemon, too: what is refused is the next port, not the service.
#[test]
fn memory_is_refused_before_the_last_descriptor() {
    let traffic = or_skip!("descriptors", program("traffic"));
    let place = Place::empty();
    let _daemon = daemon_with_64(place.dir());
    let mut programs = Vec::new();
    for i in 0..64 {
        let port = format!("vale0:p{i}");
        let next = place.spawn(&traffic, &["rx", &port, "how=poll"]);
        let line = next.wait_line("how it went", |l| {
            l.starts_with("ready") || l.contains("no descriptor left") || l.contains("errno=")
        });
        if !line.starts_with("ready") {
            break;
        }
        programs.push(next);
    }
    assert!(
        (10..40).contains(&programs.len()),
        "{} ports",
        programs.len()
    );
    for mut program in programs {
        assert!(!program.has_ended(), "{}", program.said());
        compat_tests::programs::end(program);
    }
    wait_for("room", || place.attach().is_ok());
    place.assert_left_clean();
}

#[test]
fn a_program_without_descriptors_is_told_its_limit() {
    let full = or_skip!("descriptors", program("start/full"));
    let uvale = target::binaries().uvale.to_str().expect("plain");
    let script = "ulimit -n 20 && exec \"$@\"";
    let run = [
        uvale,
        "run",
        "--private",
        "--",
        full.to_str().expect("plain"),
    ];
    Said::of(&mut sh(script, run))
        .assert_code(Errno::MFILE.raw_os_error())
        .assert_says("its limit is 20 (ulimit -n)");
}
