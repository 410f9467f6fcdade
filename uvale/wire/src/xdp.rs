//! AF_XDP: sockets that get packets before the host's stack does, by a program on the interface.
//!
//! | file | what |
//! |---|---|
//! | `choice.rs` | whether an interface gets such sockets or packet sockets |
//! | `open.rs` | sockets, memory and program of an interface, and why there are none |
//! | `bpf.rs` | the program |
//! | `ring.rs` | a ring of a socket, mapped |
//! | `queue.rs` | what all users of a socket share: descriptor and memory |
//! | `receive.rs` | packets taken out of a socket |
//! | `send.rs` | packets sent by it |
//!
//! Each queue of the interface has a socket, and a small memory of its own (the UMEM) between which and the port's
//! buffers packets are copied: `docs/design/0026-af-xdp-copies.md` says why.
//!
//! The processes that have the port open use a socket in turn, under the `busy` locks of its netmap rings, and any of
//! them may die at any instruction. Nobody keeps in its own memory what the next one has to know: it follows from the
//! rings. The chunks of the memory go in circles:
//!
//! ```text
//!  received:  fill ring -> the kernel -> rx ring -> with us, behind the rx ring's consumer -> fill ring
//!  sent:      tx ring -> the kernel -> completion ring -> with us -> tx ring
//! ```
//!
//! Both circles have as many chunks as their rings have entries. So what the kernel has written to the last entries of
//! the rx ring stays there until the chunks in them have been given to it again: entry `i` of the fill ring is always
//! for the chunk in entry `i - count` of the rx ring.

mod bpf;
pub(crate) mod choice;
mod open;
mod queue;
mod receive;
mod ring;
mod send;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(crate) use open::open;
pub use queue::Queue;
pub use receive::Receiver;
pub use send::Sender;

/// Who carries a packet between the interface and a socket's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// the device: nobody copies it
    ZeroCopy,
    /// the driver's side of the kernel copies it (native XDP)
    Native,
    /// the kernel copies it after it has made a packet of its own of it (generic XDP, SKB mode)
    Generic,
}

/// What the sockets of an interface are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// who copies
    pub mode: Mode,
    /// sockets, one for each queue
    pub queues: u16,
    /// bytes of a chunk of memory
    pub chunk: u32,
    /// chunks for packets received, a power of 2
    pub rx: u32,
    /// chunks for packets sent, a power of 2
    pub tx: u32,
    /// bytes of a packet sent at most
    pub longest: u32,
}

impl Shape {
    /// Bytes of all chunks of a socket.
    fn bytes(&self) -> usize {
        self.chunk as usize * (self.rx as usize + self.tx as usize)
    }
}
