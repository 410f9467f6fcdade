//! What else hands packets or messages from one process to another one, in turns with ours.

use std::time::Duration;

use crate::addresses::RECEIVER;
use crate::contest::{Bench, Column, Contest, Kind, Part, Who};
use crate::figure::{Case, Figure};
use crate::iceoryx::{self, Meeting};
use crate::limit::part::Part as Limit;
use crate::measure::Windows;
use crate::memif::{Over, Setup};
use crate::run::Run;
use crate::shapes::{limit_pair, limit_vale, on_pipe, on_switch, pair, socketpair};
use crate::worker::Role;

/// testpmd's figures come by its command line, so its windows must be long for the time of an answer to be little.
const MEMIF_WINDOW: Duration = Duration::from_millis(300);

/// testpmd over memif, and between two of its threads.
pub fn memif(run: &mut Run, bench: &Bench) {
    run.title("DPDK memif (testpmd), 60 bytes, in turns with ours: Mpps delivered");
    testpmd(run, bench, Over::Memif, "memif");
    run.title("DPDK rings (testpmd), between two threads, in turns with ours: Mpps delivered");
    testpmd(run, bench, Over::Rings, "rings");
}

fn testpmd(run: &mut Run, bench: &Bench, over: Over, name: &str) {
    let windows = Windows {
        length: bench.windows.length.max(MEMIF_WINDOW),
        ..bench.windows
    };
    for batch in run.args.batches(&[1, 32, 256], &[32]) {
        let setup = match Setup::new(over, batch) {
            Ok(setup) => setup,
            Err(why) => return run.skip(format!("{name}: {why}")),
        };
        let peer = Column {
            name: name.into(),
            who: Who::Testpmd(setup),
            of: Vec::new(),
        };
        let (case, columns) = match over {
            Over::Memif => (Case::of(60, batch), with_limits(bench, peer, batch)),
            Over::Rings => {
                let case = Case::named(name).and(60, batch);
                (case, ours(bench, vec![peer], batch))
            }
        };
        let contest = Contest {
            suite: "memif",
            case,
            kind: Kind::Peers,
            columns,
        };
        let held = run.hold_for(bench, contest, windows);
        ranges(run, held);
    }
}

/// Messages of 60 bytes.
pub fn peers(run: &mut Run, bench: &Bench) {
    run.title(
        "60-byte messages by a channel of two threads (crossbeam), a socketpair, iceoryx2, and ours: Mpps",
    );
    if let Some(why) = iceoryx::missing() {
        run.skip(format!("iceoryx2: {why}"));
    }
    for batch in run.args.batches(&[1, 32], &[1]) {
        let sockets = match socketpair() {
            Ok((near, far)) => vec![
                Part::new(bench.cpus[1], Role::MessageReceive).with(near),
                Part::new(bench.cpus[0], Role::MessageSend).with(far),
            ],
            Err(why) => return run.skip(format!("peers: {why}")),
        };
        let sender_cpu = bench.cpus[0];
        let channel = vec![Part::new(bench.cpus[1], Role::Channel { sender_cpu })];
        let mut peers = vec![
            Column::new("channel", channel, &[]),
            Column::new("socketpair", sockets, &[]),
        ];
        // It goes when they have been measured.
        let meeting = match iceoryx::missing() {
            None => Meeting::new().map(Some),
            Some(_) => Ok(None),
        };
        let meeting = match meeting {
            Ok(meeting) => meeting,
            Err(why) => return run.skip(format!("peers: {why}")),
        };
        peers.extend(meeting.as_ref().map(|meeting| {
            let [receiver, sender] = [false, true].map(|sends| Role::Iceoryx(meeting.end(sends)));
            Column::new("iceoryx2", pair(bench, receiver, sender), &[])
        }));
        let columns = ours(bench, peers, batch);
        let contest = Contest {
            suite: "peers",
            case: Case::of(60, batch),
            kind: Kind::Peers,
            columns,
        };
        let held = run.hold(bench, contest);
        ranges(run, held);
    }
}

/// Peers, then VALE and a pipe, which are compared with each of them.
fn ours(bench: &Bench, mut columns: Vec<Column>, batch: u32) -> Vec<Column> {
    let peers: Vec<usize> = (0..columns.len()).collect();
    let shape = (60, batch);
    let vale = on_switch(bench, "vale1", shape, false);
    columns.push(Column::new("VALE", vale, &peers));
    let pipe = on_pipe(bench, "peer1", shape, false);
    columns.push(Column::new("pipe", pipe, &peers));
    columns
}

/// A peer, and beside ours the limits of both, which say what could be had in terms of the peer.
fn with_limits(bench: &Bench, peer: Column, batch: u32) -> Vec<Column> {
    let (shape, lane) = ((60, batch), 1);
    let vale_limit = limit_vale(bench, 0, shape, &[RECEIVER]);
    let pipe_limit = Limit::Pipe {
        lane,
        batch,
        len: 60,
    };
    let vale = on_switch(bench, "vale1", shape, false);
    let pipe = on_pipe(bench, "peer1", shape, false);
    vec![
        peer,
        Column::new("VALE's limit", vale_limit, &[0]),
        Column::new("pipe's limit", limit_pair(bench, lane, pipe_limit), &[0]),
        Column::new("VALE", vale, &[0, 1]),
        Column::new("pipe", pipe, &[0, 2]),
    ]
}

/// One sample of a peer would flatter us: medians are told with their ranges.
fn ranges(run: &Run, held: Option<Vec<Vec<Figure>>>) {
    for figure in held.iter().flatten().flatten() {
        run.say(&format!("  {:<12} {}", figure.what, figure.range));
    }
}
