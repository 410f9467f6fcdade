//! What becomes of ports, programs and `uvale run` when one of them ends, of the rest.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use compat_tests::place::Place;
use compat_tests::programs::{assert_goes_on, value};
use compat_tests::said::Said;
use compat_tests::wait::{deadline, until};
use compat_tests::world::Program;
use compat_tests::{or_skip, target};

use super::{Made, statically};

fn command(place: &Place, options: &[&str], words: &[&str]) -> Command {
    let mut command = Command::new(&target::binaries().uvale);
    command.args([&["run"][..], options, &["--"], words].concat());
    command
        .env("UVALE_DIR", place.dir())
        .env_remove("LD_PRELOAD");
    command.stdin(std::process::Stdio::null());
    command
}

/// Starts a program in `place` and waits until it has bound its port; its own number.
fn ready(place: &Place, program: &Path, args: &[&str]) -> (Program, Pid) {
    let name = program.to_string_lossy();
    let words = [&[&*name], args].concat();
    let program = Program::start(&words.join(" "), command(place, &[], &words));
    let line = program.wait_line("ready", |line| line.starts_with("ready"));
    let pid = value(&line, "pid").and_then(|pid| Pid::from_raw(pid as i32));
    (program, pid.expect("ready pid=N"))
}

/// An exclusive open tells whether a name is free.
const ONE: [&str; 5] = ["tx", "vale0:x", "n=1", "excl=1", "how=sync"];

#[test]
fn a_killed_program_leaves_nothing() {
    for made in [Made::Static, Made::Musl, Made::Go] {
        let program = or_skip!("static program", made.traffic());
        let plain = or_skip!("static program", Made::Static.traffic());
        let place = Place::new();
        for _ in 0..5 {
            let (mut running, pid) = ready(&place, &program, &["rx", "vale0:x", "how=poll"]);
            assert!(place.port("vale0:x").is_some());
            kill_process(pid, Signal::KILL).expect("it runs");
            assert_eq!(running.wait().signal(), Some(9), "{}", running.said());
            let (mut next, _) = ready(&place, &plain, &ONE);
            assert!(next.wait().success(), "{made:?}: {}", next.said());
        }
        place.assert_left_clean();
    }
}

#[test]
fn who_serves_is_killed() {
    for made in [Made::Static, Made::Go] {
        let program = or_skip!("static program", made.traffic());
        let place = Place::new();
        let (mut running, pid) = ready(&place, &program, &["rx", "vale0:x", "how=poll"]);
        running.signal(Signal::KILL);
        running.wait();
        let is_gone = || test_kill_process(pid).is_err().then_some(());
        assert!(until(deadline(), is_gone).is_some(), "{made:?} goes on");
        place.assert_left_clean();
    }
}

#[test]
fn the_status_is_the_programs() {
    let idle = or_skip!("static program", statically("start/idle"));
    let place = Place::new();
    let words = [&*idle.to_string_lossy()];
    Said::of(&mut command(&place, &[], &words)).assert_code(3);
    Said::of(&mut command(
        &place,
        &["--reach=notify"],
        &["sh", "-c", "exit 7"],
    ))
    .assert_code(7);
    let killed = ["sh", "-c", "kill -TERM $$"];
    Said::of(&mut command(&place, &["--reach=notify"], &killed)).assert_signal(15);
    let nothing = ["/nonexistent/program"];
    Said::of(&mut command(&place, &["--reach=notify"], &nothing)).assert_code(127);
}

/// What a program leaves behind is served until it ends, and `uvale run` stays for it.
#[test]
fn who_is_left_behind_goes_on() {
    let program = or_skip!("static program", Made::Static.traffic());
    let plain = or_skip!("C compiler", Made::Dynamic.traffic());
    let place = Place::new();
    let name = program.to_string_lossy();
    let script = "\"$@\" & exit 5";
    let words = [
        "sh",
        "-c",
        script,
        "sh",
        &name,
        "rx",
        "vale0:p}1",
        "how=poll",
        "gapless=1",
    ];
    let behind = command(
        &place,
        &["--reach=notify"],
        &[&words[..], &["n=50000"]].concat(),
    );
    let mut behind = Program::start("behind", behind);
    behind.wait_line("ready", |line| line.starts_with("ready"));
    let (sender, _) = ready(&place, &plain, &["tx", "vale0:p{1", "how=poll"]);
    behind.wait_line("end", |line| line.starts_with("end n=500"));
    assert_eq!(behind.wait().code(), Some(5), "{}", behind.said());
    crate::end(sender);
    place.assert_left_clean();
}

/// A run within a run: the outer one serves, whatever kind of program the inner one starts.
#[test]
fn a_run_within_a_run() {
    let place = Place::new();
    let uvale = target::binaries().uvale.to_string_lossy().into_owned();
    for made in [Made::Static, Made::Dynamic] {
        let program = or_skip!("program", made.traffic());
        let program = program.to_string_lossy();
        let inner = [&*uvale, "run", "--reach=notify", "--", &*program];
        let said = Said::of(&mut command(
            &place,
            &["--reach=notify"],
            &[&inner[..], &ONE].concat(),
        ));
        assert!(said.assert_code(0).out.contains("end n=1 "), "{made:?}");
        let elsewhere = [
            &*uvale,
            "run",
            "--private",
            "--reach=notify",
            "--",
            &*program,
        ];
        let said = Said::of(&mut command(
            &place,
            &["--reach=notify"],
            &[&elsewhere[..], &ONE].concat(),
        ));
        said.assert_code(0)
            .assert_says("served by the uvale run around this one");
    }
    place.assert_left_clean();
}

