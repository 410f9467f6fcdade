//! The interface of netmap before `NIOCCTRL`: one structure, [`nmreq`], for everything.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::IFNAMSIZ;
use crate::bytes::abi_struct;

/// Argument of `NIOCREGIF` and `NIOCGINFO`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq {
    /// In: port name, NUL-terminated.
    pub nr_name: [u8; IFNAMSIZ],
    /// In/out: API version.
    pub nr_version: u32,
    /// Out: offset of the `netmap_if` in the region.
    pub nr_offset: u32,
    /// Out: bytes of the region.
    pub nr_memsize: u32,
    /// In/out: slots per tx ring.
    pub nr_tx_slots: u32,
    /// In/out: slots per rx ring.
    pub nr_rx_slots: u32,
    /// In/out: number of tx rings.
    pub nr_tx_rings: u16,
    /// In/out: number of rx rings.
    pub nr_rx_rings: u16,
    /// In: ring number and `NETMAP_*` ring bits.
    pub nr_ringid: u16,
    /// In: 0 to bind a port, else `NETMAP_BDG_*` and the like.
    pub nr_cmd: u16,
    /// In/out: depends on the command.
    pub nr_arg1: u16,
    /// In/out: memory region.
    pub nr_arg2: u16,
    /// In/out: extra buffers.
    pub nr_arg3: u32,
    /// In: `NR_REG_*` mode in the low four bits, `NR_*` flags above.
    pub nr_flags: u32,
    /// Unused.
    pub spare2: [u32; 1],
}
abi_struct!(nmreq, size 60, align 4, {
    nr_name 0, nr_version 16, nr_offset 20, nr_memsize 24, nr_tx_slots 28, nr_rx_slots 32,
    nr_tx_rings 36, nr_rx_rings 38, nr_ringid 40, nr_cmd 42, nr_arg1 44, nr_arg2 46, nr_arg3 48,
    nr_flags 52, spare2 56,
});

/// `nr_ringid` bit, with `nr_flags` 0: one NIC ring pair.
pub const NETMAP_HW_RING: u16 = 0x4000;
/// `nr_ringid` bit, with `nr_flags` 0: the host ring pair.
pub const NETMAP_SW_RING: u16 = 0x2000;
/// The ring number in `nr_ringid`.
pub const NETMAP_RING_MASK: u16 = 0x0fff;
/// `nr_ringid` bit: poll transmits only when POLLOUT is asked for.
pub const NETMAP_NO_TX_POLL: u16 = 0x1000;
/// `nr_ringid` bit: poll releases receive slots even when POLLIN is not asked for.
pub const NETMAP_DO_RX_POLL: u16 = 0x8000;

/// `nr_cmd`: attach a port to a switch.
pub const NETMAP_BDG_ATTACH: u16 = 1;
/// `nr_cmd`: detach a port from a switch.
pub const NETMAP_BDG_DETACH: u16 = 2;
/// `nr_cmd`: replace a switch's functions; kernel modules only.
pub const NETMAP_BDG_REGOPS: u16 = 3;
/// `nr_cmd`: walk the ports of the switches.
pub const NETMAP_BDG_LIST: u16 = 4;
/// `nr_cmd`: set a port's header length.
pub const NETMAP_BDG_VNET_HDR: u16 = 5;
/// `nr_cmd`: create a persistent VALE port.
pub const NETMAP_BDG_NEWIF: u16 = 6;
/// `nr_cmd`: delete a persistent VALE port.
pub const NETMAP_BDG_DELIF: u16 = 7;
/// `nr_cmd`: start ptnetmap threads; no longer served.
pub const NETMAP_PT_HOST_CREATE: u16 = 8;
/// `nr_cmd`: stop ptnetmap threads; no longer served.
pub const NETMAP_PT_HOST_DELETE: u16 = 9;
/// `nr_cmd`: start polling threads on an attached port.
pub const NETMAP_BDG_POLLING_ON: u16 = 10;
/// `nr_cmd`: stop polling threads.
pub const NETMAP_BDG_POLLING_OFF: u16 = 11;
/// `nr_cmd`: get a port's header length.
pub const NETMAP_VNET_HDR_GET: u16 = 12;
/// `nr_arg1` of `NETMAP_BDG_ATTACH`: attach the host rings as well.
pub const NETMAP_BDG_HOST: u16 = 1;
/// The `NR_REG_*` mode in the legacy `nr_flags`.
pub const NR_REG_MASK: u32 = 0xf;

/// Bytes of data in [`nm_ifreq`].
pub const NM_IFRDATA_LEN: usize = 256;

/// Argument of `NIOCCONFIG`: opaque data for a kernel module's bridge.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nm_ifreq {
    /// In: port name, NUL-terminated.
    pub nifr_name: [u8; IFNAMSIZ],
    /// In/out: as the module likes.
    pub data: [u8; NM_IFRDATA_LEN],
}
abi_struct!(nm_ifreq, size 272, align 1, { nifr_name 0, data 16 });
