//! What the shim costs a program that has nothing to do with netmap: the same calls with and without it, in turns.
//!
//! Two processes never run at the same time. Of each call the best of many short stretches counts, so that what
//! else the machine does is left out of both sides.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::figure::{Case, Figure, Range, Ratio, Unit};
use super::raw::{self, OrdinaryCall};

/// Processes of each kind, one after the other.
const TURNS: usize = 12;
/// Stretches of each call in a process, and calls in a stretch.
const STRETCHES: usize = 40;
const CALLS: u32 = 2000;
/// Spec of the worker: this and the processor to stay on.
const WORKER: &str = "preload:";

/// One call's nanoseconds.
#[derive(Debug)]
pub struct Cost {
    call: String,
    bare: f64,
    preloaded: f64,
}

impl Cost {
    /// Both figures: of many stretches the best counts, so they have no range.
    pub fn figures(&self) -> [Figure; 2] {
        let figure = |what: &str, value, ratios| Figure {
            suite: "preload".into(),
            case: Case::named(self.call.clone()),
            what: what.into(),
            unit: Unit::Nanoseconds,
            range: Range::exactly(value),
            sent: None,
            wakeups: None,
            windows: TURNS,
            disturbed: false,
            ratios,
        };
        let ratio = Ratio {
            of: "bare".into(),
            range: Range::exactly(self.preloaded / self.bare),
        };
        let bare = figure("bare", self.bare, Vec::new());
        [bare, figure("preloaded", self.preloaded, vec![ratio])]
    }
}

/// A process of this benchmark, if `spec` is one: prints a line `call nanoseconds` for each.
pub fn worker(spec: &str) -> Option<Result<(), String>> {
    spec.strip_prefix(WORKER).map(print_all)
}

fn print_all(cpu: &str) -> Result<(), String> {
    super::cpus::pin(cpu.parse().map_err(|_| "no processor")?)?;
    for (name, call) in raw::ordinary_calls().map_err(|e| e.to_string())? {
        println!("{name} {}", best(&call));
    }
    Ok(())
}

fn best(call: &OrdinaryCall) -> f64 {
    let stretch = |_| {
        let begin = Instant::now();
        (0..CALLS).for_each(|_| call());
        begin.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    (0..STRETCHES).map(stretch).fold(f64::MAX, f64::min)
}

/// Both kinds of processes in turns; the best of each call.
pub fn measure(cpu: usize) -> Result<Vec<Cost>, String> {
    let shim = uvale_link::start::shim().ok_or("libnmshim.so was not found; name it in NMSHIM")?;
    let mut costs: Vec<Cost> = Vec::new();
    for turn in 0..2 * TURNS {
        let preloaded = turn % 2 == 1;
        for (call, ns) in one_process(preloaded.then_some(shim.as_path()), cpu)? {
            if !costs.iter().any(|c| c.call == call) {
                let (bare, preloaded) = (f64::MAX, f64::MAX);
                let call = call.clone();
                costs.push(Cost {
                    call,
                    bare,
                    preloaded,
                });
            }
            for cost in costs.iter_mut().filter(|c| c.call == call) {
                let best = if preloaded {
                    &mut cost.preloaded
                } else {
                    &mut cost.bare
                };
                *best = best.min(ns);
            }
        }
    }
    Ok(costs)
}

fn one_process(shim: Option<&std::path::Path>, cpu: usize) -> Result<Vec<(String, f64)>, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(exe);
    let spec = format!("{WORKER}{cpu}");
    command
        .args(["bench", "--worker", &spec])
        .stdin(Stdio::null());
    match shim {
        Some(shim) => command.env("LD_PRELOAD", shim),
        None => command.env_remove("LD_PRELOAD"),
    };
    let output = command.output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |line: &str| {
        let (call, ns) = line.split_once(' ')?;
        Some((call.to_owned(), ns.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}
