//! What is printed: tables as the figures come in, then the targets; or one JSON object.

use serde::Serialize;

use super::cases::{Case, Figures, Path};
use super::measure::{Outcome, percentile};

/// Beyond this spread of the limit the absolute figures say little: on a virtual machine the host
/// may move the processors about, near to each other and far from each other.
const UNSTEADY: f64 = 1.5;

/// One case: million packets a second, and ratios.
#[derive(Debug, Serialize)]
pub struct Row {
    path: &'static str,
    pub senders: usize,
    pub receivers: usize,
    pub len: u16,
    pub batch: u32,
    /// delivered by the bare loop
    pub limit: f64,
    /// delivered to receivers that spin on NIOCRXSYNC, and what was sent
    pub spinning: f64,
    spinning_sent: f64,
    /// delivered to receivers that block in poll, and what was sent
    pub blocking: f64,
    blocking_sent: f64,
    pub spinning_to_limit: f64,
    pub blocking_to_spinning: f64,
    /// largest over smallest rate of the limit's windows: how unsteady the machine was
    limit_spread: f64,
    /// other programs took processor time in every window of a column
    pub disturbed: bool,
}

impl Row {
    /// Figures of a case.
    pub fn new(case: Case, figures: &Figures) -> Self {
        let Figures {
            limit,
            spinning,
            blocking,
        } = figures;
        Self {
            path: match case.path {
                Path::Vale => "vale",
                Path::Pipe => "pipe",
            },
            senders: case.senders,
            receivers: case.receivers,
            len: case.len,
            batch: case.batch,
            limit: limit.rate().delivered,
            spinning: spinning.rate().delivered,
            spinning_sent: spinning.rate().sent,
            blocking: blocking.rate().delivered,
            blocking_sent: blocking.rate().sent,
            spinning_to_limit: spinning.ratio(limit),
            blocking_to_spinning: blocking.ratio(spinning),
            limit_spread: limit.spread(),
            disturbed: [limit, spinning, blocking].iter().any(|o| o.is_disturbed()),
        }
    }

    /// Is it the case `senders` to `receivers` of this path?
    pub fn is(&self, path: &str, senders: usize, receivers: usize) -> bool {
        self.path == path && (self.senders, self.receivers) == (senders, receivers)
    }

    /// The head of the table.
    pub fn head() -> String {
        format!(
            "{:>5} {:>5} {:>9} {:>9} {:>7} {:>9} {:>9} {:>7} {:>9}",
            "bytes",
            "batch",
            "limit",
            "spinning",
            "/limit",
            "(sent)",
            "blocking",
            "/spin",
            "(sent)"
        )
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let mark = match self.limit_spread {
            _ if self.disturbed => "  disturbed".into(),
            spread if spread > UNSTEADY => format!("  unsteady ({spread:.1}x)"),
            _ => String::new(),
        };
        format!(
            "{:>5} {:>5} {:>9.2} {:>9.2} {:>7.2} {:>9.2} {:>9.2} {:>7.2} {:>9.2}{mark}",
            self.len,
            self.batch,
            self.limit,
            self.spinning,
            self.spinning_to_limit,
            self.spinning_sent,
            self.blocking,
            self.blocking_to_spinning,
            self.blocking_sent,
        )
    }
}

/// Latencies over VALE and over a socketpair, in microseconds.
#[derive(Debug, Serialize)]
pub struct WakeUp {
    what: &'static str,
    vale_median: f64,
    vale_p99: f64,
    socketpair_median: f64,
    socketpair_p99: f64,
    pub ratio: f64,
}

impl WakeUp {
    /// From the samples of both; `None` if one has none.
    pub fn new(what: &'static str, [vale, bare]: &[Outcome; 2]) -> Option<Self> {
        let us = |o: &Outcome, p| Some(f64::from(percentile(&o.samples, p)?) / 1000.0);
        let (vale_median, socketpair_median) = (us(vale, 50)?, us(bare, 50)?);
        Some(Self {
            what,
            vale_median,
            vale_p99: us(vale, 99)?,
            socketpair_median,
            socketpair_p99: us(bare, 99)?,
            ratio: ratio(vale_median, socketpair_median),
        })
    }

