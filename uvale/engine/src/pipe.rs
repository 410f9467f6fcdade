//! Pipes: tx and rx rings of the two ends live in one region, slots are copied across with the
//! buffers they name, and the two sides publish their progress in each other's `pipe_tail`.
//!
//! Slot `k` of a ring pair belongs to the tx side or to the rx side, never to both: to the tx
//! side in `hwcur..=tx.pipe_tail` of the tx ring, to the rx side in the rest. Ownership passes
//! with one store, so a process that dies in the middle has passed nothing.

mod express;
mod traced;

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

pub(super) use express::{receive_few, send_few};
pub use traced::txsync_traced;

use super::Host;
use super::monitor::{self, Regions};
use super::offsets::Offsets;
use super::sleep::{to_wake, wake};
use super::synced::{Synced, stretches};
use nm_abi::{NS_BUF_CHANGED, NS_MOREFRAG};
use uvale_shared::ctl::{Kring, count};
use uvale_shared::shm::{RingView, Slot, SlotView, prefetch_to_write};

/// Up to so many slots the program's stores may still be under way when they are looked at.
const FEW: usize = 8;

/// The other ring of the pair.
#[derive(Clone, Copy)]
pub struct Peer<'a> {
    kring: &'a Kring,
    ring: RingView<'a>,
    /// what slots of it get at least
    least: Offsets,
    is_monitored: bool,
}

impl<'a> Peer<'a> {
    /// One that is [`known`](super::synced::Known::peer) to be a plain one.
    #[inline(always)]
    pub fn plain(kring: &'a Kring, ring: RingView<'a>) -> Self {
        Self {
            kring,
            ring,
            least: Offsets::NONE,
            is_monitored: false,
        }
    }

    /// That of `ring`, of the same size and in the same region, with kring `known`, or else to be looked up.
    pub fn find(host: &'a dyn Host, ring: &Synced<'a>, known: Option<&'a Kring>) -> Option<Self> {
        let (kring, view) = look_at(host, ring, known)?;
        Some(Self {
            kring,
            ring: view,
            least: Offsets::of(kring),
            is_monitored: kring.is_monitored(),
        })
    }
}

fn look_at<'a>(
    host: &'a dyn Host,
    ring: &Synced<'a>,
    known: Option<&'a Kring>,
) -> Option<(&'a Kring, RingView<'a>)> {
    let kring = match known {
        Some(kring) => kring,
        None => look_up(host, ring)?,
    };
    if kring.num_slots.load(Relaxed) != ring.n || kring.region.load(Relaxed) != ring.region.number {
        return None;
    }
    let view = RingView::new(&ring.region.map, kring.ring_ofs.load(Relaxed), ring.n)?;
    Some((kring, view))
}

#[cold]
fn look_up<'a>(host: &'a dyn Host, ring: &Synced<'a>) -> Option<&'a Kring> {
    let index = ring.kring.pipe.load(Relaxed).checked_sub(1)?;
    host.ctl().kring(index)
}

/// What a sync has sent.
#[derive(Clone, Copy)]
struct Sent {
    /// slot after the last complete packet
    complete_to: u32,
    packets: u64,
    bytes: u64,
}

/// Copies the slots `from..head` across. The receiver's offsets are the least that slots get.
#[inline(never)]
fn send(tx: &Synced<'_>, rx: RingView<'_>, from: u32, head: u32, least: Offsets) -> Sent {
    let mut sent = Sent {
        complete_to: from,
        packets: 0,
        bytes: 0,
    };
    let mut pending = 0;
    for range in stretches(from, head, tx.n) {
        let (start, slots) = (range.start as u32, tx.ring.slots().get(range.clone()));
        let (Some(ts), Some(rs)) = (slots, rx.slots().get(range)) else {
            break;
        };
        if !least.is_none() {
            send_with_offsets(ts, rs, &mut sent, start, &mut pending, least);
            continue;
        }
        // Not in the middle of a packet, whose bytes so far are pending.
        let simple = if pending == 0 {
            send_simple(ts, rs, &mut sent, start)
        } else {
            0
        };
        if simple < ts.len() {
            send_any(
                &ts[simple..],
                &rs[simple..],
                &mut sent,
                start + simple as u32,
                &mut pending,
            );
        }
    }
    if sent.complete_to == tx.n {
        sent.complete_to = 0;
    }
    sent
}

/// Copies simple slots, as many as there are before one that is not.
#[inline]
fn send_simple(ts: &[SlotView], rs: &[SlotView], sent: &mut Sent, start: u32) -> usize {
    let (n, bytes) = copy_simple(ts, rs);
    if n > 0 {
        sent.complete_to = start + n as u32;
        sent.packets += n as u64;
        sent.bytes += bytes;
    }
    n
}

/// How many that are, and their bytes.
#[inline(always)]
fn copy_simple(ts: &[SlotView], rs: &[SlotView]) -> (usize, u64) {
    match ts.len() > FEW {
        true => copy_simple_by(SlotView::load_full, ts, rs),
        false => copy_simple_by(SlotView::load_just_stored, ts, rs),
    }
}

