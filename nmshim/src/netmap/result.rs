//! How requests fail, and what the program and the person hear of it.

use rustix::io::Errno as Why;
use uvale_link::session::Failure;

use super::say::{Level, say};
use crate::device::Errno;

/// Why a request fails, and how the program hears of it.
pub enum Failed {
    /// as errno
    Errno(Why),
    /// as the value of ioctl, as netmap returns errors of descriptors for a sync loop
    Value(Why),
}

impl From<Why> for Failed {
    fn from(errno: Why) -> Self {
        Self::Errno(errno)
    }
}

/// A failure as the program sees it.
pub fn errno(failure: &Failure) -> Errno {
    Errno(failure.errno.raw_os_error())
}

/// The same for `what`, with one line that explains it, at verbosity 1.
pub fn explained(what: &str, errno: Why, why: &str) -> Errno {
    let errno_text = errno.to_string();
    let errno_text = errno_text.split(" (os error").next().unwrap_or_default();
    say(Level::Refusal, format_args!("{what}: {errno_text}: {why}"));
    Errno(errno.raw_os_error())
}
