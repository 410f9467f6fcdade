//! Opens the AF_XDP sockets of an interface, and its program.

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_send_buffer_size, set_socket_send_buffer_size_force, set_xdp_rx_ring_size,
    set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size, set_xdp_umem_fill_ring_size,
    set_xdp_umem_reg,
};
use rustix::net::xdp::{SocketAddrXdp, SocketAddrXdpFlags, XdpUmemReg, XdpUmemRegFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use uvale_shared::shm::{Mapping, Memfd};
use uvale_system::refusal::Refusal;
use uvale_system::sys::{Fd, OwnFd, set_option};

use super::bpf::{Place, Sockets, attach};
use super::queue::{BEHIND, Queue};
use super::{Mode, Shape};
use crate::{Kind, Opened, Wanted};

/// Chunks for packets received on a queue, if memory may be locked; half as many are for those sent.
const MOST: u32 = 4096;
/// Fewer are not worth it.
const FEWEST: u32 = 128;
/// What the kernel keeps free in a chunk before a packet received (`XDP_PACKET_HEADROOM`).
const HEADROOM: u32 = 256;
/// Chunks are one of these.
const CHUNKS: [u32; 2] = [2048, 4096];
/// An Ethernet header and a VLAN tag.
const HEADERS: u32 = 18;
const SEND_BUFFER: usize = 4 << 20;
/// Option of `SOL_XDP` since Linux 6.18: packets that a call sends at most, where it would be 32.
pub(super) const MAX_TX_SKB_BUDGET: i32 = 9;
const BUDGET: u32 = 256;

/// Opens a socket for each queue and attaches the program. Of the descriptors those that are kept hold the program.
pub(crate) fn open(wanted: &Wanted<'_>, generic: bool) -> Result<Opened, Refusal> {
    let index = wanted.interface.index;
    let queues = wanted.rings[0].max(wanted.rings[1]);
    let mut shape = shape(wanted.interface.mtu, queues)?;
    let sockets = Sockets::new(queues).map_err(no_program)?;
    let (program, mode) = attach_best(&sockets, index, generic)?;
    shape.mode = mode;
    let mut fds = Vec::new();
    for queue in 0..queues {
        // The first shows how much memory and which mode there is.
        let (socket, memory) = match queue {
            0 => first(index, &mut shape)?,
            _ => bound(index, queue, &shape)?,
        };
        fds.extend([socket, memory]);
    }
    for (queue, pair) in fds.chunks(2).enumerate() {
        can_be_shared(&pair[0], &pair[1], &shape)?;
        sockets.put(queue as u32, &pair[0]).map_err(no_program)?;
    }
    Ok(Opened {
        shape: crate::Shape {
            kind: Kind::Xdp(shape),
            frames: Vec::new(),
            senders: 0,
            host: None,
            is_stolen: true,
            plan: None,
            lacks: Vec::new(),
        },
        fds,
        kept: vec![program, sockets.into_fd()],
    })
}

/// For an MTU, with as many chunks as may be locked in memory.
fn shape(mtu: u32, queues: u32) -> Result<Shape, Refusal> {
    let longest = mtu.saturating_add(HEADERS);
    let chunk = CHUNKS.into_iter().find(|c| longest <= c - HEADROOM);
    let chunk = chunk.ok_or_else(|| {
        let most = CHUNKS[1] - HEADROOM - HEADERS;
        let why = format!("an MTU of {mtu} is too much for it, {most} is the most");
        Refusal::new(Errno::MSGSIZE, why)
    })?;
    let mut shape = Shape {
        mode: Mode::Native,
        queues: u16::try_from(queues).map_err(|_| Refusal::new(Errno::INVAL, "too many queues"))?,
        chunk,
        rx: MOST,
        tx: MOST / 2,
        longest,
    };
    let lockable = lockable().unwrap_or(u64::MAX);
    while shape.rx > FEWEST && memory(&shape) > lockable {
        halve(&mut shape);
    }
    Ok(shape)
}

fn halve(shape: &mut Shape) {
    (shape.rx, shape.tx) = (shape.rx / 2, shape.tx / 2);
}

/// Bytes that are locked in memory for all queues.
fn memory(shape: &Shape) -> u64 {
    shape.bytes() as u64 * u64::from(shape.queues)
}

/// Bytes that this process may lock in memory; `None`: all.
fn lockable() -> Option<u64> {
    let is_free = capabilities(None).is_ok_and(|c| c.effective.contains(CapabilitySet::IPC_LOCK));
    getrlimit(Resource::Memlock).current.filter(|_| !is_free)
}

/// Attaches the program to the driver, or in front of the stack if that will do.
fn attach_best(sockets: &Sockets, index: u32, generic: bool) -> Result<(Fd, Mode), Refusal> {
    let native = match attach(sockets, index, Place::Driver) {
        Ok(program) => return Ok((program, Mode::Native)),
        Err(errno) => errno,
    };
    if !generic || matches!(native, Errno::PERM | Errno::BUSY) {
        return Err(no_program(native));
    }
    let program = attach(sockets, index, Place::Generic).map_err(no_program)?;
    Ok((program, Mode::Generic))
}

/// The socket of queue 0, with as much memory as can be locked, in the best mode.
fn first(index: u32, shape: &mut Shape) -> Result<(Fd, Fd), Refusal> {
    let (socket, memory) = loop {
        match with_memory(shape) {
            Err(Errno::NOBUFS) if shape.rx > FEWEST => halve(shape),
            other => break other.map_err(|errno| no_socket(errno, 0, shape))?,
        }
    };
    let zero_copy = SocketAddrXdpFlags::XDP_ZEROCOPY | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
    if shape.mode == Mode::Native && bind(&socket, index, 0, zero_copy).is_ok() {
        shape.mode = Mode::ZeroCopy;
    } else {
        bind(&socket, index, 0, SocketAddrXdpFlags::XDP_COPY)
            .map_err(|errno| no_socket(errno, 0, shape))?;
    }
    Ok((socket, memory))
}

/// A socket of queue `queue` like the first.
fn bound(index: u32, queue: u32, shape: &Shape) -> Result<(Fd, Fd), Refusal> {
    let refuse = |errno| no_socket(errno, queue, shape);
    let (socket, memory) = with_memory(shape).map_err(refuse)?;
    let flags = match shape.mode {
        Mode::ZeroCopy => {
            SocketAddrXdpFlags::XDP_ZEROCOPY | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP
        }
        Mode::Native | Mode::Generic => SocketAddrXdpFlags::XDP_COPY,
    };
    bind(&socket, index, queue, flags).map_err(refuse)?;
    Ok((socket, memory))
}

fn bind(socket: &Fd, index: u32, queue: u32, flags: SocketAddrXdpFlags) -> Result<(), Errno> {
    rustix::net::bind(socket, &SocketAddrXdp::new(flags, index, queue))
}

/// A socket that has its memory and its rings, with all chunks for receiving given to the kernel; and the memory.
fn with_memory(shape: &Shape) -> Result<(Fd, Fd), Errno> {
    let (family, flags) = (AddressFamily::XDP, SocketFlags::CLOEXEC);
    let socket = Fd::from(rustix::net::socket_with(
        family,
        SocketType::RAW,
        flags,
        None,
    )?);
    let memfd = Memfd::create("uvale-xdp", shape.bytes() + BEHIND)?;
    let memory = Mapping::new(&memfd)?;
    let start = memory.range(0, shape.bytes()).ok_or(Errno::INVAL)?;
    let chunks = XdpUmemReg {
        addr: start.expose_provenance() as u64,
        len: shape.bytes() as u64,
        chunk_size: shape.chunk,
        headroom: 0,
        flags: XdpUmemRegFlags::empty(),
        tx_metadata_len: 0,
    };
    set_xdp_umem_reg(&socket, chunks)?;
    set_xdp_umem_fill_ring_size(&socket, shape.rx)?;
    set_xdp_umem_completion_ring_size(&socket, shape.tx)?;
    set_xdp_rx_ring_size(&socket, shape.rx)?;
    set_xdp_tx_ring_size(&socket, shape.tx)?;
    // Without it a call sends 32.
    let budget = BUDGET.min(shape.tx).to_ne_bytes();
    let _ = set_option(&socket, libc::SOL_XDP, MAX_TX_SKB_BUDGET, &budget);
    if set_socket_send_buffer_size_force(&socket, SEND_BUFFER).is_err() {
        set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
    }
    let memory = duplicate(memfd.parts().first().ok_or(Errno::INVAL)?)?;
    queue(&socket, &memory, shape)?.sides()?.0.prime();
    Ok((socket, memory))
}

pub(super) fn queue(
    socket: &Fd,
    memory: &Fd,
    shape: &Shape,
) -> Result<std::sync::Arc<Queue>, Errno> {
    Queue::new(OwnFd::new(duplicate(socket)?), duplicate(memory)?, shape)
}

pub(super) fn duplicate(fd: &Fd) -> Result<Fd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0).map(Fd::from)
}

