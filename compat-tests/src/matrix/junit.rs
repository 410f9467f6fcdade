//! The matrix as JUnit XML: a suite per target, a case per scenario.

use std::fmt::Write;

use super::{Cell, Column, Matrix, Outcome, table};

/// The document of a run that is over.
pub fn render(matrix: &Matrix) -> String {
    document(matrix, None)
}

/// The document of a run that goes on: `running` is an error until it is done, so that what brings the machine
/// down is found in what the crash has left.
pub fn render_running(matrix: &Matrix, running: &str) -> String {
    document(matrix, Some(running))
}

fn document(matrix: &Matrix, running: Option<&str>) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (i, column) in matrix.columns.iter().enumerate() {
        let running = running.filter(|_| i + 1 == matrix.columns.len());
        suite(column, running, &mut xml);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(column: &Column, running: Option<&str>, xml: &mut String) {
    let count = |wanted: fn(&Outcome) -> bool| {
        let cells = column.cells.iter();
        cells.filter(|c| wanted(&c.outcome)).count()
    };
    let failures = count(Outcome::is_failure);
    let skipped = count(|o| matches!(o, Outcome::Skipped(_)));
    let errors = usize::from(running.is_some());
    let seconds: f64 = column.cells.iter().map(|c| c.took.as_secs_f64()).sum();
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" \
         skipped=\"{skipped}\" time=\"{seconds:.3}\">",
        escape(&column.target),
        column.cells.len() + errors,
    );
    for cell in &column.cells {
        case(&column.target, cell, xml);
    }
    if let Some(name) = running {
        let _ = writeln!(
            xml,
            "    <testcase classname=\"{}\" name=\"{}\"><error message=\"has not ended\"/></testcase>",
            escape(&column.target),
            escape(name)
        );
    }
    xml.push_str("  </testsuite>\n");
}

fn case(target: &str, cell: &Cell, xml: &mut String) {
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        escape(target),
        escape(&cell.scenario),
        cell.took.as_secs_f64()
    );
    let lines = table::lines(&cell.outcome).join("\n");
    match &cell.outcome {
        Outcome::Skipped(why) => {
            let _ = writeln!(xml, "><skipped message=\"{}\"/></testcase>", escape(why));
        }
        outcome if outcome.is_failure() => {
            let first = lines.lines().next().unwrap_or_default();
            let _ = writeln!(
                xml,
                "><failure message=\"{}\">{}</failure></testcase>",
                escape(first),
                escape(&lines)
            );
        }
        _ if lines.is_empty() => xml.push_str("/>\n"),
        _ => {
            let _ = writeln!(
                xml,
                "><system-out>{}</system-out></testcase>",
                escape(&lines)
            );
        }
    }
}

/// Text as XML wants it; characters that XML cannot hold become `?`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts;
    use std::time::Duration;

    fn sample() -> Matrix {
        let hostile = facts::parse("k.<&\">=\u{1}]]>\n");
        let differs = super::super::judge(&facts::parse("k.v=1\n"), &hostile, &[]);
        let outcomes = [
            Outcome::Pass {
                equal: 3,
                listed: Vec::new(),
            },
            differs,
            Outcome::Skipped("no <device> & \"none\"".into()),
            Outcome::Unrecorded { facts: 2 },
        ];
        let cells = outcomes.into_iter().enumerate().map(|(i, outcome)| Cell {
            scenario: format!("case<{i}>"),
            outcome,
            took: Duration::from_millis(1500),
        });
        Matrix {
            columns: vec![Column {
                target: "nic:a&b".into(),
                cells: cells.collect(),
            }],
        }
    }

    #[test]
    fn what_runs_is_an_error_until_it_is_done() {
        let xml = render_running(&sample(), "the <next>");
        let document = roxmltree::Document::parse(&xml).expect("well-formed XML");
        let case = document.descendants().rfind(|n| n.has_tag_name("testcase"));
        let case = case.expect("a case");
        assert_eq!(case.attribute("name"), Some("the <next>"));
        assert!(case.children().any(|n| n.has_tag_name("error")));
        let suite = case.parent().expect("a suite");
        assert_eq!(suite.attribute("tests"), Some("5"));
        assert_eq!(suite.attribute("errors"), Some("1"));
    }

    #[test]
    fn the_document_is_well_formed_and_counts_right() {
        let xml = render(&sample());
        let document = roxmltree::Document::parse(&xml).expect("well-formed XML");
        let suite = document
            .descendants()
            .find(|n| n.has_tag_name("testsuite"))
            .expect("a suite");
        assert_eq!(suite.attribute("name"), Some("nic:a&b"));
        assert_eq!(suite.attribute("tests"), Some("4"));
        assert_eq!(suite.attribute("failures"), Some("2"));
        assert_eq!(suite.attribute("skipped"), Some("1"));
        assert_eq!(suite.attribute("time"), Some("6.000"));
        let cases: Vec<_> = suite
            .children()
            .filter(|n| n.has_tag_name("testcase"))
            .collect();
        assert_eq!(cases.len(), 4);
        assert_eq!(cases[0].attribute("name"), Some("case<0>"));
        let failure = cases[1].children().find(|n| n.has_tag_name("failure"));
        let text = failure.and_then(|n| n.text()).expect("both values");
        assert!(text.contains("k.v: expected 1, got (nothing)"), "{text}");
        assert!(
            text.contains("k.<&\">: expected (nothing), got ?]]>"),
            "{text}"
        );
    }
}
