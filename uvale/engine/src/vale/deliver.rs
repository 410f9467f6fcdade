//! The second pass over a batch: fills one receiver's ring.

use super::fill::{Plain, Source, fill};
use super::plan::Headers;
use super::scratch::{BROADCAST_QUEUE, Dest, Frag, Scratch};
use super::{PATIENCE, Sender, hand_over};
use crate::lease::{Lease, Refused, Slots};
use crate::synced::place;
use crate::vnet;
use core::sync::atomic::Ordering::Relaxed;
use nm_abi::NS_MOREFRAG;
use uvale_shared::ctl::Kring;
use uvale_shared::shm::{Buffers, RingView, prefetch_to_write};
use uvale_shared::shm::{copy_exact, copy_from_address, copy_in, copy_out, copy_packet, rfrags};

/// Slots whose buffers are asked for ahead of copying.
const PRIME: u32 = 32;

/// Slots of each of several receivers that are asked for before the first one gets something.
const FEW: u32 = 8;
/// Slots of a cache line.
const SLOTS_OF_LINE: usize = 4;

/// What a receiver expects that has another virtio-net header.
struct Format {
    virt_hdr_len: u32,
    mfs: u32,
}

impl Sender<'_> {
    /// Asks for what will be written of a receiver's ring, one of several: what their caches have is then on its way
    /// from all of them at the same time, and not from one after the other.
    #[inline]
    pub(super) fn prime(&self, dest: Dest, scratch: &Scratch) {
        let queue = dest.queue as usize;
        let Some(member) = self.member_ring(queue) else {
            return;
        };
        let kring = member.kring;
        prefetch_to_write(&kring.q_lock);
        prefetch_to_write(&kring.hwtail);
        prefetch_to_write(&kring.sleepers);
        let region = scratch.regions.get(member.number as usize);
        let Some(region) = region.and_then(Option::as_deref) else {
            return;
        };
        let Some(place) = place(kring, region) else {
            return;
        };
        let Some(ring) = RingView::at(&region.map, place) else {
            return;
        };
        let slots = scratch.queues[queue].slots + scratch.queues[BROADCAST_QUEUE].slots;
        // Where the ring was when somebody looked last: another place is only slower.
        let first = kring.filled.load(Relaxed) as usize;
        let next = ring.slots().get(first..).unwrap_or_default();
        for (i, view) in next.iter().enumerate().take(slots.min(FEW) as usize) {
            if i % SLOTS_OF_LINE == 0 {
                prefetch_to_write(view);
            }
            let at = region.pool.offset(view.load().buf_idx);
            region.map.prefetch_to_write(at);
        }
    }

    /// Gives one receiver its packets. False if there is nobody to receive.
    #[inline]
    pub(super) fn deliver(&self, dest: Dest, scratch: &mut Scratch) -> bool {
        let queue = dest.queue as usize;
        // Another port may have come in place of the one that the packets are for.
        let member = self.member_ring(queue);
        let Some(member) = member.filter(|member| member.index == dest.port) else {
            return self.not_delivered(dest, Refused::Gone, scratch.is_traced);
        };
        let Some(region) = member.map(self.host, &mut scratch.regions) else {
            return self.not_delivered(dest, Refused::Gone, scratch.is_traced);
        };
        let headers = Headers {
            from: self.virt_hdr_len,
            to: member.port.virt_hdr_len.load(Relaxed),
        };
        let format = Format {
            virt_hdr_len: headers.to,
            mfs: member.port.mfs.load(Relaxed),
        };
        let (own, flood) = (&scratch.queues[queue], &scratch.queues[BROADCAST_QUEUE]);
        let slots = own.slots + flood.slots;
        let wanted = match headers.are_alike() || scratch.are_plain {
            true => slots,
            false => u32::MAX,
        };
        // The member was found a moment ago: that its record is another port's by now shows in the
        // ring's direction and in the port's place.
        let is_still = |kring: &Kring| {
            kring.dir.load(Relaxed) == 0
                && self.is_member(member.number, member.index, member.port, kring)
        };
        let lease = Lease::take(member.kring, region, self.owner, PATIENCE, wanted, is_still);
        let mut lease = match lease {
            Ok(lease) => lease,
            Err(refused) => return self.not_delivered(dest, refused, scratch.is_traced),
        };
        let packets = Packets {
            frags: &scratch.frags,
            own: own.head,
            flood: flood.head,
        };
        let (from, to) = (Buffers::of(self.region), Buffers::of(region));
        if scratch.are_plain
            && lease.slots.is_plain()
            && let (Some(from), Some(to)) = (from, to)
        {
            let plain = PlainPackets {
                packets,
                left: slots,
                from,
                headers,
                room: to.size(),
            };
            self.fill(plain, &format, to, &mut lease);
        } else if headers.are_alike() {
            self.copy(packets, slots, &mut lease);
        } else {
            let mut is_full = false;
            packets.for_each(|packet| self.convert(packet, &format, &mut is_full, &mut lease));
            lease.slots.prime(lease.slots.free.min(2));
        }
        if scratch.is_traced {
            let converted = !headers.are_alike();
            let (slots, bad_copy) = (lease.filled(), lease.slots.bad_copy);
            self.note_delivered(member.rx, slots, lease.tally, bad_copy, converted);
        }
        let Scratch {
            monitors, onward, ..
        } = scratch;
        hand_over(self.host, lease, member.rx, monitors, onward);
        true
    }

    /// Copies packets of one slot each, until one does not fit.
    #[inline(never)]
    fn fill(
        &self,
        mut packets: PlainPackets<'_>,
        format: &Format,
        to: Buffers<'_>,
        lease: &mut Lease<'_>,
    ) {
        let headers = packets.headers;
        if headers.are_alike() {
            fill::<true, _>(headers, packets, to, lease);
            return;
        }
        loop {
            (_, _, packets) = fill::<false, _>(headers, packets, to, lease);
            // One that has to be looked at more closely.
            let Some(packet) = packets.skip() else {
                return;
            };
            self.convert(packet, format, &mut false, lease);
        }
    }

    /// Copies packets, `needed` slots in all, until one does not fit.
    #[inline]
    fn copy(&self, packets: Packets<'_>, mut needed: u32, lease: &mut Lease<'_>) {
        let (mut to, mut tally) = (lease.slots, lease.tally);
        let plain = self.plain && to.is_plain();
        let (mut primed, mut is_full) = (0, false);
        for packet in packets {
            let slots = packet.len() as u32;
            is_full |= slots > to.free;
            if is_full {
                tally.full += 1;
                continue;
            }
            if primed < slots {
                primed = PRIME.min(needed).min(to.free).max(slots);
                to.prime(primed);
            }
            (primed, needed) = (primed - slots, needed.saturating_sub(slots));
            if plain {
                self.copy_plain(packet, &mut to);
            } else {
                to = self.copy_in_line(packet, to);
            }
            tally.packets += 1;
            tally.bytes += u64::from(packet[0].bytes);
        }
        // The next call, if it sends little, finds its first buffers on their way.
        to.prime(to.free.min(2));
        (lease.slots, lease.tally) = (to, tally);
    }

    #[inline(always)]
    fn copy_plain(&self, packet: &[Frag], to: &mut Slots<'_>) {
        let from = &self.region.map;
        let lines = |frag: &Frag, map: &_, at| {
            copy_packet(from, frag.at as usize, map, at, frag.len as usize)
        };
        // The usual case has a loop that fits into registers.
        if let [frag] = packet
            && !frag.is_indirect()
        {
            to.put(frag.len, rfrags(1), |map, at| lines(frag, map, at));
            return;
        }
        for (frag, flags) in with_flags(packet) {
            to.put(frag.len, flags, |map, at| match frag.is_indirect() {
                true => copy_from_address(frag.at, map, at, frag.len as usize),
                false => lines(frag, map, at),
            });
        }
    }

    #[cold]
    fn copy_in_line<'t>(&self, packet: &[Frag], mut to: Slots<'t>) -> Slots<'t> {
        for (frag, flags) in with_flags(packet) {
            let (from, len) = (&self.region.map, frag.len as usize);
            let line = (!frag.is_indirect()).then_some(frag.at);
            to.put_in_line(line, frag.len, flags, |map, at| match line {
                None => copy_from_address(frag.at, map, at, len),
                Some(_) => copy_exact(from, frag.at as usize, map, at, len),
            });
        }
        to
    }

    /// The slow path between ports with different virtio-net headers: works on a private copy of a packet. Once the
    /// receiver is full it stays so.
    #[cold]
    fn convert(&self, packet: &[Frag], format: &Format, is_full: &mut bool, lease: &mut Lease<'_>) {
        let (to, tally) = (&mut lease.slots, &mut lease.tally);
        *is_full |= packet.len() as u32 > to.free;
        if *is_full {
            tally.full += 1;
            return;
        }
        let bytes: Vec<Vec<u8>> = packet.iter().map(|frag| self.bytes_of(frag)).collect();
        let frags: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let conversion = vnet::Conversion {
            src_hdr: self.virt_hdr_len,
            dst_hdr: format.virt_hdr_len,
            dst_mfs: format.mfs,
            buf_size: to.least_room(),
            room: to.free,
        };
        match vnet::convert(&frags, &conversion) {
            Ok(converted) => {
                for out in converted {
                    let len = out.bytes.len() as u32;
                    to.put(len, out.flags, |map, at| copy_in(&out.bytes, map, at));
                }
                tally.packets += 1;
                tally.bytes += u64::from(packet[0].bytes);
            }
            Err(vnet::Drop::NoRoom) => tally.full += 1,
            Err(_) => tally.unconvertible += 1,
        }
    }

    /// A fragment's bytes; none if they cannot be read.
    fn bytes_of(&self, frag: &Frag) -> Vec<u8> {
        let len = frag.len as usize;
        if !frag.is_indirect() {
            return copy_out(&self.region.map, frag.at as usize, len).unwrap_or_default();
        }
        let mut bytes = vec![0; len];
        if uvale_system::sys::read_bytes(frag.at, &mut bytes) {
            bytes
        } else {
            Vec::new()
        }
    }
}

