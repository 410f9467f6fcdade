//! What happened at ports between two reports: counts, and rates.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use uvale_link::report;

use super::counters::{Direction, Line, directions};
use super::table::Shown;

/// Shortest time, in seconds, that a rate is computed over.
const MEANINGFUL: f64 = 0.05;

/// What happened at a port.
#[derive(Serialize)]
pub struct PortChange {
    /// its name
    pub name: String,
    /// what it sent
    pub tx: Direction<Change>,
    /// what it received
    pub rx: Direction<Change>,
    /// the port as it is now
    #[serde(skip)]
    pub port: report::Port,
}

/// What happened at a ring, or at all of a direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// packets
    pub packets: u64,
    /// bytes
    pub bytes: u64,
    /// packets dropped
    pub dropped: u64,
    /// drops and faults by reason, those that happened
    reasons: BTreeMap<&'static str, u64>,
    /// packets per second; like all rates, `None` if the time was too short
    pub packets_per_second: Option<f64>,
    bits_per_second: Option<f64>,
    dropped_per_second: Option<f64>,
    /// drops and faults per second by reason
    why: BTreeMap<&'static str, f64>,
}

/// What happened at `now`'s ports since `before`, `seconds` ago.
pub fn changes(now: &[report::Port], before: &[report::Port], seconds: f64) -> Vec<PortChange> {
    let old: HashMap<&str, _> = before
        .iter()
        .map(|port| (port.name.as_str(), port))
        .collect();
    now.iter()
        .map(|port| {
            let before = old
                .get(port.name.as_str())
                .filter(|old| lives_on(old, port));
            let before = before.map(|old| directions(old));
            let [old_tx, old_rx] = match &before {
                Some([tx, rx]) => [Some(tx), Some(rx)],
                None => [None, None],
            };
            let [tx, rx] = directions(port);
            PortChange {
                name: port.name.clone(),
                tx: differences(&tx, old_tx, seconds),
                rx: differences(&rx, old_rx, seconds),
                port: port.clone(),
            }
        })
        .collect()
}

/// Is it still the same port? If nobody has kept it open it was opened anew, and counted from zero.
fn lives_on(before: &report::Port, now: &report::Port) -> bool {
    let unattended = before.holders.is_empty() && now.holders.is_empty();
    unattended
        || before
            .holders
            .iter()
            .any(|holder| now.holders.contains(holder))
}

/// Changes of one direction. Another port under the same name, with other rings or with counters
/// that went back, has counted from zero.
fn differences(
    now: &Direction<Line>,
    before: Option<&Direction<Line>>,
    seconds: f64,
) -> Direction<Change> {
    let same = before.filter(|before| {
        now.rings.len() == before.rings.len()
            && now
                .rings
                .iter()
                .zip(&before.rings)
                .all(|(n, b)| is_later(n, b))
    });
    let zero = Line::default();
    let old = |index: usize| same.map_or(&zero, |before| &before.rings[index]);
    Direction {
        total: difference(&now.total, same.map_or(&zero, |b| &b.total), seconds),
        rings: now
            .rings
            .iter()
            .enumerate()
            .map(|(index, line)| difference(line, old(index), seconds))
            .collect(),
    }
}

fn is_later(now: &Line, before: &Line) -> bool {
    now.packets >= before.packets
        && now.bytes >= before.bytes
        && now.reasons().zip(before.reasons()).all(|(n, b)| n.1 >= b.1)
}

fn difference(now: &Line, before: &Line, seconds: f64) -> Change {
    let rate = |count: u64| (seconds >= MEANINGFUL).then(|| count as f64 / seconds);
    let packets = now.packets.saturating_sub(before.packets);
    let bytes = now.bytes.saturating_sub(before.bytes);
    let dropped = now.dropped().saturating_sub(before.dropped());
    let reasons: BTreeMap<_, _> = now
        .reasons()
        .zip(before.reasons())
        .map(|((key, now), (_, before))| (key, now.saturating_sub(before)))
        .filter(|(_, count)| *count > 0)
        .collect();
    Change {
        packets_per_second: rate(packets),
        bits_per_second: rate(bytes).map(|bytes| bytes * 8.0),
        dropped_per_second: rate(dropped),
        why: reasons
            .iter()
            .filter_map(|(key, count)| Some((*key, rate(*count)?)))
            .collect(),
        packets,
        bytes,
        dropped,
        reasons,
    }
}

