//! A host that hears what is said beside a sync.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Event, Tracing, ring};
use crate::{Host, Note, RegionMap};
use uvale_shared::ctl::Ctl;
use uvale_wire::Wire;

/// A host, and what was noted since [`Watching::take`].
pub(crate) struct Watching<'a> {
    host: &'a dyn Host,
    noted: Mutex<Vec<Event>>,
}

impl<'a> Watching<'a> {
    pub fn new(host: &'a dyn Host) -> Self {
        Self {
            host,
            noted: Mutex::default(),
        }
    }

    /// What was noted.
    pub fn take(&self) -> Vec<Event> {
        core::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Host for Watching<'_> {
    fn ctl(&self) -> &Ctl {
        self.host.ctl()
    }

    fn session(&self) -> u32 {
        self.host.session()
    }

    fn region(&self, number: u32) -> Option<Arc<RegionMap>> {
        self.host.region(number)
    }

    fn wake(&self, client: u32) {
        self.host.wake(client);
    }

    fn wire(&self, port: u32) -> Option<Arc<Wire>> {
        self.host.wire(port)
    }

    fn trace(&self, number: u32) -> Option<Arc<Tracing>> {
        self.host.trace(number)
    }

    fn noted(&self, what: Note<'_>) {
        let event = match what {
            Note::Woke { kring, client } => Event::Woke {
                ring: ring(self.host, kring),
                client,
            },
            Note::Shown {
                kring,
                slot,
                slots,
                missed,
            } => Event::Shown {
                to: ring(self.host, kring),
                slot,
                slots,
                missed,
            },
            Note::Stuck { kring, missed } => Event::Shown {
                to: ring(self.host, kring),
                slot: 0,
                slots: 0,
                missed,
            },
        };
        self.noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }
}
