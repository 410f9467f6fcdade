//! A few packets in a sync: the general way with what is known of the two rings left out. It begins with all the
//! questions, and if one has another answer, nothing has happened that anybody sees, and the sync is the general one's.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::{copy_if_simple, copy_simple, give_back};
use crate::Host;
use crate::attachment::{OtherEnd, Selected};
use crate::sleep::{to_wake, wake};
use crate::synced::{Row, alone};
use crate::vale::Scratch;
use uvale_shared::ctl::{Kring, count};
use uvale_shared::lock::Owner;
use uvale_shared::shm::{RingView, SlotView, prefetch, prefetch_to_write};

/// Syncs tx ring `of`, at whose other end is `other`, if a few packets are there, each in one slot and all with the
/// buffers that these had before; only one if not `MANY`. `None`: nothing has happened that anybody sees.
#[inline(always)]
pub(crate) fn send_few<const MANY: bool>(
    host: &dyn Host,
    owner: Owner,
    of: &Selected<Scratch>,
    other: &OtherEnd,
) -> Option<()> {
    let (k, tx) = (&*of.kring, of.held()?.view());
    let (peer, rx) = (&*other.kring, other.held.as_ref()?.view());
    prefetch(&k.pipe_tail);
    prefetch_to_write(&peer.pipe_tail);
    let mut guard = k.busy.try_lock_as(owner)?;
    let known = of.known.get(&mut guard)?;
    if !known.is_by_pipe(owner, k) || !known.is_peer_held(owner, peer) {
        return None;
    }
    let (n, head, bytes) = match MANY {
        true => send_row(k, tx, rx)?,
        false => send_one(k, tx, rx)?,
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
        count(counters.0, n);
        count(counters.1, bytes);
    }
    count(&peer.produced.progress, 1);
    // SYNC POINT: as in `pipe::txsync`.
    peer.pipe_tail.store(head, Release);
    k.hwcur.store(head, Relaxed);
    wake(host, peer, to_wake(peer));
    k.rtail.store(hwtail, Relaxed);
    // SYNC POINT: as in `Synced::finalize`.
    tx.header().tail.store(hwtail, Release);
    Some(())
}

/// Copies the one slot across that is to be sent: how many, the slot after it, bytes.
#[inline(always)]
fn send_one(k: &Kring, tx: RingView<'_>, rx: RingView<'_>) -> Option<(u64, u32, u64)> {
    let (ts, at, head) = alone(k, tx)?;
    let rs = rx.slots().get(at as usize)?;
    prefetch_to_write(rs);
    let bytes = copy_if_simple(ts.load_just_stored(), rs)?;
    Some((1, head, bytes))
}

/// The same of a few.
#[inline(always)]
fn send_row(k: &Kring, tx: RingView<'_>, rx: RingView<'_>) -> Option<(u64, u32, u64)> {
    let row = Row::of(k, tx)?;
    let (at, n) = (row.at as usize, row.slots.len());
    let rs = rx.slots().get(at..at + n)?;
    prefetch_to_write(rs.as_ptr());
    // What is copied so far when there is another answer is not published: the general way copies it once more.
    Some((n as u64, row.head, copy_row(row.slots, rs)?))
}

/// Copies slots across, if all of them are simple ones: bytes.
#[inline(never)]
fn copy_row(ts: &[SlotView], rs: &[SlotView]) -> Option<u64> {
    let (n, bytes) = copy_simple(ts, rs);
    (n == ts.len()).then_some(bytes)
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
