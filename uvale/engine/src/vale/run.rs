//! The short way for a run: packets of one slot each, all between the same two addresses. They are
//! looked up once and copied from ring to ring in one pass. Whatever is not so simple ends the run
//! and goes the general way; the packets of one receiver stay in order, for a run is published
//! before anything after it is looked at.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use super::super::offsets::is_plain;
use super::super::ring::Synced;
use super::super::sleep::{to_wake, wake};
use super::deliver::{Room, publish};
use super::{BROADCAST_QUEUE, MIN_FRAME, Scratch, Sender, Tally, fdb};
use nm_abi::{NS_INDIRECT, NS_MOREFRAG};
use uvale_shared::ctl::{FDB_SIZE, Kring, MAX_RINGS, RING_ON, count};
use uvale_shared::shm::{RingView, SlotView, copy_packet, prefetch_to_write, rfrags};

use super::super::{RegionMap, joined, monitor};

/// Syncs that go the general way after one in which a run ended early.
const DETOUR: u32 = 32;
/// Packets copied before their slots are written.
const STRETCH: usize = 64;
/// A sync of fewer packets is probably followed by another of the kind.
const FEW: u64 = 8;

/// What the last run needed, so that the next sync need not find out again. It holds as long as
/// the packets look the same and nothing of the switch, the table entry and the ring has changed.
#[derive(Default)]
pub(super) struct Plan {
    /// of the switch; `None`: nothing is known
    generation: Option<u32>,
    /// first twelve bytes of each packet
    words: (u64, u64),
    /// source address
    source: u64,
    /// place and content of the destination's table entry
    hash: usize,
    entry: u64,
    /// receiver: number on the switch, port record, rx kring and its generation
    number: u32,
    port: u32,
    kring: u32,
    kring_generation: u32,
}

/// A packet fit for a run.
#[derive(Clone, Copy)]
struct Plain {
    at: usize,
    len: u32,
}

/// What became of a run.
struct Done {
    /// the sender's slot after the run
    next: u32,
    packets: u64,
    bytes: u64,
    /// the receiver's slot after the run
    end: u32,
    delivered: u64,
    delivered_bytes: u64,
    bad: u64,
}

