//! One scenario, many targets: runs each scenario on each target that is there, and compares what
//! it says with what is expected.
//!
//! - [`layout`]: where everything lies, in the source tree or in an unpacked bundle
//! - [`scenario`]: the programs; [`platform`]: what they run on
//! - [`in_guest`]: a guest with netmap's driver, started for a scenario
//! - [`netmap_tests`]: netmap's own tests as scenarios
//! - [`expected`]: recorded or derived facts, known differences
//! - [`table`]: the matrix for a person; [`junit`]: for a CI system

pub mod expected;
pub mod in_guest;
pub mod junit;
pub mod layout;
pub mod netmap_tests;
pub mod platform;
pub mod scenario;
pub mod table;

use std::time::{Duration, Instant};

use crate::facts::{self, Difference, Facts};
use crate::wait;
use crate::world::Program;
use expected::Known;
use layout::Layout;
use platform::{Platform, Ready};
use scenario::{Needs, Scenario, Work};

/// How one scenario went on one target.
#[derive(Debug)]
pub enum Outcome {
    /// All facts as expected, or different for a listed reason.
    Pass {
        /// Facts as expected.
        equal: usize,
        /// Known differences.
        listed: Vec<Difference>,
    },
    /// Something differs that should not.
    Differs {
        /// Facts as expected.
        equal: usize,
        /// All that differ; those with a reason are known.
        differences: Vec<Difference>,
        /// Listed as different, but the same.
        stale: Vec<Known>,
    },
    /// Nothing to compare with.
    Unrecorded {
        /// Facts it printed.
        facts: usize,
    },
    /// The facts are the record now.
    Recorded {
        /// Facts it printed.
        facts: usize,
    },
    /// Did not run.
    Skipped(String),
}

impl Outcome {
    /// Does it make the run fail?
    pub fn is_failure(&self) -> bool {
        matches!(self, Outcome::Differs { .. } | Outcome::Unrecorded { .. })
    }
}

/// One cell of the matrix.
#[derive(Debug)]
pub struct Cell {
    /// The scenario's name.
    pub scenario: String,
    /// How it went.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// One column.
#[derive(Debug)]
pub struct Column {
    /// The target as it was named.
    pub target: String,
    /// One cell per scenario.
    pub cells: Vec<Cell>,
}

/// A run's result.
#[derive(Debug, Default)]
pub struct Matrix {
    /// One column per target; all have the same scenarios in the same order.
    pub columns: Vec<Column>,
}

impl Matrix {
    /// Did anything fail?
    pub fn failed(&self) -> bool {
        self.cells().any(|c| c.outcome.is_failure())
    }

    /// All cells.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.columns.iter().flat_map(|c| &c.cells)
    }
}

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// The targets.
    pub targets: Vec<Platform>,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// Write what is found as each target's record.
    pub record: bool,
}

/// What a run tells while it goes on; the last column is the one that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// That scenario begins on the last column's target.
    Begins(&'a str),
    /// The last cell of the last column is done.
    Done,
}

/// Runs it, and shows `watch` the matrix whenever something begins or is done.
///
/// # Errors
/// A sentence, if the expected facts can't be read or written.
pub fn run(
    layout: &Layout,
    plan: &Plan,
    watch: &mut dyn FnMut(&Matrix, Event<'_>) -> Result<(), String>,
) -> Result<Matrix, String> {
    let known = expected::known(&layout.expected())?;
    let mut matrix = Matrix::default();
    for platform in &plan.targets {
        let ready = platform.ready(layout);
        matrix.columns.push(Column {
            target: platform.to_string(),
            cells: Vec::new(),
        });
        for scenario in &plan.scenarios {
            watch(&matrix, Event::Begins(&scenario.name))?;
            let begin = Instant::now();
            let ready = ready.as_ref().map_err(String::clone);
            let outcome = match ready.and_then(|r| scenario.suits(platform).map(|()| r)) {
                Err(why) => Outcome::Skipped(why),
                Ok(ready) => {
                    let run = Run {
                        layout,
                        platform,
                        ready,
                        scenario,
                    };
                    run.outcome(&known, plan.record)?
                }
            };
            let cell = Cell {
                scenario: scenario.name.clone(),
                outcome,
                took: begin.elapsed(),
            };
            if let Some(column) = matrix.columns.last_mut() {
                column.cells.push(cell);
            }
            watch(&matrix, Event::Done)?;
        }
    }
    Ok(matrix)
}

/// One scenario on one target that is there.
struct Run<'a> {
    layout: &'a Layout,
    platform: &'a Platform,
    ready: &'a Ready,
    scenario: &'a Scenario,
}

