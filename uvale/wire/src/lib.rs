//! What is behind the rings of a NIC port: how packets leave for the interface and come from it.
//!
//! | file | what |
//! |---|---|
//! | `interface.rs` | what the system says about an interface |
//! | `netlink.rs` | the kernel asked, and told, about interfaces and filters |
//! | `packet.rs` | AF_PACKET sockets: frames received, batches sent |
//! | `xdp.rs` | AF_XDP sockets, and whether an interface gets them |
//! | `bpf.rs` | programs in the kernel, loaded and bound |
//! | `tap.rs` | TAP devices: interfaces that uvale makes itself |
//! | `ptnet.rs` | netmap's ptnet device in a guest |
//! | `ends.rs` | the two ends of a queue, whatever kind of socket it is |
//! | `host.rs` | the host's side: stealing from its stack, its packets, packets for it |
//!
//! A wire is opened by a process that stands in the interface's network namespace; its descriptors go to the
//! daemon, which hands duplicates to every process that opens the port. Whoever holds the `busy` lock of a
//! ring works on that ring's queue; the daemon is not in the way of a packet.

#[cfg(test)]
extern crate self as uvale_wire;

mod bpf;
mod ends;
pub mod host;
pub mod interface;
pub mod netlink;
pub mod packet;
pub mod ptnet;
pub mod tap;
pub mod xdp;

use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};
use serde::{Deserialize, Serialize};
use uvale_request::Interface;
use uvale_system::refusal::Refusal;
use uvale_system::sys::{Fd, OwnFd};

pub use ends::{Frames, Transmitter};
pub use packet::{Batch, Packet, Space};
use ptnet::Direction;
use xdp::choice::{Choice, choose};

/// How a port's packets travel when its peer is not open here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// not at all: nothing could be opened
    Nothing,
    /// AF_PACKET sockets
    Packet,
    /// AF_XDP sockets
    Xdp(xdp::Shape),
    /// a TAP device of so many queues, at the other end of which is the host
    Tap(u16),
    /// a ptnet device: this machine is a guest, and the host is at the other end
    Ptnet(ptnet::Shape),
}

/// What is to carry the packets of a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carrier {
    /// what is best for the interface
    #[default]
    Best,
    /// AF_PACKET sockets
    Packet,
    /// AF_XDP sockets, if they can be had
    Xdp,
}

/// What a wire consists of. With it come its descriptors, in this order: a receiving socket for each of
/// `frames`, `senders` sending sockets, an AF_XDP socket and its memory, or a TAP device's, for each queue, those of a
/// ptnet device, and with `host` the host's receiving and sending socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// what carries the packets
    pub kind: Kind,
    /// of packet sockets: one for each rx ring
    pub frames: Vec<packet::FrameShape>,
    /// of packet sockets: one for each tx ring
    pub senders: u16,
    /// the host's rings work: its receiving side
    pub host: Option<packet::FrameShape>,
    /// the host does not see what arrives
    pub is_stolen: bool,
    /// what [`host::Control`] is made of, with what is kept
    pub plan: Option<host::Plan>,
    /// why it is not more, and what to beware of: one sentence each, for people
    pub lacks: Vec<String>,
}

impl Shape {
    /// A wire without packet sockets and without host rings.
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            frames: Vec::new(),
            senders: 0,
            host: None,
            is_stolen: false,
            plan: None,
            lacks: Vec::new(),
        }
    }

    /// How many descriptors come with it.
    pub fn descriptors(&self) -> usize {
        let host = if self.host.is_some() { 2 } else { 0 };
        let queues = match &self.kind {
            Kind::Xdp(xdp) => 2 * usize::from(xdp.queues),
            Kind::Tap(queues) => usize::from(*queues),
            Kind::Ptnet(ptnet) => ptnet.descriptors(),
            Kind::Nothing | Kind::Packet => 0,
        };
        self.frames.len() + usize::from(self.senders) + queues + host
    }

    /// Are these its descriptors, by number and kind? Waits for none of them, whatever they are.
    pub fn fits(&self, fds: &[Fd]) -> bool {
        let packet = self.frames.len() + usize::from(self.senders);
        let host = if self.host.is_some() { 2 } else { 0 };
        if fds.len() != self.descriptors() {
            return false;
        }
        let is_of = |fd: &Fd, family| sockopt::socket_domain(fd) == Ok(family);
        let (first, rest) = fds.split_at(packet);
        let (queues, last) = rest.split_at(rest.len() - host);
        // Only a file in memory has seals.
        let is_queue = |pair: &[Fd]| {
            is_of(&pair[0], AddressFamily::XDP) && rustix::fs::fcntl_get_seals(&pair[1]).is_ok()
        };
        let mut packet_sockets = first.iter().chain(last);
        // Nobody but the daemon gives those of a TAP or a ptnet device.
        !matches!(self.kind, Kind::Tap(_) | Kind::Ptnet(_))
            && packet_sockets.all(|fd| is_of(fd, AddressFamily::PACKET))
            && queues.chunks_exact(2).all(is_queue)
    }
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
    /// it may steal by a program on tcx, descriptors of which go to whoever uses the wire
    pub programs: bool,
    /// what is to carry its packets
    pub carrier: Carrier,
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

