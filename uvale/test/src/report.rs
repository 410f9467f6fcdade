//! What a person reads: a line for each run, all of a failure, and a sum; or one JSON object.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use serde::Serialize;
use uvale_tools::output;

use crate::plan::Verdict;
use crate::result::{Counts, Finished};

/// Where and how it is written.
pub struct Report {
    has_colours: bool,
    is_verbose: bool,
    /// kept for the one object at the end
    json: Option<Vec<Finished>>,
    pub counts: Counts,
    /// the first thing that went wrong on standard output
    pub unwritten: Option<String>,
}

/// Terminal sequences.
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// Of what lines below a run begin with.
const INDENT: &str = "        ";

impl Report {
    /// A report; `is_json`: as one object, lines go to standard error then.
    pub fn new(is_json: bool, is_verbose: bool) -> Self {
        let is_terminal = match is_json {
            true => std::io::stderr().is_terminal(),
            false => std::io::stdout().is_terminal(),
        };
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Report {
            has_colours: is_terminal && !is_set("NO_COLOR") && !is_dumb,
            is_verbose,
            json: is_json.then(Vec::new),
            counts: Counts::default(),
            unwritten: None,
        }
    }

    /// A run is over.
    pub fn add(&mut self, finished: Finished) {
        self.counts.add(&finished.verdict);
        let text = self.lines(&finished);
        self.write(&text);
        if let Some(all) = &mut self.json {
            all.push(finished);
        }
    }

