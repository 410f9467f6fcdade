//! Counters of a port: its rings, their sums, and the reasons of drops.

use serde::Serialize;
use uvale_link::report::{self, RxRing, TxRing};

/// A port as the daemon reports it, and sums over its rings.
#[derive(Serialize)]
pub struct WithTotal {
    #[serde(flatten)]
    port: report::Port,
    total: Total,
}

#[derive(Serialize)]
struct Total {
    tx: TxRing,
    rx: RxRing,
}

impl From<report::Port> for WithTotal {
    fn from(port: report::Port) -> Self {
        let total = Total {
            tx: port.tx.iter().cloned().sum(),
            rx: port.rx.iter().cloned().sum(),
        };
        Self { port, total }
    }
}

/// Reasons by their key in the JSON, with how often.
type Reasons = [(&'static str, u64); 3];

/// A ring's counters, or their sum, in the form that both directions share.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    /// packets
    pub packets: u64,
    /// bytes
    pub bytes: u64,
    /// packets dropped, by reason
    drops: Reasons,
    /// what went wrong besides
    faults: Reasons,
}

impl From<&TxRing> for Line {
    fn from(ring: &TxRing) -> Self {
        Self {
            packets: ring.packets,
            bytes: ring.bytes,
            drops: [
                ("short", ring.drops.short),
                ("no_destination", ring.drops.no_destination),
                ("no_receiver", ring.drops.no_receiver),
            ],
            // A bad slot counts as a slot. Its packet is sent without it, or counts as a short frame.
            faults: [
                ("bad_slot", ring.drops.bad_slot),
                ("truncated", ring.truncated),
                ("reinit", ring.reinit),
            ],
        }
    }
}

impl From<&RxRing> for Line {
    fn from(ring: &RxRing) -> Self {
        Self {
            packets: ring.packets,
            bytes: ring.bytes,
            drops: [
                ("full", ring.drops.full),
                ("unconvertible", ring.drops.unconvertible),
                ("stuck", ring.drops.stuck),
            ],
            // Counts fragments: as in netmap they arrive empty, and the packet with them.
            faults: [("bad_copy", ring.drops.bad_copy), ("", 0), ("", 0)],
        }
    }
}

impl Line {
    /// Packets dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().map(|(_, n)| n).sum()
    }

    /// Drops by their key in the JSON.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.drops.into_iter()
    }

    /// Faults by their key in the JSON.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.faults.into_iter().filter(|(key, _)| !key.is_empty())
    }

    /// Drops and faults by their key in the JSON.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.drops.into_iter().chain(self.faults)
    }
}

/// Drops and faults in words, those that occurred: `receiver full 400, bad slot 1`.
pub fn in_words(reasons: impl Iterator<Item = (&'static str, String)>) -> String {
    let words = |key| match key {
        "short" => "short frame",
        "no_destination" => "no destination",
        "no_receiver" => "nobody receiving",
        "bad_slot" => "bad slot",
        "truncated" => "chain cut off",
        "reinit" => "bad head or cur",
        "full" => "receiver full",
        "stuck" => "ring held by a stopped process",
        "unconvertible" => "header not convertible",
        "bad_copy" => "bad copy",
        other => other,
    };
    let list: Vec<_> = reasons
        .map(|(key, n)| format!("{} {n}", words(key)))
        .collect();
    list.join(", ")
}

/// A total and the rings it is of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Direction<T> {
    /// all rings together
    pub total: T,
    /// ring by ring
    pub rings: Vec<T>,
}

impl<T> Direction<T> {
    /// The same of something else.
    pub fn map<U>(&self, to: impl Fn(&T) -> U) -> Direction<U> {
        Direction {
            total: to(&self.total),
            rings: self.rings.iter().map(to).collect(),
        }
    }

    /// What a table shows: the total, and the rings if there is more than one.
    pub fn shown(&self) -> impl Iterator<Item = &T> {
        let rings = if self.rings.len() == 1 {
            &[]
        } else {
            self.rings.as_slice()
        };
        core::iter::once(&self.total).chain(rings)
    }
}

/// The tx and the rx side of a port.
pub fn directions(port: &report::Port) -> [Direction<Line>; 2] {
    [
        Direction {
            total: Line::from(&port.tx.iter().cloned().sum::<TxRing>()),
            rings: port.tx.iter().map(Line::from).collect(),
        },
        Direction {
            total: Line::from(&port.rx.iter().cloned().sum::<RxRing>()),
            rings: port.rx.iter().map(Line::from).collect(),
        },
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use uvale_link::report::{RxDrops, TxDrops};

    use super::*;

    /// A port with these rings.
    pub fn port(name: &str, tx: Vec<TxRing>, rx: Vec<RxRing>) -> report::Port {
        report::Port {
            name: name.into(),
            kind: "vale".into(),
            switch: Some("vale0".into()),
            number: Some(0),
            users: 1,
            tx,
            rx,
            ..report::Port::default()
        }
    }

    /// A process named `bridge`.
    pub fn holder(pid: i32) -> report::Holder {
        report::Holder {
            program: "bridge".into(),
            pid,
            ..report::Holder::default()
        }
    }

    /// A tx ring with these counters.
    pub fn tx(packets: u64, short: u64) -> TxRing {
        TxRing {
            packets,
            bytes: packets * 60,
            drops: TxDrops {
                short,
                ..TxDrops::default()
            },
            ..TxRing::default()
        }
    }

    /// An rx ring with these counters.
    pub fn rx(packets: u64, full: u64) -> RxRing {
        RxRing {
            packets,
            bytes: packets * 60,
            drops: RxDrops {
                full,
                ..RxDrops::default()
            },
            ..RxRing::default()
        }
    }

    #[test]
    fn every_reason_and_fault_is_told() {
        let tx = TxRing {
            drops: TxDrops {
                bad_slot: 1,
                short: 2,
                no_destination: 3,
                no_receiver: 9,
            },
            reinit: 4,
            truncated: 5,
            ..TxRing::default()
        };
        let rx = RxRing {
            drops: RxDrops {
                full: 6,
                bad_copy: 7,
                unconvertible: 8,
                stuck: 10,
            },
            ..RxRing::default()
        };
        let (tx, rx) = (Line::from(&tx), Line::from(&rx));
        let why = |line: &Line| {
            let there = line.reasons().filter(|(_, n)| *n > 0);
            in_words(there.map(|(key, n)| (key, n.to_string())))
        };
        assert_eq!(
            why(&tx),
            "short frame 2, no destination 3, nobody receiving 9, bad slot 1, chain cut off 5, bad head or cur 4"
        );
        assert_eq!(
            why(&rx),
            "receiver full 6, header not convertible 8, ring held by a stopped process 10, bad copy 7"
        );
        assert_eq!((tx.dropped(), rx.dropped()), (14, 24));
    }

    #[test]
    fn json_has_the_port_and_its_totals() {
        let port = port(
            "vale0:a",
            vec![tx(3, 1), tx(4, 2)],
            vec![rx(10, 4), rx(1, 2)],
        );
        let json = serde_json::to_value(WithTotal::from(port)).unwrap();
        assert_eq!(json["name"], "vale0:a");
        assert_eq!(json["tx"][1]["packets"], 4);
        assert_eq!(json["total"]["tx"]["packets"], 7);
        assert_eq!(json["total"]["tx"]["drops"]["short"], 3);
        assert_eq!(json["total"]["rx"]["drops"]["full"], 6);
        assert_eq!(json["total"]["rx"]["bytes"], 660);
    }
}
