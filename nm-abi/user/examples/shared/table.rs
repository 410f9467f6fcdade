//! What a function keeps in mind of its packets: bounded, and forgotten when it is not used.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How often entries that nobody uses any more are looked for.
const CLEANING: Duration = Duration::from_secs(1);

/// A map of at most `most` entries, each of which lasts until it was not used for the time `idle`. The bound is there
/// because packets make entries, and anybody can send packets.
pub struct Table<K, V> {
    entries: HashMap<K, (V, Instant)>,
    idle: Duration,
    most: usize,
    cleaned: Option<Instant>,
}

impl<K: Eq + Hash, V> Table<K, V> {
    pub fn new(idle: Duration, most: usize) -> Self {
        Self {
            entries: HashMap::new(),
            idle,
            most,
            cleaned: None,
        }
    }

    /// The entry with that key; it is used by this.
    pub fn get(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        let (value, used) = self.entries.get_mut(key)?;
        if now.duration_since(*used) >= self.idle {
            return None;
        }
        *used = now;
        Some(value)
    }

    /// A new entry; `None` if there is one in use with that key, or there are too many.
    pub fn insert(&mut self, key: K, value: V, now: Instant) -> Option<&mut V> {
        if self
            .cleaned
            .is_none_or(|cleaned| now.duration_since(cleaned) >= CLEANING)
        {
            self.entries
                .retain(|_, (_, used)| now.duration_since(*used) < self.idle);
            self.cleaned = Some(now);
        }
        let old = self.entries.get(&key);
        let may_be = match old {
            Some((_, used)) => now.duration_since(*used) >= self.idle,
            None => self.entries.len() < self.most,
        };
        let entry = may_be.then(|| self.entries.entry(key).insert_entry((value, now)));
        entry.map(|entry| &mut entry.into_mut().0)
    }

    #[allow(dead_code, reason = "not every function knows when something ends")]
    pub fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }
}
