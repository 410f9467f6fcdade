//! netmap's ptnet device, from within a guest: a port of the host, whose rings are in memory that both see.
//!
//! | file | what |
//! |---|---|
//! | `ptnet/ring.rs` | netmap's protocol over the CSB: sync, kicks |
//! | `ptnet/queue.rs` | rings of the device as a wire |
//! | `ptnet/kicks.rs` | the eventfds by which kicks are asked for |
//!
//! A process that has the rights drives the device (`uvale nic add --ptnet`): it tells the host where the CSB is, and
//! its registers are its own, as whoever has them has the host write to any place in the guest's memory. What everybody
//! else gets is the region, the CSB, and for each ring an eventfd by which that process is asked for a kick.

pub mod kicks;
mod queue;
pub mod ring;
#[cfg(test)]
mod tests;

use std::path::Path;

use nm_abi::{AbiBytes, netmap_if};
use serde::{Deserialize, Serialize};
use uvale_shared::shm::{Mapping, RingView, copy_out};
use uvale_system::sys::Fd;

pub(crate) use queue::Link;
pub use queue::Queue;
use ring::{MOST_RINGS, PAGE, PAGES};

/// A direction of rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the guest.
    Tx,
    /// To the guest.
    Rx,
}

/// What a process has to know of a device. With it come descriptors: the memory BAR, the CSB, and an eventfd for each
/// ring, rx rings behind tx rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// MAC address of the port
    pub mac: [u8; 6],
    /// rings: tx, rx
    pub rings: [u16; 2],
    /// slots of each ring: tx, rx
    pub slots: [u32; 2],
    /// memory id in the host
    pub memory: u32,
    /// bytes of the memory BAR
    pub bar: u64,
    /// where in it the buffers are
    pub buffers: u64,
    /// bytes of a buffer
    pub buffer_size: u32,
    /// how many buffers there are
    pub buffer_count: u32,
    /// where in it the port's `netmap_if` is
    pub nifp: u32,
}

/// File systems whose files are these descriptors (`linux/magic.h`).
const SYSFS: i64 = 0x6265_6572;
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

impl Shape {
    /// Can there be such a device? Its descriptors have to go into one message.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let [tx, rx] = self.rings.map(u32::from);
        tx > 0 && rx > 0 && tx + rx <= MOST_RINGS && self.slots.iter().all(|n| *n >= 2)
    }

    /// How many descriptors come with it.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        2 + self.rings.iter().map(|n| usize::from(*n)).sum::<usize>()
    }

    /// Are these its descriptors? Waits for none of them, whatever they are.
    #[must_use]
    pub fn fits(&self, fds: &[Fd]) -> bool {
        let [memory, csb, kicks @ ..] = fds else {
            return false;
        };
        let is_on = |fd: &Fd, systems: &[i64]| {
            rustix::fs::fstatfs(fd).is_ok_and(|found| systems.contains(&found.f_type))
        };
        let has = |fd: &Fd, bytes: u64| {
            rustix::fs::fstat(fd).is_ok_and(|found| found.st_size.cast_unsigned() >= bytes)
        };
        fds.len() == self.descriptors()
            && is_on(memory, &[SYSFS])
            && is_bar(memory)
            && has(memory, self.bar)
            && is_on(csb, &[TMPFS, RAMFS])
            && has(csb, (PAGES * PAGE) as u64)
            && kicks.iter().all(kicks::is_one)
    }
}

/// The files of BARs are `resource0`, `resource1_wc` and so on. Of others in sysfs the length says nothing.
fn is_bar(fd: &Fd) -> bool {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.raw()));
    path.is_ok_and(|path| is_bar_at(&path))
}

fn is_bar_at(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix("resource"));
    let number = number.map(|rest| rest.strip_suffix("_wc").unwrap_or(rest));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Where in a region the rings of a port are, by direction, and its `netmap_if`. Host rings, which are behind those of
/// each direction, are not the guest's.
///
/// # Errors
/// A sentence, if it has other rings, or they are not inside the region.
pub fn places(
    map: &Mapping,
    nifp: u32,
    rings: [u32; 2],
    slots: [u32; 2],
) -> Result<(netmap_if, [Vec<u64>; 2]), String> {
    let outside = || format!("the port's netmap_if at offset {nifp} is none");
    let at = nifp as usize;
    let copy = copy_out(map, at, size_of::<netmap_if>()).ok_or_else(outside)?;
    let nifp = netmap_if::from_bytes(&copy).ok_or_else(outside)?;
    let [tx_rings, rx_rings] = rings;
    if (nifp.ni_tx_rings, nifp.ni_rx_rings) != (tx_rings, rx_rings) {
        return Err(format!(
            "the port's netmap_if has {} tx and {} rx rings, its registers tell of {tx_rings} and {rx_rings}",
            nifp.ni_tx_rings, nifp.ni_rx_rings,
        ));
    }
    let first_rx = tx_rings as usize + nifp.ni_host_tx_rings as usize;
    let place = |i: usize, slots: u32| {
        let entry = at + netmap_if::bytes_for(i);
        let distance = copy_out(map, entry, size_of::<i64>()).and_then(|b| b.try_into().ok());
        let distance = distance.map(i64::from_ne_bytes).filter(|d| *d != 0);
        let place = distance.and_then(|d| (at as u64).checked_add_signed(d));
        let place = place.filter(|place| RingView::new(map, *place, slots).is_some());
        place.ok_or_else(|| format!("ring {i} of the port's netmap_if lies outside of the region"))
    };
    let tx = (0..tx_rings as usize).map(|i| place(i, slots[0]));
    let rx = (0..rx_rings as usize).map(|i| place(first_rx + i, slots[1]));
    Ok((
        nifp,
        [tx.collect::<Result<_, _>>()?, rx.collect::<Result<_, _>>()?],
    ))
}
