//! The way of a packet from the tx ring of a VALE port to the rx rings of others:
//! collect, classify, copy, publish, wake.
//!
//! As in netmap the work goes in batches with two passes over each: the first finds a destination
//! for every packet and strings the packets of one destination together, the second fills one
//! receiver after the other, merging its own packets with the broadcasts in order.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::Arc;

use super::ring::Synced;
use super::sleep::{to_wake, wake};
use super::{Host, RegionMap, fdb, vnet};
use crate::ctl::{
    BROADCAST, Kring, MAX_RINGS, NO_PORT, Port, RING_ON, SWITCH_PORTS, Switch, count,
};
use crate::shm::{RingView, Slot, copy_from_address, copy_in, copy_out, copy_packet};
use nm_abi::{NS_BUF_CHANGED, NS_INDIRECT, NS_MOREFRAG};

/// Slots per batch (netmap's bridge_batch); the last packet may exceed it.
const BATCH: usize = 1024;
/// An Ethernet header.
const MIN_FRAME: u32 = 14;
/// Slots whose buffers are asked for ahead of copying.
const PRIME: u32 = 32;
/// End of a list of packets.
const NIL: u32 = u32::MAX;
/// Queues: 16 rings of each port and one for broadcasts.
const QUEUES: usize = SWITCH_PORTS * MAX_RINGS + 1;
const BROADCAST_QUEUE: usize = SWITCH_PORTS * MAX_RINGS;

/// One slot of the batch, copied out of the ring before anything is checked.
#[derive(Clone, Copy, Default)]
struct Frag {
    /// offset of the buffer in the sender's region, or the address if NS_INDIRECT
    at: u64,
    len: u32,
    flags: u16,
    /// on the first fragment: how many slots the packet has
    frags: u16,
    /// next packet for the same destination
    next: u32,
    /// on the first fragment: bytes of the whole packet
    bytes: u32,
}

#[derive(Clone, Copy)]
struct Queue {
    head: u32,
    tail: u32,
    slots: u32,
}

const EMPTY: Queue = Queue {
    head: NIL,
    tail: NIL,
    slots: 0,
};

/// Work area of one tx ring, private to the process (netmap's nkr_ft).
pub struct Scratch {
    frags: Vec<Frag>,
    queues: Vec<Queue>,
    dests: Vec<u32>,
    /// regions of the receivers by port number
    regions: Vec<Option<Arc<RegionMap>>>,
    /// generation of the switch for which `regions` was swept
    swept: u32,
    /// a receiver's ring whose lock was not let go of, and who held it
    stuck: Option<(u32, u64)>,
    /// session that has used this
    session: u32,
    /// in use: if found so on entry, what is here was left in the middle
    in_use: bool,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            frags: Vec::with_capacity(BATCH + 64),
            queues: vec![EMPTY; QUEUES],
            dests: Vec::with_capacity(64),
            regions: Vec::new(),
            swept: 0,
            stuck: None,
            session: 0,
            in_use: false,
        }
    }
}

impl Scratch {
    /// Packets strung together for `queue`, and the broadcasts.
    #[cold]
    fn packets_for(&self, queue: usize) -> u64 {
        let walk = |head: u32| {
            let next = |i: &u32| self.frags.get(*i as usize).map(|f| f.next);
            core::iter::successors(Some(head), next)
                .take(BATCH * 2)
                .filter(|i| *i != NIL)
                .count()
        };
        (walk(self.queues[queue].head) + walk(self.queues[BROADCAST_QUEUE].head)) as u64
    }

    /// Ready for use by `session`. A fork in the middle of another thread's sync copies a work
    /// area in motion, and a panic or a jump out of a signal handler leaves one: such a thing is
    /// let go of without looking at it.
    fn begin(&mut self, session: u32) {
        let unused = self.session == 0;
        if self.in_use || (self.session != session && !unused) {
            core::mem::forget(core::mem::take(self));
        }
        self.session = session;
        self.in_use = true;
    }
}

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
    let hwtail = tx.prev(head);
    k.hwtail.store(hwtail, Relaxed);
    hwtail
}

