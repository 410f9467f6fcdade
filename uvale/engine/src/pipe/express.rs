//! A few packets in a sync: the general way with what is known of the two rings left out. It begins with all the
//! questions, and if one has another answer, nothing has happened that anybody sees, and the sync is the general one's.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::give_back;
use crate::attachment::Selected;
use crate::sleep::{to_wake, wake};
use crate::synced::{Row, Way};
use crate::vale::Scratch;
use crate::{Host, RegionMap};
use nm_abi::{NS_BUF_CHANGED, NS_MOREFRAG};
use uvale_shared::ctl::{Kring, count};
use uvale_shared::lock::Owner;
use uvale_shared::shm::{RingView, SlotView, prefetch, prefetch_to_write};

/// Syncs tx ring `of`, in memory `region`, whose other end is `peer`, if a few packets are there, each in one slot and
/// all with the buffers that these had before; only one if not `MANY`. False: nothing has happened that anybody sees.
#[inline(always)]
pub(crate) fn send_few<const MANY: bool>(
    host: &dyn Host,
    owner: Owner,
    region: &RegionMap,
    of: &Selected<Scratch>,
    peer: &Kring,
) -> bool {
    let k = &*of.kring;
    prefetch(&k.pipe_tail);
    prefetch_to_write(&peer.pipe_tail);
    let Some(mut guard) = k.busy.try_lock_as(owner) else {
        return false;
    };
    let Some(known) = of.known.get(&mut guard) else {
        return false;
    };
    let (ours, theirs) = (
        known.still(owner, k, Way::Pipe),
        known.peer_still(owner, peer),
    );
    let view = |place| RingView::at(&region.map, place);
    let (Some(tx), Some(rx)) = (ours.and_then(view), theirs.and_then(view)) else {
        return false;
    };
    let Some(Row {
        slots: ts,
        at,
        head,
        tail,
    }) = Row::of::<MANY>(k, tx)
    else {
        return false;
    };
    let at = at as usize;
    let Some(rs) = rx.slots().get(at..at + ts.len()) else {
        return false;
    };
    prefetch_to_write(rs.as_ptr());
    let copied = match (ts, rs) {
        ([ts], [rs]) => copy(ts, rs),
        _ => copy_row(ts, rs),
    };
    let Some(bytes) = copied else {
        // What was copied so far is not published: the general way copies it once more.
        return false;
    };

    for index in [&k.rhead, &k.rcur] {
        index.store(head, Relaxed);
    }
    // SYNC POINT: as in `pipe::txsync`.
    let hwtail = k.pipe_tail.load(Acquire);
    k.hwtail.store(hwtail, Relaxed);
    for counters in [
        (&k.sync.packets, &k.sync.bytes),
        (&peer.produced.packets, &peer.produced.bytes),
    ] {
        count(counters.0, ts.len() as u64);
        count(counters.1, bytes);
    }
    count(&peer.produced.progress, 1);
    // SYNC POINT: as in `pipe::txsync`.
    peer.pipe_tail.store(head, Release);
    k.hwcur.store(head, Relaxed);
    wake(host, peer, to_wake(peer));
    k.rtail.store(hwtail, Relaxed);
    if hwtail != tail {
        // SYNC POINT: as in `Synced::finalize`.
        tx.header().tail.store(hwtail, Release);
    }
    true
}

/// Copies a slot across, if its packet has no others and its buffer is the one that was there: bytes.
#[inline(always)]
fn copy(ts: &SlotView, rs: &SlotView) -> Option<u64> {
    let slot = ts.load_just_stored();
    if slot.flags & (NS_BUF_CHANGED | NS_MOREFRAG) != 0 {
        return None;
    }
    rs.store_full(slot);
    Some(slot.len.into())
}

/// The same of several.
#[inline(never)]
fn copy_row(ts: &[SlotView], rs: &[SlotView]) -> Option<u64> {
    let mut slots = ts.iter().zip(rs);
    slots.try_fold(0, |bytes, (ts, rs)| Some(bytes + copy(ts, rs)?))
}

/// Gives slots, and their buffers, back to the sender.
#[inline(never)]
fn give_row_back(rs: &[SlotView], ts: &[SlotView]) {
    let slots = rs.iter().zip(ts);
    slots.for_each(|(rs, ts)| give_back(rs, ts));
}

/// The part of a receiving sync of `k` that is a pipe's: takes in what the other end, `peer`, has published, and gives
/// the slots `back`, ours and theirs, up to `last` before `head`, if there are any. Returns hwtail.
#[inline(always)]
pub(crate) fn receive_few(
    host: &dyn Host,
    k: &Kring,
    peer: &Kring,
    back: (&[SlotView], &[SlotView]),
    (last, head): (u32, u32),
) -> u32 {
    // SYNC POINT: as in `pipe::rxsync`.
    let hwtail = k.pipe_tail.load(Acquire);
    k.hwtail.store(hwtail, Relaxed);
    if !back.0.is_empty() {
        match back {
            ([rs], [ts]) => give_back(rs, ts),
            (rs, ts) => give_row_back(rs, ts),
        }
        count(&peer.produced.progress, 1);
        // SYNC POINT: as in `pipe::rxsync`.
        peer.pipe_tail.store(last, Release);
        k.hwcur.store(head, Relaxed);
        wake(host, peer, to_wake(peer));
    }
    hwtail
}
