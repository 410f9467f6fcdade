//! `uvale test-run`: one run of a case, in processes of its own.
//!
//! The first process ([`enter`], [`adopt`]) makes the private network and the world, and outlives the second, which
//! finds the device and has the steps in its hands ([`run`]). Whichever of the two is killed, the other one ends what
//! the run has started.
//!
//! | file | what |
//! |---|---|
//! | `names.rs` | what ports are called |
//! | `network.rs` | namespaces, and veth pairs between them |
//! | `world.rs` | what the daemon says of ports |
//! | `programs.rs`, `children.rs` | the programs, and whatever else was started |
//! | `output.rs` | what programs print |
//! | `tester.rs` | the tester's ends of ports, behind bad wires |
//! | `matching.rs`, `order.rs` | frames that have come, against those that are expected |
//! | `running.rs` | a run while it runs |
//! | `steps.rs`, `commands.rs` | its steps: with frames; with programs |
//! | `record.rs` | captures, and the digest |
//! | `fill.rs`, `why.rs` | `${NAME}` in texts; why a run ends |

mod children;
mod commands;
mod fill;
mod matching;
mod names;
mod network;
mod order;
mod output;
mod programs;
mod record;
mod running;
mod steps;
mod tester;
mod why;
mod world;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use uvale_tools::signals::Signals;

use crate::plan::{Kind, Outcome, Port, Program as Planned, Run, Target, Verdict};
pub use children::{adopt, end_all};
use names::Names;
pub use network::enter;
use network::{Network, Place};
use programs::{Launch, Program, stop};
pub use programs::{Prepare, Prepared};
use running::Running;
use tester::{End, Tester};
use why::{Done, error, failed};
use world::World;

/// The longest time that anything is waited for: ten days, so that sums of times are times.
const LONGEST: Duration = Duration::from_secs(864_000);
/// How long programs may take to end once this process was told to: whoever did so may kill it before long.
const IN_A_HURRY: Duration = Duration::from_millis(500);

/// An outcome without a run.
#[must_use]
pub fn without_run(result: Verdict) -> Outcome {
    Outcome {
        result,
        took: Duration::ZERO,
        digest: String::new(),
    }
}

/// Carries out a run, in a process that finds `/dev/netmap`, in the run's own world and network. What it starts
/// has ended afterwards.
pub fn run(run: &Run, prepare: &Prepare<'_>) -> Outcome {
    let begun = Instant::now();
    let mut digest = String::new();
    let mut run = run.clone();
    // Programs run elsewhere.
    run.keep = std::path::absolute(&run.keep).unwrap_or(run.keep);
    run.timeout = run.timeout.min(LONGEST);
    run.quiet = run.quiet.min(LONGEST);
    let result = match carry_out(&run, prepare, &mut digest) {
        Ok(()) => Verdict::Passed,
        Err(verdict) => verdict,
    };
    end_all();
    Outcome {
        result,
        took: begun.elapsed(),
        digest,
    }
}

fn carry_out(run: &Run, prepare: &Prepare<'_>, digest: &mut String) -> Done {
    let mut running = begin(run, prepare)?;
    let outcome = steps(&mut running).and_then(|()| last_words(&mut running));
    *digest = record::digest(&mut running.tester, &run.ignore);
    let patience = match running.was_stopped {
        true => IN_A_HURRY.min(run.timeout),
        false => run.timeout,
    };
    let stopped = stop(&mut running.programs, patience);
    let outcome = outcome.and(stopped);
    let outcome = outcome.and_then(|()| steps::nothing_at_the_end(&mut running));
    match outcome {
        Ok(()) => Ok(()),
        Err(verdict) => {
            let saved = record::captures(&running.tester, &run.keep);
            saved.unwrap_or_else(|why| uvale_tools::output::line(format_args!("uvale: {why}")));
            Err(verdict)
        }
    }
}

/// The network, the tester's ends of ports, and the daemon to ask.
fn begin<'r>(run: &'r Run, prepare: &'r Prepare<'r>) -> Done<Running<'r>> {
    let signals = Signals::take().map_err(error)?;
    adopt().map_err(error)?;
    let cannot = |what: &std::path::Path, e: std::io::Error| {
        error(format!(
            "{}: {}",
            what.display(),
            uvale_tools::output::plain(&e)
        ))
    };
    std::fs::create_dir_all(&run.keep).map_err(|e| cannot(&run.keep, e))?;
    std::env::set_current_dir(&run.dir).map_err(|e| cannot(&run.dir, e))?;
    let names = Names::new(run)?;
    let network = Network::new(run, &names)?;
    let mut tester = Tester::default();
    for port in &run.ports {
        tester.ends.extend(open(run, port, &names, &network)?);
    }
    let world = match run.target {
        Target::Kernel => None,
        Target::Uvale | Target::Nic(_) => Some(World::attach(&names, network.home())?),
    };
    Ok(Running {
        run,
        names,
        network,
        tester,
        programs: Vec::new(),
        world,
        learnt: BTreeMap::new(),
        prepare,
        signals,
        was_stopped: false,
        line: None,
        asked: Instant::now(),
        opened: Vec::new(),
        waited: String::new(),
        away: BTreeMap::new(),
        same: BTreeMap::new(),
    })
}

