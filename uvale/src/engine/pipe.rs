//! Pipes: tx and rx rings of the two ends live in one region, slots are copied across with the
//! buffers they name, and the two sides publish their progress in each other's `pipe_tail`.
//!
//! Slot `k` of a ring pair belongs to the tx side or to the rx side, never to both: to the tx
//! side in `hwcur..=tx.pipe_tail` of the tx ring, to the rx side in the rest. Ownership passes
//! with one store, so a process that dies in the middle has passed nothing.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::Host;
use super::ring::Synced;
use super::sleep::{to_wake, wake};
use crate::ctl::{Kring, count};
use crate::shm::RingView;
use nm_abi::{NS_BUF_CHANGED, NS_MOREFRAG};

/// The other ring of the pair, of the same size and in the same region.
#[inline]
fn peer<'a>(host: &'a dyn Host, ring: &Synced<'a>) -> Option<(&'a Kring, RingView<'a>)> {
    let index = ring.kring.pipe.load(Relaxed).checked_sub(1)?;
    let kring = host.ctl().kring(index)?;
    if kring.num_slots.load(Relaxed) != ring.n || kring.region.load(Relaxed) != ring.region.number {
        return None;
    }
    let view = RingView::new(&ring.region.map, kring.ring_ofs.load(Relaxed), ring.n)?;
    Some((kring, view))
}

/// Sends `hwcur..head`; complete packets alone are shown to the other side. Returns hwtail.
pub fn txsync(host: &dyn Host, tx: &Synced<'_>, head: u32) -> u32 {
    let k = tx.kring;
    // SYNC POINT: Acquire pairs with the Release in `rxsync`: the slots that came back are
    // visible before the index that gives them to us.
    let hwtail = k.pipe_tail.load(Acquire);
    k.hwtail.store(hwtail, Relaxed);
    let from = k.hwcur.load(Relaxed);
    if head == from {
        return hwtail;
    }
    let Some((rx_kring, rx)) = peer(host, tx) else {
        return hwtail;
    };

    let (mut complete_to, mut packets, mut bytes) = (from, 0u64, 0u64);
    let (mut pending, mut i) = (0u64, from);
    while i != head {
        let (ts, rs) = (&tx.ring.slots()[i as usize], &rx.slots()[i as usize]);
        let mut slot = ts.load_full();
        // Slots that say already what they are to say stay in both caches.
        if rs.load_full() != slot {
            rs.store_full(slot);
        }
        pending += u64::from(slot.len);
        if slot.flags & NS_BUF_CHANGED != 0 {
            slot.flags &= !NS_BUF_CHANGED;
            ts.store(slot);
        }
        i = tx.next(i);
        if slot.flags & NS_MOREFRAG == 0 {
            (complete_to, packets, bytes) = (i, packets + 1, bytes + pending);
            pending = 0;
        }
    }
    count(&k.sync.packets, packets);
    count(&k.sync.bytes, bytes);
    count(&rx_kring.produced.packets, packets);
    count(&rx_kring.produced.bytes, bytes);
    if complete_to == from {
        k.hwcur.store(head, Relaxed);
        return hwtail;
    }
    count(&rx_kring.produced.progress, 1);
    // SYNC POINT: Release pairs with the Acquire in `rxsync`. A sender that dies before hwcur
    // follows is put right by the daemon, which sets hwcur to what was published.
    rx_kring.pipe_tail.store(complete_to, Release);
    k.hwcur.store(head, Relaxed);
    let mask = to_wake(rx_kring);
    wake(host, rx_kring, mask);
    hwtail
}

/// Gives `hwcur..rhead` back to the sender and takes in what it has published. Returns hwtail.
pub fn rxsync(host: &dyn Host, rx: &Synced<'_>, head: u32) -> u32 {
    let k = rx.kring;
    // SYNC POINT: Acquire pairs with the Release in `txsync`.
    let hwtail = k.pipe_tail.load(Acquire);
    k.hwtail.store(hwtail, Relaxed);
    let from = k.hwcur.load(Relaxed);
    if head == from || head >= rx.n {
        return hwtail;
    }
    let Some((tx_kring, tx)) = peer(host, rx) else {
        return hwtail;
    };

    let mut i = from;
    while i != head {
        let (rs, ts) = (&rx.ring.slots()[i as usize], &tx.slots()[i as usize]);
        let mut slot = rs.load_full();
        if ts.load_full() != slot {
            ts.store_full(slot);
        }
        if slot.flags & NS_BUF_CHANGED != 0 {
            slot.flags &= !NS_BUF_CHANGED;
            rs.store(slot);
        }
        i = rx.next(i);
    }
    count(&tx_kring.produced.progress, 1);
    // SYNC POINT: Release pairs with the Acquire in `txsync`.
    tx_kring.pipe_tail.store(rx.prev(head), Release);
    k.hwcur.store(head, Relaxed);
    let mask = to_wake(tx_kring);
    wake(host, tx_kring, mask);
    hwtail
}
