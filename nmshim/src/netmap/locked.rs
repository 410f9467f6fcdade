//! mlockall: the program locks its own memory. What this library has mapped for itself is neither locked nor filled:
//! other ports' memory, control memory, and its second mapping of the region, whose pages are locked by the program's
//! own mapping.

use libc::c_int;
use rustix::mm::{MlockFlags, mlock, mlock_with};
use rustix::process::{Resource, getrlimit};
use uvale_shared::shm::{own_mappings, unlock_own_mappings};

use super::maps::{self, Area};
use crate::device::{Errno, Result};

/// Locks as `flags` of mlockall say; `lock` is the call itself.
pub fn lock_all(flags: c_int, lock: &dyn Fn(c_int) -> Result<()>) -> Result<()> {
    if flags & libc::MCL_CURRENT == 0 || own_mappings().next().is_none() {
        return lock(flags);
    }
    let lock_and_unlock_ours = |flags| {
        let locked = lock(flags);
        unlock_own_mappings();
        locked
    };
    // This way nothing is filled yet.
    match lock_and_unlock_ours(flags | libc::MCL_ONFAULT) {
        Ok(()) if flags & libc::MCL_ONFAULT == 0 => {
            // Where there is no /proc, ours is filled with the rest.
            lock_each(flags, lock, true).or_else(|_| lock_and_unlock_ours(flags))
        }
        Err(Errno(libc::ENOMEM)) => lock_each(flags, lock, false),
        other => other,
    }
}

/// Locks the program's own memory and netmap's as the program has it mapped, and fills them if `flags` say so. Unless
/// the limit `is_enough` for all that is mapped, it has to be for the program's own memory; netmap's, which the kernel
/// never swaps, is then locked as far as there is room.
fn lock_each(flags: c_int, lock: &dyn Fn(c_int) -> Result<()>, is_enough: bool) -> Result<()> {
    const NO_MEMORY: Errno = Errno(libc::ENOMEM);
    let all = maps::all().map_err(|_| NO_MEMORY)?;
    let own: Vec<(u64, u64)> = own_mappings()
        .map(|(at, len)| (at as u64, (at + len) as u64))
        .collect();
    let is_own = |a: &&Area| {
        own.iter()
            .any(|(start, end)| a.start >= *start && a.end <= *end)
    };
    let (ours, others): (Vec<&Area>, Vec<&Area>) = all.iter().partition(is_own);
    let is_netmaps = |a: &&&Area| {
        ours.iter()
            .any(|o| a.ino != 0 && (o.dev, o.ino) == (a.dev, a.ino))
    };
    let (shared, rest): (Vec<&Area>, Vec<&Area>) = others.iter().partition(is_netmaps);
    let bytes: u64 = rest.iter().map(|a| a.end - a.start).sum();
    let limit = getrlimit(Resource::Memlock).current;
    if !is_enough && limit.is_none_or(|limit| bytes > limit) {
        return Err(NO_MEMORY);
    }
    if flags & libc::MCL_FUTURE != 0 {
        lock(flags & !libc::MCL_CURRENT)?;
    }
    let on_fault = flags & libc::MCL_ONFAULT != 0;
    for area in rest.iter().chain(&shared) {
        let at = core::ptr::with_exposed_provenance_mut(area.start as usize);
        let len = (area.end - area.start) as usize;
        // As with mlockall: what cannot be read, or has gone meanwhile, is no error.
        // SAFETY: changes nothing but whether the pages may be written to swap.
        let _ = unsafe {
            match on_fault {
                true => mlock_with(at, len, MlockFlags::ONFAULT),
                false => mlock(at, len),
            }
        };
    }
    Ok(())
}
