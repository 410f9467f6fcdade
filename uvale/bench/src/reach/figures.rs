//! Rows of the section, and what is wanted of them.

use serde::Serialize;

use super::parts::Reach;
use crate::cases::{Case, Path};
use crate::measure::{Outcome, median};
use crate::report::Target;

/// All of the section.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    pub syncs: Vec<Syncs>,
    pub packets: Vec<Packets>,
}

/// Some values: the middle, the least and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    median: f64,
    least: f64,
    most: f64,
}

impl Range {
    /// `None` of no values.
    fn of(values: &[f64]) -> Option<Self> {
        let least = values.iter().copied().reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        Some(Self {
            median: median(values.to_vec()),
            least,
            most,
        })
    }

    /// Microseconds a call.
    fn of_calls(outcome: &Outcome) -> Option<Self> {
        let calls = outcome.rates().map(|r| r.delivered);
        let times: Vec<f64> = calls.filter(|r| *r > 0.0).map(|r| 1.0 / r).collect();
        Self::of(&times)
    }

    fn text(&self) -> String {
        format!("{:.2} ({:.2}-{:.2})", self.median, self.least, self.most)
    }
}

/// One way: a bare call, and syncs, in microseconds; ratios are the median of the rounds'.
#[derive(Debug, Serialize)]
pub struct Syncs {
    way: &'static str,
    bare: Range,
    /// of a ring in which nothing is to be sent
    sync: Range,
    sync_to_bare: Range,
    /// with one packet, which another port receives
    packet: Range,
    packet_to_bare: Range,
    /// other programs took processor time in every window of a column
    disturbed: bool,
}

impl Syncs {
    /// Figures of the bare call, of a sync without and with a packet.
    pub fn new(reach: Reach, outcomes: &[Outcome]) -> Result<Self, String> {
        let [bare, sync, packet] = outcomes else {
            return Err("three groups have three outcomes".into());
        };
        let made = || {
            Some(Self {
                way: match reach {
                    Reach::Notify => "notification",
                    Reach::Trap => "signal",
                },
                bare: Range::of_calls(bare)?,
                sync: Range::of_calls(sync)?,
                // a slower call has a lower rate
                sync_to_bare: Range::of(&bare.ratios(sync))?,
                packet: Range::of_calls(packet)?,
                packet_to_bare: Range::of(&bare.ratios(packet))?,
                disturbed: outcomes.iter().any(Outcome::is_disturbed),
            })
        };
        made().ok_or_else(|| "no calls were made".into())
    }

    /// The head of the table.
    pub fn head() -> String {
        format!(
            "{:>12} {:>18} {:>18} {:>18} {:>18} {:>18}",
            "", "bare call", "sync", "/bare", "with a packet", "/bare"
        )
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let mark = if self.disturbed { "  disturbed" } else { "" };
        let [bare, sync, ratio, packet, packets] = [
            &self.bare,
            &self.sync,
            &self.sync_to_bare,
            &self.packet,
            &self.packet_to_bare,
        ]
        .map(Range::text);
        format!(
            "{:>12} {bare:>18} {sync:>18} {ratio:>18} {packet:>18} {packets:>18}{mark}",
            self.way
        )
    }
}

/// Million packets a second delivered: both programs preloaded, and both served by notification.
#[derive(Debug, Serialize)]
pub struct Packets {
    path: &'static str,
    len: u16,
    batch: u32,
    preloaded: Range,
    notified: Range,
    disturbed: bool,
}

impl Packets {
    /// Figures of a case.
    pub fn new(case: Case, preloaded: &Outcome, notified: &Outcome) -> Result<Self, String> {
        let rates = |outcome: &Outcome| {
            let rates: Vec<f64> = outcome.rates().map(|r| r.delivered).collect();
            Range::of(&rates).ok_or("nothing was measured")
        };
        Ok(Self {
            path: match case.path {
                Path::Vale => "vale",
                Path::Pipe => "pipe",
            },
            len: case.len,
            batch: case.batch,
            preloaded: rates(preloaded)?,
            notified: rates(notified)?,
            disturbed: preloaded.is_disturbed() || notified.is_disturbed(),
        })
    }

    /// The head of the table.
    pub fn head() -> String {
        let (both, columns) = ("both ends", ["path", "bytes", "batch"]);
        let [path, bytes, batch] = columns;
        format!(
            "{path:>5} {bytes:>5} {batch:>5} {:>22} {:>22}   ({both})",
            "preload", "notify"
        )
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let mark = if self.disturbed { "  disturbed" } else { "" };
        let [preloaded, notified] = [&self.preloaded, &self.notified].map(Range::text);
        format!(
            "{:>5} {:>5} {:>5} {preloaded:>22} {notified:>22}{mark}",
            self.path, self.len, self.batch
        )
    }
}

impl Figures {
    /// What is wanted, of what was measured.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        let syncs = self.syncs.iter().flat_map(|row| {
            let names = match row.way {
                "signal" => [
                    "sync by a signal: times a bare one",
                    "sync by a signal, with a packet: times a bare one",
                ],
                _ => [
                    "sync by notification: times a bare one",
                    "sync by notification, with a packet: times a bare one",
                ],
            };
            let ratios = [row.sync_to_bare, row.packet_to_bare];
            let target = |(name, ratio): (_, Range)| Target::new(name, ratio.median, 2.0, true);
            names.into_iter().zip(ratios).map(target)
        });
        let small = self
            .packets
            .iter()
            .filter(|p| (p.len, p.batch) == (60, 256));
        let packets = small.map(|row| {
            let name = match row.path {
                "pipe" => "pipe by notification, batch 256: Mpps (quiet machine)",
                _ => "VALE by notification, batch 256: Mpps (quiet machine)",
            };
            Target::new(name, row.notified.median, 10.0, false)
        });
        syncs.chain(packets)
    }
}
