//! The unwinder that this crate's build script links into a library.

#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};

type Step = extern "C" fn(*mut c_void, *mut c_void) -> c_int;

unsafe extern "C" {
    fn _Unwind_Backtrace(step: Step, argument: *mut c_void) -> c_int;
}

/// `_URC_END_OF_STACK`: enough seen.
const ENOUGH: c_int = 5;

extern "C" fn first_frame(_: *mut c_void, _: *mut c_void) -> c_int {
    ENOUGH
}

/// Makes the unwinder fill in its table of registers, which it does when it is first used.
///
/// A thread that is cancelled is unwound by the system's `libgcc_s`. It asks the frames of a library of ours, and they
/// ask *our* copy of the unwinder, about a state that it has not made itself: with an empty table it ends the process.
/// To be called when a library is loaded.
pub fn prepare() {
    // SAFETY: the function of the C++ ABI, linked into everything of Rust's that can unwind; `first_frame` looks at
    // neither of its arguments.
    unsafe { _Unwind_Backtrace(first_frame, core::ptr::null_mut()) };
}
