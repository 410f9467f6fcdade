//! NIC ports: what is behind a ring is a wire, and beside it, when both ends of a veth pair are open here, the
//! rings of the other end.
//!
//! | file | what |
//! |---|---|
//! | `nic/transmit.rs` | onto the wire, in batches straight from the program's buffers |
//! | `nic/arrive.rs` | from the wire into the ring |
//! | `nic/tap.rs` | the same from the descriptor of a TAP device |
//! | `nic/offload.rs` | packets that the kernel has left unfinished: checksums, segments |
//! | `nic/join.rs` | into the ring of the other end, by exchanging buffers |
//! | `nic/traced.rs` | a packet, and what has happened to it |
//! | `nic/forward.rs` | NS_FORWARD: between the interface and the host, on the way back from the program |

mod arrive;
mod forward;
mod join;
mod offload;
mod tap;
mod traced;
mod transmit;

use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::Arc;

use super::Host;
use super::sleep::{to_wake, wake};
use super::synced::Synced;
use super::trace;
use super::vale::Scratch;
use uvale_shared::ctl::{Kring, PORT_DOWN, WIRE_HOST, count};
use uvale_wire::{Frames, Space, Transmitter, Wire};

pub use forward::forward;
pub use traced::txsync as txsync_traced;

/// Sleeps of 20 ms to wait for a sender that holds the ring: the sync comes again.
const PATIENCE: u32 = 0;

/// Sends `hwcur..head`. What finds no room stays, and with it the slots behind. Returns hwtail.
pub fn txsync(host: &dyn Host, tx: &Synced<'_>, head: u32, work: &mut Scratch) -> u32 {
    send(host, tx, head, work).0
}

/// The same; with hwtail comes the ring of the other end, if it has taken the slots.
fn send(host: &dyn Host, tx: &Synced<'_>, head: u32, work: &mut Scratch) -> (u32, Option<u32>) {
    let k = tx.kring;
    let (mut at, mut by) = (k.hwcur.load(Relaxed), None);
    if head != at && at < tx.n && head < tx.n {
        // SYNC POINT: Acquire pairs with the Release of the daemon's store: the peer's ring is ready.
        let joined = k.joined.load(Acquire).checked_sub(1);
        let taken = joined.and_then(|rx| join::send(host, tx, head, rx, work));
        by = joined.filter(|_| taken.is_some());
        let next = taken.unwrap_or_else(|| onto_the_wire(host, tx, head, &mut work.outgoing));
        if next != at {
            count(&k.produced.progress, 1);
            if taken.is_none() {
                join::hold_back(host, k);
            }
        }
        at = next;
        k.hwcur.store(at, Relaxed);
    }
    let hwtail = tx.ring.prev(at);
    k.hwtail.store(hwtail, Relaxed);
    (hwtail, by)
}

/// Returns the slot to send next.
fn onto_the_wire(host: &dyn Host, tx: &Synced<'_>, head: u32, space: &mut Space) -> u32 {
    let k = tx.kring;
    if is_down(host, k) {
        return transmit::lose(tx, head);
    }
    let wire = wire_of(host, k);
    match wire.as_deref().and_then(|w| sender_of(w, k)) {
        Some(sender) => transmit::send(tx, head, sender, space),
        // A host's ring without a way to the host. What the program sends there is not the port's to keep: the
        // host gets what arrives by itself.
        None if k.wire.load(Relaxed) & WIRE_HOST != 0 => transmit::lose(tx, head),
        // As on netmap's veth: it waits for the other end.
        None => k.hwcur.load(Relaxed),
    }
}

/// Takes in what is on the wire, as far as there is room.
#[inline]
pub fn take_in(host: &dyn Host, rx: &Synced<'_>) {
    match trace::of(host, rx.kring) {
        None if trace::is_of_arriving(rx.kring) => {
            let from = rx.kring.hwtail.load(Relaxed);
            arrive::take_in(host, rx);
            trace::unrecorded(rx, from, rx.kring.hwtail.load(Relaxed));
        }
        None => arrive::take_in(host, rx),
        Some(tracing) => trace::arriving(host, rx, &tracing, |host| arrive::take_in(host, rx)),
    }
}