    /// All runs are over. `stopped`: so many were to be run, but a signal came.
    pub fn end(&mut self, took: Duration, seed: u64, stopped: Option<usize>) {
        let Counts {
            passed,
            failed,
            errors,
            skipped,
        } = self.counts;
        let mut parts = vec![format!("{passed} passed")];
        for (count, what) in [
            (failed, "failed"),
            (errors, "with errors"),
            (skipped, "skipped"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        let colour = if self.counts.are_good() { GREEN } else { RED };
        let mut line = self.coloured(colour, &parts.join(", "));
        let _ = write!(line, " in {:.1} s", took.as_secs_f64());
        if let Some(wanted) = stopped {
            let _ = write!(line, "; interrupted, {wanted} were to run");
        }
        self.write(&(line + "\n"));
        if let Some(all) = self.json.take() {
            let text = json(&all, self.counts, took, seed, stopped.is_some());
            self.note(output::write(&(text + "\n")));
        }
    }

    fn write(&mut self, text: &str) {
        match self.json {
            Some(_) => output::line(format_args!("{}", text.trim_end_matches('\n'))),
            None => {
                let written = output::write(text);
                self.note(written);
            }
        }
    }

    fn note(&mut self, written: Result<(), String>) {
        if let Err(why) = written {
            self.unwritten.get_or_insert(why);
        }
    }

    fn coloured(&self, colour: &str, text: &str) -> String {
        match self.has_colours {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn lines(&self, finished: &Finished) -> String {
        let (word, colour) = match &finished.verdict {
            Verdict::Passed => ("passed", GREEN),
            Verdict::Failed { .. } => ("FAILED", RED),
            Verdict::Error(_) => ("ERROR ", RED),
            Verdict::Skipped(_) => ("skipped", YELLOW),
        };
        let word = self.coloured(colour, word);
        let mut text = format!("{word}  {}", printable(&finished.id));
        match &finished.verdict {
            Verdict::Skipped(why) => {
                let _ = writeln!(text, ": {}", printable(why));
            }
            _ => {
                let _ = writeln!(text, "  {:.2} s", finished.took.as_secs_f64());
            }
        }
        match &finished.verdict {
            Verdict::Failed { line, why } => {
                let at = line.map_or(String::new(), |line| {
                    format!("{}:{line}: ", finished.path.display())
                });
                indent(&mut text, &format!("{at}{why}"));
            }
            Verdict::Error(why) => indent(&mut text, why),
            Verdict::Passed | Verdict::Skipped(_) => {}
        }
        for note in &finished.notes {
            indent(&mut text, &format!("note: {note}"));
        }
        if self.is_verbose {
            indent(&mut text, &finished.said);
        }
        if let Some(kept) = &finished.kept {
            indent(&mut text, &format!("kept: {}", kept.display()));
        }
        if !matches!(finished.verdict, Verdict::Passed | Verdict::Skipped(_)) {
            indent(&mut text, &format!("again: {}", finished.again));
        }
        text
    }
}

/// Lines below a run's.
fn indent(text: &mut String, lines: &str) {
    for line in lines.trim_end().lines() {
        let _ = writeln!(text, "{INDENT}{}", printable(line));
    }
}

/// Without characters that would move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\t' { '?' } else { c })
        .collect()
}

/// A word as a shell reads it.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    counts: Counts,
    seconds: f64,
    seed: u64,
    interrupted: bool,
    runs: Vec<Run<'a>>,
}

#[derive(Serialize)]
struct Run<'a> {
    id: &'a str,
    file: String,
    line: Option<usize>,
    result: &'static str,
    why: Option<&'a str>,
    seconds: f64,
    digest: Option<&'a str>,
    notes: &'a [String],
    kept: Option<String>,
    again: &'a str,
}

fn json(all: &[Finished], counts: Counts, took: Duration, seed: u64, interrupted: bool) -> String {
    let runs = all.iter().map(|finished| {
        let (result, line, why) = match &finished.verdict {
            Verdict::Passed => ("passed", None, None),
            Verdict::Failed { line, why } => ("failed", *line, Some(why.as_str())),
            Verdict::Error(why) => ("error", None, Some(why.as_str())),
            Verdict::Skipped(why) => ("skipped", None, Some(why.as_str())),
        };
        Run {
            id: &finished.id,
            file: finished.path.display().to_string(),
            line,
            result,
            why,
            seconds: finished.took.as_secs_f64(),
            digest: finished.digest.as_deref(),
            notes: &finished.notes,
            kept: finished
                .kept
                .as_ref()
                .map(|kept| kept.display().to_string()),
            again: &finished.again,
        }
    });
    let summary = Summary {
        counts,
        seconds: took.as_secs_f64(),
        seed,
        interrupted,
        runs: runs.collect(),
    };
    serde_json::to_string(&summary).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_all_that_is_needed() {
        let finished = Finished {
            id: "firewall/a\u{1b}b".into(),
            path: "firewall.toml".into(),
            verdict: Verdict::Failed {
                line: Some(31),
                why: "expected\n  ip.ttl 64 -> 63".into(),
            },
            took: Duration::from_millis(310),
            digest: Some("d".into()),
            said: "a program's words".into(),
            kept: Some("kept/here".into()),
            notes: vec!["a note".into()],
            again: "uvale test firewall.toml".into(),
        };
        let mut report = Report {
            has_colours: false,
            is_verbose: true,
            json: None,
            counts: Counts::default(),
            unwritten: None,
        };
        let expected = "\
FAILED  firewall/a?b  0.31 s
        firewall.toml:31: expected
          ip.ttl 64 -> 63
        note: a note
        a program's words
        kept: kept/here
        again: uvale test firewall.toml
";
        assert_eq!(report.lines(&finished), expected);
        report.has_colours = true;
        assert!(
            report
                .lines(&finished)
                .starts_with("\x1b[31mFAILED\x1b[0m  ")
        );
        let text = json(
            &[finished],
            Counts::default(),
            Duration::from_secs(1),
            7,
            false,
        );
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["seed"], 7);
        assert_eq!(value["passed"], 0);
        assert_eq!(value["runs"][0]["line"], 31);
        assert_eq!(value["runs"][0]["result"], "failed");
    }

    #[test]
    fn words_come_back_from_a_shell_as_they_were() {
        for word in ["", "plain-1.toml", "it's", "a b", "$x `y` \"z\" \\ *", "\n"] {
            let line = format!("printf %s {}", quoted(word));
            let out = std::process::Command::new("sh")
                .args(["-c", &line])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), word);
        }
    }
}
