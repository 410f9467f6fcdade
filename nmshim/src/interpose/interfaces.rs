//! Network interfaces that the kernel does not know: they are added to what it says, and nothing that it says is
//! changed.
//!
//! - `requests`: socket ioctls. `lists`: getifaddrs, if_nameindex and their kin. `files`: `/sys/class/net`.
//!
//! The kernel is asked first everywhere. A name that it knows is its own.

pub mod files;
pub mod lists;
pub mod requests;

use super::handlers;
use crate::device::{Interface, InterfaceChange, Result};
use crate::driver;
use crate::ground::guarded::guarded;

/// All of them.
pub fn all() -> Vec<Interface> {
    handlers::take_over();
    guarded(Vec::new(), || driver().interfaces())
}

/// The first that is `wanted`.
pub fn find(wanted: impl FnMut(&Interface) -> bool) -> Option<Interface> {
    all().into_iter().find(wanted)
}

/// The one of this name.
pub fn named(name: &[u8]) -> Option<Interface> {
    find(|i| i.name == name)
}

/// Changes the one with this number.
pub fn change(index: u32, change: InterfaceChange) -> Result<()> {
    let otherwise = Err(crate::device::Errno(libc::EIO));
    guarded(otherwise, || driver().change_interface(index, change))
}
