//! The receivers: ports of a switch, and the rings that packets go to.

use core::cell::Cell;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::Arc;

use super::fill::Plain;
use super::plan::{Headers, Last, Plan};
use super::scratch::{BROADCAST, BROADCAST_QUEUE, Dest, Scratch};
use super::{BATCH, Sender};
use crate::offsets::Offsets;
use crate::synced::{Synced, place};
use crate::{Host, RegionMap, fdb};
use uvale_shared::ctl::{self, Kring, MAX_RINGS, NO_PORT, Port, RING_ON, SWITCH_PORTS};
use uvale_shared::held::Held;
use uvale_shared::shm::{Buffers, HeldRing, RingPlace};

/// A port of the switch, and one of its rx rings.
pub(super) struct Member<'a> {
    /// its number on the switch
    pub(super) number: u32,
    /// its record
    pub(super) index: u32,
    pub(super) port: &'a Port,
    /// index of the kring
    pub(super) rx: u32,
    pub(super) kring: &'a Kring,
}

impl Member<'_> {
    /// Its memory, mapped if necessary; `regions` are those of the ports by number. Before a lock is
    /// taken: mapping may have to ask the daemon.
    #[inline]
    pub(super) fn map<'r>(
        &self,
        host: &dyn Host,
        regions: &'r mut [Option<Arc<RegionMap>>],
    ) -> Option<&'r RegionMap> {
        let wanted = self.kring.region.load(Relaxed);
        let cached = regions.get_mut(self.number as usize)?;
        if cached.as_ref().is_none_or(|r| r.number != wanted) {
            *cached = host.region(wanted);
        }
        cached.as_deref()
    }
}

impl<'a> Sender<'a> {
    /// Finds out what a run that begins with the packet in slot `from` needs, or that it cannot be one.
    #[inline(never)]
    pub(super) fn plan(&self, tx: &Synced<'_>, from: u32, scratch: &mut Scratch) -> Option<()> {
        scratch.plan = None;
        self.sweep(scratch);
        if !self.plain {
            return None;
        }
        let (ahead, view) = (self.virt_hdr_len, tx.ring.slots().get(from as usize)?);
        let packet = Plain::of(view, Buffers::of(tx.region)?, ahead)?;
        let words = packet.bytes.words_behind(ahead);
        // Not the epoch of now: what the sync goes by was found out in that one.
        let when = tx.when;
        let generation = self.switch.generation.load(Acquire);
        // Not the batch that the sync has begun with, but that of the generation, which changes with it.
        let batch = self.ctl.tuning()?.batch.load(Relaxed).min(BATCH as u32);
        if batch == 0 {
            return None;
        }
        // The sender may have left the switch since it was looked at.
        let index = tx.kring.port.load(Relaxed);
        if !self.is_member(self.me, index, self.port, tx.kring) {
            return None;
        }
        let (destination, source) = fdb::addresses(words.0, words.1);
        if !fdb::is_group(source) && source != self.port.last_smac.load(Relaxed) {
            self.port.last_smac.store(source, Relaxed);
            fdb::learn(&self.switch.fdb, source, self.me);
        }
        let queue = self.queue_for(destination)?.queue as usize;
        if queue == BROADCAST_QUEUE {
            return None;
        }
        let member = self.member_ring(queue)?;
        let rx_epoch = member.kring.now();
        // What was asked before belongs to this epoch only if it is still so.
        if self.member_ring(queue)?.rx != member.rx {
            return None;
        }
        member.map(self.host, &mut scratch.regions)?;
        let region = scratch.regions.get(member.number as usize)?.as_ref()?;
        let to = HeldRing::new(region, self.plain_place(&member, region)?)?;
        // The sender's, too, may have got another one since it was looked at.
        let headers = Headers {
            from: self.port.virt_hdr_len.load(Relaxed),
            to: member.port.virt_hdr_len.load(Relaxed),
        };
        let from = scratch.own.as_ref().filter(|_| headers == Headers::NONE);
        let from = from.and_then(|own| HeldRing::new(own, place(tx.kring, own)?));
        let (ctl, me) = (self.host.ctl(), tx.kring.port.load(Relaxed));
        scratch.plan = Some(Plan {
            batch,
            when,
            from,
            me: Held::new(ctl, |ctl| ctl.port(me))?,
            switch: Held::new(ctl, |ctl| ctl.switch(self.switch_ref - 1))?,
            generation: Cell::new(generation.into()),
            numbers: (self.me, member.number),
            headers,
            last: Cell::new(Last::NONE),
            is_mixed: Cell::new(false),
            to,
            rx_index: member.rx,
            rx: Held::new(ctl, |ctl| ctl.kring(member.rx))?,
            rx_epoch,
            is_private: !member.kring.is_monitored() && !member.kring.has_bwrap(),
        });
        Some(())
    }

