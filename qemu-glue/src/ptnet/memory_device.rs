//! `ptnetmap-memdev`: the device by which a guest maps the region of its port.

use std::fs::File;
use std::io;

use nm_abi::nmreq_pools_info;
use nm_abi::virt::*;

use super::RegisterBar;
use crate::pci::{Bar, ConfigSpace, Identity};
use crate::vfio::{Device, Layout, Shown, bad, put_register};

/// Bytes of BAR 0: a power of two.
const REGISTERS: u32 = PTNET_MDEV_IO_END.next_power_of_two();
/// RAM controller, other.
const CLASS: u32 = 0x05_80_00;

/// The device.
pub struct MemoryDevice {
    config: ConfigSpace,
    pools: nmreq_pools_info,
}

impl MemoryDevice {
    /// Of a region with these pools. `memfd`: its file.
    pub fn new(pools: nmreq_pools_info, registers: RegisterBar) -> Self {
        let identity = Identity {
            vendor: PTNETMAP_PCI_VENDOR_ID,
            device: PTNETMAP_PCI_DEVICE_ID,
            class: CLASS,
        };
        let bars = [
            (PTNETMAP_IO_PCI_BAR as usize, registers.bar(REGISTERS)),
            (PTNETMAP_MEM_PCI_BAR as usize, Bar::Wide(bar_len(&pools))),
        ];
        Self {
            config: ConfigSpace::new(identity, &bars, None),
            pools,
        }
    }

    /// What QEMU is told of it. `memfd`: the region's file.
    pub fn layout(&self, memfd: i32) -> Layout {
        Layout {
            regions: vec![
                (PTNETMAP_IO_PCI_BAR, u64::from(REGISTERS), None),
                (
                    PTNETMAP_MEM_PCI_BAR,
                    bar_len(&self.pools),
                    Some(Shown {
                        fd: memfd,
                        len: self.pools.nr_memsize,
                    }),
                ),
            ],
            vectors: 0,
        }
    }

    fn register(&self, offset: u64) -> u32 {
        let pools = &self.pools;
        match u32::try_from(offset).unwrap_or(u32::MAX) {
            PTNET_MDEV_IO_MEMSIZE_LO => pools.nr_memsize as u32,
            PTNET_MDEV_IO_MEMSIZE_HI => (pools.nr_memsize >> 32) as u32,
            PTNET_MDEV_IO_MEMID => pools.nr_mem_id.into(),
            PTNET_MDEV_IO_IF_POOL_OFS => pools.nr_if_pool_offset as u32,
            PTNET_MDEV_IO_IF_POOL_OBJNUM => pools.nr_if_pool_objtotal,
            PTNET_MDEV_IO_IF_POOL_OBJSZ => pools.nr_if_pool_objsize,
            PTNET_MDEV_IO_RING_POOL_OFS => pools.nr_ring_pool_offset as u32,
            PTNET_MDEV_IO_RING_POOL_OBJNUM => pools.nr_ring_pool_objtotal,
            PTNET_MDEV_IO_RING_POOL_OBJSZ => pools.nr_ring_pool_objsize,
            PTNET_MDEV_IO_BUF_POOL_OFS => pools.nr_buf_pool_offset as u32,
            PTNET_MDEV_IO_BUF_POOL_OBJNUM => pools.nr_buf_pool_objtotal,
            PTNET_MDEV_IO_BUF_POOL_OBJSZ => pools.nr_buf_pool_objsize,
            _ => 0,
        }
    }
}

/// Bytes of the BAR with the region: a power of two. Beyond the region there is nothing.
fn bar_len(pools: &nmreq_pools_info) -> u64 {
    pools.nr_memsize.max(4096).next_power_of_two()
}

impl Device for MemoryDevice {
    fn config(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn left(&mut self) {}

    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if self.read_config(region, offset, data) {
            return Ok(());
        }
        match region {
            PTNETMAP_IO_PCI_BAR => put_register(data, offset, self.register(offset & !3)),
            _ => data.fill(0),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_config(region, offset, data);
        Ok(())
    }

    fn dma_map(&mut self, _: u32, _: u64, _: u64, _: u64, _: Option<File>) -> io::Result<()> {
        Ok(())
    }

    fn dma_unmap(&mut self, _: u32, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set_irqs(&mut self, _: u32, _: u32, _: u32, count: u32, _: Vec<File>) -> io::Result<()> {
        match count {
            0 => Ok(()),
            _ => Err(bad("this device has no interrupts")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_finds_the_region() {
        let pools = nmreq_pools_info {
            nr_memsize: 0x1_2000_0000,
            nr_mem_id: 3,
            nr_buf_pool_offset: 0x4000,
            nr_buf_pool_objtotal: 4098,
            nr_buf_pool_objsize: 2048,
            ..nm_abi::AbiBytes::zeroed()
        };
        let mut device = MemoryDevice::new(pools, RegisterBar::Mem);
        let mut word = |at: u32| {
            let mut bytes = [0; 4];
            device
                .region_read(PTNETMAP_IO_PCI_BAR, at.into(), &mut bytes)
                .unwrap();
            u32::from_le_bytes(bytes)
        };
        assert_eq!([word(0), word(4), word(8)], [0x2000_0000, 1, 3]);
        assert_eq!(
            [word(88), word(92), word(96), word(124)],
            [0x4000, 4098, 2048, 0]
        );
        let layout = device.layout(9);
        assert_eq!(layout.regions[1].1, 0x2_0000_0000);
        assert_eq!(
            layout.regions[1].2.as_ref().map(|s| s.len),
            Some(0x1_2000_0000)
        );
        // Beyond the region there is nothing.
        let mut bytes = [1; 8];
        device
            .region_read(PTNETMAP_MEM_PCI_BAR, 0x1_2000_0000, &mut bytes)
            .unwrap();
        assert_eq!(bytes, [0; 8]);
    }
}
