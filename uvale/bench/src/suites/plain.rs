//! One sender, one receiver.

use crate::addresses::RECEIVER;
use crate::contest::{Bench, Column, Contest, Kind, Part};
use crate::figure::Case;
use crate::limit::part::Part as Limit;
use crate::port::Opening;
use crate::run::Run;
use crate::shapes::{limit_pair, limit_vale, on_pipe, on_switch, pair, receiving, sending, synced};
use crate::worker::Role;

const BATCHES: [u32; 6] = [1, 8, 32, 64, 256, 512];

/// On a switch.
pub fn vale(run: &mut Run, bench: &Bench) {
    run.title("VALE, 1 to 1: Mpps delivered");
    for shape in shapes(run) {
        let limit = |lane| limit_vale(bench, lane, shape, &[RECEIVER]);
        let of = |switch, blocking| on_switch(bench, switch, shape, blocking);
        let columns = [
            limit(0),
            synced(limit(1)),
            of("vale1", false),
            of("vale2", true),
        ];
        run.hold(bench, contest("vale", shape, columns));
    }
}

/// On a pipe.
pub fn pipe(run: &mut Run, bench: &Bench) {
    run.title("pipe: Mpps delivered");
    for shape in shapes(run) {
        let (len, batch) = shape;
        let limit = |lane| limit_pair(bench, lane, Limit::Pipe { lane, batch, len });
        let of = |pipe, blocking| on_pipe(bench, pipe, shape, blocking);
        let columns = [
            limit(0),
            synced(limit(1)),
            of("bench1", false),
            of("bench2", true),
        ];
        run.hold(bench, contest("pipe", shape, columns));
    }
}

fn shapes(run: &Run) -> Vec<(u16, u32)> {
    let batches = run.args.batches(&BATCHES, &[1, 256]);
    let sizes = run.args.sizes(&[60, 1500], &[60]);
    let with = |len| batches.iter().map(move |batch| (len, *batch));
    sizes.into_iter().flat_map(with).collect()
}

fn contest(suite: &'static str, (len, batch): (u16, u32), columns: [Vec<Part>; 4]) -> Contest {
    let [limit, synced, spinning, blocking] = columns;
    Contest {
        suite,
        case: Case::of(len.into(), batch),
        kind: Kind::Rate,
        columns: vec![
            Column::new("limit", limit, &[]),
            Column::new("synced", synced, &[0]),
            Column::new("spinning", spinning, &[0, 1]),
            Column::new("blocking", blocking, &[2]),
        ],
    }
}

/// Bytes, compared with `memcpy` between the buffers of the two.
pub fn sizes(run: &mut Run, bench: &Bench) {
    run.title("sizes, compared with memcpy: Mpps delivered (9000 bytes are 5 slots)");
    let sizes: Vec<u32> = match (&run.args.size[..], run.args.quick) {
        ([], true) => vec![1514, 9000],
        ([], false) => vec![60, 256, 1514, 9000],
        (given, _) => given.iter().map(|len| u32::from(*len)).collect(),
    };
    for batch in run.args.batches(&[64], &[64]) {
        for len in sizes.iter().copied() {
            // As many as fit into a ring at a time.
            let batch = batch.min(1023 / len.div_ceil(2048));
            let limit = limit_pair(
                bench,
                0,
                Limit::Memcpy {
                    lane: 0,
                    batch,
                    len,
                },
            );
            let mut receiver = receiving(Opening::of("vale1:rx"), false);
            receiver.chains = len > 2048;
            let mut sender = sending(Opening::of("vale1:tx"), batch, 0);
            sender.len = len;
            let vale = pair(bench, Role::Receive(receiver), Role::Send(sender));
            let contest = Contest {
                suite: "sizes",
                case: Case::of(len, batch),
                kind: Kind::Rate,
                columns: vec![
                    Column::new("memcpy", limit, &[]),
                    Column::new("VALE", vale, &[0]),
                ],
            };
            run.hold(bench, contest);
        }
    }
}
