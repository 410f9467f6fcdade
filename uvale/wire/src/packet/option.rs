//! Options and addresses of packet sockets.

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use uvale_system::raw::{call, check};
use uvale_system::sys::{option, set_option};

/// Options of `SOL_PACKET` (`linux/if_packet.h`).
pub(crate) const RX_RING: i32 = 5;
pub(crate) const STATISTICS: i32 = 6;
pub(crate) const COPY_THRESH: i32 = 7;
pub(crate) const VERSION: i32 = 10;
pub(crate) const VNET_HDR: i32 = 15;
pub(crate) const FANOUT: i32 = 18;
pub(crate) const QDISC_BYPASS: i32 = 20;
pub(crate) const FANOUT_DATA: i32 = 22;
pub(crate) const IGNORE_OUTGOING: i32 = 23;

/// What `VERSION` is to be.
pub(crate) const TPACKET_V2: u32 = 1;

/// Sets an option of `SOL_PACKET` that consists of `N` words.
pub(crate) fn set<const N: usize>(fd: impl AsFd, name: i32, words: [u32; N]) -> Result<(), Errno> {
    let bytes = words.map(u32::to_ne_bytes);
    set_option(fd, libc::SOL_PACKET, name, bytes.as_flattened())
}

/// Reads one; what the kernel does not write is 0.
pub(crate) fn get<const N: usize>(fd: impl AsFd, name: i32) -> Result<[u32; N], Errno> {
    let mut bytes = [[0; size_of::<u32>()]; N];
    option(fd, libc::SOL_PACKET, name, bytes.as_flattened_mut())?;
    Ok(bytes.map(u32::from_ne_bytes))
}

/// Binds a packet socket to interface `index`; `protocol` 0: it receives nothing.
pub(crate) fn bind(fd: impl AsFd, protocol: u16, index: u32) -> Result<(), Errno> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let words = [
        fd.as_fd().as_raw_fd() as usize,
        core::ptr::from_ref(&address).expose_provenance(),
        size_of_val(&address),
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads the address, which is ours and that long.
    check(unsafe { call(libc::SYS_bind, words) }).map(drop)
}