/// Can the rings be mapped by whoever gets the descriptors?
fn can_be_shared(socket: &Fd, memory: &Fd, shape: &Shape) -> Result<(), Refusal> {
    let mapped = queue(socket, memory, shape).and_then(|queue| queue.sides());
    mapped.map(drop).map_err(|errno| {
        let why = match errno {
            Errno::BUSY => {
                "this kernel lets nobody map the rings of a socket that is bound, which Linux 6.4 does"
                    .to_owned()
            }
            other => format!("its rings cannot be mapped: {other}"),
        };
        Refusal::new(errno, why)
    })
}

fn no_program(errno: Errno) -> Refusal {
    let why = match errno {
        Errno::PERM | Errno::ACCESS => {
            "this process may not load a program for it, it lacks CAP_BPF or CAP_NET_ADMIN \
             (docker run --cap-add BPF --cap-add NET_ADMIN)"
                .to_owned()
        }
        Errno::BUSY => {
            "another XDP program is on the interface, which `ip link` shows: it would have to be removed"
                .to_owned()
        }
        Errno::NOSPC => {
            "the other end of this veth has more tx queues than this end has rx queues, \
             with which it has no native XDP (ethtool -L)"
                .to_owned()
        }
        Errno::RANGE => "the MTU of the other end of this veth is too large for native XDP".to_owned(),
        Errno::OPNOTSUPP => "the driver has no native XDP, or not with its present settings".to_owned(),
        Errno::NOSYS | Errno::INVAL => {
            format!("this kernel or this sandbox does not take its program: {errno}")
        }
        other => format!("its program: {other}"),
    };
    Refusal::new(errno, why)
}

fn no_socket(errno: Errno, queue: u32, shape: &Shape) -> Refusal {
    let why = match errno {
        Errno::NOBUFS => {
            let needed = memory(shape) / 1024;
            let limit = getrlimit(Resource::Memlock).current.unwrap_or(0) / 1024;
            format!(
                "RLIMIT_MEMLOCK is {limit} KiB for everything that this user locks, and {needed} KiB are needed: \
                 raise it (ulimit -l; docker run --ulimit memlock=-1), or give CAP_IPC_LOCK"
            )
        }
        Errno::BUSY => format!("another AF_XDP socket is bound to queue {queue} of the interface"),
        Errno::AFNOSUPPORT | Errno::OPNOTSUPP => {
            "this kernel or this sandbox has no AF_XDP (CONFIG_XDP_SOCKETS, Linux 5.4)".to_owned()
        }
        Errno::PERM | Errno::ACCESS => "AF_XDP sockets need CAP_NET_RAW".to_owned(),
        other => uvale_system::limits::reached(other)
            .unwrap_or_else(|| format!("socket of queue {queue}: {other}")),
    };
    Refusal::new(errno, why)
}
