//! io_uring: what event loops register in a ring never comes to us. A set would not be known to hold a device, and a
//! wait for it would not sync. Where there is no ring they use epoll and poll
//! ([decision 17](../../../docs/design/0017-no-io-uring-by-default.md)).
//!
//! Rings are set up by `syscall`, or through liburing, which makes its system calls itself.

use crate::ground::next;
use libc::{c_int, c_uint, c_void, size_t};

/// May the program have one?
pub fn allowed() -> bool {
    std::env::var_os("NMSHIM_IO_URING").is_some_and(|v| v == "allow")
}

const NONE: c_int = -libc::ENOSYS;

/// # Safety
/// As the function of liburing.
pub unsafe fn queue_init(entries: c_uint, ring: *mut c_void, flags: c_uint) -> c_int {
    match allowed() {
        // SAFETY: by contract.
        true => unsafe { next::io_uring_queue_init(entries, ring, flags) },
        false => NONE,
    }
}

/// # Safety
/// As the function of liburing.
pub unsafe fn queue_init_params(entries: c_uint, ring: *mut c_void, params: *mut c_void) -> c_int {
    match allowed() {
        // SAFETY: by contract.
        true => unsafe { next::io_uring_queue_init_params(entries, ring, params) },
        false => NONE,
    }
}

/// # Safety
/// As the function of liburing.
pub unsafe fn queue_init_mem(
    entries: c_uint,
    ring: *mut c_void,
    params: *mut c_void,
    memory: *mut c_void,
    size: size_t,
) -> c_int {
    match allowed() {
        // SAFETY: by contract.
        true => unsafe { next::io_uring_queue_init_mem(entries, ring, params, memory, size) },
        false => NONE,
    }
}