impl<'a> Sender<'a> {
    /// `None` for a port that is on no switch: what it sends goes nowhere.
    #[inline]
    fn new(host: &'a dyn Host, tx: &Synced<'a>) -> Option<Self> {
        let port = host.ctl().port(tx.kring.port.load(Relaxed))?;
        let switch_ref = port.switch.load(Acquire);
        let switch = host.ctl().switch(switch_ref.checked_sub(1)?)?;
        Some(Self {
            host,
            port,
            switch,
            switch_ref,
            me: port.bdg_port.load(Relaxed),
            ring_nr: tx.kring.ring_id.load(Relaxed) % MAX_RINGS as u32,
            region: tx.region,
            virt_hdr_len: port.virt_hdr_len.load(Relaxed),
        })
    }

    /// Cuts `hwcur..head` into batches.
    #[inline]
    fn forward(&self, tx: &Synced<'a>, head: u32, scratch: &mut Scratch) {
        let mut tally = Tally::default();
        let mut at = tx.kring.hwcur.load(Relaxed);
        while at != head {
            at = self.collect(tx, at, head, scratch, &mut tally);
            self.flush(scratch, &mut tally);
        }
        let c = &tx.kring.sync;
        count(&c.packets, tally.packets);
        count(&c.bytes, tally.bytes);
        count(&c.bad_slot, tally.bad_slot);
        count(&c.short, tally.short);
        count(&c.no_dest, tally.no_dest);
        count(&c.no_receiver, tally.no_receiver);
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
        let out = &mut scratch.frags;
        out.clear();
        let (mut i, mut first, mut bytes) = (from, 0usize, 0u32);
        while i != head {
            let view = &slots[i as usize];
            let slot = view.load();
            if slot.flags & NS_BUF_CHANGED != 0 {
                view.store(Slot {
                    flags: slot.flags & !NS_BUF_CHANGED,
                    ..slot
                });
            }
            let indirect = slot.flags & NS_INDIRECT != 0;
            let at = if indirect {
                view.ptr()
            } else {
                pool.offset(slot.buf_idx) as u64
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
            if frag.len > pool.size() || (indirect && at == 0) {
                // As in netmap: an empty fragment, which as the first of a packet is dropped.
                (frag.at, frag.len, frag.flags) = (pool.offset(0) as u64, 0, 0);
                tally.bad_slot += 1;
            }
            bytes += frag.len;
            out.push(frag);
            i = tx.next(i);
            if slot.flags & NS_MOREFRAG != 0 {
                continue;
            }
            out[first].frags = (out.len() - first) as u16;
            out[first].bytes = bytes;
            (first, bytes) = (out.len(), 0);
            tally.packets += 1;
            if first >= BATCH {
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
        for &queue in &dests {
            if !self.deliver(queue as usize, scratch) {
                tally.no_receiver += scratch.packets_for(queue as usize);
            }
            scratch.queues[queue as usize] = EMPTY;
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
        }
    }

    /// Classify: learns sources, looks destinations up and strings packets together.
    #[inline]
    fn classify(&self, scratch: &mut Scratch, tally: &mut Tally) {
        let Scratch {
            frags,
            queues,
            dests,
            ..
        } = scratch;
        // Runs of packets to one address cost one look-up.
        let mut last = (u64::MAX, None);
        let mut smac = self.port.last_smac.load(Relaxed);
        let mut i = 0usize;
        while i < frags.len() {
            let (this, slots, bytes) = (i, frags[i].frags.max(1), frags[i].bytes);
            i += slots as usize;
            tally.bytes += u64::from(bytes);

            let Some((dmac, source)) = self.header(frags, this) else {
                tally.short += 1;
                continue;
            };
            if source != smac && !fdb::is_group(source) {
                smac = source;
                self.port.last_smac.store(source, Relaxed);
                fdb::learn(&self.switch.fdb, source, self.me);
                last.0 = u64::MAX;
            }
            if last.0 != dmac {
                last = (dmac, self.queue_for(dmac));
            }
            let Some(queue) = last.1 else {
                tally.no_dest += 1;
                continue;
            };
            let q = &mut queues[queue];
            if q.head == NIL {
                q.head = this as u32;
                if queue != BROADCAST_QUEUE {
                    dests.push(queue as u32);
                }
            } else {
                frags[q.tail as usize].next = this as u32;
            }
            q.tail = this as u32;
            q.slots += u32::from(slots);
        }
        if queues[BROADCAST_QUEUE].head != NIL {
            self.add_flooded(queues, dests);
        }
    }

    /// Where packets to `dmac` go; `None`: nowhere.
    #[inline]
    fn queue_for(&self, dmac: fdb::Mac) -> Option<usize> {
        let dest = if fdb::is_group(dmac) {
            BROADCAST
        } else {
            fdb::lookup(&self.switch.fdb, dmac)
        };
        if dest == BROADCAST {
            return Some(BROADCAST_QUEUE);
        }
        let there = dest < NO_PORT && dest != self.me && self.member(dest).is_some();
        there.then(|| dest as usize * MAX_RINGS + self.ring_nr as usize)
    }

    /// Broadcasts go to ring 0 of every port but the sender's.
    fn add_flooded(&self, queues: &[Queue], dests: &mut Vec<u32>) {
        let active = (self.switch.active.load(Acquire) as usize).min(SWITCH_PORTS);
        for slot in &self.switch.order[..active] {
            let number = slot.load(Relaxed);
            let queue = number as usize * MAX_RINGS;
            if number != self.me && number < SWITCH_PORTS as u32 && queues[queue].head == NIL {
                dests.push(queue as u32);
            }
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

    /// Destination and source address of the packet that starts at `first`; `None` if it has no
    /// complete Ethernet header where the virtio-net header says that it should be.
    #[inline]
    fn header(&self, frags: &[Frag], first: usize) -> Option<(u64, u64)> {
        let frag = &frags[first];
        let (frag, skip) = if self.virt_hdr_len < frag.len {
            (frag, self.virt_hdr_len)
        } else if self.virt_hdr_len == frag.len && frag.flags & NS_MOREFRAG != 0 {
            (frags.get(first + 1)?, 0)
        } else {
            return None;
        };
        if frag.len - skip < MIN_FRAME {
            return None;
        }
        let at = frag.at + u64::from(skip);
        if frag.flags & NS_INDIRECT != 0 {
            let mut head = [0u8; 12];
            if !crate::sys::read_bytes(at, &mut head) {
                return None;
            }
            let word = |from: usize| {
                head[from..from + 8]
                    .iter()
                    .rev()
                    .fold(0u64, |w, b| w << 8 | u64::from(*b))
            };
            return Some(fdb::addresses(word(0), word(4)));
        }
        let (lo, hi) = self.region.map.two_words(at as usize)?;
        Some(fdb::addresses(lo, hi))
    }

    /// Copy, publish, wake: fills one receiver's ring. False if there is nobody to receive.
    #[inline]
    fn deliver(&self, queue: usize, scratch: &mut Scratch) -> bool {
        let (number, ring_nr) = ((queue / MAX_RINGS) as u32, (queue % MAX_RINGS) as u32);
        let Some((index, port, rx)) = self.receiver(number, ring_nr) else {
            return false;
        };
        let Some(kring) = self.host.ctl().kring(rx) else {
            return false;
        };
        // The region is mapped before the lock is taken: mapping may have to ask the daemon.
        let wanted = kring.region.load(Relaxed);
        let cached = &mut scratch.regions[number as usize];
        if cached.as_ref().is_none_or(|r| r.number != wanted) {
            *cached = self.host.region(wanted);
        }
        let Some(region) = cached.as_deref() else {
            return false;
        };

        // One second of waiting for a process that is stopped is enough.
        if scratch.stuck == Some((rx, kring.q_lock.holder())) {
            return false;
        }
        let Some(guard) = kring.q_lock.lock(self.host.owner()) else {
            scratch.stuck = Some((rx, kring.q_lock.holder()));
            return false;
        };
        let n = kring.num_slots.load(Relaxed);
        let live = kring.mode.load(Relaxed) == RING_ON
            && kring.port.load(Relaxed) == index
            && port.switch.load(Relaxed) == self.switch_ref
            && port.bdg_port.load(Relaxed) == number
            && kring.region.load(Relaxed) == region.number;
        let ring = RingView::new(&region.map, kring.ring_ofs.load(Relaxed), n);
        let (Some(ring), true) = (ring, live) else {
            return false;
        };
        let Some(room) = Room::of(kring, n) else {
            return false;
        };
        let receiver = Receiver {
            port,
            kring,
            region,
            ring,
        };
        let end = self.fill(&receiver, room, queue, &scratch.frags, &scratch.queues);
        if end == room.at {
            return true;
        }
        count(&kring.produced.progress, 1);
        // SYNC POINT: Release pairs with the Acquire in `attachment::rx`: slots and payload are
        // visible before the index that shows them.
        kring.hwtail.store(end, Release);
        let mask = to_wake(kring);
        drop(guard);
        wake(self.host, kring, mask);
        true
    }

    /// The port behind `number` and the rx kring that the sender's ring maps to.
    #[inline]
    fn receiver(&self, number: u32, ring_nr: u32) -> Option<(u32, &'a Port, u32)> {
        let index = self.member(number)?;
        let port = self.host.ctl().port(index)?;
        let rings = port.num_rx_rings.load(Relaxed).max(1);
        let ring_nr = if ring_nr < rings {
            ring_nr
        } else {
            ring_nr % rings
        };
        let rx = port.rx_kring.load(Relaxed).checked_add(ring_nr)?;
        let on = self.host.ctl().kring(rx)?.mode.load(Relaxed) == RING_ON;
        on.then_some((index, port, rx))
    }

    /// Copies the packets of `queue` and the broadcasts, in the order they were sent, until one
    /// does not fit. Returns the slot after the last one filled.
    #[inline]
    fn fill(
        &self,
        to: &Receiver<'_>,
        room: Room,
        queue: usize,
        frags: &[Frag],
        queues: &[Queue],
    ) -> u32 {
        let (mut next, mut flood) = (queues[queue].head, queues[BROADCAST_QUEUE].head);
        let (mut at, mut left) = (room.at, room.free);
        let (mut packets, mut bytes, mut bad) = (0u64, 0u64, 0u64);
        let (mut full, mut stopped) = (0u64, false);
        let mut unconvertible = 0u64;
        let slow = to.port.virt_hdr_len.load(Relaxed) != self.virt_hdr_len;
        let mut primed = 0u32;
        let mut needed = queues[queue].slots + queues[BROADCAST_QUEUE].slots;
        while next != NIL || flood != NIL {
            // NIL is above every index, so the smaller of the two is the older packet.
            if !slow && !stopped {
                let (list, other) = if next < flood {
                    (&mut next, flood)
                } else {
                    (&mut flood, next)
                };
                let run = self.copy_plain(to, frags, list, other, at, left.min(needed));
                (at, left, needed) = (run.at, left - run.packets, needed - run.packets);
                (packets, bytes) = (packets + u64::from(run.packets), bytes + run.bytes);
                bad += run.bad;
                if run.packets != 0 {
                    continue;
                }
            }
            let first = next.min(flood) as usize;
            let packet = &frags[first];
            let source = if next < flood { &mut next } else { &mut flood };
            *source = packet.next;
            if u32::from(packet.frags) > left || stopped {
                stopped = true;
                full += 1;
                continue;
            }
            let chain = &frags[first..first + packet.frags as usize];
            if slow {
                match self.convert(chain, to, &mut at, &mut left) {
                    Ok(()) => {}
                    Err(vnet::Drop::NoRoom) => {
                        full += 1;
                        continue;
                    }
                    Err(_) => {
                        unconvertible += 1;
                        continue;
                    }
                }
            } else {
                let slots = u32::from(packet.frags);
                if primed < slots {
                    primed = PRIME.min(needed).min(left).max(slots);
                    to.prime(at, primed);
                }
                (primed, needed, left) =
                    (primed - slots, needed.saturating_sub(slots), left - slots);
                bad += self.copy(chain, to, &mut at);
            }
            packets += 1;
            bytes += u64::from(packet.bytes);
        }
        // The next call, if it sends little, finds its first buffers on their way.
        to.prime(at, left.min(2));
        let c = &to.kring.produced;
        count(&c.packets, packets);
        count(&c.bytes, bytes);
        count(&c.full, full);
        count(&c.bad_copy, bad);
        count(&c.unconvertible, unconvertible);
        at
    }

    /// A run of packets of one slot each, the usual case, in a loop that fits into registers: from
    /// the head of `list` on, as long as they are older than `other`, at most `most`.
    #[inline]
    fn copy_plain(
        &self,
        to: &Receiver<'_>,
        frags: &[Frag],
        list: &mut u32,
        other: u32,
        mut at: u32,
        most: u32,
    ) -> Run {
        let (from, into, pool) = (&self.region.map, &to.region.map, to.region.pool);
        let slots = to.ring.slots();
        let mut next = *list;
        let (mut packets, mut bytes, mut bad) = (0u32, 0u64, 0u64);
        while next < other && packets < most {
            let Some(frag) = frags.get(next as usize) else {
                break;
            };
            let Some(view) = slots.get(at as usize) else {
                break;
            };
            if frag.frags != 1 || frag.flags & NS_INDIRECT != 0 {
                break;
            }
            if packets % PRIME == 0 {
                to.prime(at, (most - packets).min(PRIME));
            }
            let old = view.load();
            let buf_idx = old.buf_idx;
            let copied = frag.len <= pool.size()
                && copy_packet(
                    from,
                    frag.at as usize,
                    into,
                    pool.offset(buf_idx),
                    frag.len as usize,
                );
            let len = if copied { frag.len as u16 } else { 0 };
            bad += u64::from(!copied);
            let new = Slot {
                buf_idx,
                len,
                flags: 1 << 8,
                ptr: 0,
            };
            // A slot that says already what it is to say stays in both caches.
            if old != new {
                view.store(new);
            }
            at = if at as usize + 1 == slots.len() {
                0
            } else {
                at + 1
            };
            packets += 1;
            bytes += u64::from(frag.bytes);
            next = frag.next;
        }
        *list = next;
        Run {
            at,
            packets,
            bytes,
            bad,
        }
    }

    /// The slow path between ports with different virtio-net headers: works on private copies.
    #[cold]
    fn convert(
        &self,
        chain: &[Frag],
        to: &Receiver<'_>,
        at: &mut u32,
        left: &mut u32,
    ) -> Result<(), vnet::Drop> {
        let bytes: Vec<Vec<u8>> = chain.iter().map(|frag| self.bytes_of(frag)).collect();
        let frags: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let conversion = vnet::Conversion {
            src_hdr: self.virt_hdr_len,
            dst_hdr: to.port.virt_hdr_len.load(Relaxed),
            dst_mfs: to.port.mfs.load(Relaxed),
            buf_size: to.region.pool.size(),
            room: *left,
        };
        let n = to.ring.num_slots();
        for out in vnet::convert(&frags, &conversion)? {
            let view = &to.ring.slots()[*at as usize];
            let buf_idx = view.load().buf_idx;
            let copied = copy_in(&out.bytes, &to.region.map, to.region.pool.offset(buf_idx));
            let len = if copied { out.bytes.len() as u16 } else { 0 };
            view.store(Slot {
                buf_idx,
                len,
                flags: out.flags,
                ptr: 0,
            });
            *at = if *at + 1 == n { 0 } else { *at + 1 };
            *left -= 1;
        }
        Ok(())
    }

    /// A fragment's bytes; none if they cannot be read.
    fn bytes_of(&self, frag: &Frag) -> Vec<u8> {
        let len = frag.len as usize;
        if frag.flags & NS_INDIRECT == 0 {
            return copy_out(&self.region.map, frag.at as usize, len).unwrap_or_default();
        }
        let mut bytes = vec![0; len];
        if crate::sys::read_bytes(frag.at, &mut bytes) {
            bytes
        } else {
            Vec::new()
        }
    }

    /// Copies one packet into the slots from `at` on. Returns how many fragments could not be
    /// copied and arrive empty.
    #[inline]
    fn copy(&self, chain: &[Frag], to: &Receiver<'_>, at: &mut u32) -> u64 {
        let n = to.ring.num_slots();
        let flags = (chain.len() as u16) << 8;
        let mut bad = 0;
        for (i, frag) in chain.iter().enumerate() {
            let view = &to.ring.slots()[*at as usize];
            let buf_idx = view.load().buf_idx;
            let dst = to.region.pool.offset(buf_idx);
            let len = frag.len as usize;
            let copied = len <= to.region.pool.size() as usize
                && if frag.flags & NS_INDIRECT != 0 {
                    copy_from_address(frag.at, &to.region.map, dst, len)
                } else {
                    copy_packet(&self.region.map, frag.at as usize, &to.region.map, dst, len)
                };
            bad += u64::from(!copied);
            let more = if i + 1 < chain.len() { NS_MOREFRAG } else { 0 };
            let len = if copied { frag.len as u16 } else { 0 };
            view.store(Slot {
                buf_idx,
                len,
                flags: flags | more,
                ptr: 0,
            });
            *at = if *at + 1 == n { 0 } else { *at + 1 };
        }
        bad
    }
}

/// What a run of plain packets came to.
struct Run {
    /// the slot after the last one filled
    at: u32,
    packets: u32,
    bytes: u64,
    bad: u64,
}

/// A receiving ring whose `q_lock` is held.
struct Receiver<'a> {
    port: &'a Port,
    kring: &'a Kring,
    region: &'a RegionMap,
    ring: RingView<'a>,
}

impl Receiver<'_> {
    /// Asks for the buffers of the next slots to be written: they were last in the receiver's
    /// cache, and fetching them one by one while copying would be most of the time it takes.
    #[inline]
    fn prime(&self, mut at: u32, slots: u32) {
        let n = self.ring.num_slots();
        for _ in 0..slots {
            let buf_idx = self.ring.slots()[at as usize].load().buf_idx;
            self.region
                .map
                .prefetch_to_write(self.region.pool.offset(buf_idx));
            at = if at + 1 == n { 0 } else { at + 1 };
        }
    }
}

/// Free slots of a receiving ring: where they begin and how many they are.
#[derive(Clone, Copy)]
struct Room {
    at: u32,
    free: u32,
}

impl Room {
    /// One slot always stays empty. `None` if the indices make no sense.
    #[inline]
    fn of(kring: &Kring, n: u32) -> Option<Self> {
        let at = kring.hwtail.load(Relaxed);
        // SYNC POINT: Acquire pairs with the Release of hwcur in `Attachment::rxsync`: the
        // program's last accesses to the slots it gives back come before ours.
        let hwcur = kring.hwcur.load(Acquire);
        if at >= n || hwcur >= n {
            return None;
        }
        let busy = if at >= hwcur {
            at - hwcur
        } else {
            at + n - hwcur
        };
        Some(Self {
            at,
            free: n - 1 - busy,
        })
    }
}
