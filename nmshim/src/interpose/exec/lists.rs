//! execl and its like, whose arguments are a list of any length: the program is looked at, and what came in goes on to
//! the next library's function as it is.

use super::{look, look_for};
use crate::ground::{next, raw};
use core::arch::naked_asm;
use core::ffi::CStr;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use libc::{c_char, c_int, c_void};

static EXECL: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static EXECLE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static EXECLP: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// When the library is loaded, as for other functions.
pub fn resolve() {
    for (function, name) in [
        (&EXECL, c"execl"),
        (&EXECLE, c"execle"),
        (&EXECLP, c"execlp"),
    ] {
        function.store(next::symbol(name), Relaxed);
    }
}

/// The next library's function.
fn next_of(function: &AtomicPtr<c_void>, name: &CStr) -> *const c_void {
    let known = match function.load(Relaxed) {
        // another library's constructor
        p if p.is_null() => next::symbol(name),
        p => p,
    };
    match known.is_null() {
        true => missing as *const c_void,
        false => known,
    }
}

unsafe extern "C" fn missing() -> c_int {
    raw::fail(libc::ENOSYS)
}

unsafe extern "C" fn before_execl(path: *const c_char) -> *const c_void {
    look(path);
    next_of(&EXECL, c"execl")
}

unsafe extern "C" fn before_execle(path: *const c_char) -> *const c_void {
    look(path);
    next_of(&EXECLE, c"execle")
}

unsafe extern "C" fn before_execlp(file: *const c_char) -> *const c_void {
    // SAFETY: the program's own argument.
    unsafe { look_for(file) };
    next_of(&EXECLP, c"execlp")
}

macro_rules! jumps {
    ($(fn $name:ident by $before:ident;)*) => { $(
        /// # Safety
        /// As the C function, which takes more arguments than are named here.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name(path: *const c_char) -> c_int {
            // All registers that arguments come in; the rest of the list is on the stack, above the return address.
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                "endbr64",
                "push rdi",
                "push rsi",
                "push rdx",
                "push rcx",
                "push r8",
                "push r9",
                "push rax",
                "call {before}",
                "mov r11, rax",
                "pop rax",
                "pop r9",
                "pop r8",
                "pop rcx",
                "pop rdx",
                "pop rsi",
                "pop rdi",
                "jmp r11",
                before = sym $before,
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                // bti c
                "hint #34",
                "stp x29, x30, [sp, #-80]!",
                "stp x0, x1, [sp, #16]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "mov x29, sp",
                "bl {before}",
                "mov x16, x0",
                "ldp x0, x1, [sp, #16]",
                "ldp x2, x3, [sp, #32]",
                "ldp x4, x5, [sp, #48]",
                "ldp x6, x7, [sp, #64]",
                "ldp x29, x30, [sp], #80",
                "br x16",
                before = sym $before,
            );
        }
    )* };
}

jumps! {
    fn execl by before_execl;
    fn execle by before_execle;
    fn execlp by before_execlp;
}
