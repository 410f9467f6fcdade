//! Packets between ports whose virtio-net headers differ in length: the slow path that rewrites
//! the header, fills in checksums and segments what is too large for a port without offloads.
//!
//! | sender | receiver | what the receiver gets |
//! |---|---|---|
//! | 0 | 10, 12 | a zero header before the frame |
//! | 10, 12 | 12, 10 | the first 10 bytes of the sender's header, the rest zero |
//! | 10, 12 | 0 | the frame alone, with what its header asked for done: segments, checksum |
//!
//! The rules are those of netmap's mismatch datapath. Everything here works on private copies of
//! a packet's bytes and reads a field once. Differences from netmap, none of which an intact packet
//! shows:
//!
//! - what it would read or write out of bounds for, or loop on, is a [`Drop`];
//! - its checksums are wrong after a fragment of odd length and for an IPv4 header with options,
//!   and of UDP they may be zero; ours are right;
//! - a GSO packet with IPv6 extension headers, which it takes for TCP or UDP headers and corrupts,
//!   is a [`Drop`];
//! - segments never exceed the receiver's buffer, should its frame size do so.
//!
//! Kept from netmap: `gso_size` is ignored, the CWR flag stays on every segment, UDP becomes a
//! datagram per segment.

mod checksum;
mod gso;

use core::iter::once;

use checksum::Checksum;
use nm_abi::NS_MOREFRAG;
use uvale_shared::shm::rfrags;

/// Bytes of `struct virtio_net_hdr`; a 12-byte header adds `num_buffers`.
pub(crate) const VNET_HDR_LEN: usize = 10;
/// Bytes of the longest header.
pub(crate) const MOST_HDR_LEN: usize = 12;
/// `flags`: the checksum at `csum_start + csum_offset` is still to be computed.
const F_NEEDS_CSUM: u8 = 1;
/// `flags`: the checksum was verified.
const F_DATA_VALID: u8 = 2;
/// `gso_type`: not to be segmented.
const GSO_NONE: u8 = 0;
/// `gso_type`: TCP over IPv4.
const GSO_TCPV4: u8 = 1;
/// `gso_type`: UDP.
const GSO_UDP: u8 = 3;
/// `gso_type`: TCP over IPv6.
const GSO_TCPV6: u8 = 4;
/// Bit of `gso_type`: the TCP flags have ECN set.
const GSO_ECN: u8 = 0x80;
/// Offset of the checksum in a UDP header, where zero means that there is none.
const UDP_CHECK: u16 = 6;
/// The longest headers that segmentation may replicate: Ethernet, IPv6, TCP with options.
const WORST_CASE_GSO_HEADER: u64 = 14 + 40 + 60;

/// What a packet has to be converted from and to.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// bytes of the virtio-net header before the sender's packets: 0, 10 or 12
    pub src_hdr: u32,
    /// bytes of the virtio-net header before the receiver's packets: 0, 10 or 12
    pub dst_hdr: u32,
    /// the receiver's maximum frame size in bytes, Ethernet header included; rules segmentation
    pub dst_mfs: u32,
    /// bytes of a receiver's buffer
    pub buf_size: u32,
    /// free slots at the receiver
    pub room: u32,
}

/// One slot of the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutSlot {
    /// contents of the buffer; its length is the slot's `len`
    pub bytes: Vec<u8>,
    /// slot flags: fragments of the packet << 8, with NS_MOREFRAG on all but the last; 0 on
    /// segments, each of which is a packet of its own
    pub flags: u16,
}

/// Why a packet does not reach the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// the virtio-net header is not complete in the first slot, or nothing follows it
    ShortHeader,
    /// unknown flags or GSO type in the virtio-net header, or a checksum that starts beyond the
    /// first slot of the packet
    BadHeader,
    /// the Ethernet, IP and TCP or UDP headers of a GSO packet are not complete in one slot
    ShortGso,
    /// a GSO packet that has no payload, is neither IPv4 nor plain IPv6, has nonsense in the
    /// length fields of its headers, or has headers that leave no room for payload
    NotSegmentable,
    /// more slots are needed than the receiver has
    NoRoom,
    /// a slot would not fit into the receiver's buffer
    TooLong,
}

/// How many receiver slots `slots` slots may need at most when they take this path, for a sender
/// and a receiver of these maximum frame sizes in bytes.
pub fn slots_needed(slots: u32, src_mfs: u32, dst_mfs: u32) -> u32 {
    if dst_mfs >= src_mfs {
        return slots;
    }
    // Bytes to send, over the payload that each segment surely carries.
    let payload = u64::from(dst_mfs)
        .saturating_sub(WORST_CASE_GSO_HEADER)
        .max(1);
    let needed = u64::from(slots) * u64::from(src_mfs) / payload + 1;
    u32::try_from(needed).unwrap_or(u32::MAX)
}

/// Does a header that begins with these bytes say that the packet is to arrive as it is?
#[inline(always)]
pub fn asks_for_nothing([flags, gso_type, ..]: [u8; 8]) -> bool {
    gso_type == GSO_NONE && flags & !F_DATA_VALID == 0
}

