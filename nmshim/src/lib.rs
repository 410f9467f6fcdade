//! nmshim: what stands between an unchanged netmap program and its C library.
//!
//! - `ground`: the kernel past libc, the functions behind ours, sections, locks: what both others stand on.
//! - `interpose`: the C library's calls, and how a descriptor of ours behaves in them.
//! - [`device`]: the seam; two traits.
//! - `netmap`: the driver behind the seam, over `uvale-engine` and `uvale-link`.
//!
//! Interposition trusts the driver and nobody trusts the program: a panic stops at the seam.

pub mod device;
mod ground;
mod interpose;
mod netmap;

use core::sync::atomic::{AtomicPtr, Ordering::*};
use device::Driver;

/// A driver that takes the place of the built-in one, behind one more reference to make it a thin pointer.
static INSTALLED: AtomicPtr<&'static dyn Driver> = AtomicPtr::new(core::ptr::null_mut());

/// Puts `driver` in the place of the built-in one, for tests of interposition alone. Before the first open.
pub fn install(driver: &'static &'static dyn Driver) {
    INSTALLED.store(core::ptr::from_ref(driver).cast_mut(), Release);
}

/// The driver behind the seam.
pub fn driver() -> &'static dyn Driver {
    // SAFETY: null or a reference that lives forever, from `install`.
    match unsafe { INSTALLED.load(Acquire).as_ref() } {
        Some(d) => *d,
        None => &netmap::NETMAP,
    }
}
