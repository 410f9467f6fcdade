//! One packet through a switch, and what has happened to it.

use core::sync::atomic::Ordering::Relaxed;

use super::scratch::{BROADCAST_QUEUE, Dest, EMPTY, NIL, Scratch};
use super::{Sender, Tally};
use crate::Host;
use crate::fdb;
use crate::lease::Refused;
use crate::synced::Synced;
use crate::trace::{Event, Reason, Watching, ring_at, ring_of};
use uvale_shared::ctl::MAX_RINGS;

/// Sends the packet at hwcur, which ends before `head`, by the general way. Returns hwtail.
pub fn txsync(
    watching: &Watching<'_>,
    tx: &Synced<'_>,
    head: u32,
    scratch: &mut Scratch,
    events: &mut Vec<Event>,
) -> u32 {
    let k = tx.kring;
    let mut at = head;
    if k.hwcur.load(Relaxed) != head {
        match Sender::new(watching, tx) {
            Some(sender) => {
                scratch.begin(watching.session());
                let one = Sender { batch: 1, ..sender };
                at = one.send(watching, tx, head, scratch, events);
                scratch.in_use = false;
            }
            None => events.push(dropped_here(nowhere(watching, tx))),
        }
    }
    k.hwcur.store(at, Relaxed);
    let hwtail = tx.ring.prev(at);
    k.hwtail.store(hwtail, Relaxed);
    hwtail
}

fn dropped_here(why: Reason) -> Event {
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
        head: u32,
        scratch: &mut Scratch,
        events: &mut Vec<Event>,
    ) -> u32 {
        let (from, counters) = (tx.kring.hwcur.load(Relaxed), &tx.kring.sync);
        let mut tally = Tally::default();
        let truncated = counters.truncated.load(Relaxed);
        let at = self.collect(tx, from, head, scratch, &mut tally);
        if tally.bad_slot > 0 {
            events.push(Event::BadSlots(tally.bad_slot));
        }
        if counters.truncated.load(Relaxed) != truncated {
            events.push(Event::Truncated);
        }
        self.sweep(scratch);
        self.classify(scratch, &mut tally);
        if tally.learnt > 0 {
            events.push(Event::Learnt(self.me));
        }
        let mut dests = core::mem::take(&mut scratch.dests);
        let is_flooded = scratch.queues[BROADCAST_QUEUE].head != NIL;
        match dests.as_slice() {
            _ if tally.short > 0 => events.push(dropped_here(Reason::Short)),
            _ if tally.no_dest > 0 => events.push(dropped_here(self.no_destination(scratch))),
            [] if is_flooded => events.push(dropped_here(Reason::Alone)),
            all if is_flooded => events.push(Event::Flooded {
                ports: all.len() as u32,
            }),
            all => {
                let numbers = all.iter().map(|d| d.queue / MAX_RINGS as u32);
                events.extend(numbers.map(Event::Found));
            }
        }
        for dest in &dests {
            self.deliver_traced(watching, *dest, scratch, &mut tally, events);
            scratch.queues[dest.queue as usize] = EMPTY;
        }
        scratch.queues[BROADCAST_QUEUE] = EMPTY;
        dests.clear();
        scratch.dests = dests;
        tally.count(counters);
        at
    }

    fn deliver_traced(
        &self,
        watching: &Watching<'_>,
        dest: Dest,
        scratch: &mut Scratch,
        tally: &mut Tally,
        events: &mut Vec<Event>,
    ) {
        let delivered = self.deliver(dest, scratch);
        let noted = watching.take();
        let done = match delivered {
            Ok(done) => done,
            Err(refused) => {
                tally.no_receiver += 1;
                let ring = dest.queue % MAX_RINGS as u32;
                events.push(Event::Dropped {
                    at: Some(ring_of(watching, dest.port, ring)),
                    why: match refused {
                        Refused::Stuck => Reason::Stuck,
                        Refused::Gone => Reason::NoReceiver,
                    },
                    packets: 1,
                });
                return;
            }
        };
        let to = ring_at(watching, done.rx);
        if done.slots > 0 {
            let format = self.ctl.port(dest.port);
            let theirs = format.map(|p| p.virt_hdr_len.load(Relaxed));
            events.push(Event::Copied {
                to: to.clone(),
                slot: done.slot,
                slots: done.slots,
                empty: done.bad_copy,
                converted: theirs != Some(self.virt_hdr_len),
            });
        }
        let reasons = [
            (done.tally.full, Reason::Full),
            (done.tally.unconvertible, Reason::Unconvertible),
        ];
        for (packets, why) in reasons {
            if packets > 0 {
                let at = Some(to.clone());
                events.push(Event::Dropped { at, why, packets });
            }
        }
        events.extend(noted);
    }

    /// Why the only packet of the batch has no destination.
    fn no_destination(&self, scratch: &Scratch) -> Reason {
        let dmac = self.header(&scratch.frags, 0).map(|(dmac, _)| dmac);
        match dmac.map(|dmac| fdb::lookup(&self.switch.fdb, dmac)) {
            Some(number) if number == self.me => Reason::OwnPort,
            _ => Reason::PortGone,
        }
    }
}
