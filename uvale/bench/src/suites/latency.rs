//! Latencies: one way under load, round trips, and waking a sleeper.

use crate::addresses::{RECEIVER, SENDER};
use crate::contest::{Bench, Column, Contest, Kind, Part};
use crate::figure::Case;
use crate::load::{Pacing, Timing};
use crate::port::Opening;
use crate::run::Run;
use crate::shapes::{pair, socketpair};
use crate::wake::Way;
use crate::worker::Role;

/// Shares of what the same two processes can do at most, in percent.
const LOADS: [u32; 3] = [10, 50, 90];

/// The ways of a packet, and whether its receiver blocks.
const WAYS: [(&str, bool, [&str; 2]); 4] = [
    ("VALE, spinning", false, ["vale1:rx", "vale1:tx"]),
    ("VALE, blocking", true, ["vale2:rx", "vale2:tx"]),
    ("pipe, spinning", false, ["late1}1", "late1{1"]),
    ("pipe, blocking", true, ["late2}1", "late2{1"]),
];

/// One way at some loads, and round trips.
pub fn latency(run: &mut Run, bench: &Bench) {
    run.title("latency one way, 60 bytes; first what the same processes deliver at most: Mpps");
    let one_way = |(name, blocking, [rx, tx]): (&str, bool, [&str; 2]), per_second: f64| {
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
        let parts = pair(bench, Role::Time(receiver), Role::Load(sender));
        Column::new(name, parts, &[])
    };
    let contest = |label: String, kind, columns| Contest {
        suite: "latency",
        case: Case::named(label),
        kind,
        columns,
    };
    let most = WAYS.map(|way| one_way(way, 0.0)).into_iter().collect();
    let most = run.hold(bench, contest("100 % load".into(), Kind::Rate, most));
    if let Some(most) = most {
        for load in LOADS {
            let share = f64::from(load) / 100.0;
            let columns = WAYS.iter().zip(&most).map(|(way, most)| {
                let most = most.first().map_or(0.0, |f| f.range.median);
                // Never 0, which stands for as much as possible.
                one_way(*way, (most * 1e6 * share).max(1.0))
            });
            let columns = columns.collect();
            run.hold(
                bench,
                contest(format!("{load} % load"), Kind::Latency, columns),
            );
        }
    }
    run.title("round trips, one packet under way: microseconds");
    match round_trips(bench) {
        Ok(columns) => {
            run.hold(bench, contest("ping-pong".into(), Kind::Latency, columns));
        }
        Err(why) => run.skip(format!("latency, ping-pong: {why}")),
    }
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
