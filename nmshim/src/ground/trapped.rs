//! Are the program's own system calls trapped (`interpose::trap`)? SIGSYS is ours then: it is never blocked, since the
//! kernel would kill a thread that traps meanwhile.

use super::memory;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use libc::sigset_t;

static ON: AtomicBool = AtomicBool::new(false);

/// SIGSYS, in the kernel's set.
pub const SIGSYS: u64 = 1 << (libc::SIGSYS - 1);

/// From here on they are, for as long as the process lives.
pub fn turn_on() {
    ON.store(true, Relaxed);
}

/// Are they?
#[inline(always)]
pub fn is_on() -> bool {
    ON.load(Relaxed)
}

/// A mask of the program's as the kernel is to have it.
#[inline]
pub fn unblocked(mask: u64) -> u64 {
    if is_on() { mask & !SIGSYS } else { mask }
}

/// The same for one in the program's memory, of which a copy may be made in `room`. Null, and what cannot be read, stay
/// what they are: the kernel says what is to be said of them. Only the kernel's 8 bytes are there.
///
/// # Safety
/// A pointer of the program's.
#[inline]
pub unsafe fn mask(mask: *const sigset_t, room: &mut MaybeUninit<u64>) -> *const sigset_t {
    if !is_on() {
        return mask;
    }
    // SAFETY: an integer.
    match unsafe { memory::read_if(mask.cast::<u64>()) } {
        Ok(Some(set)) => core::ptr::from_ref(room.write(unblocked(set))).cast(),
        _ => mask,
    }
}
