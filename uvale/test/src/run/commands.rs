//! Steps that look at programs, and run commands.

use std::process::Command;

use super::fill::{fill, learnt};
use super::network::Place;
use super::output::Lines;
use super::programs::{Launch, Program};
use super::running::Running;
use super::why::{Done, counted, error, range};
use crate::plan::{Count, Verdict};
use uvale_tools::reach::Reach;

/// A program prints so many lines with a text. That it prints no more is seen once it has read all that it was sent.
pub fn prints(running: &mut Running<'_>, program: &str, text: &str, count: Count) -> Done {
    let planned = &running.run.programs;
    let Some(at) = planned.iter().position(|planned| planned.name == program) else {
        return Err(running.wrong(format!("there is no program {program}")));
    };
    let text = fill(text, &|name: &str| learnt(&running.learnt, name));
    let text = text.map_err(|why| running.wrong(why))?;
    let mut lines = Lines::with(&text);
    let enough = running.until(|running| {
        let found = lines.count(running.programs[at].files());
        Ok((found >= count.min).then_some(()))
    })?;
    if enough.is_some() && count.max < u64::MAX {
        running.settle()?;
    }
    let found = lines.count(running.programs[at].files());
    if (count.min..=count.max).contains(&found) {
        return Ok(());
    }
    let within = match enough {
        Some(_) => String::new(),
        None => format!(" {}", running.waited),
    };
    let said = running.programs[at].said();
    Err(running.wrong(format!(
        "program {program}: {} with {text:?}{within}, expected {}{said}",
        counted(found as usize, "line"),
        range(count),
    )))
}

/// Runs the command of a step to its end, while frames go their ways.
pub fn command(running: &mut Running<'_>, words: &[String], place: Place<'_>, status: i32) -> Done {
    let file = format!("line-{}", running.line.unwrap_or_default());
    to_its_end(running, words, place, status, &file)
}

/// Runs the commands of the namespaces.
pub fn set_up(running: &mut Running<'_>) -> Done {
    for namespace in &running.run.namespaces {
        let name = &namespace.name;
        for (i, words) in namespace.commands.iter().enumerate() {
            let file = format!("{name}-{}", i + 1);
            let done = to_its_end(running, words, Place::Named(name), 0, &file);
            // The function is not tried yet.
            done.map_err(|verdict| match verdict {
                Verdict::Failed { why, .. } | Verdict::Error(why) => {
                    error(format!("namespace {name}: {why}"))
                }
                other => other,
            })?;
        }
    }
    Ok(())
}

/// Its output is in `FILE.stdout` and `FILE.stderr`.
fn to_its_end(
    running: &mut Running<'_>,
    words: &[String],
    place: Place<'_>,
    status: i32,
    file: &str,
) -> Done {
    let words = running.words(words)?;
    let Some((program, args)) = words.split_first() else {
        return Ok(());
    };
    let mut command = Command::new(program);
    command.args(args);
    let shown = format!("`{}`", words.join(" "));
    let launch = Launch {
        shown: shown.clone(),
        file,
        command,
        status: Some(status),
        reach: Reach::Auto,
        opens_ports: false,
    };
    let Running {
        network,
        run,
        prepare,
        ..
    } = running;
    let started = network.inside(place, || Program::start(launch, &run.keep, *prepare))??;
    // While it is among the programs, it is ended with them.
    running.programs.push(started);
    let ended = running.until(|running| {
        let program = running.programs.last_mut();
        let ended = program.is_none_or(|program| program.ended().is_some());
        Ok(ended.then_some(()))
    })?;
    if let Some(program) = running.programs.last_mut() {
        program.check(running.line)?;
    }
    match ended {
        Some(()) => {
            running.programs.pop();
            Ok(())
        }
        None => {
            let said = running.programs.last().map_or(String::new(), Program::said);
            let waited = &running.waited;
            Err(running.wrong(format!("{shown} has not ended {waited}{said}")))
        }
    }
}
