//! TAP devices: interfaces that a program is at the other end of. The host has one end, as any interface; what it
//! sends is read from the device's descriptor, what is written there arrives at the host.
//!
//! | file | what |
//! |---|---|
//! | `tap/device.rs` | a descriptor of a device, and what can be asked of it |
//! | `tap/make.rs` | an interface made and removed, for `uvale nic` |
//!
//! The device can do nothing for the host: the kernel completes checksums and takes large packets apart before they
//! are read, so that a packet is as it would be on a wire. It is there as long as a descriptor of it is open.

pub(crate) mod device;
mod make;

use std::sync::Arc;

use rustix::fd::AsRawFd;
use rustix::io::Errno;
use uvale_shared::shm::Mapping;
use uvale_system::raw::{call, check};
use uvale_system::sys::OwnFd;

use crate::Batch;
pub use device::{MOST_QUEUES, empty, is_device_of, set_carrier};
pub use make::{Asked, Made, add_address, check_name, make, remove};

/// Bytes of the longest packet that the host can send: its largest MTU, an Ethernet header and a VLAN tag.
pub const LONGEST: u32 = device::MTU + 18;
/// Pieces of memory that one packet may be read into.
pub const MOST_PIECES: usize = 64;

/// A queue of a TAP device: packets come from there, and go there.
#[derive(Clone, Debug)]
pub struct Queue {
    fd: Arc<OwnFd>,
}

impl Queue {
    /// By a descriptor of the device.
    pub fn new(fd: OwnFd) -> Self {
        Self { fd: Arc::new(fd) }
    }

    /// Becomes readable when a packet is there.
    pub fn fd(&self) -> &OwnFd {
        &self.fd
    }

    /// Is there a packet? Asks the kernel.
    pub fn is_ready(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&*self.fd, PollFlags::IN)];
        let now = Timespec::default();
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::IN)
    }

    /// Reads a packet into `pieces` of `memory`, each a byte and a length, one after the other and [`MOST_PIECES`] at
    /// most. How many bytes it has; `EAGAIN` if there is none, `EFAULT` if a piece is not inside the memory. What finds
    /// no room is cut off.
    pub fn read(&self, memory: &Mapping, pieces: &[(usize, usize)]) -> Result<usize, Errno> {
        let mut vectors = [[0usize; 2]; MOST_PIECES];
        let pieces = &pieces[..pieces.len().min(MOST_PIECES)];
        for (vector, (ofs, len)) in vectors.iter_mut().zip(pieces) {
            let address = memory.range(*ofs, *len).ok_or(Errno::FAULT)?;
            *vector = [address.expose_provenance(), *len];
        }
        let words = [
            self.fd.as_raw_fd() as usize,
            vectors.as_ptr().expose_provenance(),
            pieces.len(),
            0,
            0,
            0,
        ];
        // SAFETY: `vectors` are `struct iovec`s on our stack. Each range lies in `memory`, which is borrowed
        // (`Mapping::range`), and is nobody's reference: programs may read and write there meanwhile.
        let read = check(unsafe { call(libc::SYS_readv, words) }).map_err(gone)?;
        let room: usize = pieces.iter().map(|(_, len)| len).sum();
        Ok((read as usize).min(room))
    }

    /// Sends packets `from..` of the batch, without waiting, as [`Transmitter::send`](crate::Transmitter::send) has it.
    pub(crate) fn send(&self, batch: &Batch<'_>, from: usize) -> Result<usize, Errno> {
        let mut sent = 0;
        while from + sent < batch.len() {
            match batch.write(from + sent, &self.fd) {
                Ok(()) => sent += 1,
                Err(_) if sent > 0 => break,
                // The interface is down.
                Err(Errno::IO) => return Err(Errno::NETDOWN),
                Err(errno) => return Err(gone(errno)),
            }
        }
        Ok(sent)
    }
}

/// A descriptor whose device has been deleted is in a bad state.
fn gone(errno: Errno) -> Errno {
    match errno {
        Errno::BADFD => Errno::NODEV,
        other => other,
    }
}
