//! The figures as a picture: a panel for each suite, a bar for each figure, with its range.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figure::{Figure, Unit};
use super::report::Report;

/// Pixels.
const WIDTH: u32 = 1000;
const MARGIN: i32 = 20;
/// Where the bars begin, and how long the longest is.
const LEFT: i32 = 470;
const LONGEST: i32 = 430;
const LINE: i32 = 18;
const TITLE: i32 = 40;
/// Times so many times as long as others in their panel are drawn as logarithms.
const APART: f64 = 30.0;

/// Colours of columns that are the first ones (limits, peers, what others are compared with), and of the others.
const FIRST: RGBColor = RGBColor(170, 170, 170);
const OTHERS: RGBColor = RGBColor(60, 120, 180);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Can it be written? A file is emptied.
pub fn prepare(path: &Path) -> Result<(), String> {
    let ready = match path.is_dir() {
        true => rustix::fs::access(path, rustix::fs::Access::WRITE_OK).map_err(Into::into),
        false => std::fs::write(path, ""),
    };
    ready.map_err(|e| format!("--svg {}: {e}", path.display()))
}

/// Writes `path`; if that is a directory, `bench-SUITE.svg` in there for each suite.
pub fn draw(path: &Path, report: &Report) -> Result<(), String> {
    let panels = panels(&report.figures);
    if !path.is_dir() {
        return picture(path, report, &panels);
    }
    for of_suite in panels.chunk_by(|a, b| suite(a) == suite(b)) {
        let file = path.join(format!("bench-{}.svg", suite(&of_suite[0])));
        picture(&file, report, of_suite)?;
    }
    Ok(())
}

fn suite<'a>(panel: &[&'a Figure]) -> &'a str {
    panel.first().map_or("", |figure| &figure.suite)
}

fn picture(path: &Path, report: &Report, panels: &[Vec<&Figure>]) -> Result<(), String> {
    let heights = panels
        .iter()
        .map(|figures| TITLE + LINE * figures.len() as i32);
    let head = TITLE + 2 * LINE;
    let height = (head + heights.sum::<i32>() + MARGIN) as u32;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    let drawn = || {
        area.fill(&WHITE)?;
        text(&area, (MARGIN, LINE), 18, HPos::Left, "uvale bench")?;
        text(
            &area,
            (MARGIN, 2 * LINE),
            12,
            HPos::Left,
            &report.machine.to_string(),
        )?;
        let load = format!(
            "load {:.2} at the start; medians of {} windows of {} ms, and their ranges",
            report.load, report.windows, report.window_ms
        );
        text(&area, (MARGIN, 3 * LINE), 12, HPos::Left, &load)?;
        let mut top = head;
        for figures in panels {
            panel(&area, top, figures)?;
            top += TITLE + LINE * figures.len() as i32;
        }
        area.present()
    };
    drawn().map_err(|e| format!("--svg {}: {e}", path.display()))
}

/// The figures of each suite that are counted alike; suites run one after the other.
fn panels(figures: &[Figure]) -> Vec<Vec<&Figure>> {
    let mut panels: Vec<Vec<&Figure>> = Vec::new();
    for figure in figures {
        let same = |f: &&Figure| (&f.suite, f.unit) == (&figure.suite, figure.unit);
        match panels.iter_mut().find(|panel| panel.iter().any(same)) {
            Some(panel) => panel.push(figure),
            None => panels.push(vec![figure]),
        }
    }
    panels
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn panel(area: &Area<'_>, top: i32, figures: &[&Figure]) -> Drawn {
    let Some(first) = figures.first() else {
        return Ok(());
    };
    let scale = Scale::of(figures);
    let kind = if scale.least.is_some() {
        ", logarithmic"
    } else {
        ""
    };
    let title = format!("{} ({}{kind})", first.suite, name(first.unit));
    text(area, (MARGIN, top + TITLE - LINE), 15, HPos::Left, &title)?;
    let long = |value: f64| LEFT + (scale.share(value) * f64::from(LONGEST)) as i32;
    for (i, figure) in figures.iter().enumerate() {
        let y = top + TITLE + LINE * i as i32;
        let middle = y + LINE / 2;
        let label = format!("{}: {}", figure.case, figure.what);
        text(area, (LEFT - 8, middle), 12, HPos::Right, &label)?;
        let colour = if figure.ratios.is_empty() {
            FIRST
        } else {
            OTHERS
        };
        let range = figure.range;
        let bar = [(LEFT, y + 3), (long(range.median), y + LINE - 3)];
        area.draw(&Rectangle::new(bar, colour.filled()))?;
        let whisker = vec![(long(range.least), middle), (long(range.most), middle)];
        area.draw(&PathElement::new(whisker, BLACK.stroke_width(1)))?;
        let ratio = figure.ratios.first();
        let ratio = ratio.map(|r| format!(" ({:.2} of {})", r.range.median, r.of));
        let value = format!("{:.2}{}", range.median, ratio.unwrap_or_default());
        // Beside a bar that leaves no room it is written over its end.
        let room = WIDTH as i32 - MARGIN - long(range.most);
        let needed = 7 * value.len() as i32;
        let (x, side) = match needed < room {
            true => (long(range.most) + 6, HPos::Left),
            false => (WIDTH as i32 - MARGIN, HPos::Right),
        };
        text(area, (x, middle), 12, side, &value)?;
    }
    Ok(())
}

/// How long bars are.
struct Scale {
    /// what a bar of no length stands for, where lengths are logarithms
    least: Option<f64>,
    most: f64,
}

impl Scale {
    /// Times are so far apart that on a linear scale nothing could be seen of most of them.
    fn of(figures: &[&Figure]) -> Self {
        let of = |value: fn(&Figure) -> f64| figures.iter().map(move |f| value(f));
        let most = of(|f| f.range.most).fold(f64::MIN_POSITIVE, f64::max);
        let least = of(|f| f.range.least).fold(most, f64::min);
        let times = figures.iter().all(|f| f.unit == Unit::Microseconds);
        let apart = times && least > 0.0 && most > APART * least;
        Self {
            least: apart.then_some(least / 2.0),
            most,
        }
    }

    /// Of the longest bar.
    fn share(&self, value: f64) -> f64 {
        match self.least {
            Some(least) => (log2(value / least) / log2(self.most / least)).max(0.0),
            None => value / self.most,
        }
    }
}

fn name(unit: Unit) -> &'static str {
    match unit {
        Unit::Mpps => "million packets or messages a second",
        Unit::Microseconds => "microseconds",
        Unit::Nanoseconds => "nanoseconds",
        Unit::Kilobytes => "kilobytes",
    }
}

