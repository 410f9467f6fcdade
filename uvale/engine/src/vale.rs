//! The way of a packet from the tx ring of a VALE port to the rx rings of others.
//!
//! A run, packets of one slot each that all go to the same ring, is copied from ring to ring in one pass ([`run`]).
//! Whatever is not so simple ends the run and goes the general way in batches ([`batch`]), as in netmap: collect,
//! classify, copy. The packets of one receiver stay in order, for a run is published before anything after it is
//! looked at.

mod batch;
mod classify;
mod deliver;
mod express;
mod fill;
mod lookup;
mod packets;
mod places;
mod plan;
mod run;
mod scratch;
mod traced;

use core::sync::atomic::Ordering::{Acquire, Relaxed};

pub(super) use express::send_few;
pub use scratch::Scratch;
pub use traced::txsync as txsync_traced;

use super::bwrap::{self, Onward};
use super::lease::Lease;
use super::monitor::Regions;
use super::offsets;
use super::synced::Synced;
use super::{Host, RegionMap, monitor};
use uvale_shared::ctl::{Ctl, MAX_RINGS, Port, Switch, SyncCounters, count};

/// Most slots per batch (what bridge_batch starts with); the last packet may exceed it.
pub const BATCH: usize = 1024;
/// An Ethernet header.
const MIN_FRAME: u32 = 14;
/// Sleeps of 20 ms for the lock of a receiver that a stopped process holds: a second.
const PATIENCE: u32 = 50;
/// Most batches that go the general way after a run that ended early.
const MOST_DETOUR: u32 = 32;

/// What became of the packets of a sync, added to the ring's counters once.
#[derive(Default)]
struct Tally {
    packets: u64,
    bytes: u64,
    bad_slot: u64,
    short: u64,
    no_dest: u64,
    no_receiver: u64,
    /// source addresses learnt, for a trace
    learnt: u64,
}

impl Tally {
    #[inline(always)]
    fn count(&self, c: &SyncCounters) {
        count(&c.packets, self.packets);
        count(&c.bytes, self.bytes);
        count(&c.bad_slot, self.bad_slot);
        count(&c.short, self.short);
        count(&c.no_dest, self.no_dest);
        count(&c.no_receiver, self.no_receiver);
    }
}

/// The sending port during one sync.
struct Sender<'a> {
    host: &'a dyn Host,
    ctl: &'a Ctl,
    owner: uvale_shared::lock::Owner,
    port: &'a Port,
    switch: &'a Switch,
    /// the switch as port records name it
    switch_ref: u32,
    me: u32,
    ring_nr: u32,
    region: &'a RegionMap,
    virt_hdr_len: u32,
    /// the short ways of copying will do
    plain: bool,
    /// slots per batch, from 1 to [`BATCH`]
    batch: u32,
}

/// Sends `hwcur..head` of a VALE port's tx ring. The ring is always consumed whole; what a
/// receiver has no room for is dropped there. Returns hwtail.
pub fn txsync(host: &dyn Host, tx: &Synced<'_>, head: u32, scratch: &mut Scratch) -> u32 {
    let k = tx.kring;
    scratch.begin(tx.owner.session());
    let mut at = k.hwcur.load(Relaxed);
    // Mostly it is a run, and all that it needs is known.
    if at != head && scratch.detour.is_over() {
        at = run::send(host, tx, at, head, scratch).unwrap_or(at);
    }
    if at != head
        && let Some(sender) = Sender::new(host, tx)
    {
        sender.forward(tx, at, head, scratch);
    }
    scratch.end(tx.way);
    k.hwcur.store(head, Relaxed);
    let hwtail = tx.ring.prev(head);
    k.hwtail.store(hwtail, Relaxed);
    hwtail
}

/// How long a ring goes the general way before it looks for a run again, or tries the short way for several packets:
/// longer and longer, as long as that is in vain.
#[derive(Clone, Copy, Default)]
struct Detour {
    /// batches, or syncs, that are left
    left: u32,
    /// those of the last one
    last: u32,
}

impl Detour {
    /// A run came to its end, or a short way sent all; or not.
    #[inline(always)]
    fn note(&mut self, is_good: bool) {
        if is_good {
            self.last = 0;
        } else {
            self.last = (2 * self.last).clamp(1, MOST_DETOUR);
            self.left = self.last;
        }
    }

    /// May it be tried?
    #[inline(always)]
    fn is_over(&self) -> bool {
        self.left == 0
    }

    /// A batch, or a sync, goes the general way, if it may not.
    fn goes_on(&mut self) -> bool {
        let goes_on = self.left > 0;
        self.left -= u32::from(goes_on);
        goes_on
    }
}

impl<'a> Sender<'a> {
    /// `None` for a port that is on no switch, and while bridge_batch is 0: what it sends goes nowhere.
    #[inline(always)]
    fn new(host: &'a dyn Host, tx: &Synced<'a>) -> Option<Self> {
        let ctl = host.ctl();
        let batch = ctl.tuning()?.batch.load(Relaxed).min(BATCH as u32);
        if batch == 0 {
            return None;
        }
        let port = ctl.port(tx.kring.port.load(Relaxed))?;
        let switch_ref = port.switch.load(Acquire);
        let switch = ctl.switch(switch_ref.checked_sub(1)?)?;
        Some(Self {
            host,
            ctl,
            owner: host.owner(),
            port,
            switch,
            switch_ref,
            me: port.bdg_port.load(Relaxed),
            ring_nr: tx.kring.ring_id.load(Relaxed) % MAX_RINGS as u32,
            region: tx.region,
            virt_hdr_len: port.virt_hdr_len.load(Relaxed),
            plain: offsets::is_plain(tx.kring, tx.region),
            batch,
        })
    }

    /// Sends all there is from `at` on: a run where there is one, else a batch.
    #[inline(never)]
    fn forward(&self, tx: &Synced<'a>, mut at: u32, head: u32, scratch: &mut Scratch) {
        let mut tally = Tally::default();
        while at != head {
            if scratch.detour.is_over() {
                at = self.run(tx, at, head, scratch);
            }
            if at != head && scratch.detour.goes_on() {
                at = self.batch(tx, at, head, scratch, &mut tally);
            }
        }
        tally.count(&tx.kring.sync);
    }

    /// Sends the run that begins at `from`, if there is one. Returns the slot after it.
    fn run(&self, tx: &Synced<'a>, from: u32, head: u32, scratch: &mut Scratch) -> u32 {
        let send = |scratch: &mut Scratch| run::send(self.host, tx, from, head, scratch);
        let sent = send(scratch).or_else(|| {
            self.plan(tx, from, scratch)?;
            send(scratch)
        });
        sent.unwrap_or_else(|| {
            scratch.detour.note(false);
            from
        })
    }
}

/// Publishes what a sender has put into rx ring `index`: the receiver's monitors see it, whoever sleeps on
/// the ring wakes up, and through a port on two switches it goes on into the other.
#[inline(always)]
fn hand_over(
    host: &dyn Host,
    lease: Lease<'_>,
    index: u32,
    monitors: &mut Regions,
    onward: &mut Onward,
) {
    let (kring, region, is_filled) = (lease.kring, lease.slots.region, lease.is_filled());
    let wakeups = lease.publish();
    if is_filled && kring.is_monitored() {
        monitor::delivered(host, index, region, monitors);
    }
    wakeups.wake(host);
    if kring.has_bwrap() {
        bwrap::forward(host, index, region, onward);
    }
}
