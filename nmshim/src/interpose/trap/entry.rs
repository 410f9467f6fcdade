//! From the handler to the function that serves a call, and back behind the program's instruction. All `unsafe` of
//! registers is here.
//!
//! The handler changes the context that the kernel is to go back to, so the thread goes on in `nmshim_trap_entry`.
//! There all registers are the program's but the stack pointer, which points to what is to be put back. It calls
//! [`serve`]. Of what the kernel preserves over a system call nothing is lost, the vector registers included.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::{answer, call, divert, goes_on, prepare, stack_pointer};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{answer, call, divert, goes_on, prepare, stack_pointer};

use crate::ground::{raw, section};
use crate::interpose::syscall;
use libc::c_long;

/// A call that is made with another stack for its second return, or with the memory of a parent that waits: none that
/// can be made from the middle of our functions.
pub fn needs_own_stack(nr: c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    if nr == libc::SYS_vfork {
        return true;
    }
    matches!(nr, libc::SYS_clone | libc::SYS_clone3)
}

/// The kernel's answer to a call. errno is the C library's, which the program has not called.
///
/// # Safety
/// As the system call.
unsafe fn serve(nr: c_long, args: [usize; 6]) -> isize {
    let before = raw::errno();
    // SAFETY: by contract.
    let answer = section::uncancelled(|| unsafe { syscall::numbered(nr, args) });
    let answer = match answer {
        -1 => -(raw::errno() as isize),
        value => value as isize,
    };
    raw::set_errno(before);
    answer
}
