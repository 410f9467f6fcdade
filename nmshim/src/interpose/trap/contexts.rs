//! setcontext and swapcontext set a mask that the program has in its memory: SIGSYS is taken out of it. Nothing of ours
//! may stay on the stack, where a context is continued more than once: both jump to the next library's function.

use crate::ground::{memory, next, raw, trapped};
use core::arch::naked_asm;
use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use libc::{c_int, c_void, ucontext_t};

static SETCONTEXT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static SWAPCONTEXT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// When the library is loaded, as for other functions.
pub fn resolve() {
    SETCONTEXT.store(next::symbol(c"setcontext"), Relaxed);
    SWAPCONTEXT.store(next::symbol(c"swapcontext"), Relaxed);
}

/// The next library's function; its context is ready then.
fn ready(context: *mut ucontext_t, function: &AtomicPtr<c_void>, name: &CStr) -> *const c_void {
    if trapped::is_on() {
        // SAFETY: the kernel's part of the mask in a context of the program's, an integer; what cannot be read is left
        // to the function.
        unsafe {
            let mask = (&raw mut (*context).uc_sigmask).cast::<u64>();
            if let Ok(set) = memory::read(mask)
                && set & trapped::SIGSYS != 0
            {
                let _ = memory::write(mask, set & !trapped::SIGSYS);
            }
        }
    }
    match function.load(Relaxed) {
        // another library's constructor, or there is none
        p if p.is_null() => match next::symbol(name) {
            p if p.is_null() => missing as *const c_void,
            p => p,
        },
        p => p,
    }
}

unsafe extern "C" fn missing() -> c_int {
    raw::fail(libc::ENOSYS)
}

unsafe extern "C" fn before_setcontext(context: *mut ucontext_t) -> *const c_void {
    ready(context, &SETCONTEXT, c"setcontext")
}

unsafe extern "C" fn before_swapcontext(
    _: *mut ucontext_t,
    context: *mut ucontext_t,
) -> *const c_void {
    ready(context, &SWAPCONTEXT, c"swapcontext")
}

macro_rules! jumps {
    ($(fn $name:ident($($arg:ident),*) by $before:ident;)*) => { $(
        /// # Safety
        /// As the C function.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name($($arg: *mut ucontext_t),*) -> c_int {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                "endbr64",
                "push rdi",
                "push rsi",
                "sub rsp, 8",
                "call {before}",
                "add rsp, 8",
                "pop rsi",
                "pop rdi",
                "jmp rax",
                before = sym $before,
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                // bti c
                "hint #34",
                "stp x29, x30, [sp, #-32]!",
                "stp x0, x1, [sp, #16]",
                "mov x29, sp",
                "bl {before}",
                "mov x16, x0",
                "ldp x0, x1, [sp, #16]",
                "ldp x29, x30, [sp], #32",
                "br x16",
                before = sym $before,
            );
        }
    )* };
}

jumps! {
    fn setcontext(context) by before_setcontext;
    fn swapcontext(from, context) by before_swapcontext;
}
