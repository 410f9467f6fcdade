//! Queues and slots as an interface's driver has them, which netmap goes by.

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use uvale_request::Interface;
use uvale_system::raw::{call, check};

/// `linux/sockios.h`, `linux/ethtool.h`
const SIOCETHTOOL: usize = 0x8946;
const GRINGPARAM: u32 = 0x10;
const GCHANNELS: u32 = 0x3c;

/// `struct ethtool_ringparam`, `struct ethtool_channels`: the command, and nine or eight numbers.
type Numbers = [u32; 9];
const RX_MAX_PENDING: usize = 1;
const TX_MAX_PENDING: usize = 4;
const RX_PENDING: usize = 5;
const TX_PENDING: usize = 8;
const RX_COUNT: usize = 5;
const TX_COUNT: usize = 6;
const COMBINED_COUNT: usize = 8;

/// netmap makes no use of fewer slots.
const FEWEST_SLOTS: u32 = 3;

/// `struct ifreq` with an address.
#[repr(C)]
struct Request {
    name: [u8; nm_abi::IFNAMSIZ],
    data: usize,
    rest: [usize; 2],
}

/// Puts in what the driver of interface `name` says, in the network namespace of `socket`.
pub(super) fn refine(socket: impl AsFd, name: &[u8], interface: &mut Interface) {
    let first =
        |all: &Numbers, which: [usize; 2]| which.map(|i| all[i]).into_iter().find(|n| *n > 0);
    if let Ok(all) = get(&socket, name, GCHANNELS) {
        let queues = |count, otherwise: u16| {
            let count = first(&all, [count, COMBINED_COUNT]);
            count.map_or(otherwise, |n| u16::try_from(n).unwrap_or(u16::MAX))
        };
        interface.tx_queues = queues(TX_COUNT, interface.tx_queues);
        interface.rx_queues = queues(RX_COUNT, interface.rx_queues);
    }
    if let Ok(all) = get(&socket, name, GRINGPARAM) {
        let slots = |now, most| first(&all, [now, most]).filter(|n| *n >= FEWEST_SLOTS);
        interface.tx_slots = slots(TX_PENDING, TX_MAX_PENDING).unwrap_or(0);
        interface.rx_slots = slots(RX_PENDING, RX_MAX_PENDING).unwrap_or(0);
    }
}

fn get(socket: impl AsFd, name: &[u8], command: u32) -> Result<Numbers, Errno> {
    let mut numbers = [0; 9];
    numbers[0] = command;
    let mut request = Request {
        name: [0; nm_abi::IFNAMSIZ],
        data: numbers.as_mut_ptr().expose_provenance(),
        rest: [0; 2],
    };
    let room = request.name.len() - 1;
    let name = name.get(..room.min(name.len())).unwrap_or_default();
    request.name[..name.len()].copy_from_slice(name);
    let fd = socket.as_fd().as_raw_fd() as usize;
    let request = (&raw mut request).expose_provenance();
    // SAFETY: the kernel reads and writes the request, and at its address at most the nine numbers of the command;
    // both are ours alone, and any bytes make numbers.
    check(unsafe { call(libc::SYS_ioctl, [fd, SIOCETHTOOL, request, 0, 0, 0]) })?;
    Ok(numbers)
}
