//! What is wanted of the figures, on an otherwise idle machine.

use serde::{Deserialize, Serialize};

use super::figure::{Figure, Range, Unit};

/// A figure that is wanted.
#[derive(Debug, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    pub value: f64,
    /// bound
    pub wanted: f64,
    /// is the bound an upper one?
    pub at_most: bool,
    pub met: bool,
    /// what it is compared with, and that one's range
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Compared>,
}

/// The column that a figure is compared with.
#[derive(Debug, Serialize, Deserialize)]
pub struct Compared {
    pub what: String,
    pub unit: Unit,
    #[serde(flatten)]
    pub range: Range,
}

impl Target {
    /// A line of text.
    pub fn line(&self) -> String {
        let sign = if self.at_most { "<=" } else { ">=" };
        let met = if self.met { "met" } else { "MISSED" };
        let Self {
            name,
            value,
            wanted,
            ..
        } = self;
        let line = format!("{name:<58} {value:>8.2}  {sign} {wanted:<6} {met}");
        match &self.of {
            Some(Compared { what, unit, range }) => {
                format!("{line:<88} {what} {range} {}", unit.sign())
            }
            None => line,
        }
    }
}

/// Which of a suite's cases.
#[derive(Clone, Copy)]
enum Which {
    /// of this batch
    Batch(u32),
    /// the largest batch, if it is no single packet
    Largest,
    /// with this label
    Label(&'static str),
}

struct Wanted {
    name: &'static str,
    suite: &'static str,
    which: Which,
    /// packets of so many bytes, where a case has them
    bytes: u32,
    /// the column
    what: &'static str,
    /// the column that it is compared with; else the figure itself counts
    of: Option<&'static str>,
    bound: f64,
    at_most: bool,
}

const fn least(
    name: &'static str,
    (suite, which): (&'static str, Which),
    what: &'static str,
    of: Option<&'static str>,
    bound: f64,
) -> Wanted {
    Wanted {
        name,
        suite,
        which,
        bytes: 60,
        what,
        of,
        bound,
        at_most: false,
    }
}

const fn most(
    name: &'static str,
    place: (&'static str, Which),
    what: &'static str,
    of: Option<&'static str>,
    bound: f64,
) -> Wanted {
    Wanted {
        at_most: true,
        ..least(name, place, what, of, bound)
    }
}

use Which::{Batch, Label, Largest};

const LIMIT: Option<&str> = Some("limit");
const SPINNING: Option<&str> = Some("spinning");
const HALF_LOAD: (&str, Which) = ("latency", Label("50 % load"));
const PING_PONG: (&str, Which) = ("wakeup", Label("ping-pong round trip"));
const ASLEEP: (&str, Which) = ("wakeup", Label("receiver asleep"));
const NOTIFIED: (&str, Which) = ("reach", Label("notification"));

#[rustfmt::skip]
const WANTED: &[Wanted] = &[
    least("VALE, batch 1: of the limit", ("vale", Batch(1)), "spinning", LIMIT, 0.4),
    least("VALE, batch 8: of the limit", ("vale", Batch(8)), "spinning", LIMIT, 0.7),
    least("VALE, batch 32: of the limit", ("vale", Batch(32)), "spinning", LIMIT, 0.8),
    least("VALE, batch 256: of the limit", ("vale", Batch(256)), "spinning", LIMIT, 0.9),
    least("VALE, largest batch: Mpps (quiet machine)", ("vale", Largest), "spinning", None, 60.0),
    least("VALE, blocking receiver: of spinning", ("vale", Largest), "blocking", SPINNING, 0.7),
    least("pipe, batch 1: of the limit", ("pipe", Batch(1)), "spinning", LIMIT, 0.4),
    least("pipe, batch 8: of the limit", ("pipe", Batch(8)), "spinning", LIMIT, 0.6),
    least("pipe, batch 32: of the limit", ("pipe", Batch(32)), "spinning", LIMIT, 0.75),
    least("pipe, batch 256: of the limit", ("pipe", Batch(256)), "spinning", LIMIT, 0.85),
    least("pipe, largest batch: Mpps (quiet machine)", ("pipe", Largest), "spinning", None, 200.0),
    least("pipe, blocking receiver: of spinning", ("pipe", Largest), "blocking", SPINNING, 0.7),
    least("VALE, batch 1: of what a sync owes", ("vale", Batch(1)), "spinning", Some("synced"), 0.8),
    least("VALE, batch 8: of what a sync owes", ("vale", Batch(8)), "spinning", Some("synced"), 0.8),
    least("VALE, batch 32: of what a sync owes", ("vale", Batch(32)), "spinning", Some("synced"), 0.8),
    least("VALE, batch 256: of what a sync owes", ("vale", Batch(256)), "spinning", Some("synced"), 0.8),
    least("pipe, batch 1: of what a sync owes", ("pipe", Batch(1)), "spinning", Some("synced"), 0.8),
    least("pipe, batch 8: of what a sync owes", ("pipe", Batch(8)), "spinning", Some("synced"), 0.8),
    least("pipe, batch 32: of what a sync owes", ("pipe", Batch(32)), "spinning", Some("synced"), 0.8),
    least("pipe, batch 256: of what a sync owes", ("pipe", Batch(256)), "spinning", Some("synced"), 0.8),
    least("64 flows mixed: of one flow", ("mixed", Largest), "64 flows", Some("1 flow"), 0.75),
    Wanted {
        bytes: 1514,
        ..least("1514 bytes: of memcpy", ("sizes", Largest), "VALE", Some("memcpy"), 0.85)
    },
    least("flooding to 8: of the limit", ("flood", Label("8 receivers")), "spinning", LIMIT, 0.7),
    least("252 ports in random use: of 2", ("ports", Largest), "252 ports", Some("2 ports"), 0.9),
    most("one way at 50 % load, spinning, VALE: p50 in us", HALF_LOAD, "VALE, spinning p50", None, 5.0),
    most("one way at 50 % load, VALE: of memif's p50", HALF_LOAD, "VALE, spinning p50", Some("memif"), 1.0),
    most("poll ping-pong: times socketpair", PING_PONG, "VALE p50", Some("socketpair"), 1.5),
    most("waking a sleeper: times socketpair", ASLEEP, "VALE p50", Some("socketpair"), 1.5),
    least("VALE: times memif's best, burst 1", ("memif", Batch(1)), "VALE", Some("best of memif"), 3.0),
    least("VALE: times memif's best, burst 32", ("memif", Batch(32)), "VALE", Some("best of memif"), 3.0),
    least("pipe: times memif's best, burst 1", ("memif", Batch(1)), "pipe", Some("best of memif"), 3.0),
    least("pipe: times memif's best, burst 32", ("memif", Batch(32)), "pipe", Some("best of memif"), 8.0),
    most("an idle port: kB touched", ("memory", Label("an idle port")), "all", None, 200.0),
    least("NIC, port sends: of a bare pair", ("nic", Label("AF_PACKET")), "port tx", Some("bare V3"), 0.9),
    least("NIC, port receives: of a bare pair", ("nic", Label("AF_PACKET")), "port rx", Some("bare V3"), 0.9),
    least("NIC, AF_XDP, port sends: of a bare pair", ("nic", Label("AF_XDP")), "port tx", Some("bare XDP"), 0.9),
    least("NIC, AF_XDP, port receives: of a bare pair", ("nic", Label("AF_XDP")), "port rx", Some("bare XDP"), 0.9),
    most("NIC ping-pong: times AF_PACKET", ("nic", Label("ping-pong")), "port p50", Some("AF_PACKET"), 1.3),
    least("NIC, joined: of a pipe", ("nic", Label("joined")), "joined", Some("pipe"), 0.95),
    least("NIC, joined: Mpps", ("nic", Label("joined")), "joined", None, 40.0),
    most("NIC, joined after REGISTER: p50 in us", ("nic", Label("until joined")), "after REGISTER p50", None, 10_000.0),
    most("sync by notification: times a bare one", ("reach", Label("notification")), "sync", Some("bare"), 2.0),
    most("sync by notification, with a packet: times a bare one", NOTIFIED, "packet", Some("bare"), 2.0),
    most("sync by a signal: times a bare one", ("reach", Label("signal")), "sync", Some("bare"), 2.0),
    most("sync by a signal, with a packet: times a bare one", ("reach", Label("signal")), "packet", Some("bare"), 2.0),
    least("VALE by notification: Mpps (quiet machine)", ("reach", Label("VALE")), "notified", None, 10.0),
    least("pipe by notification: Mpps (quiet machine)", ("reach", Label("pipe")), "notified", None, 10.0),
];

/// What was measured of what is wanted.
pub fn judge(figures: &[Figure]) -> Vec<Target> {
    WANTED
        .iter()
        .filter_map(|wanted| wanted.judge(figures))
        .collect()
}

impl Wanted {
    fn judge(&self, figures: &[Figure]) -> Option<Target> {
        let fits = |figure: &&Figure| {
            let case = &figure.case;
            let fits = match self.which {
                Batch(n) => case.batch == Some(n) && case.label.is_empty(),
                Largest => case.batch.is_none_or(|n| n > 1) && case.label.is_empty(),
                Label(label) => case.label == label,
            };
            let of_size = case.bytes.is_none_or(|n| n == self.bytes);
            fits && of_size && figure.suite == self.suite && figure.what == self.what
        };
        let figure = figures.iter().filter(fits).max_by_key(|f| f.case.batch)?;
        let value = match self.of {
            Some(of) => figure.ratio(of)?.median,
            None => figure.range.median,
        };
        let compared = self.of.and_then(|of| {
            let of = of.trim_start_matches("best of ");
            let percentile = figure
                .what
                .rsplit_once(' ')
                .map(|(_, p)| format!("{of} {p}"));
            let is_it = |f: &&Figure| f.what == of || Some(&f.what) == percentile.as_ref();
            let same = |f: &&Figure| f.suite == figure.suite && f.case == figure.case;
            figures.iter().filter(same).find(is_it)
        });
        let met = match self.at_most {
            true => value <= self.bound,
            false => value >= self.bound,
        };
        Some(Target {
            name: self.name.into(),
            value,
            wanted: self.bound,
            at_most: self.at_most,
            met,
            of: compared.map(|f| Compared {
                what: f.what.clone(),
                unit: f.unit,
                range: f.range,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Case, Ratio};

    fn figure(suite: &str, case: Case, what: &str, value: f64, (of, ratio): (&str, f64)) -> Figure {
        Figure {
            suite: suite.into(),
            case,
            what: what.into(),
            unit: Unit::Mpps,
            range: Range::exactly(value),
            sent: None,
            wakeups: None,
            windows: 1,
            disturbed: false,
            ratios: vec![Ratio {
                of: of.into(),
                range: Range::exactly(ratio),
            }],
        }
    }

    fn judged(figures: &[Figure]) -> Vec<(String, f64, bool)> {
        let told = |t: Target| (t.name, t.value, t.met);
        judge(figures).into_iter().map(told).collect()
    }

    #[test]
    fn the_batch_and_the_size_decide_which_figure_is_judged() {
        let spinning = |bytes, batch, rate, ratio| {
            figure(
                "vale",
                Case::of(bytes, batch),
                "spinning",
                rate,
                ("limit", ratio),
            )
        };
        let figures = [
            spinning(60, 1, 5.0, 0.39),
            spinning(60, 256, 70.0, 0.9),
            spinning(60, 64, 65.0, 0.8),
            spinning(1500, 256, 1.0, 0.1),
        ];
        let expected = [
            ("VALE, batch 1: of the limit".to_owned(), 0.39, false),
            ("VALE, batch 256: of the limit".to_owned(), 0.9, true),
            (
                "VALE, largest batch: Mpps (quiet machine)".to_owned(),
                70.0,
                true,
            ),
        ];
        assert_eq!(judged(&figures), expected);
    }

    #[test]
    fn labels_and_upper_bounds() {
        let asleep = |label| {
            figure(
                "wakeup",
                Case::named(label),
                "VALE p50",
                9.0,
                ("socketpair", 1.6),
            )
        };
        let expected = ("waking a sleeper: times socketpair".to_owned(), 1.6, false);
        assert_eq!(judged(&[asleep("receiver asleep")]), [expected]);
        assert!(judged(&[asleep("something else")]).is_empty());
    }

    #[test]
    fn a_peer_is_told_with_its_range() {
        let ours = figure(
            "memif",
            Case::of(60, 1),
            "VALE",
            9.0,
            ("best of memif", 0.5),
        );
        let range = Range {
            median: 12.0,
            least: 6.0,
            most: 18.0,
        };
        let peer = Figure {
            what: "memif".into(),
            range,
            ..ours.clone()
        };
        let elsewhere = Figure {
            case: Case::of(60, 32),
            ..peer.clone()
        };
        let lines = |figures: &[Figure]| -> Vec<String> {
            judge(figures).iter().map(Target::line).collect()
        };
        let told = lines(&[elsewhere.clone(), peer, ours.clone()]);
        assert!(
            told[0].ends_with("memif 12.00 (6.00..18.00) Mpps"),
            "{told:?}"
        );
        let alone = lines(&[elsewhere, ours]);
        assert!(alone[0].ends_with("MISSED"), "{alone:?}");
    }
}
