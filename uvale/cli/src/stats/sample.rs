//! Counters at a moment, and what happened between two moments.

use std::time::{Duration, Instant};

use serde::Serialize;
use uvale_link::report;
use uvale_link::session::Session;

use super::change::{Change, PortChange, changes};
use super::counters::Direction;
use super::table::{COUNTS, RATES, Row, Shown, Style, text};
use super::{Chosen, round};

/// How long plain `uvale stats` looks, if there is something to suspect.
const LOOK: Duration = Duration::from_millis(100);

/// Counters at a moment.
pub struct Sample {
    /// the moment
    pub taken: Instant,
    /// all ports
    pub ports: Vec<report::Port>,
}

impl Sample {
    /// Asks the daemon.
    pub fn take(session: &Session) -> Result<Self, String> {
        let ports = super::ports(session)?;
        let taken = Instant::now();
        Ok(Self { taken, ports })
    }

    /// What happened since an earlier one.
    pub fn since(&self, before: &Self) -> Changes {
        let seconds = self.taken.duration_since(before.taken).as_secs_f64();
        Changes::between(&self.ports, &before.ports, seconds)
    }

    /// Looks whether packets go round, if a program has two ports that may close a ring.
    pub fn look(&self, session: &Session) -> Result<String, String> {
        if !round::is_possible(&self.ports) {
            return Ok(String::new());
        }
        std::thread::sleep(LOOK);
        Ok(Self::take(session)?.since(self).rounds())
    }
}

/// What happened between two samples.
#[derive(Serialize)]
pub struct Changes {
    /// time between them
    pub seconds: f64,
    /// by port
    pub ports: Vec<PortChange>,
    /// packets that seem to go round, a sentence each
    pub going_round: Vec<String>,
}

impl Changes {
    /// From `before` to `now`, `seconds` later.
    pub fn between(now: &[report::Port], before: &[report::Port], seconds: f64) -> Self {
        let ports = changes(now, before, seconds);
        Self {
            going_round: round::find(&ports, seconds),
            seconds,
            ports,
        }
    }

    /// Those of the ports that are shown.
    pub fn only(mut self, chosen: &Chosen) -> Self {
        self.ports.retain(|change| chosen.has(&change.port));
        self
    }

    /// One object, on a line.
    pub fn json(&self) -> Result<String, String> {
        serde_json::to_string(self)
            .map(|json| json + "\n")
            .map_err(|e| e.to_string())
    }

    /// A table of rates.
    pub fn rates(&self, rings: bool) -> String {
        let head = format!("per second, over {:.1} s\n", self.seconds);
        head + &self.table(&RATES, Change::rates, rings)
    }

    /// A table of counts.
    pub fn counts(&self, rings: bool) -> String {
        self.table(&COUNTS, Change::counts, rings)
    }

    /// The sentences about packets that go round, as lines.
    pub fn rounds(&self) -> String {
        self.going_round
            .iter()
            .map(|line| format!("{line}\n"))
            .collect()
    }

    fn table(&self, style: &Style, of: impl Fn(&Change) -> Shown, rings: bool) -> String {
        let row = |port: &'_ PortChange| -> [Direction<Shown>; 2] {
            [port.tx.map(&of), port.rx.map(&of)]
        };
        let rows = self
            .ports
            .iter()
            .map(|port| -> Row<'_> { (&port.name, row(port)) });
        text(style, rows, rings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::tests::{port, rx, tx};
    use super::*;

    #[test]
    fn reasons_of_drops_are_shown() {
        let before = [port("a", vec![tx(100, 1)], vec![rx(10, 0)])];
        let now = [port("a", vec![tx(300, 1)], vec![rx(30, 40)])];
        let changes = Changes::between(&now, &before, 2.0);
        for text in [changes.rates(false), changes.rates(true)] {
            assert!(text.contains("receiver full 20"), "{text}");
        }
        assert!(changes.counts(false).contains("receiver full 40"));
    }

    #[test]
    fn no_ports_is_said() {
        assert!(
            Changes::between(&[], &[], 1.0)
                .rates(false)
                .contains("no port is open")
        );
    }
}
