//! What has come of a run: its process's answer, or what is to be said where there is none; and whether repetitions
//! agree.

use std::path::PathBuf;
use std::time::Duration;

use crate::plan::{Outcome, Verdict};
use crate::schedule::{Ended, How};

/// A run that is over.
pub struct Finished {
    /// with the number of its repetition
    pub id: String,
    /// the file as it was named
    pub path: PathBuf,
    pub verdict: Verdict,
    pub took: Duration,
    /// of what was sent and received
    pub digest: Option<String>,
    /// what its process said: lines of programs, and its own
    pub said: String,
    /// where captures and logs are
    pub kept: Option<PathBuf>,
    /// what else is to be known
    pub notes: Vec<String>,
    /// the command that repeats it
    pub again: String,
}

/// Lines of a process that has not answered that are shown.
const LAST_LINES: usize = 20;

/// What the end of a run's process means; `None` if it was stopped.
pub fn judge(ended: &Ended) -> Option<(Verdict, Option<String>)> {
    let answer = serde_json::from_slice::<Outcome>(&ended.out);
    if let (How::Exited(_), Ok(answer)) = (&ended.how, answer) {
        return Some((answer.result, Some(answer.digest)));
    }
    let how = match &ended.how {
        How::Stopped => return None,
        How::NotStarted(why) => why.clone(),
        How::TooLong(limit) => format!(
            "it was ended because it had not ended by itself after {}",
            humantime::format_duration(*limit)
        ),
        How::Exited(status) => match status.code() {
            Some(code) => format!("its process ended with status {code} and no answer"),
            None => format!("its process ended without an answer: {status}"),
        },
    };
    let last = last_lines(&ended.err, LAST_LINES);
    let why = match last.is_empty() {
        true => how,
        false => format!("{how}; the last it said:\n{last}"),
    };
    Some((Verdict::Error(why), None))
}

/// The last lines of a text.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The digests of a case's repetitions, which have the same seed.
#[derive(Default)]
pub struct Repetitions {
    first: Option<(String, String)>,
}

impl Repetitions {
    /// Compares a repetition with the first one that ended: what differs, in a sentence.
    pub fn compare(&mut self, id: &str, digest: &str) -> Option<String> {
        match &self.first {
            None => {
                self.first = Some((id.to_owned(), digest.to_owned()));
                None
            }
            Some((_, first)) if first == digest => None,
            Some((other, _)) => Some(format!(
                "what was sent and received is not the same as in {other}, with the same seed"
            )),
        }
    }
}

/// Counts of all runs.
#[derive(Clone, Copy, Default, serde::Serialize)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub errors: usize,
    pub skipped: usize,
}

impl Counts {
    /// One more.
    pub fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed { .. } => self.failed += 1,
            Verdict::Error(_) => self.errors += 1,
            Verdict::Skipped(_) => self.skipped += 1,
        }
    }

    /// Whether nothing went wrong.
    pub fn are_good(&self) -> bool {
        self.failed + self.errors == 0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn ended(how: How, out: &str, err: &str) -> Ended {
        Ended {
            how,
            out: out.into(),
            err: err.into(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn an_answer_is_taken_and_its_absence_is_an_error() {
        let passed = serde_json::to_string(&Outcome {
            result: Verdict::Passed,
            took: Duration::ZERO,
            digest: "d".into(),
        });
        let passed = passed.unwrap();
        let exited = |status| How::Exited(ExitStatus::from_raw(status));
        let verdict = judge(&ended(exited(0), &passed, ""));
        assert!(matches!(verdict, Some((Verdict::Passed, Some(digest))) if digest == "d"));
        for (how, out, why) in [
            (
                exited(1 << 8),
                "",
                "status 1 and no answer; the last it said:\nwords\nlast words",
            ),
            (exited(0), &passed[..10], "status 0 and no answer"),
            (exited(11), "", "signal: 11"),
            (
                How::TooLong(Duration::from_secs(61)),
                &passed,
                "after 1m 1s",
            ),
            (How::NotStarted("cannot run x".into()), "", "cannot run x"),
        ] {
            match judge(&ended(how, out, "words\nlast words\n")) {
                Some((Verdict::Error(said), None)) => assert!(said.contains(why), "{said}"),
                _ => panic!("{why}"),
            }
        }
        assert!(judge(&ended(How::Stopped, &passed, "")).is_none());
    }

    #[test]
    fn repetitions_are_compared_with_the_first() {
        let mut all = Repetitions::default();
        assert_eq!(all.compare("a #2", "x"), None);
        assert_eq!(all.compare("a #1", "x"), None);
        assert!(all.compare("a #3", "y").unwrap().contains("as in a #2"));
    }
}
