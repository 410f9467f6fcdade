//! A contest: columns that are measured in turns, window by window, and the figures that come of it.
//!
//! With another build (`--against`) each column of netmap workers has a twin, whose workers are the same with the other
//! build's shim and daemon.

use std::os::fd::OwnedFd;

use uvale_wire::Carrier;

use super::board::{Board, GROUPS, WORKERS};
use super::difference::Difference;
use super::figure::{Case, Figure, Range, Ratio, Unit};
use super::measure::{Outcome, Party, Windows, measure};
use super::memif;
use super::nic::namespaces::Namespaces;
use super::reach::parts::Reach;
use super::worker::{Role, Spec};
use super::world::{Group, World};

/// Where and with what everything runs.
pub struct Bench {
    pub board: Board,
    pub world: World,
    /// of another build
    pub other: Option<World>,
    pub cpus: Vec<usize>,
    pub windows: Windows,
    pub real_time: bool,
}

/// A worker of a column.
pub struct Part {
    pub cpu: usize,
    pub role: Role,
    pub namespaces: Option<Namespaces>,
    pub reach: Option<Reach>,
    pub carrier: Carrier,
    /// its standard output
    pub output: Option<OwnedFd>,
}

impl Part {
    /// A worker on that processor.
    pub fn new(cpu: usize, role: Role) -> Self {
        Self {
            cpu,
            role,
            namespaces: None,
            reach: None,
            carrier: Carrier::Best,
            output: None,
        }
    }

    /// With this as its standard output.
    pub fn with(self, output: OwnedFd) -> Self {
        Self {
            output: Some(output),
            ..self
        }
    }
}

/// Who is measured in a column.
pub enum Who {
    /// workers, in the order in which they start: receivers first, so that they are known when packets come
    Workers(Vec<Part>),
    /// DPDK's testpmd over memif
    Testpmd(memif::Setup),
}

/// A column.
pub struct Column {
    pub name: String,
    pub who: Who,
    /// columns that it is compared with
    pub of: Vec<usize>,
}

impl Column {
    /// A column of workers that is compared with those columns.
    pub fn new(name: impl Into<String>, parts: Vec<Part>, of: &[usize]) -> Self {
        Self {
            name: name.into(),
            who: Who::Workers(parts),
            of: of.to_vec(),
        }
    }

    /// May another build play it, too? What namespaces hold, and whose stdout is given away, is there once.
    fn twin(&self) -> Option<Vec<Part>> {
        let Who::Workers(parts) = &self.who else {
            return None;
        };
        let twin = |part: &Part| {
            let plain = part.namespaces.is_none() && part.output.is_none() && part.reach.is_none();
            plain.then(|| Part::new(part.cpu, part.role.clone()))
        };
        let ours = parts.iter().any(|part| part.role.is_netmap());
        if ours {
            parts.iter().map(twin).collect()
        } else {
            None
        }
    }
}

/// What the figures of a contest are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// packets a second
    Rate,
    /// the same, and ours in terms of the best that the peer in the first column has shown
    Peers,
    /// the time of a call
    Calls,
    /// the 50th, 99th and 99.9th percentile of latencies
    Latency,
}

/// Latencies that are told of a column.
pub const PERCENTILES: [(&str, f64); 3] = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Columns that are measured in turns.
pub struct Contest {
    pub suite: &'static str,
    pub case: Case,
    pub kind: Kind,
    pub columns: Vec<Column>,
}

/// What came of it.
pub struct Held {
    /// of each column
    pub figures: Vec<Vec<Figure>>,
    /// between the other build and this one
    pub differences: Vec<Difference>,
}

impl Bench {
    /// Holds a contest with such windows.
    pub fn hold(&self, mut contest: Contest, windows: Windows) -> Result<Held, String> {
        let ours = contest.columns.len();
        let mut twins = Vec::new();
        if self.other.is_some() {
            for (i, column) in contest.columns.iter().enumerate() {
                if let Some(parts) = column.twin() {
                    twins.push((i, Column::new(column.name.clone(), parts, &[])));
                }
            }
        }
        let twin_of: Vec<usize> = twins.iter().map(|(of, _)| *of).collect();
        contest
            .columns
            .extend(twins.into_iter().map(|(_, twin)| twin));
        self.board.reset();
        let mut parties: Vec<Box<dyn Party + '_>> = Vec::new();
        let (mut names, mut next) = (Vec::new(), 0);
        for (number, column) in contest.columns.into_iter().enumerate() {
            names.push((column.name, column.of));
            let world = match &self.other {
                Some(other) if number >= ours => other,
                _ => &self.world,
            };
            parties.push(match column.who {
                Who::Workers(parts) => Box::new(self.start(number, &mut next, parts, world)?),
                Who::Testpmd(setup) => Box::new(setup.start(&self.cpus, self.real_time)?),
            });
        }
        let outcomes = measure(&mut parties, windows)?;
        drop(parties);
        let told = |i: usize| {
            told(
                contest.suite,
                &contest.case,
                contest.kind,
                &names,
                &outcomes,
                i,
            )
        };
        let figures: Option<Vec<_>> = (0..outcomes.len()).map(told).collect();
        let mut figures = figures.ok_or("nothing arrived")?;
        let others = figures.split_off(ours);
        let differences = twin_of.iter().zip(&others).flat_map(|(of, other)| {
            let pairs = other.iter().zip(&figures[*of]);
            pairs.map(|(other, this)| Difference::of(other, this))
        });
        Ok(Held {
            differences: differences.collect(),
            figures,
        })
    }

