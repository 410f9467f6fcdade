//! mlockall: what the driver has mapped for itself is not the program's.

use libc::c_int;

use crate::device::Errno;
use crate::driver;
use crate::ground::next;
use crate::ground::raw::{answer, errno};

pub unsafe fn mlockall(flags: c_int) -> c_int {
    // SAFETY: any flags may be asked for.
    let lock = |flags| match unsafe { next::mlockall(flags) } {
        0 => Ok(()),
        _ => Err(Errno(errno())),
    };
    answer(driver().lock_all(flags, &lock).map(|()| 0))
}
