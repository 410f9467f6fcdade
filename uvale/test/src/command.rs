//! `uvale test`: options, files, selection; then preparation, runs, reports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use uvale_tools::output;
use uvale_tools::pattern;

use crate::file::{self, File, Settings, matrix};
use crate::plan::Target;
use crate::report::quoted;
use crate::runs::{All, Runs};

/// Shown under --help.
pub const EXAMPLE: &str = "\
A pattern is text that an id has, * any text in it; an id itself is only that one. --list shows the ids.

Exit status: 0 all passed or were skipped, 1 some did not, 2 wrong options or a wrong file, 128 + N signal N

Examples:
  uvale test firewall.toml --junit results.xml
  uvale test firewall.toml --only 'answers*mode=swap' --seed 7 -v";

/// Options of `uvale test`.
#[derive(clap::Args)]
pub struct Args {
    /// Files of cases
    #[arg(required = true, value_name = "FILE.toml")]
    files: Vec<PathBuf>,
    /// Only what has this in its id
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Show what would be run
    #[arg(long)]
    list: bool,
    /// Cases side by side [default: one for each processor]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Where captures and logs of failed cases are kept
    #[arg(long, value_name = "DIR", default_value = "uvale-test.failed")]
    keep: PathBuf,
    /// Where ports come from: uvale (a world for each case), kernel, nic:PORT=INTERFACE+OTHER_END,...
    #[arg(long, value_name = "TARGET", default_value = "uvale", value_parser = target)]
    target: Target,
    /// One value for a variable of the matrix
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Run each case so often, whatever its file says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    repeat: Option<u32>,
    /// Seed of impairments, and of what the generator makes by chance
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Start nothing more after the first that did not pass
    #[arg(long)]
    fail_fast: bool,
    /// A case that this machine cannot run is an error
    #[arg(long)]
    no_skip: bool,
    /// Show what programs said, of all cases
    #[arg(long, short)]
    verbose: bool,
    /// Write one JSON object; lines go to standard error
    #[arg(long)]
    json: bool,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is written NAME=VALUE".to_owned()),
    }
}

fn target(text: &str) -> Result<Target, String> {
    let bad = || "there are uvale, kernel and nic:PORT=INTERFACE+OTHER_END,...".to_owned();
    match text.split_once(':') {
        None if text == "uvale" => Ok(Target::Uvale),
        None if text == "kernel" => Ok(Target::Kernel),
        Some(("nic", pairs)) => {
            let pairs = pairs.split(',').map(|pair| match pair.split_once('=') {
                Some((port, name)) if !port.is_empty() && !name.is_empty() => {
                    Ok((port.to_owned(), name.to_owned()))
                }
                _ => Err(format!(
                    "{pair:?} is not PORT=INTERFACE or PORT=INTERFACE+OTHER_END"
                )),
            });
            Ok(Target::Nic(pairs.collect::<Result<BTreeMap<_, _>, _>>()?))
        }
        _ => Err(bad()),
    }
}

/// As it is written.
fn written(target: &Target) -> Option<String> {
    match target {
        Target::Uvale => None,
        Target::Kernel => Some("kernel".to_owned()),
        Target::Nic(pairs) => {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(port, name)| format!("{port}={name}"))
                .collect();
            Some(format!("nic:{}", pairs.join(",")))
        }
    }
}

/// Wrong options or a wrong file.
const USAGE: u8 = 2;

