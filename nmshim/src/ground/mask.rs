//! A thread's signal mask, and what is never put into it.

use super::raw::{self, SIGSET_BYTES};

/// Signals that a fault of the program raises in the thread itself: blocking them would kill it. And
/// the two that libc keeps for itself (cancellation, setuid of all threads): it waits for them, with
/// no way out, in a thread that is told to end just when its sleep is over.
pub const NOT_BLOCKED: [i32; 8] = [
    32,
    33,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// All signals that may be blocked.
pub fn all() -> u64 {
    NOT_BLOCKED
        .iter()
        .fold(u64::MAX, |set, s| set & !(1 << (s - 1)))
}

/// Sets the thread's mask; nothing of libc's.
pub fn set_mask(new: *const u64, old: *mut u64) {
    let args = [
        libc::SIG_SETMASK as usize,
        new as usize,
        old as usize,
        SIGSET_BYTES,
        0,
        0,
    ];
    // SAFETY: `new` points to a kernel set of 8 bytes, `old` to room for one or nowhere. errno is
    // not touched.
    unsafe { raw::call(libc::SYS_rt_sigprocmask, args) };
}
