//! Whose the open descriptions are.

use std::collections::BTreeMap;

use uvale_engine::trace::{Event, Record};
use uvale_link::proto::Report;
use uvale_link::report::Description;
use uvale_link::session::Session;

use super::super::show::fetch;
use super::super::table::printable;

/// Descriptions that are remembered after they were closed.
const MOST: usize = 4096;

/// Descriptions by number. Numbers are not given again, so what was known once stays true.
pub struct Names(BTreeMap<u32, Option<Description>>);

impl Names {
    /// Those that there are.
    pub fn of(session: &Session) -> Self {
        let mut names = Self(BTreeMap::new());
        names.ask(session);
        names
    }

    fn ask(&mut self, session: &Session) {
        let Ok((_, all)) = fetch::<Vec<Description>>(session, Report::Descriptions) else {
            return;
        };
        while self.0.len() > MOST {
            self.0.pop_first();
        }
        // One that was bound to nothing yet may be by now.
        self.0.extend(all.into_iter().map(|d| (d.client, Some(d))));
    }

    /// Learns whose the descriptions are that this record names.
    pub fn know(&mut self, session: &Session, record: &Record) {
        let woken = record.events.iter().filter_map(|event| match event {
            Event::Woke { client, .. } => Some(*client),
            _ => None,
        });
        let unknown: Vec<u32> = woken
            .filter(|client| !self.0.contains_key(client))
            .collect();
        if !unknown.is_empty() {
            self.ask(session);
            // It may be closed by now: it is not asked for again.
            unknown.into_iter().for_each(|client| {
                self.0.entry(client).or_insert(None);
            });
        }
    }

    /// Program and number of the process that has opened it.
    pub fn process(&self, client: u32) -> Option<(String, i32)> {
        let description = self.0.get(&client)?.as_ref()?;
        let who = description.who.as_ref()?;
        Some((printable(&who.program), who.pid))
    }
}
