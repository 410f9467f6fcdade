//! Programs that end, and runs that are killed: what is said, and that nothing is left.

use std::process::Child;
use std::time::Duration;

use compat_tests::or_skip;
use compat_tests::wait::{deadline, until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use uvale_test::plan::{Action, Outcome, Verdict};

use crate::ground::{Case, numbered, switch};

/// For what has to fail by waiting.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_program_that_dies_is_noticed_at_once() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    let script = "sleep 0.1; echo it hurts >&2; exit 7";
    case.program("weak", &["sh", "-c", script], &[]);
    // Nobody will send that, and for the end of this waiting there is a day's time.
    case.run.timeout = Duration::from_secs(86_400);
    case.matching("wan", "arp", 1, 1);
    let (line, why) = case.fails();
    assert_eq!(line, Some(1));
    assert!(
        why.contains("program weak ended with exit status 7 before the case did"),
        "{why}"
    );
    assert!(why.ends_with("stderr:\n  it hurts"), "{why}");
    case.run.programs.last_mut().expect("weak").run[2] = "kill -SEGV $$".into();
    assert!(case.fails().1.contains("SIGSEGV"));
}

#[test]
fn a_port_that_closes_is_noticed_at_once() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    // The shell stays when its child, which has the ports, goes.
    let bridge = &mut case.run.programs[0];
    let script = "\"$0\" \"$@\" & sleep 0.2; kill $!; exec sleep 1000".to_owned();
    let words = ["sh".to_owned(), "-c".to_owned(), script];
    bridge.run.splice(0..0, words);
    case.run.timeout = Duration::from_secs(86_400);
    case.matching("wan", "arp", 1, 1);
    let (_, why) = case.fails();
    assert!(why.contains("program bridge has closed port "), "{why}");
}

#[test]
fn a_port_that_never_opens() {
    let mut case = Case::new();
    case.port("lan", switch("vale0"));
    case.program("idle", &["sh", "-c", "echo hm; exec sleep 1000"], &["lan"]);
    case.run.timeout = SHORT;
    let (line, why) = case.fails();
    assert_eq!(line, None);
    for part in [
        "program idle has not opened port lan (vale0:lan) within 300ms",
        "  hm",
    ] {
        assert!(why.contains(part), "no {part:?} in: {why}");
    }
}

#[test]
fn how_programs_have_to_end() {
    let mut case = Case::new();
    case.program("once", &["sh", "-c", "sleep 0.2; exit 3"], &[])
        .status = Some(3);
    case.passes();
    case.run.programs[0].status = Some(0);
    let (_, why) = case.fails();
    assert!(
        why.contains("exit status 3, not with exit status 0"),
        "{why}"
    );
    case.run.programs[0].run[2] = "exec sleep 1000".into();
    case.run.timeout = SHORT;
    let (_, why) = case.fails();
    assert!(why.contains("program once has not ended"), "{why}");
    // One that does not hear SIGTERM has failed, and so has one that crashes of it.
    case.run.programs[0].status = None;
    case.run.programs[0].run[2] = "trap '' TERM; echo ready; while :; do sleep 1000; done".into();
    // The shell has to have its trap by then.
    case.prints("once", "ready");
    let (_, why) = case.fails();
    assert!(
        why.contains("program once has not ended within 300ms after SIGTERM, and was killed"),
        "{why}"
    );
    case.run.steps.clear();
    case.run.programs[0].run[2] = "trap 'kill -SEGV $$' TERM; sleep 1000 & wait".into();
    case.run.timeout = deadline();
    case.command(&["sleep", "0.3"], None);
    let (_, why) = case.fails();
    assert!(
        why.contains("told to end by SIGTERM, ended with SIGSEGV"),
        "{why}"
    );
}

