//! Packets in and out of the slots of a ring: chains of fragments, and the check of every slot.

use nm_abi::NS_MOREFRAG;

use super::captured::MAX_PACKET;
use super::memory::{Ring, Slot};
use super::tally::Tally;

/// Bytes per fragment for a packet of `len` bytes cut into `fragments` parts of at most `max`
/// bytes; at least 1.
pub fn fragment_len(len: usize, fragments: usize, max: usize) -> usize {
    len.div_ceil(fragments.max(1)).min(max).max(1)
}

/// Slots that a packet of `len` bytes takes with fragments of `fragment` bytes.
pub fn slots_for(len: usize, fragment: usize) -> usize {
    len.div_ceil(fragment.max(1)).max(1)
}

/// Writes a packet into the slots from `at` on, `fragment` bytes each, and returns the slot after
/// it. The caller has checked that there is room ([`slots_for`]).
pub fn put(
    ring: &mut Ring,
    at: u32,
    packet: &[u8],
    fragment: usize,
    last_flags: u16,
) -> Result<u32, String> {
    let mut i = at;
    let mut rest = packet;
    loop {
        let (part, more) = rest.split_at(rest.len().min(fragment));
        let slot = ring.slot(i);
        if !ring.write(i, slot, part) {
            return Err(bad_tx_slot(i, slot));
        }
        let flags = if more.is_empty() {
            last_flags
        } else {
            NS_MOREFRAG
        };
        ring.set_slot(i, part.len() as u16, flags);
        i = ring.next(i);
        if more.is_empty() {
            return Ok(i);
        }
        rest = more;
    }
}

/// What is wrong with a free slot that cannot take a packet.
#[cold]
pub fn bad_tx_slot(i: u32, slot: Slot) -> String {
    format!(
        "slot {i} of the tx ring names buffer {}, which does not exist or is too small",
        slot.buf_idx
    )
}

/// The packet that is being received on a ring: slots of a chain may come in different batches.
#[derive(Debug, Default)]
pub struct Chain {
    data: Vec<u8>,
    bytes: u64,
    slots: u64,
    broken: bool,
}

impl Chain {
    /// Whether the ring has shown the start of a packet but not its end.
    pub fn is_open(&self) -> bool {
        self.slots > 0
    }

    /// Ends the packet: counts it, and says whether it was sound.
    fn finish(&mut self, header: usize, tally: &mut Tally) -> bool {
        let sound = !self.broken;
        if sound {
            tally.packets += 1;
            tally.bytes += self.bytes.saturating_sub(header as u64);
        } else {
            tally.malformed += 1;
        }
        (self.bytes, self.slots, self.broken) = (0, 0, false);
        sound
    }
}

/// How much to take from a ring.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Most slots.
    pub slots: u32,
    /// Most whole packets.
    pub packets: u64,
}

/// Counts packets without looking at their bytes, and releases their slots. Returns the number of
/// slots.
pub fn count(
    ring: &mut Ring,
    chain: &mut Chain,
    header: usize,
    quota: Quota,
    tally: &mut Tally,
) -> Result<u32, String> {
    let available = ring.space()?.min(quota.slots);
    let end = tally.packets.saturating_add(quota.packets);
    let (mut i, mut taken) = (ring.head(), 0);
    while taken < available && tally.packets < end {
        let slot = ring.slot(i);
        taken += 1;
        i = ring.next(i);
        chain.bytes += u64::from(slot.len);
        chain.slots += 1;
        chain.broken |= !ring.is_sound(slot);
        if slot.flags & NS_MOREFRAG == 0 {
            chain.finish(header, tally);
        }
    }
    ring.publish(i, i);
    tally.slots += u64::from(taken);
    Ok(taken)
}

/// Hands each whole packet, fragments joined and virtio-net header removed, to `each`, and
/// releases its slots. Returns the number of slots.
pub fn gather(
    ring: &mut Ring,
    chain: &mut Chain,
    header: usize,
    quota: Quota,
    tally: &mut Tally,
    each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<u32, String> {
    let available = ring.space()?.min(quota.slots);
    let end = tally.packets.saturating_add(quota.packets);
    let (mut i, mut taken) = (ring.head(), 0);
    let mut result = Ok(());
    while taken < available && tally.packets < end && result.is_ok() {
        let slot = ring.slot(i);
        let length = usize::from(slot.len);
        chain.bytes += length as u64;
        chain.slots += 1;
        let fits = chain.data.len() + length <= MAX_PACKET;
        // once broken, the rest of the chain is only stepped over
        if !chain.broken {
            let sound = fits && ring.is_sound(slot);
            chain.broken = !(sound && ring.read(i, slot, 0, length, &mut chain.data));
        }
        taken += 1;
        i = ring.next(i);
        if slot.flags & NS_MOREFRAG == 0 {
            if chain.finish(header, tally) {
                result = each(chain.data.get(header..).unwrap_or_default());
            }
            chain.data.clear();
        }
    }
    ring.publish(i, i);
    tally.slots += u64::from(taken);
    result.map(|()| taken)
}