/// Converts one packet. `frags` are the bytes of its slots, in order.
pub fn convert(frags: &[&[u8]], c: &Conversion) -> Result<Vec<OutSlot>, Drop> {
    let (first, rest) = frags.split_first().ok_or(Drop::ShortHeader)?;
    let (header, body) = first
        .split_at_checked(c.src_hdr as usize)
        .ok_or(Drop::ShortHeader)?;
    if c.dst_hdr != 0 {
        return fragments(&new_header(header, c), body, rest, c);
    }
    // No slot is spent on a first fragment that was nothing but the header.
    let (body, rest) = match body {
        [] => rest
            .split_first()
            .map(|(b, r)| (*b, r))
            .ok_or(Drop::ShortHeader)?,
        _ => (body, rest),
    };
    if c.src_hdr == 0 {
        return fragments(&[], body, rest, c);
    }
    let header = VnetHdr::parse(header)?;
    if header.gso_type != GSO_NONE {
        return gso::segment(header.is_udp(), body, rest, c);
    }
    let mut slots = fragments(&[], body, rest, c)?;
    if header.flags & F_NEEDS_CSUM != 0 {
        header.insert_checksum(&mut slots)?;
    }
    Ok(slots)
}

/// The receiver's header: what the sender's says, as far as there is one.
fn new_header(src: &[u8], c: &Conversion) -> Vec<u8> {
    let mut header = vec![0; c.dst_hdr as usize];
    for (to, from) in header.iter_mut().zip(src.iter().take(VNET_HDR_LEN)) {
        *to = *from;
    }
    header
}

/// `header` and the packet behind it, slot by slot.
fn fragments(
    header: &[u8],
    body: &[u8],
    rest: &[&[u8]],
    c: &Conversion,
) -> Result<Vec<OutSlot>, Drop> {
    let n = 1 + rest.len();
    if n > c.room as usize {
        return Err(Drop::NoRoom);
    }
    let first = [header, body].concat();
    let bytes = once(first).chain(rest.iter().map(|b| b.to_vec()));
    let slots: Vec<OutSlot> = bytes
        .enumerate()
        .map(|(i, bytes)| {
            let more = if i + 1 < n { NS_MOREFRAG } else { 0 };
            OutSlot {
                bytes,
                flags: rfrags(n) | more,
            }
        })
        .collect();
    if slots.iter().any(|s| s.bytes.len() > max_slot_len(c)) {
        return Err(Drop::TooLong);
    }
    Ok(slots)
}

/// The most that a slot of the receiver can hold: its length field has 16 bits.
fn max_slot_len(c: &Conversion) -> usize {
    c.buf_size.min(u16::MAX.into()) as usize
}

/// What this path uses of `struct virtio_net_hdr`. Its fields are in host byte order.
#[derive(Clone, Copy)]
struct VnetHdr {
    flags: u8,
    gso_type: u8,
    csum_start: u16,
    csum_offset: u16,
}

impl VnetHdr {
    fn parse(bytes: &[u8]) -> Result<Self, Drop> {
        let &[flags, gso_type, _, _, _, _, s0, s1, o0, o1, ..] = bytes else {
            return Err(Drop::ShortHeader);
        };
        let known = matches!(
            gso_type & !GSO_ECN,
            GSO_NONE | GSO_TCPV4 | GSO_UDP | GSO_TCPV6
        );
        if !known || flags & !(F_NEEDS_CSUM | F_DATA_VALID) != 0 {
            return Err(Drop::BadHeader);
        }
        let csum_start = u16::from_ne_bytes([s0, s1]);
        Ok(Self {
            flags,
            gso_type,
            csum_start,
            csum_offset: u16::from_ne_bytes([o0, o1]),
        })
    }

    /// Whether a packet to be segmented is UDP; netmap takes every other one for TCP.
    fn is_udp(&self) -> bool {
        self.gso_type & !GSO_ECN == GSO_UDP
    }

    /// Sums the packet from `csum_start` to its end and stores the checksum. The field already
    /// holds the sum of the pseudo header. As in netmap a field that is not in the first slot is
    /// not touched, and the packet goes on as it is.
    fn insert_checksum(&self, slots: &mut [OutSlot]) -> Result<(), Drop> {
        let Some((first, rest)) = slots.split_first_mut() else {
            return Ok(());
        };
        let covered = first
            .bytes
            .get(usize::from(self.csum_start)..)
            .ok_or(Drop::BadHeader)?;
        let mut sum = Checksum::default();
        sum.add(covered);
        for slot in rest {
            sum.add(&slot.bytes);
        }
        let value = if self.csum_offset == UDP_CHECK {
            sum.finish_udp()
        } else {
            sum.finish()
        };
        let at = usize::from(self.csum_start) + usize::from(self.csum_offset);
        for (to, from) in first.bytes.iter_mut().skip(at).zip(value.to_be_bytes()) {
            *to = from;
        }
        Ok(())
    }
}
