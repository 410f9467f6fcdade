//! Who has a port open, for the sentence of a refusal.

use core::ops::Range;

use super::adapter::AdapterId;
use super::registration::Bound;
use super::{ClientId, World};
use uvale_system::who::Holder;

/// Holders that a sentence names.
const NAMED: usize = 3;

impl World {
    /// The process that opened the descriptor.
    pub fn holder(&self, client: ClientId) -> Option<&Holder> {
        self.holders.get(&client.0)
    }

    /// The process `holder` has attached as `session`.
    pub fn session_began(&mut self, session: u32, holder: Holder) {
        self.processes.insert(session, holder);
    }

    /// The process of a session.
    pub(super) fn process(&self, session: u32) -> String {
        match self.processes.get(&session) {
            Some(holder) => holder.to_string(),
            None => format!("session {session}"),
        }
    }

    /// A REGISTER of `client` has succeeded: the time that is shown is this one.
    pub(super) fn holds_since_now(&mut self, client: ClientId) {
        if let Some(holder) = self.holders.get_mut(&client.0) {
            holder.since = std::time::SystemTime::now();
        }
    }

    /// The processes with descriptors bound to `id`, in the order they were opened.
    pub(super) fn holders_of(&self, id: AdapterId) -> impl Iterator<Item = &Holder> {
        self.holding(id, |_| true)
    }

    /// The rings by direction (0: rx, 1: tx), host rings being the last, that each of them has.
    pub(super) fn opened(&self, id: AdapterId) -> impl Iterator<Item = [Range<u32>; 2]> {
        let known = self
            .clients
            .iter()
            .filter(|(client, _)| self.holders.contains_key(client));
        known.filter_map(move |(_, bound)| {
            let bound = bound.as_ref().filter(|bound| bound.id == id)?;
            Some([0, 1].map(|dir| bound.binding.rings(dir)))
        })
    }

    fn holding(
        &self,
        id: AdapterId,
        counts: impl Fn(&Bound) -> bool,
    ) -> impl Iterator<Item = &Holder> {
        let bound = self.clients.iter().filter_map(move |(client, bound)| {
            let bound = bound.as_ref()?;
            (bound.id == id && counts(bound)).then_some(client)
        });
        bound.filter_map(|client| self.holders.get(client))
    }

    /// ` by pkt-gen (pid 12, uid 0) since 14:03`: who has ring `i` of a direction; nothing if it
    /// is not known.
    pub(super) fn by_holders_of_ring(&self, id: AdapterId, dir: usize, i: u32) -> String {
        let has_ring = |b: &Bound| b.binding.rings(dir).contains(&i);
        let mut some = by(self.holding(id, |b| has_ring(b) && b.exclusive));
        if some.is_empty() {
            some = by(self.holding(id, has_ring));
        }
        some
    }

    /// The same of the whole port.
    pub(super) fn by_holders(&self, id: AdapterId) -> String {
        by(self.holders_of(id))
    }
}

fn by<'a>(holders: impl Iterator<Item = &'a Holder>) -> String {
    let all: Vec<String> = holders.map(Holder::since).collect();
    let (named, rest) = all.split_at(all.len().min(NAMED));
    match (named, rest.len()) {
        ([], _) => String::new(),
        (named, 0) => format!(" by {}", named.join(", ")),
        (named, more) => format!(" by {} and {more} more", named.join(", ")),
    }
}
