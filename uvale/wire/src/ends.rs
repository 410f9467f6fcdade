//! The two ends of a queue, whatever kind of socket it is.

use rustix::io::Errno;
use uvale_system::sys::OwnFd;

use crate::packet::{self, Packet};
use crate::{Batch, ptnet, tap, xdp};

/// Where packets come from.
#[derive(Debug)]
pub enum Frames {
    /// a packet socket
    Packet(packet::Frames),
    /// an AF_XDP socket
    Xdp(xdp::Receiver),
    /// the descriptor of a TAP device, which is read ([`tap::Queue::read`]): it has no frames
    Tap(tap::Queue),
    /// a ring of a ptnet device, which knows its frames itself
    Ptnet(ptnet::Queue),
}

impl Frames {
    /// Becomes readable when a packet is there. `None`: nothing tells of that, and who waits has to look again.
    pub fn fd(&self) -> Option<&OwnFd> {
        match self {
            Self::Packet(frames) => Some(frames.fd()),
            Self::Xdp(receiver) => Some(receiver.fd()),
            Self::Tap(queue) => Some(queue.fd()),
            Self::Ptnet(_) => None,
        }
    }

    /// How many packets find room.
    pub fn count(&self) -> u32 {
        match self {
            Self::Packet(frames) => frames.count(),
            Self::Xdp(receiver) => receiver.count(),
            Self::Tap(_) => 0,
            Self::Ptnet(queue) => queue.count(),
        }
    }

    /// Is there a packet in frame `at`? False for a number that is no frame's. An AF_XDP socket knows its frames
    /// itself, here and below.
    #[inline]
    pub fn is_ready(&self, at: u32) -> bool {
        match self {
            Self::Packet(frames) => frames.is_ready(at),
            Self::Xdp(receiver) => receiver.is_ready(),
            Self::Tap(queue) => queue.is_ready(),
            Self::Ptnet(queue) => queue.is_ready(),
        }
    }

    /// Takes packets in order, from frame `at` on, until `take` says that it has no room for one, which then stays,
    /// and gives their frames back to the kernel. `next` is told the number of the frame after each, before that
    /// frame is given back. Returns the frame that is next.
    #[inline]
    pub fn take_in(
        &self,
        at: u32,
        next: impl Fn(u32),
        take: impl FnMut(Packet<'_>) -> bool,
    ) -> u32 {
        match self {
            Self::Packet(frames) => frames.take_in(at, next, take),
            Self::Xdp(receiver) => {
                receiver.take_in(take);
                at
            }
            Self::Ptnet(queue) => {
                queue.take_in(take);
                at
            }
            Self::Tap(_) => at,
        }
    }

    /// The frame that is really next, for whoever takes over from a process that may have died half-way.
    pub fn find(&self, at: u32) -> u32 {
        match self {
            Self::Packet(frames) => frames.find(at),
            Self::Xdp(receiver) => {
                receiver.give_back();
                at
            }
            Self::Tap(_) | Self::Ptnet(_) => at,
        }
    }

    /// Packets that the kernel dropped, for want of a frame, since somebody asked last, in this process or another:
    /// who asks adds them up. `None` if nothing has said since that there are such; this costs no system call.
    pub fn dropped(&self) -> Option<u32> {
        match self {
            Self::Packet(frames) => frames.dropped(),
            Self::Xdp(receiver) => receiver.dropped(),
            // The interface, or the host, counts them.
            Self::Tap(_) | Self::Ptnet(_) => None,
        }
    }

    /// Why the socket polls as broken, if it does, and that it does so no longer: `ENETDOWN` after the interface has
    /// gone down. It goes on by itself when the interface is up.
    pub fn take_error(&self) -> Option<Errno> {
        rustix::net::sockopt::socket_error(self.fd()?).ok()?.err()
    }
}

/// Where packets go.
#[derive(Debug)]
pub enum Transmitter {
    /// a packet socket
    Packet(packet::Transmitter),
    /// an AF_XDP socket
    Xdp(xdp::Sender),
    /// the descriptor of a TAP device
    Tap(tap::Queue),
    /// a ring of a ptnet device
    Ptnet(ptnet::Queue),
}

impl Transmitter {
    /// Is writable when there is room. `None`: nothing tells of that.
    pub fn fd(&self) -> Option<&OwnFd> {
        match self {
            Self::Packet(transmitter) => Some(transmitter.fd()),
            Self::Xdp(sender) => Some(sender.fd()),
            Self::Tap(queue) => Some(queue.fd()),
            Self::Ptnet(_) => None,
        }
    }

    /// Sends packets `from..` of the batch, without waiting. How many the kernel took; an error if it did not
    /// take the first: `EAGAIN` and `ENOBUFS` mean no room now, `ENETDOWN` an interface that is down, `ENXIO`
    /// and `ENODEV` one that is gone, any other one that this packet is not to be sent (`EMSGSIZE`: too long).
    #[inline]
    pub fn send(&self, batch: &Batch<'_>, from: usize) -> Result<usize, Errno> {
        match self {
            Self::Packet(transmitter) => transmitter.send(batch, from),
            Self::Xdp(sender) => sender.send(batch, from),
            Self::Tap(queue) => queue.send(batch, from),
            Self::Ptnet(queue) => queue.send(batch, from),
        }
    }
}
