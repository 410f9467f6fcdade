//! A vfork child runs on its parent's memory, with a descriptor table and signal handlers of its own: what this
//! process knows of those must not change there.

use super::raw;
use core::sync::atomic::{AtomicI32, Ordering::*};

/// Whose memory this is; 0 until the library is loaded.
static PID: AtomicI32 = AtomicI32::new(0);

/// The library was loaded, or this is the child of a fork, with memory of its own.
pub fn own_memory() {
    PID.store(raw::getpid(), Release);
}

/// Are we a vfork child, on the parent's memory with a descriptor table of our own? One system call:
/// asked only when what this process knows is about to change.
pub fn borrowed_memory() -> bool {
    let pid = PID.load(Acquire);
    pid != 0 && pid != raw::getpid()
}
