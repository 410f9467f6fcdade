//! Continuing in a child before a limit on processor time is reached.
//!
//! `RLIMIT_CPU` ends a process that has used so much, and only a privileged one may raise its hard limit. A daemon that
//! serves everybody must not end because the program that came first had little time. A child's time counts from
//! zero; it has the same memory, descriptors, locks and epoll sets, so connected clients notice nothing.

use std::time::Duration;

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::listen::BACKLOG;
use super::log::{Level, log};

/// When the daemon is to continue in a child.
pub struct Successor {
    /// the processor time at which it does, and at which the system ends it
    due: Option<(Duration, Duration)>,
}

impl Successor {
    /// Of a daemon that has a limit which is `not_ours`, if there is one.
    pub fn new(not_ours: bool) -> Self {
        // The system takes 0 for 1.
        let limit = getrlimit(Resource::Cpu)
            .current
            .map(|seconds| seconds.max(1));
        let limit = limit.filter(|_| not_ours).map(Duration::from_secs);
        Self {
            due: limit.map(|limit| (limit / 2, limit)),
        }
    }

    /// Continues in a child if it is time. To be called between two requests.
    pub fn go_on(&mut self, listener: impl AsFd) {
        let Some((at, limit)) = self.due else {
            return;
        };
        let used = used();
        if used < at {
            return;
        }
        match take_over() {
            Ok(()) => {
                // New clients see this process's id.
                let _ = rustix::net::listen(listener, BACKLOG);
                let _ = rustix::process::setsid();
                self.due = Some((limit / 2, limit));
                log(
                    Level::Notice,
                    &format!(
                        "half of RLIMIT_CPU (ulimit -t), {} s, was used: continuing as process {}",
                        limit.as_secs(),
                        std::process::id()
                    ),
                );
            }
            Err(e) => {
                self.due = Some((used + limit.saturating_sub(used) / 2, limit));
                log(
                    Level::Warning,
                    &format!(
                        "RLIMIT_CPU (ulimit -t) is near, and no process can be made to continue in: {e}"
                    ),
                );
            }
        }
    }
}

/// Processor time that this process has used.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.try_into().unwrap_or_default()
}

/// Returns in the child. The parent ends at once; what its destructors would remove belongs to the child.
#[allow(unsafe_code)]
fn take_over() -> Result<(), Errno> {
    // SAFETY: this process has one thread, so nothing in the child's copy is left half done.
    match unsafe { libc::fork() } {
        0 => Ok(()),
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN)),
        child => {
            // A child starts without the signals that its parent had not read yet.
            for signal in super::ENDING {
                if is_pending(signal as i32) {
                    // SAFETY: numbers; the child exists as long as it has not been waited for.
                    unsafe { libc::kill(child, signal as i32) };
                }
            }
            // SAFETY: ends the process and runs nothing of it.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Has this process been sent `signal`, which is blocked?
#[allow(unsafe_code)]
fn is_pending(signal: i32) -> bool {
    // SAFETY: all zeros are a signal set, which the kernel fills.
    unsafe {
        let mut pending = core::mem::zeroed();
        libc::sigpending(&mut pending) == 0 && libc::sigismember(&pending, signal) == 1
    }
}
