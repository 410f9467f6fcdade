//! NS_FORWARD (netmap's nm_grab): what a program has looked at and marked goes on by itself when it is released:
//! from an rx ring of the interface to the host, from the host's rx ring to the interface.

use core::sync::atomic::Ordering::Relaxed;

use super::wire_of;
use crate::Host;
use crate::offsets::Offsets;
use crate::synced::Synced;
use nm_abi::{NR_FORWARD, NS_FORWARD, NS_MOREFRAG};
use uvale_shared::ctl::{WIRE_HOST, count};
use uvale_shared::lock::LockGuard;
use uvale_shared::shm::Slot;
use uvale_wire::{Batch, Space};

/// Sends on what lies between hwcur and `head` and is marked, if the ring says so. What finds no room is lost, as in
/// netmap.
#[inline(always)]
pub fn forward(host: &dyn Host, rx: &Synced<'_>, head: u32) {
    let from = rx.kring.hwcur.load(Relaxed);
    if from != head && rx.ring.header().flags.load(Relaxed) & NR_FORWARD != 0 {
        send_on(host, rx, from, head);
    }
}

#[cold]
#[inline(never)]
fn send_on(host: &dyn Host, rx: &Synced<'_>, from: u32, head: u32) {
    let Some(wire) = wire_of(host, rx.kring) else {
        return;
    };
    let is_host = rx.kring.wire.load(Relaxed) & WIRE_HOST != 0;
    let counters = &rx.kring.sync;
    let lost = |n: u32| count(&counters.no_receiver, n.into());
    // The queue belongs to whoever holds the lock of its ring, which has to be open, as in netmap.
    let ring = match is_host {
        true => tx_ring(host, rx),
        false => None,
    };
    let sender = match (is_host, &ring) {
        (true, Some(_)) => wire.sender(0),
        (true, None) => None,
        (false, _) => wire.host_sender(),
    };
    let Some(sender) = sender else {
        return lost(rx.ring.distance(from, head));
    };
    let (pool, offsets) = (&rx.region.pool, Offsets::of(rx.kring));
    let mut space = Space::default();
    let (mut at, mut goes_on) = (from, false);
    while at != head && at < rx.n {
        let mut batch = space.batch(&rx.region.map);
        while at != head && (goes_on || batch.len() < Batch::MOST) {
            let view = &rx.ring.slots()[at as usize];
            let slot = view.load_full();
            at = rx.ring.next(at);
            if slot.flags & NS_FORWARD == 0 || !pool.is_valid(slot.buf_idx) {
                goes_on = false;
                continue;
            }
            let flags = slot.flags & !NS_FORWARD;
            view.store(Slot { flags, ..slot });
            let offset = offsets.get(slot.ptr);
            let len = u32::from(slot.len).min(pool.size().saturating_sub(offset));
            let ofs = pool.offset(slot.buf_idx) + offset as usize;
            let is_in = batch.push(ofs, len as usize, goes_on);
            goes_on = is_in && slot.flags & NS_MOREFRAG != 0;
            if !is_in {
                lost(1);
                break;
            }
        }
        goes_on = false;
        let mut done = 0;
        while done < batch.len() {
            done += match sender.send(&batch, done) {
                Ok(n) if n > 0 => n,
                _ => {
                    lost(1);
                    1
                }
            };
        }
    }
}

/// The first tx ring of the port that `rx` belongs to, held for as long as its queue is used.
fn tx_ring<'a>(host: &'a dyn Host, rx: &Synced<'a>) -> Option<(Synced<'a>, LockGuard<'a>)> {
    let port = host.ctl().port(rx.kring.port.load(Relaxed))?;
    Synced::enter_other(host, rx.region, port.tx_kring.load(Relaxed), true)
}
