//! What a guest is offered, and what it has chosen.

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use virtio_bindings::virtio_config::{VIRTIO_F_ANY_LAYOUT, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GSO, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN,
    VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_ECN,
    VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MQ,
    VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// Of every port.
const ALWAYS: [u32; 8] = [
    VIRTIO_F_VERSION_1,
    VIRTIO_F_ANY_LAYOUT,
    VIRTIO_RING_F_EVENT_IDX,
    VIRTIO_RING_F_INDIRECT_DESC,
    VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_MQ,
    VIRTIO_NET_F_MTU,
    VIRTIO_NET_F_STATUS,
];

/// Of a port that takes virtio-net headers: what its guest leaves to others, and what others may leave to it. UFO is
/// not among them: the switch makes datagrams of it, not fragments.
const OFFLOADS: [u32; 9] = [
    VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_GUEST_CSUM,
    VIRTIO_NET_F_GSO,
    VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_HOST_ECN,
    VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_GUEST_ECN,
];

/// A set of virtio features, by their bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// What is offered to the guest of a port that takes virtio-net headers (`offloads`) or does not; `mac` if we know
    /// the guest's address.
    pub fn offer(offloads: bool, mac: bool) -> Self {
        let more: &[u32] = if offloads { &OFFLOADS } else { &[] };
        let mac = mac.then_some(VIRTIO_NET_F_MAC);
        let bits = ALWAYS.iter().chain(more).chain(&mac);
        let own = bits.fold(0, |sum, bit| sum | 1 << bit);
        Self(own | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits())
    }

    /// Is it one of them?
    pub fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 != 0
    }

    /// Has the front end chosen to speak of protocol features? If not, rings are enabled from the start.
    pub fn has_protocol(self) -> bool {
        self.0 & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() != 0
    }

    /// Bytes of the virtio-net header that the guest puts before a packet, and expects there.
    pub fn header_len(self) -> usize {
        match self.has(VIRTIO_F_VERSION_1) || self.has(VIRTIO_NET_F_MRG_RXBUF) {
            true => 12,
            false => 10,
        }
    }
}

/// Features of the protocol that we offer; the device's configuration only where it says more than QEMU knows (`mac`),
/// for QEMU warns of it. Nothing of migration is: QEMU refuses to begin one then, and says that it is
/// for lack of VHOST_F_LOG_ALL. In-flight descriptors need no memory of their own, see `ring.rs`.
pub fn protocol(mac: bool) -> VhostUserProtocolFeatures {
    let config = match mac {
        true => VhostUserProtocolFeatures::CONFIG,
        false => VhostUserProtocolFeatures::empty(),
    };
    config
        | VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::MTU
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
}
