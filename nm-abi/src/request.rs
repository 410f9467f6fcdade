//! The `NIOCCTRL` requests: a common header and one body per request type.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::bytes::abi_struct;

/// Largest request in bytes, header, body and all options together.
pub const NETMAP_REQ_MAXSIZE: usize = 4096;
/// Size in bytes, final NUL included, of `nmreq_header.nr_name`.
pub const NETMAP_REQ_IFNAMSIZ: usize = 64;

/// Argument of `NIOCCTRL`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_header {
    /// In/out: API version.
    pub nr_version: u16,
    /// In: `NETMAP_REQ_*`.
    pub nr_reqtype: u16,
    /// In: must be 0.
    pub nr_reserved: u32,
    /// In: port name, NUL-terminated.
    pub nr_name: [u8; NETMAP_REQ_IFNAMSIZ],
    /// In: user address of the first [`nmreq_option`](crate::nmreq_option), or 0.
    pub nr_options: u64,
    /// In: user address of the request's body.
    pub nr_body: u64,
}
abi_struct!(nmreq_header, size 88, align 8, {
    nr_version 0, nr_reqtype 2, nr_reserved 4, nr_name 8, nr_options 72, nr_body 80,
});

/// Bind a port to the descriptor; body [`nmreq_register`].
pub const NETMAP_REQ_REGISTER: u16 = 1;
/// Describe a port; body [`nmreq_port_info_get`].
pub const NETMAP_REQ_PORT_INFO_GET: u16 = 2;
/// Attach a port to a switch; body [`nmreq_vale_attach`].
pub const NETMAP_REQ_VALE_ATTACH: u16 = 3;
/// Detach a port from a switch; body [`nmreq_vale_detach`].
pub const NETMAP_REQ_VALE_DETACH: u16 = 4;
/// Walk the ports of the switches; body [`nmreq_vale_list`].
pub const NETMAP_REQ_VALE_LIST: u16 = 5;
/// Set a port's header length; body [`nmreq_port_hdr`].
pub const NETMAP_REQ_PORT_HDR_SET: u16 = 6;
/// Get a port's header length; body [`nmreq_port_hdr`].
pub const NETMAP_REQ_PORT_HDR_GET: u16 = 7;
/// Create a persistent VALE port; body [`nmreq_vale_newif`].
pub const NETMAP_REQ_VALE_NEWIF: u16 = 8;
/// Delete a persistent VALE port; no body.
pub const NETMAP_REQ_VALE_DELIF: u16 = 9;
/// Start polling threads on an attached port; body [`nmreq_vale_polling`].
pub const NETMAP_REQ_VALE_POLLING_ENABLE: u16 = 10;
/// Stop polling threads; body [`nmreq_vale_polling`].
pub const NETMAP_REQ_VALE_POLLING_DISABLE: u16 = 11;
/// Describe the pools of a memory region; body [`nmreq_pools_info`].
pub const NETMAP_REQ_POOLS_INFO_GET: u16 = 12;
/// Run the sync loop in this call; body [`nmreq_sync_kloop_start`].
pub const NETMAP_REQ_SYNC_KLOOP_START: u16 = 13;
/// End the sync loop; no body.
pub const NETMAP_REQ_SYNC_KLOOP_STOP: u16 = 14;
/// Switch a bound descriptor to CSB mode; no body, the CSB option says where.
pub const NETMAP_REQ_CSB_ENABLE: u16 = 15;

/// Body of `NETMAP_REQ_REGISTER`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_register {
    /// Out: offset of the `netmap_if` in the region.
    pub nr_offset: u64,
    /// Out: bytes of the region.
    pub nr_memsize: u64,
    /// In/out: slots per tx ring.
    pub nr_tx_slots: u32,
    /// In/out: slots per rx ring.
    pub nr_rx_slots: u32,
    /// In/out: number of tx rings.
    pub nr_tx_rings: u16,
    /// In/out: number of rx rings.
    pub nr_rx_rings: u16,
    /// In/out: number of host tx rings.
    pub nr_host_tx_rings: u16,
    /// In/out: number of host rx rings.
    pub nr_host_rx_rings: u16,
    /// In/out: memory region, 0 to let netmap choose.
    pub nr_mem_id: u16,
    /// In: ring number for the `NR_REG_ONE_*` modes.
    pub nr_ringid: u16,
    /// In: `NR_REG_*`.
    pub nr_mode: u32,
    /// In/out: extra buffers.
    pub nr_extra_bufs: u32,
    /// Padding.
    pub _pad0: u32,
    /// In: `NR_*` flags.
    pub nr_flags: u64,
}
abi_struct!(nmreq_register, size 56, align 8, {
    nr_offset 0, nr_memsize 8, nr_tx_slots 16, nr_rx_slots 20, nr_tx_rings 24, nr_rx_rings 26,
    nr_host_tx_rings 28, nr_host_rx_rings 30, nr_mem_id 32, nr_ringid 34, nr_mode 36,
    nr_extra_bufs 40, _pad0 44, nr_flags 48,
});

