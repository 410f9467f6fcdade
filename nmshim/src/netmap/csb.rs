//! A CSB in the program's memory.
//!
//! The program may unmap it at any time, so the kernel does the reading and writing for us: what cannot
//! be read reads as zeroes, what cannot be written is lost, as in netmap. An entry is copied as whole
//! words, and head and cur, hwcur and hwtail are one word each.

use nm_abi::{AbiBytes, nm_csb_atok, nm_csb_ktoa, nmreq_opt_csb};
use uvale_engine::csb::{Csb, Wanted};
use uvale_request::OptionCopy;
use uvale_system::sys::{read_bytes, write_bytes};

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Its two arrays.
pub struct ProgramCsb {
    atok: u64,
    ktoa: u64,
    /// a bit for each of the first entries: its kern_need_kick is known to be 0, so a loop that wants
    /// it to be 0 again need not write it
    silent: AtomicU64,
    /// hwcur and hwtail of the first entries, as last written
    shown: [AtomicU64; 64],
    /// times that something was to be written
    writes: AtomicU64,
}

/// Now and then known values are written again: the program may have overwritten them.
const REFRESH: u64 = 64;

const HWCUR: u64 = core::mem::offset_of!(nm_csb_ktoa, hwcur) as u64;
const KERN_NEED_KICK: u64 = core::mem::offset_of!(nm_csb_ktoa, kern_need_kick) as u64;

impl ProgramCsb {
    pub fn new(atok: u64, ktoa: u64) -> Self {
        Self {
            atok,
            ktoa,
            silent: AtomicU64::new(0),
            shown: [const { AtomicU64::new(u64::MAX) }; 64],
            writes: AtomicU64::new(0),
        }
    }

    /// What the option says; `None` if it is too short.
    pub fn of(option: &OptionCopy) -> Option<Self> {
        let mut bytes = option.header.as_bytes().to_vec();
        bytes.extend_from_slice(&option.body);
        let option = nmreq_opt_csb::from_bytes(&bytes)?;
        Some(Self::new(option.csb_atok, option.csb_ktoa))
    }

    pub fn addresses(&self) -> (u64, u64) {
        (self.atok, self.ktoa)
    }

    /// Can `entries` be read and written? The loop's array is zero afterwards.
    pub fn is_accessible(&self, entries: usize) -> bool {
        let mut atok = vec![0; entries * size_of::<nm_csb_atok>()];
        let ktoa = vec![0; entries * size_of::<nm_csb_ktoa>()];
        read_bytes(self.atok, &mut atok) && write_bytes(self.ktoa, &ktoa)
    }

    fn is_time(&self) -> bool {
        self.writes.fetch_add(1, Relaxed).is_multiple_of(REFRESH)
    }

    fn atok_at(&self, i: usize) -> u64 {
        self.atok
            .wrapping_add((i * size_of::<nm_csb_atok>()) as u64)
    }

    fn ktoa_at(&self, i: usize) -> u64 {
        self.ktoa
            .wrapping_add((i * size_of::<nm_csb_ktoa>()) as u64)
    }
}

impl Csb for ProgramCsb {
    fn read(&self, i: usize) -> Wanted {
        let mut entry = nm_csb_atok::zeroed();
        let head = &mut entry.as_bytes_mut()[..16];
        if !read_bytes(self.atok_at(i), head) {
            return Wanted::default();
        }
        Wanted {
            head: entry.head,
            cur: entry.cur,
            need_kick: entry.appl_need_kick != 0,
        }
    }

    fn show(&self, i: usize, hwcur: u32, hwtail: u32) {
        // Neighbours in memory, hwcur first.
        let both = u64::from(hwcur) | u64::from(hwtail) << 32;
        let last = self.shown.get(i);
        if last.is_some_and(|last| last.swap(both, Relaxed) == both) && !self.is_time() {
            return;
        }
        let _ = write_bytes(self.ktoa_at(i).wrapping_add(HWCUR), &both.to_le_bytes());
    }

    fn want_kick(&self, i: usize, on: bool) {
        let bit = 1u64.checked_shl(i as u32).unwrap_or(0);
        let was_silent = if on {
            self.silent.fetch_and(!bit, Relaxed)
        } else {
            self.silent.fetch_or(bit, Relaxed)
        } & bit
            != 0;
        if was_silent && !on && !self.is_time() {
            return;
        }
        let value = u32::from(on).to_ne_bytes();
        let _ = write_bytes(self.ktoa_at(i).wrapping_add(KERN_NEED_KICK), &value);
    }

    fn init(&self, i: usize, wanted: Wanted, hwcur: u32, hwtail: u32) {
        let mut atok = nm_csb_atok::zeroed();
        (atok.head, atok.cur) = (wanted.head, wanted.cur);
        (atok.appl_need_kick, atok.sync_flags) = (wanted.need_kick.into(), 1);
        let _ = write_bytes(self.atok_at(i), &atok.as_bytes()[..16]);
        self.show(i, hwcur, hwtail);
        self.want_kick(i, true);
    }
}
