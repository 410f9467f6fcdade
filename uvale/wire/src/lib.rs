//! What is behind the rings of a NIC port: how packets leave for the interface and come from it.
//!
//! | file | what |
//! |---|---|
//! | `interface.rs` | what the system says about an interface |
//! | `netlink.rs` | the kernel asked, and told, about interfaces and filters |
//! | `packet.rs` | AF_PACKET sockets: frames received, batches sent |
//! | `host.rs` | the host's side: stealing from its stack, its packets, packets for it |
//!
//! A wire is opened by a process that stands in the interface's network namespace; its descriptors go to the
//! daemon, which hands duplicates to every process that opens the port. Whoever holds the `busy` lock of a
//! ring works on that ring's queue; the daemon is not in the way of a packet.

pub mod host;
pub mod interface;
pub mod netlink;
pub mod packet;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uvale_request::Interface;
use uvale_system::refusal::Refusal;
use uvale_system::sys::{Fd, OwnFd};

pub use packet::{Batch, Frames, Packet, Space, Transmitter};

/// How a port's packets travel when its peer is not open here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// not at all: nothing could be opened
    Nothing,
    /// AF_PACKET sockets
    Packet,
}

/// What a wire consists of. With it come its descriptors, in this order: a receiving socket for each of
/// `frames`, `senders` sending sockets, and with `host` the host's receiving and sending socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// what carries the packets
    pub kind: Kind,
    /// one for each rx ring
    pub frames: Vec<packet::FrameShape>,
    /// one for each tx ring
    pub senders: u16,
    /// the host's rings work: its receiving side
    pub host: Option<packet::FrameShape>,
    /// the host does not see what arrives
    pub is_stolen: bool,
    /// why it is not more: one sentence each, for people
    pub lacks: Vec<String>,
}

/// What is asked of a wire.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// name of the interface, as this thread's namespace has it now
    pub name: &'a str,
    /// what it is
    pub interface: &'a Interface,
    /// rx rings, tx rings of the port
    pub rings: [u32; 2],
    /// the port may be used with host rings
    pub host: bool,
    /// the host is not to see what arrives
    pub steal: bool,
}

/// A wire just opened, by the thread that stands in its namespace.
#[derive(Debug)]
pub struct Opened {
    /// what it is
    pub shape: Shape,
    /// its descriptors, as [`Shape`] says
    pub fds: Vec<Fd>,
    /// descriptors that undo something when the last copy is closed: for the daemon alone
    pub kept: Vec<Fd>,
}

/// Opens the best wire that the machine and this process's rights allow. With no right at all, this is a
/// wire of [`Kind::Nothing`] that says what is lacking.
pub fn open(wanted: &Wanted<'_>) -> Result<Opened, Refusal> {
    let mut opened = match packet::open(wanted) {
        Ok(opened) => opened,
        Err(refusal) => return Ok(nothing(refusal)),
    };
    if wanted.host || wanted.steal {
        host::add(wanted, &mut opened)?;
    }
    Ok(opened)
}

fn nothing(refusal: Refusal) -> Opened {
    Opened {
        shape: Shape {
            kind: Kind::Nothing,
            frames: Vec::new(),
            senders: 0,
            host: None,
            is_stolen: false,
            lacks: vec![refusal.why],
        },
        fds: Vec::new(),
        kept: Vec::new(),
    }
}

/// A wire as a process uses it.
#[derive(Debug)]
pub struct Wire {
    shape: Shape,
    frames: Vec<Frames>,
    senders: Vec<Transmitter>,
    host: Option<(Frames, Transmitter)>,
}

impl Wire {
    /// From what the daemon has sent; `EPROTO` if the descriptors are not those of the shape.
    pub fn new(shape: Shape, fds: Vec<Fd>) -> Result<Self, Errno> {
        let mut fds = fds.into_iter().map(OwnFd::new);
        let mut next = || fds.next().ok_or(Errno::PROTO);
        let frames = shape
            .frames
            .iter()
            .map(|f| Frames::new(next()?, f))
            .collect::<Result<Vec<_>, _>>()?;
        let senders = (0..shape.senders)
            .map(|_| Ok(Transmitter::new(next()?)))
            .collect::<Result<Vec<_>, Errno>>()?;
        let host = match &shape.host {
            Some(f) => Some((Frames::new(next()?, f)?, Transmitter::new(next()?))),
            None => None,
        };
        Ok(Self {
            shape,
            frames,
            senders,
            host,
        })
    }

    /// What it consists of.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Where packets of rx ring `ring` come from.
    pub fn frames(&self, ring: u32) -> Option<&Frames> {
        self.frames.get(ring as usize)
    }

    /// Where packets of tx ring `ring` go.
    pub fn sender(&self, ring: u32) -> Option<&Transmitter> {
        self.senders.get(ring as usize)
    }

    /// Where packets of the host come from: one queue, whatever the number of host rings.
    pub fn host_frames(&self) -> Option<&Frames> {
        self.host.as_ref().map(|(frames, _)| frames)
    }

    /// Where packets for the host go.
    pub fn host_sender(&self) -> Option<&Transmitter> {
        self.host.as_ref().map(|(_, sender)| sender)
    }
}
