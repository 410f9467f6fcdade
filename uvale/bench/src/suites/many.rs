//! Several addresses, senders, receivers, ports, rings.

use crate::addresses::{ALL, RECEIVER, SENDER, apart, mixed as mixed_flows};
use crate::contest::{Bench, Column, Contest, Kind, Part};
use crate::cpus;
use crate::figure::Case;
use crate::limit::exchange::FEW_SLOTS;
use crate::limit::part::Part as Limit;
use crate::port::Opening;
use crate::run::Run;
use crate::shapes::{limit_vale, on_switch, pair, receiving, sending, shared, taking};
use crate::traffic::Receiving;
use crate::worker::Role;

/// 8 sources and 8 destinations in turns, compared with one of each.
pub fn mixed(run: &mut Run, bench: &Bench) {
    run.title("64 flows in each batch, VALE: Mpps delivered");
    let all = apart(16);
    let (to, from) = (&all[..8], &all[8..]);
    let flows = mixed_flows(from, to);
    let dmacs: Vec<u64> = flows.iter().map(|(dmac, _)| *dmac).collect();
    for (len, batch) in run.args.shapes(&[64, 256], &[256]) {
        let port = |name: &str| Opening::of(format!("vale2:{name}"));
        let mut receiver = receiving(port("rx"), false);
        receiver.ports[0].macs = to.to_vec();
        let mut sender = sending(port("tx"), batch, len);
        sender.flows = flows.clone();
        let shape = (len, batch);
        let contest = Contest {
            suite: "mixed",
            case: Case::of(len.into(), batch),
            kind: Kind::Rate,
            columns: vec![
                Column::new(
                    "limit, 1 flow",
                    limit_vale(bench, 0, shape, &[RECEIVER]),
                    &[],
                ),
                Column::new("1 flow", on_switch(bench, "vale1", shape, false), &[0]),
                Column::new("limit, 64 flows", limit_vale(bench, 1, shape, &dmacs), &[0]),
                Column::new(
                    "64 flows",
                    pair(bench, Role::Receive(receiver), Role::Send(sender)),
                    &[1, 2],
                ),
            ],
        };
        run.hold(bench, contest);
    }
}

/// Several senders to one receiver.
pub fn senders(run: &mut Run, bench: &Bench) {
    let numbers: &[usize] = if run.args.quick { &[2] } else { &[1, 2, 4, 8] };
    let shared = shared(bench, 1 + numbers.iter().copied().max().unwrap_or(1));
    run.title(&format!("VALE, several to 1: Mpps delivered{shared}"));
    for (len, batch) in run.args.shapes(&[8, 256], &[256]) {
        for n in numbers.iter().copied() {
            let (tx, rx) = cpus::place(&bench.cpus, n, 1);
            let limit = {
                let receiver = Limit::Receive {
                    lanes: (0..n).collect(),
                    chains: false,
                };
                let sender = |(lane, cpu): (usize, &usize)| {
                    let lanes = vec![lane];
                    let dmacs = vec![RECEIVER];
                    let limit = Limit::Vale {
                        lanes,
                        batch,
                        len,
                        dmacs,
                    };
                    Part::new(*cpu, Role::Limit(limit))
                };
                let receiver = Part::new(rx[0], Role::Limit(receiver));
                core::iter::once(receiver)
                    .chain(tx.iter().enumerate().map(sender))
                    .collect()
            };
            let macs = apart(1 + n);
            let netmap = |switch: &str, blocking| {
                let receiver = receiving(Opening::of(format!("{switch}:rx")), blocking);
                let sender = |(i, cpu): (usize, &usize)| {
                    let mut sender = sending(Opening::of(format!("{switch}:tx{i}")), batch, len);
                    sender.flows = vec![(RECEIVER, macs[1 + i])];
                    Part::new(*cpu, Role::Send(sender))
                };
                let receiver = Part::new(rx[0], Role::Receive(receiver));
                core::iter::once(receiver)
                    .chain(tx.iter().enumerate().map(sender))
                    .collect()
            };
            let s = if n == 1 { "" } else { "s" };
            let label = format!("{n} sender{s}");
            let contest = Contest {
                suite: "senders",
                case: Case::named(label).and(len.into(), batch),
                kind: Kind::Rate,
                columns: vec![
                    Column::new("limit", limit, &[]),
                    Column::new("spinning", netmap("vale1", false), &[0]),
                    Column::new("blocking", netmap("vale2", true), &[1]),
                ],
            };
            run.hold(bench, contest);
        }
    }
}

