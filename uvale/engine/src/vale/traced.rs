//! One packet through a switch, and what has happened to it.

use core::sync::atomic::Ordering::Relaxed;

use super::scratch::{BROADCAST_QUEUE, Dest, NIL, Scratch};
use super::{Sender, Tally};
use crate::fdb;
use crate::lease::{self, Refused};
use crate::synced::Synced;
use crate::trace::{Event, Reason, Watching};
use crate::{Host, Note};
use uvale_shared::ctl::MAX_RINGS;

/// Sends the packet at hwcur, which ends before `head` and begins with `data`, by the general way. Returns hwtail.
pub fn txsync(
    watching: &Watching<'_>,
    tx: &Synced<'_>,
    head: u32,
    data: &[u8],
    scratch: &mut Scratch,
    events: &mut Vec<Event>,
) -> u32 {
    let k = tx.kring;
    let from = k.hwcur.load(Relaxed);
    let mut at = head;
    if from != head {
        match Sender::new(watching, tx) {
            Some(sender) => {
                scratch.begin(watching.session());
                scratch.is_traced = true;
                let one = Sender { batch: 1, ..sender };
                at = one.send(watching, tx, (from, head), data, scratch, events);
                scratch.is_traced = false;
                scratch.end(tx.way);
            }
            None => events.push(dropped(nowhere(watching, tx))),
        }
    }
    k.hwcur.store(at, Relaxed);
    let hwtail = tx.ring.prev(at);
    k.hwtail.store(hwtail, Relaxed);
    hwtail
}

fn dropped(why: Reason) -> Event {
    Event::Dropped {
        at: None,
        why,
        packets: 1,
    }
}

/// Why there is no sender.
fn nowhere(host: &dyn Host, tx: &Synced<'_>) -> Reason {
    let port = host.ctl().port(tx.kring.port.load(Relaxed));
    match port.is_some_and(|p| p.switch.load(Relaxed) != 0) {
        true => Reason::NoBatch,
        false => Reason::NoSwitch,
    }
}

impl Sender<'_> {
    /// Returns the slot behind the packet.
    fn send(
        &self,
        watching: &Watching<'_>,
        tx: &Synced<'_>,
        (from, head): (u32, u32),
        data: &[u8],
        scratch: &mut Scratch,
        events: &mut Vec<Event>,
    ) -> u32 {
        let counters = &tx.kring.sync;
        let mut tally = Tally::default();
        let truncated = counters.truncated.load(Relaxed);
        let at = self.batch(tx, from, head, scratch, &mut tally);
        if tally.bad_slot > 0 {
            events.push(Event::BadSlots(tally.bad_slot));
        }
        if counters.truncated.load(Relaxed) != truncated {
            events.push(Event::Truncated);
        }
        if tally.learnt > 0 {
            events.push(Event::Learnt(self.me));
        }
        if tally.short > 0 {
            events.push(dropped(Reason::Short));
        }
        if tally.no_dest > 0 {
            events.push(dropped(self.no_destination(data)));
        }
        events.extend(watching.take());
        tally.count(counters);
        at
    }

    /// The batch is classified.
    #[cold]
    #[inline(never)]
    pub(super) fn note_classified(&self, scratch: &Scratch, dests: &[Dest]) {
        self.host.noted(Note::Classified {
            is_flooded: scratch.queues[BROADCAST_QUEUE].head != NIL,
            receivers: dests.len(),
            first: dests.first().map(|d| d.queue / MAX_RINGS as u32),
        });
    }

    /// A receiver is about to be shown its packets.
    #[cold]
    #[inline(never)]
    pub(super) fn note_delivered(
        &self,
        rx: u32,
        slots: (u32, u32),
        tally: lease::Tally,
        bad_copy: u64,
        converted: bool,
    ) {
        self.host.noted(Note::Delivered {
            rx,
            slots,
            tally,
            bad_copy,
            converted,
        });
    }

    /// A receiver cannot be given its packets.
    #[cold]
    #[inline(never)]
    pub(super) fn not_delivered(&self, dest: Dest, why: Refused, is_traced: bool) -> bool {
        if is_traced {
            self.host.noted(Note::Refused {
                port: dest.port,
                ring: dest.queue % MAX_RINGS as u32,
                why,
            });
        }
        false
    }

    /// Why the packet has no destination.
    fn no_destination(&self, data: &[u8]) -> Reason {
        let word = |from: usize| {
            let bytes = data.get(from..from + 8);
            bytes
                .and_then(|b| <[u8; 8]>::try_from(b).ok())
                .map(u64::from_le_bytes)
        };
        let (Some(lo), Some(hi)) = (word(0), word(4)) else {
            return Reason::PortGone;
        };
        match fdb::lookup(&self.switch.fdb, fdb::addresses(lo, hi).0) {
            number if number == self.me => Reason::OwnPort,
            _ => Reason::PortGone,
        }
    }
}