    fn start<'a>(
        &'a self,
        number: usize,
        next: &mut usize,
        parts: Vec<Part>,
        world: &'a World,
    ) -> Result<Group<'a>, String> {
        if number >= GROUPS || *next + parts.len() > WORKERS {
            return Err("more workers than the bench has room for".into());
        }
        let same = |a: &Part, b: &Part| a.cpu == b.cpu;
        let crowded = parts
            .iter()
            .enumerate()
            .any(|(i, a)| parts[..i].iter().any(|b| same(a, b)));
        let mut specs = Vec::new();
        for part in parts {
            if let Role::Limit(limit) = &part.role {
                limit.prepare(&self.board)?;
            }
            let spec = Spec {
                index: *next,
                group: number,
                cpu: part.cpu,
                // Real-time processes that share a processor take turns far longer than a window.
                real_time: self.real_time && !crowded,
                namespaces: part.namespaces,
                reach: part.reach,
                carrier: part.carrier,
                role: part.role,
            };
            *next += 1;
            specs.push((spec, part.output));
        }
        Group::start(&self.board, number, Some(world), specs)
    }
}

/// The figures of column `i`; `None` if nothing arrived.
fn told(
    suite: &str,
    case: &Case,
    kind: Kind,
    names: &[(String, Vec<usize>)],
    outcomes: &[Outcome],
    i: usize,
) -> Option<Vec<Figure>> {
    let ((name, of), outcome) = (&names[i], &outcomes[i]);
    let figure = |what: String, unit, range, ratios| Figure {
        suite: suite.into(),
        case: case.clone(),
        what,
        unit,
        range,
        sent: None,
        wakeups: outcome.wakeups(),
        windows: outcome.windows().count(),
        disturbed: outcome.is_disturbed(),
        ratios,
    };
    let ratios = |ratio: &dyn Fn(&Outcome) -> Option<Range>| {
        let to = |i: &usize| {
            let range = ratio(outcomes.get(*i)?)?;
            Some(Ratio {
                of: names[*i].0.clone(),
                range,
            })
        };
        of.iter().filter_map(to).collect::<Vec<_>>()
    };
    Some(match kind {
        Kind::Rate | Kind::Peers => {
            let (range, sent) = (outcome.delivered()?, outcome.sent());
            let mut ratios = ratios(&|other| outcome.ratio(other));
            if kind == Kind::Peers && !of.is_empty() {
                let best = outcomes.first()?.best();
                ratios.push(Ratio {
                    of: format!("best of {}", names[0].0),
                    range: Range {
                        median: range.median / best,
                        least: range.least / best,
                        most: range.most / best,
                    },
                });
            }
            vec![Figure {
                sent: (sent > 0.0).then_some(sent),
                ..figure(name.clone(), Unit::Mpps, range, ratios)
            }]
        }
        Kind::Calls => {
            // A slower call has a lower rate.
            let ratios = ratios(&|other| other.ratio(outcome));
            let range = outcome.time_of_one()?;
            vec![figure(name.clone(), Unit::Microseconds, range, ratios)]
        }
        Kind::Latency => {
            let one = |(percentile, percent): &(&str, f64)| {
                let microseconds = |r: Range| Range {
                    median: r.median / 1e3,
                    least: r.least / 1e3,
                    most: r.most / 1e3,
                };
                let range = microseconds(outcome.latency(*percent)?);
                let ratios = ratios(&|other| outcome.latency_ratio(other, *percent));
                let what = format!("{name} {percentile}");
                Some(figure(what, Unit::Microseconds, range, ratios))
            };
            PERCENTILES.iter().map(one).collect::<Option<_>>()?
        }
    })
}
