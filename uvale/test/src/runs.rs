//! The runs of all files: which there are, and how they are run from preparation to the last report.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use uvale_tools::output;

use crate::file::{Case, File};
use crate::junit::Junit;
use crate::keep::{self, Temporary};
use crate::plan::{LONGEST_WAIT, Run, Verdict};
use crate::report::{Report, quoted};
use crate::result::{Finished, Repetitions, judge, last_lines};
use crate::schedule::{self, Ended, How, Job, Stop};

/// One run of a case.
pub struct One {
    /// of the file
    file: usize,
    /// of the case within its file
    case: usize,
    id: String,
    /// of its case
    case_id: String,
    again: String,
}

/// Runs in their order.
pub struct Runs(Vec<One>);

impl Runs {
    /// Every repetition of every case. `again` is the command that repeats one.
    pub fn of(files: &[File], again: &dyn Fn(&Path, &str) -> String) -> Self {
        let mut all = Vec::new();
        for (file_number, file) in files.iter().enumerate() {
            for (case_number, case) in file.cases.iter().enumerate() {
                for repetition in 1..=case.repeat {
                    let id = match case.repeat {
                        1 => case.id.clone(),
                        _ => format!("{} #{repetition}", case.id),
                    };
                    all.push(One {
                        file: file_number,
                        case: case_number,
                        again: again(&file.path, &id),
                        case_id: case.id.clone(),
                        id,
                    });
                }
            }
        }
        Runs(all)
    }

    /// Those that are chosen by the ids of their cases and their own.
    pub fn only(self, choose: impl FnOnce(&[(&str, &str)]) -> Vec<bool>) -> Self {
        let ids: Vec<_> = self
            .0
            .iter()
            .map(|one| (one.case_id.as_str(), one.id.as_str()))
            .collect();
        let chosen = choose(&ids);
        let all = self.0.into_iter().zip(chosen);
        Runs(
            all.filter_map(|(one, is_chosen)| is_chosen.then_some(one))
                .collect(),
        )
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids, one a line, or as a JSON array.
    pub fn list(&self, is_json: bool) -> String {
        let ids: Vec<&str> = self.0.iter().map(|one| one.id.as_str()).collect();
        match is_json {
            true => serde_json::to_string(&ids).unwrap_or_default() + "\n",
            false => ids.iter().map(|id| format!("{id}\n")).collect(),
        }
    }
}

/// Everything that is to be run, and how.
pub struct All<'a> {
    pub files: &'a [File],
    pub runs: &'a Runs,
    /// side by side
    pub jobs: usize,
    pub junit: Option<&'a Path>,
    pub keep: &'a Path,
    pub is_json: bool,
    pub is_verbose: bool,
    pub is_fail_fast: bool,
    /// May cases be skipped that this machine cannot run?
    pub may_skip: bool,
    pub seed: u64,
    pub began: Instant,
}

/// Of a prepare command that failed.
const LAST_LINES: usize = 40;

