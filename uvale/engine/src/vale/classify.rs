//! Which way each packet of a batch goes.

use core::sync::atomic::Ordering::Relaxed;

use super::scratch::{BROADCAST, Dest, Frag, NIL, Queue, Scratch};
use super::{MIN_FRAME, Sender, Tally};
use crate::fdb;
use nm_abi::NS_MOREFRAG;
use uvale_shared::ctl::MAX_RINGS;

impl Sender<'_> {
    /// Classify: learns sources, looks destinations up and strings packets together.
    #[inline]
    pub(super) fn classify(&self, scratch: &mut Scratch, tally: &mut Tally) {
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
                tally.learnt += 1;
                last.0 = u64::MAX;
            }
            if last.0 != dmac {
                last = (dmac, self.queue_for(dmac));
            }
            let Some(dest) = last.1 else {
                tally.no_dest += 1;
                continue;
            };
            let q = &mut queues[dest.queue as usize];
            if q.head == NIL {
                q.head = this as u32;
                if dest.queue != BROADCAST.queue {
                    dests.push(dest);
                }
            } else {
                frags[q.tail as usize].next = this as u32;
            }
            q.tail = this as u32;
            q.slots += u32::from(slots);
        }
        if queues[BROADCAST.queue as usize].head != NIL {
            self.add_flooded(queues, dests);
        }
    }

    /// Broadcasts go to ring 0 of every port but the sender's.
    fn add_flooded(&self, queues: &[Queue], dests: &mut Vec<Dest>) {
        for number in self.switch.numbers() {
            let queue = number * MAX_RINGS as u32;
            if number != self.me
                && let Some(port) = self.member(number)
                && queues[queue as usize].head == NIL
            {
                dests.push(Dest { queue, port });
            }
        }
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
        if frag.is_indirect() {
            let mut head = [0u8; 12];
            if !uvale_system::sys::read_bytes(at, &mut head) {
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
}
