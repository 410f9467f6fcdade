//! Copying packets into a receiver's ring.

use core::sync::atomic::Ordering::Relaxed;

use super::deliver::{Receiver, Room};
use super::scratch::{Frag, Queue};
use super::{BROADCAST_QUEUE, NIL, PRIME, Sender, vnet};
use nm_abi::{NS_INDIRECT, NS_MOREFRAG};
use uvale_shared::ctl::count;
use uvale_shared::shm::{
    Slot, SlotView, copy_exact, copy_from_address, copy_in, copy_out, copy_packet,
};

impl Sender<'_> {
    /// Copies the packets of `queue` and the broadcasts, in the order they were sent, until one
    /// does not fit. Returns the slot after the last one filled.
    #[inline]
    pub(super) fn fill(
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
        let plain = self.plain && to.plain;
        let mut primed = 0u32;
        let mut needed = queues[queue].slots + queues[BROADCAST_QUEUE].slots;
        while next != NIL || flood != NIL {
            // NIL is above every index, so the smaller of the two is the older packet.
            if !slow && !stopped && plain {
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
                bad += if plain {
                    self.copy(chain, to, &mut at)
                } else {
                    self.copy_exactly(chain, to, &mut at)
                };
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
            buf_size: to.room(),
            room: *left,
        };
        let n = to.ring.num_slots();
        for out in vnet::convert(&frags, &conversion)? {
            let view = &to.ring.slots()[*at as usize];
            let (buf_idx, offset) = (view.load().buf_idx, to.offset_of(view));
            let dst = to.region.pool.offset(buf_idx) + offset as usize;
            let copied = copy_in(&out.bytes, &to.region.map, dst);
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
        if uvale_system::sys::read_bytes(frag.at, &mut bytes) {
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

impl Sender<'_> {
    /// The same as `copy` where packets begin anywhere in their buffers.
    #[cold]
    fn copy_exactly(&self, chain: &[Frag], to: &Receiver<'_>, at: &mut u32) -> u64 {
        let n = to.ring.num_slots();
        let mut bad = 0;
        for (i, frag) in chain.iter().enumerate() {
            let more = if i + 1 < chain.len() { NS_MOREFRAG } else { 0 };
            let flags = (chain.len() as u16) << 8 | more;
            let view = &to.ring.slots()[*at as usize];
            bad += u64::from(!self.copy_one(frag, to, view, flags));
            *at = if *at + 1 == n { 0 } else { *at + 1 };
        }
        bad
    }

    /// Copies one fragment to where it has room. False if it has none: it arrives empty.
    fn copy_one(&self, frag: &Frag, to: &Receiver<'_>, view: &SlotView, flags: u16) -> bool {
        let (map, pool) = (&to.region.map, to.region.pool);
        let slot = view.load_full();
        let (own, dst) = (to.offsets.get(slot.ptr), pool.offset(slot.buf_idx));
        let indirect = frag.flags & NS_INDIRECT != 0;
        let from = if indirect { own.into() } else { frag.at };
        let place = to
            .offsets
            .place(own, dst as u64, pool.size(), from, frag.len);
        let len = frag.len as usize;
        let copied = place.filter(|offset| {
            let dst = dst + *offset as usize;
            if indirect {
                copy_from_address(frag.at, map, dst, len)
            } else {
                copy_exact(&self.region.map, frag.at as usize, map, dst, len)
            }
        });
        view.store_full(Slot {
            buf_idx: slot.buf_idx,
            len: if copied.is_some() { len as u16 } else { 0 },
            flags,
            ptr: to.offsets.put(slot.ptr, copied.unwrap_or(own)),
        });
        copied.is_some()
    }
}

impl Receiver<'_> {
    /// Offset of a slot.
    fn offset_of(&self, view: &SlotView) -> u32 {
        if self.offsets.is_none() {
            return 0;
        }
        self.offsets.get(view.ptr())
    }

    /// Bytes that there are behind any offset.
    fn room(&self) -> u32 {
        let most = self.offsets.get(u64::MAX);
        self.region.pool.size().saturating_sub(most)
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
