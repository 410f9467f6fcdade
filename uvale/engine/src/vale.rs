//! The way of a packet from the tx ring of a VALE port to the rx rings of others.
//!
//! A run, packets of one slot each that are all between the same two addresses, is looked up once and
//! copied from ring to ring in one pass, here. Whatever is not so simple ends the run and goes the
//! general way in batches ([`batch`]), as in netmap: collect, classify, copy. The packets of one
//! receiver stay in order, for a run is published before anything after it is looked at.

mod batch;
mod classify;
mod deliver;
mod lookup;
mod scratch;
mod traced;

use core::sync::atomic::Ordering::{Acquire, Relaxed};

pub use scratch::Scratch;
pub use traced::txsync as txsync_traced;

use super::bwrap::{self, Onward};
use super::lease::{Lease, Refused};
use super::monitor::Regions;
use super::offsets;
use super::synced::Synced;
use super::{Host, RegionMap, monitor};
use nm_abi::{NS_INDIRECT, NS_MOREFRAG};
use uvale_shared::ctl::{Ctl, Kring, MAX_RINGS, Port, Switch, SyncCounters, count};
use uvale_shared::shm::{SlotView, copy_packet, prefetch_to_write, rfrags};

/// Most slots per batch (what bridge_batch starts with); the last packet may exceed it.
pub const BATCH: usize = 1024;
/// An Ethernet header.
const MIN_FRAME: u32 = 14;
/// Sleeps of 20 ms for the lock of a receiver that a stopped process holds: a second.
const PATIENCE: u32 = 50;
/// Syncs that go the general way after one in which a run ended early.
const DETOUR: u32 = 32;
/// Packets copied before their slots are written.
const STRETCH: usize = 64;
/// A sync of fewer packets is probably followed by another of the kind.
const FEW: u32 = 8;

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
    if let Some(sender) = Sender::new(host, tx) {
        scratch.begin(host.session());
        sender.forward(tx, head, scratch);
        scratch.in_use = false;
    }
    k.hwcur.store(head, Relaxed);
    let hwtail = tx.ring.prev(head);
    k.hwtail.store(hwtail, Relaxed);
    hwtail
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

    /// Sends all there is: a run where there is one, else a batch.
    #[inline(always)]
    fn forward(&self, tx: &Synced<'a>, head: u32, scratch: &mut Scratch) {
        let mut tally = Tally::default();
        let mut at = tx.kring.hwcur.load(Relaxed);
        while at != head {
            at = self.run(tx, at, head, scratch, &mut tally);
            if at != head && scratch.detour != 0 {
                at = self.batch(tx, at, head, scratch, &mut tally);
            }
        }
        tally.count(&tx.kring.sync);
    }

    /// Sends the run that begins at `from`, if there is one. Returns the slot after it.
    #[inline(always)]
    fn run(
        &self,
        tx: &Synced<'a>,
        from: u32,
        head: u32,
        scratch: &mut Scratch,
        tally: &mut Tally,
    ) -> u32 {
        if scratch.detour > 0 {
            scratch.detour -= 1;
            return from;
        }
        let end = self.try_run(tx, from, head, scratch, tally).unwrap_or(from);
        // A run as long as a batch has not ended: it goes on.
        if end != head && tx.ring.distance(from, end) < self.batch {
            scratch.detour = DETOUR;
        }
        end
    }

    #[inline(always)]
    fn try_run(
        &self,
        tx: &Synced<'a>,
        from: u32,
        head: u32,
        scratch: &mut Scratch,
        tally: &mut Tally,
    ) -> Option<u32> {
        if self.virt_hdr_len != 0 || !self.plain {
            return None;
        }
        let first = self.plain(tx.ring.slots().get(from as usize)?)?;
        let words = self.region.map.two_words(first.at)?;
        if !self.holds(&scratch.plan, words) {
            self.sweep(scratch);
            self.plan(words, scratch)?;
        }
        let plan = &scratch.plan;
        let port = self.ctl.port(plan.port)?;
        if port.virt_hdr_len.load(Relaxed) != 0 {
            return None;
        }
        let kring = self.ctl.kring(plan.rx)?;
        let to = scratch.regions.get(plan.number as usize)?.as_deref()?;
        let most = tx.ring.distance(from, head).min(self.batch);
        // A plan outlives the sync that made it, and its records may be another port's by now. Their
        // generation says so, and stands for all of a ring that does not change while it exists.
        let is_still = |kring: &Kring| {
            kring.generation.load(Relaxed) == plan.rx_generation
                && self.is_member(plan.number, plan.port, port, kring)
        };
        let mut lease = match Lease::take(kring, to, self.owner, PATIENCE, most, is_still) {
            Ok(lease) if lease.slots.is_plain() => lease,
            Err(Refused::Stuck) => return None,
            Ok(_) | Err(Refused::Gone) => {
                // Else it would hold for ever, and be good for nothing.
                scratch.plan.generation = None;
                return None;
            }
        };
        let mut run = Run {
            sender: self,
            tx,
            words,
            at: tx.ring.next(from),
            head,
            left: self.batch - 1,
        };
        let lost = run.copy(first, &mut lease);
        tally.packets += u64::from(tx.ring.distance(from, run.at));
        tally.bytes += lease.tally.bytes + lost;
        if tx.ring.distance(from, run.at) < FEW {
            prime(&lease);
        }
        hand_over(
            self.host,
            lease,
            plan.rx,
            &mut scratch.monitors,
            &mut scratch.onward,
        );
        Some(run.at)
    }

    /// The packet in a slot of the tx ring, if it is fit for a run.
    #[inline(always)]
    fn plain(&self, view: &SlotView) -> Option<Plain> {
        let slot = view.load();
        if slot.flags & (NS_INDIRECT | NS_MOREFRAG) != 0 {
            return None;
        }
        let (pool, len) = (&self.region.pool, u32::from(slot.len));
        if len < MIN_FRAME || len > pool.size() {
            return None;
        }
        view.clear_changed(slot);
        Some(Plain {
            at: pool.offset(slot.buf_idx),
            len,
        })
    }
}

