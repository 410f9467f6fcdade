//! Bad input: programs that write nonsense over everything they can reach, broken messages, runtime directories
//! that are not what they should be, other users. Others must not notice, the daemon lives, and whoever asks
//! gets an errno and a sentence.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::place::{Place, set_mode};
use compat_tests::programs::{assert_goes_on, end, program, tail, value};
use compat_tests::world::Program;
use compat_tests::{Skip, apps, or_skip, target};

const NOBODY: u32 = 65534;

/// Traffic that must not notice anything: over a switch, over a pipe, and on the switch that the hostile use.
struct Others {
    programs: Vec<Program>,
}

impl Others {
    fn start(place: &Place, traffic: &Path) -> Others {
        let programs = [
            &["rx", "vale1:rx", "id=9", "hello=1", "how=poll"][..],
            &["tx", "vale1:tx", "to=9"],
            &["rx", "calm{1", "gapless=1", "how=poll"],
            &["tx", "calm}1", "how=poll"],
            // the hostile send whatever they find, under any address: only broadcasts are sure to arrive
            &["rx", "vale0:rx", "loose=1"],
            &["tx", "vale0:tx", "how=poll"],
        ];
        let programs = programs.iter().map(|args| place.spawn_ready(traffic, args));
        Others {
            programs: programs.collect(),
        }
    }

    fn go_on(&mut self, when: &str) {
        for program in &mut self.programs {
            assert_goes_on(program, when);
        }
    }

    fn end(mut self, place: &Place) {
        self.go_on("at the end");
        for program in self.programs {
            assert!(!program.said().contains("FAILED"), "{}", tail(&program));
            end(program);
        }
        place.assert_nothing_left();
    }
}

