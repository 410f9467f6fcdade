//! Everything in the crate, by name, for the comparison with C.

use nm_abi::*;

/// A structure of the crate.
pub struct Struct {
    /// Its name in C as bindgen gives it.
    pub c_name: &'static str,
    pub size: usize,
    pub align: usize,
    /// Name, offset and size of each field.
    pub fields: Vec<(&'static str, usize, usize)>,
}

fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! structs {
    ($($c_name:literal = $name:ident { $($field:ident),* })*) => {
        vec![$(Struct {
            c_name: $c_name,
            size: size_of::<$name>(),
            align: align_of::<$name>(),
            fields: vec![$((
                stringify!($field),
                std::mem::offset_of!($name, $field),
                size_of_field(|value: &$name| &value.$field),
            )),*],
        }),*]
    };
}

#[rustfmt::skip]
pub fn structs() -> Vec<Struct> {
    structs! {
        "timeval" = timeval { tv_sec, tv_usec }
        "netmap_slot" = netmap_slot { buf_idx, len, flags, ptr }
        "netmap_ring" = netmap_ring { buf_ofs, num_slots, nr_buf_size, ringid, dir, head, cur,
            tail, flags, _pad0, ts, offset_mask, buf_align, _pad1, sem, slot }
        "netmap_if" = netmap_if { ni_name, ni_version, ni_flags, ni_tx_rings, ni_rx_rings,
            ni_bufs_head, ni_host_tx_rings, ni_host_rx_rings, ni_spare1, ring_ofs }
        "nmreq_header" = nmreq_header { nr_version, nr_reqtype, nr_reserved, nr_name, nr_options,
            nr_body }
        "nmreq_register" = nmreq_register { nr_offset, nr_memsize, nr_tx_slots, nr_rx_slots,
            nr_tx_rings, nr_rx_rings, nr_host_tx_rings, nr_host_rx_rings, nr_mem_id, nr_ringid,
            nr_mode, nr_extra_bufs, _pad0, nr_flags }
        "nmreq_port_info_get" = nmreq_port_info_get { nr_memsize, nr_tx_slots, nr_rx_slots,
            nr_tx_rings, nr_rx_rings, nr_host_tx_rings, nr_host_rx_rings, nr_mem_id, pad }
        "nmreq_vale_attach" = nmreq_vale_attach { reg, port_index, pad1 }
        "nmreq_vale_detach" = nmreq_vale_detach { port_index, pad1 }
        "nmreq_vale_list" = nmreq_vale_list { nr_bridge_idx, pad1, nr_port_idx }
        "nmreq_port_hdr" = nmreq_port_hdr { nr_hdr_len, pad1 }
        "nmreq_vale_newif" = nmreq_vale_newif { nr_tx_slots, nr_rx_slots, nr_tx_rings,
            nr_rx_rings, nr_mem_id, pad1 }
        "nmreq_vale_polling" = nmreq_vale_polling { nr_mode, nr_first_cpu_id,
            nr_num_polling_cpus, pad1 }
        "nmreq_pools_info" = nmreq_pools_info { nr_memsize, nr_mem_id, pad1, nr_if_pool_offset,
            nr_if_pool_objtotal, nr_if_pool_objsize, nr_ring_pool_offset, nr_ring_pool_objtotal,
            nr_ring_pool_objsize, nr_buf_pool_offset, nr_buf_pool_objtotal, nr_buf_pool_objsize }
        "nmreq_sync_kloop_start" = nmreq_sync_kloop_start { sleep_us, pad1 }
        "nmreq_option" = nmreq_option { nro_next, nro_reqtype, nro_status, nro_size }
        "nmreq_opt_extmem" = nmreq_opt_extmem { nro_opt, nro_usrptr, nro_info }
        "nmreq_opt_sync_kloop_eventfds__bindgen_ty_1" = nm_kloop_eventfds { ioeventfd, irqfd }
        "nmreq_opt_sync_kloop_eventfds" = nmreq_opt_sync_kloop_eventfds { nro_opt, eventfds }
        "nmreq_opt_sync_kloop_mode" = nmreq_opt_sync_kloop_mode { nro_opt, mode, _pad0 }
        "nmreq_opt_csb" = nmreq_opt_csb { nro_opt, csb_atok, csb_ktoa }
        "nmreq_opt_offsets" = nmreq_opt_offsets { nro_opt, nro_max_offset, nro_initial_offset,
            nro_offset_bits, nro_tx_align, nro_min_gap }
        "nm_csb_atok" = nm_csb_atok { head, cur, appl_need_kick, sync_flags, pad }
        "nm_csb_ktoa" = nm_csb_ktoa { hwcur, hwtail, kern_need_kick, pad }
        "nmreq" = nmreq { nr_name, nr_version, nr_offset, nr_memsize, nr_tx_slots, nr_rx_slots,
            nr_tx_rings, nr_rx_rings, nr_ringid, nr_cmd, nr_arg1, nr_arg2, nr_arg3, nr_flags,
            spare2 }
        "nm_ifreq" = nm_ifreq { nifr_name, data }
    }
}

macro_rules! by_name {
    ($($name:ident)*) => { vec![$((stringify!($name), $name as i128)),*] };
}

/// Numbers under their C names.
pub fn numbers() -> Vec<(&'static str, i128)> {
    use nm_abi::virt::*;
    by_name! {
        NETMAP_API NETMAP_MIN_API NETMAP_MAX_API NM_CACHE_ALIGN NETMAP_MAX_FRAGS IFNAMSIZ
        NS_BUF_CHANGED NS_REPORT NS_FORWARD NS_NO_LEARN NS_INDIRECT NS_MOREFRAG NS_TXMON
        NS_PORT_SHIFT NS_PORT_MASK NR_TIMESTAMP NR_FORWARD NI_PRIV_MEM NETMAP_REQ_MAXSIZE
        NETMAP_REQ_IFNAMSIZ NETMAP_REQ_REGISTER NETMAP_REQ_PORT_INFO_GET NETMAP_REQ_VALE_ATTACH
        NETMAP_REQ_VALE_DETACH NETMAP_REQ_VALE_LIST NETMAP_REQ_PORT_HDR_SET
        NETMAP_REQ_PORT_HDR_GET NETMAP_REQ_VALE_NEWIF NETMAP_REQ_VALE_DELIF
        NETMAP_REQ_VALE_POLLING_ENABLE NETMAP_REQ_VALE_POLLING_DISABLE NETMAP_REQ_POOLS_INFO_GET
        NETMAP_REQ_SYNC_KLOOP_START NETMAP_REQ_SYNC_KLOOP_STOP NETMAP_REQ_CSB_ENABLE
        NR_MONITOR_TX NR_MONITOR_RX NR_ZCOPY_MON NR_EXCLUSIVE NR_RX_RINGS_ONLY NR_TX_RINGS_ONLY
        NR_ACCEPT_VNET_HDR NR_DO_RX_POLL NR_NO_TX_POLL NR_REG_DEFAULT NR_REG_ALL_NIC NR_REG_SW
        NR_REG_NIC_SW NR_REG_ONE_NIC NR_REG_PIPE_MASTER NR_REG_PIPE_SLAVE NR_REG_NULL
        NR_REG_ONE_SW NETMAP_POLLING_MODE_SINGLE_CPU NETMAP_POLLING_MODE_MULTI_CPU
        NETMAP_REQ_OPT_EXTMEM NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS NETMAP_REQ_OPT_CSB
        NETMAP_REQ_OPT_SYNC_KLOOP_MODE NETMAP_REQ_OPT_OFFSETS NETMAP_REQ_OPT_MAX
        NM_OPT_SYNC_KLOOP_DIRECT_TX NM_OPT_SYNC_KLOOP_DIRECT_RX NETMAP_HW_RING NETMAP_SW_RING
        NETMAP_RING_MASK NETMAP_NO_TX_POLL NETMAP_DO_RX_POLL NETMAP_BDG_ATTACH NETMAP_BDG_DETACH
        NETMAP_BDG_REGOPS NETMAP_BDG_LIST NETMAP_BDG_VNET_HDR NETMAP_BDG_NEWIF NETMAP_BDG_DELIF
        NETMAP_PT_HOST_CREATE NETMAP_PT_HOST_DELETE NETMAP_BDG_POLLING_ON NETMAP_BDG_POLLING_OFF
        NETMAP_VNET_HDR_GET NETMAP_BDG_HOST NR_REG_MASK NM_IFRDATA_LEN NIOCGINFO NIOCREGIF
        NIOCTXSYNC NIOCRXSYNC NIOCCONFIG NIOCCTRL PTNETMAP_PCI_VENDOR_ID PTNETMAP_PCI_DEVICE_ID
        PTNETMAP_PCI_NETIF_ID PTNETMAP_IO_PCI_BAR PTNETMAP_MEM_PCI_BAR PTNETMAP_MSIX_PCI_BAR
        PTNET_MDEV_IO_MEMSIZE_LO PTNET_MDEV_IO_MEMSIZE_HI PTNET_MDEV_IO_MEMID
        PTNET_MDEV_IO_IF_POOL_OFS PTNET_MDEV_IO_IF_POOL_OBJNUM PTNET_MDEV_IO_IF_POOL_OBJSZ
        PTNET_MDEV_IO_RING_POOL_OFS PTNET_MDEV_IO_RING_POOL_OBJNUM PTNET_MDEV_IO_RING_POOL_OBJSZ
        PTNET_MDEV_IO_BUF_POOL_OFS PTNET_MDEV_IO_BUF_POOL_OBJNUM PTNET_MDEV_IO_BUF_POOL_OBJSZ
        PTNET_MDEV_IO_END PTNETMAP_F_VNET_HDR PTNET_IO_PTFEAT PTNET_IO_PTCTL PTNET_IO_MAC_LO
        PTNET_IO_MAC_HI PTNET_IO_CSBBAH PTNET_IO_CSBBAL PTNET_IO_NIFP_OFS PTNET_IO_NUM_TX_RINGS
        PTNET_IO_NUM_RX_RINGS PTNET_IO_NUM_TX_SLOTS PTNET_IO_NUM_RX_SLOTS PTNET_IO_VNET_HDR_LEN
        PTNET_IO_HOSTMEMID PTNET_IO_CSB_GH_BAH PTNET_IO_CSB_GH_BAL PTNET_IO_CSB_HG_BAH
        PTNET_IO_CSB_HG_BAL PTNET_IO_END PTNET_IO_KICK_BASE PTNET_IO_MASK PTNETMAP_PTCTL_CREATE
        PTNETMAP_PTCTL_DELETE
    }
}

/// Strings under their C names. (`/dev/netmap` is in `net/netmap_user.h`.)
pub fn strings() -> [(&'static str, &'static str); 2] {
    [
        ("NM_BDG_NAME", NM_BDG_NAME),
        ("PTNETMAP_MEMDEV_NAME", virt::PTNETMAP_MEMDEV_NAME),
    ]
}