impl All<'_> {
    /// Runs them.
    ///
    /// # Errors
    /// A sentence, if they cannot be run at all.
    pub fn run(&self) -> Result<ExitCode, String> {
        let mut junit = self.junit.map(Junit::begin).transpose()?;
        let program = uvale_system::sys::this_program().map_err(|e| {
            format!(
                "cannot find out where this program is: {}",
                output::plain(&e)
            )
        })?;
        let stop = Stop::new()?;
        let temporary = Temporary::new()?;
        let mut report = Report::new(self.is_json, self.is_verbose);
        let unprepared = self.prepare(&stop)?;
        let mut repetitions: BTreeMap<(usize, usize), Repetitions> = BTreeMap::new();
        let mut unwritten = None;
        let job = |index: usize| {
            let one = &self.runs.0[index];
            match unprepared.get(&one.file) {
                Some(why) => Err(why.clone()),
                None => self.job(index, &program, &temporary),
            }
        };
        let mut done = |index: usize, ended: Ended| {
            let one = &self.runs.0[index];
            let Some(finished) = self.finished(one, ended, &temporary, index, &mut repetitions)
            else {
                return false;
            };
            if let Some(Err(why)) = junit.as_mut().map(|junit| junit.add(&finished)) {
                unwritten.get_or_insert(why);
            }
            report.add(finished);
            !self.is_fail_fast || report.counts.are_good()
        };
        schedule::all(self.runs.0.len(), self.jobs, &stop, &job, &mut done)?;
        // a file that could be written in the end was not written in vain before
        unwritten = match junit.as_mut().map(Junit::write) {
            Some(Err(why)) => Some(why),
            Some(Ok(())) => None,
            None => unwritten,
        };
        let stopped = stop.has_come().then_some(self.runs.0.len());
        report.end(self.began.elapsed(), self.seed, stopped);
        let unwritten: Vec<String> = unwritten
            .into_iter()
            .chain(report.unwritten.take())
            .collect();
        for why in &unwritten {
            output::line(format_args!("uvale test: {why}"));
        }
        Ok(match stop.signal() {
            Some(signal) => ExitCode::from(128u8.wrapping_add(signal)),
            None => ExitCode::from(u8::from(!report.counts.are_good() || !unwritten.is_empty())),
        })
    }

    /// Runs what prepares files, one after the other; which could not be prepared, and why.
    fn prepare(&self, stop: &Stop) -> Result<BTreeMap<usize, String>, String> {
        let mut commands: Vec<(usize, &[String])> = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            if self.runs.0.iter().any(|one| one.file == number) {
                commands.extend(
                    file.prepare
                        .iter()
                        .map(|command| (number, command.as_slice())),
                );
            }
        }
        let mut unprepared = BTreeMap::new();
        for (file, words) in commands {
            if unprepared.contains_key(&file) || stop.has_come() {
                continue;
            }
            let line = words
                .iter()
                .map(|word| quoted(word))
                .collect::<Vec<_>>()
                .join(" ");
            let dir = &self.files[file].dir;
            output::line(format_args!("uvale test: preparing: {line}"));
            let job = |_| {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).current_dir(dir);
                Ok(Job {
                    command,
                    input: Vec::new(),
                    limit: None,
                })
            };
            let mut why = None;
            schedule::all(1, 1, stop, &job, &mut |_, ended| {
                why = not_prepared(&line, &ended);
                true
            })?;
            if let Some(why) = why {
                unprepared.insert(file, why);
            }
        }
        Ok(unprepared)
    }

    /// The process of a run.
    fn job(&self, index: usize, program: &Path, temporary: &Temporary) -> Result<Job, String> {
        let one = &self.runs.0[index];
        let case = &self.files[one.file].cases[one.case];
        let keep = temporary.of(index);
        let run = Run {
            id: one.id.clone(),
            keep: keep.clone(),
            ..case.run.clone()
        };
        let input = serde_json::to_vec(&run)
            .map_err(|error| format!("cannot describe the run: {error}"))?;
        keep::begin(&keep, &input).map_err(|error| {
            format!("cannot make {}: {}", keep.display(), output::plain(&error))
        })?;
        let mut command = Command::new(program);
        command.arg("test-run");
        Ok(Job {
            command,
            input,
            limit: Some(limit(case)),
        })
    }

    /// What has come of a run; `None` if it was stopped.
    fn finished(
        &self,
        one: &One,
        ended: Ended,
        temporary: &Temporary,
        index: usize,
        repetitions: &mut BTreeMap<(usize, usize), Repetitions>,
    ) -> Option<Finished> {
        let file = &self.files[one.file];
        let case = &file.cases[one.case];
        let folder = temporary.of(index);
        let Some((mut verdict, digest)) = judge(&ended) else {
            keep::forget(&folder);
            return None;
        };
        if let (Verdict::Skipped(why), false) = (&verdict, self.may_skip) {
            verdict = Verdict::Error(format!("skipped, which --no-skip does not allow: {why}"));
        }
        let mut notes = Vec::new();
        if let (Some(digest), true) = (&digest, case.repeat > 1) {
            let all = repetitions.entry((one.file, one.case)).or_default();
            match all.compare(&one.id, digest) {
                Some(why) if case.is_repeatable && matches!(verdict, Verdict::Passed) => {
                    let line = Some(case.line);
                    verdict = Verdict::Failed { line, why };
                }
                Some(why) => notes.push(why),
                None => {}
            }
        }
        let said = format!("{}{}", ended.err, keep::printed(&folder));
        let is_good = matches!(verdict, Verdict::Passed | Verdict::Skipped(_));
        let mut kept = None;
        if is_good {
            keep::forget(&folder);
        } else if folder.exists() {
            let (place, why) = keep::keep(&folder, self.keep, &one.id);
            notes.extend(why);
            kept = Some(place);
        }
        Some(Finished {
            id: one.id.clone(),
            path: file.path.clone(),
            verdict,
            took: ended.took,
            digest,
            said,
            kept,
            notes,
            again: one.again.clone(),
        })
    }
}

/// Why a file is not prepared; `None` if it is, or if a person has stopped it.
fn not_prepared(line: &str, ended: &Ended) -> Option<String> {
    let how = match &ended.how {
        How::Exited(status) if status.success() => return None,
        How::Stopped => return None,
        How::Exited(status) => status.to_string(),
        How::NotStarted(why) => why.clone(),
        How::TooLong(limit) => {
            format!("it took longer than {}", humantime::format_duration(*limit))
        }
    };
    let said = format!("{}{}", String::from_utf8_lossy(&ended.out), ended.err);
    let said = last_lines(&said, LAST_LINES);
    Some(
        format!("prepare: {line}: {how}\n{said}")
            .trim_end()
            .to_owned(),
    )
}

/// When a run is taken for hung: every wait of it has had its time, one the time of frames that come without end, and
/// the machine is slow.
fn limit(case: &Case) -> Duration {
    let run = &case.run;
    let waits =
        run.steps.len() + 3 * run.programs.len() + run.ports.len() + run.namespaces.len() + 3;
    let waits = u32::try_from(waits).unwrap_or(u32::MAX);
    let each = run.timeout.saturating_add(run.quiet);
    let without_end = run.timeout.saturating_mul(LONGEST_WAIT);
    each.saturating_mul(waits)
        .saturating_add(without_end)
        .saturating_add(Duration::from_secs(30))
}
