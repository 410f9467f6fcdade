//! Signals that end the program.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGTERM, SIGINT and SIGHUP, which do not end the process from now on.
pub struct Ending(SignalFd);

impl Ending {
    /// Blocks them.
    ///
    /// # Errors
    /// A sentence.
    pub fn new() -> Result<Self, String> {
        let set: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
            .into_iter()
            .collect();
        let blocked = set.thread_block().and_then(|()| {
            SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        });
        blocked
            .map(Self)
            .map_err(|e| format!("signals cannot be read: {e}"))
    }

    /// Becomes readable when one has come.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Has one come?
    #[must_use]
    pub fn has_come(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}
