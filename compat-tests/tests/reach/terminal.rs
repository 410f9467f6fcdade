//! At a terminal: keys, jobs of a shell, and the terminal's end.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use compat_tests::made::statically;
use compat_tests::place::Place;
use compat_tests::programs::{program, value};
use compat_tests::wait::{deadline, until};
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, target};

const INTERRUPT: &str = "\x03";
const SUSPEND: &str = "\x1a";

/// The terminal and the program.
fn made() -> Result<[PathBuf; 2], Skip> {
    Ok([program("reach/terminal")?, statically("reach/born")?])
}

/// Runs `words` at a terminal in `place`; what is told to it is typed.
fn at(place: &Place, terminal: &PathBuf, words: &[&str]) -> Program {
    let mut command = Command::new(terminal);
    command
        .args(words)
        .env("UVALE_DIR", place.dir())
        .env("PS1", "$ ")
        .env("TERM", "dumb")
        .env_remove("LD_PRELOAD")
        .stdin(Stdio::piped());
    Program::start("terminal", command)
}

/// `uvale run OPTIONS -- PROGRAM`, as words of a shell.
fn run(options: &str, born: &std::path::Path) -> String {
    let uvale = target::binaries().uvale.display();
    format!("{uvale} run {options} -- {}", born.display())
}

const OPTIONS: [&str; 2] = ["", "--private"];

/// Waits until it has been said so often.
fn wait_times(program: &Program, text: &str, times: usize) {
    let has = || (program.said().matches(text).count() >= times).then_some(());
    assert!(
        until(deadline(), has).is_some(),
        "not {times} times {text:?}: {}",
        program.said()
    );
}

/// Ctrl-C ends the shell's loop, and not only the program in it.
#[test]
fn an_interrupt_ends_a_loop() {
    let [terminal, born] = or_skip!("static program", made());
    let place = Place::new();
    for options in OPTIONS {
        let script = format!(
            "while :; do {} reads; echo again; done",
            run(options, &born)
        );
        let mut shell = at(&place, &terminal, &["bash", "-c", &script]);
        shell.wait_text("ready");
        shell.write(INTERRUPT);
        assert_eq!(shell.wait().code(), Some(130), "{}", shell.said());
        assert!(!shell.said().contains("again"), "{}", shell.said());
    }
    place.assert_left_clean();
}

/// Ctrl-Z, `bg` of a program that reads, and `fg`.
#[test]
fn it_is_a_job_of_a_shell() {
    let [terminal, born] = or_skip!("static program", made());
    let place = Place::new();
    for options in OPTIONS {
        let mut shell = at(&place, &terminal, &["bash", "--norc", "-i"]);
        shell.tell(&format!("{} reads", run(options, &born)));
        shell.wait_text("ready");
        shell.write(SUSPEND);
        wait_times(&shell, "Stopped", 1);
        // It reads in the background, and is stopped for that: the shell learns of it.
        shell.tell("bg; while [ -n \"$(jobs -r)\" ]; do sleep 0.1; done; jobs; echo listed=$?");
        wait_times(&shell, "listed=0", 1);
        shell.tell("jobs");
        wait_times(&shell, "Stopped", 2);
        shell.tell("fg; echo status=$?");
        shell.tell("word");
        wait_times(&shell, "read word", 1);
        wait_times(&shell, "status=0", 1);
        shell.tell("exit");
        assert!(shell.wait().success(), "{}", shell.said());
    }
    place.assert_left_clean();
}

/// The terminal hangs up: it tells the first process of its session, and no other.
#[test]
fn a_hangup_reaches_it() {
    let [terminal, born] = or_skip!("static program", made());
    let place = Place::new();
    for options in OPTIONS {
        let heard = place.file("heard");
        let script = format!("exec {} listens >{}", run(options, &born), heard.display());
        let mut shell = at(&place, &terminal, &["sh", "-c", &script]);
        let has_heard = |text: &str| {
            let read = || std::fs::read_to_string(&heard).unwrap_or_default();
            let has = || {
                read()
                    .lines()
                    .find(|line| line.starts_with(text))
                    .map(str::to_owned)
            };
            until(deadline(), has).unwrap_or_else(|| panic!("no {text:?} in: {}", read()))
        };
        let ready = has_heard("ready");
        shell.close_input();
        has_heard("signal=1 ");
        has_heard("signal=18 ");
        let pid = value(&ready, "pid").and_then(|pid| Pid::from_raw(pid as i32));
        kill_process(pid.expect("pid=N"), Signal::TERM).expect("it runs");
        assert_eq!(shell.wait().code(), Some(0), "{}", shell.said());
        std::fs::remove_file(&heard).expect("it is there");
    }
    place.assert_left_clean();
}