#[inline(always)]
fn copy_simple_by(
    load: impl Fn(&SlotView) -> Slot,
    ts: &[SlotView],
    rs: &[SlotView],
) -> (usize, u64) {
    let (mut n, mut bytes) = (0, 0);
    for (ts, rs) in ts.iter().zip(rs) {
        let Some(len) = copy_if_simple(load(ts), rs) else {
            break;
        };
        (n, bytes) = (n + 1, bytes + len);
    }
    (n, bytes)
}

/// Copies a slot to `rs`, if it is simple: a packet of its own, in the buffer that the slot had before. Its bytes.
#[inline(always)]
fn copy_if_simple(slot: Slot, rs: &SlotView) -> Option<u64> {
    if slot.flags & (NS_BUF_CHANGED | NS_MOREFRAG) != 0 {
        return None;
    }
    rs.store_full(slot);
    Some(slot.len.into())
}

#[inline(never)]
fn send_any(ts: &[SlotView], rs: &[SlotView], sent: &mut Sent, start: u32, pending: &mut u64) {
    for (at, (ts, rs)) in (start + 1..).zip(ts.iter().zip(rs)) {
        let slot = ts.load_full();
        rs.store_full(slot);
        *pending += u64::from(slot.len);
        ts.clear_changed(slot);
        if slot.flags & NS_MOREFRAG == 0 {
            sent.complete_to = at;
            sent.packets += 1;
            sent.bytes += core::mem::take(pending);
        }
    }
}

/// `send_any`, where a slot of the receiver's keeps its offset if that is larger.
#[cold]
fn send_with_offsets(
    ts: &[SlotView],
    rs: &[SlotView],
    sent: &mut Sent,
    start: u32,
    pending: &mut u64,
    least: Offsets,
) {
    let before: Vec<u32> = rs.iter().map(|rs| least.get(rs.ptr())).collect();
    send_any(ts, rs, sent, start, pending);
    for (rs, before) in rs.iter().zip(before) {
        let slot = rs.load_full();
        if least.get(slot.ptr) < before {
            let ptr = least.put(slot.ptr, before);
            rs.store_full(Slot { ptr, ..slot });
        }
    }
}

/// Sends `hwcur..head` to the other end's ring; complete packets alone are shown to the other side, and to its
/// monitors, for which `regions` is needed. Returns hwtail.
#[inline(always)]
pub fn txsync<'a, 'p>(
    host: &dyn Host,
    tx: &Synced<'_>,
    head: u32,
    peer: impl FnOnce() -> Option<Peer<'p>>,
    regions: impl FnOnce() -> Option<&'a mut Regions>,
) -> u32 {
    let k = tx.kring;
    let from = k.hwcur.load(Relaxed);
    // SYNC POINT: Acquire pairs with the Release in `rxsync`: the slots that came back are
    // visible before the index that gives them to us.
    let hwtail = k.pipe_tail.load(Acquire);
    k.hwtail.store(hwtail, Relaxed);
    if head == from {
        return hwtail;
    }
    let Some(peer) = peer() else {
        return hwtail;
    };

    let (rx_kring, rx) = (peer.kring, peer.ring);
    prefetch_to_write(&rx_kring.pipe_tail);
    let Sent {
        complete_to,
        packets,
        bytes,
    } = send(tx, rx, from, head, peer.least);
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
    if peer.is_monitored
        && let Some(regions) = regions()
    {
        let index = k.pipe.load(Relaxed).wrapping_sub(1);
        monitor::delivered(host, index, tx.region, regions);
    }
    let mask = to_wake(rx_kring);
    wake(host, rx_kring, mask);
    hwtail
}

/// Gives a slot, and its buffer, back to the sender.
#[inline(always)]
fn give_back(rs: &SlotView, ts: &SlotView) {
    let slot = rs.load_full();
    ts.store_full(slot);
    rs.clear_changed(slot);
}

/// Gives `hwcur..rhead` back to the sender and takes in what it has published. Returns hwtail.
#[inline(always)]
pub fn rxsync<'p>(
    host: &dyn Host,
    rx: &Synced<'_>,
    head: u32,
    peer: impl FnOnce() -> Option<Peer<'p>>,
) -> u32 {
    let k = rx.kring;
    // SYNC POINT: Acquire pairs with the Release in `txsync`.
    let hwtail = k.pipe_tail.load(Acquire);
    k.hwtail.store(hwtail, Relaxed);
    let from = k.hwcur.load(Relaxed);
    if head == from || head >= rx.n {
        return hwtail;
    }
    let Some(peer) = peer() else {
        return hwtail;
    };
    let (tx_kring, tx) = (peer.kring, peer.ring);

    for range in stretches(from, head, rx.n) {
        let (Some(rs), Some(ts)) = (rx.ring.slots().get(range.clone()), tx.slots().get(range))
        else {
            return hwtail;
        };
        rs.iter().zip(ts).for_each(|(rs, ts)| give_back(rs, ts));
    }
    count(&tx_kring.produced.progress, 1);
    // SYNC POINT: Release pairs with the Acquire in `txsync`.
    tx_kring.pipe_tail.store(rx.ring.prev(head), Release);
    k.hwcur.store(head, Relaxed);
    let mask = to_wake(tx_kring);
    wake(host, tx_kring, mask);
    hwtail
}
