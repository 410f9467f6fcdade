//! How requests fail, and what the program and the person hear of it.

use rustix::io::Errno;
use uvale_system::refusal::Refusal;

use super::say::{Level, say};
use crate::device;

/// Why a request fails, and how the program hears of it.
pub enum Failed {
    /// as errno
    Errno(Errno),
    /// as the value of ioctl, as netmap returns errors of descriptors for a sync loop
    Value(Errno),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Errno> for device::Errno {
    fn from(errno: Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

/// What the program gets when `what` is refused, with one line that explains it, at verbosity 1.
pub fn explained(what: &str, refusal: &Refusal) -> device::Errno {
    let errno = refusal.named();
    say(Level::Refusal, format_args!("{what}: {errno}: {refusal}"));
    refusal.errno.into()
}
