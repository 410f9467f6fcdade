//! A guest's RAM, mapped from the descriptors that its front end passes.
//!
//! The guest, and whoever else has the descriptors, may write it at any time, so whoever reads a value reads it once
//! and checks the copy. Cutting the file short behind our back is SIGBUS (`sigbus.rs`).

use std::fs::File;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use crate::guest_memory::check_file;

/// Regions at most.
pub const MOST_REGIONS: usize = 64;

/// Where a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// its address in the guest
    pub guest: u64,
    /// its address in the front end, which names rings by such addresses
    pub user: u64,
    /// bytes
    pub len: u64,
    /// where in the file it begins
    pub offset: u64,
}

/// What is mapped.
#[derive(Default)]
pub struct GuestRam {
    places: Vec<Place>,
    memory: GuestMemoryMmap,
}

impl GuestRam {
    /// All of it, by the guest's addresses.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Maps another region.
    ///
    /// # Errors
    /// A sentence: the descriptor cannot be mapped, or is shorter than the region, or there is another region there.
    pub fn add(&mut self, place: Place, fd: OwnedFd) -> Result<(), String> {
        let shown = || {
            format!(
                "{} bytes of the guest's RAM at {:#x}",
                place.len, place.guest
            )
        };
        if self.places.len() >= MOST_REGIONS {
            return Err(format!(
                "the guest has more than {MOST_REGIONS} regions of RAM"
            ));
        }
        let size = usize::try_from(place.len).map_err(|_| format!("{}: too many", shown()))?;
        let overlaps =
            |a: u64, b: u64, len: u64| a < b.saturating_add(len) && b < a.saturating_add(place.len);
        if size == 0
            || self
                .places
                .iter()
                .any(|p| overlaps(place.user, p.user, p.len))
        {
            return Err(format!(
                "{}: another region is at the same address",
                shown()
            ));
        }
        let file = File::from(fd);
        check_file(&file, place.offset, place.len).map_err(|why| format!("{}: {why}", shown()))?;
        let file = FileOffset::new(file, place.offset);
        let mapped = MmapRegion::from_file(file, size).map_err(|e| {
            format!(
                "{} cannot be mapped: {e}; QEMU must keep the guest's RAM in a shared file: {}",
                shown(),
                shared_ram!("...")
            )
        })?;
        let region = GuestRegionMmap::new(mapped, GuestAddress(place.guest))
            .ok_or_else(|| format!("{}: it ends beyond the last address", shown()))?;
        self.memory = self
            .memory
            .insert_region(Arc::new(region))
            .map_err(|e| format!("{}: {e}", shown()))?;
        self.places.push(place);
        Ok(())
    }

    /// Unmaps a region; where in the file it begins does not count.
    pub fn remove(&mut self, place: Place) -> Result<(), String> {
        let is_it = |p: &Place| (p.guest, p.user, p.len) == (place.guest, place.user, place.len);
        let unknown = || format!("no region of {} bytes at {:#x}", place.len, place.guest);
        let at = self.places.iter().position(is_it).ok_or_else(unknown)?;
        let base = GuestAddress(place.guest);
        self.memory = self
            .memory
            .remove_region(base, place.len)
            .map_err(|_| unknown())?
            .0;
        self.places.swap_remove(at);
        Ok(())
    }

    /// The guest's address of what is at `user` in the front end.
    pub fn guest_address(&self, user: u64) -> Option<GuestAddress> {
        let place = self
            .places
            .iter()
            .find(|p| user >= p.user && user - p.user < p.len)?;
        Some(GuestAddress(place.guest + (user - place.user)))
    }
}