    /// A line of text.
    pub fn line(&self) -> String {
        format!(
            "{:<22} VALE {:>7.2} (99%: {:>7.2})   socketpair {:>7.2} (99%: {:>7.2})   ratio {:.2}",
            self.what,
            self.vale_median,
            self.vale_p99,
            self.socketpair_median,
            self.socketpair_p99,
            self.ratio
        )
    }
}

/// `a` in terms of `b`; 0 of nothing.
pub fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Everything, as `--json` prints it.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// processors that were used
    pub processors: Vec<usize>,
    /// load average before the start
    pub load: f64,
    /// million packets a second
    pub rows: Vec<Row>,
    /// microseconds
    pub wake_ups: Vec<WakeUp>,
    /// NIC ports
    pub nic: super::nic::Figures,
    /// programs that no preload reaches
    pub reach: super::reach::Figures,
    /// million packets a second
    pub memif: Option<f64>,
    /// ordinary calls, in nanoseconds
    pub preload: Vec<super::preload::Cost>,
    pub targets: Vec<Target>,
    /// what was not measured, and why
    pub skipped: Vec<String>,
}

/// A figure that is wanted.
#[derive(Debug, Serialize)]
pub struct Target {
    name: &'static str,
    value: f64,
    /// bound
    wanted: f64,
    /// is the bound an upper one?
    at_most: bool,
    pub met: bool,
}

impl Target {
    /// `name` is `value`, and should be `wanted` at most or at least.
    pub fn new(name: &'static str, value: f64, wanted: f64, at_most: bool) -> Self {
        let met = if at_most {
            value <= wanted
        } else {
            value >= wanted
        };
        Self {
            name,
            value,
            wanted,
            at_most,
            met,
        }
    }

    /// A line of text.
    pub fn line(&self) -> String {
        let sign = if self.at_most { "<=" } else { ">=" };
        let met = if self.met { "met" } else { "MISSED" };
        format!(
            "{:<52} {:>8.2}  {sign} {:<6} {met}",
            self.name, self.value, self.wanted
        )
    }
}

impl Report {
    /// Compares what was measured with what is wanted.
    pub fn judge(&mut self) {
        let mut targets = Vec::new();
        for wanted in &WANTED {
            let row = match wanted.batch {
                Batch::One => self.single(wanted.path),
                Batch::Largest => self.largest(wanted.path),
            };
            let Some(row) = row else { continue };
            for (name, figure, least) in wanted.least {
                targets.push(Target::new(name, figure(row), *least, false));
            }
        }
        for (name, path, least) in TIMES_MEMIF {
            if let (Some(memif), Some(row)) = (self.memif, self.largest(path)) {
                targets.push(Target::new(name, ratio(row.spinning, memif), least, false));
            }
        }
        for wake_up in &self.wake_ups {
            let name = match wake_up.what {
                PING_PONG => "poll ping-pong: times socketpair",
                _ => "waking a sleeper: times socketpair",
            };
            targets.push(Target::new(name, wake_up.ratio, 1.5, true));
        }
        targets.extend(self.nic.targets());
        targets.extend(self.reach.targets());
        self.targets = targets;
    }

    /// Rows of one sender and one receiver with small packets.
    fn small(&self, path: &str) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(move |row| row.is(path, 1, 1) && row.len == 60)
    }

    fn single(&self, path: &str) -> Option<&Row> {
        self.small(path).find(|row| row.batch == 1)
    }

    fn largest(&self, path: &str) -> Option<&Row> {
        self.small(path)
            .max_by_key(|row| row.batch)
            .filter(|row| row.batch > 1)
    }
}