/// Children of programs that have left their process groups end, too.
#[test]
fn whoever_hides_is_found() {
    let mut case = Case::new();
    case.tells_its_world();
    let script = "setsid sh -c 'sleep 1000 & exec sleep 1000' & sleep 0.1; exit 0";
    case.program("parent", &["sh", "-c", script], &[]).status = Some(0);
    case.step(Action::Run {
        run: ["sh", "-c", "sleep 0.3"].map(str::to_owned).into(),
        namespace: None,
        status: 0,
    });
    case.passes();
    case.assert_nothing_left();
}

/// A run that goes on until it is killed, at a moment when all of it is there.
fn endless() -> Result<(Case, Child), compat_tests::Skip> {
    let mut case = Case::of_bridge()?;
    case.tells_its_world();
    let script = "setsid sh -c 'sleep 1000 & exec sleep 1000' & exec sleep 1000";
    case.program("parent", &["sh", "-c", script], &[]);
    case.run.timeout = Duration::from_secs(86_400);
    case.send("lan", numbered(3));
    case.matching("wan", "arp", 1, 1);
    let child = case.start(&[]);
    let world = case.world();
    let settled = until(deadline(), || {
        let traces = case.traces();
        // two processes of the run, the daemon, the programs, the children of one
        (traces.len() >= 8 && world.exists()).then_some(())
    });
    assert!(settled.is_some(), "{:?}", case.traces());
    Ok((case, child))
}

/// The process that has the steps in its hands: the child that is this program, too.
pub fn inner(child: &Child) -> Pid {
    let path = format!("/proc/{}/task/{0}/children", child.id());
    let text = std::fs::read_to_string(path).expect("it has children");
    let pids = text.split_whitespace().filter_map(|pid| pid.parse().ok());
    let mut found = pids.filter(|pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(8).any(|word| word == b"test-run")
    });
    found.next().and_then(Pid::from_raw).expect("one is it")
}

pub fn ended(child: Child) -> std::process::Output {
    child.wait_with_output().expect("it ends")
}

#[test]
fn killed_from_outside_nothing_is_left() {
    let (case, child) = or_skip!("bridge", endless());
    kill_process(Pid::from_child(&child), Signal::KILL).expect("it runs");
    ended(child);
    case.assert_nothing_left();
}

#[test]
fn killed_inside_nothing_is_left_and_it_is_said() {
    let (case, child) = or_skip!("bridge", endless());
    kill_process(inner(&child), Signal::KILL).expect("it runs");
    let output = ended(child);
    let outcome: Outcome = serde_json::from_slice(&output.stdout).expect("an outcome");
    let Verdict::Error(why) = outcome.result else {
        panic!("{outcome:?}");
    };
    assert!(why.contains("has ended without an outcome"), "{why}");
    case.assert_nothing_left();
}

#[test]
fn told_to_end_it_says_so() {
    let (case, child) = or_skip!("bridge", endless());
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let output = ended(child);
    let outcome: Outcome = serde_json::from_slice(&output.stdout).expect("an outcome");
    let Verdict::Error(why) = outcome.result else {
        panic!("{outcome:?}");
    };
    assert!(why.contains("stopped by a signal"), "{why}");
    case.assert_nothing_left();
}

/// The parent is killed, which cannot tell anybody.
#[test]
fn without_its_parent_it_ends() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.tells_its_world();
    case.run.timeout = Duration::from_secs(86_400);
    case.matching("wan", "arp", 1, 1);
    let mut parent = case.start(&["sh", "-c", "\"$@\"; true", "sh"]);
    case.world();
    parent.kill().expect("it runs");
    parent.wait().expect("it ends");
    case.assert_nothing_left();
}

/// Both processes at once: what they have started itself ends with them.
#[test]
fn killed_altogether_its_own_children_end() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.tells_its_world();
    case.run.timeout = Duration::from_secs(86_400);
    case.matching("wan", "arp", 1, 1);
    let child = case.start(&["setsid"]);
    case.world();
    let pid = Pid::from_child(&child);
    kill_process_group(pid, Signal::KILL).expect("it is a group");
    ended(child);
    case.assert_nothing_left();
}