/// One sender to several receivers, who are in one process for each processor that the sender leaves.
pub fn flood(run: &mut Run, bench: &Bench) {
    run.title("VALE, 1 flooding to several: Mpps delivered");
    let numbers: &[usize] = if run.args.quick { &[8] } else { &[2, 4, 8] };
    for (len, batch) in run.args.shapes(&[8, 256], &[256]) {
        for n in numbers.iter().copied() {
            let others = &bench.cpus[1..];
            let groups = |processes: usize| {
                let of = move |p: usize| (0..n).filter(|i| i % processes == p).collect::<Vec<_>>();
                (0..processes).map(of).collect::<Vec<_>>()
            };
            let groups = groups(others.len().min(n));
            let limit = {
                let receiver = |(lanes, cpu): (&Vec<usize>, &usize)| {
                    let lanes = lanes.clone();
                    let receiver = Limit::Receive {
                        lanes,
                        chains: false,
                    };
                    Part::new(*cpu, Role::Limit(receiver))
                };
                let sender = Limit::Vale {
                    lanes: (0..n).collect(),
                    batch,
                    len,
                    dmacs: vec![RECEIVER],
                };
                let sender = Part::new(bench.cpus[0], Role::Limit(sender));
                groups
                    .iter()
                    .zip(others)
                    .map(receiver)
                    .chain([sender])
                    .collect()
            };
            let macs = apart(2 + n);
            let netmap = {
                let port =
                    |i: &usize| taking(Opening::of(format!("vale1:rx{i}")), &macs[2 + i..3 + i]);
                let receiver = |(ports, cpu): (&Vec<usize>, &usize)| {
                    let receiver = Receiving {
                        ports: ports.iter().map(port).collect(),
                        blocking: false,
                        touch: false,
                        chains: false,
                    };
                    Part::new(*cpu, Role::Receive(receiver))
                };
                let mut sender = sending(Opening::of("vale1:tx"), batch, len);
                sender.flows = vec![(ALL, SENDER)];
                let sender = Part::new(bench.cpus[0], Role::Send(sender));
                groups
                    .iter()
                    .zip(others)
                    .map(receiver)
                    .chain([sender])
                    .collect()
            };
            let contest = Contest {
                suite: "flood",
                case: Case::named(format!("{n} receivers")).and(len.into(), batch),
                kind: Kind::Rate,
                columns: vec![
                    Column::new("limit", limit, &[]),
                    Column::new("spinning", netmap, &[0]),
                ],
            };
            run.hold(bench, contest);
        }
    }
}

/// As many ports as a switch takes: like netmap it keeps places for an interface and the host.
const MOST: usize = 252;

/// Many ports of one process, of which two at a time exchange a batch, compared with two ports.
pub fn ports(run: &mut Run, bench: &Bench) {
    run.title("ports in random use, VALE, one process: Mpps delivered");
    let numbers: &[usize] = if run.args.quick {
        &[MOST]
    } else {
        &[16, 64, MOST]
    };
    // Room for a batch while the one before is still to be given back.
    let fits = |batch: u32| batch.min(FEW_SLOTS as u32 / 2 - 1);
    for (len, batch) in run.args.shapes(&[32], &[32]) {
        let batch = fits(batch);
        let limit = |ports| {
            let limit = Limit::Exchange { ports, batch, len };
            vec![Part::new(bench.cpus[0], Role::Limit(limit))]
        };
        let netmap = |switch: usize, ports: usize| {
            let port = |(i, mac): (usize, &u64)| {
                let opening = Opening {
                    slots: FEW_SLOTS as u32,
                    ..Opening::of(format!("vale{switch}:p{i}"))
                };
                taking(opening, core::slice::from_ref(mac))
            };
            let ports = apart(ports).iter().enumerate().map(port).collect();
            let role = Role::Exchange { ports, batch, len };
            vec![Part::new(bench.cpus[0], role)]
        };
        let mut columns = vec![
            Column::new("limit, 2", limit(2), &[]),
            Column::new("2 ports", netmap(1, 2), &[0]),
        ];
        for (i, n) in numbers.iter().copied().enumerate() {
            columns.push(Column::new(format!("limit, {n}"), limit(n), &[0]));
            let of = [1, columns.len() - 1];
            columns.push(Column::new(format!("{n} ports"), netmap(2 + i, n), &of));
        }
        hold(run, bench, ("ports", len, batch), columns);
    }
}

/// A batch over several rings, compared with one ring.
pub fn rings(run: &mut Run, bench: &Bench) {
    run.title("rings, VALE: Mpps delivered");
    let numbers: &[u16] = if run.args.quick { &[16] } else { &[2, 4, 16] };
    for (len, batch) in run.args.shapes(&[256], &[256]) {
        let netmap = |rings: u16| {
            let port = |name: &str| Opening {
                rings,
                ..Opening::of(format!("vale{rings}:{name}"))
            };
            let receiver = Role::Receive(receiving(port("rx"), false));
            pair(bench, receiver, Role::Send(sending(port("tx"), batch, len)))
        };
        let limit = limit_vale(bench, 0, (len, batch), &[RECEIVER]);
        let mut columns = vec![
            Column::new("limit", limit, &[]),
            Column::new("1 ring", netmap(1), &[0]),
        ];
        let several = |n: &u16| Column::new(format!("{n} rings"), netmap(*n), &[1]);
        columns.extend(numbers.iter().map(several));
        hold(run, bench, ("rings", len, batch), columns);
    }
}

/// A contest of rates, of so many columns as there are numbers to measure.
fn hold(
    run: &mut Run,
    bench: &Bench,
    (suite, len, batch): (&'static str, u16, u32),
    columns: Vec<Column>,
) {
    let contest = Contest {
        suite,
        case: Case::of(len.into(), batch),
        kind: Kind::Rate,
        columns,
    };
    run.hold(bench, contest);
}
