//! PCI devices as sysfs shows them.

use std::fs;
use std::path::{Path, PathBuf};

use nm_abi::virt::PTNETMAP_PCI_VENDOR_ID;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use uvale_shared::shm::Mapping;

use crate::Registers;

/// Where Linux shows them.
pub const DEVICES: &str = "/sys/bus/pci/devices";

/// The command register of a device's configuration space, and its bits I/O, memory, bus master.
const COMMAND: u64 = 4;
const COMMAND_ON: u16 = 0b111;

/// Kinds of a resource, the kernel's IORESOURCE_IO and IORESOURCE_MEM.
const RESOURCE_IO: u64 = 0x100;
const RESOURCE_MEMORY: u64 = 0x200;

/// Who else may use a device meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nobody.
    Alone,
    /// Others who share it.
    Shared,
}

/// A PCI device, enabled, and ours until this is dropped.
pub struct PciDevice {
    dir: PathBuf,
    config: OwnedFd,
}

/// Bus addresses of all devices `1b36:DEVICE`, in order.
#[must_use]
pub fn find(devices: &Path, device: u16) -> Vec<PathBuf> {
    let is = |dir: &Path, file: &str, id: u16| {
        fs::read_to_string(dir.join(file)).is_ok_and(|text| text.trim() == format!("{id:#06x}"))
    };
    let entries = fs::read_dir(devices).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|dir| is(dir, "vendor", PTNETMAP_PCI_VENDOR_ID) && is(dir, "device", device))
        .collect();
    found.sort();
    found
}

impl PciDevice {
    /// Takes the device with sysfs directory `dir`.
    ///
    /// # Errors
    /// A sentence, if it has a driver, is in use or cannot be enabled.
    pub fn take(dir: &Path, use_: Use) -> Result<Self, String> {
        let dir = dir.to_owned();
        let name = name(&dir);
        if let Ok(driver) = fs::read_link(dir.join("driver")) {
            let driver = driver.file_name().unwrap_or_default().to_string_lossy();
            return Err(format!(
                "{name} is in use by the driver {driver}: echo {name} > {DEVICES}/{name}/driver/unbind"
            ));
        }
        let config = open(&dir.join("config"), OFlags::RDWR)?;
        let lock = match use_ {
            Use::Alone => FlockOperation::NonBlockingLockExclusive,
            Use::Shared => FlockOperation::NonBlockingLockShared,
        };
        rustix::fs::flock(&config, lock).map_err(|e| match e {
            Errno::WOULDBLOCK => format!("{name} is in use by another process"),
            e => format!("{name}: {e}"),
        })?;
        let taken = Self { dir, config };
        taken
            .enable()
            .map_err(|e| format!("{name} cannot be enabled: {e}"))?;
        Ok(taken)
    }

