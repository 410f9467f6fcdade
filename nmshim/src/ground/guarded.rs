//! Calls of the driver: a panic in one never reaches the program's frames.

use super::section;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs driver code, as a section; a panic in it becomes `otherwise`.
pub fn guarded<T>(otherwise: T, f: impl FnOnce() -> T) -> T {
    section::run(|| caught(otherwise, f))
}

/// The same within a section, which syncs and polls are in already.
#[inline(always)]
pub fn caught<T>(otherwise: T, f: impl FnOnce() -> T) -> T {
    debug_assert!(section::this().is_inside());
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(v) => v,
        Err(payload) => {
            core::mem::forget(payload);
            otherwise
        }
    }
}