/// Rx rings of a wire at most, and tx rings: all its descriptors go into one message, which has room for 250.
pub const MOST_RINGS: u32 = 118;

/// Opens the best wire that the machine and this process's rights allow. With no right at all, this is a
/// wire of [`Kind::Nothing`] that says what is lacking.
pub fn open(wanted: &Wanted<'_>) -> Result<Opened, Refusal> {
    let [rx, tx] = wanted.rings;
    if rx.max(tx) > MOST_RINGS {
        let why = format!(
            "it has {rx} rx and {tx} tx queues, and a wire takes {MOST_RINGS} of each at most: do \
             `ethtool -L {} combined {MOST_RINGS}`, or rx and tx instead of combined, before the port is opened",
            wanted.name
        );
        return Ok(nothing(Refusal::new(Errno::TOOBIG, why)));
    }
    let mut opened = match open_best(wanted) {
        Ok(opened) => opened,
        Err(refusal) => return Ok(nothing(refusal)),
    };
    if wanted.host || wanted.steal && !opened.shape.is_stolen {
        host::add(wanted, &mut opened);
    }
    Ok(opened)
}

fn open_best(wanted: &Wanted<'_>) -> Result<Opened, Refusal> {
    let Choice::Xdp { generic } = choose(wanted) else {
        return packet::open(wanted);
    };
    xdp::open(wanted, generic).or_else(|refusal| {
        let mut opened = packet::open(wanted)?;
        let why = format!("its packets are carried by packet sockets, not by AF_XDP: {refusal}");
        opened.shape.lacks.push(why);
        Ok(opened)
    })
}

fn nothing(refusal: Refusal) -> Opened {
    Opened {
        shape: Shape {
            lacks: vec![refusal.why],
            ..Shape::of(Kind::Nothing)
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
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or(Errno::PROTO);
        let (mut frames, mut senders) = (Vec::new(), Vec::new());
        for shape in &shape.frames {
            frames.push(Frames::Packet(packet::Frames::new(
                OwnFd::new(next()?),
                shape,
            )?));
        }
        for _ in 0..shape.senders {
            senders.push(Transmitter::Packet(packet::Transmitter::new(OwnFd::new(
                next()?,
            ))));
        }
        if let Kind::Xdp(xdp) = &shape.kind {
            for _ in 0..xdp.queues {
                let (receiver, sender) =
                    xdp::Queue::new(OwnFd::new(next()?), next()?, xdp)?.sides()?;
                frames.push(Frames::Xdp(receiver));
                senders.push(Transmitter::Xdp(sender));
            }
        }
        if let Kind::Tap(queues) = &shape.kind {
            for _ in 0..*queues {
                let queue = tap::Queue::new(OwnFd::new(next()?));
                frames.push(Frames::Tap(queue.clone()));
                senders.push(Transmitter::Tap(queue));
            }
        }
        if let Kind::Ptnet(ptnet) = &shape.kind {
            let link = Arc::new(ptnet::Link::new(*ptnet, &mut next)?);
            let queue = |dir, i| ptnet::Queue::new(link.clone(), dir, i);
            let [tx, rx] = ptnet.rings;
            frames.extend((0..rx).map(|i| Frames::Ptnet(queue(Direction::Rx, i))));
            senders.extend((0..tx).map(|i| Transmitter::Ptnet(queue(Direction::Tx, i))));
        }
        let host = match &shape.host {
            Some(f) => Some((
                Frames::Packet(packet::Frames::new(OwnFd::new(next()?), f)?),
                Transmitter::Packet(packet::Transmitter::new(OwnFd::new(next()?))),
            )),
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
