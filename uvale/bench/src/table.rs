//! Tables as the figures come in: a line for each case, a column for each figure and for each of its ratios.

use super::figure::Figure;

/// Beyond this spread of the first column the absolute figures say little: on a virtual machine the host may move the
/// processors about, near to each other and far from each other.
const UNSTEADY: f64 = 1.5;
/// Width of the case.
const CASE: usize = 34;
/// Head of the column that says how many wake-ups there were for each thousand packets.
const WOKEN: &str = " wakes/1000";

/// The head of a table with such lines.
pub fn head(figures: &[&Figure]) -> String {
    let mut head = format!("{:CASE$}", "");
    for figure in figures {
        head += &format!(" {:>width$}", figure.what, width = width(figure));
        for ratio in &figure.ratios {
            let of = format!("/{}", ratio.of);
            head += &format!(" {of:>width$}", width = of.len().max(6));
        }
        if figure.wakeups.is_some() {
            head += WOKEN;
        }
    }
    head
}

fn width(figure: &Figure) -> usize {
    figure.what.len().max(8)
}

/// A line: medians, and remarks on how certain they are.
pub fn line(figures: &[&Figure]) -> String {
    let case = figures.first().map(|f| f.case.to_string());
    let mut line = format!("{:CASE$}", case.unwrap_or_default());
    for figure in figures {
        let digits = if figure.range.median < 1.0 { 3 } else { 2 };
        let width = width(figure);
        line += &format!(" {:>width$.digits$}", figure.range.median);
        for ratio in &figure.ratios {
            let width = (ratio.of.len() + 1).max(6);
            line += &format!(" {:>width$.2}", ratio.range.median);
        }
        if let Some(woken) = figure.wakeups {
            line += &format!("{:>width$.2}", woken.median, width = WOKEN.len());
        }
    }
    line + &remark(figures)
}

fn remark(figures: &[&Figure]) -> String {
    let mut remark = String::new();
    let lost = |f: &&Figure| Some((1.0 - f.range.median / f.sent?) * 100.0);
    // Of a contest some columns may lose nothing: the largest loss is told.
    let most = figures.iter().filter_map(lost).fold(0.0, f64::max);
    if most >= 1.0 {
        remark += &format!("  (up to {most:.0} % lost)");
    }
    if figures.iter().any(|f| f.disturbed) {
        return remark + "  disturbed";
    }
    match figures.first() {
        Some(first) if first.range.most > UNSTEADY * first.range.least => {
            let spread = first.range.most / first.range.least;
            remark + &format!("  unsteady ({spread:.1}x)")
        }
        _ => remark,
    }
}

/// Lines of latencies: one for each column.
pub fn latencies(columns: &[Vec<Figure>]) -> Vec<String> {
    let line = |column: &Vec<Figure>| {
        let first = column.first()?;
        let name = first.what.strip_suffix(" p50").unwrap_or(&first.what);
        let case = format!("{}, {name}", first.case);
        let mut line = format!("{case:<44}");
        for figure in column {
            let percentile = figure.what.rsplit(' ').next().unwrap_or_default();
            line += &format!("  {percentile} {:>9.2}", figure.range.median);
        }
        line += " us";
        for ratio in &first.ratios {
            line += &format!("  p50 /{} {:.2}", ratio.of, ratio.range.median);
        }
        if let Some(woken) = first.wakeups {
            line += &format!("  wakes/1000 {:.2}", woken.median);
        }
        Some(line + if first.disturbed { "  disturbed" } else { "" })
    };
    columns.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Case, Range, Ratio, Unit};

    fn figure(what: &str, [least, median, most]: [f64; 3], of: &[&str]) -> Figure {
        let ratio = |of: &&str| Ratio {
            of: of.to_string(),
            range: Range::exactly(0.5),
        };
        Figure {
            suite: "vale".into(),
            case: Case::of(60, 8),
            what: what.into(),
            unit: Unit::Mpps,
            range: Range {
                median,
                least,
                most,
            },
            sent: None,
            wakeups: None,
            windows: 3,
            disturbed: false,
            ratios: of.iter().map(ratio).collect(),
        }
    }

    #[test]
    fn heads_and_lines_have_the_same_columns() {
        let limit = figure("limit", [9.0, 10.0, 11.0], &[]);
        let long = figure(
            "a column with a long name",
            [4.0, 5.0, 6.0],
            &["limit", "x"],
        );
        let blocking = Figure {
            wakeups: Some(Range::exactly(12.5)),
            ..figure("blocking", [4.0, 5.0, 6.0], &["limit"])
        };
        let figures = [&limit, &long, &blocking];
        let (head, line) = (head(&figures), line(&figures));
        assert_eq!(head.len(), line.len(), "{head}\n{line}");
        assert!(line.starts_with("60 bytes, batch 8 ") && line.ends_with("0.50      12.50"));
    }

    #[test]
    fn remarks() {
        let unsteady = figure("limit", [5.0, 10.0, 11.0], &[]);
        assert!(line(&[&unsteady]).ends_with("unsteady (2.2x)"));
        let disturbed = Figure {
            disturbed: true,
            sent: Some(20.0),
            ..unsteady
        };
        assert!(line(&[&disturbed]).ends_with("(up to 50 % lost)  disturbed"));
    }

    #[test]
    fn a_line_for_each_column_of_latencies() {
        let column = ["VALE p50", "VALE p99"].map(|what| figure(what, [1.0; 3], &["limit"]));
        let lines = latencies(&[column.to_vec()]);
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].contains("p50      1.00  p99      1.00 us  p50 /limit 0.50"),
            "{}",
            lines[0]
        );
    }
}
