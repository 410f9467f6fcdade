//! Packets of one slot each, copied into the slots of a receiver.

use super::MIN_FRAME;
use super::plan::Headers;
use crate::lease::Lease;
use crate::vnet;
use nm_abi::{NS_INDIRECT, NS_MOREFRAG};
use uvale_shared::shm::{Buffer, Buffers, SlotView, prefetch_to_write, rfrags};

/// Packets copied before their slots are written.
const STRETCH: u32 = 64;

/// A packet of one slot, whose bytes are in the sender's memory.
#[derive(Clone, Copy)]
pub(super) struct Plain<'a> {
    pub(super) bytes: Buffer<'a>,
    pub(super) len: u32,
}

impl<'a> Plain<'a> {
    /// The packet in a slot of a tx ring with these buffers, if it is one, and has an Ethernet header behind `ahead`
    /// bytes.
    #[inline(always)]
    pub(super) fn of(view: &SlotView, buffers: Buffers<'a>, ahead: u32) -> Option<Self> {
        let slot = view.load();
        let len = u32::from(slot.len);
        let is_plain = slot.flags & (NS_INDIRECT | NS_MOREFRAG) == 0;
        if !is_plain || len < MIN_FRAME + ahead || len > buffers.size() {
            return None;
        }
        view.clear_changed(slot);
        Some(Self {
            bytes: buffers.at(slot.buf_idx),
            len,
        })
    }

    /// Can a receiver whose buffers have `room` bytes be given it by the short way, as far as its virtio-net header
    /// goes?
    #[inline(always)]
    pub(super) fn is_convertible(self, headers: Headers, room: u32) -> bool {
        let (lo, _) = self.bytes.words();
        let asks =
            headers.from != 0 && headers.to == 0 && !vnet::asks_for_nothing(lo.to_le_bytes());
        !asks && headers.len(self.len) <= room.min(u16::MAX.into())
    }

    /// Copies it to a receiver that has another virtio-net header.
    #[inline(always)]
    fn convert(self, headers: Headers, to: Buffer<'_>) -> bool {
        let body = self.len - headers.from;
        to.copy_behind(headers.to, self.bytes, headers.from, body)
            && (headers.to == 0 || headers.put(self.bytes, to))
    }
}

/// Packets for one receiver, one after the other. All by value, so that loops have it in registers.
pub(super) trait Source<'a>: Sized {
    /// A stretch begins, of `most` packets at most: how many it may be; 0: there are no more.
    fn begin(&mut self, most: u32) -> u32;
    /// Packet `i` of the stretch, after those before it; `None`: that is not for here.
    fn take(&mut self, i: u32) -> Option<Plain<'a>>;
    /// The stretch ends after so many.
    fn end(&mut self, n: u32);
}

/// Fills the slots of `lease` with packets, until one finds no room. Returns how many packets there were, their
/// bytes, and what is left. `ALIKE`: what is sent arrives as it is, whatever `headers` says.
///
/// Tuned by hand; all other copying is [`crate::lease::Slots::put`]. Payloads of a stretch first, then its slots: two
/// streams of stores one after the other are faster than two at a time, and only the second is to lines that the
/// receiver has read.
#[inline(always)]
pub(super) fn fill<'a, const ALIKE: bool, S: Source<'a>>(
    headers: Headers,
    mut source: S,
    to: Buffers<'_>,
    lease: &mut Lease<'_>,
) -> (u32, u64, S) {
    let (slots, n) = (lease.slots.ring.slots(), lease.slots.ring.num_slots());
    let (mut at, mut left) = (lease.slots.at, lease.slots.free);
    let (mut bytes, mut bad, mut lens) = (0u64, 0u64, [0u16; STRETCH as usize]);
    let mut is_over = false;
    while left > 0 && !is_over {
        // No stretch goes beyond the last slot of the ring.
        let most = source.begin(left.min(n - at).min(STRETCH));
        let stretch = &slots[at as usize..(at + most) as usize];
        let mut k = 0u32;
        for (slot, len) in stretch.iter().zip(&mut lens) {
            let Some(packet) = source.take(k) else {
                break;
            };
            let buffer = to.at(slot.buf_idx());
            let (copied, arrives) = match ALIKE {
                true => (buffer.copy(packet.bytes, packet.len), packet.len),
                false => (packet.convert(headers, buffer), headers.len(packet.len)),
            };
            *len = if copied { arrives as u16 } else { 0 };
            bad += u64::from(!copied);
            bytes += u64::from(packet.len);
            k += 1;
        }
        for (slot, len) in stretch.iter().zip(&lens[..k as usize]) {
            slot.store_len_flags(*len, rfrags(1));
        }
        source.end(k);
        (at, left) = ((at + k) % n, left - k);
        is_over = k < most || most == 0;
    }
    let (tally, filled) = (&mut lease.tally, lease.slots.free - left);
    tally.packets += u64::from(filled);
    tally.bytes += bytes;
    (lease.slots.at, lease.slots.free) = (at, left);
    lease.slots.bad_copy += bad;
    if is_over {
        return (filled, bytes, source);
    }
    let (full, lost, source) = rest(source);
    tally.full += u64::from(full);
    (filled + full, bytes + lost, source)
}

/// What is left, which has no room: packets and bytes.
#[cold]
fn rest<'a, S: Source<'a>>(mut source: S) -> (u32, u64, S) {
    let (mut packets, mut bytes) = (0, 0);
    loop {
        let (most, mut k) = (source.begin(u32::MAX), 0);
        while k < most
            && let Some(packet) = source.take(k)
        {
            bytes += u64::from(packet.len);
            k += 1;
        }
        source.end(k);
        packets += k;
        if k < most || most == 0 {
            return (packets, bytes, source);
        }
    }
}

/// Asks for what the next syncs will write, if the slot that says where is free: these lines were last the
/// receiver's.
#[inline(always)]
pub(super) fn prime(lease: &Lease<'_>, to: Buffers<'_>) {
    let slots = lease.slots.ring.slots();
    if lease.slots.free > 1
        && let Some(view) = slots.get(lease.slots.at as usize + 1)
    {
        prefetch_to_write(view);
        to.at(view.buf_idx()).prefetch_to_write();
    }
}
