//! `uvale test-run`: one run of a case, which `uvale test` starts.
//!
//! The first process makes the world and the private network, and starts this program again, in them and so that it
//! finds the device. Whichever of the two is killed, the other one ends what was started.

use std::io::{Read, Write};
use std::process::{Command, ExitCode};

use nix::sys::signal::Signal;
use rustix::fs::MemfdFlags;
use uvale_test::plan::{Kind, Outcome, Run, Target, Verdict};
use uvale_test::run::{Prepared, adopt, end_all, enter, without_run};
use uvale_tools::output;
use uvale_tools::reach::Reach;

use super::run::beside::{Ended, Own, run_as_process_one};
use super::run::{Start, inherited, private};

/// Options of `uvale test-run`. The run is read from standard input, as JSON, and its outcome is written to standard
/// output.
#[derive(clap::Args)]
pub struct Args {
    /// The world and the network are made
    #[arg(long)]
    inside: bool,
}

/// Switches that a world has room for beside those of the ports.
const MORE_SWITCHES: usize = 8;
/// What the shim has to say: why a request is refused.
const VERBOSE: &str = "NMSHIM_VERBOSE";

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let mut text = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut text);
    read.map_err(|e| format!("cannot read the run: {e}"))?;
    let run: Run =
        serde_json::from_slice(&text).map_err(|e| format!("the run cannot be decoded: {e}"))?;
    if args.inside {
        return answer(&inside(&run));
    }
    // Whoever has started this process wants its outcome, or nobody does.
    let parent = nix::unistd::getppid();
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(|e| e.to_string())?;
    let done = outside(&run, &text);
    if nix::unistd::getppid() != parent {
        uvale_test::abandon(&run.keep);
    }
    let verdict = match done {
        Ok(Ended::With(0)) => return Ok(ExitCode::SUCCESS),
        Ok(_) => Verdict::Error(
            "the process that carries out the run has ended without an outcome".to_owned(),
        ),
        Err(verdict) => verdict,
    };
    answer(&without_run(verdict))
}

fn answer(outcome: &Outcome) -> Result<ExitCode, String> {
    let text = serde_json::to_string(outcome).map_err(|e| e.to_string())?;
    output::write(&format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the network and the world, and runs this program again in them.
fn outside(run: &Run, text: &[u8]) -> Result<Ended, Verdict> {
    adopt().map_err(Verdict::Error)?;
    enter(run)?;
    let ended = started(run, text).map_err(Verdict::Error);
    // What the second process has left, if it was killed.
    end_all();
    ended
}

fn started(run: &Run, text: &[u8]) -> Result<Ended, String> {
    let exe = uvale_system::sys::this_program().map_err(|e| e.to_string())?;
    let mut command = Command::new(exe);
    command.args(["test-run", "--inside"]).stdin(again(text)?);
    if matches!(run.target, Target::Kernel) {
        return run_as_process_one(command, Own::Kept);
    }
    let start = Start::of(&command, Reach::Auto)?;
    start.enter(&mut command);
    if std::env::var_os(VERBOSE).is_none() {
        command.env(VERBOSE, "1");
    }
    let switches = run
        .ports
        .iter()
        .filter(|port| matches!(port.kind, Kind::Switch { .. }));
    let switches = switches.count() + MORE_SWITCHES;
    let switches = u32::try_from(switches).ok();
    private::run(command, switches, start.served(None), Own::Kept)
}

/// The text, to be read once more.
fn again(text: &[u8]) -> Result<std::fs::File, String> {
    let cannot = |e: std::io::Error| format!("cannot pass the run on: {e}");
    let memfd =
        rustix::fs::memfd_create("run", MemfdFlags::CLOEXEC).map_err(|e| cannot(e.into()))?;
    let mut file = std::fs::File::from(memfd);
    file.write_all(text).map_err(cannot)?;
    std::io::Seek::rewind(&mut file).map_err(cannot)?;
    Ok(file)
}

/// The run itself.
fn inside(run: &Run) -> Outcome {
    inherited::raise_files();
    let world = uvale_reach::World {
        dir: uvale_link::place::runtime_dir(),
        may_start: false,
    };
    let prepare = |command: &mut Command, asked: Reach| {
        private::die_with_parent(command, Signal::SIGKILL);
        if matches!(run.target, Target::Kernel) {
            inherited::give_files(command);
            return Ok(Prepared::default());
        }
        let start = Start::of(command, asked)?;
        start.enter(command);
        let reached = match start.served(None) {
            Some(served) => Some(served.reach(command, world.clone())?),
            None => None,
        };
        inherited::give_files(command);
        Ok(Prepared {
            obstacle: start.obstacle(|way| format!("give it reach = \"{way}\"")),
            started: reached.map(|reached| Box::new(move || drop(reached)) as _),
        })
    };
    uvale_test::run::run(run, &prepare)
}
