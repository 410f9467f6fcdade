//! Opens the packet sockets of an interface.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force, socket_error,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;

use super::option::{self, get, set};
use super::{FrameShape, filter};
use crate::{Kind, Opened, Shape, Wanted};

/// Frames of a socket, if there is memory.
const FRAMES: u32 = 4096;
/// Bytes that the frames of all sockets of an interface take together, if [`ENOUGH`] for each do.
const ALTOGETHER: u64 = 64 << 20;
/// Frames of a socket of which there are many.
const ENOUGH: u32 = 1024;
/// A cache line. A frame consists of an odd number of them: the first lines of all frames would share a few places in
/// the processor's cache if they were some power of 2 apart.
const LINE: u32 = 64;
/// No frame is larger: longer packets wait beside the frames.
const LARGEST: u32 = 16 << 10;
/// What a frame has besides its packet: `struct tpacket2_hdr`, `struct sockaddr_ll`, `struct virtio_net_hdr`, and
/// what the kernel leaves free between them.
const OVERHEAD: u32 = 96;
/// An Ethernet header and a VLAN tag.
const HEADERS: u32 = 18;
/// For packets longer than a frame, which wait beside them.
const RECEIVE_BUFFER: usize = 8 << 20;
const SEND_BUFFER: usize = 4 << 20;
/// `PACKET_FANOUT_CBPF`, with the flags `UNIQUEID` and `IGNORE_OUTGOING`.
const FANOUT: u32 = 6 | 0x2000 | 0x4000;
/// Of those that `FANOUT` shows: the kernel has found a number for the group.
const UNIQUE: u32 = 0x2000;

/// Opens a receiving socket for each rx ring and a sending one for each tx ring.
pub(crate) fn open(wanted: &Wanted<'_>) -> Result<Opened, Refusal> {
    let index = wanted.interface.index;
    let [rx, tx] = wanted.rings;
    let shape = shape(wanted.interface.mtu, rx);
    let receivers = receivers(index, rx, shape).map_err(refusal)?;
    let senders = (0..tx)
        .map(|_| sender(index))
        .collect::<Result<Vec<_>, _>>()
        .map_err(refusal)?;
    let (mut fds, frames): (Vec<Fd>, Vec<FrameShape>) = receivers.into_iter().unzip();
    let shape = Shape {
        kind: Kind::Packet,
        frames,
        senders: u16::try_from(tx).map_err(|_| refusal(Errno::INVAL))?,
        host: None,
        is_stolen: false,
        plan: None,
        lacks: Vec::new(),
    };
    fds.extend(senders);
    Ok(Opened {
        shape,
        fds,
        kept: Vec::new(),
    })
}

/// Frames for an MTU, where an interface has so many receiving sockets.
pub(crate) fn shape(mtu: u32, sockets: u32) -> FrameShape {
    let size = mtu.min(LARGEST - HEADERS - OVERHEAD) + HEADERS + OVERHEAD;
    let size = (size.div_ceil(LINE) | 1) * LINE;
    let all = |count: u32| u64::from(size) * u64::from(count) * u64::from(sockets);
    let mut count = FRAMES;
    while count > ENOUGH && all(count) > ALTOGETHER {
        count /= 2;
    }
    FrameShape { size, count }
}

/// Receiving sockets of interface `index`. With several, queue i of the interface comes to socket i; none sees
/// a packet before all are there, so that no packet comes twice.
fn receivers(index: u32, count: u32, shape: FrameShape) -> Result<Vec<(Fd, FrameShape)>, Errno> {
    if count == 1 {
        return Ok(vec![receiver(index, shape, |fd| {
            filter::arriving(fd, None)
        })?]);
    }
    let sockets = (0..count)
        .map(|_| receiver(index, shape, |fd| filter::close(fd)))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(((first, _), others)) = sockets.split_first() {
        set(first, option::FANOUT, [FANOUT << 16])?;
        let [group] = get(first, option::FANOUT)?;
        for (socket, _) in others {
            set(socket, option::FANOUT, [group & !(UNIQUE << 16)])?;
        }
        filter::by_queue(first)?;
    }
    for (socket, _) in &sockets {
        filter::arriving(socket, None)?;
    }
    Ok(sockets)
}

/// A receiving socket of interface `index` that sees what `filter` lets it. It is bound last: it never sees a
/// packet of another interface.
pub(crate) fn receiver(
    index: u32,
    shape: FrameShape,
    filter: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(Fd, FrameShape), Errno> {
    let socket = socket()?;
    set(&socket, option::VERSION, [option::TPACKET_V2])?;
    set(&socket, option::VNET_HDR, [1])?;
    set(&socket, option::COPY_THRESH, [1])?;
    // Linux 4.20; the filter drops what this host sends, only later.
    let _ = set(&socket, option::IGNORE_OUTGOING, [1]);
    if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    }
    filter(socket.as_fd())?;
    let shape = with_frames(&socket, shape)?;
    option::bind(&socket, libc::ETH_P_ALL as u16, index)?;
    // That the interface is down is no error of this socket: it will be up.
    let _ = socket_error(&socket);
    Ok((socket, shape))
}

/// Gives the socket its frames, fewer if memory is short.
fn with_frames(socket: &Fd, mut shape: FrameShape) -> Result<FrameShape, Errno> {
    // Frames of a block, so many that it consists of whole pages: then frames lie one behind the other.
    let block = (rustix::param::page_size() as u32 / LINE).min(shape.count);
    loop {
        // `struct tpacket_req`: size and number of blocks, size and number of frames.
        let request = [
            shape.size * block,
            shape.count / block,
            shape.size,
            shape.count,
        ];
        match set(socket, option::RX_RING, request) {
            Err(Errno::NOMEM) if shape.count > block => shape.count /= 2,
            done => return done.map(|()| shape),
        }
    }
}

/// A sending socket of interface `index`. It receives nothing.
pub(crate) fn sender(index: u32) -> Result<Fd, Errno> {
    let socket = socket()?;
    option::bind(&socket, 0, index)?;
    if set_socket_send_buffer_size_force(&socket, SEND_BUFFER).is_err() {
        set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
    }
    // Linux 3.14; without it packets pass the interface's queue, which is slower.
    let _ = set(&socket, option::QDISC_BYPASS, [1]);
    Ok(socket)
}

/// A packet socket of no protocol: it sees nothing.
fn socket() -> Result<Fd, Errno> {
    let (family, flags) = (AddressFamily::PACKET, SocketFlags::CLOEXEC);
    rustix::net::socket_with(family, SocketType::RAW, flags, None).map(Fd::from)
}

fn refusal(errno: Errno) -> Refusal {
    let why = match errno {
        Errno::PERM | Errno::ACCESS => "this process may not open packet sockets, it lacks CAP_NET_RAW: docker gives \
             it to containers by default, podman with --cap-add NET_RAW; elsewhere run the program with sudo, or with \
             `sudo setpriv --reuid USER --regid GROUP --clear-groups --inh-caps +net_raw --ambient-caps +net_raw \
             PROGRAM` (setcap would keep the shim from being loaded)"
            .to_owned(),
        Errno::AFNOSUPPORT => {
            "this kernel or this sandbox has no packet sockets (CONFIG_PACKET)".to_owned()
        }
        Errno::NOMEM => "no memory for the frames of packet sockets".to_owned(),
        other => uvale_system::limits::reached(other)
            .unwrap_or_else(|| format!("packet socket: {other}")),
    };
    Refusal::new(errno, why)
}
