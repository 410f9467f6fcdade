//! Interposition: the C library's calls on descriptors that are ours.
//!
//! - `symbols`: the one list of what is interposed; exports and the functions behind ours.
//! - `table`, `slot`: which descriptors are ours (one load), and the descriptions behind them.
//! - `names`, `open`, `stat`, `nodes`, `listing`, `parameter`: what exists only here, as files.
//! - `file`, `fds`, `syscall`, `process`: descriptors and their lives.
//! - `locked`: mlockall.
//! - `mapped`, `ranges`: mappings of devices, which keep them open.
//! - `wait`, `select`, `epoll`, `armed`: waiting, mixed with ordinary descriptors, in one real system call.
//! - `sanitizer`: what AddressSanitizer's runtime asks for.
//! - `section`, `handlers`, `signals`: our code as a system call: no handler in the middle of it, no cancellation.
//! - `memory`: the program's pointers. `lock`, `inline`, `heap`, `raw`: a lock,
//!   a list, memory and the kernel, none of which calls libc.
//!
//! Every entry point asks the table and either does the work or calls the next library's function.
//! On ordinary descriptors there is no allocation, no lock, no thread-local data. Nothing here needs the constructor
//! to have run. A vfork child never changes the table (`process::borrowed_memory`). Threads may
//! close a description while others use it: users hold counted references.
//!
//! Lock order: an epoll set's lock before those of sets nested in it; the driver is called with them held. That of
//! `mapped` comes last.

mod armed;
mod epoll;
mod fds;
mod file;
mod handlers;
mod heap;
mod inline;
mod listing;
mod lock;
mod locked;
mod mapped;
mod memory;
mod names;
mod nodes;
mod open;
mod parameter;
mod process;
mod ranges;
mod raw;
mod sanitizer;
mod section;
mod select;
mod signals;
mod slot;
mod stat;
mod symbols;
mod syscall;
mod table;
mod wait;

pub use lock::{Lock, Locked};
pub use section::breathe;

use crate::device::Result;
use core::ffi::c_void;
use libc::c_int;
use std::os::fd::RawFd;

/// mmap past the program and past ourselves, for a driver that maps a descriptor of its own in the
/// place of the device.
pub fn map(
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: RawFd,
    offset: i64,
) -> Result<*mut c_void> {
    let args = [
        addr as usize,
        len,
        prot as usize,
        flags as usize,
        fd as usize,
        offset as usize,
    ];
    // SAFETY: what the program asked for, with another descriptor: MAP_FIXED may replace the program's
    // own memory at its own word.
    raw::check(unsafe { raw::call(libc::SYS_mmap, args) }).map(|p| p as *mut c_void)
}

/// Takes back a [`map`] that nobody has been told of.
pub fn unmap(addr: *mut c_void, len: usize) {
    // SAFETY: nobody has an address in it.
    let _ = unsafe { raw::call(libc::SYS_munmap, [addr as usize, len, 0, 0, 0, 0]) };
}
