//! A program that `uvale run` stays beside is as if whoever starts `uvale run` had started it: what it inherits, the
//! signals that it gets, how it ends, and who waits for its output.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use uvale_tools::signals::is_ignored;

use compat_tests::made::statically;
use compat_tests::place::Place;
use compat_tests::programs::{program, value};
use compat_tests::said::Said;
use compat_tests::wait::{deadline, until};
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, report_skip, target};

/// The first and the last real-time signal.
const REAL_TIME: [i32; 2] = [34, 64];

/// The program, static and loaded.
fn born() -> Result<[PathBuf; 2], Skip> {
    Ok([statically("reach/born")?, program("reach/born")?])
}

/// `WORDS PROGRAM ARGS`.
fn words(before: &[&str], born: &Path, args: &[&str]) -> Vec<String> {
    let born = [&*born.to_string_lossy()];
    let all = [before, &born, args].concat();
    all.iter().map(|word| word.to_string()).collect()
}

/// It, in `place`.
fn command(place: &Place, words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env("UVALE_DIR", place.dir())
        .env_remove("LD_PRELOAD");
    command
}

fn uvale() -> String {
    target::binaries().uvale.to_string_lossy().into_owned()
}

/// Ways to be beside a program, or to become it: what stands before it.
fn ways(uvale: &str) -> [Vec<&str>; 4] {
    [
        vec![uvale, "run", "--"],
        vec![uvale, "run", "--reach=notify", "--"],
        vec![uvale, "run", "--private", "--"],
        vec![uvale, "run", "--private", "--reach=notify", "--"],
    ]
}

/// Signals wait for the process, or for its thread: it is the same to a program with one.
fn shown(said: &Said) -> Vec<String> {
    let mut lines: Vec<_> = said.out.lines().map(str::to_owned).collect();
    let mut waiting = 0;
    lines.retain(|line| {
        let pending = ["SigPnd=", "ShdPnd="]
            .iter()
            .find_map(|name| line.split_once(name));
        if let Some((_, mask)) = pending {
            waiting |= u64::from_str_radix(mask, 16).expect("a mask");
        }
        pending.is_none()
    });
    lines.push(format!("waiting={waiting:x}"));
    lines
}

#[test]
fn what_it_inherits() {
    let born = or_skip!("static program", born());
    let place = Place::new();
    let uvale = uvale();
    for flags in ["-", "p", "c", "h", "b", "a", "i", "d", "pchbaid"] {
        let under = words(&[], &born[1], &["under", flags]);
        let under: Vec<_> = under.iter().map(String::as_str).collect();
        let shows = |way: &[&str], program: &Path| {
            let words = words(&[&under[..], way].concat(), program, &["shows"]);
            let limited = ["prlimit", "--nofile=200:300"].map(str::to_owned);
            let said = Said::of(&mut command(&place, &[&limited[..], &words].concat()));
            shown(&said.assert_code(0))
        };
        for way in ways(&uvale) {
            for program in &born {
                let direct = shows(&[], program);
                assert!(
                    direct.contains(&"files=200/300 alarm=0".to_owned()) != flags.contains('a')
                );
                assert_eq!(shows(&way, program), direct, "{flags}: {way:?} {program:?}");
            }
        }
    }
    place.assert_left_clean();
}

/// A limit that leaves no room for more than a program's own, which is the program's.
#[test]
fn it_has_few_descriptors() {
    let born = or_skip!("static program", born());
    let place = Place::new();
    let uvale = uvale();
    for way in ways(&uvale) {
        let limited = [&["prlimit", "--nofile=4:300"][..], &way].concat();
        let words = words(&limited, &born[0], &["shows"]);
        let said = Said::of(&mut command(&place, &words)).assert_code(0);
        assert!(said.out.contains("files=4/300"), "{way:?}: {}", said.out);
        assert!(said.err.is_empty(), "{way:?}: {}", said.err);
    }
    place.assert_left_clean();
}

#[test]
fn it_dies_of_a_signal() {
    let born = or_skip!("static program", born());
    let place = Place::new();
    let uvale = uvale();
    for number in [1, 2, 6, 9, 11, 13, 14, 15, REAL_TIME[0]] {
        // nohup, and shells that start something in the background
        if is_ignored(number) {
            let skip = Skip::optional("these tests were started with it ignored");
            report_skip(&format!("signal {number}"), &skip);
            continue;
        }
        for way in ways(&uvale) {
            let words = words(&way, &born[0], &["dies", &number.to_string()]);
            Said::of(&mut command(&place, &words)).assert_signal(number);
        }
    }
    place.assert_left_clean();
}

