//! From the wire into the ring.

use core::sync::atomic::Ordering::{Relaxed, Release};

use super::{PATIENCE, frames_of, wake_peer, wire_of};
use super::{offload, tap};
use crate::Host;
use crate::lease::{Lease, Slots, Tally};
use crate::synced::Synced;
use nm_abi::NS_MOREFRAG;
use uvale_shared::ctl::Kring;
use uvale_shared::shm::copy_in;
use uvale_system::clock::monotonic;
use uvale_wire::{Frames, Packet};

/// Takes in what is on the wire, as far as there is room, and lets the peer of a joined port in after that.
pub fn take_in(host: &dyn Host, rx: &Synced<'_>) {
    let k = rx.kring;
    let wire = wire_of(host, k);
    let frames = wire.as_deref().and_then(|wire| frames_of(wire, k));
    let is_empty = match frames {
        None => true,
        Some(Frames::Tap(queue)) => tap::take_in(host, rx, queue),
        Some(frames) => from_wire(host, rx, frames),
    };
    if k.joining.load(Relaxed) != 0 && is_empty {
        let_peer_in(host, k);
    }
}

/// True if nothing is left.
fn from_wire(host: &dyn Host, rx: &Synced<'_>, frames: &Frames) -> bool {
    let k = rx.kring;
    let mut at = k.frame.load(Relaxed);
    if k.frame_user.load(Relaxed) != host.session() {
        // Whoever did this before may have died over it.
        at = frames.find(at);
        k.frame.store(at, Relaxed);
        k.frame_user.store(host.session(), Relaxed);
    }
    if !frames.is_ready(at) {
        return true;
    }
    let Ok(mut lease) = Lease::take(k, rx.region, host.owner(), PATIENCE, rx.n, |_| true) else {
        return false;
    };
    let (slots, tally) = (&mut lease.slots, &mut lease.tally);
    let next = |next| k.frame.store(next, Relaxed);
    let at = frames.take_in(at, next, |packet| put_in(slots, tally, &packet));
    let is_empty = !frames.is_ready(at);
    // What the wire itself had no room for.
    tally.full += frames.dropped().map_or(0, u64::from);
    lease.publish().wake(host);
    is_empty
}

/// Puts a packet into the ring, finished and in pieces if the kernel has left that to us; false if there is no
/// room for all of it.
fn put_in(slots: &mut Slots<'_>, tally: &mut Tally, packet: &Packet<'_>) -> bool {
    let Some(header) = packet.header else {
        return put(slots, tally, &packet.pieces);
    };
    let most = slots.ring.num_slots() - 1;
    // One for which there will be room is left as it is until then.
    let needed = offload::slots(&header, &packet.pieces, slots.least_room());
    if needed > slots.free && needed <= most {
        return false;
    }
    match offload::finish(&header, &packet.pieces, slots.least_room(), most) {
        Ok(frames) if frames.len() as u32 > slots.free => false,
        Ok(frames) => frames.iter().all(|f| put(slots, tally, &[&f.bytes])),
        Err(_) => {
            tally.unconvertible += 1;
            true
        }
    }
}

/// Puts the pieces of one packet into as many slots as it takes.
fn put(slots: &mut Slots<'_>, tally: &mut Tally, pieces: &[&[u8]]) -> bool {
    let len: usize = pieces.iter().map(|p| p.len()).sum();
    let room = slots.least_room().min(u16::MAX.into()) as usize;
    let needed = len.div_ceil(room.max(1)).max(1) as u32;
    if room == 0 || needed >= slots.ring.num_slots() {
        tally.full += 1;
        return true;
    }
    if needed > slots.free {
        return false;
    }
    let mut from = 0;
    while from < len || len == 0 {
        let to = len.min(from + room);
        let flags = if to < len { NS_MOREFRAG } else { 0 };
        slots.put((to - from) as u32, flags, |map, at| {
            each_piece(pieces, from, to, |bytes, behind| {
                copy_in(bytes, map, at + behind)
            })
        });
        from = to;
        if len == 0 {
            break;
        }
    }
    tally.packets += 1;
    tally.bytes += len as u64;
    true
}

/// Calls `copy` with what of each piece lies in bytes `from..to` of the packet, and how far behind `from`.
#[inline]
fn each_piece(
    pieces: &[&[u8]],
    from: usize,
    to: usize,
    mut copy: impl FnMut(&[u8], usize) -> bool,
) -> bool {
    let mut start = 0;
    for piece in pieces {
        let end = start + piece.len();
        let (first, last) = (start.max(from), end.min(to));
        if first < last && !copy(&piece[first - start..last - start], first - from) {
            return false;
        }
        start = end;
    }
    true
}

/// From now on the peer puts its packets into this ring, unless there is still something on its way.
fn let_peer_in(host: &dyn Host, k: &Kring) {
    if !is_over(k.joining.load(Relaxed)) {
        return;
    }
    // SYNC POINT: Release pairs with the Acquire in `join::is_open`: what was on the wire is published before.
    k.joining.store(0, Release);
    wake_peer(host, k);
}

/// Is that time (monotonic, nanoseconds) over?
pub(super) fn is_over(deadline: u64) -> bool {
    monotonic() >= deadline
}
