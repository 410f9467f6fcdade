//! The slow path between ports whose virtio-net headers differ: what netmap was seen to do, what
//! is dropped and why, segments that reassemble to the original, and the same frames segmented
//! by the Linux kernel.

mod checked;
mod drops;
mod frames;
mod headers;
mod kernel;
mod segments;

use uvale_engine::vnet::Conversion;

/// From a port with virtio-net headers to one without, with the sizes that ports have by default
/// and a receiver that is empty.
const OFFLOAD: Conversion = Conversion {
    src_hdr: 10,
    dst_hdr: 0,
    dst_mfs: 1514,
    buf_size: 2048,
    room: 1023,
};

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_UDP: u8 = 3;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;
