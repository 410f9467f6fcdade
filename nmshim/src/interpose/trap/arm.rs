//! How the kernel is told to trap the program's own system calls.
//!
//! | way | traps | a thread | a vfork child, and what is executed |
//! |---|---|---|---|
//! | dispatch (x86-64, Linux 5.11) | what lies below the end of the program's text | asks for itself | is not trapped |
//! | filter (seccomp) | known numbers, at the program's instructions | inherits it | is trapped |
//!
//! Dispatch allows one range of addresses. It is from behind the program's text to the end of memory, where all the
//! libraries are: the kernel loads the program below them. Where they are not there (a program that was started by
//! naming the loader, `ulimit -s unlimited`) it is not used.

use super::filter;
use super::text::Text;
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::{raw, trapped};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use libc::sock_fprog;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Dispatch,
    Filter,
}

const PR_SET_SYSCALL_USER_DISPATCH: usize = 59;
const DISPATCH_ON: usize = 1;

/// The start of what dispatch allows; 0: there is a filter, which threads inherit.
static ALLOWED: AtomicUsize = AtomicUsize::new(0);

/// Sets the traps for the process, in its first thread.
pub fn set(text: &Text, ways: &[Way]) -> Result<(), &'static str> {
    let mut why = "no way is left";
    for way in ways {
        let done = match way {
            Way::Dispatch => dispatch(text),
            Way::Filter => filter(text),
        };
        match done {
            Ok(()) => return Ok(()),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

fn dispatch(text: &Text) -> Result<(), &'static str> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err("the kernel dispatches no system calls on this processor");
    }
    if text.libraries < text.program.end {
        return Err("libraries are loaded below the program");
    }
    ALLOWED.store(text.program.end, Relaxed);
    if thread() {
        return Ok(());
    }
    ALLOWED.store(0, Relaxed);
    Err("the kernel dispatches no system calls, or is told not to")
}

/// The calling thread's calls are trapped from here on. False: they are not.
pub fn thread() -> bool {
    // Whoever executed the program may have blocked it, and attributes of a thread may.
    let set = trapped::SIGSYS;
    let args = [
        libc::SIG_UNBLOCK as usize,
        &raw const set as usize,
        0,
        raw::SIGSET_BYTES,
        0,
        0,
    ];
    // SAFETY: the set outlives the call.
    unsafe { raw::call(libc::SYS_rt_sigprocmask, args) };
    let from = ALLOWED.load(Relaxed);
    if from == 0 {
        return true;
    }
    let args = [
        PR_SET_SYSCALL_USER_DISPATCH,
        DISPATCH_ON,
        from,
        usize::MAX - from,
        0,
        0,
    ];
    // SAFETY: plain numbers. From here on SIGSYS comes, for which the handler is there.
    unsafe { raw::call(libc::SYS_prctl, args) >= 0 }
}

fn filter(text: &Text) -> Result<(), &'static str> {
    let program = filter::program(text);
    let filter = sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    let no_new_privileges = [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0, 0];
    let set = [
        libc::SECCOMP_SET_MODE_FILTER as usize,
        libc::SECCOMP_FILTER_FLAG_TSYNC as usize,
        &raw const filter as usize,
        0,
        0,
        0,
    ];
    // SAFETY: plain numbers, and a filter that outlives the call, which only reads it.
    let answer = unsafe {
        raw::call(libc::SYS_prctl, no_new_privileges);
        raw::call(libc::SYS_seccomp, set)
    };
    if answer != 0 {
        return Err("the kernel takes no seccomp filter, or is told not to");
    }
    thread();
    let line = format_args!(
        "the program's system calls are trapped by a seccomp filter, which what it executes inherits: set-uid has no \
         effect, and a program without the shim that makes system calls at the same addresses is ended by SIGSYS"
    );
    guarded((), || driver().trouble(line));
    Ok(())
}
