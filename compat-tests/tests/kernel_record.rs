//! The probe that recorded what kernel netmap does, run here: the same facts must come out.
//!
//! The probe and its record are in `data/kernel-record`; `KERNEL_RECORD=dir` names others.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use compat_tests::apps::{self, App};
use compat_tests::facts::{self, Comparison, Expected, Facts};
use compat_tests::world::World;
use compat_tests::{Skip, or_skip, target};

/// In `docs/differences.md`, what comes before and after the list of facts that differ.
const LIST: (&str, &str) = ("```kernel-record\n", "```");
const RECORD: &str = "netmap-linux-6.1.txt";

fn record_dir() -> Result<PathBuf, Skip> {
    let named = std::env::var_os("KERNEL_RECORD").map(PathBuf::from);
    let dir = named.unwrap_or_else(|| target::workspace().join("compat-tests/data/kernel-record"));
    let complete = dir.join("probe.c").is_file() && dir.join(RECORD).is_file();
    if complete {
        Ok(dir)
    } else {
        Err(Skip::optional(format!(
            "no probe.c and {RECORD} in {}",
            dir.display()
        )))
    }
}

/// Runs one section in a world of its own: what it leaves behind must not colour the next.
fn run_section(probe: &App, section: &str) -> Facts {
    let world = World::new();
    let mut program = world.spawn(probe, &[section]);
    let status = program.wait();
    assert!(status.success(), "{}", program.said());
    facts::parse(&program.stdout())
}

fn report(section: &str, found: &Comparison) {
    let (equal, different, listed) = (found.equal, found.differences.len(), found.listed());
    let mut err = std::io::stderr().lock();
    let _ = writeln!(
        err,
        "kernel record: {section}: {equal} equal, {different} different, {listed} of them listed"
    );
}

fn unexplained(found: &Comparison) -> Vec<String> {
    found.unexplained().map(ToString::to_string).collect()
}

#[test]
fn probe_facts_equal_the_kernels() {
    let dir = or_skip!("kernel record", record_dir());
    let probe = or_skip!(
        "kernel record",
        apps::compile_c(
            &dir.join("probe.c"),
            "probe",
            &["-O1", "-g", "-Wno-override-init"]
        )
    );
    let kernel =
        facts::parse(&std::fs::read_to_string(dir.join(RECORD)).expect("the record is text"));
    let expected = read_expected();

    let world = World::new();
    let sections = world.spawn(&probe, &["-l"]).wait_success();
    let mut failures = Vec::new();
    let mut used = BTreeSet::new();
    let mut total = (0, 0, 0);
    for section in sections.lines() {
        let found = facts::compare(section, &kernel, &run_section(&probe, section), &expected);
        report(section, &found);
        total = (
            total.0 + found.equal,
            total.1 + found.differences.len(),
            total.2 + found.listed(),
        );
        failures.extend(unexplained(&found));
        for difference in &found.differences {
            used.extend((0..expected.len()).filter(|i| expected[*i].fits(&difference.key)));
        }
    }
    let _ = writeln!(
        std::io::stderr().lock(),
        "kernel record: all: {} equal, {} different, {} of them listed",
        total.0,
        total.1,
        total.2
    );
    let _ = std::fs::remove_file(&probe.path);
    assert!(
        failures.is_empty(),
        "{} facts differ for no listed reason:\n{}",
        failures.len(),
        failures.join("\n")
    );
    let stale = expected.iter().enumerate();
    let stale = stale.filter(|(i, _)| !used.contains(i));
    let stale: Vec<&str> = stale.map(|(_, e)| e.pattern()).collect();
    assert!(
        stale.is_empty(),
        "docs/differences.md lists what does not differ: {stale:?}"
    );
}

/// The list in `docs/differences.md`.
fn read_expected() -> Vec<Expected> {
    let file = target::workspace().join("docs/differences.md");
    let text = std::fs::read_to_string(file).expect("the list of differences is text");
    let list = text
        .split_once(LIST.0)
        .and_then(|(_, rest)| rest.split_once(LIST.1));
    let (list, _) = list.expect("docs/differences.md has a list of facts of the record");
    facts::parse_expected(list)
}

#[test]
fn listed_differences_name_facts_of_the_record() {
    let dir = or_skip!("kernel record", record_dir());
    let kernel =
        facts::parse(&std::fs::read_to_string(dir.join(RECORD)).expect("the record is text"));
    for entry in read_expected() {
        let known = kernel.keys().any(|key| entry.fits(key));
        assert!(
            known,
            "docs/differences.md: {} fits no fact of the record",
            entry.pattern()
        );
    }
}
