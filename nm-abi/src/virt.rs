//! Registers of the paravirtual PCI devices `ptnetmap-memdev` (the host's region seen by a guest)
//! and `ptnet` (a netmap port as a guest's network interface). Offsets are in bytes, in the I/O BAR.

/// Name of the memory device in hypervisors.
pub const PTNETMAP_MEMDEV_NAME: &str = "ptnetmap-memdev";
/// PCI vendor of both devices.
pub const PTNETMAP_PCI_VENDOR_ID: u16 = 0x1b36;
/// PCI device id of `ptnetmap-memdev`.
pub const PTNETMAP_PCI_DEVICE_ID: u16 = 0x000c;
/// PCI device id of `ptnet`.
pub const PTNETMAP_PCI_NETIF_ID: u16 = 0x000d;
/// BAR with the registers.
pub const PTNETMAP_IO_PCI_BAR: u32 = 0;
/// BAR with the host's region.
pub const PTNETMAP_MEM_PCI_BAR: u32 = 1;
/// BAR with the MSI-X table.
pub const PTNETMAP_MSIX_PCI_BAR: u32 = 2;

/// memdev: bytes of the region, low half.
pub const PTNET_MDEV_IO_MEMSIZE_LO: u32 = 0;
/// memdev: bytes of the region, high half.
pub const PTNET_MDEV_IO_MEMSIZE_HI: u32 = 4;
/// memdev: memory id in the host.
pub const PTNET_MDEV_IO_MEMID: u32 = 8;
/// memdev: offset of the `netmap_if` pool.
pub const PTNET_MDEV_IO_IF_POOL_OFS: u32 = 64;
/// memdev: objects in the `netmap_if` pool.
pub const PTNET_MDEV_IO_IF_POOL_OBJNUM: u32 = 68;
/// memdev: bytes per object of the `netmap_if` pool.
pub const PTNET_MDEV_IO_IF_POOL_OBJSZ: u32 = 72;
/// memdev: offset of the ring pool.
pub const PTNET_MDEV_IO_RING_POOL_OFS: u32 = 76;
/// memdev: objects in the ring pool.
pub const PTNET_MDEV_IO_RING_POOL_OBJNUM: u32 = 80;
/// memdev: bytes per object of the ring pool.
pub const PTNET_MDEV_IO_RING_POOL_OBJSZ: u32 = 84;
/// memdev: offset of the buffer pool.
pub const PTNET_MDEV_IO_BUF_POOL_OFS: u32 = 88;
/// memdev: buffers in the buffer pool.
pub const PTNET_MDEV_IO_BUF_POOL_OBJNUM: u32 = 92;
/// memdev: bytes per buffer.
pub const PTNET_MDEV_IO_BUF_POOL_OBJSZ: u32 = 96;
/// memdev: end of the registers.
pub const PTNET_MDEV_IO_END: u32 = 100;

/// ptnet feature: packets carry a virtio-net header.
pub const PTNETMAP_F_VNET_HDR: u32 = 1;

/// ptnet: features.
pub const PTNET_IO_PTFEAT: u32 = 0;
/// ptnet: commands, `PTNETMAP_PTCTL_*`.
pub const PTNET_IO_PTCTL: u32 = 4;
/// ptnet: MAC address, low four bytes.
pub const PTNET_IO_MAC_LO: u32 = 8;
/// ptnet: MAC address, high two bytes.
pub const PTNET_IO_MAC_HI: u32 = 12;
/// ptnet: unused, formerly the CSB address, high half.
pub const PTNET_IO_CSBBAH: u32 = 16;
/// ptnet: unused, formerly the CSB address, low half.
pub const PTNET_IO_CSBBAL: u32 = 20;
/// ptnet: offset of the port's `netmap_if` in the region.
pub const PTNET_IO_NIFP_OFS: u32 = 24;
/// ptnet: number of tx rings.
pub const PTNET_IO_NUM_TX_RINGS: u32 = 28;
/// ptnet: number of rx rings.
pub const PTNET_IO_NUM_RX_RINGS: u32 = 32;
/// ptnet: slots per tx ring.
pub const PTNET_IO_NUM_TX_SLOTS: u32 = 36;
/// ptnet: slots per rx ring.
pub const PTNET_IO_NUM_RX_SLOTS: u32 = 40;
/// ptnet: bytes of the virtio-net header.
pub const PTNET_IO_VNET_HDR_LEN: u32 = 44;
/// ptnet: memory id in the host.
pub const PTNET_IO_HOSTMEMID: u32 = 48;
/// ptnet: guest-to-host CSB address, high half.
pub const PTNET_IO_CSB_GH_BAH: u32 = 52;
/// ptnet: guest-to-host CSB address, low half.
pub const PTNET_IO_CSB_GH_BAL: u32 = 56;
/// ptnet: host-to-guest CSB address, high half.
pub const PTNET_IO_CSB_HG_BAH: u32 = 60;
/// ptnet: host-to-guest CSB address, low half.
pub const PTNET_IO_CSB_HG_BAL: u32 = 64;
/// ptnet: end of the registers.
pub const PTNET_IO_END: u32 = 68;
/// ptnet: kick register of ring 0; ring `i` is at `PTNET_IO_KICK_BASE + 4 * i`, tx rings first.
pub const PTNET_IO_KICK_BASE: u32 = 128;
/// ptnet: mask of the register offset.
pub const PTNET_IO_MASK: u32 = 0xff;

/// ptnet command: start the sync loop.
pub const PTNETMAP_PTCTL_CREATE: u32 = 1;
/// ptnet command: stop the sync loop.
pub const PTNETMAP_PTCTL_DELETE: u32 = 2;
