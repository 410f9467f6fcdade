//! The program's alternate stacks that are too small for a trapped call in a handler: SIGSYS puts a second frame of
//! the kernel's below it. In the place of such a stack the thread has one of ours, and the program is told its own.

use super::stack;
use crate::ground::vfork::borrowed_memory;
use crate::ground::{memory, next, raw, trapped};
use core::mem::MaybeUninit;
use core::ptr::{from_ref, null, null_mut};
use libc::{c_int, c_void, stack_t};

/// Bytes that are enough. Two frames take 7 KB with AVX-512's registers and 24 KB with tiles; Go's stacks have 32 KB.
const ENOUGH: usize = 32 << 10;

/// # Safety
/// As the C function.
pub unsafe fn sigaltstack(new: *const stack_t, old: *mut stack_t) -> c_int {
    // SAFETY: the program's own arguments, of integers and pointers; what is written is what the kernel knows.
    unsafe {
        if !trapped::is_on() || borrowed_memory() {
            return next::sigaltstack(new, old);
        }
        let given = match memory::read_if(new) {
            Ok(given) => given,
            Err(e) => return raw::fail(e.0),
        };
        let own = given.as_ref().filter(|new| is_small(new));
        let own = own.and_then(|new| stack::alternate(new.ss_flags));
        let put = own.as_ref().or(given.as_ref());
        let mut before = MaybeUninit::<stack_t>::zeroed();
        if next::sigaltstack(put.map_or(null(), from_ref), before.as_mut_ptr()) != 0 {
            return -1;
        }
        let mut before = before.assume_init();
        if let Some(told) = stack::told().filter(|_| stack::is_alternate(&before)) {
            before.ss_sp = told.ss_sp;
            before.ss_size = told.ss_size;
        }
        if given.is_some() {
            stack::tell(given.filter(|_| own.is_some()));
        }
        match old.is_null() {
            true => 0,
            false => raw::answer(memory::write(old, before).map(|()| 0)),
        }
    }
}

/// One that would be full. One that is left while its handlers run (`SS_AUTODISARM`) may be in use by several at once:
/// it stays.
fn is_small(new: &stack_t) -> bool {
    matches!(new.ss_flags, 0 | libc::SS_ONSTACK)
        && (libc::MINSIGSTKSZ..ENOUGH).contains(&new.ss_size)
}

/// Is a call of `sigaltstack` with this stack the kernel's alone?
pub fn is_ordinary(new: usize) -> bool {
    new == 0 && stack::told().is_none()
}

/// The destructor of a thread that ends, and with it its stack.
pub unsafe extern "C" fn of_ended_thread(_: *mut c_void) {
    give_back();
    stack::give_back();
}

/// From here on it has what the program has given.
fn give_back() {
    let Some(told) = stack::told() else { return };
    let mut now = MaybeUninit::<stack_t>::zeroed();
    // SAFETY: the kernel writes all of it, and reads what lives.
    unsafe {
        let now = raw::call(
            libc::SYS_sigaltstack,
            [0, now.as_mut_ptr() as usize, 0, 0, 0, 0],
        ) >= 0
            && stack::is_alternate(now.assume_init_ref());
        if now {
            let told = from_ref(&told) as usize;
            raw::call(
                libc::SYS_sigaltstack,
                [told, null_mut::<()>() as usize, 0, 0, 0, 0],
            );
        }
    }
}
