//! A packet that is alone in its sync: the general way with what is known of the two rings left out. It begins with all
//! the questions, and if one has another answer, nothing has happened, and the sync is the general one's.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::give_back;
use crate::attachment::Selected;
use crate::sleep::{to_wake, wake};
use crate::synced::{Lone, Way};
use crate::vale::Scratch;
use crate::{Host, RegionMap};
use nm_abi::{NS_BUF_CHANGED, NS_MOREFRAG};
use uvale_shared::ctl::{Kring, count};
use uvale_shared::lock::Owner;
use uvale_shared::shm::{RingView, SlotView, prefetch, prefetch_to_write};

/// Syncs tx ring `of`, in memory `region`, whose other end is `peer`, if one packet is there. False: nothing has
/// happened.
#[inline(always)]
pub(crate) fn send_one(
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
    let Some(Lone { at, next, tail }) = Lone::of(k, tx) else {
        return false;
    };
    let (Some(ts), Some(rs)) = (tx.slots().get(at as usize), rx.slots().get(at as usize)) else {
        return false;
    };
    prefetch_to_write(rs);
    let slot = ts.load_just_stored();
    if slot.flags & (NS_BUF_CHANGED | NS_MOREFRAG) != 0 {
        return false;
    }

    for index in [&k.rhead, &k.rcur] {
        index.store(next, Relaxed);
    }
    // SYNC POINT: as in `pipe::txsync`.
    let hwtail = k.pipe_tail.load(Acquire);
    k.hwtail.store(hwtail, Relaxed);
    rs.store_full(slot);
    for counters in [
        (&k.sync.packets, &k.sync.bytes),
        (&peer.produced.packets, &peer.produced.bytes),
    ] {
        count(counters.0, 1);
        count(counters.1, slot.len.into());
    }
    count(&peer.produced.progress, 1);
    // SYNC POINT: as in `pipe::txsync`.
    peer.pipe_tail.store(next, Release);
    k.hwcur.store(next, Relaxed);
    wake(host, peer, to_wake(peer));
    k.rtail.store(hwtail, Relaxed);
    if hwtail != tail {
        // SYNC POINT: as in `Synced::finalize`.
        tx.header().tail.store(hwtail, Release);
    }
    true
}

/// The part of a receiving sync of `k` that is a pipe's: takes in what the other end, `peer`, has published, and gives
/// the slot `back`, ours and theirs, if there is one: `hwcur`, before `head`. Returns hwtail.
#[inline(always)]
pub(crate) fn receive_few(
    host: &dyn Host,
    k: &Kring,
    peer: &Kring,
    back: Option<(&SlotView, &SlotView)>,
    (hwcur, head): (u32, u32),
) -> u32 {
    // SYNC POINT: as in `pipe::rxsync`.
    let hwtail = k.pipe_tail.load(Acquire);
    k.hwtail.store(hwtail, Relaxed);
    if let Some((ours, theirs)) = back {
        give_back(ours, theirs);
        count(&peer.produced.progress, 1);
        // SYNC POINT: as in `pipe::rxsync`. The sender's last slot is the one before `head`.
        peer.pipe_tail.store(hwcur, Release);
        k.hwcur.store(head, Relaxed);
        wake(host, peer, to_wake(peer));
    }
    hwtail
}
