//! The way of a packet from the tx ring of a VALE port to the rx rings of others:
//! collect, classify, copy, publish, wake.
//!
//! As in netmap the work goes in batches with two passes over each: the first finds a destination
//! for every packet and strings the packets of one destination together, the second fills one
//! receiver after the other, merging its own packets with the broadcasts in order.

mod classify;
mod deliver;
mod fill;
mod run;
mod scratch;

use core::sync::atomic::Ordering::{Acquire, Relaxed};

pub(super) use deliver::{Room, publish};
pub use scratch::Scratch;
use scratch::{EMPTY, Frag};

use super::offsets::{self, Offsets};
use super::ring::Synced;
use super::{Host, RegionMap, fdb, vnet};
use nm_abi::{NS_INDIRECT, NS_MOREFRAG};
use uvale_shared::ctl::{MAX_RINGS, Port, SWITCH_PORTS, Switch, count};

/// Most slots per batch (what bridge_batch starts with); the last packet may exceed it.
pub const BATCH: usize = 1024;
/// An Ethernet header.
const MIN_FRAME: u32 = 14;
/// Slots whose buffers are asked for ahead of copying.
const PRIME: u32 = 32;
/// End of a list of packets.
const NIL: u32 = u32::MAX;
/// Queues: 16 rings of each port and one for broadcasts.
const QUEUES: usize = SWITCH_PORTS * MAX_RINGS + 1;
const BROADCAST_QUEUE: usize = SWITCH_PORTS * MAX_RINGS;

/// What became of a batch, added to the counters once.
#[derive(Default)]
struct Tally {
    packets: u64,
    bytes: u64,
    bad_slot: u64,
    short: u64,
    no_dest: u64,
    no_receiver: u64,
}

/// The sending port during one sync.
struct Sender<'a> {
    host: &'a dyn Host,
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
    owner: uvale_shared::lock::Owner,
    ctl: &'a uvale_shared::ctl::Ctl,
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
            port,
            switch,
            switch_ref,
            me: port.bdg_port.load(Relaxed),
            ring_nr: tx.kring.ring_id.load(Relaxed) % MAX_RINGS as u32,
            region: tx.region,
            virt_hdr_len: port.virt_hdr_len.load(Relaxed),
            plain: offsets::is_plain(tx.kring, tx.region),
            owner: host.owner(),
            ctl,
            batch,
        })
    }

    /// Cuts `hwcur..head` into batches.
    #[inline(always)]
    fn forward(&self, tx: &Synced<'a>, head: u32, scratch: &mut Scratch) {
        let mut tally = Tally::default();
        let mut at = tx.kring.hwcur.load(Relaxed);
        while at != head {
            at = self.run(tx, at, head, scratch, &mut tally);
            if at != head && scratch.detour != 0 {
                at = self.general(tx, at, head, scratch, &mut tally);
            }
        }
        let c = &tx.kring.sync;
        count(&c.packets, tally.packets);
        count(&c.bytes, tally.bytes);
        count(&c.bad_slot, tally.bad_slot);
        count(&c.short, tally.short);
        count(&c.no_dest, tally.no_dest);
        count(&c.no_receiver, tally.no_receiver);
    }

    /// One batch of packets of any kind.
    #[inline(never)]
    fn general(
        &self,
        tx: &Synced<'a>,
        at: u32,
        head: u32,
        scratch: &mut Scratch,
        tally: &mut Tally,
    ) -> u32 {
        let at = self.collect(tx, at, head, scratch, tally);
        self.flush(scratch, tally);
        at
    }

    /// Collect: copies slots out of the ring until a batch is full or `head` is reached, and finds
    /// the ends of packets. Returns the slot to go on from.
    #[inline]
    fn collect(
        &self,
        tx: &Synced<'a>,
        from: u32,
        head: u32,
        scratch: &mut Scratch,
        tally: &mut Tally,
    ) -> u32 {
        let pool = &self.region.pool;
        let slots = tx.ring.slots();
        let offsets = Offsets::of(tx.kring);
        let out = &mut scratch.frags;
        out.clear();
        let (mut i, mut first, mut bytes) = (from, 0usize, 0u32);
        while i != head {
            let view = &slots[i as usize];
            let slot = view.load();
            view.clear_changed(slot);
            let indirect = slot.flags & NS_INDIRECT != 0;
            let ptr = if indirect || !self.plain {
                view.ptr()
            } else {
                0
            };
            let offset = offsets.get(ptr);
            let at = if indirect {
                ptr
            } else {
                pool.offset(slot.buf_idx) as u64 + u64::from(offset)
            };
            if !indirect {
                self.region.map.prefetch(at as usize);
            }
            let mut frag = Frag {
                at,
                len: slot.len.into(),
                flags: slot.flags,
                frags: 1,
                next: NIL,
                bytes: 0,
            };
            if frag.len > pool.size().saturating_sub(offset) || (indirect && at == 0) {
                // As in netmap: an empty fragment, which as the first of a packet is dropped.
                (frag.at, frag.len, frag.flags) = (pool.offset(0) as u64, 0, 0);
                tally.bad_slot += 1;
            }
            bytes += frag.len;
            out.push(frag);
            i = tx.ring.next(i);
            if slot.flags & NS_MOREFRAG != 0 {
                continue;
            }
            out[first].frags = (out.len() - first) as u16;
            out[first].bytes = bytes;
            (first, bytes) = (out.len(), 0);
            tally.packets += 1;
            if first >= self.batch as usize {
                return i;
            }
        }
        if first < out.len() {
            // The chain is not complete: what is there is sent as it is.
            let frags = (out.len() - first) as u16;
            if let Some(last) = out.last_mut() {
                last.flags &= !NS_MOREFRAG;
            }
            out[first].frags = frags;
            out[first].bytes = bytes;
            tally.packets += 1;
            count(&tx.kring.sync.truncated, 1);
        }
        i
    }

    #[inline]
    fn flush(&self, scratch: &mut Scratch, tally: &mut Tally) {
        self.sweep(scratch);
        self.classify(scratch, tally);
        let mut dests = core::mem::take(&mut scratch.dests);
        for dest in &dests {
            let queue = dest.queue as usize;
            if !self.deliver(*dest, scratch) {
                tally.no_receiver += scratch.packets_for(queue);
            }
            scratch.queues[queue] = EMPTY;
        }
        scratch.queues[BROADCAST_QUEUE] = EMPTY;
        dests.clear();
        scratch.dests = dests;
    }

    /// Lets go of the memory of ports that have left, when the switch has changed.
    #[inline]
    fn sweep(&self, scratch: &mut Scratch) {
        let generation = self.switch.generation.load(Acquire);
        if scratch.swept != generation {
            scratch.swept = generation;
            scratch.regions.clear();
            scratch.regions.resize(SWITCH_PORTS, None);
            scratch.onward.forget();
        }
    }

    /// Index of the port record of port `number` of the switch.
    #[inline]
    fn member(&self, number: u32) -> Option<u32> {
        self.switch
            .ports
            .get(number as usize)?
            .load(Acquire)
            .checked_sub(1)
    }
}
