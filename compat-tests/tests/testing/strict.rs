//! What must not pass: functions with a fault, and cases that would see nothing.

use std::time::Duration;

use compat_tests::apps::compile_c;
use compat_tests::{Skip, or_skip, target};
use serde_json::json;
use uvale_test::plan::{Action, Kind};

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