/// What is wanted of a row: a name, the figure, the least that it should be.
type Least = (&'static str, fn(&Row) -> f64, f64);

/// Which row of a path.
enum Batch {
    One,
    Largest,
}

struct Wanted {
    path: &'static str,
    batch: Batch,
    least: &'static [Least],
}

const WANTED: [Wanted; 3] = [
    Wanted {
        path: "vale",
        batch: Batch::Largest,
        least: &[
            (
                "VALE, largest batch: of the limit",
                |r| r.spinning_to_limit,
                0.6,
            ),
            (
                "VALE, largest batch: Mpps (quiet machine)",
                |r| r.spinning,
                60.0,
            ),
            (
                "VALE, blocking receiver: of spinning",
                |r| r.blocking_to_spinning,
                0.7,
            ),
        ],
    },
    Wanted {
        path: "vale",
        batch: Batch::One,
        least: &[(
            "VALE, one packet a sync: of the limit",
            |r| r.spinning_to_limit,
            0.6,
        )],
    },
    Wanted {
        path: "pipe",
        batch: Batch::Largest,
        least: &[
            (
                "pipe, largest batch: of the limit",
                |r| r.spinning_to_limit,
                0.5,
            ),
            (
                "pipe, largest batch: Mpps (quiet machine)",
                |r| r.spinning,
                200.0,
            ),
            (
                "pipe, blocking receiver: of spinning",
                |r| r.blocking_to_spinning,
                0.7,
            ),
        ],
    },
];

/// Largest batches compared with memif: a name, the path, how many times at least.
const TIMES_MEMIF: [(&str, &str, f64); 2] = [
    ("VALE: times memif", "vale", 1.3),
    ("pipe: times memif", "pipe", 4.0),
];

/// Name of the wake-up figure that is a round trip.
pub const PING_PONG: &str = "ping-pong round trip";
/// Name of the other.
pub const ASLEEP: &str = "receiver asleep";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Rate, Window};

    fn outcome(delivered: f64) -> Outcome {
        let rate = Rate {
            sent: delivered,
            delivered,
        };
        Outcome {
            windows: vec![Window {
                rate,
                disturbed: false,
            }],
            samples: Vec::new(),
        }
    }

    #[test]
    fn targets_are_judged_by_the_largest_batch_and_the_single_packet() {
        let case = |batch| Case {
            path: Path::Vale,
            senders: 1,
            receivers: 1,
            len: 60,
            batch,
        };
        let figures = |limit, spinning, blocking| Figures {
            limit: outcome(limit),
            spinning: outcome(spinning),
            blocking: outcome(blocking),
        };
        let rows = vec![
            Row::new(case(1), &figures(10.0, 5.0, 5.0)),
            Row::new(case(256), &figures(100.0, 70.0, 60.0)),
        ];
        let mut report = Report {
            rows,
            memif: Some(60.0),
            ..Default::default()
        };
        report.judge();
        let met: Vec<_> = report.targets.iter().map(|t| (t.name, t.met)).collect();
        assert_eq!(
            met,
            [
                ("VALE, largest batch: of the limit", true),
                ("VALE, largest batch: Mpps (quiet machine)", true),
                ("VALE, blocking receiver: of spinning", true),
                ("VALE, one packet a sync: of the limit", false),
                ("VALE: times memif", false),
            ]
        );
    }

    #[test]
    fn latency_has_an_upper_bound() {
        let samples = |ns| Outcome {
            samples: vec![ns; 3],
            ..Default::default()
        };
        let wake_up = WakeUp::new(ASLEEP, &[samples(4000), samples(2000)]).unwrap();
        let mut report = Report {
            wake_ups: vec![wake_up],
            ..Default::default()
        };
        report.judge();
        assert_eq!(report.targets[0].value, 2.0);
        assert!(!report.targets[0].met);
        assert!(WakeUp::new(ASLEEP, &[outcome(0.0), samples(1)]).is_none());
    }
}
