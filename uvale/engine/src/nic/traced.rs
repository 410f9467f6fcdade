//! One packet of a NIC port, and what has happened to it.

use core::sync::atomic::Ordering::Relaxed;

use super::{is_down, send};
use crate::Host;
use crate::synced::Synced;
use crate::trace::{Event, Reason, Watching, Way, ring};
use crate::vale::Scratch;
use uvale_shared::ctl::{Kring, WIRE_HOST};

/// Sends one packet, which ends before `end`, and adds what has happened. Returns hwtail.
pub fn txsync(
    watching: &Watching<'_>,
    tx: &Synced<'_>,
    end: u32,
    work: &mut Scratch,
    events: &mut Vec<Event>,
) -> u32 {
    let (k, from) = (tx.kring, tx.kring.hwcur.load(Relaxed));
    let counts = || {
        let c = &k.sync;
        [&c.packets, &c.short, &c.bad_slot, &c.no_receiver].map(|c| c.load(Relaxed))
    };
    let before = counts();
    let (hwtail, by) = send(watching, tx, end, work);
    let [sent, short, bad_slot, no_receiver] =
        core::array::from_fn(|i| counts()[i].wrapping_sub(before[i]));
    let slots = tx.ring.distance(from, k.hwcur.load(Relaxed));
    let peer = by.and_then(|i| watching.ctl().kring(i));
    let is_host = k.wire.load(Relaxed) & WIRE_HOST != 0;
    let dropped = |why| Event::Dropped {
        at: None,
        why,
        packets: 1,
    };
    events.push(match peer {
        Some(rx) if sent > 0 => Event::Passed {
            to: ring(watching, rx),
            slot: first_swapped(k, rx, slots),
            slots,
        },
        Some(rx) if slots == 0 => Event::Kept(Reason::FullAt(ring(watching, rx))),
        Some(rx) => Event::Dropped {
            at: Some(ring(watching, rx)),
            why: Reason::Full,
            packets: 1,
        },
        None if slots == 0 && sent == 0 => Event::Kept(Reason::WireFull),
        None if short > 0 => dropped(Reason::Short),
        None if bad_slot > 0 => dropped(Reason::Refused),
        None if no_receiver > 0 && is_down(watching, k) => dropped(Reason::LinkDown),
        None if no_receiver > 0 => dropped(Reason::NoReceiver),
        None if is_host => Event::Sent(Way::Host),
        None => Event::Sent(Way::Wire),
    });
    hwtail
}

/// The first of the last `slots` slots of ring `rx` that exchanged buffers with ring `k`, which the caller holds.
fn first_swapped(k: &Kring, rx: &Kring, slots: u32) -> u32 {
    let n = u64::from(rx.num_slots.load(Relaxed).max(1));
    let end = (k.swap.slots.load(Relaxed) >> 32) + k.swap.count.load(Relaxed);
    ((end % n + n - u64::from(slots) % n) % n) as u32
}