/// Runs the command.
///
/// # Errors
/// A sentence, if cases cannot be run at all.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let began = Instant::now();
    let files = match files(args) {
        Ok(files) => files,
        Err(lines) => {
            for line in lines {
                output::line(format_args!("{line}"));
            }
            return Ok(ExitCode::from(USAGE));
        }
    };
    let again = |path: &Path, id: &str| again(args, path, id);
    let all = Runs::of(&files, &again);
    let chosen = match &args.only {
        Some(only) => all.only(|ids| selected(ids, only)),
        None => all,
    };
    if chosen.is_empty() {
        let only = args.only.as_deref().unwrap_or_default();
        output::line(format_args!(
            "uvale test: --only {only:?}: no case has this in its id; --list shows them"
        ));
        return Ok(ExitCode::from(USAGE));
    }
    if args.list {
        output::write(&chosen.list(args.json))?;
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = match args.target {
        // the interfaces are there once
        Target::Nic(_) => 1,
        Target::Uvale | Target::Kernel => args.jobs.map_or_else(processors, usize::from),
    };
    All {
        files: &files,
        runs: &chosen,
        jobs,
        junit: args.junit.as_deref(),
        keep: &args.keep,
        is_json: args.json,
        is_verbose: args.verbose,
        is_fail_fast: args.fail_fast,
        may_skip: !args.no_skip,
        seed: args.seed,
        began,
    }
    .run()
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// All files, or all that is wrong with them and with options that name something in them.
fn files(args: &Args) -> Result<Vec<File>, Vec<String>> {
    let settings = Settings {
        set: args.set.clone(),
        repeat: args.repeat,
        seed: args.seed,
        target: args.target.clone(),
    };
    let (mut files, mut wrong): (Vec<File>, Vec<String>) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for path in &args.files {
        // one that is named twice is run once
        if path.canonicalize().is_ok_and(|path| !seen.insert(path)) {
            continue;
        }
        match file::read(path, &settings) {
            Ok(file) => files.push(file),
            Err(lines) => wrong.extend(lines.iter().map(|wrong| said(path, wrong))),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    for (index, file) in files.iter().enumerate() {
        if let Some(other) = files[..index].iter().find(|other| other.name == file.name) {
            let (path, name) = (file.path.display(), &file.name);
            let other = other.path.display();
            wrong.push(format!(
                "{path}:1: name: {other} is called {name:?}, too; give one another name"
            ));
        }
    }
    let variables: BTreeSet<&str> = files
        .iter()
        .flat_map(|f| f.variables.iter())
        .map(String::as_str)
        .collect();
    for (name, _) in &args.set {
        if !variables.contains(name.as_str()) {
            wrong.push(format!(
                "uvale test: {}",
                matrix::unknown(name, variables.iter().copied())
            ));
        }
    }
    if let Target::Nic(pairs) = &args.target {
        let ports: BTreeSet<&str> = files
            .iter()
            .flat_map(|f| f.ports.iter())
            .map(String::as_str)
            .collect();
        for port in pairs.keys().filter(|port| !ports.contains(port.as_str())) {
            let hint = uvale_tools::nearest::hint(port, ports.iter().copied());
            wrong.push(format!(
                "uvale test: --target nic:{port}=...: there is no port {port:?}{hint}"
            ));
        }
    }
    match wrong.is_empty() {
        true => Ok(files),
        false => Err(wrong),
    }
}

/// `FILE:LINE: key: why`.
fn said(path: &Path, wrong: &file::Wrong) -> String {
    let path = path.display();
    let file::Wrong { line, key, why } = wrong;
    match (line, key.as_str()) {
        (0, _) => format!("{path}: {why}"),
        (_, "") => format!("{path}:{line}: {why}"),
        _ => format!("{path}:{line}: {key}: {why}"),
    }
}

/// Which of the ids, a case's and a run's, a pattern means.
fn selected(ids: &[(&str, &str)], only: &str) -> Vec<bool> {
    let is_one = |(case, run): &(&str, &str)| *case == only || *run == only;
    if ids.iter().any(is_one) {
        return ids.iter().map(is_one).collect();
    }
    let within = format!("*{only}*");
    ids.iter()
        .map(|(_, run)| pattern::matches(&within, run))
        .collect()
}

/// The command that repeats one run.
fn again(args: &Args, path: &Path, id: &str) -> String {
    let path = path.display().to_string();
    // a path that looks like an option
    let path = if path.starts_with('-') {
        format!("./{path}")
    } else {
        path
    };
    let mut words = vec!["uvale".to_owned(), "test".to_owned(), path];
    words.extend(["--only".to_owned(), id.to_owned()]);
    words.extend(["--seed".to_owned(), args.seed.to_string()]);
    if let Some(target) = written(&args.target) {
        words.extend(["--target".to_owned(), target]);
    }
    for (name, value) in &args.set {
        words.extend(["--set".to_owned(), format!("{name}={value}")]);
    }
    if let Some(repeat) = args.repeat {
        words.extend(["--repeat".to_owned(), repeat.to_string()]);
    }
    if args.no_skip {
        words.push("--no-skip".to_owned());
    }
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_and_a_pattern_is_all_that_have_it() {
        let ids = [
            ("f/a", "f/a #1"),
            ("f/a", "f/a #2"),
            ("f/ab [m=x]", "f/ab [m=x]"),
        ];
        assert_eq!(selected(&ids, "f/a"), [true, true, false]);
        assert_eq!(selected(&ids, "f/a #2"), [false, true, false]);
        assert_eq!(selected(&ids, "a"), [true, true, true]);
        assert_eq!(selected(&ids, "a*m=x"), [false, false, true]);
        assert_eq!(selected(&ids, "f/ab [m=x]"), [false, false, true]);
        assert_eq!(selected(&ids, "nosuch"), [false; 3]);
    }

    #[test]
    fn targets_are_written_as_they_are_read() {
        for text in ["kernel", "nic:lan=eth1+eth2,wan=eth3"] {
            assert_eq!(written(&target(text).unwrap()).as_deref(), Some(text));
        }
        assert_eq!(written(&target("uvale").unwrap()), None);
        for text in [
            "", "kernal", "nic", "nic:", "nic:lan", "nic:lan=", "kernel:x",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
