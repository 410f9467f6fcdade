//! What may be added to ports: monitors, virtio-net headers.

use nm_abi::{NR_MONITOR_RX, NR_MONITOR_TX, NR_ZCOPY_MON};

use crate::addresses::RECEIVER;
use crate::contest::{Bench, Column, Contest, Kind, Part};
use crate::figure::Case;
use crate::port::Opening;
use crate::run::Run;
use crate::shapes::{limit_vale, on_pipe, on_switch, pair, receiving, sending};
use crate::traffic::Taking;
use crate::worker::Role;

/// A receiver with a monitor on its port, which the receiver's process drains, too.
pub fn monitored(run: &mut Run, bench: &Bench) {
    run.title("a monitor on the receiver: Mpps delivered to the receiver");
    for (len, batch) in run.args.shapes(&[8, 256], &[256]) {
        let shape = (len, batch);
        let monitored = |rx: &str, tx: &str, flags| {
            let mut receiver = receiving(Opening::of(rx), false);
            receiver.ports.push(Taking {
                port: Opening {
                    flags,
                    ..Opening::of(rx)
                },
                macs: Vec::new(),
                counts: false,
            });
            let sender = Role::Send(sending(Opening::of(tx), batch, len));
            pair(bench, Role::Receive(receiver), sender)
        };
        let on_vale = |n, flags| monitored(&format!("vale{n}:rx"), &format!("vale{n}:tx"), flags);
        let on_own_pipe = |n, flags| monitored(&format!("mon{n}}}1"), &format!("mon{n}{{1"), flags);
        type Monitored<'a> = &'a dyn Fn(usize, u64) -> Vec<Part>;
        let paths: [(&str, Vec<Part>, Monitored<'_>); 2] = [
            ("VALE", on_switch(bench, "vale1", shape, false), &on_vale),
            ("pipe", on_pipe(bench, "mon1", shape, false), &on_own_pipe),
        ];
        for (label, plain, monitored) in paths {
            let contest = Contest {
                suite: "monitored",
                case: Case::named(label).and(len.into(), batch),
                kind: Kind::Rate,
                columns: vec![
                    Column::new("plain", plain, &[]),
                    Column::new("copying", monitored(2, NR_MONITOR_RX), &[0]),
                    Column::new(
                        "both ways",
                        monitored(3, NR_MONITOR_RX | NR_MONITOR_TX),
                        &[0],
                    ),
                    Column::new(
                        "zero-copy",
                        monitored(4, NR_MONITOR_RX | NR_ZCOPY_MON),
                        &[0],
                    ),
                ],
            };
            run.hold(bench, contest);
        }
    }
}

/// Headers of 12 bytes in front of the packets, at both ends or at one.
pub fn vnet(run: &mut Run, bench: &Bench) {
    run.title("virtio-net headers, VALE: Mpps delivered");
    for (len, batch) in run.args.shapes(&[8, 256], &[256]) {
        let with = |switch: &str, rx: u8, tx: u8| {
            let port = |name: &str, header| Opening {
                header,
                ..Opening::of(format!("{switch}:{name}"))
            };
            let receiver = Role::Receive(receiving(port("rx", rx), false));
            let sender = Role::Send(sending(port("tx", tx), batch, len));
            pair(bench, receiver, sender)
        };
        let shape = (len, batch);
        let contest = Contest {
            suite: "vnet",
            case: Case::of(len.into(), batch),
            kind: Kind::Rate,
            columns: vec![
                Column::new("limit", limit_vale(bench, 0, shape, &[RECEIVER]), &[]),
                Column::new("without", with("vale1", 0, 0), &[0]),
                Column::new("both", with("vale2", 12, 12), &[1]),
                Column::new("sender only", with("vale3", 0, 12), &[1]),
                Column::new("receiver only", with("vale4", 12, 0), &[1]),
            ],
        };
        run.hold(bench, contest);
    }
}