impl Change {
    /// Packets dropped per second.
    pub fn dropped_per_second(&self) -> f64 {
        self.dropped_per_second.unwrap_or(0.0)
    }

    /// Its rates.
    pub fn rates(&self) -> Shown {
        Shown {
            packets: self.packets_per_second.unwrap_or(0.0),
            amount: self.bits_per_second.unwrap_or(0.0),
            dropped: self.dropped_per_second(),
            why: self.why.iter().map(|(key, n)| (*key, *n)).collect(),
        }
    }

    /// Its counts.
    pub fn counts(&self) -> Shown {
        Shown {
            packets: self.packets as f64,
            amount: self.bytes as f64,
            dropped: self.dropped as f64,
            why: self
                .reasons
                .iter()
                .map(|(key, n)| (*key, *n as f64))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::tests::{port, rx, tx};
    use super::*;

    #[test]
    fn rates_are_differences_by_time() {
        let before = [port("a", vec![tx(100, 1)], vec![rx(10, 0)])];
        let now = [port("a", vec![tx(300, 1)], vec![rx(30, 40)])];
        let changes = changes(&now, &before, 2.0);
        let a = &changes[0];
        let (tx, rx) = (&a.tx.total, &a.rx.total);
        assert_eq!((tx.packets, tx.packets_per_second), (200, Some(100.0)));
        assert_eq!(tx.bits_per_second, Some(100.0 * 60.0 * 8.0));
        assert_eq!((tx.dropped_per_second, tx.why.len()), (Some(0.0), 0));
        assert_eq!((rx.dropped, rx.dropped_per_second), (40, Some(20.0)));
        assert_eq!(rx.why, BTreeMap::from([("full", 20.0)]));
        assert_eq!(rx.reasons, BTreeMap::from([("full", 40)]));
        assert_eq!(*tx, a.tx.rings[0]);
    }

    #[test]
    fn no_time_has_no_rate() {
        let now = [port("a", vec![tx(300, 1)], vec![rx(30, 40)])];
        let changes = changes(&now, &[], 0.001);
        let total = &changes[0].tx.total;
        assert_eq!((total.packets, total.packets_per_second), (300, None));
    }

    #[test]
    fn a_port_that_is_new_or_came_anew_has_counted_from_zero() {
        let before = [port("a", vec![tx(100, 0)], vec![rx(500, 0)])];
        let now = [
            port("a", vec![tx(40, 0)], vec![rx(500, 0)]),
            port("b", vec![tx(7, 0)], Vec::new()),
        ];
        let changes = changes(&now, &before, 1.0);
        assert_eq!(changes[0].tx.total.packets, 40);
        assert_eq!(changes[1].tx.total.packets, 7);
        assert_eq!(changes[1].rx.total.packets, 0);
    }

    #[test]
    fn a_port_that_another_process_opened_anew_has_counted_from_zero() {
        let held = |pid, packets| {
            let mut port = port("a", vec![tx(packets, 0)], Vec::new());
            port.holders = vec![super::super::counters::tests::holder(pid)];
            port
        };
        let packets = |before, now| changes(&[now], &[before], 1.0)[0].tx.total.packets;
        assert_eq!(packets(held(1, 100), held(1, 150)), 50);
        assert_eq!(packets(held(1, 100), held(2, 150)), 150);
    }

    #[test]
    fn rings_that_changed_in_number_are_of_another_port() {
        let before = [port("a", vec![tx(1, 0)], Vec::new())];
        let now = [port("a", vec![tx(2, 0), tx(3, 0)], Vec::new())];
        let changes = changes(&now, &before, 1.0);
        let packets: Vec<u64> = changes[0].tx.shown().map(|r| r.packets).collect();
        assert_eq!(packets, [5, 2, 3]);
    }
}
