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

/// The first signals of a mask, as BSD's functions have it.
fn without(set: c_int) -> c_int {
    unblocked(u64::from(set as u32)) as c_int
}

/// # Safety
/// As the C function.
pub unsafe fn sigblock(set: c_int) -> c_int {
    // SAFETY: a number.
    unsafe { next::sigblock(without(set)) }
}

/// # Safety
/// As the C function.
pub unsafe fn sigsetmask(set: c_int) -> c_int {
    // SAFETY: a number.
    unsafe { next::sigsetmask(without(set)) }
}

/// # Safety
/// As the C function.
pub unsafe fn sighold(signal: c_int) -> c_int {
    if signal == libc::SIGSYS && trapped::is_on() {
        return 0;
    }
    // SAFETY: a number.
    unsafe { next::sighold(signal) }
}

/// With a mask, or a signal: no signal's number is changed.
///
/// # Safety
/// As the C function.
pub unsafe fn sigpause(set: c_int) -> c_int {
    // SAFETY: a number.
    unsafe { next::sigpause(without(set)) }
}

/// # Safety
/// As the C function.
pub unsafe fn sigpause_of(set: c_int, is_signal: c_int) -> c_int {
    // SAFETY: numbers.
    unsafe { next::__sigpause(without(set), is_signal) }
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
