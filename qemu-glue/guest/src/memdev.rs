//! The device `ptnetmap-memdev`: a region of the host.

use std::path::Path;

use nm_abi::virt::*;
use rustix::fd::OwnedFd;
use uvale_shared::shm::{BufferPool, RegionMap};

use crate::Registers;
use crate::pci::{self, PciDevice, Use, map};

/// The region, mapped, and the device that it is the memory of.
pub struct Memdev {
    /// Bytes that are the host's region.
    pub size: u64,
    /// The region: its number is the host's memory id.
    pub region: RegionMap,
    /// The file of its BAR.
    pub file: OwnedFd,
    /// Where in it the buffers are.
    pub buffers: u32,
    _device: PciDevice,
}

impl Memdev {
    /// The memdev below `devices` that is the memory `id` of the host.
    pub fn open(devices: &Path, id: u32) -> Result<Self, String> {
        let mut others = Vec::new();
        for dir in pci::find(devices, PTNETMAP_PCI_DEVICE_ID) {
            let device = match PciDevice::take(&dir, Use::Shared) {
                Ok(device) => device,
                Err(why) => {
                    others.push(why);
                    continue;
                }
            };
            let registers = device.registers(PTNETMAP_IO_PCI_BAR)?;
            let found = read(&registers, PTNET_MDEV_IO_MEMID)?;
            if found == id {
                return Self::map(device, &registers, id);
            }
            others.push(format!("{} is memory {found}", device.name()));
        }
        Err(format!(
            "the port's memory is memory {id} of the host, and no ptnetmap-memdev is that ({}): give this guest both \
             sockets of `uvale vm ptnet`",
            match others.is_empty() {
                true => "there is none".into(),
                false => others.join("; "),
            }
        ))
    }

    fn map(device: PciDevice, registers: &Registers, number: u32) -> Result<Self, String> {
        let get = |ofs| read(registers, ofs);
        let (low, high) = (
            get(PTNET_MDEV_IO_MEMSIZE_LO)?,
            get(PTNET_MDEV_IO_MEMSIZE_HI)?,
        );
        let size = u64::from(high) << 32 | u64::from(low);
        let (file, len) = device.memory(PTNETMAP_MEM_PCI_BAR)?;
        let map = map(&file, len, &device.name())?;
        let buffers = get(PTNET_MDEV_IO_BUF_POOL_OFS)?;
        let pool = BufferPool::new(
            &map,
            buffers.into(),
            get(PTNET_MDEV_IO_BUF_POOL_OBJSZ)?,
            get(PTNET_MDEV_IO_BUF_POOL_OBJNUM)?,
        );
        let pool = pool.filter(|_| size <= map.len() as u64).ok_or_else(|| {
            format!(
                "{}: its registers tell of a region that its memory, {} bytes, has no room for",
                device.name(),
                map.len()
            )
        })?;
        Ok(Self {
            size,
            region: RegionMap { number, map, pool },
            file,
            buffers,
            _device: device,
        })
    }
}

/// A register, or a sentence.
pub fn read(registers: &Registers, ofs: u32) -> Result<u32, String> {
    let value = registers.read(ofs);
    value.map_err(|e| format!("register {ofs} cannot be read: {e}"))
}
