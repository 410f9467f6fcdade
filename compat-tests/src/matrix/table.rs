//! The matrix as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Cell, Matrix, Outcome};
use crate::facts::TIME_LIMIT;
use crate::wait;

/// The matrix, then what differs and why what did not run did not.
pub fn render(matrix: &Matrix) -> String {
    let mut text = String::new();
    let rows = matrix.columns.first().map_or(0, |c| c.cells.len());
    let name_width = matrix.cells().map(|c| c.scenario.len()).max().unwrap_or(0);
    let mut widths = Vec::new();
    for column in &matrix.columns {
        let longest = column.cells.iter().map(|c| short(&c.outcome).len()).max();
        widths.push(longest.unwrap_or(0).max(column.target.len()));
    }
    let _ = write!(text, "{:name_width$}", "");
    for (column, width) in matrix.columns.iter().zip(&widths) {
        let _ = write!(text, "  {:width$}", column.target);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    for row in 0..rows {
        let _ = write!(
            text,
            "{:name_width$}",
            matrix.columns[0].cells[row].scenario
        );
        for (column, width) in matrix.columns.iter().zip(&widths) {
            let _ = write!(text, "  {:width$}", short(&column.cells[row].outcome));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    details(matrix, &mut text);
    text
}

/// A cell that is done, for who watches: what it is, and each line of it that nobody expected.
pub fn progress(target: &str, cell: &Cell) -> String {
    let seconds = cell.took.as_secs_f64();
    let what = short(&cell.outcome);
    let mut text = format!("{target} {}: {what} ({seconds:.1} s)\n", cell.scenario);
    if cell.outcome.is_failure() {
        for line in lines(&cell.outcome) {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// What fits into a cell.
fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Pass { equal, listed } if listed.is_empty() => format!("pass {equal}"),
        Outcome::Pass { equal, listed } => {
            format!("pass {equal}, {} known to differ", listed.len())
        }
        Outcome::Differs {
            equal,
            differences,
            stale,
        } => {
            let new = differences.iter().filter(|d| d.reason.is_none()).count();
            let (new, all) = (new + stale.len(), equal + differences.len());
            let late = if differences.iter().any(is_late) {
                ", time limit"
            } else {
                ""
            };
            format!("DIFFERS {new} of {all}{late}")
        }
        Outcome::Unrecorded { facts } => format!("UNRECORDED {facts}"),
        Outcome::Recorded { facts } => format!("recorded {facts}"),
        Outcome::Skipped(_) => "skipped".into(),
    }
}

fn details(matrix: &Matrix, text: &mut String) {
    for column in &matrix.columns {
        let target = &column.target;
        let mut skipped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for cell in &column.cells {
            match &cell.outcome {
                Outcome::Skipped(why) => skipped.entry(why).or_default().push(&cell.scenario),
                outcome => {
                    for line in lines(outcome) {
                        let _ = writeln!(text, "{target} {} {line}", cell.scenario);
                    }
                }
            }
        }
        for (why, scenarios) in skipped {
            let what = if scenarios.len() == column.cells.len() {
                "all".into()
            } else {
                scenarios.join(" ")
            };
            let _ = writeln!(text, "{target} skipped: {why}: {what}");
        }
    }
}

/// One line per difference, with both values.
pub fn lines(outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Pass { listed, .. } => listed.iter().map(difference).collect(),
        Outcome::Differs {
            differences, stale, ..
        } => {
            let stale = stale
                .iter()
                .map(|k| format!("{}: listed as different, but is not", k.key));
            differences.iter().map(difference).chain(stale).collect()
        }
        Outcome::Unrecorded { .. } => vec!["has no expected facts: --record".into()],
        Outcome::Recorded { .. } | Outcome::Skipped(_) => Vec::new(),
    }
}

fn is_late(d: &crate::facts::Difference) -> bool {
    d.ours.as_deref() == Some(TIME_LIMIT)
}

fn difference(d: &crate::facts::Difference) -> String {
    let show = |v: &Option<String>| v.clone().unwrap_or_else(|| "(nothing)".into());
    let mark = match &d.reason {
        Some(reason) => format!("  [known: {reason}]"),
        None if is_late(d) => format!(
            " of {} s: what comes after it is not known; {}=seconds gives more",
            wait::deadline().as_secs(),
            wait::ENV_DEADLINE
        ),
        None => String::new(),
    };
    let (want, got) = (show(&d.kernel), show(&d.ours));
    format!("{}: expected {want}, got {got}{mark}", d.key)
}

#[cfg(test)]
mod tests {
    use super::super::{Cell, Column};
    use super::*;
    use crate::facts;
    use std::time::Duration;

    fn column(target: &str, outcomes: Vec<Outcome>) -> Column {
        let names = ["first", "second"];
        let cells = names.iter().zip(outcomes);
        let cells = cells.map(|(name, outcome)| Cell {
            scenario: (*name).into(),
            outcome,
            took: Duration::ZERO,
        });
        Column {
            target: target.into(),
            cells: cells.collect(),
        }
    }

    #[test]
    fn both_values_and_every_reason_are_shown() {
        let differs = super::super::judge(
            &facts::parse("a.x=1\na.y=2\n"),
            &facts::parse("a.x=1\na.y=3\n"),
            &[],
        );
        let passes = super::super::judge(&facts::parse("a=1"), &facts::parse("a=1"), &[]);
        let skip = || Outcome::Skipped("not here".into());
        let matrix = Matrix {
            columns: vec![
                column("uvale", vec![passes, differs]),
                column("kernel", vec![skip(), skip()]),
            ],
        };
        let text = render(&matrix);
        let want = [
            "        uvale           kernel",
            "first   pass 1          skipped",
            "second  DIFFERS 1 of 2  skipped",
            "uvale second a.y: expected 2, got 3",
            "kernel skipped: not here: all",
            "",
        ];
        let want = want.join("\n");
        assert_eq!(text, want);
    }
}
