//! The second pass over a batch: fills one receiver's ring.

use super::scratch::{BROADCAST_QUEUE, Dest, Frag, Scratch};
use super::{PATIENCE, Sender, hand_over};
use crate::lease::{Lease, Refused, Slots};
use crate::vnet;
use core::sync::atomic::Ordering::Relaxed;
use nm_abi::NS_MOREFRAG;
use uvale_shared::ctl::Kring;
use uvale_shared::shm::{copy_exact, copy_from_address, copy_in, copy_out, copy_packet, rfrags};

/// Slots whose buffers are asked for ahead of copying.
const PRIME: u32 = 32;

/// What a receiver expects that has another virtio-net header.
struct Format {
    virt_hdr_len: u32,
    mfs: u32,
}

impl Sender<'_> {
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
        let format = Format {
            virt_hdr_len: member.port.virt_hdr_len.load(Relaxed),
            mfs: member.port.mfs.load(Relaxed),
        };
        let wanted = match format.virt_hdr_len == self.virt_hdr_len {
            true => scratch.queues[queue].slots + scratch.queues[BROADCAST_QUEUE].slots,
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
        let (own, flood) = (&scratch.queues[queue], &scratch.queues[BROADCAST_QUEUE]);
        let packets = Packets {
            frags: &scratch.frags,
            own: own.head,
            flood: flood.head,
        };
        if format.virt_hdr_len == self.virt_hdr_len {
            self.copy(packets, own.slots + flood.slots, &mut lease);
        } else {
            self.convert(packets, &format, &mut lease);
        }
        if scratch.is_traced {
            let converted = format.virt_hdr_len != self.virt_hdr_len;
            let (slots, bad_copy) = (lease.filled(), lease.slots.bad_copy);
            self.note_delivered(member.rx, slots, lease.tally, bad_copy, converted);
        }
        let Scratch {
            monitors, onward, ..
        } = scratch;
        hand_over(self.host, lease, member.rx, monitors, onward);
        true
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

    /// The slow path between ports with different virtio-net headers: works on private copies.
    #[cold]
    fn convert(&self, packets: Packets<'_>, format: &Format, lease: &mut Lease<'_>) {
        let (to, tally) = (&mut lease.slots, &mut lease.tally);
        let mut is_full = false;
        for packet in packets {
            is_full |= packet.len() as u32 > to.free;
            if is_full {
                tally.full += 1;
                continue;
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
        to.prime(to.free.min(2));
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
