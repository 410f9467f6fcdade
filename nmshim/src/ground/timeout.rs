//! When a wait ends, in the forms in which programs say it.

use super::{memory, raw};
use crate::device::{Errno, Result};
use libc::{c_int, timespec, timeval};

/// How long any sleep may last before the rings are looked at again: a sender that was stopped
/// between taking our announcement and sending the token wakes nobody, and neither do those after it.
const LONGEST_NAP: u64 = 1_000_000_000;

/// When a wait ends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Timeout {
    Never,
    /// That many nanoseconds from now; 0: don't wait.
    After(u64),
    /// At this time of the monotonic clock.
    At(u64),
}

impl Timeout {
    /// poll's and epoll's milliseconds.
    pub fn millis(ms: c_int) -> Self {
        u64::try_from(ms).map_or(Self::Never, |ms| Self::After(ms * 1_000_000))
    }

    /// A timespec; null: no timeout.
    ///
    /// # Safety
    /// `t` is a pointer of the program's.
    pub unsafe fn timespec(t: *const timespec) -> Result<Self> {
        // SAFETY: two integers.
        let Some(t) = (unsafe { memory::read_if(t) })? else {
            return Ok(Self::Never);
        };
        if t.tv_sec < 0 || !(0..1_000_000_000).contains(&t.tv_nsec) {
            return Err(Errno(libc::EINVAL));
        }
        Ok(Self::After(
            (t.tv_sec as u64)
                .saturating_mul(1_000_000_000)
                .saturating_add(t.tv_nsec as u64),
        ))
    }

    /// select's; null: no timeout. Microseconds may be more than a second's.
    pub fn timeval(t: Option<timeval>) -> Result<Self> {
        let Some(t) = t else {
            return Ok(Self::Never);
        };
        let (Ok(s), Ok(us)) = (u64::try_from(t.tv_sec), u64::try_from(t.tv_usec)) else {
            return Err(Errno(libc::EINVAL));
        };
        Ok(Self::After(
            s.saturating_mul(1_000_000_000)
                .saturating_add(us.saturating_mul(1000)),
        ))
    }

    pub fn is_zero(self) -> bool {
        self == Self::After(0)
    }

    /// The same end as a point in time.
    pub fn fixed(self) -> Self {
        match self {
            Self::After(ns) => Self::At(raw::now().saturating_add(ns)),
            other => other,
        }
    }

    /// Nanoseconds left; `None`: no timeout.
    pub fn left(self) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::After(ns) => Some(ns),
            Self::At(t) => Some(t.saturating_sub(raw::now())),
        }
    }

    /// How long to sleep in the kernel, if a sleep may last `most` nanoseconds.
    pub fn nap(self, most: u64) -> u64 {
        let most = most.min(LONGEST_NAP);
        self.left().unwrap_or(u64::MAX).min(most)
    }
}

/// A kernel timespec.
pub fn to_timespec(ns: u64) -> timespec {
    timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    }
}
