//! The stack on which a thread's trapped calls are served: those of Go's goroutines and signal handlers are small.

use crate::ground::raw;
use crate::ground::section;
use core::ffi::c_void;
use core::sync::atomic::Ordering::Relaxed;
use libc::{c_int, stack_t};

/// Bytes of a stack; what is not used takes no memory.
const SIZE: usize = MAIN + ASIDE + ALTERNATE;
/// Of these: for calls of the program's.
const MAIN: usize = 512 << 10;
/// For calls from a handler that has interrupted one of those, on a small stack of its own.
const ASIDE: usize = 256 << 10;
/// For the program's handlers, where its own alternate stack is too small (`alternate`). Its last bytes say which.
const ALTERNATE: usize = 64 << 10;
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

/// An alternate stack of ours for this thread, with these flags; `None`: there is no memory.
pub fn alternate(flags: c_int) -> Option<stack_t> {
    Some(stack_t {
        ss_sp: (of_this_thread()? - SIZE) as *mut c_void,
        ss_flags: flags,
        ss_size: ALTERNATE - size_of::<stack_t>(),
    })
}

/// Is it ours?
pub fn is_alternate(stack: &stack_t) -> bool {
    let end = section::this().stack.load(Relaxed);
    end != 0 && stack.ss_flags & libc::SS_DISABLE == 0 && stack.ss_sp as usize == end - SIZE
}

/// Where it stands which of the program's is in its place.
fn noted() -> Option<*mut stack_t> {
    let end = section::this().stack.load(Relaxed);
    (end != 0).then(|| (end - MAIN - ASIDE - size_of::<stack_t>()) as *mut stack_t)
}

/// The program's own stack, in whose place it has one of ours.
pub fn told() -> Option<stack_t> {
    // SAFETY: a place of this thread's stack, zeroes at first, which this thread alone writes.
    noted()
        .map(|at| unsafe { at.read() })
        .filter(|own| own.ss_size != 0)
}

/// From here on that is the program's own; `None`: ours is not in use.
pub fn tell(own: Option<stack_t>) {
    if let Some(at) = noted() {
        // SAFETY: as in `told`; zeroes are a `stack_t`.
        unsafe { at.write(own.unwrap_or(core::mem::zeroed())) };
    }
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

/// The thread ends: nothing runs on its stack, since threads end on their own.
pub fn give_back() {
    let end = section::this().stack.swap(0, Relaxed);
    if end != 0 && !holds_this_frame(end) {
        raw::unmap((end - SIZE - GUARD) as *mut c_void, SIZE + GUARD);
    }
}

fn holds_this_frame(end: usize) -> bool {
    let here = core::ptr::from_ref(&end) as usize;
    (end - SIZE..end).contains(&here)
}
