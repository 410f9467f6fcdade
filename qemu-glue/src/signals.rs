//! Signals that end a process, as a descriptor.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fd::{AsFd, BorrowedFd};

/// SIGINT, SIGTERM and SIGHUP, blocked in this thread and those that it makes from now on.
pub struct Signals(SignalFd);

impl Signals {
    /// From now on. One that is ignored stays so: `nohup` means it.
    pub fn take() -> Result<Self, String> {
        let set: SigSet = all().into_iter().filter(|s| !is_ignored(*s)).collect();
        let fail = |e: nix::Error| format!("cannot wait for signals: {e}");
        set.thread_block().map_err(fail)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).map_err(fail)
    }

    /// Has one arrived?
    pub fn has_come(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

fn all() -> [Signal; 3] {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
}

fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0) >> (signal as u32 - 1) & 1 != 0
}

/// Before this process becomes a program that expects them: whoever started it has taken them.
pub fn let_through() {
    let _ = all().into_iter().collect::<SigSet>().thread_unblock();
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
