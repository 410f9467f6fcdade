//! C programs whose system calls are instructions of their own.

use std::path::Path;

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::programs::fact;

use crate::programs::{c, is_refused, start};

/// Runs these cases of a program, each in turn, by the way that `reach` names.
fn run(program: &Path, reach: &str, cases: &[&str]) {
    let place = Place::new();
    for case in cases {
        let mut running = start(&place, reach, program, &[case]);
        let status = running.wait();
        let said = running.said();
        if is_refused(&said) {
            return;
        }
        assert!(status.success(), "{reach}: {case}: {status}: {said}");
        assert!(
            running.stdout().ends_with(&format!("ok {case}\n")),
            "{said}"
        );
        if let Some(cost) = said.lines().find(|l| l.starts_with("cost ")) {
            fact(&format!("{reach}: {cost} (ns; ratio: sync to trap)"));
        }
    }
    place.assert_left_clean();
}

/// The programs, with the cases that are run by every way.
const PROGRAMS: [(&str, &[&str]); 3] = [
    (
        "raw",
        &["both", "epoll", "refusals", "registers", "cost", "ports"],
    ),
    (
        "signals",
        &[
            "blocked",
            "contexts",
            "own-handler",
            "small-stacks",
            "signals",
            "jumps",
        ],
    ),
    (
        "processes",
        &["threads", "children", "raw-vfork", "raw-fork"],
    ),
];

macro_rules! ways {
    ($($test:ident: $reach:literal, $flags:expr;)*) => { $(
        #[test]
        fn $test() {
            for (name, cases) in PROGRAMS {
                let program = or_skip!("C compiler", c(name, &$flags));
                run(&program, $reach, cases);
            }
        }
    )* };
}

ways! {
    dispatched_at_fixed_addresses: "trap,dispatch", ["-no-pie"];
    dispatched_at_any_address: "trap,dispatch", ["-pie", "-fPIE"];
    filtered_at_fixed_addresses: "trap,filter", ["-no-pie"];
    filtered_at_any_address: "trap,filter", ["-pie", "-fPIE"];
}

#[test]
fn no_case_is_forgotten() {
    for (name, cases) in PROGRAMS {
        let program = or_skip!("C compiler", c(name, &[]));
        let listed = Place::new().run(&program, &["--list"]);
        let listed: Vec<_> = listed.lines().collect();
        let more: &[&str] = match name {
            "raw" => &["makes-calls", "library-alone"],
            _ => &[],
        };
        assert_eq!(listed, [cases, more].concat(), "{name}");
    }
}

#[test]
fn what_a_trapped_program_executes_is_not_hit() {
    let program = or_skip!("C compiler", c("raw", &["-no-pie"]));
    // the same instructions at nearly the same addresses, and no library
    let alone = or_skip!("static C library", c("raw", &["-no-pie", "-static"]));
    let (own, alone) = (program.to_string_lossy(), alone.to_string_lossy());
    let place = Place::new();
    for args in [
        &["execute", &own, "ports"][..],
        &["execute", &own, "makes-calls"],
        &["execute", &alone, "makes-calls"],
        &["execute", "/usr/bin/timeout", "60", &own, "ports"],
        &[
            "execute",
            "/bin/sh",
            "-c",
            "exec \"$0\" makes-calls",
            &alone,
        ],
    ] {
        let mut running = start(&place, "trap,dispatch", &program, args);
        let status = running.wait();
        let said = running.said();
        if is_refused(&said) {
            return;
        }
        assert!(
            status.success() && running.stdout().ends_with("ok execute\n"),
            "{args:?}: {said}"
        );
    }
    place.assert_left_clean();
}

#[test]
fn where_nothing_is_trapped_the_library_is_served() {
    let program = or_skip!("C compiler", c("raw", &[]));
    let deny = or_skip!("C compiler", c("deny", &[]));
    let place = Place::new();
    let program = program.to_string_lossy();
    let mut running = start(&place, "trap", &deny, &[&program, "library-alone"]);
    let status = running.wait();
    let said = running.said_since(0);
    assert!(status.success(), "{status}: {said}");
    assert_eq!(running.stdout(), "ok library-alone\n", "{said}");
    let complaints: Vec<_> = said
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with("ok "))
        .collect();
    let [line] = complaints[..] else {
        panic!("{said}");
    };
    assert!(line.contains("cannot be trapped"), "{said}");
}
