//! Signals that come to this process and are for the program.

use std::ptr::{from_ref, null};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpgid, getpgrp, getpid, getsid};

/// Signals of a terminal that stop a program.
pub const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
/// They tell of faults of this process itself.
const FAULTS: [Signal; 6] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// All that are for the program.
pub fn all() -> SigSet {
    let mut all = SigSet::all();
    FAULTS.into_iter().for_each(|fault| all.remove(fault));
    all
}

/// One that has come.
pub struct Arrived {
    /// which
    pub number: i32,
    info: libc::siginfo_t,
}

// SAFETY: its pointers are values for the program, and nobody follows them here.
#[allow(unsafe_code)]
unsafe impl Send for Arrived {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Arrived {}

impl Arrived {
    /// Waits for one of `signals`, which are blocked; `None` if interrupted.
    pub fn next(signals: &SigSet) -> Option<Self> {
        Self::taken(signals, null())
    }

    /// One of `signals`, which are blocked, if one waits.
    pub fn waiting(signals: &SigSet) -> Option<Self> {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        Self::taken(signals, &now)
    }

    #[allow(unsafe_code)]
    fn taken(signals: &SigSet, patience: *const libc::timespec) -> Option<Self> {
        // SAFETY: an all-zero siginfo_t is valid, and the kernel fills it in.
        let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
        // SAFETY: the set, the siginfo and the time, or null for no limit, are valid for the call.
        let number = unsafe { libc::sigtimedwait(signals.as_ref(), &mut info, patience) };
        (number > 0).then_some(Self { number, info })
    }

    /// Passes it on, if the program has not got it itself.
    pub fn pass_on(&self, program: Pid) {
        if !self.is_known_to(program) {
            self.send(program);
        }
    }

    fn is_known_to(&self, program: Pid) -> bool {
        if self.info.si_code <= 0 {
            // A process has sent it; this one, where it has written to a pipe that nobody reads.
            return self.number == libc::SIGPIPE && self.sender() == getpid();
        }
        match self.number {
            // Each process is told of its own limits.
            libc::SIGXCPU | libc::SIGXFSZ => true,
            // When a terminal hangs up, its session's first process is told, and no other.
            libc::SIGHUP | libc::SIGCONT if getsid(None) == Ok(getpid()) => false,
            // A terminal tells a whole group. Who leads one, as this process does, could not have left it.
            libc::SIGHUP
            | libc::SIGCONT
            | libc::SIGINT
            | libc::SIGQUIT
            | libc::SIGWINCH
            | libc::SIGTSTP
            | libc::SIGTTIN
            | libc::SIGTTOU => getpgid(Some(program)) == Ok(getpgrp()) || getpgrp() != getpid(),
            // A timer of this process, or a descriptor whose owner it is.
            _ => false,
        }
    }

    #[allow(unsafe_code)]
    fn sender(&self) -> Pid {
        // SAFETY: of a signal that a process has sent; else it is another number.
        Pid::from_raw(unsafe { self.info.si_pid() })
    }

    /// Sends it, with a system call or two.
    #[allow(unsafe_code)]
    pub fn send(&self, program: Pid) {
        let info = from_ref(&self.info) as usize;
        let to = [
            program.as_raw() as usize,
            self.number as usize,
            info,
            0,
            0,
            0,
        ];
        // With the value that it came with: the kernel takes those of sigqueue(3), and refuses others.
        // SAFETY: the kernel reads the siginfo.
        let sent = unsafe { uvale_system::raw::call(libc::SYS_rt_sigqueueinfo, to) };
        if sent < 0 {
            // SAFETY: numbers.
            unsafe { libc::kill(program.as_raw(), self.number) };
        }
    }
}
