//! Serving a PCI device to QEMU over vfio-user: what any device of ours has to say of itself, and one client after the
//! other.

use std::io;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use vfio_bindings::bindings::vfio::*;
use vfio_user::{IrqInfo, Server, ServerBackend, ServerRegion, SparseArea};

use crate::pci::{self, ConfigSpace};

/// The longest piece of a region that is read at once. QEMU reads registers, of at most 8 bytes.
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

/// A device.
pub trait Device: ServerBackend {
    /// Its configuration space.
    fn config(&mut self) -> &mut ConfigSpace;

    /// The client has gone, and with it its memory and its interrupts.
    fn left(&mut self);

    /// Reads from the configuration space, if `region` is that.
    ///
    /// # Errors
    /// Nobody reads so much.
    fn read_config(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<bool> {
        if data.len() > MOST {
            return Err(bad("so much is not read at once"));
        }
        let is_config = region == VFIO_PCI_CONFIG_REGION_INDEX;
        if is_config {
            self.config().read(offset, data);
        }
        Ok(is_config)
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

/// What QEMU's `-device` gets for the device that is served at `path`.
pub fn qemu_device(path: &Path) -> String {
    let path = path.display().to_string();
    let path = path.replace('\\', "\\\\").replace('"', "\\\"");
    format!(r#"{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":"{path}"}}}}"#)
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
    fn regions(&self) -> Vec<ServerRegion> {
        let config = (VFIO_PCI_CONFIG_REGION_INDEX, pci::LEN, None);
        let described = |index| {
            let mut all = self.regions.iter().chain([&config]);
            let found = all.find(|region| region.0 == index);
            region(index, found.map(|(_, len, shown)| (*len, *shown)))
        };
        (0..VFIO_PCI_NUM_REGIONS).map(described).collect()
    }

    fn irqs(&self) -> Vec<IrqInfo> {
        let irq = |index| match index {
            VFIO_PCI_MSIX_IRQ_INDEX if self.vectors > 0 => IrqInfo {
                index,
                flags: VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
                count: self.vectors,
            },
            _ => IrqInfo {
                index,
                flags: 0,
                count: 0,
            },
        };
        (0..VFIO_PCI_NUM_IRQS).map(irq).collect()
    }
}

fn region(index: u32, found: Option<(u64, Option<Shown>)>) -> ServerRegion {
    let (size, shown) = found.unwrap_or((0, None));
    let mut flags = match size {
        0 => 0,
        _ => VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
    };
    if shown.is_some() {
        flags |= VFIO_REGION_INFO_FLAG_MMAP;
    }
    let area = |shown: Shown| SparseArea {
        area: vfio_region_sparse_mmap_area {
            offset: 0,
            size: shown.len,
        },
    };
    ServerRegion {
        region_info: vfio_region_info {
            argsz: size_of::<vfio_region_info>() as u32,
            index,
            size,
            flags,
            ..Default::default()
        },
        sparse_areas: shown.map(area).into_iter().collect(),
        mmap_fd: shown.map(|shown| shown.fd),
    }
}

/// Who is connected.
pub trait Clients: Send + Sync {
    /// One has come.
    fn came(&self);
    /// It has gone. `was_qemu`: not only looked whether somebody listens. `why`: unless because it wanted to.
    fn went(&self, was_qemu: bool, why: Option<String>);
}

/// Serves `device` to one client after the other, as long as the process lives.
pub fn serve(
    listener: UnixListener,
    layout: &Layout,
    device: &mut dyn Device,
    clients: &dyn Clients,
) -> io::Result<()> {
    let waited = listener.try_clone()?;
    let server = Server::from_owned_fd(listener.into(), true, layout.irqs(), layout.regions());
    loop {
        let mut fds = [PollFd::new(&waited, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        clients.came();
        // The crate's server panics at some messages that no QEMU sends.
        let ended = catch_unwind(AssertUnwindSafe(|| server.run(as_backend(device))));
        device.left();
        if let Ok(Err(vfio_user::Error::SocketAccept(_))) = &ended {
            // No descriptor is free: it waits.
            std::thread::sleep(NOW_AND_THEN);
        }
        let why = match ended {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(e.to_string()),
            Err(_) => Some("it has sent what is no message of vfio-user".into()),
        };
        clients.went(device.config().was_read(), why);
    }
}

fn as_backend(device: &mut dyn Device) -> &mut dyn ServerBackend {
    device
}
