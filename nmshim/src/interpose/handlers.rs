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

use crate::ground::mask::{self, NOT_BLOCKED};
use crate::ground::raw::{self, SIGSET_BYTES};
use crate::ground::trapped::{self, unblocked};
use crate::ground::vfork::borrowed_memory;
use crate::ground::{memory, next, section};
use core::mem::zeroed;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::*};
use libc::{SA_RESETHAND, SA_SIGINFO, c_int, c_void, sighandler_t, siginfo_t, ucontext_t};

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

/// What sigset takes to block a signal and leave its handler.
const HOLD: sighandler_t = 2;

/// The program uses the device: handlers are ours.
static TAKEN_OVER: AtomicBool = AtomicBool::new(false);

/// The kernel's own form of an action.
#[derive(Clone, Copy)]
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

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
    // 32 and 33 are libc's own.
    let usable = signal > 0 && !matches!(signal, 32 | 33);
    usable.then(|| HANDLERS.get(signal as usize)).flatten()
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
    if !borrowed_memory() && !TAKEN_OVER.swap(true, AcqRel) {
        (1..SIGNALS as c_int).for_each(adopt);
    }
}

/// What the kernel does at a signal.
fn asked(signal: c_int) -> Option<KernelAction> {
    let mut action = KernelAction {
        handler: 0,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    let place = &raw mut action as usize;
    let ask = [signal as usize, 0, place, SIGSET_BYTES, 0, 0];
    // SAFETY: the structure is the kernel's own, and lives.
    let answer = unsafe { raw::call(libc::SYS_rt_sigaction, ask) };
    (answer >= 0).then_some(action)
}

/// From here on the kernel does that.
///
/// # Safety
/// As what [`asked`] gave, but for the flags, the mask and a handler that is as good.
unsafe fn put(signal: c_int, action: &KernelAction) {
    let place = core::ptr::from_ref(action) as usize;
    // SAFETY: the structure is the kernel's own, and lives; the restorer is what libc gave.
    unsafe {
        raw::call(
            libc::SYS_rt_sigaction,
            [signal as usize, place, 0, SIGSET_BYTES, 0, 0],
        )
    };
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
            && !NOT_BLOCKED.contains(&signal)
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

/// The kernel's default from now on.
fn reset(signal: c_int) {
    let default = KernelAction {
        handler: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    let new = &raw const default as usize;
    // SAFETY: the structure is the kernel's own, and lives.
    unsafe {
        raw::call(
            libc::SYS_rt_sigaction,
            [signal as usize, new, 0, SIGSET_BYTES, 0, 0],
        )
    };
}

/// Queues a signal for the calling thread.
///
/// # Safety
/// `info` is what came with it.
unsafe fn queue(signal: c_int, info: *const siginfo_t) -> bool {
    let ids = [libc::SYS_getpid, libc::SYS_gettid].map(|nr| {
        // SAFETY: takes nothing.
        unsafe { raw::call(nr, [0; 6]) as usize }
    });
    let args = [ids[0], ids[1], signal as usize, info as usize, 0, 0];
    // SAFETY: plain numbers, and the caller's promise.
    unsafe { raw::call(libc::SYS_rt_tgsigqueueinfo, args) >= 0 }
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
    let all = mask::all();
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
