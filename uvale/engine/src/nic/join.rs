//! Into the ring of the other end of a veth pair: slots exchange their buffers.
//!
//! Both ends use the same region. The sender holds `busy` of its own ring and `q_lock` of the receiver's, as a
//! sender on a switch does, and stops when that is full. Each exchange is written down before it is made
//! (`Kring::swap`), so that the daemon can undo it for a sender that dies in the middle.

use core::sync::atomic::Ordering::Acquire;

use super::arrive::{is_over, take_in};
use crate::Host;
use crate::bwrap;
use crate::lease::{Lease, Refused, Slots};
use crate::monitor;
use crate::sleep::{to_wake, wake};
use crate::synced::Synced;
use crate::vale::Scratch;
use core::sync::atomic::Ordering::Relaxed;
use nm_abi::{NS_BUF_CHANGED, NS_MOREFRAG};
use uvale_shared::ctl::{Kring, RING_ON, SETTLING, SWAPS, count};
use uvale_shared::shm::{Slot, SlotView, prefetch_to_write};
use uvale_system::clock::monotonic;

/// Sleeps of 20 ms to wait for another sender or for the receiver, which takes in what is on its wire.
const PATIENCE: u32 = 50;

/// Slots in a cache line.
const SLOTS_A_LINE: usize = 64 / size_of::<SlotView>();

/// Sends the slots from hwcur to `head` to ring `index`, as far as there is room. Returns the slot to send next;
/// `None` if that ring does not take them, so that they have to go by the wire.
pub fn send(
    host: &dyn Host,
    tx: &Synced<'_>,
    head: u32,
    index: u32,
    work: &mut Scratch,
) -> Option<u32> {
    let rx = host.ctl().kring(index)?;
    let from = tx.kring.hwcur.load(Relaxed);
    // Nobody takes in what arrives there, so there is nothing to wait for.
    // SYNC POINT: Acquire pairs with the Release in `epoch::set_mode`.
    if rx.mode.load(Acquire) != RING_ON {
        return None;
    }
    if !is_open(host, tx, rx, index) {
        return Some(from);
    }
    let wanted = tx.ring.distance(from, head);
    let is_ours = |rx: &Kring| rx.joined.load(Relaxed) == tx.index + 1;
    let mut lease = match Lease::take(rx, tx.region, host.owner(), PATIENCE, wanted, is_ours) {
        Ok(lease) => lease,
        Err(Refused::Stuck) => return Some(from),
        Err(Refused::Gone) => return None,
    };
    let mut at = from;
    let mut left = complete(tx, at, wanted.min(lease.slots.free));
    if left == 0
        && let Some(lost) = too_long(tx, at, wanted, lease.slots.ring.num_slots())
    {
        lease.tally.full += 1;
        at = (at + lost) % tx.n;
        left = complete(tx, at, (wanted - lost).min(lease.slots.free));
    }
    ask_for(&lease.slots, 0);
    while left > 0 {
        ask_for(&lease.slots, SWAPS);
        let (a, b) = (at as usize, lease.slots.at as usize);
        let (ts, rs) = (&tx.ring.slots()[a..], &lease.slots.ring.slots()[b..]);
        let n = (left as usize).min(SWAPS).min(ts.len()).min(rs.len());
        let (ts, rs) = ((&ts[..n], at), (&rs[..n], lease.slots.at));
        let sent = exchange(tx, ts, rs, index);
        lease.tally.packets += sent.packets;
        lease.tally.bytes += sent.bytes;
        lease.slots.bad_copy += sent.bad;
        lease.slots.skip(sent.slots);
        at = (at + sent.slots) % tx.n;
        left -= sent.slots;
    }
    count(&tx.kring.sync.packets, lease.tally.packets);
    count(&tx.kring.sync.bytes, lease.tally.bytes);
    let wakeups = lease.publish();
    if rx.is_monitored() {
        monitor::delivered(host, index, tx.region, &mut work.monitors);
    }
    wakeups.wake(host);
    if rx.has_bwrap() {
        bwrap::forward(host, index, tx.region, &mut work.onward);
    }
    Some(at)
}

/// Packets of tx ring `k` have just gone onto the wire. If it has been joined in the meantime, however long that was,
/// they come before those that go to the other end at once.
pub fn hold_back(host: &dyn Host, k: &Kring) {
    let peer = k.joined.load(Acquire).checked_sub(1);
    if let Some(rx) = peer.and_then(|i| host.ctl().kring(i)) {
        // What comes next from this ring looks at it: the ring is busy until then.
        rx.joining.store(monotonic() + SETTLING, Relaxed);
    }
}

