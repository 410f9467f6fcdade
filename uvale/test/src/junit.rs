//! JUnit XML: a suite for each file, a case for each run. The file is whole at any time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use uvale_tools::output::plain;

use crate::plan::Verdict;
use crate::result::Finished;

/// How often the file is written anew while cases run.
const INTERVAL: Duration = Duration::from_secs(1);

/// The file, written again and again.
pub struct Junit {
    path: PathBuf,
    report: Report,
    written: Instant,
}

impl Junit {
    /// Begins the file, so that a place where none can be written is told before anything runs.
    ///
    /// # Errors
    /// A sentence.
    pub fn begin(path: &Path) -> Result<Self, String> {
        let mut junit = Junit {
            path: path.to_owned(),
            report: Report::new("uvale test"),
            written: Instant::now(),
        };
        junit.write()?;
        Ok(junit)
    }

    /// Adds a run.
    ///
    /// # Errors
    /// A sentence.
    pub fn add(&mut self, finished: &Finished) -> Result<(), String> {
        let (suite, name) = finished.id.split_once('/').unwrap_or(("", &finished.id));
        let mut case = TestCase::new(name, status(finished));
        case.set_classname(suite);
        case.set_time(finished.took);
        if !finished.notes.is_empty() {
            case.set_system_out(finished.notes.join("\n"));
        }
        if !matches!(finished.verdict, Verdict::Passed | Verdict::Skipped(_)) {
            case.set_system_err(&finished.said);
        }
        let suites = &mut self.report.test_suites;
        let at = suites.iter().position(|s| s.name.as_str() == suite);
        let at = at.unwrap_or_else(|| {
            suites.push(TestSuite::new(suite));
            suites.len() - 1
        });
        suites[at].add_test_case(case);
        match self.written.elapsed() < INTERVAL {
            true => Ok(()),
            false => self.write(),
        }
    }

    /// Writes the whole of it: next to the file first, unless it is no regular one.
    ///
    /// # Errors
    /// A sentence.
    pub fn write(&mut self) -> Result<(), String> {
        self.written = Instant::now();
        let text = rendered(&mut self.report)?;
        put(&self.path, text.as_bytes())
            .map_err(|error| format!("--junit {}: {}", self.path.display(), plain(&error)))
    }
}

fn rendered(report: &mut Report) -> Result<String, String> {
    // quick-junit counts cases as they are added to suites, and suites as they are added to reports
    let sum = |count: fn(&TestSuite) -> usize, suites: &[TestSuite]| suites.iter().map(count).sum();
    report.tests = sum(|s| s.tests, &report.test_suites);
    report.failures = sum(|s| s.failures, &report.test_suites);
    report.errors = sum(|s| s.errors, &report.test_suites);
    report.skipped = sum(|s| s.skipped, &report.test_suites);
    for suite in &mut report.test_suites {
        suite.time = Some(suite.test_cases.iter().filter_map(|case| case.time).sum());
    }
    report.time = Some(
        report
            .test_suites
            .iter()
            .filter_map(|suite| suite.time)
            .sum(),
    );
    report
        .to_string()
        .map_err(|error| format!("--junit: {error}"))
}

fn status(finished: &Finished) -> TestCaseStatus {
    let not = |kind, text: &str| {
        let mut status = TestCaseStatus::non_success(kind);
        let mut whole = text.to_owned();
        if let Some(kept) = &finished.kept {
            whole.push_str(&format!("\nkept: {}", kept.display()));
        }
        whole.push_str(&format!("\nagain: {}", finished.again));
        status.set_message(text.lines().next().unwrap_or_default());
        status.set_description(whole);
        status
    };
    match &finished.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed { line, why } => {
            let at = line.map_or(String::new(), |line| {
                format!("{}:{line}: ", finished.path.display())
            });
            not(NonSuccessKind::Failure, &format!("{at}{why}"))
        }
        Verdict::Error(why) => not(NonSuccessKind::Error, why),
        Verdict::Skipped(why) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(why.as_str());
            status
        }
    }
}

/// Writes a file as a whole: what was there stays until all of the new one is on the disk.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return fs::OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all(bytes);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What XML has to escape, and what it cannot hold.
    const HOSTILE: &str = "<&\">']]>\u{1}\u{fffe}\u{1b}[31m\u{e4}\n";

    fn finished(id: &str, verdict: Verdict) -> Finished {
        Finished {
            id: id.into(),
            path: "a<b>.toml".into(),
            verdict,
            took: Duration::from_millis(1500),
            digest: None,
            said: HOSTILE.into(),
            kept: Some("kept & found".into()),
            notes: vec![HOSTILE.into()],
            again: "uvale test a --only '<>'".into(),
        }
    }

    #[test]
    fn everything_is_escaped_and_counted() {
        let path = std::env::temp_dir().join(format!("uvale-junit-{}.xml", std::process::id()));
        let mut junit = Junit::begin(&path).unwrap();
        let read = || fs::read(&path).unwrap();
        let empty = Report::deserialize(&read()[..]).unwrap();
        assert_eq!((empty.tests, empty.test_suites.len()), (0, 0));
        let failed = Verdict::Failed {
            line: Some(7),
            why: HOSTILE.into(),
        };
        for (name, verdict) in [
            ("one/a", Verdict::Passed),
            ("one/<b>", failed),
            ("two/c", Verdict::Error(HOSTILE.into())),
            ("two/d", Verdict::Skipped(HOSTILE.into())),
        ] {
            junit.add(&finished(name, verdict)).unwrap();
        }
        junit.write().unwrap();
        let report = Report::deserialize(&read()[..]).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(
            (report.tests, report.failures, report.errors, report.skipped),
            (4, 1, 1, 1)
        );
        assert_eq!(report.test_suites.len(), 2);
        let case = &report.test_suites[0].test_cases[1];
        assert_eq!(case.name.as_str(), "<b>");
        let TestCaseStatus::NonSuccess {
            message,
            description,
            ..
        } = &case.status
        else {
            panic!("{:?}", case.status);
        };
        let message = message.as_ref().unwrap().as_str();
        assert!(message.starts_with("a<b>.toml:7: <&\">']]>"), "{message}");
        let description = description.as_ref().unwrap().as_str();
        assert!(description.contains("kept: kept & found") && description.contains("--only '<>'"));
    }

    #[test]
    fn a_place_where_nothing_can_be_written_is_told_and_leaves_what_was_there() {
        for path in ["/dev/full", "/nosuch/file.xml", "/proc/self/x.xml"] {
            let why = Junit::begin(Path::new(path)).err().expect(path);
            assert!(why.starts_with(&format!("--junit {path}: ")), "{why}");
        }
        let path =
            std::env::temp_dir().join(format!("uvale-junit-part-{}.xml", std::process::id()));
        let mut junit = Junit::begin(&path).unwrap();
        let before = fs::read(&path).unwrap();
        junit.path = path.join("not a folder");
        assert!(junit.write().is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::remove_file(&path).unwrap();
    }
}