/// The packets for one receiver, its own and the broadcasts, in the order they were sent.
#[derive(Clone, Copy)]
struct Packets<'a> {
    frags: &'a [Frag],
    /// the next of each
    own: u32,
    flood: u32,
}

impl<'a> Iterator for Packets<'a> {
    type Item = &'a [Frag];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [Frag]> {
        // NIL is above every index, so the smaller of the two is the older packet.
        let list = if self.own < self.flood {
            &mut self.own
        } else {
            &mut self.flood
        };
        let rest = self.frags.get(*list as usize..)?;
        let first = rest.first()?;
        *list = first.next;
        rest.get(..first.frags as usize)
    }
}

/// The same if each is in a slot and a buffer of its own.
struct PlainPackets<'a> {
    packets: Packets<'a>,
    /// how many there are
    left: u32,
    /// the sender's
    from: Buffers<'a>,
    headers: Headers,
    /// bytes of a receiver's buffer
    room: u32,
}

impl<'a> PlainPackets<'a> {
    /// The next one, whatever it is.
    #[cold]
    fn skip(&mut self) -> Option<&'a [Frag]> {
        self.left = self.left.saturating_sub(1);
        self.packets.next()
    }
}

impl<'a> Source<'a> for PlainPackets<'a> {
    #[inline(always)]
    fn begin(&mut self, most: u32) -> u32 {
        self.left.min(most)
    }

    #[inline(always)]
    fn take(&mut self, _: u32) -> Option<Plain<'a>> {
        let mut after = self.packets;
        let frag = after.next()?.first()?;
        let packet = Plain {
            bytes: self.from.at(frag.buf_idx),
            len: frag.len,
        };
        if !self.headers.are_alike() && !packet.is_convertible(self.headers, self.room) {
            return None;
        }
        self.packets = after;
        Some(packet)
    }

    #[inline(always)]
    fn end(&mut self, n: u32) {
        self.left -= n;
    }
}

/// The fragments of a packet, and the flags of the slots they go to.
#[inline(always)]
fn with_flags(packet: &[Frag]) -> impl Iterator<Item = (&Frag, u16)> {
    let flags = |i| match i + 1 < packet.len() {
        true => rfrags(packet.len()) | NS_MOREFRAG,
        false => rfrags(packet.len()),
    };
    packet
        .iter()
        .enumerate()
        .map(move |(i, frag)| (frag, flags(i)))
}
