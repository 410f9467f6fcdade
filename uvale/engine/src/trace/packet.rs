//! A packet, copied out of its ring.

use core::sync::atomic::Ordering::Relaxed;

use crate::Host;
use crate::offsets::Offsets;
use crate::synced::Synced;
use nm_abi::{NS_INDIRECT, NS_MOREFRAG};
use uvale_shared::shm::copy_out;

/// Slots of a packet of a NIC port at most (see `nic/transmit.rs`).
const MOST_FRAGMENTS: u32 = 64;

/// What a trace tells of a packet itself. A program that changes its packet while it is being sent may have sent
/// something else, as monitors may see something else then.
pub(super) struct Packet {
    /// its first slot, and the one behind it
    pub slot: u32,
    pub end: u32,
    pub slots: u32,
    /// bytes, without a virtio-net header
    pub len: u32,
    /// the first of them, without it
    pub data: Vec<u8>,
}

impl Packet {
    /// The packet that begins in slot `at`, and ends before `head` at the latest; its first `snaplen` bytes.
    pub fn of(host: &dyn Host, ring: &Synced<'_>, at: u32, head: u32, snaplen: u32) -> Self {
        let k = ring.kring;
        let port = host.ctl().port(k.port.load(Relaxed));
        let header = port.map_or(0, |p| p.virt_hdr_len.load(Relaxed));
        let mut skip = header as usize;
        let most = match k.wire.load(Relaxed) {
            0 => ring.n,
            _ => MOST_FRAGMENTS,
        };
        let mut packet = Self {
            end: at,
            ..Self::none(at)
        };
        while packet.end != head && packet.slots < most {
            let slot = ring.ring.slots()[packet.end as usize].load_full();
            let len = u32::from(slot.len);
            packet.len = packet.len.saturating_add(len);
            packet.slots += 1;
            packet.end = ring.ring.next(packet.end);
            let room = (snaplen as usize).saturating_sub(packet.data.len()) + skip;
            let is_indirect = slot.flags & NS_INDIRECT != 0 && k.dir.load(Relaxed) != 0;
            let bytes = match is_indirect {
                true => at_address(slot.ptr, room.min(len as usize)),
                false => {
                    let (pool, offset) = (&ring.region.pool, Offsets::of(k).get(slot.ptr));
                    let len = len.min(pool.size().saturating_sub(offset)) as usize;
                    let from = pool.offset(slot.buf_idx) + offset as usize;
                    copy_out(&ring.region.map, from, room.min(len))
                }
            };
            let bytes = bytes.unwrap_or_default();
            let skipped = skip.min(bytes.len());
            packet.data.extend_from_slice(&bytes[skipped..]);
            skip -= skipped;
            if slot.flags & NS_MOREFRAG == 0 {
                break;
            }
        }
        packet.len = packet.len.saturating_sub(header);
        packet
    }

    /// No packet, at slot `at`.
    pub fn none(at: u32) -> Self {
        Self {
            slot: at,
            end: at,
            slots: 0,
            len: 0,
            data: Vec::new(),
        }
    }
}

fn at_address(address: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    uvale_system::sys::read_bytes(address, &mut bytes).then_some(bytes)
}
