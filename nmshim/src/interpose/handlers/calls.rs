//! What the program asks for its signals: sigaction and its kin, the C library's and the kernel's.

use super::kernel::KernelAction;
use super::{HANDLERS, TAKEN_OVER, adopt, is_fault, is_kept, known, ours};
use crate::ground::raw::{self, SIGSET_BYTES};
use crate::ground::trapped::{self, unblocked};
use crate::ground::vfork::borrowed_memory;
use crate::ground::{memory, next};
use core::mem::zeroed;
use core::sync::atomic::Ordering::*;
use libc::{SA_RESETHAND, SA_SIGINFO, c_int, sighandler_t};

/// What sigset takes to block a signal and leave its handler.
const HOLD: sighandler_t = 2;

/// What the program is told of an action that the kernel has.
///
/// # Safety
/// `old` is null or valid.
unsafe fn translate(old: *mut libc::sigaction, function: usize, flags: c_int) {
    const OURS: c_int = SA_SIGINFO | SA_RESETHAND | libc::SA_ONSTACK;
    // SAFETY: by contract.
    if let Some(old) = unsafe { old.as_mut() }
        && old.sa_sigaction == ours()
    {
        old.sa_sigaction = function;
        old.sa_flags = old.sa_flags & !OURS | flags & OURS;
    }
}

/// # Safety
/// As the C function.
pub unsafe fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        if is_kept(signal) {
            return kept(new, old);
        }
        match new.as_ref().copied().filter(|_| trapped::is_on()) {
            Some(mut action) => {
                let mask = (&raw mut action.sa_mask).cast::<u64>();
                mask.write(unblocked(mask.read()));
                replace(signal, &raw const action, old)
            }
            None => replace(signal, new, old),
        }
    }
}

/// Notes what the program has for the trap's signal, and tells what it had.
///
/// # Safety
/// As `sigaction`.
unsafe fn kept(new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    let entry = &HANDLERS[libc::SIGSYS as usize];
    // SAFETY: the program's own arguments; zeroes are an action, and its mask begins with the kernel's 8 bytes.
    unsafe {
        // A vfork child has handlers of its own, and our memory.
        let new = new.as_ref().copied().filter(|_| !borrowed_memory());
        if let Some(old) = old.as_mut() {
            *old = zeroed();
            old.sa_sigaction = entry.function.load(Acquire);
            old.sa_flags = entry.flags.load(Relaxed);
        }
        if let Some(new) = new {
            entry.flags.store(new.sa_flags, Relaxed);
            entry.function.store(new.sa_sigaction, Release);
        }
    }
    0
}

/// The system call rt_sigaction, whose structure is not the C library's.
///
/// # Safety
/// As the system call.
pub unsafe fn kernel_action([signal, new, old, size, ..]: [usize; 6]) -> c_int {
    let (signal, new, old) = (
        signal as c_int,
        new as *const KernelAction,
        old as *mut KernelAction,
    );
    // SAFETY: the program's own arguments, of integers; zeroes are an action of the C library's.
    unsafe {
        if size != SIGSET_BYTES {
            return raw::fail(libc::EINVAL);
        }
        let new = match memory::read_if(new) {
            // libc's own signals, of which libc refuses to speak
            Ok(mut new) if known(signal).is_none() => {
                new.iter_mut()
                    .for_each(|new| new.mask = unblocked(new.mask));
                let new = new.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
                return raw::libc_call!(libc::SYS_rt_sigaction, signal, new, old, size) as c_int;
            }
            Ok(new) => new.map(|new| {
                let mut action: libc::sigaction = zeroed();
                action.sa_sigaction = new.handler;
                action.sa_flags = new.flags as c_int;
                (&raw mut action.sa_mask).cast::<u64>().write(new.mask);
                action
            }),
            Err(e) => return raw::fail(e.0),
        };
        let mut before: libc::sigaction = zeroed();
        let pointer = new.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        if sigaction(signal, pointer, &raw mut before) < 0 {
            return -1;
        }
        let told = KernelAction {
            handler: before.sa_sigaction,
            flags: before.sa_flags as u32 as usize,
            restorer: before.sa_restorer.map_or(0, |f| f as usize),
            mask: (&raw const before.sa_mask).cast::<u64>().read(),
        };
        match old.is_null() {
            true => 0,
            false => raw::answer(memory::write(old, told).map(|()| 0)),
        }
    }
}

/// sigaction of a signal that is the program's.
///
/// # Safety
/// As the C function.
unsafe fn replace(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        let Some(entry) = known(signal).filter(|_| TAKEN_OVER.load(Acquire)) else {
            return next::sigaction(signal, new, old);
        };
        let before = (entry.function.load(Acquire), entry.flags.load(Relaxed));
        // A vfork child has handlers of its own, and our memory.
        let Some(mut action) = new.as_ref().copied().filter(|_| !borrowed_memory()) else {
            let answer = next::sigaction(signal, new, old);
            translate(old, before.0, before.1);
            return answer;
        };
        let (function, flags) = (action.sa_sigaction, action.sa_flags);
        let keeps = is_fault(signal) || !matches!(function, libc::SIG_DFL | libc::SIG_IGN);
        if keeps && function != ours() {
            action.sa_sigaction = ours();
            action.sa_flags = (flags | SA_SIGINFO) & !SA_RESETHAND;
            entry.flags.store(flags, Relaxed);
            entry.function.store(function, Release);
        }
        let answer = next::sigaction(signal, &raw const action, old);
        if answer != 0 {
            entry.flags.store(before.1, Relaxed);
            entry.function.store(before.0, Release);
        }
        translate(old, before.0, before.1);
        answer
    }
}

/// signal and its kin: libc does it, and what it did is taken over.
///
/// # Safety
/// As the C function.
unsafe fn installed(
    signal: c_int,
    handler: sighandler_t,
    install: impl FnOnce() -> sighandler_t,
) -> sighandler_t {
    if is_kept(signal) {
        let function = &HANDLERS[signal as usize].function;
        return match handler {
            HOLD => function.load(Acquire),
            _ => function.swap(handler, AcqRel),
        };
    }
    let Some(entry) = known(signal).filter(|_| TAKEN_OVER.load(Acquire)) else {
        return install();
    };
    let before = entry.function.load(Acquire);
    let old = install();
    if old != libc::SIG_ERR && !borrowed_memory() {
        adopt(signal);
    }
    if old == ours() { before } else { old }
}

macro_rules! kin {
    ($($name:ident),*) => { $(
        /// # Safety
        /// As the C function.
        pub unsafe fn $name(signal: c_int, handler: sighandler_t) -> sighandler_t {
            // SAFETY: the program's own arguments.
            unsafe { installed(signal, handler, || next::$name(signal, handler)) }
        }
    )* };
}
kin!(signal, sysv_signal, sigset);

/// # Safety
/// As the C function.
pub unsafe fn sigignore(signal: c_int) -> c_int {
    let mut answer = 0;
    // SAFETY: a number; libc does it, unless the signal is the trap's.
    unsafe {
        installed(signal, libc::SIG_IGN, || {
            answer = next::sigignore(signal);
            if answer == 0 {
                libc::SIG_IGN
            } else {
                libc::SIG_ERR
            }
        })
    };
    answer
}
