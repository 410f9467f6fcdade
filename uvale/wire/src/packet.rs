//! AF_PACKET: a ring of frames that the kernel fills (TPACKET_V2) and a socket that sends batches (sendmmsg).
//!
//! A frame is visible as soon as its packet is there, which the blocks of TPACKET_V3 are not. Which frame is
//! next is known to whoever holds the `busy` lock of the netmap ring: it is kept in control memory.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uvale_shared::shm::Mapping;
use uvale_system::refusal::Refusal;
use uvale_system::sys::OwnFd;

use crate::{Opened, Wanted};

/// Shape of a receiving socket's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameShape {
    /// bytes of a frame
    pub size: u32,
    /// frames
    pub count: u32,
}

/// Opens a receiving socket for each rx ring and a sending one for each tx ring.
pub(crate) fn open(_wanted: &Wanted<'_>) -> Result<Opened, Refusal> {
    Err(Refusal::new(Errno::OPNOTSUPP, "not yet"))
}

/// A packet received. It lies in up to three pieces, one behind the other.
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

/// The receiving side of a socket, with its frames mapped.
#[derive(Debug)]
pub struct Frames {
    fd: OwnFd,
    shape: FrameShape,
}

impl Frames {
    /// Maps the frames of socket `fd`.
    pub fn new(fd: OwnFd, shape: &FrameShape) -> Result<Self, Errno> {
        Ok(Self { fd, shape: *shape })
    }

    /// Becomes readable when a packet is there.
    pub fn fd(&self) -> &OwnFd {
        &self.fd
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.shape.count
    }

    /// Is there a packet in frame `at`? Costs one load. False for a number that is no frame's.
    pub fn is_ready(&self, _at: u32) -> bool {
        false
    }

    /// Takes packets in order, from frame `at` on, while `take` says it has room, and gives their frames back
    /// to the kernel. `next` is told the number of the frame after each, before that frame is given back: who
    /// finds `at` after a death gets one packet a second time at most, and misses none.
    pub fn take_in(
        &self,
        at: u32,
        _next: impl Fn(u32),
        _take: impl FnMut(Packet<'_>) -> bool,
    ) -> u32 {
        at
    }

    /// The frame that is really next, for whoever takes over from a process that may have died half-way.
    pub fn find(&self, at: u32) -> u32 {
        at
    }
}

/// Memory for a batch: kept between syncs.
#[derive(Debug, Default)]
pub struct Space {}

impl Space {
    /// An empty batch of packets in `memory`.
    pub fn batch<'a>(&'a mut self, _memory: &'a Mapping) -> Batch<'a> {
        Batch { _space: self }
    }
}

/// Packets to be sent: ranges of a region.
#[derive(Debug)]
pub struct Batch<'a> {
    _space: &'a mut Space,
}

impl Batch<'_> {
    /// Packets of one call at most.
    pub const MOST: usize = 128;

    /// Adds `len` bytes at byte `ofs` of the memory. They continue the packet that the last piece began if
    /// `goes_on`. False if the range leaves the memory, or there is no room for another piece.
    pub fn push(&mut self, _ofs: usize, _len: usize, _goes_on: bool) -> bool {
        false
    }

    /// How many pieces more it takes.
    pub fn room(&self) -> usize {
        0
    }

    /// Packets.
    pub fn len(&self) -> usize {
        0
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The sending side.
#[derive(Debug)]
pub struct Transmitter {
    fd: OwnFd,
}

impl Transmitter {
    /// Sends by socket `fd`.
    pub fn new(fd: OwnFd) -> Self {
        Self { fd }
    }

    /// Is writable when there is room.
    pub fn fd(&self) -> &OwnFd {
        &self.fd
    }

    /// Sends packets `from..` of the batch, without waiting. How many the kernel took; an error if it did not
    /// take the first: `EAGAIN` and `ENOBUFS` mean no room now, `ENETDOWN` an interface that is down, `ENXIO`
    /// and `ENODEV` one that is gone, any other one that this packet is not to be sent (`EMSGSIZE`: too long).
    pub fn send(&self, _batch: &Batch<'_>, _from: usize) -> Result<usize, Errno> {
        Err(Errno::OPNOTSUPP)
    }
}
