//! Signals that end a command, as a descriptor.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fd::{AsFd, BorrowedFd};

/// SIGINT, SIGTERM and SIGHUP, blocked in this thread and those that it makes from now on.
pub struct Signals(SignalFd);

const ALL: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

impl Signals {
    /// From now on. One that is ignored stays so: `nohup` means it.
    ///
    /// # Errors
    /// A sentence.
    pub fn take() -> Result<Self, String> {
        let set: SigSet = ALL.into_iter().filter(|s| !is_ignored(*s as i32)).collect();
        let fail = |e: nix::Error| format!("cannot wait for signals: {e}");
        set.thread_block().map_err(fail)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).map_err(fail)
    }

    /// Has one arrived since the last time that this was asked?
    pub fn has_come(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

/// Before this process becomes a program that expects them: whoever started it has taken them.
pub fn let_through() {
    let _ = ALL.into_iter().collect::<SigSet>().thread_unblock();
}

/// From now on a file that reaches the limit of `ulimit -f` is an error of the write, and no SIGXFSZ.
///
/// # Errors
/// A sentence.
pub fn let_long_files_be_errors() -> Result<(), String> {
    let set: SigSet = [Signal::SIGXFSZ].into_iter().collect();
    set.thread_block()
        .map_err(|e| format!("SIGXFSZ cannot be blocked: {e}"))
}

/// Was the signal of that number ignored when this process began, or is it now? `nohup` means it.
pub fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0) >> (number - 1) & 1 != 0
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
