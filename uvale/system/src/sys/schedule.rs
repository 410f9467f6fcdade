//! Which threads run first.

use rustix::io::Errno;

use crate::raw;

/// sched_setscheduler(2) of the calling thread. musl's function of that name does nothing, and it is for use
/// between fork and exec, too.
#[allow(unsafe_code)]
pub fn schedule(policy: i32, priority: i32) -> Result<(), Errno> {
    // all there is in the kernel's sched_param
    let priority = &raw const priority as usize;
    // SAFETY: 0 is the calling thread; the kernel reads one number, which is ours.
    raw::check(unsafe {
        raw::call(
            libc::SYS_sched_setscheduler,
            [0, policy as usize, priority, 0, 0, 0],
        )
    })
    .map(drop)
}