/// Does the other end take packets by now? Right after the ends were joined there may still be some on the wire,
/// which come first; when their time is over, this side sees to it if the other does not.
#[inline(always)]
fn is_open(host: &dyn Host, tx: &Synced<'_>, rx: &Kring, index: u32) -> bool {
    // SYNC POINT: Acquire pairs with the Release in `arrive::let_peer_in`.
    rx.joining.load(Acquire) == 0 || opens(host, tx, rx, index)
}

#[cold]
#[inline(never)]
fn opens(host: &dyn Host, tx: &Synced<'_>, rx: &Kring, index: u32) -> bool {
    if !is_over(rx.joining.load(Relaxed)) {
        return false;
    }
    if let Some((rx, _guard)) = Synced::enter_other(host, tx.region, index, false)
        && rx.kring.joined.load(Relaxed) == tx.index + 1
    {
        take_in(host, &rx);
    }
    let is_open = rx.joining.load(Acquire) == 0;
    if !is_open {
        wake(host, rx, to_wake(rx));
    }
    is_open
}

/// The slots of the exchange that begins `ahead` slots further on were last in the receiver's cache, and are read and
/// written in a moment: they are asked for once, for both.
#[inline(always)]
fn ask_for(slots: &Slots<'_>, ahead: usize) {
    let (all, at) = (slots.ring.slots(), slots.at as usize + ahead);
    // A ring may be shorter than what is exchanged at a time.
    let at = if at >= all.len() {
        at % all.len().max(1)
    } else {
        at
    };
    let those = all.iter().skip(at).take(SWAPS);
    those
        .step_by(SLOTS_A_LINE)
        .for_each(|slot| prefetch_to_write(slot));
}

/// How many of `n` slots from `from` on are those of complete packets.
#[inline(always)]
fn complete(tx: &Synced<'_>, from: u32, n: u32) -> u32 {
    let slot = |i: u32| &tx.ring.slots()[((from + i) % tx.n) as usize];
    let has_more = |i: u32| slot(i).load().flags & NS_MOREFRAG != 0;
    (0..n).rev().find(|i| !has_more(*i)).map_or(0, |i| i + 1)
}

/// How many of the `wanted` slots from `from` on are those of a packet that never fits into a ring of `size` slots, or
/// whose end never comes because there is no slot left for it.
#[cold]
fn too_long(tx: &Synced<'_>, from: u32, wanted: u32, size: u32) -> Option<u32> {
    let end = (0..wanted).find(|i| {
        let at = (from + i) % tx.n;
        tx.ring.slots()[at as usize].load().flags & NS_MOREFRAG == 0
    });
    match end {
        Some(end) => (end + 1 >= size).then_some(end + 1),
        None => (wanted > 0 && wanted + 1 >= tx.n).then_some(wanted),
    }
}

/// What an exchange has sent.
#[derive(Default)]
struct Sent {
    slots: u32,
    packets: u64,
    bytes: u64,
    /// slots that arrive empty, because the receiver's program has put nonsense into them
    bad: u64,
}

/// Exchanges the buffers of slots `ts` and `rs`, the first of which have the numbers beside them, or of as many as
/// can be.
#[inline(always)]
fn exchange(
    tx: &Synced<'_>,
    (ts, at): (&[SlotView], u32),
    (rs, to): (&[SlotView], u32),
    index: u32,
) -> Sent {
    let k = tx.kring;
    let n = k.note_swap(index, at, to, rs, &tx.region.pool);
    let mut sent = Sent::default();
    for (i, (ts, rs)) in ts.iter().zip(rs).enumerate().take(n) {
        let slot = ts.load_full();
        let back = k.swapped[i].load(Relaxed);
        rs.store_full(Slot {
            flags: slot.flags & !NS_BUF_CHANGED,
            ..slot
        });
        ts.store(Slot {
            buf_idx: back,
            flags: slot.flags & !NS_MOREFRAG | NS_BUF_CHANGED,
            ..slot
        });
        sent.packets += u64::from(slot.flags & NS_MOREFRAG == 0);
        sent.bytes += u64::from(slot.len);
    }
    sent.slots = n as u32;
    if n == 0 {
        empty(&rs[0]);
        (sent.slots, sent.bad) = (1, 1);
    }
    // What is exchanged is not sent again, whether or not this process lives to show it.
    k.hwcur.store((at + sent.slots) % tx.n, Relaxed);
    k.swap_done();
    sent
}

/// The receiver has lost this slot's buffer. That costs it the packet, and the sender nothing.
#[cold]
#[inline(never)]
fn empty(rs: &SlotView) {
    let slot = rs.load_full();
    rs.store_full(Slot {
        len: 0,
        flags: 0,
        ..slot
    });
}
