//! Latencies: one way under load, round trips, and waking a sleeper.

use crate::addresses::{RECEIVER, SENDER};
use crate::contest::{Bench, Column, Contest, Kind, Part};
use crate::figure::{Case, Figure};
use crate::load::{Pacing, Timing};
use crate::memif::timed::Timed;
use crate::port::Opening;
use crate::run::Run;
use crate::shapes::{pair, socketpair};
use crate::wake::Way;
use crate::worker::Role;

/// Shares of what the same two processes can do at most, in percent.
const LOADS: [u32; 3] = [10, 50, 90];
const FULL_LOAD: &str = "100 % load";
const MEMIF: &str = "memif";

/// A way of a packet, whether its receiver blocks, and the ports.
type Loaded = (&'static str, bool, [&'static str; 2]);

const WAYS: [Loaded; 4] = [
    ("VALE, spinning", false, ["vale1:rx", "vale1:tx"]),
    ("VALE, blocking", true, ["vale2:rx", "vale2:tx"]),
    ("pipe, spinning", false, ["late1}1", "late1{1"]),
    ("pipe, blocking", true, ["late2}1", "late2{1"]),
];

/// One way at some loads, and round trips.
pub fn latency(run: &mut Run, bench: &Bench) {
    run.title("latency one way, 60 bytes; first what the same processes deliver at most: Mpps");
    one_way(run, bench);
    run.title("round trips, one packet under way: microseconds");
    match round_trips(bench) {
        Ok(columns) => {
            run.hold(bench, contest("ping-pong".into(), Kind::Latency, columns));
        }
        Err(why) => run.skip(format!("latency, ping-pong: {why}")),
    }
}

fn contest(label: String, kind: Kind, columns: Vec<Column>) -> Contest {
    Contest {
        suite: "latency",
        case: Case::named(label),
        kind,
        columns,
    }
}

fn one_way(run: &mut Run, bench: &Bench) {
    let most = WAYS.map(|way| Column::new(way.0, by_load(bench, way, 0.0), &[]));
    let most = contest(FULL_LOAD.into(), Kind::Rate, most.into());
    let Some(most) = run.hold(bench, most).map(rates) else {
        return;
    };
    // By itself: where memif cannot be measured, ours are.
    let memif = Timed::build().map_err(|why| run.skip(format!("memif latency: {why}")));
    let memif = memif.ok().and_then(|memif| {
        let column = Column::new(MEMIF, by_memif(bench, &memif, 100, 0.0), &[]);
        let label = format!("{FULL_LOAD}, {MEMIF}");
        let held = run.hold(bench, contest(label, Kind::Rate, vec![column]))?;
        Some((memif, *rates(held).first()?))
    });
    for load in LOADS {
        // Never 0, which stands for as much as possible.
        let share = |most: f64| (most * f64::from(load) / 100.0).max(1.0);
        let ours = WAYS.iter().zip(&most).map(|(way, most)| {
            let peer = memif.is_some() && !way.1;
            let of: &[usize] = if peer { &[WAYS.len()] } else { &[] };
            Column::new(way.0, by_load(bench, *way, share(*most)), of)
        });
        let mut columns: Vec<Column> = ours.collect();
        columns.extend(memif.as_ref().map(|(memif, most)| {
            Column::new(MEMIF, by_memif(bench, memif, load, share(*most)), &[])
        }));
        let label = format!("{load} % load");
        run.hold(bench, contest(label, Kind::Latency, columns));
    }
}

/// Packets a second of each column.
fn rates(figures: Vec<Vec<Figure>>) -> Vec<f64> {
    let rate = |column: &Vec<Figure>| column.first().map_or(0.0, |f| f.range.median * 1e6);
    figures.iter().map(rate).collect()
}

/// A receiver that compares clocks, and a sender of so many packets a second; 0: as many as it can.
fn by_load(bench: &Bench, (_, blocking, [rx, tx]): Loaded, per_second: f64) -> Vec<Part> {
    let receiver = Timing {
        port: Opening::of(rx),
        mac: RECEIVER,
        blocking,
    };
    let sender = Pacing {
        port: Opening::of(tx),
        flow: (RECEIVER, SENDER),
        per_second,
    };
    pair(bench, Role::Time(receiver), Role::Load(sender))
}

/// The same over memif, at that load in percent.
fn by_memif(bench: &Bench, memif: &Timed, load: u32, per_second: f64) -> Vec<Part> {
    let name = format!("load-{load}");
    let [receiver, sender] = memif.ends(&name, per_second).map(Role::Memif);
    pair(bench, receiver, sender)
}

fn round_trips(bench: &Bench) -> Result<Vec<Column>, String> {
    let mut columns = vec![Column::new("socketpair", by_sockets(bench, false)?, &[])];
    columns.extend(WAYS.map(|(name, blocking, ports)| {
        let parts = by_ports(bench, ports, !blocking, false);
        Column::new(name, parts, if blocking { &[0] } else { &[] })
    }));
    Ok(columns)
}

/// Round trips of two that block in poll, and the way to one that sleeps for certain.
pub fn wakeup(run: &mut Run, bench: &Bench) {
    run.title("waking a receiver that blocks in poll: microseconds");
    for (label, asleep) in [("ping-pong round trip", false), ("receiver asleep", true)] {
        let sockets = match by_sockets(bench, asleep) {
            Ok(sockets) => sockets,
            Err(why) => {
                run.skip(format!("wakeup, {label}: {why}"));
                continue;
            }
        };
        let vale = by_ports(bench, ["vale0:wake2", "vale0:wake1"], false, asleep);
        let contest = Contest {
            suite: "wakeup",
            case: Case::named(label),
            kind: Kind::Latency,
            columns: vec![
                Column::new("socketpair", sockets, &[]),
                Column::new("VALE", vale, &[0]),
            ],
        };
        run.hold(bench, contest);
    }
}

/// Who answers (or is woken up), and who begins.
fn roles([answering, beginning]: [Way; 2], asleep: bool) -> [Role; 2] {
    match asleep {
        true => [Role::Wake(answering), Role::Pace(beginning)],
        false => [Role::Pong(answering), Role::Ping(beginning)],
    }
}

fn by_ports(bench: &Bench, [near, far]: [&str; 2], spins: bool, asleep: bool) -> Vec<Part> {
    let way = |port: &str, mac, peer| Way::Netmap {
        port: port.into(),
        mac,
        peer,
        spins,
    };
    let ways = [way(near, RECEIVER, SENDER), way(far, SENDER, RECEIVER)];
    let [answering, beginning] = roles(ways, asleep);
    pair(bench, answering, beginning)
}

fn by_sockets(bench: &Bench, asleep: bool) -> Result<Vec<Part>, String> {
    let (near, far) = socketpair()?;
    let [answering, beginning] = roles([Way::Socket, Way::Socket], asleep);
    Ok(vec![
        Part::new(bench.cpus[1], answering).with(near),
        Part::new(bench.cpus[0], beginning).with(far),
    ])
}
