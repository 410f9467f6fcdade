//! Programs that no preload reaches: they are served by the run's own process, and end with it.

use std::process::Child;
use std::time::Duration;

use compat_tests::made::statically;
use compat_tests::wait::{deadline, until};
use compat_tests::{Skip, or_skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use uvale_test::plan::{Kind, Namespace, Outcome, Verdict};
use uvale_tools::reach::Reach;

use crate::ends::{ended, inner};
use crate::ground::{Case, numbered, switch};
use crate::networks::{open_to_all, users};

/// A static bridge between the switches of `lan` and `wan`.
fn bridged() -> Result<Case, Skip> {
    let mut case = Case::new();
    case.port("lan", switch("vale0"));
    case.port("wan", switch("vale1"));
    case.static_bridge("lan", "wan")?;
    Ok(case)
}

/// A run that goes on until it is killed, with a static bridge that has bridged.
fn endless() -> Result<(Case, Child), Skip> {
    let mut case = bridged()?;
    case.tells_its_world();
    case.run.timeout = Duration::from_secs(86_400);
    case.send("lan", numbered(3)).same("wan", "lan", json!({}));
    let done = case.dir().join("done");
    case.command(&["touch", &done.to_string_lossy()], None);
    case.matching("wan", "arp", 1, 1);
    let child = case.start(&[]);
    case.world();
    assert!(until(deadline(), || done.exists().then_some(())).is_some());
    Ok((case, child))
}

#[test]
fn whoever_is_killed_nothing_is_left() {
    let (case, child) = or_skip!("static program", endless());
    kill_process(Pid::from_child(&child), Signal::KILL).expect("it runs");
    ended(child);
    case.assert_nothing_left();
    // Who serves the program.
    let (case, child) = or_skip!("static program", endless());
    kill_process(inner(&child), Signal::KILL).expect("it runs");
    let output = ended(child);
    let outcome: Outcome = serde_json::from_slice(&output.stdout).expect("an outcome");
    assert!(matches!(outcome.result, Verdict::Error(_)), "{outcome:?}");
    case.assert_nothing_left();
}

#[test]
fn a_program_that_is_killed_is_noticed_at_once() {
    let mut case = or_skip!("static program", bridged());
    case.run.timeout = Duration::from_secs(86_400);
    let name = case.run.programs[0].run[0].clone();
    // The program's own process, which nobody stands for.
    case.command(&["pkill", "-KILL", "-f", &format!("^{name} ")], None);
    case.matching("wan", "arp", 1, 1);
    let (_, why) = case.fails();
    assert!(
        why.contains("program bridge ended with SIGKILL before the case did"),
        "{why}"
    );
}

#[test]
fn a_static_program_that_never_opens() {
    let mut case = Case::new();
    case.port("lan", switch("vale0"));
    let other = or_skip!("static program", statically("robust/traffic"));
    let words = [&other.to_string_lossy(), "rx", "vale7:other", "how=poll"];
    case.program("other", &words, &["lan"]);
    case.run.timeout = Duration::from_millis(300);
    let (line, why) = case.fails();
    assert_eq!(line, None);
    let late = "program other has not opened port lan (vale0:lan) within 300ms";
    assert!(why.contains(late), "{why}");
}

/// Interfaces of a program are those of its network namespace.
#[test]
fn interfaces_of_static_programs() {
    for user in or_skip!("namespaces", users()) {
        let mut case = Case::new();
        open_to_all(&case);
        case.port("lan", Kind::Nic { peer: None });
        case.port("wan", Kind::Nic { peer: None });
        or_skip!("static program", case.static_bridge("lan", "wan"));
        case.send("lan", numbered(500))
            .same("wan", "lan", json!({}));
        case.passes_by(&user);
        // In a namespace of its own it bridges the other ends.
        let mut case = Case::new();
        open_to_all(&case);
        for name in ["lan", "wan"] {
            case.port(name, Kind::Nic { peer: None });
            let peer = Some("inner".to_owned());
            case.port(&format!("{name}_in"), Kind::Nic { peer });
        }
        case.run.namespaces.push(Namespace {
            name: "inner".into(),
            commands: Vec::new(),
        });
        or_skip!("static program", case.static_bridge("lan", "lan_in"));
        case.run.programs[0].name = "near".into();
        let inner = or_skip!("static program", case.static_bridge("lan_in", "wan_in"));
        inner.run[1] = "netmap:${interface.lan_in}".into();
        inner.run[2] = "netmap:${interface.wan_in}".into();
        (inner.namespace, inner.opens) = (Some("inner".into()), Vec::new());
        or_skip!("static program", case.static_bridge("wan_in", "wan"));
        case.run.programs[2].name = "far".into();
        case.send("lan", numbered(500))
            .same("wan", "lan", json!({}));
        case.passes_by(&user);
    }
}

/// One line says which program cannot be served, before it starts.
#[test]
fn what_cannot_be_served_is_not_started() {
    let mut case = or_skip!("static program", bridged());
    let deny = or_skip!(
        "C compiler",
        compat_tests::programs::program("reach/refuse")
    );
    let deny = deny.to_string_lossy().into_owned();
    let Verdict::Error(why) = case.outcome_by(&[&deny, "notify"]).result else {
        panic!("nobody serves it");
    };
    assert!(why.starts_with("program bridge: "), "{why}");
    assert!(why.contains("has no user notification"), "{why}");
    // By the preload it is started, and finds nothing.
    case.run.programs[0].reach = Reach::Preload;
    let (_, why) = case.fails();
    assert!(why.contains("give it reach = \"notify\""), "{why}");
}
