//! Actions as the kernel has them, and signals on their way to a thread.

use crate::ground::raw::{self, SIGSET_BYTES};
use libc::{c_int, siginfo_t};

/// The kernel's own form of an action.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct KernelAction {
    pub handler: usize,
    pub flags: usize,
    pub restorer: usize,
    pub mask: u64,
}

impl KernelAction {
    /// What the kernel does without anybody's wish.
    const DEFAULT: Self = Self {
        handler: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
}

/// What the kernel does at a signal.
pub fn asked(signal: c_int) -> Option<KernelAction> {
    let mut action = KernelAction::DEFAULT;
    let place = &raw mut action as usize;
    let ask = [signal as usize, 0, place, SIGSET_BYTES, 0, 0];
    // SAFETY: the structure is the kernel's own, and lives.
    let answer = unsafe { raw::call(libc::SYS_rt_sigaction, ask) };
    (answer >= 0).then_some(action)
}

/// From here on the kernel does that.
///
/// # Safety
/// As what [`asked`] gave, but for the flags, the mask and a handler that is as good.
pub unsafe fn put(signal: c_int, action: &KernelAction) {
    let place = core::ptr::from_ref(action) as usize;
    let put = [signal as usize, place, 0, SIGSET_BYTES, 0, 0];
    // SAFETY: the structure is the kernel's own, and lives; the restorer is what libc gave.
    unsafe { raw::call(libc::SYS_rt_sigaction, put) };
}

/// The kernel's default from now on.
pub fn reset(signal: c_int) {
    // SAFETY: there is no handler, so no restorer is needed.
    unsafe { put(signal, &KernelAction::DEFAULT) };
}

/// Queues a signal for the calling thread.
///
/// # Safety
/// `info` is what came with it.
pub unsafe fn queue(signal: c_int, info: *const siginfo_t) -> bool {
    let ids = [libc::SYS_getpid, libc::SYS_gettid].map(|nr| {
        // SAFETY: takes nothing.
        unsafe { raw::call(nr, [0; 6]) as usize }
    });
    let args = [ids[0], ids[1], signal as usize, info as usize, 0, 0];
    // SAFETY: plain numbers, and the caller's promise.
    unsafe { raw::call(libc::SYS_rt_tgsigqueueinfo, args) >= 0 }
}
