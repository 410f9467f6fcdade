//! A run from its beginning to its end: the suites one after the other, targets, comparisons, pictures.

use super::board::Board;
use super::compare;
use super::contest::Bench;
use super::difference::differences;
use super::measure::FEW;
use super::options::Args;
use super::plot;
use super::raw;
use super::report::Report;
use super::run::Run;
use super::suites::SUITES;
use super::targets::judge;
use super::world::World;

/// Measures, and says what came of it.
pub fn conduct(args: Args) -> Result<(), String> {
    // What is wrong with the options is said now, and not after ten minutes.
    let before = args.compare.as_deref().map(compare::read).transpose()?;
    let other = args.against.as_deref().map(World::of_build).transpose()?;
    if let Some(path) = &args.svg {
        plot::prepare(path)?;
    }
    let mut run = Run::new(args);
    run.say(&run.report.machine.to_string());
    if run.windows.wanted < FEW && (before.is_some() || other.is_some()) {
        run.note("the ranges of so few windows say little: what differs may differ by chance");
    }
    if run.report.processors.len() < 2 {
        let why = "everything: sender and receiver need a processor each, and there is one";
        run.skip(why.into());
    } else {
        measure(&mut run, other)?;
    }
    run.report.targets = judge(&run.report.figures);
    if let Some(before) = before {
        compare_with(&mut run, &before);
    }
    if let Some(path) = &run.args.svg {
        plot::draw(path, &run.report)?;
    }
    if run.args.json {
        let text = serde_json::to_string_pretty(&run.report).map_err(|e| e.to_string())?;
        run.write(&(text + "\n"));
    } else if !run.report.targets.is_empty() {
        run.say("\ntargets");
        run.report
            .targets
            .iter()
            .for_each(|target| run.say(&target.line()));
    }
    run.end()
}

fn measure(run: &mut Run, other: Option<World>) -> Result<(), String> {
    let (n, load) = (run.report.processors.len(), run.report.load);
    run.say(&format!(
        "{n} processors in use, load average {load:.2} at the start"
    ));
    if run.args.real_time {
        raw::go_real_time(raw::CONDUCTOR).map_err(|e| format!("--real-time: {e}"))?;
    } else if load > 0.5 {
        run.note("other programs are running: absolute figures will be low, ratios may wobble");
    }
    let bench = Bench {
        board: Board::new()?,
        world: World::new()?,
        other,
        cpus: run.report.processors.clone(),
        windows: run.windows,
        real_time: run.args.real_time,
    };
    for (suite, measure) in SUITES {
        if run.args.wants(*suite) {
            measure(run, &bench);
        }
    }
    Ok(())
}

fn compare_with(run: &mut Run, before: &Report) {
    let compared = differences(&before.figures, &run.report.figures);
    if !before.machine.is_like(&run.report.machine) {
        run.note(&format!(
            "the earlier run was on another machine: {}",
            before.machine
        ));
    }
    if compared.is_empty() {
        run.note("nothing of the earlier run was measured now: name its suites in --only");
    }
    run.say("\nsince the earlier run");
    compared
        .iter()
        .for_each(|difference| run.say(&difference.line()));
    run.report.compared = compared;
}