/// A packet fit for a run.
#[derive(Clone, Copy)]
struct Plain {
    at: usize,
    len: u32,
}

/// The packets of a run after the first.
struct Run<'a> {
    sender: &'a Sender<'a>,
    tx: &'a Synced<'a>,
    /// first twelve bytes of each
    words: (u64, u64),
    /// the slot after the packets so far
    at: u32,
    /// what is to be sent ends before this slot
    head: u32,
    /// packets that may follow
    left: u32,
}

impl Iterator for Run<'_> {
    type Item = Plain;

    #[inline(always)]
    fn next(&mut self) -> Option<Plain> {
        if self.at == self.head || self.left == 0 {
            return None;
        }
        let packet = self.sender.plain(&self.tx.ring.slots()[self.at as usize])?;
        if self.sender.region.map.two_words(packet.at) != Some(self.words) {
            return None;
        }
        self.at = self.tx.ring.next(self.at);
        self.left -= 1;
        Some(packet)
    }
}

impl Run<'_> {
    /// Copies `first` and those after it. Returns the bytes of the packets that found no room.
    ///
    /// Tuned by hand; all other copying is [`super::lease::Slots::put`]. Payloads of a stretch first, then
    /// its slots: two streams of stores one after the other are faster than two at a time, and only
    /// the second is to lines that the receiver has read.
    #[inline(always)]
    fn copy(&mut self, first: Plain, lease: &mut Lease<'_>) -> u64 {
        let (from, to) = (&self.sender.region.map, lease.slots.region);
        let (slots, n) = (lease.slots.ring.slots(), lease.slots.ring.num_slots());
        let (mut at, mut left) = (lease.slots.at, lease.slots.free);
        let (mut bytes, mut bad) = (0, 0);
        let (mut this, mut lens) = (first, [0u16; STRETCH]);
        let mut packet = loop {
            // No stretch goes beyond the last slot.
            let most = left.min(n - at).min(STRETCH as u32);
            let stretch = &slots[at as usize..(at + most) as usize];
            let mut k = 0;
            let rest = loop {
                let Some(slot) = stretch.get(k) else {
                    break Some(this);
                };
                let dst = to.pool.offset(slot.load().buf_idx);
                let copied = this.len <= to.pool.size()
                    && copy_packet(from, this.at, &to.map, dst, this.len as usize);
                bad += u64::from(!copied);
                lens[k] = if copied { this.len as u16 } else { 0 };
                bytes += u64::from(this.len);
                k += 1;
                match self.next() {
                    Some(next) => this = next,
                    None => break None,
                }
            };
            for (slot, len) in stretch.iter().zip(&lens[..k]) {
                slot.store_len_flags(*len, rfrags(1));
            }
            (at, left) = ((at + k as u32) % n, left - k as u32);
            if rest.is_none() || left == 0 {
                break rest;
            }
        };
        (lease.tally.packets, lease.tally.bytes) = (u64::from(lease.slots.free - left), bytes);
        (lease.slots.at, lease.slots.free, lease.slots.bad_copy) = (at, left, bad);
        let mut lost = 0;
        while let Some(this) = packet {
            lease.tally.full += 1;
            lost += u64::from(this.len);
            packet = self.next();
        }
        lost
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

/// Asks for what the next syncs will write, if the slot that says where is free: these lines were last the
/// receiver's.
#[inline(always)]
fn prime(lease: &Lease<'_>) {
    let (to, slots) = (lease.slots.region, lease.slots.ring.slots());
    if lease.slots.free > 1
        && let Some(view) = slots.get(lease.slots.at as usize + 1)
    {
        prefetch_to_write(view);
        to.map
            .prefetch_to_write(to.pool.offset(view.load().buf_idx));
    }
}
