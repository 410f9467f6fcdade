//! Signals during a wait.
//!
//! In the kernel a signal that comes at any moment of poll ends it with EINTR. Here part of a wait is
//! ordinary code: a handler that ran between our look at the rings and the real sleep would be
//! forgotten, and a program that counts on EINTR to end would sleep for ever. So before a thread
//! gets ready to sleep it blocks signals, and the sleep itself lets them in, at once with EINTR if
//! one is pending. What is left is the moment between the program's call and the blocking, which is
//! as if the signal had come just before the call.

use super::raw::{self, SIGSET_BYTES};
use super::section;
use core::mem::MaybeUninit;
use libc::sigset_t;

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

/// Signals are blocked in this thread as long as this lives.
pub struct Blocked {
    before: sigset_t,
}

impl Blocked {
    pub fn new() -> Self {
        let all = all();
        let mut before = MaybeUninit::<sigset_t>::zeroed();
        let place = before.as_mut_ptr().cast::<u64>();
        set_mask(&raw const all, place);
        // One that was put off in this section has blocked them already: the sleep lets it in.
        if let Some(own) = section::this().take_deferred() {
            // SAFETY: the kernel's part of the set.
            unsafe { place.write(own) };
        }
        // SAFETY: all zeroes is an empty set, and the kernel's 8 bytes are what was written.
        let before = unsafe { before.assume_init() };
        Self { before }
    }

    /// The thread's own mask, for the sleep.
    pub fn before(&self) -> *const sigset_t {
        &raw const self.before
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask((&raw const self.before).cast(), core::ptr::null_mut());
    }
}

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
