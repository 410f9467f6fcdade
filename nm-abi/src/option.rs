//! Options of `NIOCCTRL` requests: a linked list of structures that all start with
//! [`nmreq_option`]; and the CSB entries that two of them are about.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::bytes::abi_struct;
use crate::nmreq_pools_info;

/// Head of every option.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_option {
    /// In: user address of the next option, or 0.
    pub nro_next: u64,
    /// In: `NETMAP_REQ_OPT_*`.
    pub nro_reqtype: u32,
    /// Out: 0 when the option was obeyed, else an errno.
    pub nro_status: u32,
    /// In: bytes of the whole option where that varies, else 0.
    pub nro_size: u64,
}
abi_struct!(nmreq_option, size 24, align 8, {
    nro_next 0, nro_reqtype 8, nro_status 12, nro_size 16,
});

/// REGISTER: use the program's own memory as the region; [`nmreq_opt_extmem`].
pub const NETMAP_REQ_OPT_EXTMEM: u32 = 1;
/// SYNC_KLOOP_START: notify through eventfds; [`nmreq_opt_sync_kloop_eventfds`].
pub const NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS: u32 = 2;
/// REGISTER and CSB_ENABLE: exchange ring pointers through the CSB; [`nmreq_opt_csb`].
pub const NETMAP_REQ_OPT_CSB: u32 = 3;
/// SYNC_KLOOP_START: sync in the notifier's context; [`nmreq_opt_sync_kloop_mode`].
pub const NETMAP_REQ_OPT_SYNC_KLOOP_MODE: u32 = 4;
/// REGISTER: packets start at an offset in their buffers; [`nmreq_opt_offsets`].
pub const NETMAP_REQ_OPT_OFFSETS: u32 = 5;
/// One more than the last option number.
pub const NETMAP_REQ_OPT_MAX: u32 = 6;

/// Option `NETMAP_REQ_OPT_EXTMEM`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_opt_extmem {
    /// Head.
    pub nro_opt: nmreq_option,
    /// In: user address of the memory.
    pub nro_usrptr: u64,
    /// In/out: sizes wanted and sizes reached.
    pub nro_info: nmreq_pools_info,
}
abi_struct!(nmreq_opt_extmem, size 96, align 8, { nro_opt 0, nro_usrptr 24, nro_info 32 });

/// One entry of [`nmreq_opt_sync_kloop_eventfds`] (anonymous in C).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nm_kloop_eventfds {
    /// In: eventfd that the program signals, or negative.
    pub ioeventfd: i32,
    /// In: eventfd that the loop signals, or negative.
    pub irqfd: i32,
}
abi_struct!(nm_kloop_eventfds, size 8, align 4, { ioeventfd 0, irqfd 4 });

/// Option `NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS`; one entry per ring follows, tx rings first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_opt_sync_kloop_eventfds {
    /// Head; `nro_size` tells the size with all entries.
    pub nro_opt: nmreq_option,
    /// In: the entries.
    pub eventfds: [nm_kloop_eventfds; 0],
}
abi_struct!(nmreq_opt_sync_kloop_eventfds, size 24, align 8, { nro_opt 0, eventfds 24 });

/// Option `NETMAP_REQ_OPT_SYNC_KLOOP_MODE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_opt_sync_kloop_mode {
    /// Head.
    pub nro_opt: nmreq_option,
    /// In: `NM_OPT_SYNC_KLOOP_*`.
    pub mode: u32,
    /// Padding.
    pub _pad0: u32,
}
abi_struct!(nmreq_opt_sync_kloop_mode, size 32, align 8, { nro_opt 0, mode 24, _pad0 28 });

/// Kloop mode: sync tx rings in the context of the notification.
pub const NM_OPT_SYNC_KLOOP_DIRECT_TX: u32 = 1 << 0;
/// Kloop mode: sync rx rings in the context of the notification.
pub const NM_OPT_SYNC_KLOOP_DIRECT_RX: u32 = 1 << 1;

/// Option `NETMAP_REQ_OPT_CSB`: user addresses of two arrays with one entry per ring, tx first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_opt_csb {
    /// Head.
    pub nro_opt: nmreq_option,
    /// In: array of [`nm_csb_atok`].
    pub csb_atok: u64,
    /// In: array of [`nm_csb_ktoa`].
    pub csb_ktoa: u64,
}
abi_struct!(nmreq_opt_csb, size 40, align 8, { nro_opt 0, csb_atok 24, csb_ktoa 32 });

/// Option `NETMAP_REQ_OPT_OFFSETS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nmreq_opt_offsets {
    /// Head.
    pub nro_opt: nmreq_option,
    /// In/out: largest offset in bytes.
    pub nro_max_offset: u64,
    /// In: offset in bytes that all slots start with.
    pub nro_initial_offset: u64,
    /// In/out: low bits of `slot.ptr` that hold the offset, 0 for all.
    pub nro_offset_bits: u32,
    /// In: alignment in bytes of packet starts in tx slots.
    pub nro_tx_align: u32,
    /// Reserved, 0.
    pub nro_min_gap: u64,
}
abi_struct!(nmreq_opt_offsets, size 56, align 8, {
    nro_opt 0, nro_max_offset 24, nro_initial_offset 32, nro_offset_bits 40, nro_tx_align 44,
    nro_min_gap 48,
});

/// CSB entry written by the program and read by the loop.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nm_csb_atok {
    /// The program's `head`.
    pub head: u32,
    /// The program's `cur`.
    pub cur: u32,
    /// Not 0 when the program wants to be notified.
    pub appl_need_kick: u32,
    /// Flags for the next sync.
    pub sync_flags: u32,
    /// Padding to 64 bytes.
    pub pad: [u32; 12],
}
abi_struct!(nm_csb_atok, size 64, align 4, {
    head 0, cur 4, appl_need_kick 8, sync_flags 12, pad 16,
});

/// CSB entry written by the loop and read by the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct nm_csb_ktoa {
    /// netmap's `hwcur`.
    pub hwcur: u32,
    /// netmap's `hwtail`.
    pub hwtail: u32,
    /// Not 0 when the loop wants to be notified.
    pub kern_need_kick: u32,
    /// Padding to 64 bytes.
    pub pad: [u32; 13],
}
abi_struct!(nm_csb_ktoa, size 64, align 4, { hwcur 0, hwtail 4, kern_need_kick 8, pad 12 });
