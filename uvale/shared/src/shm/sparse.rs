//! A memfd of tables of which a process needs the beginnings: each is mapped as far as it has been
//! asked for, at an address of which nobody is told, with room behind it to grow.
//!
//! A process pays for what is mapped, whether it is touched or not, when there is a limit to what it
//! may map or lock into memory.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use super::own::{grow, map, map_whole, unmap};
use super::{Memfd, Shared};

/// Bytes by which a table grows.
const STEP: usize = 64 << 10;
/// Addresses that are tried for a place with room.
const PLACES: u32 = 8;
/// Where those lie: far from where programs, their libraries, heaps and stacks are. Needs addresses of
/// 47 bits.
const PLACES_FROM: usize = 0x1100_0000_0000;
/// A multiple of this is added.
const APART: usize = 1 << 30;
/// How often.
const CHOICE: u64 = 0x2000;

/// A part of the memfd, whole pages.
#[derive(Debug)]
struct Part {
    ofs: usize,
    len: usize,
    /// bytes that are mapped
    mapped: AtomicUsize,
}

/// A memfd of `N` parts one behind the other.
#[derive(Debug)]
pub struct Sparse<const N: usize> {
    base: NonNull<u8>,
    parts: [Part; N],
    /// it is one mapping
    whole: bool,
}

// SAFETY: plain memory, valid in every thread until drop; all access goes through atomics.
unsafe impl<const N: usize> Send for Sparse<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for Sparse<N> {}

impl<const N: usize> Sparse<N> {
    /// Maps all of `memfd`, which has parts of the given lengths.
    pub fn whole(memfd: &Memfd, lens: [usize; N]) -> Result<Self, Errno> {
        if memfd.len() < lens.iter().sum() {
            return Err(Errno::INVAL);
        }
        let base = map_whole(memfd, lens.iter().sum())?;
        let parts = parts(lens);
        for part in &parts {
            part.mapped.store(part.len, Ordering::Relaxed);
        }
        Ok(Self {
            base,
            parts,
            whole: true,
        })
    }

    /// Maps the beginnings of the parts, or all of `memfd` if there is no place with room to grow, or it has
    /// several parts: a mapping grows in one file.
    pub fn beginnings(memfd: &Memfd, lens: [usize; N]) -> Result<Self, Errno> {
        if memfd.len() < lens.iter().sum() {
            return Err(Errno::INVAL);
        }
        let is_one = memfd.parts().len() == 1;
        for _ in 0..if is_one { PLACES } else { 0 } {
            let at = PLACES_FROM + (uvale_system::sys::random() % CHOICE) as usize * APART;
            if let Some(mapped) = Self::at(memfd, lens, at) {
                return Ok(mapped);
            }
        }
        Self::whole(memfd, lens)
    }

    fn at(memfd: &Memfd, lens: [usize; N], at: usize) -> Option<Self> {
        let base = NonNull::new(core::ptr::with_exposed_provenance_mut(at))?;
        // What is mapped so far goes again if the rest fails.
        let made = Self {
            base,
            parts: parts(lens),
            whole: false,
        };
        for part in &made.parts {
            let first = part.len.min(STEP);
            let start = map(memfd, part.ofs as u64, first, Some(at + part.ofs)).ok()?;
            memfd.pages().advise(start.as_ptr(), first);
            part.mapped.store(first, Ordering::Release);
        }
        Some(made)
    }

    /// Record `i` of the table that part `part` is.
    #[inline(always)]
    pub fn record<T: Shared>(&self, part: usize, i: u32) -> Option<&T> {
        const { assert!(align_of::<T>() <= 4096 && size_of::<T>().is_multiple_of(align_of::<T>())) };
        let (part, ofs) = (self.parts.get(part)?, i as usize * size_of::<T>());
        let end = ofs + size_of::<T>();
        if end > part.mapped.load(Ordering::Relaxed) && !self.reach(part, end) {
            return None;
        }
        // SAFETY: the first `mapped` bytes of the part are mapped as long as `self` lives. Parts begin
        // on a page, so records are aligned. `T: Shared` is valid for every bit pattern and made of
        // atomics, so other processes may write at the same time.
        Some(unsafe { &*self.base.as_ptr().add(part.ofs + ofs).cast::<T>() })
    }

    /// Maps a part up to `end`, if it has so much.
    #[cold]
    fn reach(&self, part: &Part, end: usize) -> bool {
        if end > part.len {
            return false;
        }
        // SAFETY: inside the address range of `self`.
        let base = unsafe { self.base.add(part.ofs) };
        loop {
            let mapped = part.mapped.load(Ordering::Acquire);
            if mapped >= end {
                return true;
            }
            // One step at a time, the same for all who do it at the same time.
            let to = (mapped + STEP).min(part.len);
            if grow(base, mapped, to).is_err() {
                return part.mapped.load(Ordering::Acquire) >= end;
            }
            part.mapped.fetch_max(to, Ordering::AcqRel);
        }
    }
}

fn parts<const N: usize>(lens: [usize; N]) -> [Part; N] {
    let mut end = 0;
    lens.map(|len| {
        let ofs = end;
        end += len;
        Part {
            ofs,
            len,
            mapped: AtomicUsize::new(0),
        }
    })
}

impl<const N: usize> Drop for Sparse<N> {
    fn drop(&mut self) {
        let base = self.base.as_ptr();
        if self.whole {
            return unmap(base, self.parts.iter().map(|p| p.len).sum());
        }
        for part in &self.parts {
            let mapped = part.mapped.load(Ordering::Acquire);
            if mapped > 0 {
                unmap(base.wrapping_add(part.ofs), mapped);
            }
        }
    }
}