    /// Its address on the bus, `0000:00:03.0`.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.dir)
    }

    fn enable(&self) -> Result<(), Errno> {
        let enabled = fs::write(self.dir.join("enable"), "1");
        enabled.map_err(|e| e.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))?;
        let mut command = [0; 2];
        rustix::io::pread(&self.config, &mut command, COMMAND)?;
        let command = u16::from_le_bytes(command) | COMMAND_ON;
        rustix::io::pwrite(&self.config, &command.to_le_bytes(), COMMAND)?;
        Ok(())
    }

    /// BAR `bar` with registers.
    ///
    /// # Errors
    /// A sentence, if there is no such BAR, or it cannot be opened or mapped.
    pub fn registers(&self, bar: u32) -> Result<Registers, String> {
        let (len, kind) = self.resource(bar)?;
        let path = self.dir.join(format!("resource{bar}"));
        if kind & RESOURCE_IO != 0 {
            return Ok(Registers::Ports(open(&path, OFlags::RDWR)?));
        }
        let file = open(&path, OFlags::RDWR)?;
        Ok(Registers::Memory(map(&file, len, &self.name())?))
    }

    /// The file of BAR `bar`, which is memory, and its bytes. Where the kernel offers that, writes to it may be
    /// combined.
    ///
    /// # Errors
    /// As [`PciDevice::registers`].
    pub fn memory(&self, bar: u32) -> Result<(OwnedFd, usize), String> {
        let (len, kind) = self.resource(bar)?;
        if kind & RESOURCE_MEMORY == 0 {
            return Err(format!("BAR {bar} of {} is not memory", self.name()));
        }
        let combined = open(&self.dir.join(format!("resource{bar}_wc")), OFlags::RDWR);
        let file =
            combined.or_else(|_| open(&self.dir.join(format!("resource{bar}")), OFlags::RDWR))?;
        Ok((file, len))
    }

    /// Bytes of a BAR, and its kind.
    fn resource(&self, bar: u32) -> Result<(usize, u64), String> {
        let path = self.dir.join("resource");
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        resource(&text, bar).ok_or_else(|| format!("{} has no BAR {bar}", self.name()))
    }

    /// Is BAR `bar` an I/O BAR?
    ///
    /// # Errors
    /// A sentence, if there is no such BAR.
    pub fn is_io(&self, bar: u32) -> Result<bool, String> {
        Ok(self.resource(bar)?.1 & RESOURCE_IO != 0)
    }
}

/// Length and kind of a BAR, in the text of a device's `resource` file: start, end and flags, a BAR a line.
fn resource(text: &str, bar: u32) -> Option<(usize, u64)> {
    let line = text.lines().nth(bar as usize)?;
    let mut words = line
        .split_whitespace()
        .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    let (start, end, kind) = (words.next()??, words.next()??, words.next()??);
    let len = end.checked_sub(start)?.checked_add(1)?;
    (end != 0).then_some((usize::try_from(len).ok()?, kind))
}

fn name(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into()
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, String> {
    let opened = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
    opened.map_err(|e| format!("{}: {e}: run this as root", path.display()))
}

/// Maps a BAR.
pub(crate) fn map(file: &OwnedFd, len: usize, name: &str) -> Result<Mapping, String> {
    let mapped = Mapping::of_device(file, len);
    mapped.map_err(|e| format!("a BAR of {name} cannot be mapped: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_read() {
        let text = "0x000000000000c000 0x000000000000c0ff 0x0000000000040101\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x00000000febd4000 0x00000000febd4fff 0x0000000000040200\n\
                    0x2 0x1 0x200\nnonsense\n";
        assert_eq!(resource(text, 0), Some((256, 0x40101)));
        assert_eq!(resource(text, 1), None);
        assert_eq!(resource(text, 2), Some((4096, 0x40200)));
        for absent in 3..8 {
            assert_eq!(resource(text, absent), None);
        }
    }

    #[test]
    fn devices_are_found_by_their_ids() {
        let dir = std::env::temp_dir().join(format!("ptnet-guest-pci-{}", std::process::id()));
        for (name, vendor, device) in [
            ("0000:00:04.0", "0x1b36\n", "0x000d\n"),
            ("0000:00:02.0", "0x1b36\n", "0x000d\n"),
            ("0000:00:03.0", "0x1b36\n", "0x000c\n"),
            ("0000:00:05.0", "0x8086\n", "0x000d\n"),
        ] {
            fs::create_dir_all(dir.join(name)).expect("the temporary folder can be written");
            fs::write(dir.join(name).join("vendor"), vendor).expect("written");
            fs::write(dir.join(name).join("device"), device).expect("written");
        }
        let names = |id| -> Vec<_> { find(&dir, id).iter().map(|d| name(d)).collect() };
        assert_eq!(names(0xd), ["0000:00:02.0", "0000:00:04.0"]);
        assert_eq!(names(0xc), ["0000:00:03.0"]);
        assert!(names(1).is_empty());
        fs::remove_dir_all(&dir).expect("ours");
    }
}
