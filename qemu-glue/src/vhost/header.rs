//! The virtio-net header before a packet: what a guest may leave to others to do, and what may be left to it.

use nm_abi::NS_MOREFRAG;
use uvale_engine::vnet::{Conversion, OutSlot, convert};
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_HDR_F_DATA_VALID, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_ECN,
    VIRTIO_NET_HDR_GSO_NONE, VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6,
};

use super::features::Features;

/// Bytes of the header with `num_buffers`, the longest.
pub const LEN: usize = 12;
/// Where the length of the headers that a segment repeats is, a hint that nobody may rely on.
const NUM_BUFFERS: usize = 10;

const NEEDS_CSUM: u8 = VIRTIO_NET_HDR_F_NEEDS_CSUM as u8;
const DATA_VALID: u8 = VIRTIO_NET_HDR_F_DATA_VALID as u8;
const NONE: u8 = VIRTIO_NET_HDR_GSO_NONE as u8;
const TCPV4: u8 = VIRTIO_NET_HDR_GSO_TCPV4 as u8;
const TCPV6: u8 = VIRTIO_NET_HDR_GSO_TCPV6 as u8;
const ECN: u8 = VIRTIO_NET_HDR_GSO_ECN as u8;

/// A private copy of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header(pub [u8; LEN]);

impl Header {
    fn flags(self) -> u8 {
        self.0[0]
    }

    fn gso_type(self) -> u8 {
        self.0[1]
    }

    /// Of a packet that the guest sends: flags that a device does not know, it ignores.
    pub fn as_sent(mut self) -> Self {
        self.0[0] &= NEEDS_CSUM;
        self
    }

    /// Is nothing left to do?
    fn is_plain(self) -> bool {
        self.flags() & NEEDS_CSUM == 0 && self.gso_type() == NONE
    }

    /// Says in how many buffers the packet is.
    pub fn in_buffers(mut self, n: u16) -> Self {
        self.0[NUM_BUFFERS..].copy_from_slice(&n.to_le_bytes());
        self
    }

    /// May the guest leave this to others, having chosen `features`?
    pub fn may_come_from(self, features: Features) -> bool {
        let segments = match self.gso_type() & !ECN {
            NONE => self.gso_type() == NONE,
            TCPV4 => features.has(VIRTIO_NET_F_HOST_TSO4),
            TCPV6 => features.has(VIRTIO_NET_F_HOST_TSO6),
            _ => false,
        };
        let ecn = self.gso_type() & ECN == 0 || features.has(VIRTIO_NET_F_HOST_ECN);
        let sums = self.flags() & NEEDS_CSUM == 0 || features.has(VIRTIO_NET_F_CSUM);
        segments && ecn && sums
    }

    /// May this be left to the guest?
    fn may_go_to(self, features: Features) -> bool {
        let segments = match self.gso_type() & !ECN {
            NONE => true,
            TCPV4 => features.has(VIRTIO_NET_F_GUEST_TSO4),
            TCPV6 => features.has(VIRTIO_NET_F_GUEST_TSO6),
            _ => false,
        };
        let ecn = self.gso_type() & ECN == 0 || features.has(VIRTIO_NET_F_GUEST_ECN);
        segments && ecn && (self.flags() & NEEDS_CSUM == 0 || features.has(VIRTIO_NET_F_GUEST_CSUM))
    }

    /// What to do with a packet that begins with this, before it goes to the guest.
    pub fn towards(mut self, features: Features) -> Towards {
        if !features.has(VIRTIO_NET_F_GUEST_CSUM) {
            self.0[0] &= !DATA_VALID;
        }
        match self.is_plain() || self.may_go_to(features) {
            true => Towards::AsItIs(self),
            false => Towards::Done,
        }
    }
}

/// How a packet gets to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// with this header
    AsItIs(Header),
    /// with what its header asks for done: the guest has not chosen to do it
    Done,
}

/// Does what the header of a packet asks for. `slots` are what its slots hold, the header first, `longest` the longest
/// frame that the guest takes. Nothing if it asks for what cannot be done.
pub fn finish(slots: &[Vec<u8>], longest: usize) -> Vec<Vec<u8>> {
    let slots: Vec<&[u8]> = slots.iter().map(Vec::as_slice).collect();
    let whole = slots.iter().map(|s| s.len()).sum::<usize>();
    let conversion = Conversion {
        src_hdr: LEN as u32,
        dst_hdr: 0,
        dst_mfs: longest as u32,
        buf_size: u16::MAX.into(),
        // Not that many: a segment takes a byte of payload at least.
        room: whole as u32,
    };
    let mut frames = Vec::new();
    let mut is_begun = false;
    for OutSlot { bytes, flags } in convert(&slots, &conversion).unwrap_or_default() {
        match frames.last_mut() {
            Some(frame) if is_begun => Vec::extend_from_slice(frame, &bytes),
            _ => frames.push(bytes),
        }
        is_begun = flags & NS_MOREFRAG != 0;
    }
    frames
}
