//! The program that brings an interface's packets to AF_XDP sockets: loaded and attached by bpf(2).

use core::ffi::CStr;

use rustix::fd::AsRawFd;
use rustix::io::Errno;
use uvale_system::raw::{call, check};
use uvale_system::sys::Fd;

/// Commands, types and flags of `linux/bpf.h` and `linux/if_link.h`.
const MAP_CREATE: usize = 0;
const MAP_UPDATE_ELEM: usize = 2;
const PROG_LOAD: usize = 5;
const LINK_CREATE: usize = 28;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const FUNC_REDIRECT_MAP: i32 = 51;
const PSEUDO_MAP_FD: u8 = 1;
const XDP_PASS: i32 = 2;
/// Where in `struct xdp_md` the number of the queue is.
const RX_QUEUE_INDEX: i16 = 16;
const LICENSE: &CStr = c"Dual BSD/GPL";

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
        unsafe { bpf(MAP_CREATE, &attributes) }.map(Self)
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
    unsafe { bpf(LINK_CREATE, &attributes) }
}

/// `struct bpf_insn`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// destination in the lower, source in the upper half
    registers: u8,
    offset: i16,
    value: i32,
}

const fn instruction(code: u8, registers: u8, offset: i16, value: i32) -> Instruction {
    Instruction {
        code,
        registers,
        offset,
        value,
    }
}

fn load(sockets: &Sockets) -> Result<Fd, Errno> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
    }
    const { assert!(size_of::<Instruction>() == 8) };
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
        instruction(0x95, 0, 0, 0),
    ];
    let load = Load {
        kind: PROG_TYPE_XDP,
        count: program.len() as u32,
        instructions: program.as_ptr().expose_provenance() as u64,
        license: LICENSE.as_ptr().expose_provenance() as u64,
    };
    // SAFETY: `count` instructions, and a string that ends with 0, are read during the call only.
    unsafe { bpf(PROG_LOAD, &load) }
}

/// A command that makes a descriptor.
///
/// # Safety
/// As [`command`].
unsafe fn bpf<T>(number: usize, attributes: &T) -> Result<Fd, Errno> {
    // SAFETY: the caller's.
    let fd = unsafe { command(number, attributes) }?;
    // Linux makes it close-on-exec.
    Ok(Fd::from_raw(fd as i32))
}

/// # Safety
/// `T` is `repr(C)` or an array, without padding, and the beginning of the command's attributes; what the addresses
/// in it point to is readable for as long as the kernel will read of it.
unsafe fn command<T>(number: usize, attributes: &T) -> Result<isize, Errno> {
    let address = core::ptr::from_ref(attributes).expose_provenance();
    let words = [number, address, size_of::<T>(), 0, 0, 0];
    // SAFETY: the kernel reads the attributes, takes what is behind `size_of::<T>()` bytes for 0, and writes nothing:
    // none of the commands above does.
    check(unsafe { call(libc::SYS_bpf, words) })
}
