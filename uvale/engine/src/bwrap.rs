//! From one switch into another, through a persistent port that is on both (netmap's bwrap), and between a switch and
//! a NIC that is on it.
//!
//! The port on the first switch and its bwrap on the second have the same rings, with their meaning
//! exchanged: an rx ring of either is a tx ring of the other. What a sender has put into the rx
//! ring is sent on from the tx ring, by that sender, after it has released the receiver's `q_lock`:
//!
//! ```text
//!   a ──switch A──> rx of port ═ tx of bwrap ──switch B──> b
//!   a <──switch A── tx of port ═ rx of bwrap <──switch B── b
//! ```
//!
//! With a NIC it is the same, but that the tx ring is the NIC's, and leads to its wire; and what arrives on the wire is
//! taken in by a process of its own ([`crate::Brought`]). What the wire has no room for stays in the ring, and is
//! sent before what comes next.
//!
//! ```text
//!   a ──switch──> rx of bwrap ═ tx of NIC ──> wire
//!   a <──switch── tx of bwrap ═ rx of NIC <── wire, or the tx ring of a NIC that it is joined with
//! ```
//!
//! The sender holds `busy` of the rx ring meanwhile, and of the tx ring while it sends. As in netmap, a
//! sender that finds the rx ring held leaves its packets there. Here the holder looks again when it
//! has released the ring, so that they do not wait for the next packet.
//!
//! Two switches with two such ports between them, or a switch with a port that is on it twice, form a
//! loop. A packet that comes back to the ring its sender is sending from finds that ring held, by
//! its own sender, and stays there until something else arrives, as in netmap. Two senders could keep
//! each other busy forever; [`ROUNDS`], [`DEPTH`] and [`MOST`] bound that. What they leave stays in
//! the rings until something arrives, too, and what has no room there is dropped and counted.
//!
//! A process that dies here has given back no slot whose packet it had not sent: the next sender sends
//! those packets, a second time if they were on their way.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::fence;

use super::synced::Synced;
use super::vale::{self, Scratch};
use super::{Host, RegionMap, monitor, nic, trace};
use uvale_shared::ctl::{Kring, RING_ON};
use uvale_shared::lock::DAEMON_SESSION;
use uvale_shared::lock::LockGuard;

/// Most ports that a packet is forwarded through in one sync.
const DEPTH: u32 = 16;
/// Most syncs of bwraps that one delivery leads to.
const MOST: u32 = 256;
/// How often a sender looks again for packets that others have left in the ring.
const ROUNDS: u32 = 64;
/// Most work areas that a sender keeps.
const AREAS: usize = 32;
/// Spins for a ring that the daemon holds, which is only for a moment: the daemon waits for nobody.
const PATIENCE: u32 = 1000;

/// What a sender needs for forwarding packets.
#[derive(Default)]
pub struct Onward {
    areas: Vec<Area>,
    /// ports that the packets have come through
    depth: u32,
    /// syncs of bwraps left
    left: u32,
    /// packets came back to a ring that this thread is sending from
    looped: bool,
}

/// The work area of one tx ring.
struct Area {
    kring: u32,
    generation: u32,
    scratch: Box<Scratch>,
}

impl Onward {
    /// Drops the memory of ports that may have left.
    pub fn forget(&mut self) {
        self.areas.clear();
    }

    /// The work area of tx ring `kring`.
    fn area(&mut self, kring: u32, generation: u32) -> &mut Scratch {
        let same = |a: &Area| a.kring == kring && a.generation == generation;
        let at = self.areas.iter().position(same).unwrap_or_else(|| {
            if self.areas.len() == AREAS {
                self.areas.remove(0);
            }
            self.areas.push(Area {
                kring,
                generation,
                scratch: Box::default(),
            });
            self.areas.len() - 1
        });
        &mut self.areas[at].scratch
    }
}

/// After something was put into rx ring `index` of `region`, which is also a tx ring: sends it.
#[cold]
#[inline(never)]
pub fn forward(host: &dyn Host, index: u32, region: &RegionMap, onward: &mut Onward) {
    let Some(kring) = host.ctl().kring(index) else {
        return;
    };
    if onward.depth == 0 {
        (onward.left, onward.looped) = (MOST, false);
    }
    meet_wire(host, kring);
    for _ in 0..ROUNDS {
        if onward.depth == DEPTH || onward.left == 0 {
            return;
        }
        // SYNC POINT: pairs with the fence in `is_waiting`: either the holder of the ring sees what we
        // have published, or we find the ring free.
        fence(SeqCst);
        let Some((rx, guard)) = hold(host, region, index) else {
            onward.looped |= kring.busy.is_held_by(host.owner());
            return;
        };
        onward.left -= 1;
        let sent = send(host, &rx, onward);
        drop(guard);
        if sent.is_none() || onward.looped || !is_waiting(kring) {
            return;
        }
    }
}

