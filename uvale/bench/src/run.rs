//! A run of the benchmark: what suites measure with it, and what is said of that.

use std::cell::OnceCell;
use std::time::Duration;

use uvale_tools::output;

use super::contest::{Bench, Contest, Held, Kind};
use super::cpus;
use super::figure::Figure;
use super::machine::{Machine, load};
use super::measure::Windows;
use super::options::Args;
use super::report::{FORMAT, Report, VERSION};
use super::table;

/// A run.
pub struct Run {
    pub args: Args,
    pub report: Report,
    pub windows: Windows,
    /// the head of the last line that was printed
    head: String,
    /// Why something could not be written.
    unwritten: OnceCell<String>,
}

impl Run {
    /// With those options.
    pub fn new(args: Args) -> Self {
        let (length, wanted) = if args.quick { (40, 5) } else { (50, 7) };
        let (length, wanted) = (
            args.window.unwrap_or(length),
            args.windows.unwrap_or(wanted),
        );
        let windows = Windows {
            length: Duration::from_millis(length),
            wanted: wanted as usize,
            pause: Duration::from_millis(if args.real_time { 20 } else { 2 }),
        };
        let report = Report {
            format: FORMAT.into(),
            version: VERSION,
            machine: Machine::this(),
            processors: cpus::usable(),
            load: load(),
            window_ms: length,
            windows: windows.wanted,
            figures: Vec::new(),
            targets: Vec::new(),
            compared: Vec::new(),
            against: Vec::new(),
            skipped: Vec::new(),
            notes: Vec::new(),
        };
        Self {
            args,
            report,
            windows,
            head: String::new(),
            unwritten: OnceCell::new(),
        }
    }

    /// The beginning of a suite's output, or of a part of it.
    pub fn title(&mut self, title: &str) {
        self.head.clear();
        self.say(&format!("\n{title}"));
    }

    /// Holds a contest, with the usual windows unless there are others.
    pub fn hold(&mut self, bench: &Bench, contest: Contest) -> Option<Vec<Vec<Figure>>> {
        self.hold_for(bench, contest, self.windows)
    }

    /// The same with windows of its own.
    pub fn hold_for(
        &mut self,
        bench: &Bench,
        contest: Contest,
        windows: Windows,
    ) -> Option<Vec<Vec<Figure>>> {
        let (name, kind) = (format!("{}, {}", contest.suite, contest.case), contest.kind);
        match bench.hold(contest, windows) {
            Ok(Held {
                figures,
                differences,
            }) => {
                self.show(kind, &figures);
                for difference in differences {
                    self.say(&format!("  other build: {}", difference.line()));
                    self.report.against.push(difference);
                }
                self.report
                    .figures
                    .extend(figures.iter().flatten().cloned());
                Some(figures)
            }
            Err(why) => {
                self.skip(format!("{name}: {why}"));
                None
            }
        }
    }

    fn show(&mut self, kind: Kind, figures: &[Vec<Figure>]) {
        if kind == Kind::Latency {
            table::latencies(figures)
                .iter()
                .for_each(|line| self.say(line));
            return;
        }
        let figures: Vec<&Figure> = figures.iter().flatten().collect();
        let head = table::head(&figures);
        if head != self.head {
            self.say(&head);
            self.head = head;
        }
        self.say(&table::line(&figures));
    }

    /// A line of figures that no contest has made.
    pub fn add(&mut self, figures: &[Figure]) {
        self.show(Kind::Rate, &[figures.to_vec()]);
        self.report.figures.extend_from_slice(figures);
    }

    /// Says what is not measured, and why.
    pub fn skip(&mut self, what: String) {
        self.say(&format!("skipped: {what}"));
        self.report.skipped.push(what);
    }

    /// Says what makes the figures less certain.
    pub fn note(&mut self, what: &str) {
        self.say(what);
        self.report.notes.push(what.into());
    }

    /// A line for people.
    pub fn say(&self, line: &str) {
        if !self.args.json {
            self.write(&format!("{line}\n"));
        }
    }

    /// Writes to standard output.
    pub fn write(&self, text: &str) {
        if let Err(why) = output::write(text) {
            let _ = self.unwritten.set(why);
        }
    }

    /// The end: an error if something could not be written.
    pub fn end(self) -> Result<(), String> {
        self.unwritten.into_inner().map_or(Ok(()), Err)
    }
}