    /// Where the ring of `member`, which is in `region`, is, if the short ways of copying will do.
    fn plain_place(&self, member: &Member<'_>, region: &RegionMap) -> Option<RingPlace> {
        let kring = member.kring;
        let is_it = self.is_member(member.number, member.index, member.port, kring);
        let is_plain = Offsets::of(kring).is_none() && is_it;
        is_plain.then(|| place(kring, region)).flatten()
    }

    /// Where packets to `dmac` go; `None`: nowhere.
    #[inline]
    pub(super) fn queue_for(&self, dmac: fdb::Mac) -> Option<Dest> {
        let dest = if fdb::is_group(dmac) {
            ctl::BROADCAST
        } else {
            fdb::lookup(&self.switch.fdb, dmac)
        };
        if dest == ctl::BROADCAST {
            return Some(BROADCAST);
        }
        let there = dest < NO_PORT && dest != self.me;
        let port = there.then(|| self.member(dest)).flatten()?;
        let queue = dest as usize * MAX_RINGS + self.ring_nr as usize;
        Some(Dest {
            queue: queue as u32,
            port,
        })
    }

    /// Drops the memory of ports that have left, when the switch has changed.
    #[inline]
    pub(super) fn sweep(&self, scratch: &mut Scratch) {
        let generation = self.switch.generation.load(Acquire);
        if scratch.swept != generation {
            scratch.swept = generation;
            scratch.plan = None;
            scratch.regions.clear();
            scratch.regions.resize(SWITCH_PORTS, None);
            scratch.onward.forget();
        }
    }

    /// Index of the port record of port `number` of the switch.
    #[inline]
    pub(super) fn member(&self, number: u32) -> Option<u32> {
        let index = self.switch.ports.get(number as usize)?.load(Acquire);
        index.checked_sub(1)
    }

    /// The port whose packets are in `queue`, and the rx ring that the sender's ring maps to.
    #[inline]
    pub(super) fn member_ring(&self, queue: usize) -> Option<Member<'a>> {
        let (number, ring_nr) = ((queue / MAX_RINGS) as u32, (queue % MAX_RINGS) as u32);
        let index = self.member(number)?;
        let port = self.ctl.port(index)?;
        let rings = port.num_rx_rings.load(Relaxed).max(1);
        let ring_nr = if ring_nr < rings {
            ring_nr
        } else {
            ring_nr % rings
        };
        let rx = port.rx_kring.load(Relaxed).checked_add(ring_nr)?;
        let kring = self.ctl.kring(rx)?;
        // SYNC POINT: Acquire pairs with the Release in `epoch::set_mode`.
        let is_on = kring.mode.load(Acquire) == RING_ON && kring.dir.load(Relaxed) == 0;
        is_on.then_some(Member {
            number,
            index,
            port,
            rx,
            kring,
        })
    }

    /// Is `kring`, which is locked, still of the port in record `index`, and that still number `number`
    /// of this switch?
    #[inline(always)]
    pub(super) fn is_member(&self, number: u32, index: u32, port: &Port, kring: &Kring) -> bool {
        kring.port.load(Relaxed) == index
            && port.switch.load(Relaxed) == self.switch_ref
            && port.bdg_port.load(Relaxed) == number
    }
}
