//! A host that hears what is said beside a sync.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Event, Reason, Ring, Tracing, ring, ring_of};
use crate::{Host, Note, Refused, RegionMap};
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
    fn ctl(&self) -> &Arc<Ctl> {
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
        let events = &mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = |kring, slot, slots, missed| Event::Shown {
            to: ring(self.host, kring),
            slot,
            slots,
            missed,
        };
        match what {
            Note::Woke { kring, client } => events.push(Event::Woke {
                ring: ring(self.host, kring),
                client,
            }),
            Note::Shown {
                kring,
                slot,
                slots,
                missed,
            } => events.push(shown(kring, slot, slots, missed)),
            Note::Stuck { kring, missed } => events.push(shown(kring, 0, 0, missed)),
            Note::Classified {
                is_flooded,
                receivers,
                first,
            } => match (is_flooded, receivers) {
                (true, 0) => events.push(Event::Dropped {
                    at: None,
                    why: Reason::Alone,
                    packets: 1,
                }),
                (true, n) => events.push(Event::Flooded { ports: n as u32 }),
                (false, _) => events.extend(first.map(Event::Found)),
            },
            Note::Delivered {
                rx,
                slots,
                tally,
                bad_copy,
                converted,
            } => {
                let kring = self.host.ctl().kring(rx);
                let to = kring.map_or_else(Ring::default, |k| ring(self.host, k));
                if slots.1 > 0 {
                    events.push(Event::Copied {
                        to: to.clone(),
                        slot: slots.0,
                        slots: slots.1,
                        empty: bad_copy,
                        converted,
                    });
                }
                let reasons = [
                    (tally.full, Reason::Full),
                    (tally.unconvertible, Reason::Unconvertible),
                ];
                let drops = reasons.into_iter().filter(|(packets, _)| *packets > 0);
                events.extend(drops.map(|(packets, why)| Event::Dropped {
                    at: Some(to.clone()),
                    why,
                    packets,
                }));
            }
            Note::Refused {
                port,
                ring: number,
                why,
            } => events.push(Event::Dropped {
                at: Some(ring_of(self.host, port, number)),
                why: match why {
                    Refused::Stuck => Reason::Stuck,
                    Refused::Gone => Reason::NoReceiver,
                },
                packets: 1,
            }),
        }
    }
}
