//! The stack on which a thread's trapped calls are served: those of Go's goroutines and signal handlers are small.

use crate::ground::raw;
use crate::ground::section;
use core::ffi::c_void;
use core::sync::atomic::Ordering::Relaxed;

/// Bytes of a stack; what is not used takes no memory.
const SIZE: usize = MAIN + ASIDE;
/// Of these: for calls of the program's.
const MAIN: usize = 512 << 10;
/// For calls from a handler that has interrupted one of those, on a small stack of its own.
const ASIDE: usize = 256 << 10;
/// Bytes below it that nobody may touch.
const GUARD: usize = 64 << 10;

/// The end of this thread's stack, which is made if it has none; `None`: there is no memory.
pub fn of_this_thread() -> Option<usize> {
    let own = &section::this().stack;
    match own.load(Relaxed) {
        0 => {
            let end = map()?;
            own.store(end, Relaxed);
            Some(end)
        }
        end => Some(end),
    }
}

/// Its other part, behind `end`.
pub fn aside(end: usize) -> usize {
    end - MAIN
}

/// Does `sp` lie on it?
pub fn holds(sp: usize) -> bool {
    let end = section::this().stack.load(Relaxed);
    end != 0 && (end - SIZE..end).contains(&sp)
}

fn map() -> Option<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    let all = SIZE + GUARD;
    let at = raw::map(core::ptr::null_mut(), all, libc::PROT_NONE, flags, -1, 0).ok()?;
    let usable = at as usize + GUARD;
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    // SAFETY: a part of what was just mapped.
    let answer = unsafe { raw::call(libc::SYS_mprotect, [usable, SIZE, prot, 0, 0, 0]) };
    if answer < 0 {
        raw::unmap(at, all);
        return None;
    }
    Some(usable + SIZE)
}

/// The destructor of a thread that ends: nothing runs on its stack, since threads end on their own.
pub unsafe extern "C" fn of_ended_thread(_: *mut c_void) {
    let end = section::this().stack.swap(0, Relaxed);
    if end != 0 && !holds_this_frame(end) {
        raw::unmap((end - SIZE - GUARD) as *mut c_void, SIZE + GUARD);
    }
}

fn holds_this_frame(end: usize) -> bool {
    let here = core::ptr::from_ref(&end) as usize;
    (end - SIZE..end).contains(&here)
}
