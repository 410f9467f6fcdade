//! Signals that end a process, as a descriptor.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fd::{AsFd, BorrowedFd};

/// SIGINT, SIGTERM and SIGHUP, blocked in this thread and those that it makes from now on.
pub struct Signals(SignalFd);

impl Signals {
    /// From now on.
    pub fn take() -> Result<Self, String> {
        let set = all();
        let fail = |e: nix::Error| format!("signals cannot be waited for: {e}");
        set.thread_block().map_err(fail)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).map_err(fail)
    }

    /// Has one arrived?
    pub fn has_come(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

fn all() -> SigSet {
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    signals.into_iter().collect()
}

/// Before this process becomes a program that expects them: whoever started it has taken them.
pub fn let_through() {
    let _ = all().thread_unblock();
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
