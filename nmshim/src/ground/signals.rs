//! Signals during a wait.
//!
//! In the kernel a signal that comes at any moment of poll ends it with EINTR. Here part of a wait is
//! ordinary code: a handler that ran between our look at the rings and the real sleep would be
//! forgotten, and a program that counts on EINTR to end would sleep forever. So before a thread
//! gets ready to sleep it blocks signals, and the sleep itself lets them in, at once with EINTR if
//! one is pending. What is left is the moment between the program's call and the blocking, which is
//! as if the signal had come just before the call.

use super::mask::{self, set_mask};
use super::{memory, raw, section};
use crate::device::Result;
use core::mem::MaybeUninit;
use libc::{pollfd, sigset_t};

/// Signals are blocked in this thread as long as this lives.
pub struct Blocked {
    before: sigset_t,
}

impl Blocked {
    pub fn new() -> Self {
        let all = mask::ALL;
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

/// The program's mask, if it gives one.
///
/// # Safety
/// A pointer of the program's.
pub unsafe fn checked_mask(mask: *const sigset_t) -> Result<Option<*const sigset_t>> {
    // SAFETY: the kernel's part of it, an integer.
    let there = unsafe { memory::read_if(mask.cast::<u64>()) }?;
    Ok(there.map(|_| mask))
}

/// ppoll with a zero timeout on `fds`; `mask` is null or points to a kernel signal set, which may let handlers run.
///
/// # Safety
/// `mask` is null or valid for 8 bytes; with a mask no lock may be held.
pub unsafe fn poll_now(fds: &mut [pollfd], mask: *const sigset_t) -> Result<usize> {
    // SAFETY: by contract.
    let mut poll = || unsafe { raw::poll_now(fds, mask) };
    if mask.is_null() {
        poll()
    } else {
        section::this().aside(0, poll)
    }
}
