//! The general way: batches of packets of any kind. As in netmap there are two passes over a batch: the
//! first finds a destination for every packet and strings the packets of one destination together, the
//! second fills one receiver after the other, merging its own packets with the broadcasts in order.

use super::scratch::{BROADCAST_QUEUE, EMPTY, Frag, NIL, Scratch};
use super::{Sender, Tally};
use crate::offsets::Offsets;
use crate::synced::Synced;
use nm_abi::{NS_INDIRECT, NS_MOREFRAG};
use uvale_shared::ctl::count;

impl<'a> Sender<'a> {
    /// One batch. Returns the slot to go on from.
    #[inline(never)]
    pub(super) fn batch(
        &self,
        tx: &Synced<'a>,
        at: u32,
        head: u32,
        scratch: &mut Scratch,
        tally: &mut Tally,
    ) -> u32 {
        let at = self.collect(tx, at, head, scratch, tally);
        self.sweep(scratch);
        self.classify(scratch, tally);
        self.deliver_all(scratch, tally);
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
        let (mut i, mut first, mut bytes, mut flags) = (from, 0usize, 0u32, 0);
        while i != head {
            let view = &slots[i as usize];
            let slot = view.load();
            view.clear_changed(slot);
            flags |= slot.flags;
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
                buf_idx: slot.buf_idx,
                len: slot.len.into(),
                flags: slot.flags,
                frags: 1,
                next: NIL,
                bytes: 0,
            };
            if frag.len > pool.size().saturating_sub(offset) || (indirect && at == 0) {
                // As in netmap: an empty fragment, which as the first of a packet is dropped.
                (frag.at, frag.buf_idx) = (pool.offset(0) as u64, 0);
                (frag.len, frag.flags) = (0, 0);
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
                break;
            }
        }
        scratch.are_plain = self.plain && flags & (NS_INDIRECT | NS_MOREFRAG) == 0;
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

    /// Fills one receiver after the other.
    #[inline]
    fn deliver_all(&self, scratch: &mut Scratch, tally: &mut Tally) {
        let mut dests = core::mem::take(&mut scratch.dests);
        if scratch.is_traced {
            self.note_classified(scratch, &dests);
        }
        if dests.len() > 1 {
            dests.iter().for_each(|dest| self.prime(*dest, scratch));
        }
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
}
