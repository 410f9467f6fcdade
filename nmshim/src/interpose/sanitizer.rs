//! gcc's and clang's AddressSanitizer as a shared library refuses to start where a preloaded library comes before it.
//! It works as well behind the shim, which passes on to it what is not its own; its runtime asks for defaults, and
//! here is ours. A program's own answer comes first, and `ASAN_OPTIONS` says the last word.

use core::ffi::{CStr, c_char};

const DEFAULTS: &CStr = c"verify_asan_link_order=0";

/// Called by the runtime before anything else of the process: no more than a constant.
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const c_char {
    DEFAULTS.as_ptr()
}
