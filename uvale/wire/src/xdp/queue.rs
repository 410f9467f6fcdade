//! What the receiving and the sending side of a socket have in common.

use core::sync::atomic::AtomicU32;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::xdp::XdpMmapOffsets;
use rustix::net::{AddressFamily, sockopt};
use uvale_shared::shm::{Mapping, Memfd};
use uvale_system::sys::{Fd, OwnFd};

use super::{Mode, Receiver, Sender, Shape};

/// Bytes behind the chunks.
pub(super) const BEHIND: usize = 4096;

/// A socket and its memory.
#[derive(Debug)]
pub struct Queue {
    pub(super) fd: OwnFd,
    pub(super) memory: Mapping,
    pub(super) shape: Shape,
    pub(super) offsets: XdpMmapOffsets,
}

impl Queue {
    /// Maps the memory of socket `fd`. `EPROTO` if they are none of those that [`crate::open`] makes.
    pub fn new(fd: OwnFd, memory: Fd, shape: &Shape) -> Result<Arc<Self>, Errno> {
        // Only the rings of such a socket are sure to stay as long as they are mapped.
        if sockopt::socket_domain(&fd)? != AddressFamily::XDP {
            return Err(Errno::PROTO);
        }
        let memory = Mapping::new(&Memfd::from_peer(memory)?)?;
        let is_sane = shape.rx.is_power_of_two()
            && shape.tx.is_power_of_two()
            && shape.chunk.is_power_of_two()
            && shape.longest <= shape.chunk;
        if !is_sane || memory.len() < shape.bytes() + BEHIND {
            return Err(Errno::PROTO);
        }
        let offsets = sockopt::xdp_mmap_offsets(&fd)?;
        Ok(Arc::new(Self {
            fd,
            memory,
            shape: *shape,
            offsets,
        }))
    }

    /// Its sides.
    pub fn sides(self: &Arc<Self>) -> Result<(Receiver, Sender), Errno> {
        Ok((Receiver::new(self.clone())?, Sender::new(self.clone())?))
    }

    /// Does the kernel run by itself, so that it need not be called for each batch?
    pub(super) fn is_zero_copy(&self) -> bool {
        self.shape.mode == Mode::ZeroCopy
    }

    /// How many of the packets that the kernel dropped somebody has been told of.
    pub(super) fn told(&self) -> Option<&AtomicU32> {
        self.memory.at(self.shape.bytes())
    }
}
