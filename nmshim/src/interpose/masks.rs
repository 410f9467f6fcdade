//! The program's signal masks, while its system calls are trapped: SIGSYS is never in them.

use crate::ground::raw::{self, SIGSET_BYTES};
use crate::ground::trapped::{self, unblocked};
use crate::ground::{memory, next};
use core::mem::MaybeUninit;
use libc::{c_int, sigset_t};

/// # Safety
/// As the C function.
pub unsafe fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    let mut room = MaybeUninit::uninit();
    // SAFETY: the program's own arguments.
    unsafe { next::sigprocmask(how, trapped::mask(set, &mut room), old) }
}

/// # Safety
/// As the C function.
pub unsafe fn pthread_sigmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    let mut room = MaybeUninit::uninit();
    // SAFETY: the program's own arguments.
    unsafe { next::pthread_sigmask(how, trapped::mask(set, &mut room), old) }
}

/// # Safety
/// As the C function.
pub unsafe fn sigsuspend(set: *const sigset_t) -> c_int {
    let mut room = MaybeUninit::uninit();
    // SAFETY: the program's own argument.
    unsafe { next::sigsuspend(trapped::mask(set, &mut room)) }
}

/// The system call rt_sigprocmask.
///
/// # Safety
/// As the system call.
pub unsafe fn kernel_mask([how, set, old, size, ..]: [usize; 6]) -> c_int {
    // SAFETY: the program's own arguments, of integers.
    unsafe {
        let set = match memory::read_if(set as *const u64) {
            Ok(set) if size == SIGSET_BYTES => set.map(unblocked),
            Ok(_) => return raw::fail(libc::EINVAL),
            Err(e) => return raw::fail(e.0),
        };
        let set = set.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        raw::libc_call!(libc::SYS_rt_sigprocmask, how, set, old, size) as c_int
    }
}
