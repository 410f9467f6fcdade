//! Serving a PCI device to QEMU over vfio-user: what any device of ours has to say of itself, and one client after the
//! other (`vfio/session.rs`, `vfio/message.rs`).
//!
//! The crate `vfio_user` has a server, which takes 4 GB for a message that says so, waits for ever for a client that
//! says nothing, and panics at some messages: so it is the client of the tests, and not in here.

mod message;
mod session;

use std::fs::File;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd};
use uvale_tools::output::plain;
use vfio_bindings::bindings::vfio::VFIO_PCI_CONFIG_REGION_INDEX;

use crate::guest_shown::peer;
use crate::pci::{self, ConfigSpace};
use message::Connection;

/// The longest piece of a region that is read or written at once. QEMU reads registers, of at most 8 bytes.
const MOST: usize = 4096;
/// Between two tries to take a connection.
const NOW_AND_THEN: Duration = Duration::from_millis(100);

/// A file that a guest may map in a BAR.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// its descriptor
    pub fd: i32,
    /// so many of its bytes
    pub len: u64,
}

/// BARs and interrupts of a device.
pub struct Layout {
    /// BAR, bytes, what the guest maps there
    pub regions: Vec<(u32, u64, Option<Shown>)>,
    /// MSI-X vectors
    pub vectors: u32,
}

/// Of a DMA_MAP: the device may read and write.
pub const READ_WRITE: u32 = 3;
/// Of a DMA_UNMAP: all that is mapped.
pub const UNMAP_ALL: u32 = 4;

/// A device. What it answers with an error is refused, and the client stays.
pub trait Device {
    /// Reads a region.
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()>;

    /// Writes to it.
    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()>;

    /// `len` bytes of the guest's memory from `guest` on are in `file` at `offset`.
    fn dma_map(
        &mut self,
        flags: u32,
        offset: u64,
        guest: u64,
        len: u64,
        file: Option<File>,
    ) -> io::Result<()>;

    /// They are there no more.
    fn dma_unmap(&mut self, flags: u32, guest: u64, len: u64) -> io::Result<()>;

    /// As after power-on.
    fn reset(&mut self) -> io::Result<()>;

    /// VFIO_DEVICE_SET_IRQS, with eventfds.
    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        events: Vec<File>,
    ) -> io::Result<()>;

    /// Its configuration space.
    fn config(&mut self) -> &mut ConfigSpace;

    /// The client has gone, and with it its memory and its interrupts.
    fn left(&mut self);

    /// Reads from the configuration space, if `region` is that.
    fn read_config(&mut self, region: u32, offset: u64, data: &mut [u8]) -> bool {
        let is_config = region == VFIO_PCI_CONFIG_REGION_INDEX;
        if is_config {
            self.config().read(offset, data);
        }
        is_config
    }

    /// Writes to it, likewise.
    fn write_config(&mut self, region: u32, offset: u64, data: &[u8]) -> bool {
        let is_config = region == VFIO_PCI_CONFIG_REGION_INDEX;
        if is_config {
            self.config().write(offset, data);
        }
        is_config
    }
}

/// What a client is refused for.
pub fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// `data` is read at `offset`, in a register of four bytes with this `value`. Zeroes beyond it.
pub fn put_register(data: &mut [u8], offset: u64, value: u32) {
    let bytes = value.to_le_bytes();
    let from = (offset % 4) as usize;
    for (i, byte) in data.iter_mut().enumerate() {
        *byte = bytes.get(from + i).copied().unwrap_or(0);
    }
}

impl Layout {
    /// Bytes of a region, and what may be mapped there. 0: there is none.
    fn region(&self, index: u32) -> (u64, Option<&Shown>) {
        if index == VFIO_PCI_CONFIG_REGION_INDEX {
            return (pci::LEN, None);
        }
        let found = self.regions.iter().find(|region| region.0 == index);
        found.map_or((0, None), |(_, len, shown)| (*len, shown.as_ref()))
    }
}

/// Who is connected.
pub trait Clients: Send + Sync {
    /// One has come: the process, if it has a number here.
    fn came(&self, pid: Option<i32>);
    /// It has gone. `was_qemu`: not only looked whether somebody listens.
    fn went(&self, was_qemu: bool);
    /// Tells a person something, unless there was too much of that.
    fn say(&self, about: About, what: &str);
}

/// What a sentence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// how a connection has ended
    End,
    /// a client that waits
    Other,
    /// why nobody can connect
    Lack,
}

impl About {
    /// So many there are.
    pub const COUNT: usize = Self::Lack as usize + 1;
}

/// Serves `device` to one client after the other, as long as the process lives.
pub fn serve(
    listener: &UnixListener,
    layout: &Layout,
    device: &mut dyn Device,
    clients: &dyn Clients,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                // No descriptor is free, perhaps: it waits.
                clients.say(
                    About::Lack,
                    &format!("cannot accept a connection: {}", plain(&e)),
                );
                std::thread::sleep(NOW_AND_THEN);
                continue;
            }
        };
        clients.came(peer(&stream));
        let other = || {
            clients.say(
                About::Other,
                "a second process has connected to this device: it has to wait until the first one disconnects",
            );
        };
        let ended = serve_one(stream, listener.as_fd(), layout, device, &other);
        device.left();
        if let Err(e) = ended {
            clients.say(
                About::End,
                &format!("the connection to QEMU has ended: {}", plain(&e)),
            );
        }
        clients.went(device.config().was_read());
    }
}

/// Serves one client, until it hangs up. `other` is called once when `listener` can be read meanwhile.
///
/// # Errors
/// It is silent when it should not be, sends what is no message, or does not take answers.
pub fn serve_one(
    stream: UnixStream,
    listener: BorrowedFd<'_>,
    layout: &Layout,
    device: &mut dyn Device,
    other: &dyn Fn(),
) -> io::Result<()> {
    session::run(Connection::new(stream, listener)?, layout, device, other)
}
