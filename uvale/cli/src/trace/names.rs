//! Whose the open descriptions are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use uvale_engine::trace::{Event, Record};
use uvale_link::proto::Report;
use uvale_link::report::Description;
use uvale_link::session::Session;

use super::super::show::fetch;
use super::super::table::printable;

/// Descriptions that are remembered.
const MOST: usize = 4096;
/// The daemon is asked so often at most, and so many times more in a row: what a record says may be anything.
const PAUSE: Duration = Duration::from_millis(100);
const IN_A_ROW: u32 = 16;

/// Descriptions by number. Numbers are not given again, so what was known once stays true.
pub struct Names {
    known: BTreeMap<u32, Option<Description>>,
    /// how often the daemon may be asked now, and since when that is so
    left: u32,
    since: Instant,
}

/// What is known of a description.
pub enum Known {
    /// program and number of the process that has opened it
    Of(String, i32),
    /// there is none
    Closed,
    /// the daemon has been asked for too many
    NotAsked,
}

impl Names {
    /// Those that there are.
    pub fn of(session: &Session) -> Self {
        let mut names = Self::none();
        names.ask(session);
        names
    }

    /// None so far.
    pub(super) fn none() -> Self {
        Self {
            known: BTreeMap::new(),
            left: IN_A_ROW,
            since: Instant::now(),
        }
    }

    fn ask(&mut self, session: &Session) {
        let Ok((_, all)) = fetch::<Vec<Description>>(session, Report::Descriptions) else {
            return;
        };
        if self.known.len() > MOST {
            self.known.clear();
        }
        // One that was bound to nothing yet may be by now.
        self.known
            .extend(all.into_iter().map(|d| (d.client, Some(d))));
    }

    /// May the daemon be asked now?
    fn may_ask(&mut self, now: Instant) -> bool {
        let more = now.saturating_duration_since(self.since).as_millis() / PAUSE.as_millis();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(IN_A_ROW);
            self.left = self.left.saturating_add(more).min(IN_A_ROW);
            self.since = now;
        }
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }

    /// Learns whose the descriptions are that this record names.
    pub fn know(&mut self, session: &Session, record: &Record) {
        let woken = record.events.iter().filter_map(|event| match event {
            Event::Woke { client, .. } => Some(*client),
            _ => None,
        });
        let unknown: Vec<u32> = woken
            .filter(|client| !self.known.contains_key(client))
            .collect();
        if !unknown.is_empty() && self.may_ask(Instant::now()) {
            self.ask(session);
            // It may be closed by now: it is not asked for again.
            unknown.into_iter().for_each(|client| {
                self.known.entry(client).or_insert(None);
            });
        }
    }

    /// The process that has opened it.
    pub fn process(&self, client: u32) -> Known {
        let Some(description) = self.known.get(&client) else {
            return Known::NotAsked;
        };
        match description.as_ref().and_then(|d| d.who.as_ref()) {
            Some(who) => Known::Of(printable(&who.program), who.pid),
            None => Known::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_asked_so_often_at_most() {
        let mut names = Names::none();
        let start = names.since;
        let asked = |names: &mut Names, now| (0..1000).filter(|_| names.may_ask(now)).count();
        assert_eq!(asked(&mut names, start), IN_A_ROW as usize);
        assert_eq!(asked(&mut names, start + PAUSE / 2), 0);
        assert_eq!(asked(&mut names, start + PAUSE), 1);
        let much_later = start + 1000 * PAUSE;
        assert_eq!(asked(&mut names, much_later), IN_A_ROW as usize);
    }
}
