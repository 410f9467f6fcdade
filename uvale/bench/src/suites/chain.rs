//! Forwarding programs one after the other.

use crate::contest::{Bench, Column, Contest, Kind, Part};
use crate::figure::Case;
use crate::limit::part::Part as Limit;
use crate::port::Opening;
use crate::run::Run;
use crate::shapes::{receiving, sending, shared};
use crate::traffic::Forwarding;
use crate::worker::Role;

/// A sender, so many forwarding programs, a receiver: a process each, with pipes between them, all blocking in poll.
pub fn run(run: &mut Run, bench: &Bench) {
    let shared = shared(bench, 10);
    run.title(&format!(
        "forwarding programs between pipes: Mpps delivered{shared}"
    ));
    let numbers: &[usize] = if run.args.quick {
        &[1, 8]
    } else {
        &[1, 2, 4, 8]
    };
    for (len, batch) in run.args.shapes(&[256], &[256]) {
        for n in numbers.iter().copied() {
            let s = if n == 1 { "" } else { "s" };
            let label = format!("{n} program{s}");
            let limit = |copy| limit(bench, n, (batch, len), copy);
            let blocking = |copy| blocking(bench, n, (batch, len), copy);
            let programs = |name, copy| programs(bench, n, (batch, len), name, copy);
            let contest = Contest {
                suite: "chain",
                case: Case::named(label).and(len.into(), batch),
                kind: Kind::Rate,
                columns: vec![
                    Column::new("limit, swap", limit(false), &[]),
                    Column::new("limit, swap, blocking", blocking(false), &[]),
                    Column::new("swap", programs("swap", false), &[0, 1]),
                    Column::new("limit, copy", limit(true), &[]),
                    Column::new("limit, copy, blocking", blocking(true), &[]),
                    Column::new("copy", programs("copy", true), &[3, 4]),
                ],
            };
            run.hold(bench, contest);
        }
    }
}

/// The memory that all may be in: in one memory buffers can be exchanged, and this one has room for all.
const SHARED: u16 = 1;

/// The station's processor: neighbours share one, where there are fewer processors than stations.
fn cpu_of(bench: &Bench, station: usize, stations: usize) -> usize {
    bench.cpus[station * bench.cpus.len().min(stations) / stations]
}

/// Lanes of one of the four limits of a contest, which have lanes of their own.
fn lanes(n: usize, limit: usize) -> Vec<usize> {
    let first = limit * (n + 1);
    (first..first + n + 1).collect()
}

/// Each processor does its stations in turns.
fn limit(bench: &Bench, n: usize, (batch, len): (u32, u16), copy: bool) -> Vec<Part> {
    let lanes = lanes(n, usize::from(copy));
    let stations = n + 2;
    let mut parts: Vec<Part> = Vec::new();
    let mut from = 0;
    for station in 1..=stations {
        let cpu = cpu_of(bench, from, stations);
        if station < stations && cpu_of(bench, station, stations) == cpu {
            continue;
        }
        let part = Limit::Chain {
            lanes: lanes.clone(),
            stations: from..station,
            batch,
            len,
            copy,
        };
        parts.push(Part::new(cpu, Role::Limit(part)));
        from = station;
    }
    parts.reverse();
    parts
}

/// A process for each station, on the processor where the program of that place is.
fn blocking(bench: &Bench, n: usize, (batch, len): (u32, u16), copy: bool) -> Vec<Part> {
    let part = |number| {
        let part = Limit::Station {
            lanes: lanes(n, 2 + usize::from(copy)),
            number,
            batch,
            len,
            copy,
        };
        Part::new(cpu_of(bench, number, n + 2), Role::Limit(part))
    };
    (0..n + 2).rev().map(part).collect()
}

fn programs(
    bench: &Bench,
    n: usize,
    (batch, len): (u32, u16),
    name: &str,
    copy: bool,
) -> Vec<Part> {
    let cpu = |station| cpu_of(bench, station, n + 2);
    let end = |end: char, pipe: usize| Opening {
        memory: SHARED,
        ..Opening::of(format!("{name}{end}{pipe}"))
    };
    let receiver = Role::Receive(receiving(end('}', n), true));
    let mut parts = vec![Part::new(cpu(n + 1), receiver)];
    for program in (1..=n).rev() {
        let forwarding = Forwarding {
            from: end('}', program - 1),
            to: end('{', program),
            copy,
        };
        parts.push(Part::new(cpu(program), Role::Forward(forwarding)));
    }
    let mut sender = sending(end('{', 0), batch, len);
    sender.blocking = true;
    parts.push(Part::new(cpu(0), Role::Send(sender)));
    parts
}