fn descriptors_of(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[test]
fn programs_that_write_nonsense_over_their_memory() {
    let traffic = or_skip!("hostile programs", program("traffic"));
    let hostile = or_skip!("hostile programs", program("hostile"));
    let place = Place::new();
    let mut others = Others::start(&place, &traffic);
    let attacks = [
        ["scribble", "vale0:h0", "40000", "1"],
        ["scribble", "vale0:h1", "40000", "2"],
        ["scribble", "own{1", "40000", "3"],
        ["slots", "vale0:h3", "20000", "4"],
        ["slots", "vale0:h4", "20000", "5"],
    ];
    let attacks: Vec<_> = attacks
        .iter()
        .map(|args| place.spawn_ready(&hostile, args))
        .collect();
    for attack in attacks {
        others.go_on("beside hostile programs");
        let said = attack.wait_success();
        assert!(said.ends_with("done\n"), "{said}");
    }
    others.end(&place);
}

/// The same, killed in the middle of it.
#[test]
fn hostile_programs_killed() {
    let traffic = or_skip!("killed hostile programs", program("traffic"));
    let hostile = or_skip!("killed hostile programs", program("hostile"));
    let place = Place::new();
    let mut others = Others::start(&place, &traffic);
    for round in 0..20 {
        let seed = (round + 10).to_string();
        let what = if round % 2 == 0 { "scribble" } else { "slots" };
        let attack = [what, "vale0:h", "100000000", &seed];
        let mut attack = place.spawn_ready(&hostile, &attack);
        assert_goes_on(&mut attack, "before it is killed");
        compat_tests::programs::kill(attack);
        assert!(place.port("vale0:h").is_none(), "the name is not free");
        others.go_on("after a hostile program was killed");
    }
    others.end(&place);
}

#[test]
fn nonsense_on_the_descriptor() {
    let hostile = or_skip!("nonsense on a descriptor", program("hostile"));
    let place = Place::new();
    let daemon = place.status().pid;
    let before = descriptors_of(daemon);
    let said = place.run(&hostile, &["fd", "vale0:h"]);
    assert!(said.ends_with("done\n"), "{said}");
    place.assert_left_clean();
    let left = || descriptors_of(daemon) <= before;
    compat_tests::wait::wait_for("the daemon to drop what it was sent", left);
}

#[test]
fn an_empty_write_on_the_descriptor_changes_nothing() {
    let hostile = or_skip!("an empty write", program("hostile"));
    let place = Place::new();
    let said = place.run(&hostile, &["empty", "vale0:h"]);
    assert!(said.ends_with("done\n"), "{said}");
    place.assert_left_clean();
}

#[test]
fn nonsense_at_the_socket() {
    let traffic = or_skip!("nonsense at the socket", program("traffic"));
    let hostile = or_skip!("nonsense at the socket", program("hostile"));
    let mut place = Place::new();
    let mut others = Others::start(&place, &traffic);
    let daemon = place.status().pid;
    let socket = place.socket().display().to_string();
    let before = descriptors_of(daemon);
    for round in 0..4 {
        let seed = (round + 1).to_string();
        // no shim: these are bytes on a socket
        let mut command = Command::new(&hostile);
        command.args(["socket", &socket, "5000", &seed]);
        let said = Program::start("hostile socket", command).wait_success();
        assert!(said.ends_with("done\n"), "{said}");
        others.go_on("beside nonsense at the socket");
    }
    assert!(place.daemon_ended().is_none());
    let left = || descriptors_of(daemon) <= before;
    compat_tests::wait::wait_for("the daemon to drop what it was sent", left);
    others.end(&place);
}

#[test]
fn nonsense_as_requests() {
    let hostile = or_skip!("nonsense as requests", program("hostile"));
    let mut place = Place::new();
    for seed in ["1", "2", "3"] {
        let said = place.run(&hostile, &["requests", "1000", seed]);
        assert!(said.ends_with("done\n"), "{said}");
    }
    assert!(place.daemon_ended().is_none());
    // persistent ports that a request has made stay, everything else is gone
    let left = place.ports();
    assert!(left.iter().all(|p| p.kind == "persistent"), "{left:?}");
}

/// The record of the kernel has each of these where it could be had there.
#[test]
fn what_is_wrong_gets_its_errno() {
    let hostile = or_skip!("errnos", program("hostile"));
    let place = Place::new();
    let said = place.run(&hostile, &["errors"]);
    let expected = [
        // neither a switch nor anything else has such a name: netmap has no room for it
        ("name-without-end", 12),
        ("long-name", 12),
        ("null", 22),
        ("null-body", 22),
        ("mmap-unbound", 22),
        ("no-such-ioctl", 95),
        ("ring-out-of-range", 22),
        ("no-such-mode", 22),
        ("no-such-memory", 22),
        ("no-such-interface", 6),
    ];
    for (what, errno) in expected {
        let line = said.lines().find(|l| l.starts_with(what)).unwrap_or("");
        assert_eq!(value(line, "errno"), Some(errno), "{what}: {said}");
    }
    place.assert_left_clean();
}

/// What `traffic` says when it cannot open: errno and the shim's sentence.
fn cannot_open(command: Command) -> (u64, String) {
    let mut program = Program::start("traffic", command);
    let status = program.wait();
    let said = program.said();
    assert_eq!(status.code(), Some(4), "{said}");
    let errno = value(&program.stdout(), "errno").expect("it says the errno");
    let sentence = said.lines().find(|l| l.starts_with("nmshim: cannot open"));
    let sentence = sentence.unwrap_or_else(|| panic!("no sentence: {said}"));
    (errno, sentence.to_owned())
}

const EACCES: u64 = 13;
const ENXIO: u64 = 6;

/// Runtime directories that nobody should trust: refused by programs and by the daemon.
#[test]
fn runtime_directories_of_the_wrong_kind() {
    let traffic = or_skip!("wrong directories", program("traffic"));
    let place = Place::empty();
    let at = |name: &str| place.file(name);
    let make = |name: &str, mode: u32| {
        std::fs::create_dir(at(name)).expect("a directory can be made");
        set_mode(&at(name), mode);
    };
    let mut cases: Vec<(PathBuf, u64, &str)> = Vec::new();
    make("writable", 0o777);
    cases.push((at("writable"), EACCES, "written by others"));
    make("group", 0o770);
    cases.push((at("group"), EACCES, "written by others"));
    std::fs::write(at("file"), "").expect("a file can be made");
    cases.push((at("file"), EACCES, "not a directory"));
    make("good", 0o700);
    symlink(at("good"), at("link")).expect("a link can be made");
    cases.push((at("link"), EACCES, "not a directory"));
    if rustix::process::getuid().is_root() {
        make("theirs", 0o700);
        chown(at("theirs"), Some(NOBODY), Some(NOBODY)).expect("root may give away");
        cases.push((at("theirs"), EACCES, "belongs to user 65534"));
    }
    for (dir, errno, why) in cases {
        let mut command = place.command(&traffic);
        command.args(["rx", "vale0:x"]).env("UVALE_DIR", &dir);
        let (got, sentence) = cannot_open(command);
        assert_eq!(got, errno, "{}: {sentence}", dir.display());
        assert!(sentence.contains(why), "{}: {sentence}", dir.display());
        let mut daemon = Command::new(&target::binaries().uvale);
        daemon.args(["daemon", "--dir"]).arg(&dir);
        let mut daemon = Program::start("uvale daemon", daemon);
        let status = daemon.wait();
        assert_eq!(status.code(), Some(1), "{}", daemon.said());
        assert!(daemon.said().contains(why), "{}", daemon.said());
    }
}

#[test]
fn no_daemon_and_none_to_be_started() {
    let traffic = or_skip!("no daemon", program("traffic"));
    let place = Place::empty();
    let cases = [
        (
            "UVALE_AUTOSTART",
            "0",
            "UVALE_AUTOSTART=0 says not to start one",
        ),
        ("UVALE_PROGRAM", "/nonexistent/uvale", "/nonexistent/uvale"),
        (
            "UVALE_PROGRAM",
            "/bin/false",
            "/bin/false could not start a daemon",
        ),
        (
            "UVALE_PROGRAM",
            "/etc/passwd",
            "/etc/passwd could not start a daemon",
        ),
    ];
    for (name, value, why) in cases {
        let mut command = place.command(&traffic);
        command.args(["rx", "vale0:x"]).env(name, value);
        let (errno, sentence) = cannot_open(command);
        assert_eq!(errno, ENXIO, "{sentence}");
        assert!(sentence.contains(why), "{sentence}");
    }
    // a socket left behind by a daemon that was killed is nobody either
    drop(std::os::unix::net::UnixListener::bind(place.socket()).expect("a socket can be made"));
    let mut command = place.command(&traffic);
    command.args(["rx", "vale0:x"]).env("UVALE_AUTOSTART", "0");
    let (errno, sentence) = cannot_open(command);
    assert_eq!(errno, ENXIO, "{sentence}");
}

/// The shim and the program where everybody can read them.
fn in_public(place: &Place, files: &[&Path]) -> Vec<PathBuf> {
    let dir = place.file("public");
    std::fs::create_dir(&dir).expect("a directory can be made");
    set_mode(&dir, 0o755);
    let copy = |from: &&Path| {
        let to = dir.join(from.file_name().expect("a file has a name"));
        apps::copy_program(from, &to);
        set_mode(&to, 0o755);
        to
    };
    files.iter().map(copy).collect()
}

fn can_change_user() -> Result<(), Skip> {
    if !rustix::process::getuid().is_root() {
        return Err(Skip::required("only root can be somebody else"));
    }
    let found = Command::new("setpriv").arg("--version").output();
    found.map_err(|e| Skip::required(format!("no setpriv (Debian package util-linux): {e}")))?;
    Ok(())
}

fn as_nobody(place: &Place, shim: &Path, program: &Path, args: &[&str]) -> Command {
    let mut command = place.command(Path::new("setpriv"));
    let user = [
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "env",
    ];
    command
        .env_remove("LD_PRELOAD")
        .args(user)
        .arg(format!("LD_PRELOAD={}", shim.display()))
        .arg(program)
        .args(args);
    command
}

/// Another user is refused by the directory's owner, whether or not the directory lets him in.
#[test]
fn another_user_is_refused() {
    let traffic = or_skip!("another user", program("traffic"));
    let hostile = or_skip!("another user", program("hostile"));
    or_skip!("another user", can_change_user());
    let shim = &target::binaries().shim;
    let public = Place::empty();
    let copies = in_public(&public, &[shim, &traffic, &hostile]);
    set_mode(public.dir(), 0o755);
    let [shim, traffic, hostile] = &copies[..] else {
        unreachable!("three files were copied")
    };

    let mut place = Place::new();
    let refused = |place: &Place| {
        let command = as_nobody(place, shim, traffic, &["rx", "vale0:x"]);
        let (errno, sentence) = cannot_open(command);
        assert_eq!(errno, EACCES, "{sentence}");
        assert!(
            sentence.contains("belongs to user 0, not to you (65534)"),
            "{sentence}"
        );
        assert!(sentence.contains("UVALE_DIR"), "{sentence}");
    };
    refused(&place);
    // the mode of the directory is not what keeps others out
    set_mode(place.dir(), 0o755);
    set_mode(&place.socket(), 0o666);
    refused(&place);
    // he may talk to the socket then, but gets nothing
    let socket = place.socket().display().to_string();
    let command = as_nobody(&place, shim, hostile, &["socket", &socket, "2000", "7"]);
    Program::start("hostile socket", command).wait_success();
    assert!(place.daemon_ended().is_none());
    assert!(place.ports().is_empty());
    let mode = std::fs::metadata(place.socket()).map(|m| m.permissions().mode() & 0o777);
    assert_eq!(mode.ok(), Some(0o666), "still the same daemon's socket");
    set_mode(place.dir(), 0o700);
    place.assert_left_clean();
}

/// A log that can't be written (a full disk, a reader that went away) is no reason to die.
#[test]
fn a_daemon_whose_log_cannot_be_written() {
    let traffic = or_skip!("a full log", program("traffic"));
    let place = Place::empty();
    let full = std::fs::File::options().write(true).open("/dev/full");
    let full = or_skip!(
        "a full log",
        full.map_err(|e| Skip::required(format!("no /dev/full: {e}")))
    );
    let mut daemon = Command::new(&target::binaries().uvale)
        .args(["daemon", "--dir"])
        .arg(place.dir())
        .stderr(full)
        .spawn()
        .expect("the daemon starts");
    let up = || place.attach().is_ok() || matches!(daemon.try_wait(), Ok(Some(_)));
    compat_tests::wait::wait_for("the daemon to listen or to end", up);
    let ended = daemon
        .try_wait()
        .expect("a child of ours can be waited for");
    assert!(ended.is_none(), "the daemon ended: {ended:?}");
    // a refusal is a line in the log
    let mut refused = place.spawn(&traffic, &["rx", "netmap:nosuchif"]);
    refused.wait();
    assert!(refused.said().contains("errno=6"), "{}", refused.said());
    let ended = daemon
        .try_wait()
        .expect("a child of ours can be waited for");
    assert!(ended.is_none(), "the daemon ended: {ended:?}");
    let _ = daemon.kill();
    let _ = daemon.wait();
}
