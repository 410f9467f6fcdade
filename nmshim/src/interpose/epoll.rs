//! epoll sets with devices in them.
//!
//! The real epoll instance holds a device's descriptor as level-triggered `EPOLLIN` (a wake-up token) with
//! a cookie as its data; what the program asked for (LT, ET, ONESHOT, event bits, user data) is kept
//! here. Ordinary descriptors are registered by the program's own calls, untouched.
//!
//! | state | word in the table | epoll_wait | goes to |
//! |---|---|---|---|
//! | unknown, plain | 0, `EPOLL`, `EPOLL_WAITED` | the real one | dormant at dup or nesting, active at a device |
//! | dormant | slot + `DORMANT` | the real one | active at the first device, also in a nested set |
//! | active | slot + `LIVE` | `wait::wait` | stays active until closed |
//!
//! Whoever changes a set while threads sleep in it kicks them: the device's registration also gets
//! `EPOLLOUT`, at once true for a socket; the thread that wakes takes it away again and arms what is new.
//!
//! A registration ends with its description (`fds() == 0`), which a mapping may keep when all numbers are closed;
//! such interests are dropped when the set is used next, so close() takes no lock of a set.
//! Lock order: a set before the sets nested in it, never the other way.

mod cookie;
mod ctl;
pub mod set;
mod wait;

pub use ctl::ctl;
pub use wait::{pwait, pwait2, wait};

use super::{entries, table};
use crate::ground::next;
use crate::ground::vfork::borrowed_memory;
use libc::c_int;

pub unsafe fn create(size: c_int) -> c_int {
    // SAFETY: plain number.
    created(unsafe { next::epoll_create(size) })
}

pub unsafe fn create1(flags: c_int) -> c_int {
    // SAFETY: plain number.
    created(unsafe { next::epoll_create1(flags) })
}

fn created(fd: c_int) -> c_int {
    if fd >= 0 && !borrowed_memory() {
        entries::mark(fd, table::EPOLL);
    }
    fd
}
