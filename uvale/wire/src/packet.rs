//! AF_PACKET: a ring of frames that the kernel fills (TPACKET_V2) and a socket that sends batches (sendmmsg).
//!
//! | file | what |
//! |---|---|
//! | `open.rs` | sockets of an interface, and why there are none |
//! | `frames.rs` | packets taken out of a receiving socket |
//! | `memory.rs` | its memory, which the kernel and other processes write |
//! | `batch.rs` | packets sent |
//! | `option.rs` | socket options and addresses by raw system calls |
//! | `filter.rs` | what a socket is not to see, and which of several sees what |
//!
//! A frame is visible as soon as its packet is there, which the blocks of TPACKET_V3 are not. Which frame is
//! next is known to whoever holds the `busy` lock of the netmap ring: it is kept in control memory.

mod batch;
pub(crate) mod filter;
mod frames;
mod memory;
pub(crate) mod open;
pub(crate) mod option;

use serde::{Deserialize, Serialize};

pub use batch::{Batch, Space, Transmitter};
pub use frames::Frames;
pub(crate) use open::open;

/// Shape of a receiving socket's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameShape {
    /// bytes of a frame
    pub size: u32,
    /// frames
    pub count: u32,
}

/// A packet received. It lies in up to three pieces, one behind the other. Other processes that have the port
/// open could write them at any time: who decides by them decides by a copy of his own.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// its bytes
    pub pieces: [&'a [u8]; 3],
    /// a `struct virtio_net_hdr` that says what is left to do: to complete a checksum, or to take it apart
    /// into frames of `gso_size` bytes of payload. `None`: it is a frame as it is.
    pub header: Option<[u8; 10]>,
}

impl Packet<'_> {
    /// Bytes of the packet.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|p| p.len()).sum()
    }

    /// No bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
