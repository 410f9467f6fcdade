//! One packet through a pipe, and what has happened to it.

use core::sync::atomic::Ordering::Relaxed;

use super::{Peer, txsync};
use crate::Host;
use crate::monitor::Regions;
use crate::synced::Synced;
use crate::trace::{Event, Reason, Watching, ring};

/// Sends one packet, which ends before `end`, and adds what has happened. Returns hwtail.
pub fn txsync_traced(
    watching: &Watching<'_>,
    tx: &Synced<'_>,
    end: u32,
    regions: &mut Regions,
    events: &mut Vec<Event>,
) -> u32 {
    let (k, from) = (tx.kring, tx.kring.hwcur.load(Relaxed));
    let before = k.sync.packets.load(Relaxed);
    let hwtail = txsync(
        watching,
        tx,
        end,
        || Peer::find(watching, tx, None),
        || Some(regions),
    );
    let slots = tx.ring.distance(from, k.hwcur.load(Relaxed));
    let peer = k.pipe.load(Relaxed).checked_sub(1);
    events.push(match peer.and_then(|i| watching.ctl().kring(i)) {
        Some(rx) if k.sync.packets.load(Relaxed) != before => Event::Passed {
            to: ring(watching, rx),
            slot: from,
            slots,
        },
        _ => Event::Kept(Reason::Incomplete),
    });
    hwtail
}