/// Opens the tester's end of a port, if it has one.
fn open(run: &Run, port: &Port, names: &Names, network: &Network) -> Done<Option<End>> {
    let Some(opened) = &names.get(&port.name)?.tester else {
        return Ok(None);
    };
    let options = port.link.as_ref().map(|options| {
        let options = options
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        uvale_impair::ways(options, run.seed)
    });
    let of_port = |why: &dyn std::fmt::Display| error(format!("port {}: {why}", port.name));
    let ways = options.transpose().map_err(|why| of_port(&why))?;
    let is_pipe = matches!(port.kind, Kind::Pipe);
    let name = names.get(&port.name)?;
    let is_nic = name.interface.is_some();
    let sizes = [port.rings.map(u32::from), port.slots];
    let place = if is_nic { Place::Tester } else { Place::Home };
    let end = network.inside(place, || {
        End::open(
            &port.name,
            name.switch(),
            opened,
            sizes,
            !is_nic,
            ways,
            !is_pipe,
        )
    })?;
    end.map(Some).map_err(|e| {
        of_port(&format!(
            "the tester cannot open its end: {}",
            why::plain(&e)
        ))
    })
}

/// Commands of namespaces; programs, until their ports are open; then the steps.
fn steps(running: &mut Running<'_>) -> Done {
    commands::set_up(running)?;
    let run = running.run;
    let is_monitor = |name: &String| {
        let mut ports = run.ports.iter();
        ports.any(|port| port.name == *name && matches!(port.kind, Kind::Monitor { .. }))
    };
    for planned in &run.programs {
        // A port has to be open before its monitors are.
        if planned.opens.iter().any(is_monitor) {
            wait_for_ports(running)?;
        }
        let program = start(running, planned)?;
        running.programs.push(program);
    }
    wait_for_ports(running)?;
    for step in &running.run.steps {
        steps::carry_out(running, step)?;
    }
    Ok(())
}

fn start(running: &Running<'_>, planned: &Planned) -> Done<Program> {
    let words = running.words(&planned.run)?;
    let [program, args @ ..] = &words[..] else {
        return Err(error(format!(
            "program {} has nothing to run",
            planned.name
        )));
    };
    let mut command = Command::new(program);
    command.args(args);
    for (name, value) in &planned.env {
        command.env(name, running.names.fill(value).map_err(error)?);
    }
    let Running {
        run,
        network,
        prepare,
        programs,
        ..
    } = running;
    // Several programs may have one name.
    let shown = format!("program {}", planned.name);
    let same = programs.iter().filter(|other| other.shown == shown).count();
    let file = match same {
        0 => planned.name.clone(),
        n => format!("{}-{}", planned.name, n + 1),
    };
    let launch = Launch {
        shown,
        file: &file,
        command,
        status: planned.status,
        reach: planned.reach,
        opens_ports: !planned.opens.is_empty(),
    };
    network.inside(Place::of(planned.namespace.as_ref()), || {
        Program::start(launch, &run.keep, *prepare)
    })?
}

/// Waits until each program has opened the ports that it opens.
fn wait_for_ports(running: &mut Running<'_>) -> Done {
    let end = Instant::now() + running.run.timeout;
    let mut pause = running::PAUSE;
    loop {
        let late = running.late()?;
        let Some((program, port)) = late else {
            return match running.world {
                Some(_) => Ok(()),
                // A kernel shows descriptors, which are there before they are ports.
                None => running.settle(),
            };
        };
        if Instant::now() >= end {
            let name = running.names.get(&port)?.program.clone();
            let list = running.ports_for_people()?;
            let Program { shown, .. } = &running.programs[program];
            let said = running.programs[program].said();
            return Err(failed(
                None,
                format!(
                    "{shown} has not opened port {port} ({name}) within {:?}; {list}{said}",
                    running.run.timeout
                ),
            ));
        }
        running.turn(pause)?;
        pause = (pause * 3 / 2).min(running::LONGEST);
    }
}

/// After the last step nothing more comes, and programs that must end do.
fn last_words(running: &mut Running<'_>) -> Done {
    running.line = None;
    let ends = running.tester.ends.iter().map(|end| &end.name);
    let ports: Vec<String> = ends
        .filter(|port| !running.run.ignore.contains(port))
        .cloned()
        .collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    steps::nothing(running, &ports)?;
    let done = running.until(|running| {
        let late = running.programs.iter_mut().any(Program::is_to_end);
        Ok((!late).then_some(()))
    })?;
    for program in &mut running.programs {
        program.check(None)?;
    }
    if done.is_none() {
        let late = running
            .programs
            .iter_mut()
            .find_map(|p| p.is_to_end().then_some(p));
        let why = late.map_or(String::new(), |program| {
            format!("{} has not ended{}", program.shown, program.said())
        });
        return Err(failed(
            None,
            format!("after {:?} {why}", running.run.timeout),
        ));
    }
    Ok(())
}
