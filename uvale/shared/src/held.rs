//! Records of control memory that were found once and are kept.

use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

use crate::ctl::Ctl;
use crate::shm::Shared;

/// A record of control memory with a share in the mapping it lies in: to look it up again would give the same address.
/// Whose record it is by now says its generation.
#[derive(Debug)]
pub struct Held<T> {
    at: NonNull<T>,
    _ctl: Arc<Ctl>,
}

impl<T: Shared> Held<T> {
    /// What `find` finds in `ctl`.
    pub fn new(
        ctl: &Arc<Ctl>,
        find: impl for<'a> FnOnce(&'a Ctl) -> Option<&'a T>,
    ) -> Option<Self> {
        let at = NonNull::from(find(ctl)?);
        let _ctl = ctl.clone();
        Some(Self { at, _ctl })
    }
}

impl<T: Shared> Deref for Held<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: made of a reference that lives as long as the borrow of the `Ctl` does, whatever that is, or longer.
        // The `Ctl`, which stays at its address in its Arc, lives as long as `self`. `T: Shared` is made of atomics,
        // so other processes may write at the same time.
        unsafe { self.at.as_ref() }
    }
}

// SAFETY: a reference to a record of atomics, and an Arc of what is Send and Sync.
unsafe impl<T: Shared> Send for Held<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Held<T> {}
