//! A thread's signal mask, and what is never put into it.

use super::raw::{self, SIGSET_BYTES};

/// Signals that libc keeps for itself, and refuses to speak of: for cancelled threads, and calls that all threads have
/// to make (setuid). musl has a third one.
const OF_LIBC: u64 = set_of(if cfg!(target_env = "musl") {
    &[32, 33, 34]
} else {
    &[32, 33]
});

/// Signals that a fault of the program raises in the thread itself: blocking them would kill it.
const OF_FAULTS: u64 = set_of(&[
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
]);

const fn set_of(mut signals: &[i32]) -> u64 {
    let mut set = 0;
    while let [signal, rest @ ..] = signals {
        set |= bit(*signal);
        signals = rest;
    }
    set
}

/// A signal's place in a set, 1 to 64.
const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// May a program have a handler for that one? What is no signal may not.
pub fn is_programs(signal: i32) -> bool {
    (1..=64).contains(&signal) && OF_LIBC & bit(signal) == 0
}

/// All signals that may be blocked. libc's own are none of them: it waits for them, with no way out, in a thread that
/// is told to end just when its sleep is over.
pub const ALL: u64 = !(OF_LIBC | OF_FAULTS);

/// Is it one of [`ALL`]?
pub fn may_be_blocked(signal: i32) -> bool {
    (1..=64).contains(&signal) && ALL & bit(signal) != 0
}

/// Sets the thread's mask; nothing of libc's.
pub fn set_mask(new: *const u64, old: *mut u64) {
    let args = [
        libc::SIG_SETMASK as usize,
        new as usize,
        old as usize,
        SIGSET_BYTES,
        0,
        0,
    ];
    // SAFETY: `new` points to a kernel set of 8 bytes, `old` to room for one or nowhere. errno is
    // not touched.
    unsafe { raw::call(libc::SYS_rt_sigprocmask, args) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_real_time_signal_is_the_one_that_libc_says() {
        let first = (32..=64).find(|signal| is_programs(*signal));
        assert_eq!(first, Some(libc::SIGRTMIN()));
        assert!(!is_programs(0) && !is_programs(65) && is_programs(64));
        assert!(!may_be_blocked(32) && !may_be_blocked(libc::SIGSEGV) && may_be_blocked(64));
    }
}