/// A loaded program that is served from beside it, beside one that is not.
#[test]
fn a_loaded_program_may_be_served() {
    let program = or_skip!("C compiler", Made::Dynamic.traffic());
    let name = program.to_string_lossy();
    let place = Place::new();
    let words = [&*name, "rx", "vale0:p}1", "how=epoll", "gapless=1"];
    let served = command(&place, &["--reach=notify"], &words);
    let mut served = Program::start("served", served);
    served.wait_line("ready", |line| line.starts_with("ready"));
    let (mut sender, _) = ready(&place, &program, &["tx", "vale0:p{1", "how=epoll"]);
    assert_goes_on(&mut served, "served from beside it");
    assert_goes_on(&mut sender, "preloaded");
    // Whoever waits for the daemon's port hears of its end.
    served.signal(Signal::TERM);
    assert!(served.wait().success(), "{}", served.said());
    crate::end(sender);
    place.assert_left_clean();
}

/// The daemon is killed: programs that sleep hear of it.
#[test]
fn the_daemon_is_killed() {
    let program = or_skip!("static program", Made::Static.traffic());
    for how in ["how=poll", "how=select", "how=epoll", "how=et", "how=sync"] {
        let mut place = Place::empty();
        place.start_daemon(&[]);
        let (mut running, _) = ready(&place, &program, &["rx", "vale0:x", how]);
        place.signal_daemon(Signal::KILL);
        let code = running.wait().code();
        assert_eq!(
            code,
            Some(compat_tests::programs::GONE),
            "{how}: {}",
            running.said()
        );
    }
}

/// Docker's seccomp profile refuses pidfd_getfd: waits end early, and packets come all the same.
#[test]
fn where_no_descriptors_are_given() {
    let program = or_skip!("static program", Made::Static.traffic());
    let refuse = or_skip!(
        "C compiler",
        compat_tests::programs::program("reach/refuse")
    );
    let [name, refuse] = [&program, &refuse].map(|p| p.to_string_lossy().into_owned());
    let uvale = target::binaries().uvale.to_string_lossy().into_owned();
    for how in ["how=sync", "how=poll", "how=select", "how=epoll"] {
        let place = Place::new();
        let start = |args: &[&str]| {
            let run = ["-v", "1", "--", &name];
            let mut command = Command::new(&refuse);
            command.args([&[&*uvale, "run"][..], &run, args].concat());
            command
                .env("UVALE_DIR", place.dir())
                .env_remove("LD_PRELOAD");
            let program = Program::start(args[0], command);
            program.wait_text("pidfd_getfd");
            program.wait_line("ready", |line| line.starts_with("ready"));
            program
        };
        let receiver = start(&["rx", "vale0:p}1", "gapless=1", "n=20000", how]);
        let sender = start(&["tx", "vale0:p{1", how]);
        let said = receiver.wait_success();
        assert!(said.contains("end n=200"), "{how}: {said}");
        crate::end(sender);
        place.assert_left_clean();
    }
}

/// There a handle is kept of each port, which goes with the program.
#[test]
fn where_no_descriptors_are_given_a_port_ends_with_its_program() {
    let lives = or_skip!("static program", statically("reach/lives"));
    let refuse = or_skip!(
        "C compiler",
        compat_tests::programs::program("reach/refuse")
    );
    let place = Place::new();
    let mut command = Command::new(&refuse);
    let run = ["run", "--reach=notify", "-v", "1", "--", "sh", "-c"];
    let script = "for i in 1 2 3 4; do \"$0\" binds vale0:x || exit; done";
    command.arg(&target::binaries().uvale).args(run);
    command.args([script, &lives.to_string_lossy()]);
    command
        .env("UVALE_DIR", place.dir())
        .env_remove("LD_PRELOAD");
    let said = Said::of(&mut command).assert_code(0);
    assert_eq!(said.out.matches("bound").count(), 4, "{}", said.out);
    said.assert_says("pidfd_getfd");
    place.assert_left_clean();
}

/// Nonsense in calls harms nobody but who makes them.
#[test]
fn nonsense_is_survived() {
    let nonsense = or_skip!("static program", statically("reach/nonsense"));
    let plain = or_skip!("static program", Made::Static.traffic());
    let place = Place::new();
    let [nonsense, plain] = [&nonsense, &plain].map(|p| p.to_string_lossy().into_owned());
    // One process serves them all.
    let script = "for seed in 1 2 3 4; do (\"$1\" 4000 $seed && echo survived) & done; \
                  \"$2\" rx 'vale0:p}1' how=poll n=30000 gapless=1";
    let words = [
        "sh",
        "-c",
        &format!("{script}; wait"),
        "sh",
        &nonsense,
        &plain,
    ];
    let run = command(&place, &["--reach=notify", "-q"], &words);
    let run = Program::start("nonsense", run);
    run.wait_line("ready", |line| line.starts_with("ready"));
    let (sender, _) = ready(&place, Path::new(&plain), &["tx", "vale0:p{1", "how=poll"]);
    let said = run.wait_success();
    assert_eq!(said.matches("survived").count(), 4, "{said}");
    assert!(said.contains("end n=300"), "{said}");
    crate::end(sender);
    place.assert_nothing_left();
}
