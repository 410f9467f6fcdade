//! 32-bit registers of a device.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use uvale_shared::shm::Mapping;

/// A BAR with registers.
pub enum Registers {
    /// A memory BAR.
    Memory(Mapping),
    /// An I/O BAR: the `resource` file of the device, which makes a port access of each read and write.
    Ports(OwnedFd),
}

impl Registers {
    /// The register at byte `ofs`.
    ///
    /// # Errors
    /// `EINVAL` if there is none; what the kernel says.
    pub fn read(&self, ofs: u32) -> Result<u32, Errno> {
        match self {
            Self::Memory(map) => {
                let at = word(map, ofs)?;
                // SAFETY: four aligned bytes inside the mapping, which lives as long as `map`. It is a device's
                // register: read once, and any value will do.
                Ok(u32::from_le(unsafe { at.read_volatile() }))
            }
            Self::Ports(file) => {
                let mut bytes = [0; 4];
                match rustix::io::pread(file, &mut bytes, ofs.into())? {
                    4 => Ok(u32::from_le_bytes(bytes)),
                    _ => Err(Errno::INVAL),
                }
            }
        }
    }

    /// Writes the register at byte `ofs`, after everything that was written to memory before.
    ///
    /// # Errors
    /// As [`Registers::read`].
    pub fn write(&self, ofs: u32, value: u32) -> Result<(), Errno> {
        use core::sync::atomic::{Ordering, fence};
        fence(Ordering::SeqCst);
        match self {
            Self::Memory(map) => {
                let at = word(map, ofs)?;
                // SAFETY: as in `read`.
                unsafe { at.write_volatile(value.to_le()) };
                Ok(())
            }
            Self::Ports(file) => {
                match rustix::io::pwrite(file, &value.to_le_bytes(), ofs.into())? {
                    4 => Ok(()),
                    _ => Err(Errno::INVAL),
                }
            }
        }
    }
}

fn word(map: &Mapping, ofs: u32) -> Result<*mut u32, Errno> {
    let ofs = ofs as usize;
    let at = map.range(ofs, 4).filter(|_| ofs.is_multiple_of(4));
    at.map(<*mut u8>::cast).ok_or(Errno::INVAL)
}
