//! What must not pass: functions with a fault, and cases that would see nothing.

use std::process::{Command, Stdio};
use std::time::Duration;

use compat_tests::apps::compile_c;
use compat_tests::wait::{deadline, until};
use compat_tests::{Skip, or_skip, target};
use serde_json::json;
use uvale_test::plan::{Action, Count, Kind, MOST_PRINTED};

use crate::ground::{Case, numbered, switch, udp};

/// For what has to fail by waiting.
const SHORT: Duration = Duration::from_millis(300);

/// A bridge between the switches of `lan` and `wan` with a fault.
fn faulty(fault: &str) -> Result<Case, Skip> {
    faulty_between(fault, [switch("vale0"), switch("vale1")])
}

fn faulty_between(fault: &str, [lan, wan]: [Kind; 2]) -> Result<Case, Skip> {
    let source = target::workspace().join("compat-tests/tests/testing/faulty.c");
    let include = format!("-I{}", target::include_dir().display());
    let program = compile_c(&source, "testing-faulty", &["-O1", &include])?.path;
    let mut case = Case::new();
    case.port("lan", lan);
    case.port("wan", wan);
    let run = [
        &program.to_string_lossy(),
        fault,
        "${port.lan}",
        "${port.wan}",
    ];
    case.program("faulty", &run, &["lan", "wan"]);
    Ok(case)
}

fn expect(on: &str, text: &str, is_ordered: bool) -> Action {
    Action::Expect {
        on: on.into(),
        frames: vec![udp(text)],
        is_ordered,
    }
}

#[track_caller]
fn fails_with(case: &Case, line: Option<usize>, parts: &[&str]) {
    let (failed, why) = case.fails();
    for part in parts {
        assert!(why.contains(part), "no {part:?} in: {why}");
    }
    assert_eq!(failed, line, "{why}");
}

#[test]
fn same_as_never_looks_for_nothing() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.run.timeout = SHORT;
    case.send("lan", numbered(2)).same("wan", "lan", json!({}));
    case.passes();
    case.same("wan", "lan", json!({}));
    let nothing = "nothing has been sent on port lan since the step of line 2, so nothing can come on port wan";
    fails_with(&case, Some(3), &[nothing]);
    // At another port it wants the same frames.
    case.run.steps.pop();
    case.same("lan", "lan", json!({}));
    fails_with(
        &case,
        Some(3),
        &["port lan: 2 of 2 expected frames did not come"],
    );
    // What was sent since is enough, and it is not too much that a wire has lost all of it.
    case.run.steps.pop();
    case.send("lan", numbered(1)).same("wan", "lan", json!({}));
    case.passes();
    case.run.ports[0].link = Some([("loss".to_owned(), "100%,0%".to_owned())].into());
    case.passes();
    case.run.steps.clear();
    case.same("wan", "lan", json!({}));
    fails_with(&case, Some(1), &["nothing has been sent on port lan, so"]);
}

#[test]
fn sending_to_nobody_fails() {
    for kind in [switch("vale0"), Kind::Pipe] {
        let mut case = or_skip!("bridge", faulty_between("none", [kind.clone(), kind]));
        case.run.timeout = SHORT;
        case.send("lan", numbered(1));
        case.step(Action::Nothing { on: "wan".into() });
        let program = &mut case.run.programs[0];
        program
            .run
            .splice(2.., ["vale7:x", "vale7:y"].map(str::to_owned));
        program.opens.clear();
        let whom = "what is sent on port lan (";
        let list =
            "reaches nobody: within 300ms no program has opened it; programs have open: vale7:";
        fails_with(&case, Some(1), &[whom, list]);
        case.run.programs.clear();
        fails_with(&case, Some(1), &[whom, "programs have no port open"]);
    }
}

#[test]
fn order_is_that_of_all_steps() {
    let mut case = or_skip!("bridge", faulty("swap"));
    case.run.timeout = SHORT;
    case.send("lan", vec![udp("one")])
        .send("lan", vec![udp("two")]);
    case.step(expect("wan", "one", true))
        .step(expect("wan", "two", true));
    let before = "it came before another one, which line 3 expects before it: ";
    fails_with(
        &case,
        Some(4),
        &["1 of 1 expected frame did not come", before],
    );
    for step in [2, 3] {
        // One that does not look at the order leaves it to the other one.
        let mut any = Case::new();
        std::mem::swap(&mut any.run.steps, &mut case.run.steps);
        any.run.steps[step].action = expect("wan", ["one", "two"][step - 2], false);
        std::mem::swap(&mut any.run.steps, &mut case.run.steps);
        case.passes();
        case.run.steps[step].action = expect("wan", ["one", "two"][step - 2], true);
    }
    // The ports of a step say what order means, not one with several rings that nobody uses.
    case.port("third", switch("vale2")).rings = Some(2);
    fails_with(&case, Some(4), &[before]);
    case.run.steps.drain(2..);
    case.same("wan", "lan", json!({}));
    fails_with(&case, Some(3), &["which line 3 expects before it"]);
    // Between rings a flow keeps its order.
    case.run.ports[1].rings = Some(2);
    case.run.ports[0].rings = Some(2);
    fails_with(&case, Some(3), &["which line 3 expects before it"]);
}

/// Two ports of a switch: what the tester sends on one comes on the other, without the program.
#[test]
fn the_tester_is_no_answer() {
    let mut case = or_skip!(
        "bridge",
        faulty_between("drop", [switch("vale0"), switch("vale0")])
    );
    case.run.timeout = SHORT;
    case.send("lan", numbered(2)).same("wan", "lan", json!({}));
    let own = "besides, 2 frames came that the tester itself sent on this switch";
    fails_with(
        &case,
        Some(2),
        &["2 of 2 expected frames did not come", own],
    );
    case.run.steps.pop();
    case.step(Action::Nothing { on: "wan".into() });
    case.passes();
}

