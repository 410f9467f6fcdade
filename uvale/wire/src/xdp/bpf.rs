//! The program that brings an interface's packets to AF_XDP sockets.

use rustix::fd::AsRawFd;
use rustix::io::Errno;
use uvale_system::sys::Fd;

use crate::bpf::{EXIT, LINK_CREATE, MAP_CREATE, MAP_UPDATE_ELEM, command, instruction, make};

/// Types and flags of `linux/bpf.h` and `linux/if_link.h`.
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const FUNC_REDIRECT_MAP: i32 = 51;
const PSEUDO_MAP_FD: u8 = 1;
const XDP_PASS: i32 = 2;
/// Where in `struct xdp_md` the number of the queue is.
const RX_QUEUE_INDEX: i16 = 16;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Place {
    /// before the kernel has made a packet of what arrived, for which it has a structure: generic XDP
    Generic = 2,
    /// in the driver: native XDP
    Driver = 4,
}

/// Sockets by the number of their queue (an XSKMAP).
#[derive(Debug)]
pub(super) struct Sockets(Fd);

impl Sockets {
    /// A map with room for so many queues; empty.
    pub(super) fn new(queues: u32) -> Result<Self, Errno> {
        // map_type, key_size, value_size, max_entries, map_flags
        let attributes = [MAP_TYPE_XSKMAP, 4, 4, queues, 0];
        // SAFETY: no addresses in it.
        unsafe { make(MAP_CREATE, &attributes) }.map(Self)
    }

    /// From now on, what arrives at queue `queue` goes to `socket`, if the program is attached.
    pub(super) fn put(&self, queue: u32, socket: &Fd) -> Result<(), Errno> {
        #[repr(C)]
        struct Update {
            map: u32,
            pad: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let socket = socket.raw() as u32;
        let update = Update {
            map: self.0.raw() as u32,
            pad: 0,
            key: core::ptr::from_ref(&queue).expose_provenance() as u64,
            value: core::ptr::from_ref(&socket).expose_provenance() as u64,
            flags: 0,
        };
        // SAFETY: key and value are 4 bytes each, as the map says, and are read during the call only.
        unsafe { command(MAP_UPDATE_ELEM, &update) }.map(drop)
    }

    /// The descriptor.
    pub(super) fn into_fd(self) -> Fd {
        self.0
    }
}

/// Attaches a program to interface `index` that gives packets to `sockets`, and lets those of queues without a socket
/// pass to the host. It is detached when the last duplicate of the descriptor is closed.
pub(super) fn attach(sockets: &Sockets, index: u32, place: Place) -> Result<Fd, Errno> {
    let program = load(sockets)?;
    let attributes = [program.raw() as u32, index, ATTACH_XDP, place as u32];
    // SAFETY: prog_fd, target_ifindex, attach_type, flags: no addresses in it.
    unsafe { make(LINK_CREATE, &attributes) }
}

fn load(sockets: &Sockets) -> Result<Fd, Errno> {
    let map = sockets.0.as_raw_fd();
    let program = [
        // r2 = xdp_md.rx_queue_index
        instruction(0x61, 0x12, RX_QUEUE_INDEX, 0),
        // r1 = the map: an instruction of twice the length
        instruction(0x18, PSEUDO_MAP_FD << 4 | 1, 0, map),
        instruction(0, 0, 0, 0),
        // r3 = what to do with a packet of a queue without a socket
        instruction(0xb7, 3, 0, XDP_PASS),
        // return bpf_redirect_map(r1, r2, r3)
        instruction(0x85, 0, 0, FUNC_REDIRECT_MAP),
        EXIT,
    ];
    crate::bpf::load(PROG_TYPE_XDP, &program)
}