/// Register flag: monitor the tx side.
pub const NR_MONITOR_TX: u64 = 0x100;
/// Register flag: monitor the rx side.
pub const NR_MONITOR_RX: u64 = 0x200;
/// Register flag: the monitor takes the buffers instead of copies.
pub const NR_ZCOPY_MON: u64 = 0x400;
/// Register flag: nobody else may bind the chosen rings.
pub const NR_EXCLUSIVE: u64 = 0x800;
/// Register flag: bind receive rings only.
pub const NR_RX_RINGS_ONLY: u64 = 0x2000;
/// Register flag: bind transmit rings only.
pub const NR_TX_RINGS_ONLY: u64 = 0x4000;
/// Register flag: the program can deal with virtio-net headers.
pub const NR_ACCEPT_VNET_HDR: u64 = 0x8000;
/// Register flag: poll releases receive slots even when POLLIN is not asked for.
pub const NR_DO_RX_POLL: u64 = 0x10000;
/// Register flag: poll transmits only when POLLOUT is asked for.
pub const NR_NO_TX_POLL: u64 = 0x20000;

/// Register mode: the legacy meaning of `nr_ringid` applies.
pub const NR_REG_DEFAULT: u32 = 0;
/// Register mode: all NIC rings.
pub const NR_REG_ALL_NIC: u32 = 1;
/// Register mode: host rings only.
pub const NR_REG_SW: u32 = 2;
/// Register mode: NIC and host rings.
pub const NR_REG_NIC_SW: u32 = 3;
/// Register mode: the NIC ring pair `nr_ringid`.
pub const NR_REG_ONE_NIC: u32 = 4;
/// Register mode, old form of the name suffix `{id`: master end of a pipe.
pub const NR_REG_PIPE_MASTER: u32 = 5;
/// Register mode, old form of the name suffix `}id`: slave end of a pipe.
pub const NR_REG_PIPE_SLAVE: u32 = 6;
/// Register mode: memory only, no rings.
pub const NR_REG_NULL: u32 = 7;
/// Register mode: the host ring pair `nr_ringid`.
pub const NR_REG_ONE_SW: u32 = 8;

/// Body of `NETMAP_REQ_PORT_INFO_GET`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_port_info_get {
    /// Out: bytes of the region.
    pub nr_memsize: u64,
    /// Out: slots per tx ring.
    pub nr_tx_slots: u32,
    /// Out: slots per rx ring.
    pub nr_rx_slots: u32,
    /// Out: number of tx rings.
    pub nr_tx_rings: u16,
    /// Out: number of rx rings.
    pub nr_rx_rings: u16,
    /// Out: number of host tx rings.
    pub nr_host_tx_rings: u16,
    /// Out: number of host rx rings.
    pub nr_host_rx_rings: u16,
    /// In/out: memory region.
    pub nr_mem_id: u16,
    /// Padding.
    pub pad: [u16; 3],
}
abi_struct!(nmreq_port_info_get, size 32, align 8, {
    nr_memsize 0, nr_tx_slots 8, nr_rx_slots 12, nr_tx_rings 16, nr_rx_rings 18,
    nr_host_tx_rings 20, nr_host_rx_rings 22, nr_mem_id 24, pad 26,
});

/// Body of `NETMAP_REQ_VALE_ATTACH`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_vale_attach {
    /// In/out: how to register the port.
    pub reg: nmreq_register,
    /// Out: index of the port in the switch.
    pub port_index: u32,
    /// Padding.
    pub pad1: u32,
}
abi_struct!(nmreq_vale_attach, size 64, align 8, { reg 0, port_index 56, pad1 60 });

/// Body of `NETMAP_REQ_VALE_DETACH`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_vale_detach {
    /// Out: index that the port had in the switch.
    pub port_index: u32,
    /// Padding.
    pub pad1: u32,
}
abi_struct!(nmreq_vale_detach, size 8, align 4, { port_index 0, pad1 4 });