/// The wire of the port that ring `k` belongs to.
fn wire_of(host: &dyn Host, k: &Kring) -> Option<Arc<Wire>> {
    host.wire(k.port.load(Relaxed))
}

/// Where packets of tx ring `k` go.
fn sender_of<'a>(wire: &'a Wire, k: &Kring) -> Option<&'a Transmitter> {
    match k.wire.load(Relaxed) {
        0 => None,
        ring if ring & WIRE_HOST != 0 => wire.host_sender(),
        ring => wire.sender(ring - 1),
    }
}

/// Where packets of rx ring `k` come from. Of several host rings the first gets all, as in netmap.
fn frames_of<'a>(wire: &'a Wire, k: &Kring) -> Option<&'a Frames> {
    match k.wire.load(Relaxed) {
        0 => None,
        ring if ring == WIRE_HOST | 1 => wire.host_frames(),
        ring if ring & WIRE_HOST != 0 => None,
        ring => wire.frames(ring - 1),
    }
}

fn is_down(host: &dyn Host, k: &Kring) -> bool {
    let port = host.ctl().port(k.port.load(Relaxed));
    port.is_none_or(|p| p.flags.load(Relaxed) & PORT_DOWN != 0)
}

/// Is there something on the wire for rx ring `k`? For a glance without a sync.
pub fn is_ready(host: &dyn Host, k: &Kring) -> bool {
    let wire = wire_of(host, k);
    let frames = wire.as_deref().and_then(|w| frames_of(w, k));
    frames.is_some_and(|frames| frames.is_ready(k.frame.load(Relaxed)))
}

/// The descriptor that becomes readable when a packet for rx ring `k` is on the wire, if there is any such.
pub fn readable(host: &dyn Host, k: &Kring) -> Option<i32> {
    use std::os::fd::AsRawFd;
    let wire = wire_of(host, k)?;
    frames_of(&wire, k)?.fd().map(AsRawFd::as_raw_fd)
}

/// Rx ring `k` has room again: wakes who waits for that at the other end of a joined pair.
#[inline]
pub fn wake_peer(host: &dyn Host, k: &Kring) {
    let peer = k.joined.load(Acquire).checked_sub(1);
    if let Some(tx) = peer.and_then(|i| host.ctl().kring(i)) {
        wake(host, tx, to_wake(tx));
    }
}

/// Has ring `k` to be looked at soon, whatever happens? A tx ring whose wire has no room, which does not say when
/// it has again; one whose peer does not take packets yet; an rx ring of which that is so, or of whose packets nothing
/// tells.
pub fn is_restless(host: &dyn Host, k: &Kring, is_tx: bool) -> bool {
    let peer = k.joined.load(Acquire).checked_sub(1);
    match peer.and_then(|i| host.ctl().kring(i)) {
        Some(rx) if is_tx => rx.joining.load(Relaxed) != 0,
        Some(_) => k.joining.load(Relaxed) != 0,
        None if is_tx => has_unsent(k),
        None => is_silent(host, k),
    }
}

/// Has the last sync of tx ring `k` left something, for want of room on the wire or at the other end?
pub fn has_unsent(k: &Kring) -> bool {
    k.rhead.load(Relaxed) != k.hwcur.load(Relaxed)
}

/// Is rx ring `k` one of a wire of which no descriptor becomes readable?
fn is_silent(host: &dyn Host, k: &Kring) -> bool {
    let wire = wire_of(host, k);
    let frames = wire.as_deref().and_then(|wire| frames_of(wire, k));
    frames.is_some_and(|frames| frames.fd().is_none())
}