#[test]
fn names_of_the_tester_are_nobodys_else() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.run.ports.clear();
    case.run.programs.clear();
    case.port("a", switch("vale0"));
    case.port("a_tester", switch("vale0"));
    case.port("b", switch("vale1"));
    or_skip!("bridge", case.bridge("a_tester", "b"));
    case.send("a", numbered(3)).same("b", "a", json!({}));
    case.passes();
}

/// However short the quiet is.
#[test]
fn a_closed_port_is_seen_at_the_end() {
    for fault in ["close", "crash"] {
        let mut case = or_skip!("bridge", faulty(fault));
        case.run.quiet = Duration::from_millis(1);
        let program = &mut case.run.programs[0];
        // What crashes has a parent that lives.
        let words = ["sh", "-c", "\"$0\" \"$@\"; sleep 1000"].map(str::to_owned);
        program.run.splice(0..0, words);
        case.send("lan", numbered(1));
        case.step(Action::Nothing { on: "wan".into() });
        fails_with(&case, Some(2), &["program faulty has closed port "]);
    }
}

#[test]
fn a_program_obeys_sigterm() {
    for (fault, part) in [
        (
            "exit-101",
            "told to end by SIGTERM, ended with exit status 101",
        ),
        (
            "deaf",
            "has not ended within 300ms after SIGTERM, and was killed",
        ),
    ] {
        let mut case = or_skip!("bridge", faulty(fault));
        case.run.timeout = SHORT;
        case.send("lan", numbered(1)).same("wan", "lan", json!({}));
        fails_with(&case, None, &["program faulty", part]);
    }
    // That is what a shell says of it.
    let mut case = Case::new();
    case.program(
        "shell",
        &[
            "sh",
            "-c",
            "trap 'exit 143' TERM; echo ready; sleep 1000 & wait",
        ],
        &[],
    );
    case.prints("shell", "ready");
    case.passes();
}

#[test]
fn what_is_sent_at_the_end_is_seen() {
    let mut case = or_skip!("bridge", faulty("farewell"));
    case.send("lan", numbered(1)).same("wan", "lan", json!({}));
    let why = "port wan: nothing was to come when programs were told to end\n1 frame came there";
    fails_with(&case, None, &[why]);
    case.run.ignore.push("wan".into());
    case.passes();
}

#[test]
fn a_number_is_exact_where_the_rest_is_ignored() {
    let mut case = or_skip!("bridge", faulty("twice"));
    case.run.ignore.push("wan".into());
    case.send("lan", numbered(1)).matching("wan", "udp", 2, 2);
    case.passes();
    case.run.steps.pop();
    case.matching("wan", "udp", 1, 1);
    fails_with(
        &case,
        Some(2),
        &["2 frames came that match `udp`, expected 1"],
    );
}

#[test]
fn what_is_printed_without_end_has_a_limit() {
    let mut case = or_skip!("bridge", faulty("chat"));
    case.step(Action::Prints {
        program: "faulty".into(),
        text: "nowhere".into(),
        count: Count { min: 1, max: 1 },
    });
    let why = "program faulty has printed more than 64 MiB, which is all that is kept";
    fails_with(
        &case,
        Some(1),
        &[why, "a line that is printed again and again"],
    );
    let kept = case.left("faulty.stdout");
    assert!(kept.len() < MOST_PRINTED as usize + 200, "{}", kept.len());
    let end = "\n[uvale test: it has printed more than 64 MiB, which is all that is kept]\n";
    assert!(kept.ends_with(end));
}

#[test]
fn what_comes_without_end_has_a_limit() {
    let mut case = or_skip!("bridge", faulty("flood"));
    case.run.ignore.push("wan".into());
    case.matching("wan", "udp", 1, 1);
    let (_, why) = case.fails();
    assert!(
        why.contains("frames come without end on port wan: 1"),
        "{why}"
    );
    // Or the time, whichever is first.
    case.run.timeout = SHORT;
    let (_, why) = case.fails();
    let limits = [
        "frames come without end on port wan",
        "within 3s, in which frames came without end",
    ];
    assert!(limits.iter().any(|limit| why.contains(limit)), "{why}");
}

/// Nobody is left to remove what the runs of a killed `uvale test` leave.
#[test]
fn a_killed_parent_leaves_no_folder() {
    let mut case = Case::new();
    case.tells_its_world();
    let script = case.run.programs[0].run[2].clone();
    let file = case.dir().join("x.toml");
    let text = format!(
        "timeout = '1000s'\n[[programs]]\nrun = ['sh', '-c', {script:?}]\n[[cases]]\nname = 'x'\n\
         steps = [{{ prints = 'sh', text = 'nothing' }}]\n"
    );
    std::fs::write(&file, text).expect("it is written");
    let temporary = case.dir().join("tmp");
    std::fs::create_dir(&temporary).expect("it is made");
    let mut parent = Command::new(&target::binaries().uvale)
        .arg("test")
        .arg(&file)
        .current_dir(case.dir())
        .env("TMPDIR", &temporary)
        .env("NMSHIM", &target::binaries().shim)
        .env_remove("UVALE_DIR")
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    case.world();
    let left = || {
        std::fs::read_dir(&temporary)
            .expect("it is there")
            .flatten()
    };
    assert!(left().count() > 0);
    parent.kill().expect("it runs");
    parent.wait().expect("it ends");
    case.assert_nothing_left();
    let gone = until(deadline(), || (left().count() == 0).then_some(()));
    assert!(gone.is_some(), "{:?}", left().collect::<Vec<_>>());
}
