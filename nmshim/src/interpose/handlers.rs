//! The program's signal handlers, behind one of ours from the moment the program uses the device.
//!
//! The kernel's handler is `trampoline`; the program's own is in `HANDLERS`, and sigaction and its kin tell it the
//! program as if nothing stood in between. A handler that comes in the middle of a section is put off: the signal is
//! queued once more for this thread, all signals are blocked until the section is over, and there they come in.
//! Faults cannot wait and are let through; what they interrupt counts as left, because such handlers jump away.
//!
//! SIGSEGV and SIGBUS are taken even without a handler of the program's: reads through the program's
//! pointers may fault (`memory`), and go on there with an error. Any other fault goes the way it went before.
//!
//! Where the program's own system calls are trapped (`trap`) SIGSYS is ours. What the program does with it is noted,
//! and one that is not ours goes to its handler.
//!
//! `calls`: what the program asks for its signals. `kernel`: actions as the kernel has them.

mod calls;
mod kernel;

use crate::ground::vfork::borrowed_memory;
use crate::ground::{mask, memory, next, readers, section, trapped};
pub use calls::{kernel_action, sigaction, sigignore, signal, sigset, sysv_signal};
use core::mem::zeroed;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::*};
use kernel::{KernelAction, asked, put, queue, reset};
use libc::{SA_RESETHAND, SA_SIGINFO, c_int, c_void, siginfo_t, ucontext_t};

const SIGNALS: usize = 65;

/// A program's own handler (or `SIG_DFL`, `SIG_IGN`), and the flags it gave.
struct Handler {
    function: AtomicUsize,
    flags: AtomicI32,
}

static HANDLERS: [Handler; SIGNALS] = [const {
    Handler {
        function: AtomicUsize::new(libc::SIG_DFL),
        flags: AtomicI32::new(0),
    }
}; SIGNALS];

/// The program uses the device: handlers are ours.
static TAKEN_OVER: AtomicBool = AtomicBool::new(false);

fn ours() -> usize {
    trampoline as *const () as usize
}

/// Signals that our handler is there for in any case, whatever the program does with them.
fn is_fault(signal: c_int) -> bool {
    matches!(signal, libc::SIGSEGV | libc::SIGBUS)
}

/// Is it the trap's, whose handler stays?
fn is_kept(signal: c_int) -> bool {
    signal == libc::SIGSYS && trapped::is_on()
}

fn known(signal: c_int) -> Option<&'static Handler> {
    mask::is_programs(signal).then(|| &HANDLERS[signal as usize])
}

/// Does the program use the device? Until then nothing of its is looked at.
#[inline(always)]
pub fn taken_over() -> bool {
    TAKEN_OVER.load(Relaxed)
}

/// Takes over the handlers there are. From here on sections are closed to them.
#[inline]
pub fn take_over() {
    if !TAKEN_OVER.load(Relaxed) {
        take_over_all();
    }
}

#[cold]
fn take_over_all() {
    if borrowed_memory() {
        return;
    }
    readers::ask();
    if !TAKEN_OVER.swap(true, AcqRel) {
        (1..SIGNALS as c_int).for_each(adopt);
    }
}

/// Puts `trampoline` before the handler that the kernel knows now.
fn adopt(signal: c_int) {
    let Some(entry) = known(signal).filter(|_| !is_kept(signal)) else {
        return;
    };
    let Some(mut action) = asked(signal).filter(|action| action.handler != ours()) else {
        return;
    };
    // SAFETY: `trampoline` does what the handler did; the restorer stays what libc gave.
    unsafe {
        let is_handler = !matches!(action.handler, libc::SIG_DFL | libc::SIG_IGN);
        if !is_handler && !is_fault(signal) {
            return;
        }
        entry.flags.store(action.flags as c_int, Relaxed);
        entry.function.store(action.handler, Release);
        if !is_handler {
            // libc knows the restorer.
            let mut plain: libc::sigaction = zeroed();
            plain.sa_sigaction = ours();
            plain.sa_flags = SA_SIGINFO | libc::SA_ONSTACK;
            next::sigaction(signal, &raw const plain, core::ptr::null_mut());
            return;
        }
        action.handler = ours();
        action.flags = (action.flags | SA_SIGINFO as usize) & !(SA_RESETHAND as usize);
        put(signal, &action);
    }
}

/// The handler behind all signals that have one. Of the trap's it is called for those that are not the trap's own.
pub unsafe extern "C-unwind" fn trampoline(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut ucontext_t,
) {
    // SAFETY: the kernel's arguments.
    unsafe {
        let was_sent = (*info).si_code <= 0;
        if is_fault(signal) && !was_sent && memory::goes_on(context) {
            return;
        }
        let thread = section::this();
        if thread.is_inside()
            && mask::may_be_blocked(signal)
            && put_off(signal, info, context, thread)
        {
            return;
        }
        let Some(entry) = known(signal) else { return };
        let (function, flags) = (entry.function.load(Acquire), entry.flags.load(Relaxed));
        match function {
            libc::SIG_IGN if was_sent => {}
            // Nobody can ignore a fault.
            libc::SIG_DFL | libc::SIG_IGN => {
                reset(signal);
                // It comes again when its instruction is run again; one that was sent does not, nor a trapped call.
                if was_sent || signal == libc::SIGSYS {
                    queue(signal, info);
                }
            }
            _ => {
                if flags & SA_RESETHAND != 0 {
                    entry.function.store(libc::SIG_DFL, Release);
                    reset(signal);
                }
                thread.withdraw_sleeper();
                let handler: unsafe extern "C-unwind" fn(c_int, *mut siginfo_t, *mut c_void) =
                    core::mem::transmute(function);
                let run = || handler(signal, info, context.cast());
                thread.served.aside(|| thread.handle(run));
            }
        }
    }
}

/// A signal in the middle of a section. False: it could not be queued once more.
///
/// # Safety
/// The kernel's arguments.
#[cold]
unsafe fn put_off(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut ucontext_t,
    thread: &section::Thread,
) -> bool {
    let all = mask::ALL;
    let mut now = 0u64;
    mask::set_mask(&raw const all, &raw mut now);
    // SAFETY: by contract.
    if !unsafe { queue(signal, info) } {
        mask::set_mask(&raw const now, core::ptr::null_mut());
        return false;
    }
    // SAFETY: by contract; the first 8 bytes of the context's mask are the kernel's set, which counts on return.
    unsafe {
        let mask = (&raw mut (*context).uc_sigmask).cast::<u64>();
        thread.defer(*mask);
        *mask |= all;
    }
    true
}

/// Takes SIGSYS out of the masks of handlers that other libraries have installed before.
pub fn unblock_in_handlers() {
    for signal in 1..SIGNALS as c_int {
        let has_sigsys = |action: &KernelAction| action.mask & trapped::SIGSYS != 0;
        if let Some(mut action) = asked(signal).filter(has_sigsys) {
            action.mask &= !trapped::SIGSYS;
            // SAFETY: only the mask is another one.
            unsafe { put(signal, &action) };
        }
    }
}