fn text(area: &Area<'_>, at: (i32, i32), size: i32, side: HPos, text: &str) -> Drawn {
    let style = TextStyle::from(("sans-serif", size).into_font()).color(&BLACK);
    area.draw(&Text::new(
        text,
        at,
        style.pos(Pos::new(side, VPos::Center)),
    ))
}

/// The logarithm of a positive number, straight between powers of two, which is enough for a bar: a better one would
/// need one more library than the C library.
fn log2(value: f64) -> f64 {
    const MANTISSA: f64 = (1u64 << 52) as f64;
    value.to_bits() as f64 / MANTISSA - 1023.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Case, Range};
    use crate::machine::Machine;
    use crate::report::{FORMAT, VERSION};

    fn figure(suite: &str, unit: Unit, value: f64) -> Figure {
        Figure {
            suite: suite.into(),
            case: Case::of(60, 1),
            what: "a < b & c".into(),
            unit,
            range: Range::exactly(value),
            sent: None,
            wakeups: None,
            windows: 1,
            disturbed: false,
            ratios: Vec::new(),
        }
    }

    #[test]
    fn a_picture_has_every_suite_and_a_bar_for_each_figure() {
        let dir = std::env::temp_dir().join(format!("uvale-bench-plot-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("figures.svg");
        let figures = vec![
            figure("vale", Unit::Mpps, 1.0),
            figure("latency", Unit::Microseconds, 2.0),
            figure("vale", Unit::Mpps, 0.0),
        ];
        assert_eq!(panels(&figures).len(), 2);
        let report = Report {
            format: FORMAT.into(),
            version: VERSION,
            machine: Machine::this(),
            processors: vec![0, 1],
            load: 0.0,
            window_ms: 50,
            windows: 1,
            figures,
            targets: Vec::new(),
            compared: Vec::new(),
            against: Vec::new(),
            skipped: Vec::new(),
            notes: Vec::new(),
        };
        let drawn = draw(&path, &report);
        let each = draw(&dir, &report);
        let name = |suite| dir.join(format!("bench-{suite}.svg"));
        let of_suites = ["vale", "latency"].map(|s| std::fs::read_to_string(name(s)));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        drawn.unwrap();
        each.unwrap();
        let bars = of_suites.map(|text| text.unwrap().matches("a &lt; b &amp; c").count());
        assert_eq!(bars, [2, 1]);
        assert_eq!(text.matches("a &lt; b &amp; c").count(), 3);
        let blue = text.matches("#AAAAAA").count();
        assert_eq!(blue, 3, "{text}");
        assert!(text.contains("latency (microseconds)") && text.trim_end().ends_with("</svg>"));
        let nowhere = dir.join("none/figures.svg");
        for wrong in [draw(&nowhere, &report), prepare(&nowhere)] {
            assert!(wrong.unwrap_err().starts_with("--svg "));
        }
    }

    #[test]
    fn times_far_apart_are_logarithms() {
        let [short, long] = [1.0, 1000.0].map(|value| figure("latency", Unit::Microseconds, value));
        let scale = Scale::of(&[&short, &long]);
        let shares = [0.1, 0.5, 1.0, 1000.0].map(|value| scale.share(value));
        assert_eq!((shares[0], shares[1], shares[3]), (0.0, 0.0, 1.0));
        assert!((0.05..0.15).contains(&shares[2]), "{shares:?}");
        let rates = [1.0, 1000.0].map(|value| figure("vale", Unit::Mpps, value));
        assert_eq!(Scale::of(&[&rates[0], &rates[1]]).share(1.0), 0.001);
    }
}
