//! `uvale stats`: counters of ports and rings, with drops by reason.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use uvale::proto::Report;
use uvale::report::{self, RxDrops, RxRing, TxDrops, TxRing};
use uvale::session::Session;

use super::show::{NO_PORT, Place, fetch};
use super::stats_watch;
use super::table::{Align, Table, print};

/// Options of `uvale stats`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Print JSON: the daemon's ports with totals; with --watch, rates, one object a line
    #[arg(long)]
    json: bool,
    /// Print rates per second, again and again, every SECONDS
    #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          value_parser = interval)]
    watch: Option<Duration>,
    /// Only this port (may be given several times)
    #[arg(long = "port", short, value_name = "NAME")]
    ports: Vec<String>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (0.1..=86400.0).contains(s));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be 0.1 to 86400 seconds".into())
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let session = args.place.attach()?;
    if let Some(interval) = args.watch {
        return stats_watch::run(&session, &args.ports, interval, args.json);
    }
    let ports = chosen(&session, &args.ports)?;
    for name in &args.ports {
        if !ports.iter().any(|port| port.name == *name) {
            return Err(format!("there is no port {name}; see: uvale ports"));
        }
    }
    let text = if args.json {
        let ports: Vec<_> = ports.into_iter().map(WithTotal::from).collect();
        serde_json::to_string(&ports).map_err(|e| e.to_string())? + "\n"
    } else {
        text(&ports)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The ports as they are now; all of them, or those with these names.
pub fn chosen(session: &Session, names: &[String]) -> Result<Vec<report::Port>, String> {
    let (_, mut ports) = fetch::<Vec<report::Port>>(session, Report::Ports)?;
    ports.retain(|port| names.is_empty() || names.contains(&port.name));
    Ok(ports)
}

/// A port as the daemon reports it, and sums over its rings.
#[derive(Serialize)]
struct WithTotal {
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
            tx: total_tx(&port.tx),
            rx: total_rx(&port.rx),
        };
        Self { port, total }
    }
}

fn total_tx(rings: &[TxRing]) -> TxRing {
    rings.iter().fold(TxRing::default(), |sum, ring| TxRing {
        packets: sum.packets + ring.packets,
        bytes: sum.bytes + ring.bytes,
        drops: TxDrops {
            bad_slot: sum.drops.bad_slot + ring.drops.bad_slot,
            short: sum.drops.short + ring.drops.short,
            no_destination: sum.drops.no_destination + ring.drops.no_destination,
            no_receiver: sum.drops.no_receiver + ring.drops.no_receiver,
        },
        reinit: sum.reinit + ring.reinit,
        truncated: sum.truncated + ring.truncated,
    })
}

fn total_rx(rings: &[RxRing]) -> RxRing {
    rings.iter().fold(RxRing::default(), |sum, ring| RxRing {
        packets: sum.packets + ring.packets,
        bytes: sum.bytes + ring.bytes,
        drops: RxDrops {
            full: sum.drops.full + ring.drops.full,
            bad_copy: sum.drops.bad_copy + ring.drops.bad_copy,
            unconvertible: sum.drops.unconvertible + ring.drops.unconvertible,
            stuck: sum.drops.stuck + ring.drops.stuck,
        },
        wakeups: sum.wakeups + ring.wakeups,
        pending: sum.pending + ring.pending,
    })
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
            // A bad slot counts as a slot. Its packet goes on without it, or is a short frame then.
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

    /// Drops and faults by their key in the JSON.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.drops.into_iter().chain(self.faults)
    }
}

/// Drops and faults in words, those that there were: `receiver full 400, bad slot 1`.
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
            total: Line::from(&total_tx(&port.tx)),
            rings: port.tx.iter().map(Line::from).collect(),
        },
        Direction {
            total: Line::from(&total_rx(&port.rx)),
            rings: port.rx.iter().map(Line::from).collect(),
        },
    ]
}

/// Names of [`directions`].
pub const DIRECTIONS: [&str; 2] = ["tx", "rx"];

/// The first cells of line `index` of a direction: port, direction, ring.
pub fn place(port: &str, direction: &str, index: usize) -> [String; 3] {
    match (index, direction) {
        (0, "tx") => [port.to_owned(), direction.to_owned(), String::new()],
        (0, _) => [String::new(), direction.to_owned(), String::new()],
        (ring, _) => [
            String::new(),
            direction.to_owned(),
            format!("ring {}", ring - 1),
        ],
    }
}

fn text(ports: &[report::Port]) -> String {
    if ports.is_empty() {
        return NO_PORT.to_owned();
    }
    let mut table = Table::new(&[
        ("PORT", Align::Left),
        ("", Align::Left),
        ("", Align::Left),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
        ("DROPPED", Align::Right),
        ("WHY", Align::Left),
    ]);
    for port in ports {
        for (direction, name) in directions(port).iter().zip(DIRECTIONS) {
            for (index, line) in direction.shown().enumerate() {
                let why = line.reasons().filter(|(_, n)| *n > 0);
                let numbers = [
                    line.packets.to_string(),
                    line.bytes.to_string(),
                    line.dropped().to_string(),
                    in_words(why.map(|(key, n)| (key, n.to_string()))),
                ];
                table.row(place(&port.name, name, index).into_iter().chain(numbers));
            }
        }
    }
    table.text()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A port with these rings.
    pub fn port(name: &str, tx: Vec<TxRing>, rx: Vec<RxRing>) -> report::Port {
        report::Port {
            name: name.into(),
            kind: "vale".into(),
            switch: Some("vale0".into()),
            number: Some(0),
            mem_id: 2,
            users: 1,
            holders: Vec::new(),
            virt_hdr_len: 0,
            tx_slots: 1024,
            rx_slots: 1024,
            tx,
            rx,
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

    fn cells(text: &str) -> Vec<Vec<&str>> {
        text.lines()
            .map(|l| l.split_whitespace().collect())
            .collect()
    }

    #[test]
    fn one_ring_is_one_line_and_several_have_a_total() {
        let port = port("vale0:a", vec![tx(3, 1), tx(4, 0)], vec![rx(10, 400)]);
        let text = text(&[port]);
        let rows = cells(&text);
        assert_eq!(
            rows[1],
            ["vale0:a", "tx", "7", "420", "1", "short", "frame", "1"]
        );
        assert_eq!(
            rows[2],
            ["tx", "ring", "0", "3", "180", "1", "short", "frame", "1"]
        );
        assert_eq!(rows[3], ["tx", "ring", "1", "4", "240", "0"]);
        assert_eq!(
            rows[4],
            ["rx", "10", "600", "400", "receiver", "full", "400"]
        );
        assert_eq!(rows.len(), 5);
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

    #[test]
    fn intervals_of_nonsense_are_refused() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "inf", "x", "1e9", ""] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