impl Run<'_> {
    fn outcome(&self, known: &[Known], record: bool) -> Result<Outcome, String> {
        let said = match self.text() {
            Ok(said) => said,
            Err(why) => return Ok(Outcome::Skipped(why)),
        };
        let lines = fact_lines(&said);
        let found = facts::parse(&lines);
        let dir = self.layout.expected();
        let name = &self.scenario.name;
        let is_cut = |key: &String| facts::is_cut(&found, facts::section(key));
        // Half a record is none.
        if record && !found.keys().any(is_cut) {
            expected::write(&dir, self.platform, name, &lines)?;
            let facts = lines.lines().count();
            return Ok(Outcome::Recorded { facts });
        }
        let Some(mut record) = expected::record(&dir, self.platform, name) else {
            let facts = lines.lines().count();
            return Ok(Outcome::Unrecorded { facts });
        };
        let mut known: Vec<&Known> = known
            .iter()
            .filter(|k| k.target == self.platform.label() && &k.scenario == name)
            .collect();
        if matches!(self.scenario.work, Work::Netmap(_)) {
            // versions of netmap have more tests or fewer: those that are there are judged
            record.facts.retain(|key, _| found.contains_key(key));
            known.retain(|k| found.keys().any(|key| k.fits(key)));
        }
        Ok(judge(&record.facts, &found, &known))
    }

    /// What it says; else why it can't run.
    fn text(&self) -> Result<String, String> {
        let (dynamic, fixed) = match &self.scenario.work {
            Work::Netmap(suite) => return suite.run(self.ready),
            Work::Facts { dynamic, fixed } => (dynamic, fixed.as_deref()),
        };
        let Some(makings) = self.ready.guest() else {
            return self.told(&mut |args| {
                let command = self.ready.command(dynamic, fixed, args);
                facts_of(command, &self.scenario.name)
            });
        };
        let fixed =
            fixed.ok_or("the compiler has no static C library, and a guest has no other")?;
        let mut machine = makings.boot(fixed)?;
        self.told(&mut |args| machine.facts(args))
    }

    /// What the scenario says, by what `facts` gives for its arguments; else why it can't run.
    fn told(&self, facts: &mut dyn FnMut(&[&str]) -> String) -> Result<String, String> {
        if self.scenario.needs == Needs::Interface {
            // does the target let a program have it?
            let said = facts(&["--open"]);
            match said.lines().find_map(|l| l.strip_prefix("open=")) {
                Some("OK") => {}
                Some(error) => return Err(format!("the interface is refused: {error}")),
                None => return Err("the interface can't be tried".into()),
            }
        }
        Ok(facts(&[]))
    }
}

/// Compares facts with what is expected.
pub fn judge(expected: &Facts, found: &Facts, known: &[&Known]) -> Outcome {
    let mut comparison = facts::compare_all(expected, found);
    let mut used = vec![false; known.len()];
    for difference in &mut comparison.differences {
        for (i, entry) in known.iter().enumerate() {
            if entry.fits(&difference.key) {
                used[i] = true;
                difference.reason = Some(entry.reason.clone());
            }
        }
    }
    // What a cut case did not come to is told by its end.
    let not_reached =
        |d: &Difference| d.ours.is_none() && facts::is_cut(found, facts::section(&d.key));
    comparison.differences.retain(|d| !not_reached(d));
    let stale: Vec<Known> = known
        .iter()
        .zip(&used)
        .filter(|(entry, used)| !**used && !entry.is_sometimes())
        .map(|(k, _)| (*k).clone())
        .collect();
    let (equal, differences) = (comparison.equal, comparison.differences);
    if stale.is_empty() && differences.iter().all(|d| d.reason.is_some()) {
        return Outcome::Pass {
            equal,
            listed: differences,
        };
    }
    Outcome::Differs {
        equal,
        differences,
        stale,
    }
}