/// All but those that end or stop a process whatever it does, and those of faults.
fn sent() -> impl Iterator<Item = i32> {
    let others = [4, 5, 7, 8, 9, 11, 15, 17, 19, 31];
    let usual = (1..32).filter(move |number| !others.contains(number));
    usual.chain(REAL_TIME)
}

/// The number that it is and the number of `uvale run`, where that stays.
fn listening(place: &Place, way: &[&str], born: &Path) -> Program {
    let program = Program::start("born", command(place, &words(way, born, &["listens"])));
    program.wait_line("ready", |line| line.starts_with("ready"));
    program
}

#[test]
fn signals_reach_it() {
    let born = or_skip!("static program", born());
    let place = Place::new();
    let uvale = uvale();
    for way in ways(&uvale) {
        let mut program = listening(&place, &way, &born[0]);
        let pid = program.pid().as_raw_nonzero().to_string();
        let usual = sent().map(|number| (number, 0));
        for (number, value) in usual.chain([(10, 77), (REAL_TIME[0], 78)]) {
            let [signal, with] = [number, value].map(|n| n.to_string());
            let words = words(&[], &born[1], &["sends", &pid, &signal, &with]);
            Said::of(&mut command(&place, &words)).assert_code(0);
            program.wait_text(&format!("signal={number} value={value}"));
        }
        program.signal(Signal::TERM);
        assert!(program.wait().success(), "{}", program.said());
    }
    place.assert_left_clean();
}

/// An alarm that was set before the exec of `uvale run`.
#[test]
fn an_alarm_reaches_it() {
    let born = or_skip!("static program", born());
    let place = Place::new();
    let uvale = uvale();
    for way in ways(&uvale) {
        let under = born[1].to_string_lossy().into_owned();
        let way = [&[&*under, "under", "s"][..], &way].concat();
        let program = listening(&place, &way, &born[0]);
        program.wait_text("signal=14 value=0");
        program.signal(Signal::TERM);
        program.wait_success();
    }
    place.assert_left_clean();
}

/// Whoever reads what it writes sees its end when it has closed it, or ended.
#[test]
fn its_output_ends() {
    let born = or_skip!("static program", born());
    let place = Place::new();
    let uvale = uvale();
    for (args, status) in [("withdraws", 0), ("leaves", 5)] {
        for way in ways(&uvale) {
            let file = place.file("goes-on");
            // Descriptor 9 is its output, too; who leaves a child behind has its errors there as well.
            let errors = match args {
                "leaves" => "2>&1",
                _ => "2>/dev/null",
            };
            let script = format!("exec \"$@\" 9>&1 {errors}");
            let before = [&["sh", "-c", &script, "sh"][..], &way].concat();
            let args = [args, &*file.to_string_lossy()];
            let mut program =
                Program::start("born", command(&place, &words(&before, &born[0], &args)));
            let closed = until(deadline(), || program.has_closed().then_some(()));
            assert!(closed.is_some(), "{way:?} {args:?} holds its output");
            std::fs::write(&file, "").expect("the folder can be written");
            let ended = program.wait();
            assert_eq!(ended.code(), Some(status), "{way:?} {ended:?}");
            std::fs::remove_file(&file).expect("it is there");
        }
    }
    place.assert_left_clean();
}

/// Whoever kills the program by its own number sees the same.
#[test]
fn it_is_killed_by_its_own_number() {
    let born = or_skip!("static program", born());
    let place = Place::new();
    let uvale = uvale();
    for way in ways(&uvale) {
        let program = Program::start(
            "born",
            command(&place, &words(&way, &born[0], &["listens"])),
        );
        let line = program.wait_line("ready", |line| line.starts_with("ready"));
        let pid = value(&line, "pid").and_then(|pid| Pid::from_raw(pid as i32));
        kill_process(pid.expect("pid=N"), Signal::KILL).expect("it runs");
        let mut program = program;
        assert_eq!(program.wait().signal(), Some(9), "{}", program.said());
    }
    place.assert_left_clean();
}