/// Body of `NETMAP_REQ_VALE_LIST`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_vale_list {
    /// In/out: index of the switch.
    pub nr_bridge_idx: u16,
    /// Padding.
    pub pad1: u16,
    /// In/out: index of the port in the switch.
    pub nr_port_idx: u32,
}
abi_struct!(nmreq_vale_list, size 8, align 4, { nr_bridge_idx 0, pad1 2, nr_port_idx 4 });

/// Body of `NETMAP_REQ_PORT_HDR_SET` and `NETMAP_REQ_PORT_HDR_GET`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_port_hdr {
    /// In/out: bytes of the header in front of each packet: 0, 10 or 12.
    pub nr_hdr_len: u32,
    /// Padding.
    pub pad1: u32,
}
abi_struct!(nmreq_port_hdr, size 8, align 4, { nr_hdr_len 0, pad1 4 });

/// Body of `NETMAP_REQ_VALE_NEWIF`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_vale_newif {
    /// In: slots per tx ring, 0 for the default.
    pub nr_tx_slots: u32,
    /// In: slots per rx ring, 0 for the default.
    pub nr_rx_slots: u32,
    /// In: number of tx rings, 0 for the default.
    pub nr_tx_rings: u16,
    /// In: number of rx rings, 0 for the default.
    pub nr_rx_rings: u16,
    /// In: memory region, 0 for one of the port's own.
    pub nr_mem_id: u16,
    /// Padding.
    pub pad1: u16,
}
abi_struct!(nmreq_vale_newif, size 16, align 4, {
    nr_tx_slots 0, nr_rx_slots 4, nr_tx_rings 8, nr_rx_rings 10, nr_mem_id 12, pad1 14,
});

/// Body of `NETMAP_REQ_VALE_POLLING_ENABLE` and `NETMAP_REQ_VALE_POLLING_DISABLE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_vale_polling {
    /// In: `NETMAP_POLLING_MODE_*`.
    pub nr_mode: u32,
    /// In: first processor.
    pub nr_first_cpu_id: u32,
    /// In: number of processors.
    pub nr_num_polling_cpus: u32,
    /// Padding.
    pub pad1: u32,
}
abi_struct!(nmreq_vale_polling, size 16, align 4, {
    nr_mode 0, nr_first_cpu_id 4, nr_num_polling_cpus 8, pad1 12,
});

/// Polling mode: one processor polls all rings.
pub const NETMAP_POLLING_MODE_SINGLE_CPU: u32 = 1;
/// Polling mode: ring `i` is polled by processor `nr_first_cpu_id + i`.
pub const NETMAP_POLLING_MODE_MULTI_CPU: u32 = 2;

/// Body of `NETMAP_REQ_POOLS_INFO_GET`, and part of the EXTMEM option. Offsets count from the
/// start of the region; object sizes are in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_pools_info {
    /// Out: bytes of the region.
    pub nr_memsize: u64,
    /// In/out: memory region.
    pub nr_mem_id: u16,
    /// Padding.
    pub pad1: [u16; 3],
    /// Out: where the `netmap_if` pool starts.
    pub nr_if_pool_offset: u64,
    /// Out: objects in the `netmap_if` pool.
    pub nr_if_pool_objtotal: u32,
    /// Out: bytes of each.
    pub nr_if_pool_objsize: u32,
    /// Out: where the ring pool starts.
    pub nr_ring_pool_offset: u64,
    /// Out: objects in the ring pool.
    pub nr_ring_pool_objtotal: u32,
    /// Out: bytes of each.
    pub nr_ring_pool_objsize: u32,
    /// Out: where the buffer pool starts.
    pub nr_buf_pool_offset: u64,
    /// Out: buffers in the buffer pool.
    pub nr_buf_pool_objtotal: u32,
    /// Out: bytes of each.
    pub nr_buf_pool_objsize: u32,
}
abi_struct!(nmreq_pools_info, size 64, align 8, {
    nr_memsize 0, nr_mem_id 8, pad1 10, nr_if_pool_offset 16, nr_if_pool_objtotal 24,
    nr_if_pool_objsize 28, nr_ring_pool_offset 32, nr_ring_pool_objtotal 40,
    nr_ring_pool_objsize 44, nr_buf_pool_offset 48, nr_buf_pool_objtotal 56,
    nr_buf_pool_objsize 60,
});

/// Body of `NETMAP_REQ_SYNC_KLOOP_START`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_sync_kloop_start {
    /// In: microseconds to sleep when there is nothing to do.
    pub sleep_us: u32,
    /// Padding.
    pub pad1: u32,
}
abi_struct!(nmreq_sync_kloop_start, size 8, align 4, { sleep_us 0, pad1 4 });