impl<'a> Sender<'a> {
    /// Sends the run that begins at `from`, if there is one. Returns the slot after it.
    #[inline(always)]
    pub(super) fn run(
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
        let sent = tx.ring.distance(from, end);
        // A run as long as a batch has not ended: it goes on.
        if end != head && sent < self.batch {
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
        let kring = self.ctl.kring(plan.kring)?;
        let to = scratch.regions.get(plan.number as usize)?.as_deref()?;
        let port = self.ctl.port(plan.port)?;
        if port.virt_hdr_len.load(Relaxed) != 0 {
            return None;
        }
        let holder = kring.q_lock.holder();
        if holder != 0 && scratch.stuck == Some((plan.kring, holder)) {
            return None;
        }

        let Some(guard) = kring.q_lock.lock(self.owner) else {
            scratch.stuck = Some((plan.kring, kring.q_lock.holder()));
            return None;
        };
        let live = kring.mode.load(Relaxed) == RING_ON
            && kring.generation.load(Relaxed) == plan.kring_generation
            && kring.region.load(Relaxed) == to.number
            && kring.port.load(Relaxed) == plan.port
            && is_plain(kring, to)
            && port.switch.load(Relaxed) == self.switch_ref
            && port.bdg_port.load(Relaxed) == plan.number;
        if !live {
            drop(guard);
            // Else it would hold for ever, and be good for nothing.
            scratch.plan.generation = None;
            return None;
        }
        let (ofs, n) = (kring.ring_ofs.load(Relaxed), kring.num_slots.load(Relaxed));
        let ring = RingView::new(&to.map, ofs, n)?;
        let most = tx.ring.distance(from, head);
        let room = Room::of(kring, ring.num_slots(), most.min(self.batch))?;
        let done = self.copy_run(tx, (from, head), first, words, to, ring, room);
        tally.packets += done.packets;
        tally.bytes += done.bytes;
        self.finish(kring, room.at, &done);
        let filled = done.end != room.at;
        let mask = if filled { to_wake(kring) } else { 0 };
        drop(guard);
        if done.packets < FEW {
            self.prime(to, &ring, done.end);
        }
        if filled {
            if kring.is_watched() {
                monitor::delivered(self.host, plan.kring, to, &mut scratch.monitors);
            }
            wake(self.host, kring, mask);
        }
        if kring.is_joined() {
            joined::forward(self.host, plan.kring, to, &mut scratch.onward);
        }
        Some(done.next)
    }

    /// Is `plan` good for packets that begin with `words`?
    #[inline(always)]
    fn holds(&self, plan: &Plan, words: (u64, u64)) -> bool {
        plan.words == words
            && plan.generation == Some(self.switch.generation.load(Acquire))
            && self.switch.fdb[plan.hash & (FDB_SIZE - 1)].load(Relaxed) == plan.entry
            && self.port.last_smac.load(Relaxed) == plan.source
    }

    /// Finds out what a run of packets that begin with `words` needs, or that it cannot be one.
    #[inline(never)]
    fn plan(&self, words: (u64, u64), scratch: &mut Scratch) -> Option<()> {
        scratch.plan.generation = None;
        let generation = self.switch.generation.load(Acquire);
        let (destination, source) = fdb::addresses(words.0, words.1);
        if fdb::is_group(source) {
            return None;
        }
        if source != self.port.last_smac.load(Relaxed) {
            self.port.last_smac.store(source, Relaxed);
            fdb::learn(&self.switch.fdb, source, self.me);
        }
        // Before the look-up: if the address moves in between, the plan does not hold.
        let hash = fdb::hash(destination);
        let entry = self.switch.fdb[hash].load(Acquire);
        let dest = self.queue_for(destination)?;
        let queue = Some(dest.queue as usize).filter(|queue| *queue != BROADCAST_QUEUE)?;
        let (number, ring_nr) = ((queue / MAX_RINGS) as u32, (queue % MAX_RINGS) as u32);
        let (port, _, rx) = self.receiver(number, ring_nr)?;
        let kring = self.ctl.kring(rx)?;
        let kring_generation = kring.generation.load(Acquire);
        let wanted = kring.region.load(Relaxed);
        let cached = &mut scratch.regions[number as usize];
        if cached.as_ref().is_none_or(|r| r.number != wanted) {
            *cached = self.host.region(wanted);
        }
        cached.as_deref()?;
        scratch.plan = Plan {
            generation: Some(generation),
            words,
            source,
            hash,
            entry,
            number,
            port,
            kring: rx,
            kring_generation,
        };
        Some(())
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

    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn copy_run(
        &self,
        tx: &Synced<'a>,
        (from, head): (u32, u32),
        first: Plain,
        words: (u64, u64),
        to: &RegionMap,
        ring: RingView<'_>,
        room: Room,
    ) -> Done {
        let (map, slots) = (&self.region.map, ring.slots());
        let mut left = room.free;
        let mut packet = Some(first);
        let mut done = Done {
            next: from,
            packets: 0,
            bytes: 0,
            end: room.at,
            delivered: 0,
            delivered_bytes: 0,
            bad: 0,
        };
        // Payloads of a stretch first, then its slots: two streams of stores one after the other
        // are faster than two at a time, and only the second is to lines the receiver has read.
        let mut lens = [0u16; STRETCH];
        while let Some(mut this) = packet {
            let (mut k, mut at) = (0, done.end);
            packet = loop {
                if k == STRETCH || left == 0 {
                    break Some(this);
                }
                left -= 1;
                let dst = to.pool.offset(slots[at as usize].load().buf_idx);
                let copied = this.len <= to.pool.size()
                    && copy_packet(map, this.at, &to.map, dst, this.len as usize);
                done.bad += u64::from(!copied);
                lens[k] = if copied { this.len as u16 } else { 0 };
                done.delivered_bytes += u64::from(this.len);
                k += 1;
                at = ring.next(at);
                match self.following(tx, &mut done, head, words, k as u64) {
                    Some(next) => this = next,
                    None => break None,
                }
            };
            for len in &lens[..k] {
                slots[done.end as usize].store_len_flags(*len, rfrags(1));
                done.end = ring.next(done.end);
            }
            done.packets += k as u64;
            done.delivered += k as u64;
            done.bytes = done.delivered_bytes;
            if left == 0 {
                break;
            }
        }
        // What is left of the run has no room.
        while let Some(this) = packet {
            done.packets += 1;
            done.bytes += u64::from(this.len);
            packet = self.following(tx, &mut done, head, words, 0);
        }
        done
    }

    /// The packet after slot `done.next`, if the run goes on.
    #[inline(always)]
    fn following(
        &self,
        tx: &Synced<'a>,
        done: &mut Done,
        head: u32,
        words: (u64, u64),
        more: u64,
    ) -> Option<Plain> {
        done.next = tx.ring.next(done.next);
        if done.next == head || done.packets + more >= u64::from(self.batch) {
            return None;
        }
        let next = self.plain(&tx.ring.slots()[done.next as usize])?;
        (self.region.map.two_words(next.at) == Some(words)).then_some(next)
    }

    /// Asks for what the next sync will write: these lines were last the receiver's.
    #[inline(always)]
    fn prime(&self, to: &RegionMap, ring: &RingView<'_>, end: u32) {
        if let Some(view) = ring.slots().get(end as usize + 1) {
            prefetch_to_write(view);
            let buf_idx = view.load().buf_idx;
            to.map.prefetch_to_write(to.pool.offset(buf_idx));
        }
    }

    /// Counts and publishes.
    #[inline(always)]
    fn finish(&self, kring: &Kring, begin: u32, done: &Done) {
        let c = &kring.produced;
        let full = done.packets - done.delivered;
        if full | done.bad != 0 {
            count(&c.full, full);
            count(&c.bad_copy, done.bad);
        }
        if done.end != begin {
            count(&c.packets, done.delivered);
            count(&c.bytes, done.delivered_bytes);
            count(&c.progress, 1);
            publish(kring, done.end);
        }
    }
}