/// A process that has not used the wire before has to ask the daemon for it, which it had better do before it has a
/// lock.
fn meet_wire(host: &dyn Host, rx: &Kring) {
    let onto = rx.bwrap.load(Relaxed).checked_sub(1);
    if let Some(tx) = onto.and_then(|i| host.ctl().kring(i))
        && tx.wire.load(Relaxed) != 0
    {
        host.wire(tx.port.load(Relaxed));
    }
}

/// Takes ring `index` unless another process than the daemon holds it.
fn hold<'a>(
    host: &'a dyn Host,
    region: &'a RegionMap,
    index: u32,
) -> Option<(Synced<'a>, LockGuard<'a>)> {
    let busy = &host.ctl().kring(index)?.busy;
    let soon = || {
        (0..PATIENCE)
            .take_while(|_| busy.owner() == DAEMON_SESSION)
            .find_map(|_| Synced::enter_other(host, region, index, true))
    };
    Synced::enter_other(host, region, index, false).or_else(soon)
}

/// Is there something in an rx ring that has not been sent?
pub fn is_waiting(rx: &Kring) -> bool {
    fence(SeqCst);
    let n = rx.num_slots.load(Relaxed);
    let (from, to) = (rx.hwcur.load(Relaxed), rx.hwtail.load(Relaxed));
    rx.has_bwrap() && rx.mode.load(Relaxed) == RING_ON && from < n && to < n && from != to
}

/// Sends what is in `rx`, and gives the slots of what was sent back. `None` if that is nothing, or there is nothing to
/// send it through.
fn send(host: &dyn Host, rx: &Synced<'_>, onward: &mut Onward) -> Option<()> {
    let k = rx.kring;
    let index = k.bwrap.load(Relaxed).checked_sub(1)?;
    let (tx, _guard) = hold(host, rx.region, index)?;
    let (from, to) = (k.hwcur.load(Relaxed), k.indices().arrived());
    if tx.n != rx.n || from >= rx.n || to >= rx.n || from == to {
        return None;
    }
    let is_nic = tx.kring.wire.load(Relaxed) != 0;
    // The two are one ring: what has not been released is what is to be sent. Of what a NIC has taken nothing is to be
    // sent again: its slots have got other buffers, perhaps.
    let sent = tx.kring.hwcur.load(Relaxed);
    if !is_nic || sent >= tx.n || tx.ring.distance(from, sent) > tx.ring.distance(from, to) {
        tx.kring.hwcur.store(from, Relaxed);
    }
    tx.kring.hwtail.store(tx.ring.prev(from), Relaxed);
    let (depth, left) = (onward.depth + 1, onward.left);
    let area = onward.area(index, tx.kring.generation.load(Relaxed));
    (area.onward.depth, area.onward.left, area.onward.looped) = (depth, left, false);
    if k.is_monitored() {
        monitor::arrived(host, rx, to, &mut area.monitors);
    }
    let pass_on = |area: &mut Scratch| match is_nic {
        true => nic::txsync(host, &tx, to, area),
        false => vale::txsync(host, &tx, to, area),
    };
    let tracing = trace::of(host, tx.kring);
    let first = tx.kring.hwcur.load(Relaxed);
    let is_untraced = tracing.is_none() && tx.kring.is_traced();
    if let Some(tracing) = tracing {
        let work = (&mut *area, Scratch::monitors as fn(&mut Scratch) -> &mut _);
        trace::send(
            host,
            &tx,
            to,
            &tracing,
            work,
            |watching, end, data, work, events| match is_nic {
                true => nic::txsync_traced(watching, &tx, end, work, events),
                false => vale::txsync_traced(watching, &tx, end, data, work, events),
            },
        );
    } else if tx.kring.is_monitored() {
        let freed = monitor::sending(host, &tx, to, &mut area.monitors);
        let hwtail = pass_on(area);
        monitor::sent(host, &tx, freed, hwtail);
    } else {
        pass_on(area);
    }
    if is_untraced {
        trace::unrecorded(&tx, first, tx.kring.hwcur.load(Relaxed));
    }
    // A NIC may have left some.
    let to = tx.kring.hwcur.load(Relaxed);
    if k.is_monitored() {
        monitor::released(host, rx, to);
    }
    let (left, looped) = (area.onward.left, area.onward.looped);
    for (ring, at) in [(&tx, to), (rx, to)] {
        ring.kring.rhead.store(at, Relaxed);
        ring.kring.rcur.store(at, Relaxed);
    }
    k.rtail.store(to, Relaxed);
    tx.kring.rtail.store(tx.ring.prev(to), Relaxed);
    // The packets have been copied: their slots may be filled again.
    k.indices().give_back(to);
    nic::wake_peer(host, k);
    onward.left = left;
    onward.looped |= looped;
    (to != from).then_some(())
}
