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
use crate::interpose::{process, syscall};
use libc::{c_int, c_long};

/// A call that is made with another stack for its second return, or with the memory of a parent that waits: none that
/// can be made from the middle of our functions.
pub fn needs_own_stack(nr: c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    if nr == libc::SYS_vfork {
        return true;
    }
    matches!(nr, libc::SYS_clone | libc::SYS_clone3)
}

/// The number of fork, where there is one.
#[cfg(target_arch = "x86_64")]
pub const FORK: Option<c_long> = Some(libc::SYS_fork);
#[cfg(not(target_arch = "x86_64"))]
pub const FORK: Option<c_long> = None;
/// What the child of a fork may not share with its parent: nothing of ours could be in both.
pub const SHARES: c_int = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_SETTLS;

/// A call that makes a process with a copy of the memory and of the thread, which goes on where its parent does.
pub fn is_fork(nr: c_long, args: [usize; 6]) -> bool {
    FORK == Some(nr) || nr == libc::SYS_clone && args[0] as c_int & SHARES == 0 && args[1] == 0
}

/// The kernel's answer to a call. errno is the C library's, which the program has not called.
///
/// # Safety
/// As the system call.
unsafe fn serve(nr: c_long, args: [usize; 6]) -> isize {
    let before = raw::errno();
    // SAFETY: by contract.
    let serve = || unsafe {
        match is_fork(nr, args) {
            true => process::fork(|| raw::libc_style(raw::call(nr, args))) as c_long,
            false => syscall::numbered(nr, args),
        }
    };
    let answer = section::uncancelled(serve);
    let answer = match answer {
        -1 => -(raw::errno() as isize),
        value => value as isize,
    };
    raw::set_errno(before);
    answer
}
