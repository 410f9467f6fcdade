//! The CSB as 32-bit words, for whoever shares it with a guest and reads and writes it a word at a time.

use core::mem::offset_of;

use crate::{nm_csb_atok, nm_csb_ktoa};

/// Words of an entry, the same in both arrays.
pub const ENTRY: usize = size_of::<nm_csb_atok>() / 4;
const _: () = assert!(size_of::<nm_csb_ktoa>() == ENTRY * 4);

/// Word of an [`nm_csb_atok`]: `head`.
pub const HEAD: usize = offset_of!(nm_csb_atok, head) / 4;
/// `cur`.
pub const CUR: usize = offset_of!(nm_csb_atok, cur) / 4;
/// `appl_need_kick`.
pub const APPL_NEED_KICK: usize = offset_of!(nm_csb_atok, appl_need_kick) / 4;
/// `sync_flags`.
pub const SYNC_FLAGS: usize = offset_of!(nm_csb_atok, sync_flags) / 4;
/// Word of an [`nm_csb_ktoa`]: `hwcur`.
pub const HWCUR: usize = offset_of!(nm_csb_ktoa, hwcur) / 4;
/// `hwtail`.
pub const HWTAIL: usize = offset_of!(nm_csb_ktoa, hwtail) / 4;
/// `kern_need_kick`.
pub const KERN_NEED_KICK: usize = offset_of!(nm_csb_ktoa, kern_need_kick) / 4;
