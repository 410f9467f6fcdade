//! Programs that no preloaded library reaches: what a sync costs them, beside what the kernel's part of it costs alone.
//!
//! | way | *bare* | *sync* |
//! |---|---|---|
//! | notification | a call that a filter hands over to another process, which answers it | `uvale run --reach=notify` |
//! | signal | a call that the kernel traps, answered by a handler that does nothing else | `uvale run --reach=trap` |
//!
//! The same loop of single calls in all of them, in turns. The two processes of a call that is handed over stay on one
//! processor, here and there: the kernel can change between them at once then.

mod bare;
pub mod parts;
#[allow(unsafe_code)]
pub mod raw;
mod syncs;

use super::contest::{Bench, Column, Contest, Kind, Part};
use super::figure::Case;
use super::shapes::socketpair;
use super::worker::Role;
use parts::{Part as Act, Reach};

/// A sync by that way, without and with a packet, and the bare call.
pub fn syncs(bench: &Bench, reach: Reach) -> Result<Contest, String> {
    let cpu = bench.cpus[0];
    let part = |part| Part::new(cpu, Role::Reach(part));
    let bare = match reach {
        Reach::Notify => {
            let (near, far) = socketpair()?;
            // Who answers is there when the first call is made.
            vec![part(Act::Answers).with(near), part(Act::Calls).with(far)]
        }
        Reach::Trap => vec![part(Act::Traps)],
    };
    let reached = |switch: &str, with_packet| {
        let syncs = Act::Syncs {
            switch: switch.into(),
            with_packet,
        };
        vec![Part {
            reach: Some(reach),
            ..part(syncs)
        }]
    };
    Ok(Contest {
        suite: "reach",
        case: Case::named(match reach {
            Reach::Notify => "notification",
            Reach::Trap => "signal",
        }),
        kind: Kind::Calls,
        columns: vec![
            Column::new("bare", bare, &[]),
            Column::new("sync", reached("vale1", false), &[0]),
            Column::new("packet", reached("vale2", true), &[0]),
        ],
    })
}

/// Packets from one program to another one, both preloaded, and both served by notification.
pub fn by_notification(
    path: &str,
    preloaded: Vec<Part>,
    notified: Vec<Part>,
    case: Case,
) -> Contest {
    let notify = |part| Part {
        reach: Some(Reach::Notify),
        ..part
    };
    let notified = notified.into_iter().map(notify).collect();
    Contest {
        suite: "reach",
        case: Case {
            label: path.into(),
            ..case
        },
        kind: Kind::Rate,
        columns: vec![
            Column::new("preloaded", preloaded, &[]),
            Column::new("notified", notified, &[0]),
        ],
    }
}
