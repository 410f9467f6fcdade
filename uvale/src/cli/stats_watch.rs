//! `uvale stats --watch`: rates, from the difference of two reports.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;
use uvale::report;
use uvale::session::Session;

use super::show::NO_PORT;
use super::stats::{DIRECTIONS, Direction, Line, chosen, directions, in_words, place};
use super::table::{Align, Table, print, rate};

/// To the terminal's top left corner, and everything from there on erased.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Prints rates every `interval` until a signal ends the process, or the daemon leaves.
pub fn run(
    session: &Session,
    names: &[String],
    interval: Duration,
    json: bool,
) -> Result<ExitCode, String> {
    let terminal = std::io::stdout().is_terminal() && !json;
    let mut before = Sample::take(session, names)?;
    let mut due = before.taken + interval;
    loop {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Sample::take(session, names)?;
        let rates = now.rates_since(&before);
        let text = if json {
            serde_json::to_string(&rates).map_err(|e| e.to_string())? + "\n"
        } else if terminal {
            format!("{CLEAR}{}", rates.text())
        } else {
            rates.text() + "\n"
        };
        if !print(&text)? {
            return Ok(ExitCode::SUCCESS);
        }
        // after a time of being stopped, no burst of catching up
        due = (due + interval).max(now.taken);
        before = now;
    }
}

/// Counters at a moment.
struct Sample {
    taken: Instant,
    ports: Vec<report::Port>,
}

impl Sample {
    fn take(session: &Session, names: &[String]) -> Result<Self, String> {
        let ports = chosen(session, names)?;
        Ok(Self {
            taken: Instant::now(),
            ports,
        })
    }

    fn rates_since(&self, before: &Self) -> Rates {
        let seconds = self.taken.duration_since(before.taken).as_secs_f64();
        rates(&self.ports, &before.ports, seconds)
    }
}

/// What happened between two samples.
#[derive(Serialize)]
struct Rates {
    /// time between them
    seconds: f64,
    ports: Vec<PortRates>,
}

#[derive(Serialize)]
struct PortRates {
    name: String,
    tx: Direction<Rate>,
    rx: Direction<Rate>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Rate {
    packets_per_second: f64,
    bits_per_second: f64,
    dropped_per_second: f64,
    /// drops and faults per second by reason, those that happened
    why: BTreeMap<&'static str, f64>,
}

fn rates(now: &[report::Port], before: &[report::Port], seconds: f64) -> Rates {
    let old: HashMap<&str, _> = before
        .iter()
        .map(|port| (port.name.as_str(), directions(port)))
        .collect();
    let ports = now.iter().map(|port| {
        let [tx, rx] = directions(port);
        let [old_tx, old_rx] = match old.get(port.name.as_str()) {
            Some([tx, rx]) => [Some(tx), Some(rx)],
            None => [None, None],
        };
        PortRates {
            name: port.name.clone(),
            tx: differences(&tx, old_tx, seconds),
            rx: differences(&rx, old_rx, seconds),
        }
    });
    Rates {
        seconds,
        ports: ports.collect(),
    }
}

/// Rates of one direction. Another port under the same name, with other rings or with counters
/// that went back, has counted from zero.
fn differences(
    now: &Direction<Line>,
    before: Option<&Direction<Line>>,
    seconds: f64,
) -> Direction<Rate> {
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

fn difference(now: &Line, before: &Line, seconds: f64) -> Rate {
    let per_second =
        |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds.max(f64::MIN_POSITIVE);
    Rate {
        packets_per_second: per_second(now.packets, before.packets),
        bits_per_second: per_second(now.bytes, before.bytes) * 8.0,
        dropped_per_second: per_second(now.dropped(), before.dropped()),
        why: now
            .reasons()
            .zip(before.reasons())
            .map(|(now, old)| (now.0, per_second(now.1, old.1)))
            .filter(|(_, rate)| *rate > 0.0)
            .collect(),
    }
}

impl Rates {
    fn text(&self) -> String {
        let head = format!("per second, over {:.1} s\n", self.seconds);
        if self.ports.is_empty() {
            return head + NO_PORT;
        }
        let mut table = Table::new(&[
            ("PORT", Align::Left),
            ("", Align::Left),
            ("", Align::Left),
            ("PACKETS/S", Align::Right),
            ("BITS/S", Align::Right),
            ("DROPS/S", Align::Right),
            ("WHY", Align::Left),
        ]);
        for port in &self.ports {
            for (direction, name) in [&port.tx, &port.rx].into_iter().zip(DIRECTIONS) {
                for (index, line) in direction.shown().enumerate() {
                    let numbers = [
                        rate(line.packets_per_second),
                        rate(line.bits_per_second),
                        rate(line.dropped_per_second),
                        in_words(line.why.iter().map(|(key, n)| (*key, rate(*n)))),
                    ];
                    table.row(place(&port.name, name, index).into_iter().chain(numbers));
                }
            }
        }
        head + &table.text()
    }
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{port, rx, tx};
    use super::*;

    #[test]
    fn rates_are_differences_by_time() {
        let before = [port("a", vec![tx(100, 1)], vec![rx(10, 0)])];
        let now = [port("a", vec![tx(300, 1)], vec![rx(30, 40)])];
        let rates = rates(&now, &before, 2.0);
        let a = &rates.ports[0];
        let (tx, rx) = (&a.tx.total, &a.rx.total);
        assert_eq!(tx.packets_per_second, 100.0);
        assert_eq!(tx.bits_per_second, 100.0 * 60.0 * 8.0);
        assert_eq!((tx.dropped_per_second, tx.why.len()), (0.0, 0));
        assert_eq!(rx.dropped_per_second, 20.0);
        assert_eq!(rx.why, BTreeMap::from([("full", 20.0)]));
        assert_eq!(*tx, a.tx.rings[0]);
        assert!(
            rates.text().contains("receiver full 20"),
            "{}",
            rates.text()
        );
    }

    #[test]
    fn a_port_that_is_new_or_came_anew_has_counted_from_zero() {
        let before = [port("a", vec![tx(100, 0)], vec![rx(500, 0)])];
        let now = [
            port("a", vec![tx(40, 0)], vec![rx(500, 0)]),
            port("b", vec![tx(7, 0)], Vec::new()),
        ];
        let rates = rates(&now, &before, 1.0);
        assert_eq!(rates.ports[0].tx.total.packets_per_second, 40.0);
        assert_eq!(rates.ports[1].tx.total.packets_per_second, 7.0);
        assert_eq!(rates.ports[1].rx.total.packets_per_second, 0.0);
    }

    #[test]
    fn rings_that_changed_in_number_are_of_another_port() {
        let before = [port("a", vec![tx(1, 0)], Vec::new())];
        let now = [port("a", vec![tx(2, 0), tx(3, 0)], Vec::new())];
        let rates = rates(&now, &before, 1.0);
        let tx = &rates.ports[0].tx;
        let packets: Vec<f64> = tx.shown().map(|r| r.packets_per_second).collect();
        assert_eq!(packets, [5.0, 2.0, 3.0]);
    }

    #[test]
    fn no_ports_is_said() {
        assert!(rates(&[], &[], 1.0).text().contains("no port is open"));
    }
}