/// What the end of a case whose time is over may take. One that is stuck in the kernel never ends.
const END_TAKES: Duration = Duration::from_secs(5);

/// Runs a program and gives what it printed, and how it ended as one more fact. Its cases have the time
/// limit; it is cut when one of them does not end by that.
fn facts_of(command: std::process::Command, name: &str) -> String {
    let mut program = Program::start(name, command);
    let status = program.finish_while_it_prints(patience());
    facts_as(&program.stdout(), status.map(|status| status.code()))
}

/// How long a scenario may print nothing.
fn patience() -> Duration {
    wait::deadline() + END_TAKES
}

/// What a program printed, and how it ended as one more fact: by itself with a code, by a signal without one, or not
/// at all.
fn facts_as(said: &str, ended: Option<Option<i32>>) -> String {
    let end = match ended {
        Some(Some(code)) => code.to_string(),
        Some(None) => "signal".into(),
        None => facts::TIME_LIMIT.into(),
    };
    format!("{said}{}={end}\n", facts::EXIT)
}

/// The lines that are facts.
fn fact_lines(said: &str) -> String {
    said.lines()
        .filter(|l| l.contains('='))
        .flat_map(|l| [l, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str) -> Known {
        Known {
            target: "uvale".into(),
            scenario: "s".into(),
            key: key.into(),
            reason: "so it is".into(),
        }
    }

    #[test]
    fn equal_facts_pass() {
        let facts = facts::parse("a.x=1\na.y=2\n");
        let outcome = judge(&facts, &facts, &[]);
        assert!(matches!(outcome, Outcome::Pass { equal: 2, ref listed } if listed.is_empty()));
        assert!(!outcome.is_failure());
    }

    #[test]
    fn a_listed_difference_passes_and_is_shown() {
        let (want, got) = (
            facts::parse("a.x=1\na.y=2\n"),
            facts::parse("a.x=1\na.y=3\n"),
        );
        let known = entry("a.y");
        let outcome = judge(&want, &got, &[&known]);
        let Outcome::Pass { equal: 1, listed } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(listed[0].reason.as_deref(), Some("so it is"));
    }

    #[test]
    fn unlisted_and_stale_differences_fail() {
        let (want, got) = (facts::parse("a.x=1\n"), facts::parse("a.x=2\n"));
        assert!(judge(&want, &got, &[]).is_failure());
        let stale = entry("a.x");
        assert!(judge(&want, &want, &[&stale]).is_failure());
    }

    #[test]
    fn a_cut_case_differs_in_its_end_alone() {
        let want = facts::parse("a.x=1\na.y=2\na.END=0\nb.x=1\nb.END=0\nexit=0\n");
        let keys = |found: &str, known: &[&Known]| -> Vec<String> {
            match judge(&want, &facts::parse(found), known) {
                Outcome::Differs {
                    differences, stale, ..
                } => {
                    assert_eq!(stale, []);
                    differences.into_iter().map(|d| d.key).collect()
                }
                passed => panic!("{passed:?}"),
            }
        };
        let case_cut = "a.x=1\na.END=time limit\nb.x=1\nb.END=0\nexit=0\n";
        assert_eq!(keys(case_cut, &[]), ["a.END"]);
        let known = entry("a.y");
        assert_eq!(
            keys(case_cut, &[&known]),
            ["a.END"],
            "not reached, not stale"
        );
        let program_cut = "a.x=1\na.y=2\na.END=0\nexit=time limit\n";
        assert_eq!(keys(program_cut, &[]), ["exit"]);
        let wrong_before = "a.x=5\na.END=time limit\nb.x=1\nb.END=0\nexit=0\n";
        assert_eq!(keys(wrong_before, &[]), ["a.END", "a.x"]);
        let killed = "a.x=1\na.END=signal:9\nb.x=1\nb.END=0\nexit=0\n";
        assert_eq!(keys(killed, &[]), ["a.END", "a.y"]);
    }

    #[test]
    fn a_fact_too_many_or_too_few_differs() {
        let (one, two) = (facts::parse("a.x=1\n"), facts::parse("a.x=1\na.y=2\n"));
        assert!(judge(&one, &two, &[]).is_failure());
        assert!(judge(&two, &one, &[]).is_failure());
    }
}
